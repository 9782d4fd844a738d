//! The choice of a learning rate (section 3.4).

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What was tried, and what was best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSearch {
    /// Learning rates in the order tried, each with the final validation loss; none where the run diverged.
    pub tried: Vec<(f64, Option<f64>)>,
    /// The learning rate with the smallest loss.
    pub best: f64,
}

/// Tries learning rates from large to small, 0.01, 0.003, 0.001 and so on, until the final validation loss rises
/// (section 3.4). `train` trains with a learning rate and returns that loss, or none if the run diverged.
///
/// # Errors
/// If training fails, there are no rates, they are not from large to small, or all diverge.
pub fn choose_learning_rate(
    rates: &[f64],
    train: &mut dyn FnMut(f64) -> Result<Option<f64>>,
) -> Result<RateSearch> {
    if !rates.is_sorted_by(|a, b| a > b) {
        return Err(Error::invalid(format!(
            "learning rates are tried from large to small, not as {rates:?}"
        )));
    }
    let mut tried = Vec::new();
    let mut best: Option<(f64, f64)> = None;
    for rate in rates.iter().copied() {
        let loss = match train(rate) {
            Err(Error::NotFinite { .. }) => None,
            trained => trained?.filter(|loss| loss.is_finite()),
        };
        tried.push((rate, loss));
        match (loss, best) {
            (Some(loss), Some((_, smallest))) if loss > smallest => break,
            (Some(loss), _) => best = Some((rate, loss)),
            // Worse than what has been reached, if anything has.
            (None, Some(_)) => break,
            (None, None) => {}
        }
    }
    match best {
        Some((best, _)) => Ok(RateSearch { tried, best }),
        None => Err(Error::invalid(format!(
            "training diverged with each of the learning rates {rates:?}: try smaller ones"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(losses: &[(f64, Option<f64>)]) -> Result<RateSearch> {
        let rates: Vec<f64> = losses.iter().map(|(rate, _)| *rate).collect();
        choose_learning_rate(&rates, &mut |rate| {
            Ok(losses.iter().find(|(r, _)| *r == rate).and_then(|(_, loss)| *loss))
        })
    }

    #[test]
    fn it_stops_when_the_loss_rises() {
        let found = search(&[(0.01, Some(2.0)), (0.003, Some(1.5)), (0.001, Some(1.6)), (0.0003, Some(1.0))]);
        let found = found.unwrap();
        assert_eq!(found.best, 0.003);
        assert_eq!(found.tried.len(), 3);
        let found = search(&[(0.03, None), (0.01, Some(f64::NAN)), (0.003, Some(1.5))]).unwrap();
        assert_eq!((found.best, found.tried.len(), found.tried[1].1), (0.003, 3, None));
        // A loss that is an error is a run that diverged.
        let diverged = |rate: f64| match rate {
            0.01 => crate::adam::check_norm(f64::NAN).map(Some),
            _ => Ok(Some(rate)),
        };
        let found = choose_learning_rate(&[0.01, 0.003], &mut |rate| diverged(rate)).unwrap();
        assert_eq!((found.best, found.tried[0].1), (0.003, None));
    }

    #[test]
    fn searches_that_cannot_succeed_say_why() {
        let error = search(&[(0.01, None), (0.003, None)]).unwrap_err().to_string();
        assert!(error.contains("diverged with each of the learning rates [0.01, 0.003]"), "{error}");
        assert!(search(&[]).is_err());
        assert!(search(&[(0.001, Some(1.0)), (0.01, Some(1.0))]).is_err());
        let failed = choose_learning_rate(&[0.1], &mut |_| Err(Error::invalid("no data")));
        assert_eq!(failed.unwrap_err().to_string(), "no data");
    }
}

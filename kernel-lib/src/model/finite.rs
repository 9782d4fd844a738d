//! Results that are not finite, NaN or infinity, do not leave a network: they end in [`Error::NotFinite`], which says what
//! is not finite, and why if that can be seen. Every network checks what it returns here, so that all of them refuse the
//! same. A check reads each number once, beside the thousands of operations that made it.

use super::Parameters;
use crate::adam::TOO_LARGE;
use crate::{Error, Result};

/// Whether all of these numbers are finite.
pub(crate) fn all(values: &[f32]) -> bool {
    // By the exponent's bits, without a branch for each number, so that it is done at the speed of memory.
    const EXPONENT: u32 = 0x7f80_0000;
    values.chunks(1 << 12).all(|chunk| {
        chunk.iter().fold(0, |found, x| found | u32::from(x.to_bits() & EXPONENT == EXPONENT)) == 0
    })
}

/// A network's loss with these parameters.
///
/// # Errors
/// If it is not finite.
pub(crate) fn loss(loss: f64, parameters: &Parameters) -> Result<f64> {
    if loss.is_finite() { Ok(loss) } else { Err(error("the loss", loss, parameters)) }
}

/// What a network with these parameters computed, features or logits, of which each is a `what`.
///
/// # Errors
/// If a number of it is not finite.
pub(crate) fn values(what: &str, values: &[f32], parameters: &Parameters) -> Result<()> {
    if all(values) {
        return Ok(());
    }
    let first = values.iter().find(|x| !x.is_finite()).copied().unwrap_or(f32::NAN);
    Err(error(what, f64::from(first), parameters))
}

/// The gradients of a network with these parameters.
///
/// # Errors
/// If one is not finite; the message names its tensor.
pub(crate) fn gradients(gradients: &Parameters, parameters: &Parameters) -> Result<()> {
    match not_finite(gradients) {
        None => Ok(()),
        Some((name, _, value)) => {
            Err(error(&format!("the gradient of {name}"), f64::from(value), parameters))
        }
    }
}

/// The first number that is not finite: its tensor, its place there, and itself.
fn not_finite(of: &Parameters) -> Option<(&str, usize, f32)> {
    if all(of.values()) {
        return None;
    }
    of.layout().entries().iter().find_map(|entry| {
        let values = &of.values()[entry.range.clone()];
        let at = values.iter().position(|x| !x.is_finite())?;
        Some((entry.name.as_str(), at, values[at]))
    })
}

fn error(what: &str, value: f64, parameters: &Parameters) -> Error {
    let cause = match not_finite(parameters) {
        Some((name, at, value)) => format!(
            "the network's parameter {name} is {value} at {at}, so nothing that it computes means anything. Take \
             parameters from before that"
        ),
        None => TOO_LARGE.to_owned(),
    };
    Error::NotFinite { what: format!("{what} is {value}"), cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;

    const SMALL: Config =
        Config { layers: 1, width: 8, heads: 2, context: 4, vocabulary: 3, inner: None, classes: None };

    #[test]
    fn every_number_is_looked_at() {
        let good: Vec<f32> = [0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, 1.0].repeat(1500);
        assert!(all(&good) && all(&[]));
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 4095, 4096, good.len() - 1] {
                let mut values = good.clone();
                values[at] = bad;
                assert!(!all(&values), "{bad} at {at}");
            }
        }
    }

    #[test]
    fn an_error_names_what_is_wrong_and_why() {
        let good = Parameters::init(SMALL, 1).unwrap();
        let error = loss(f64::INFINITY, &good).unwrap_err().to_string();
        assert!(error.starts_with("the loss is inf: ") && error.contains("adam.clip"), "{error}");
        assert_eq!(loss(1.5, &good).unwrap(), 1.5);

        let mut bad = good.clone();
        bad.get_mut("h.0.attn.c_proj").unwrap()[5] = f32::NAN;
        let error = values("a feature", &[1.0, f32::NAN], &bad).unwrap_err().to_string();
        assert!(error.starts_with("a feature is NaN: "), "{error}");
        assert!(error.contains("h.0.attn.c_proj is NaN at 5"), "{error}");
        values("a feature", &[1.0, -1.0], &bad).unwrap();

        let error = gradients(&bad, &good).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }));
        assert!(error.to_string().contains("the gradient of h.0.attn.c_proj is NaN"), "{error}");
        gradients(&good, &good).unwrap();
        assert!(crate::adam::check_norm(f64::NAN).is_err());
        assert_eq!(crate::adam::check_norm(2.0).unwrap(), 2.0);
    }
}

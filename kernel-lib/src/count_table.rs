//! A model of images that only counts: how often a colour follows its left and its upper neighbour. Its loss is what a network
//! has to beat.

use crate::{Error, Result, memory, stop};

/// How often each token was seen beside each pair of its left and its upper neighbour, in nats per token:
///
/// > p(x | left, upper) = (n(left, upper, x) + α) / (n(left, upper) + α V)
///
/// for V colours. Where a pixel has no left or no upper neighbour, that there is none takes the neighbour's place: so the first
/// row is predicted from the left alone, the first column from above alone, and the first pixel from nothing.
///
/// ```
/// use igpt::count_table::CountTable;
///
/// // Two images of 2 × 2 tokens of two colours.
/// let table = CountTable::fit(&[0, 1, 0, 1, 0, 1, 0, 0], 2, 2)?;
/// // With α = 1: (2 + 1) / (2 + 2) for the first pixel of this image, and so on.
/// let loss = table.loss(&[0, 1, 0, 1], 1.0)?;
/// let expected = -(0.75f64.ln() + 0.75f64.ln() + 0.75f64.ln() + 0.5f64.ln()) / 4.0;
/// assert!((loss - expected).abs() < 1e-12);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountTable {
    side: usize,
    vocabulary: usize,
    /// Of each token beside each pair, (V + 1, V + 1, V): left, upper, token. V stands for none.
    counts: Vec<u32>,
    /// Of each pair, (V + 1, V + 1).
    pairs: Vec<u32>,
}

impl CountTable {
    /// Counts in images of `side` × `side` tokens, `(N, T)`, each below `vocabulary`.
    ///
    /// # Errors
    /// If they are no whole images, or a token is no colour; [`Error::Memory`] if there is no memory for the table;
    /// [`Error::Interrupted`] if someone asks to stop.
    pub fn fit(tokens: &[u16], side: usize, vocabulary: usize) -> Result<Self> {
        const WHAT: &str = "the table of counts";
        let contexts = vocabulary.saturating_add(1);
        memory::check(WHAT, &[contexts, contexts, contexts, 4])?;
        let pairs = contexts * contexts;
        let mut table = Self {
            side,
            vocabulary,
            counts: memory::zeros(WHAT, pairs * vocabulary)?,
            pairs: memory::zeros(WHAT, pairs)?,
        };
        table.check(tokens)?;
        for image in tokens.chunks(side * side) {
            stop::check(WHAT)?;
            for (pair, token) in table.pairs_of(image) {
                table.counts[pair * vocabulary + token] += 1;
                table.pairs[pair] += 1;
            }
        }
        Ok(table)
    }

    /// The loss on images `(N, T)`, in nats per token, with α added to each count.
    ///
    /// # Errors
    /// If they are no whole images or none, a token is no colour, or α is not positive; [`Error::Interrupted`] if someone asks
    /// to stop.
    pub fn loss(&self, tokens: &[u16], alpha: f64) -> Result<f64> {
        self.check(tokens)?;
        if tokens.is_empty() || !(alpha > 0.0 && alpha.is_finite()) {
            return Err(Error::invalid(format!(
                "{} tokens have no loss with {alpha} added to each count: it takes one token and a number above 0",
                tokens.len()
            )));
        }
        let mut sum = 0.0;
        for image in tokens.chunks(self.side * self.side) {
            stop::check("the loss")?;
            for (pair, token) in self.pairs_of(image) {
                let seen = f64::from(self.counts[pair * self.vocabulary + token]) + alpha;
                let all = f64::from(self.pairs[pair]) + alpha * self.vocabulary as f64;
                sum -= libm::log(seen / all);
            }
        }
        Ok(sum / tokens.len() as f64)
    }

    fn check(&self, tokens: &[u16]) -> Result<()> {
        let image = self.side.checked_mul(self.side).filter(|image| *image > 0);
        if image.is_none_or(|image| !tokens.len().is_multiple_of(image)) {
            return Err(Error::invalid(format!(
                "{} tokens are no whole images of {}²",
                tokens.len(),
                self.side
            )));
        }
        match tokens.iter().find(|token| usize::from(**token) >= self.vocabulary) {
            Some(token) => {
                Err(Error::invalid(format!("token {token} is none of {} colours, from 0", self.vocabulary)))
            }
            None => Ok(()),
        }
    }

    /// The tokens of an image, each with the number of its pair of neighbours.
    fn pairs_of<'a>(&self, image: &'a [u16]) -> impl Iterator<Item = (usize, usize)> + use<'a> {
        let (side, none) = (self.side, self.vocabulary);
        image.iter().enumerate().map(move |(at, token)| {
            let left = if at % side > 0 { usize::from(image[at - 1]) } else { none };
            let upper = if at >= side { usize::from(image[at - side]) } else { none };
            (left * (none + 1) + upper, usize::from(*token))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_those_by_hand() {
        // 0 1   0 1
        // 0 1   0 0
        let table = CountTable::fit(&[0, 1, 0, 1, 0, 1, 0, 0], 2, 2).unwrap();
        let loss = |tokens: &[u16], alpha: f64| table.loss(tokens, alpha).unwrap();
        // First pixel: 0 twice. Right of 0: 1 twice. Below 0: 0 twice. Right of 0 and below 1: each once.
        let by_hand = |alpha: f64| {
            let p = |seen: f64, all: f64| ((seen + alpha) / (all + 2.0 * alpha)).ln();
            -(p(2.0, 2.0) + p(2.0, 2.0) + p(2.0, 2.0) + p(1.0, 2.0)) / 4.0
        };
        for alpha in [0.01, 1.0, 7.0] {
            assert!((loss(&[0, 1, 0, 0], alpha) - by_hand(alpha)).abs() < 1e-14);
        }
        // A pair that was never seen says nothing: below 1 in the first column, and beside that.
        let p = |x: f64| x.ln();
        let expected = -(p(0.25) + p(0.5) + p(0.5) + p(0.5)) / 4.0;
        assert!((loss(&[1, 1, 1, 1], 1.0) - expected).abs() < 1e-14);
        // With more and more added nothing is known any more.
        assert!((loss(&[0, 1, 0, 0], 1e12) - 2f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn nonsense_is_refused() {
        let table = CountTable::fit(&[0, 1, 0, 1], 2, 2).unwrap();
        assert!(table.loss(&[0, 1, 0], 1.0).is_err() && table.loss(&[0, 1, 0, 2], 1.0).is_err());
        assert!(table.loss(&[], 1.0).is_err());
        for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(table.loss(&[0, 1, 0, 1], alpha).is_err(), "{alpha}");
        }
        assert!(CountTable::fit(&[0, 9, 0, 0], 2, 2).is_err());
        assert!(CountTable::fit(&[], 0, 2).is_err());
        assert!(matches!(CountTable::fit(&[], 2, 1 << 20), Err(Error::Memory { .. })));
    }
}

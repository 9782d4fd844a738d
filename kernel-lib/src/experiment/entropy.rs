//! What a model knows that knows how frequent each colour is, and nothing else.

use crate::model::Config;

/// The mean over positions of the entropy of the colours that images `(N, T)` have there, in nats: what a model loses
/// that knows how frequent each colour is at each position, and nothing else.
pub fn entropy_by_position(tokens: &[u16], config: &Config) -> f64 {
    let images = (tokens.len() / config.context).max(1) as f64;
    let entropy = |position: usize| -> f64 {
        let mut counts = vec![0u32; config.vocabulary];
        for token in tokens.iter().skip(position).step_by(config.context) {
            if let Some(count) = counts.get_mut(usize::from(*token)) {
                *count += 1;
            }
        }
        let shares = counts.into_iter().filter(|count| *count > 0).map(|count| f64::from(count) / images);
        shares.map(|share| -share * libm::log(share)).sum()
    };
    (0..config.context).map(entropy).sum::<f64>() / config.context as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entropy_of_colours_is_that_of_each_position() {
        let config =
            Config { layers: 1, width: 4, heads: 1, context: 2, vocabulary: 4, inner: None, classes: None };
        // The first position always has colour 3; the second has two colours, equally often.
        let entropy = entropy_by_position(&[3, 0, 3, 1], &config);
        assert!((entropy - 2f64.ln() / 2.0).abs() < 1e-12, "{entropy}");
    }
}

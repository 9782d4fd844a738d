//! Sampling images, token by token, and filling in masked tokens.
//!
//! The paper's images are sampled at temperature 1, with neither beam search nor nucleus sampling; `top_k` and
//! `top_p` are there for those who want to see what they do.

use crate::model::{Config, Network, Parameters};
use crate::rng::Rng;
use crate::{Error, Result, stop};
use serde::{Deserialize, Serialize};

/// How tokens are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Logits are divided by it. 0 always takes the likeliest token.
    pub temperature: f64,
    /// Only so many of the likeliest tokens.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together reach this probability (nucleus sampling).
    pub top_p: Option<f64>,
    /// The seed. Each token's chance is keyed by it, the image and the position.
    pub seed: u64,
}

impl Default for Sampling {
    /// As on the paper's page: temperature 1, all tokens.
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None, seed: 0 }
    }
}

impl Sampling {
    /// Checks the settings.
    ///
    /// # Errors
    /// If one makes no sense.
    pub fn validate(&self) -> Result<()> {
        let Self { temperature, top_k, top_p, .. } = *self;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(Error::invalid(format!("temperature = {temperature} is negative or no number")));
        }
        if top_k == Some(0) {
            return Err(Error::invalid("top_k = 0 leaves no token; leave it out for all"));
        }
        if top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            return Err(Error::invalid(format!("top_p = {top_p:?} is no probability above 0")));
        }
        Ok(())
    }

    /// Samples the token at `position` of image `image` from its logits `(V)`. The same for any way to compute them, as
    /// long as the logits are the same.
    ///
    /// # Errors
    /// If there are no logits; [`Error::NotFinite`] if one is NaN, or the largest is infinite: they say nothing of what
    /// is likely.
    pub fn sample_token(&self, logits: &[f32], image: u64, position: usize) -> Result<u16> {
        let largest = logits.iter().copied().reduce(|a, b| if a.is_nan() || a > b { a } else { b });
        let Some(largest) = largest.map(f64::from) else {
            return Err(Error::invalid("there are no logits to sample a token by"));
        };
        if !largest.is_finite() {
            return Err(Error::NotFinite {
                what: format!("the largest logit at position {position} of image {image} is {largest}"),
                cause: "no token can be sampled by it. Did training diverge?".to_owned(),
            });
        }
        // The likeliest first; of equal ones the first.
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        order.truncate(if self.temperature == 0.0 { 1 } else { self.top_k.unwrap_or(logits.len()).max(1) });

        // Weights with the likeliest's at 1. libm's exponential is the same on every machine.
        let temperature = if self.temperature == 0.0 { 1.0 } else { self.temperature };
        let weight = |token: &usize| libm::exp((f64::from(logits[*token]) - largest) / temperature);
        let mut weights: Vec<f64> = order.iter().map(weight).collect();
        if let Some(p) = self.top_p {
            let enough = p * weights.iter().sum::<f64>();
            let mut sum = 0.0;
            let reached = weights.iter().position(|weight| {
                sum += weight;
                sum >= enough
            });
            weights.truncate(reached.map_or(weights.len(), |last| last + 1));
        }
        let mut left =
            Rng::keyed(self.seed, "sample", [image, position as u64]).uniform() * weights.iter().sum::<f64>();
        for (token, weight) in order.iter().zip(&weights) {
            left -= weight;
            if left < 0.0 {
                return Ok(*token as u16);
            }
        }
        // Rounding may leave a rest behind the last one.
        Ok(order.get(weights.len().saturating_sub(1)).map_or(0, |token| *token as u16))
    }
}

/// Completes `count` images of which the first tokens are given, as many for each: `(count, t)` in, with `t` from 0
/// to `T`, and `(count, T)` out. They are images number `first`, `first + 1` and so on, which keys their chance.
///
/// The engine keeps keys and values of what is before a token; the reference computes them for every token again, as
/// the original code does.
///
/// # Errors
/// If the settings make no sense or the tokens do not fit the network; [`Error::Interrupted`](crate::Error) if someone
/// asks to [`stop`](crate::stop).
pub fn sample(
    network: &mut dyn Network,
    parameters: &Parameters,
    prompts: &[u16],
    count: usize,
    first: u64,
    settings: &Sampling,
) -> Result<Vec<u16>> {
    settings.validate()?;
    let sample_token =
        |logits: &[f32], i: usize, position: usize| settings.sample_token(logits, first + i as u64, position);
    network.complete(parameters, prompts, count, &sample_token)
}

/// Fills in the masked tokens of images `(B, T)`, by a network trained by BERT's objective, which completes no images token by
/// token. What is not masked stays as it is.
///
/// The network predicts every masked token from those that are not, and none from another masked one. So in each of `rounds`
/// rounds an equal share of an image's masked tokens is sampled, in an order by chance, and is known from then on; with 1
/// round all are sampled at once, each without regard to the others. They are images number `first`, `first + 1` and so on,
/// which keys their chance. (The paper shows no such images: this is our choice.)
///
/// # Errors
/// If the settings make no sense or the tokens do not fit the network; [`Error::Interrupted`](crate::Error) if someone
/// asks to [`stop`](crate::stop).
pub fn infill(
    network: &mut dyn Network,
    parameters: &Parameters,
    tokens: &[u16],
    masked: &[bool],
    rounds: usize,
    first: u64,
    settings: &Sampling,
) -> Result<Vec<u16>> {
    settings.validate()?;
    let Config { context: t, vocabulary, .. } = network.config();
    if rounds == 0 || masked.len() != tokens.len() || !tokens.len().is_multiple_of(t) {
        return Err(Error::invalid(format!(
            "{} tokens with a mask of {} cannot be filled in, in {rounds} rounds, as images of {t} tokens",
            tokens.len(),
            masked.len()
        )));
    }
    let (mut tokens, mut masked) = (tokens.to_vec(), masked.to_vec());
    // In which order each image's tokens are sampled: (B, masked).
    let mut orders: Vec<Vec<usize>> = Vec::with_capacity(tokens.len() / t);
    for (image, masked) in masked.chunks(t).enumerate() {
        let own: Vec<usize> = (0..t).filter(|position| masked[*position]).collect();
        let mut rng = Rng::keyed(settings.seed, "order of infilling", [first + image as u64, 0]);
        orders.push(rng.permutation(own.len()).into_iter().map(|at| own[at]).collect());
    }
    for round in 0..rounds {
        stop::check("the filling in of images")?;
        let open: Vec<usize> =
            (0..orders.len()).filter(|image| masked[image * t..][..t].contains(&true)).collect();
        if open.is_empty() {
            break;
        }
        let of = |image: &usize| image * t..(image + 1) * t;
        let part: Vec<u16> = open.iter().flat_map(|image| tokens[of(image)].to_vec()).collect();
        let hidden: Vec<bool> = open.iter().flat_map(|image| masked[of(image)].to_vec()).collect();
        let logits = network.masked_logits(parameters, &part, &hidden)?; // (M, V)
        let mut logits = logits.chunks_exact(vocabulary);
        for image in open {
            // The tokens whose turn it is by the end of this round.
            let until = orders[image].len() * (round + 1) / rounds;
            let turn: Vec<usize> = orders[image][..until].to_vec();
            for position in 0..t {
                let at = image * t + position;
                if !masked[at] {
                    continue;
                }
                let logits =
                    logits.next().ok_or_else(|| Error::invalid("too few logits of masked tokens"))?;
                if turn.contains(&position) {
                    tokens[at] = settings.sample_token(logits, first + image as u64, position)?;
                    masked[at] = false;
                }
            }
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Config, Reference};
    use candle_core::DType;

    const TINY: Config =
        Config { layers: 1, width: 8, heads: 2, context: 6, vocabulary: 4, inner: None, classes: None };
    /// Probabilities 0.1, 0.4, 0.2, 0.3.
    const P: [f64; 4] = [0.1, 0.4, 0.2, 0.3];

    fn frequencies(settings: &Sampling) -> [f64; 4] {
        let logits: Vec<f32> = P.iter().map(|p| p.ln() as f32 + 5.0).collect();
        let mut counts = [0; 4];
        (0..20_000)
            .for_each(|image| counts[usize::from(settings.sample_token(&logits, image, 3).unwrap())] += 1);
        counts.map(|count| f64::from(count) / 20_000.0)
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let usual = Sampling::default();
        let half = P.map(|p| p * p / P.iter().map(|p| p * p).sum::<f64>());
        for (settings, expected) in [
            (usual, P),
            (Sampling { seed: 9, ..usual }, P),
            (Sampling { temperature: 0.5, ..usual }, half),
            (Sampling { temperature: 0.0, ..usual }, [0.0, 1.0, 0.0, 0.0]),
            (Sampling { top_k: Some(2), ..usual }, [0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]),
            (Sampling { top_k: Some(9), top_p: Some(1.0), ..usual }, P),
            (Sampling { top_p: Some(0.8), ..usual }, [0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]),
            (Sampling { top_p: Some(0.39), ..usual }, [0.0, 1.0, 0.0, 0.0]),
        ] {
            let found = frequencies(&settings);
            for (found, expected) in found.iter().zip(expected) {
                // Five standard errors.
                let error = 5.0 * (expected * (1.0 - expected) / 20_000.0f64).sqrt();
                assert!((found - expected).abs() <= error, "{settings:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn logits_that_say_nothing_are_not_drawn_by() {
        let infinity = f32::INFINITY;
        for bad in [
            [0.0, f32::NAN, 1.0],
            [0.0, -f32::NAN, 1.0],
            [f32::NAN; 3],
            [infinity, 0.0, 0.0],
            [0.0, f32::NAN, infinity],
            [-infinity; 3],
        ] {
            for temperature in [0.0, 1.0] {
                let error =
                    Sampling { temperature, ..Sampling::default() }.sample_token(&bad, 2, 7).unwrap_err();
                assert!(matches!(error, Error::NotFinite { .. }), "{bad:?}: {error}");
                assert!(error.to_string().contains("position 7 of image 2"), "{error}");
            }
        }
        assert!(Sampling::default().sample_token(&[], 0, 0).is_err());
        // The good twin: what can never be sampled is not sampled, and hinders nobody.
        assert_eq!(Sampling::default().sample_token(&[-infinity, 0.5, -infinity], 0, 0).unwrap(), 1);
    }

    #[test]
    fn an_image_does_not_depend_on_its_neighbours() {
        let mut parameters = Parameters::init(TINY, 1).unwrap();
        let mut rng = Rng::keyed(2, "test", [0, 0]);
        parameters.get_mut("head").unwrap().iter_mut().for_each(|x| *x = rng.normal() as f32);
        let mut network = Reference::new(TINY, DType::F32).unwrap();
        let settings = Sampling::default();
        let mut sample_token = |prompts: &[u16], count, first| {
            sample(&mut network, &parameters, prompts, count, first, &settings).unwrap()
        };
        let all = sample_token(&[], 5, 10);
        assert_eq!(all.len(), 5 * TINY.context);
        assert_eq!(sample_token(&[], 2, 12), all[2 * TINY.context..4 * TINY.context]);
        assert_ne!(all[..TINY.context], all[TINY.context..2 * TINY.context]);
        // Completion keeps what is given; given what would have been sampled, the same comes.
        let halves: Vec<u16> = all.chunks(TINY.context).flat_map(|image| &image[..3]).copied().collect();
        assert_eq!(sample_token(&halves, 5, 10), all);
        assert_eq!(sample_token(&all, 5, 10), all);
        assert_eq!(sample_token(&[3, 2, 1], 1, 0)[..3], [3, 2, 1]);
    }

    #[test]
    fn greedy_sampling_takes_the_networks_likeliest() {
        let mut parameters = Parameters::init(TINY, 1).unwrap();
        let mut rng = Rng::keyed(3, "test", [0, 0]);
        parameters.get_mut("head").unwrap().iter_mut().for_each(|x| *x = rng.normal() as f32);
        let mut network = Reference::new(TINY, DType::F32).unwrap();
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        let image = sample(&mut network, &parameters, &[], 1, 0, &greedy).unwrap();
        for t in 0..TINY.context {
            let logits = network.next_logits(&parameters, &image[..t], 1).unwrap();
            assert!(logits.iter().all(|x| *x <= logits[usize::from(image[t])]));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let parameters = Parameters::init(TINY, 1).unwrap();
        let mut network = Reference::new(TINY, DType::F32).unwrap();
        let usual = Sampling::default();
        for (prompts, count, settings, said) in [
            (&[0, 1, 2][..], 2, usual, "3 tokens are not the prompts"),
            (&[0; 7], 1, usual, "7 tokens are not the prompts"),
            (&[], 0, usual, "of 0 images"),
            (&[], 1, Sampling { temperature: -1.0, ..usual }, "temperature = -1"),
            (&[], 1, Sampling { top_k: Some(0), ..usual }, "top_k = 0"),
            (&[], 1, Sampling { top_p: Some(1.5), ..usual }, "top_p"),
            (&[4], 1, usual, "token 4 is no colour"),
        ] {
            let error = sample(&mut network, &parameters, prompts, count, 0, &settings).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn masked_tokens_are_filled_in_and_others_stay() {
        let mut network = Reference::new(TINY, DType::F32).unwrap();
        let parameters = Parameters::init(TINY, 1).unwrap();
        let tokens = [0, 1, 2, 3, 0, 1, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2];
        let masked: Vec<bool> = (0..18).map(|at| at < 12 && at % 3 != 1).collect();
        let mut fill = |rounds, first, settings: &Sampling| {
            infill(&mut network, &parameters, &tokens, &masked, rounds, first, settings)
        };
        let settings = Sampling::default();
        let filled = fill(3, 0, &settings).unwrap();
        assert!((0..18).all(|at| masked[at] || filled[at] == tokens[at]));
        assert_eq!(fill(3, 0, &settings).unwrap(), filled);
        // The network is untrained: all colours are equally likely, whatever is known.
        assert_eq!(fill(1, 0, &settings).unwrap(), filled);
        // The second image's chance does not depend on the first: alone it is number 1.
        let alone = infill(&mut network, &parameters, &tokens[6..], &masked[6..], 2, 1, &settings).unwrap();
        assert_eq!(alone, filled[6..]);
        let other = Sampling { seed: 1, ..settings };
        assert_ne!(infill(&mut network, &parameters, &tokens, &masked, 1, 0, &other).unwrap(), filled);

        let said = |tokens: &[u16], masked: &[bool], rounds| {
            let mut network = Reference::new(TINY, DType::F32).unwrap();
            infill(&mut network, &parameters, tokens, masked, rounds, 0, &settings).unwrap_err().to_string()
        };
        assert!(said(&tokens, &masked, 0).contains("in 0 rounds"));
        assert!(said(&tokens, &masked[1..], 1).contains("a mask of 17"));
        assert!(said(&tokens[1..], &masked[1..], 1).contains("17 tokens"));
    }

    /// Each round sees what the rounds before have filled in: a network that has learnt that all tokens of an image are the
    /// same makes images of one colour, but not at once.
    #[test]
    fn later_rounds_know_earlier_ones() {
        use crate::train::{Objective, Tokens, Trainer, Training, WarmUp};
        let images: Vec<u16> = (0..4).flat_map(|colour| [colour; 6]).collect();
        let images = std::sync::Arc::new(Tokens::new(6, images).unwrap());
        let settings = Training {
            objective: Objective::Bert { mask: 0.6 },
            batch: 4,
            learning_rate: 0.02,
            warm_up: WarmUp::Steps(5),
            ..Training::paper(300)
        };
        let network = Box::new(Reference::new(TINY, DType::F32).unwrap());
        let mut trainer = Trainer::new(settings, network, images.clone(), images).unwrap();
        let _ = trainer.run(&mut |_| ()).unwrap();
        let (parameters, _, mut network) = trainer.into_parts();
        let mut same = |rounds| {
            let (tokens, masked) = (vec![0; 40 * 6], vec![true; 40 * 6]);
            let settings = Sampling::default();
            let filled =
                infill(network.as_mut(), &parameters, &tokens, &masked, rounds, 0, &settings).unwrap();
            filled.chunks(6).filter(|image| image.iter().all(|token| *token == image[0])).count()
        };
        let (at_once, one_by_one) = (same(1), same(6));
        assert!(at_once < 10 && one_by_one > 30, "{at_once} {one_by_one}");
    }
}

//! Numbers that are not finite: what the reference in `f32` finds out, the engine finds out, and nobody gets a plausible
//! number.

use super::*;
use crate::Error;
use crate::model::Layout;

/// More keys than a block of attention has, and heads of an odd width.
const LONG: Config =
    Config { layers: 2, width: 14, heads: 2, context: 300, vocabulary: 9, inner: None, classes: None };
const SHORT: Config =
    Config { layers: 2, width: 16, heads: 2, context: 9, vocabulary: 6, inner: None, classes: None };

/// Whether each of these is refused as not finite: loss, loss of BERT, gradients, both kinds of features, logits, samples.
fn refused(network: &mut dyn Network, parameters: &Parameters, tokens: &[u16], mask: &[bool]) -> [bool; 7] {
    fn not_finite<T>(result: Result<T>) -> bool {
        match result {
            Ok(_) => false,
            Err(Error::NotFinite { .. }) => true,
            Err(other) => panic!("{other}"),
        }
    }
    let config = network.config();
    let (causal, bert) = (Batch::autoregressive(tokens), Batch::new(tokens, Target::Bert(mask)));
    let mut gradients = Parameters::zeros(config).unwrap();
    let half = config.context / 2;
    let prefix: Vec<u16> = tokens.chunks(config.context).flat_map(|image| &image[..half]).copied().collect();
    let count = tokens.len() / config.context;
    [
        not_finite(network.loss(parameters, &causal)),
        not_finite(network.loss(parameters, &bert)),
        not_finite(network.gradients(parameters, &causal, 1.0, &mut gradients)),
        not_finite(network.features(parameters, tokens, View::Causal)),
        not_finite(network.features(parameters, tokens, View::Bidirectional(None))),
        not_finite(network.next_logits(parameters, &prefix, count)),
        not_finite(sample(network, parameters, &prefix, count, 0, &Sampling::default())),
    ]
}

/// Whatever is in a column of queries or keys: every set of instructions refuses what the reference refuses.
#[test]
fn queries_and_keys_that_are_not_finite_are_refused_as_by_the_reference() {
    let isas: Vec<Isa> = Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect();
    for (config, columns) in [(SHORT, vec![0, 7, 15, 16, 30, 31]), (LONG, vec![13, 14])] {
        let good = random(config, 3);
        let (tokens, mask) = (random_tokens(&config, 2, 3), random_mask(&config, 2, 3));
        let mut reference = Reference::new(config, DType::F32).unwrap();
        for isa in &isas {
            // The good twin.
            let mut engine = Engine::new(config).unwrap().with_isa(*isa).unwrap();
            assert_eq!(refused(&mut engine, &good, &tokens, &mask), [false; 7]);
        }
        for column in columns {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
                let mut bad = good.clone();
                let weights = bad.get_mut("h.1.attn.c_attn").unwrap();
                weights.chunks_mut(3 * config.width).for_each(|row| row[column] = value);
                let expected = match value.is_finite() {
                    // Where a single product stays within f32, a token's logits may well be finite.
                    true => refused(&mut reference, &bad, &tokens, &mask),
                    false => [true; 7],
                };
                assert_eq!(expected[..5], [true; 5], "the reference, {value} in column {column}");
                for isa in &isas {
                    let mut engine = Engine::new(config).unwrap().with_isa(*isa).unwrap();
                    let found = refused(&mut engine, &bad, &tokens, &mask);
                    assert_eq!(found, expected, "{value} in column {column} of {config:?}, {isa:?}");
                }
            }
        }
    }
}

/// Any parameter, of every tensor.
#[test]
fn a_parameter_that_is_nan_is_found_wherever_it_is_and_named() {
    let good = random(SHORT, 4);
    let (tokens, mask) = (random_tokens(&SHORT, 2, 4), random_mask(&SHORT, 2, 4));
    let mut engine = Engine::new(SHORT).unwrap();
    for entry in Layout::new(SHORT).unwrap().entries() {
        for value in [f32::NAN, f32::INFINITY] {
            let mut bad = good.clone();
            bad.get_mut(&entry.name).unwrap().fill(value);
            // BERT has no SOS token.
            let bert = entry.name == "sos";
            let features = entry.name == "head";
            let expected = [true, !bert, true, !features, !features && !bert, true, true];
            assert_eq!(refused(&mut engine, &bad, &tokens, &mask), expected, "{value} in {}", entry.name);
            let error = engine.loss(&bad, &Batch::autoregressive(&tokens)).unwrap_err().to_string();
            assert!(error.contains(&format!("parameter {} is {value} at 0", entry.name)), "{error}");
        }
    }
}

/// Scores so large that `f32` cannot tell their differences: forward they are the reference's, and their gradient, which
/// cannot be computed from what is kept, is refused.
#[test]
fn huge_scores_are_the_references_forward_and_no_gradient_backward() {
    let mut parameters = random(SHORT, 5);
    let weights = parameters.get_mut("h.0.attn.c_attn").unwrap();
    weights
        .chunks_mut(3 * SHORT.width)
        .for_each(|row| row[..2 * SHORT.width].iter_mut().for_each(|x| *x *= 1e6));
    let tokens = random_tokens(&SHORT, 2, 5);
    let batch = Batch::autoregressive(&tokens);
    let mut engine = Engine::new(SHORT).unwrap();
    let mut reference = Reference::new(SHORT, DType::F32).unwrap();
    let [found, expected] =
        [engine.loss(&parameters, &batch).unwrap(), reference.loss(&parameters, &batch).unwrap()];
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
    let mut gradients = Parameters::zeros(SHORT).unwrap();
    let error = engine.gradients(&parameters, &batch, 1.0, &mut gradients).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error}");
}

/// Parameters whose loss is finite and whose gradient is not: the residual stream is near the smallest number that there
/// is, and the last RMSNorm's weight near the largest, by which the gradient is multiplied on its way back.
pub(in crate::engine) fn overflows_backward(config: Config) -> Parameters {
    let mut parameters = random(config, 7);
    for entry in Layout::new(config).unwrap().entries() {
        let values = parameters.get_mut(&entry.name).unwrap();
        match entry.name.as_str() {
            "wte" | "wpe" | "sos" => values.iter_mut().for_each(|x| *x *= 1e-37),
            "ln_f" => values.fill(1e38),
            "head" => values.iter_mut().for_each(|x| *x *= 1e3),
            name if name.ends_with("c_proj") => values.fill(0.0),
            _ => {}
        }
    }
    parameters
}

#[test]
fn a_gradient_that_overflows_is_refused_though_the_loss_is_finite() {
    let (bad, good) = (overflows_backward(SHORT), random(SHORT, 7));
    let tokens = random_tokens(&SHORT, 2, 7);
    let batch = Batch::autoregressive(&tokens);
    let engine = || Engine::new(SHORT).unwrap();
    let networks: [Box<dyn Network>; 3] = [
        Box::new(engine()),
        Box::new(engine().with_isa(Isa::Portable).unwrap().with_precision(Precision::Bf16)),
        Box::new(Reference::new(SHORT, DType::F32).unwrap()),
    ];
    for mut network in networks {
        assert!(network.loss(&bad, &batch).unwrap().is_finite());
        let mut gradients = Parameters::zeros(SHORT).unwrap();
        let error = network.gradients(&bad, &batch, 1.0, &mut gradients).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
        assert!(error.to_string().contains("the gradient of "), "{error}");
        let mut gradients = Parameters::zeros(SHORT).unwrap();
        network.gradients(&good, &batch, 1.0, &mut gradients).unwrap();
    }
}

use super::*;
use crate::model::{Batch, Network, Target, View};
use crate::rng::Rng;
use std::collections::HashMap;

const TINY: Config =
    Config { layers: 3, width: 12, heads: 3, context: 16, vocabulary: 10, inner: None, classes: None };

/// Every parameter random: with the output matrix at zero every other gradient of the first step is zero too.
fn random(config: Config) -> Parameters {
    let mut parameters = Parameters::init(config, 1).unwrap();
    let mut rng = Rng::keyed(2, "test", [0, 0]);
    for name in parameters.layout().entries().iter().map(|entry| entry.name.clone()).collect::<Vec<_>>() {
        let mean = if name.contains("ln_") { 1.0 } else { 0.0 };
        let values = parameters.get_mut(&name).unwrap();
        values.iter_mut().for_each(|x| *x = (mean + 0.3 * rng.normal()) as f32);
    }
    parameters
}

fn images(count: usize, seed: u64) -> Vec<u16> {
    let mut rng = Rng::keyed(seed, "pictures", [0, 0]);
    (0..count * TINY.context).map(|_| rng.below(TINY.vocabulary) as u16).collect()
}

/// A mask with positions 0, 3, 6, ... of even images and 1, 4, 7, ... of odd ones.
fn mask(count: usize) -> Vec<bool> {
    (0..count * TINY.context).map(|i| (i % TINY.context) % 3 == (i / TINY.context) % 2).collect()
}

fn tensor(tokens: &[u16]) -> Tensor {
    let tokens: Vec<u32> = tokens.iter().copied().map(u32::from).collect();
    let count = tokens.len() / TINY.context;
    Tensor::from_vec(tokens, (count, TINY.context), &Device::Cpu).unwrap()
}

/// Logits of one image as Hugging Face's `forward` computes them from its tokens alone: those at position i follow token i,
/// and no SOS token comes before the first.
pub(crate) fn logits_without_sos(parameters: &Parameters, tokens: &[u16]) -> Vec<Vec<f32>> {
    let model = ImageGpt::new(parameters, DType::F32, &Device::Cpu).unwrap();
    let tokens: Vec<u32> = tokens.iter().copied().map(u32::from).collect();
    let tokens = Tensor::from_vec(tokens.clone(), (1, tokens.len()), &Device::Cpu).unwrap();
    let states = model.states(&model.embed(&tokens).unwrap(), true).unwrap();
    model.output(&states).unwrap().squeeze(0).unwrap().to_vec2().unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The largest difference over the largest value.
fn difference(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    let off = ours.iter().zip(theirs).fold(0.0, |max: f64, (a, b)| max.max((a - b).abs()));
    off / largest
}

/// What Hugging Face's ImageGPT computes; made by `tests/fixtures/imagegpt/make.py`.
fn hugging_face() -> (HashMap<String, Tensor>, Parameters, Vec<u16>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/imagegpt/imagegpt.safetensors");
    let stored = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let mut parameters = Parameters::zeros(TINY).unwrap();
    for entry in parameters.layout().clone().entries() {
        let weight = &stored[&format!("weight.{}", entry.name)];
        assert_eq!(weight.dims(), entry.shape, "{}", entry.name);
        let weight = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        parameters.get_mut(&entry.name).unwrap().copy_from_slice(&weight);
    }
    let tokens = values(&stored["tokens"]).into_iter().map(|token| token as u16).collect();
    (stored, parameters, tokens)
}

#[test]
fn equals_hugging_faces_image_gpt() {
    let (stored, parameters, tokens) = hugging_face();
    // Theirs was computed in f64 and stored in f32; our f32 has its own rounding.
    for (dtype, tolerance) in [(DType::F64, 1e-7), (DType::F32, 3e-6)] {
        let model = ImageGpt::new(&parameters, dtype, &Device::Cpu).unwrap();
        let close = |ours: &Tensor, name: &str| {
            let off = difference(&values(ours), &values(&stored[name]));
            assert!(off < tolerance, "{name} in {dtype:?}: {off:e}");
        };
        let tokens = tensor(&tokens);
        close(&model.logits(&tokens).unwrap(), "logits");
        let states = model.hidden_states(&tokens).unwrap();
        assert_eq!(states.len(), TINY.layers + 1);
        states.iter().enumerate().for_each(|(i, state)| close(state, &format!("hidden.{i}")));
        let loss = model.loss(&tokens).unwrap();
        close(&loss, "loss");
        let gradients = loss.backward().unwrap();
        for (entry, tensor) in parameters.layout().entries().iter().zip(model.tensors()) {
            close(gradients.get(tensor).unwrap(), &format!("gradient.{}", entry.name));
        }
    }
}

#[test]
fn the_start_is_a_vector_before_the_image() {
    // With the SOS token's vector as colour 3's, an image behind it is one that begins with colour 3.
    let mut parameters = random(TINY);
    let third = parameters.get("wte").unwrap()[3 * TINY.width..][..TINY.width].to_vec();
    parameters.get_mut("sos").unwrap().copy_from_slice(&third);
    let image = images(1, 11);
    let model = ImageGpt::new(&parameters, DType::F32, &Device::Cpu).unwrap();
    let begun = [&[3], &image[..TINY.context - 1]].concat();
    let without = logits_without_sos(&parameters, &begun).concat();
    let without: Vec<f64> = without.into_iter().map(f64::from).collect();
    assert_eq!(values(&model.logits(&tensor(&image)).unwrap()), without);
}

#[test]
fn the_network_interface_says_the_same() {
    let (stored, parameters, tokens) = hugging_face();
    let mut network = Reference::new(TINY, DType::F64).unwrap();
    let batch = Batch::autoregressive(&tokens);
    let mut gradients = Parameters::zeros(TINY).unwrap();
    // Added, in two parts, to what is there.
    gradients.values_mut().fill(1.0);
    let loss = network.gradients(&parameters, &batch, 0.25, &mut gradients).unwrap();
    network.gradients(&parameters, &batch, 0.75, &mut gradients).unwrap();
    assert!((loss - values(&stored["loss"])[0]).abs() < 1e-6);
    assert_eq!(loss, network.loss(&parameters, &batch).unwrap());
    for entry in parameters.layout().entries() {
        let ours: Vec<f64> =
            gradients.get(&entry.name).unwrap().iter().map(|x| f64::from(*x) - 1.0).collect();
        let off = difference(&ours, &values(&stored[&format!("gradient.{}", entry.name)]));
        assert!(off < 1e-4, "{}: {off:e}", entry.name); // 1 + gradient has only 2^-24 of 1
    }

    let logits = values(&stored["logits"]);
    for t in [0, 5, TINY.context - 1] {
        let prefix: Vec<u16> = tokens.chunks(TINY.context).flat_map(|image| &image[..t]).copied().collect();
        let next = network.next_logits(&parameters, &prefix, 2).unwrap();
        for (image, ours) in next.chunks(TINY.vocabulary).enumerate() {
            let ours: Vec<f64> = ours.iter().map(|x| f64::from(*x)).collect();
            let at = (image * TINY.context + t) * TINY.vocabulary;
            assert!(difference(&ours, &logits[at..at + TINY.vocabulary]) < 1e-6, "t = {t}");
        }
    }

    // Features: block l's first RMSNorm of the l-th hidden state, by hand.
    let features = network.features(&parameters, &tokens, View::Causal).unwrap();
    let (l, c) = (TINY.layers + 1, TINY.width);
    assert_eq!(features.len(), 2 * l * c);
    for layer in 0..l {
        let state = values(&stored[&format!("hidden.{layer}")]);
        let mut mean = vec![0.0; 2 * c];
        for (position, h) in state.chunks(c).enumerate() {
            let deviation = (h.iter().map(|x| x * x).sum::<f64>() / c as f64 + 1e-5).sqrt();
            for (channel, x) in h.iter().enumerate() {
                let normed = if layer < TINY.layers {
                    let weight = parameters.get(&format!("h.{layer}.ln_1")).unwrap()[channel];
                    x / deviation * f64::from(weight)
                } else {
                    *x
                };
                mean[position / TINY.context * c + channel] += normed / TINY.context as f64;
            }
        }
        let ours: Vec<f64> = (0..2)
            .flat_map(|image| &features[(image * l + layer) * c..][..c])
            .map(|x| f64::from(*x))
            .collect();
        let off = difference(&ours, &mean);
        assert!(off < 1e-6, "layer {layer}: {off:e}");
    }
}

#[test]
fn gradients_equal_finite_differences() {
    let parameters = random(TINY);
    let tokens = tensor(&images(2, 3));
    let masked =
        Tensor::from_vec(mask(2).into_iter().map(u8::from).collect(), (2, TINY.context), &Device::Cpu);
    let masked = masked.unwrap();
    for bert in [false, true] {
        let loss = |model: &ImageGpt| {
            if bert { model.bert_loss(&tokens, &masked) } else { model.loss(&tokens) }.unwrap()
        };
        let model = ImageGpt::new(&parameters, DType::F64, &Device::Cpu).unwrap();
        let gradients = loss(&model).backward().unwrap();
        for (index, entry) in parameters.layout().entries().iter().enumerate() {
            // Along a random direction of this tensor.
            let mut rng = Rng::keyed(4, "direction", [index as u64, 0]);
            let direction: Vec<f64> = entry.range.clone().map(|_| rng.normal()).collect();
            let along = Tensor::from_vec(direction.clone(), entry.shape.clone(), &Device::Cpu).unwrap();
            let at = |step: f64| {
                let moved = ImageGpt::from_tensors(TINY, |e| {
                    let tensor = parameters.tensor(&e.name)?.to_dtype(DType::F64)?;
                    Ok(if e == entry { (tensor + (&along * step)?)? } else { tensor })
                });
                values(&loss(&moved.unwrap()))[0]
            };
            let h = 1e-4;
            // Of the fourth order: error h⁴.
            let measured = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            let computed: f64 = match gradients.get(model.tensors()[index]) {
                Some(gradient) => values(gradient).iter().zip(&direction).map(|(g, d)| g * d).sum(),
                None => 0.0,
            };
            assert!(
                (measured - computed).abs() < 1e-7 * computed.abs().max(0.01),
                "{} (bert: {bert}): {measured} measured, {computed} computed",
                entry.name
            );
            assert_eq!(computed == 0.0, bert && entry.name == "sos", "{}", entry.name);
        }
    }
}

#[test]
fn the_past_does_not_see_the_future() {
    let model = ImageGpt::new(&random(TINY), DType::F32, &Device::Cpu).unwrap();
    let image = images(1, 5);
    let before = values(&model.logits(&tensor(&image)).unwrap());
    for position in 0..TINY.context {
        let mut changed = image.clone();
        changed[position] = (changed[position] + 1) % TINY.vocabulary as u16;
        let after = values(&model.logits(&tensor(&changed)).unwrap());
        // Logits at a position predict its token, so those at `position` do not move either; all after it do.
        let moved = |i: usize| {
            before[i * TINY.vocabulary..][..TINY.vocabulary]
                != after[i * TINY.vocabulary..][..TINY.vocabulary]
        };
        assert!((0..TINY.context).all(|i| moved(i) == (i > position)), "token {position}");
    }
}

#[test]
fn a_network_starts_at_ln_v_and_then_everything_learns() {
    let mut parameters = Parameters::init(TINY, 1).unwrap();
    let mut network = Reference::new(TINY, DType::F64).unwrap();
    let (tokens, masked) = (images(4, 6), mask(4));
    for target in [Target::Autoregressive, Target::Bert(&masked)] {
        let batch = Batch::new(&tokens, target);
        let mut gradients = Parameters::zeros(TINY).unwrap();
        let loss = network.gradients(&parameters, &batch, 1.0, &mut gradients).unwrap();
        assert!((loss - (TINY.vocabulary as f64).ln()).abs() < 1e-12, "{loss}");
        // Only the output matrix: it is zero.
        let zero =
            |gradients: &Parameters, name: &str| gradients.get(name).unwrap().iter().all(|x| *x == 0.0);
        assert!(!zero(&gradients, "head") && zero(&gradients, "wte") && zero(&gradients, "h.2.mlp.c_proj"));

        let step = gradients.values().to_vec();
        parameters.values_mut().iter_mut().zip(&step).for_each(|(x, gradient)| *x -= gradient);
        let mut gradients = Parameters::zeros(TINY).unwrap();
        network.gradients(&parameters, &batch, 1.0, &mut gradients).unwrap();
        let bert = matches!(target, Target::Bert(_));
        for entry in parameters.layout().entries() {
            assert_eq!(zero(&gradients, &entry.name), bert && entry.name == "sos", "{}", entry.name);
        }
        parameters = Parameters::init(TINY, 1).unwrap();
    }
}

#[test]
fn bert_neither_sees_masked_colours_nor_counts_the_others() {
    let model = ImageGpt::new(&random(TINY), DType::F64, &Device::Cpu).unwrap();
    let (image, masked) = (images(1, 7), mask(1));
    let mask =
        Tensor::from_vec(masked.iter().copied().map(u8::from).collect(), (1, TINY.context), &Device::Cpu);
    let mask = mask.unwrap();
    let logits = |image: &[u16]| values(&model.bert_logits(&tensor(image), &mask).unwrap());
    let before = logits(&image);
    for (position, masked) in masked.iter().enumerate() {
        let mut changed = image.clone();
        changed[position] = (changed[position] + 1) % TINY.vocabulary as u16;
        let after = logits(&changed);
        // What is masked changes nothing; what is not changes the logits of all positions, those before it as well.
        let moved = |i: usize| {
            before[i * TINY.vocabulary..][..TINY.vocabulary]
                != after[i * TINY.vocabulary..][..TINY.vocabulary]
        };
        assert!((0..TINY.context).all(|i| moved(i) != *masked), "token {position}");
    }
    // The loss by hand, from the logits: masked positions only.
    let nll = |position: usize| {
        let logits = &before[position * TINY.vocabulary..][..TINY.vocabulary];
        logits.iter().map(|x| x.exp()).sum::<f64>().ln() - logits[usize::from(image[position])]
    };
    let positions: Vec<usize> = (0..TINY.context).filter(|position| masked[*position]).collect();
    let by_hand = positions.iter().map(|position| nll(*position)).sum::<f64>() / positions.len() as f64;
    let loss = values(&model.bert_loss(&tensor(&image), &mask).unwrap())[0];
    assert!((loss - by_hand).abs() < 1e-12, "{loss} {by_hand}");
}

#[test]
fn berts_images_count_alike_however_much_is_masked() {
    let mut network = Reference::new(TINY, DType::F64).unwrap();
    let parameters = random(TINY);
    let (tokens, mut masked) = (images(2, 8), mask(2));
    masked[TINY.context..].fill(false);
    masked[TINY.context + 2] = true;
    let mut loss = |tokens: &[u16], masked: &[bool]| {
        network.loss(&parameters, &Batch::new(tokens, Target::Bert(masked)))
    };
    let (first, second) = tokens.split_at(TINY.context);
    let (first_mask, second_mask) = masked.split_at(TINY.context);
    let separate = (loss(first, first_mask).unwrap() + loss(second, second_mask).unwrap()) / 2.0;
    assert!((loss(&tokens, &masked).unwrap() - separate).abs() < 1e-12);
    masked[TINY.context..].fill(false);
    let error = loss(&tokens, &masked).unwrap_err().to_string();
    assert!(error.contains("without a masked token"), "{error}");
}

#[test]
fn a_large_batch_is_computed_in_parts() {
    // So large a network that one image is a part.
    let config =
        Config { layers: 1, width: 32, heads: 16, context: 768, vocabulary: 10, inner: None, classes: None };
    let mut network = Reference::new(config, DType::F32).unwrap();
    assert_eq!(network.images_at_a_time(), 1);
    let parameters = random(config);
    let mut rng = Rng::keyed(9, "pictures", [0, 0]);
    let tokens: Vec<u16> = (0..2 * config.context).map(|_| rng.below(10) as u16).collect();
    let mut whole = Parameters::zeros(config).unwrap();
    let mut parts = whole.clone();
    let loss = network.gradients(&parameters, &Batch::autoregressive(&tokens), 1.0, &mut whole).unwrap();
    let mut sum = 0.0;
    for image in tokens.chunks(config.context) {
        sum += network.gradients(&parameters, &Batch::autoregressive(image), 0.5, &mut parts).unwrap();
    }
    assert_eq!(loss, sum / 2.0);
    let all = |p: &Parameters| p.values().iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    assert!(difference(&all(&whole), &all(&parts)) < 1e-6);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut network = Reference::new(TINY, DType::F32).unwrap();
    let parameters = random(TINY);
    let error = network.next_logits(&parameters, &[0; 16], 1).unwrap_err().to_string();
    assert!(error.contains("16 tokens are not the prompts"), "{error}");
    let error = network.next_logits(&parameters, &[10], 1).unwrap_err().to_string();
    assert!(error.contains("token 10 is no colour of a palette of 10"), "{error}");
    let error = network.features(&parameters, &[0; 15], View::Causal).unwrap_err().to_string();
    assert!(error.contains("15 tokens are no whole images"), "{error}");
    let other = Parameters::zeros(Config { layers: 1, ..TINY }).unwrap();
    assert!(network.loss(&other, &Batch::autoregressive(&[0; 16])).is_err());
    assert!(Reference::new(TINY, DType::BF16).is_err());
    let error = ImageGpt::from_tensors(TINY, |_| Ok(Tensor::zeros(3, DType::F32, &Device::Cpu)?));
    assert!(error.unwrap_err().to_string().contains("\"wte\" has the shape [3]; it needs [10, 12]"));
}

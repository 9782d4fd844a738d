//! The original code's variables (openai/image-gpt, `src/model.py`) and our parameters.
//!
//! | variable | shape | ours |
//! |---|---|---|
//! | `model/wte`, `model/wpe`, `model/sos` | (V, C), (T, C), (C) | `wte`, `wpe`, `sos` |
//! | `model/hl/attn/q_proj`, `k_proj`, `v_proj` | (H, C/H, C): an output's row of weights | `h.l.attn.c_attn`: a column, queries, keys, values |
//! | `model/hl/attn/c_proj` | (H, C/H, C): an input's row of weights | `h.l.attn.c_proj`, as it is |
//! | `model/hl/mlp/c_fc/w`, `c_proj/w` | (C, F), (F, C) | `h.l.mlp.c_fc`, `c_proj` |
//! | `model/hl/ln_1/g`, `ln_2/g`, `model/ln_f/g` | (C) | `h.l.ln_1`, `ln_2`, `ln_f` |
//! | `model/wtet` | (V, C) | `head` |
//! | `model/clf/wclf` | (K, C) | `score` |
//!
//! A network that was trained by BERT's objective has no `sos`; ours is then zero, and nothing of BERT's looks at it.

use super::bundle::Bundle;
use crate::model::{Config, Layout, Parameters};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// What a training keeps beside the network: Adam's moments of each variable, the powers of its betas, and the step. The
/// names are TensorFlow's own, and those that transformers' conversion leaves out.
const OF_TRAINING: [&str; 9] = [
    "Adam",
    "Adam_1",
    "adam_m",
    "adam_v",
    "AdamWeightDecayOptimizer",
    "AdamWeightDecayOptimizer_1",
    "beta1_power",
    "beta2_power",
    "global_step",
];

const SOS: &str = "model/sos";
const CLASSES: &str = "model/clf/wclf";

type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

/// A network's parameters, and whether it was trained autoregressively.
pub(super) fn parameters(bundle: &Bundle) -> Result<(Parameters, bool)> {
    let format = |what: String| Error::format(bundle.path(), what);
    let shapes: Shapes<'_> = bundle.variables().filter(|(name, _)| !is_of_training(name)).collect();
    let config = config(&shapes).map_err(format)?;
    config.validate().map_err(|e| format(e.to_string()))?;
    let causal = shapes.contains_key(SOS);
    // Before anything is made that grows with the configuration: each layer has variables.
    let layout = Layout::new(config)?;
    let wanted: Vec<(String, Vec<Wanted>)> = layout
        .entries()
        .iter()
        .filter(|entry| causal || entry.name != "sos")
        .map(|entry| (entry.name.clone(), variables(&entry.name, &entry.shape, config.heads)))
        .collect();
    account(&wanted, &shapes).map_err(format)?;
    let mut parameters = Parameters::zeros(config)?;
    for (name, variables) in wanted {
        let ours = parameters.get_mut(&name)?;
        match &variables[..] {
            [one] => ours.copy_from_slice(&bundle.numbers(&one.name)?),
            all => {
                for (part, one) in all.iter().enumerate() {
                    into_columns(&bundle.numbers(&one.name)?, ours, config.width, part);
                }
            }
        }
    }
    Ok((parameters, causal))
}

/// A variable that a network of a configuration must have.
struct Wanted {
    name: String,
    shape: Vec<usize>,
}

/// The variables that one of our parameters is made of: one, or those of queries, keys and values.
fn variables(ours: &str, shape: &[usize], heads: usize) -> Vec<Wanted> {
    let one = |name: String, shape: &[usize]| vec![Wanted { name, shape: shape.to_vec() }];
    let Some((layer, part)) = ours.strip_prefix("h.").and_then(|rest| rest.split_once('.')) else {
        return match ours {
            "head" => one("model/wtet".to_owned(), shape),
            "score" => one(CLASSES.to_owned(), shape),
            "ln_f" => one("model/ln_f/g".to_owned(), shape),
            name => one(format!("model/{name}"), shape),
        };
    };
    let of_heads = [heads, shape[0] / heads, shape[0]];
    match part {
        "attn.c_attn" => ["q_proj", "k_proj", "v_proj"]
            .map(|name| Wanted { name: format!("model/h{layer}/attn/{name}"), shape: of_heads.to_vec() })
            .into(),
        "attn.c_proj" => one(format!("model/h{layer}/attn/c_proj"), &of_heads),
        "ln_1" | "ln_2" => one(format!("model/h{layer}/{part}/g"), shape),
        _ => one(format!("model/h{layer}/{}/w", part.replace('.', "/")), shape),
    }
}

/// The network of these variables.
fn config(shapes: &Shapes<'_>) -> Result<Config, String> {
    let of =
        |name: &str| shapes.get(name).copied().ok_or_else(|| format!("no variable {name}: not an image GPT"));
    let [vocabulary, width] = lengths("model/wte", of("model/wte")?)?;
    let [context, _] = lengths("model/wpe", of("model/wpe")?)?;
    let [heads, _, _] = lengths("model/h0/attn/q_proj", of("model/h0/attn/q_proj")?)?;
    let [_, inner] = lengths("model/h0/mlp/c_fc/w", of("model/h0/mlp/c_fc/w")?)?;
    let classes = match shapes.get(CLASSES) {
        None => None,
        Some(shape) => Some(lengths(CLASSES, shape)?).map(|[classes, _]| classes),
    };
    let layers = (0..).take_while(|l| shapes.contains_key(&*format!("model/h{l}/ln_1/g"))).count();
    let inner = (Some(inner) != width.checked_mul(4)).then_some(inner);
    Ok(Config { layers, width, heads, context, vocabulary, inner, classes })
}

/// A shape of so many dimensions.
fn lengths<const N: usize>(name: &str, shape: &[usize]) -> Result<[usize; N], String> {
    shape.try_into().map_err(|_| format!("{name} has the shape {shape:?}, and should have {N} dimensions"))
}

/// Whether it is what a training keeps beside the network.
fn is_of_training(name: &str) -> bool {
    name.split('/').any(|part| OF_TRAINING.contains(&part))
}

/// Says what is missing, of another shape, or too much.
fn account(wanted: &[(String, Vec<Wanted>)], shapes: &Shapes<'_>) -> Result<(), String> {
    let (mut missing, mut other, mut unexpected) = (Vec::new(), Vec::new(), shapes.clone());
    for Wanted { name, shape } in wanted.iter().flat_map(|(_, variables)| variables) {
        match unexpected.remove(&name[..]) {
            None => missing.push(name.clone()),
            Some(found) if found != shape => {
                other.push(format!("{name} has the shape {found:?} and not {shape:?}"));
            }
            Some(_) => {}
        }
    }
    let unexpected: Vec<String> = unexpected.into_keys().map(str::to_owned).collect();
    let parts: Vec<String> = [("missing: ", missing), ("unexpected: ", unexpected), ("", other)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what}{}", listed(&names)))
        .collect();
    match parts.is_empty() {
        true => Ok(()),
        false => Err(format!("not the variables of an image GPT. {}", parts.join("; "))),
    }
}

/// The first of them, and how many more there are.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "))
}

/// Rows become columns of part 0, 1 or 2 of `c_attn`, `(C, 3C)`.
fn into_columns(rows: &[f32], c_attn: &mut [f32], width: usize, part: usize) {
    for (out, row) in rows.chunks(width).enumerate() {
        for (input, weight) in row.iter().enumerate() {
            c_attn[input * 3 * width + part * width + out] = *weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_training_keeps_is_known_by_name() {
        for name in
            ["global_step", "beta1_power", "model/wte/Adam", "model/h0/attn/q_proj/adam_v", "beta2_power"]
        {
            assert!(is_of_training(name), "{name}");
        }
        for name in ["model/wte", "model/Adams", "model/wte/ExponentialMovingAverage", "model/h0/mlp/c_fc/b"]
        {
            assert!(!is_of_training(name), "{name}");
        }
    }

    #[test]
    fn a_configuration_is_that_of_the_shapes() {
        let names: Vec<String> = (0..3).map(|l| format!("model/h{l}/ln_1/g")).collect();
        let mut shapes: Shapes<'_> = names.iter().map(|name| (&name[..], &[24][..])).collect();
        shapes.extend([
            ("model/wte", &[9, 24][..]),
            ("model/wpe", &[16, 24]),
            ("model/h0/attn/q_proj", &[3, 8, 24]),
            ("model/h0/mlp/c_fc/w", &[24, 96]),
        ]);
        let usual =
            Config { layers: 3, width: 24, heads: 3, context: 16, vocabulary: 9, inner: None, classes: None };
        assert_eq!(config(&shapes).unwrap(), usual);
        shapes.insert("model/h0/mlp/c_fc/w", &[24, 50]);
        shapes.insert(CLASSES, &[10, 24]);
        assert_eq!(config(&shapes).unwrap(), Config { inner: Some(50), classes: Some(10), ..usual });
        shapes.insert("model/wte", &[9]);
        assert_eq!(config(&shapes).unwrap_err(), "model/wte has the shape [9], and should have 2 dimensions");
        shapes.remove("model/wte");
        assert_eq!(config(&shapes).unwrap_err(), "no variable model/wte: not an image GPT");
    }
}

//! Hugging Face's tensors and ours.
//!
//! Names are ours between `transformer.` and `.weight`, `head` is theirs `lm_head`, `score` has
//! no prefix, and their `wte` has the SOS token, our
//! `sos`, as its last row. They have biases, which the original code has not: zeros in the released checkpoints. Older
//! files also hold the causal mask, which is no parameter.

use super::tensor::{Raw, Tensors};
use crate::model::{Config, Layout, Parameters};
use crate::{Error, Result};
use std::ops::Range;
use std::path::Path;

/// A tensor that a checkpoint must have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// Where its numbers lie among ours; `None` for a bias.
    pub(super) range: Option<Range<usize>>,
}

/// All tensors of a network's checkpoint.
pub(super) fn places(layout: &Layout) -> Vec<Place> {
    let mut places = Vec::new();
    for entry in layout.entries() {
        let (name, shape) = (&entry.name, entry.shape.clone());
        let name = match name.as_str() {
            "head" => "lm_head".to_owned(),
            "score" => "score".to_owned(),
            name => format!("transformer.{name}"),
        };
        match (entry.name.as_str(), places.last_mut()) {
            // `sos` lies behind the rows of `wte`, as it does in theirs.
            ("sos", Some(Place { shape, range: Some(range), .. })) if range.end == entry.range.start => {
                shape[0] += 1;
                range.end = entry.range.end;
            }
            _ => {
                let bias = match &shape[..] {
                    [_, out] if name.starts_with("transformer.h.") => Some(*out),
                    _ => None,
                };
                let range = Some(entry.range.clone());
                places.push(Place { name: format!("{name}.weight"), shape, range });
                let bias =
                    bias.map(|out| Place { name: format!("{name}.bias"), shape: vec![out], range: None });
                places.extend(bias);
            }
        }
    }
    places
}

/// The parameters that the tensors are. `path` is the file that errors name.
pub(super) fn parameters(config: Config, tensors: &Tensors<'_>, path: &Path) -> Result<Parameters> {
    // Before anything is made that grows with what config.json says.
    if tensors.len() < config.layers {
        let what = format!("{} tensors, but config.json says {} layers", tensors.len(), config.layers);
        return Err(Error::format(path, what));
    }
    let places = places(&Layout::new(config)?);
    account(&config, &places, tensors).map_err(|what| Error::format(path, what))?;
    let of = |name: &str, what: &str| Error::format(path, format!("{name}: {what}"));
    for place in places.iter().filter(|place| place.range.is_none()) {
        let largest = largest_but_zero(&tensors[&place.name]);
        if let Some(largest) = largest.map_err(|what| of(&place.name, &what))? {
            return Err(Error::Bias { path: path.to_owned(), tensor: place.name.clone(), largest });
        }
    }
    let mut parameters = Parameters::zeros(config)?;
    for place in places {
        if let Some(range) = place.range {
            let copied = tensors[&place.name].copy_to(&mut parameters.values_mut()[range]);
            copied.map_err(|what| of(&place.name, &what))?;
        }
    }
    Ok(parameters)
}

/// Says what is missing, of another shape or type, or too much.
fn account(config: &Config, places: &[Place], tensors: &Tensors<'_>) -> Result<(), String> {
    let (mut missing, mut other) = (Vec::new(), Vec::new());
    for Place { name, shape, .. } in places {
        match tensors.get(name) {
            None => missing.push(name.clone()),
            Some(raw) if raw.shape != *shape => {
                other.push(format!("{name} has the shape {:?} and not {shape:?}", raw.shape));
            }
            Some(raw) if !raw.is_float() => other.push(format!("{name} does not hold floats")),
            Some(_) => {}
        }
    }
    let mut expected: Vec<&str> = places.iter().map(|place| place.name.as_str()).collect();
    expected.sort_unstable();
    let unexpected = tensors
        .keys()
        .filter(|name| expected.binary_search(&name.as_str()).is_err() && !is_buffer(name, config.layers));
    let unexpected: Vec<String> = unexpected.cloned().collect();
    let parts = [("missing: ", missing), ("unexpected: ", unexpected), ("", other)].map(|(what, names)| {
        const SHOWN: usize = 6;
        let more = names.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if names.is_empty() { String::new() } else { format!("{what}{shown}{more}") }
    });
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    match parts.is_empty() {
        true => Ok(()),
        false => Err(format!("not the tensors of the network in config.json. {}", parts.join("; "))),
    }
}

/// Whether it is a block's causal mask, or the number that older versions put where it hides something.
fn is_buffer(name: &str, layers: usize) -> bool {
    let rest = name.strip_prefix("transformer.h.").and_then(|rest| rest.split_once('.'));
    rest.is_some_and(|(l, rest)| {
        matches!(rest, "attn.bias" | "attn.masked_bias") && l.parse::<usize>().is_ok_and(|l| l < layers)
    })
}

/// The number that is farthest from zero, if one is not zero.
fn largest_but_zero(raw: &Raw<'_>) -> Result<Option<f32>, String> {
    let mut values = vec![0.0; raw.shape.iter().product()];
    raw.copy_to(&mut values)?;
    let largest = values.into_iter().max_by(|a, b| a.abs().total_cmp(&b.abs()));
    Ok(largest.filter(|largest| *largest != 0.0))
}

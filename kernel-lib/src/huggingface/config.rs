//! `config.json`: which network it is, and that it is one of ours.

use crate::model::Config;
use crate::{Error, Result, json as strict};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::Path;

/// What a `config.json` says of the network. Fields that are not there have the values that transformers gives them;
/// other fields (dropout, generation, …) do not change what the network computes.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Theirs {
    model_type: String,
    n_layer: usize,
    n_embd: usize,
    n_head: usize,
    n_positions: usize,
    vocab_size: usize,
    n_inner: Option<usize>,
    activation_function: String,
    layer_norm_epsilon: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    tie_word_embeddings: bool,
    add_cross_attention: bool,
    architectures: Option<Vec<String>>,
    /// The names of classes, which count for an `ImageGPTForImageClassification` only: transformers writes two for others, too.
    id2label: Option<Map<String, Value>>,
}

/// transformers' class for networks with a classification head.
const CLASSIFIER: &str = "ImageGPTForImageClassification";

impl Default for Theirs {
    /// transformers' `ImageGPTConfig()`.
    fn default() -> Self {
        Self {
            model_type: "imagegpt".to_owned(),
            n_layer: 24,
            n_embd: 512,
            n_head: 8,
            n_positions: 1024,
            vocab_size: 513,
            n_inner: None,
            activation_function: "quick_gelu".to_owned(),
            layer_norm_epsilon: 1e-5,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            tie_word_embeddings: false,
            add_cross_attention: false,
            architectures: None,
            id2label: None,
        }
    }
}

/// Reads a `config.json`.
pub(super) fn read(path: &Path) -> Result<Config> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse(&bytes).map_err(|what| Error::format(path, what))
}

/// The network of a `config.json`, or why it is none of ours.
fn parse(bytes: &[u8]) -> Result<Config, String> {
    let none = |e: serde_json::Error| format!("not the configuration of an ImageGPT: {e}");
    // An object: of a list serde would make one, too.
    let object: Map<String, Value> = strict::from_slice(bytes).map_err(none)?;
    let theirs: Theirs = serde_json::from_value(object.into()).map_err(none)?;
    let ours = Theirs::default();
    let differs = |field: &str, theirs: Value, ours: Value| match theirs == ours {
        true => Ok(()),
        false => Err(format!(
            "{field} is {theirs}; the networks here have {ours} and would compute something else"
        )),
    };
    // As f32: some files have what 1e-5 is in f32.
    let epsilon = |epsilon: f64| json!(f64::from(epsilon as f32));
    differs("model_type", json!(theirs.model_type), json!(ours.model_type))?;
    differs("activation_function", json!(theirs.activation_function), json!(ours.activation_function))?;
    differs("layer_norm_epsilon", epsilon(theirs.layer_norm_epsilon), epsilon(ours.layer_norm_epsilon))?;
    for (field, theirs, ours) in [
        ("scale_attn_weights", theirs.scale_attn_weights, ours.scale_attn_weights),
        (
            "scale_attn_by_inverse_layer_idx",
            theirs.scale_attn_by_inverse_layer_idx,
            ours.scale_attn_by_inverse_layer_idx,
        ),
        ("tie_word_embeddings", theirs.tie_word_embeddings, ours.tie_word_embeddings),
        ("add_cross_attention", theirs.add_cross_attention, ours.add_cross_attention),
    ] {
        differs(field, json!(theirs), json!(ours))?;
    }
    // The last of their tokens is the SOS token, which is no colour.
    let vocabulary =
        theirs.vocab_size.checked_sub(1).ok_or("vocab_size is 0; it counts the colours and the SOS token")?;
    let classifies = theirs.architectures.iter().flatten().any(|name| name == CLASSIFIER);
    let mut config = Config {
        layers: theirs.n_layer,
        width: theirs.n_embd,
        heads: theirs.n_head,
        context: theirs.n_positions,
        vocabulary,
        inner: theirs.n_inner,
        classes: classifies.then(|| theirs.id2label.map_or(2, |names| names.len())),
    };
    config.validate().map_err(|e| e.to_string())?;
    if config.inner == Some(4 * config.width) {
        config.inner = None;
    }
    Ok(config)
}

/// A `config.json` of this network, with the fields of the released ones.
pub(super) fn to_json(config: &Config) -> Value {
    let architecture = if config.classes.is_some() { CLASSIFIER } else { "ImageGPTForCausalImageModeling" };
    let mut fields = json!({
        "activation_function": "quick_gelu",
        "architectures": [architecture],
        "attn_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-5,
        "model_type": "imagegpt",
        "n_embd": config.width,
        "n_head": config.heads,
        "n_inner": config.inner,
        "n_layer": config.layers,
        "n_positions": config.context,
        "reorder_and_upcast_attn": false,
        "resid_pdrop": 0.1,
        "scale_attn_by_inverse_layer_idx": false,
        "scale_attn_weights": true,
        "tie_word_embeddings": false,
        "torch_dtype": "float32",
        "use_cache": true,
        "vocab_size": config.vocabulary + 1,
    });
    if let (Some(classes), Some(fields)) = (config.classes, fields.as_object_mut()) {
        let names = (0..classes).map(|class| (class.to_string(), json!(format!("LABEL_{class}"))));
        fields.insert("id2label".to_owned(), Value::Object(names.collect()));
        let numbers = (0..classes).map(|class| (format!("LABEL_{class}"), json!(class)));
        fields.insert("label2id".to_owned(), Value::Object(numbers.collect()));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let usual = Config::igpt_s();
        let odd = Config {
            layers: 1,
            width: 21,
            heads: 3,
            context: 35,
            vocabulary: 11,
            inner: Some(40),
            classes: None,
        };
        for config in [usual, odd, odd.with_classes(Some(3)), usual.with_classes(Some(1000))] {
            assert_eq!(parse(to_json(&config).to_string().as_bytes()).unwrap(), config);
        }
        // What is not said is as transformers has it, and four times the width is what it is without saying.
        assert_eq!(parse(b"{}").unwrap(), usual);
        assert_eq!(
            parse(br#"{"n_inner": 2048, "layer_norm_epsilon": 9.999999747378752e-06}"#).unwrap(),
            usual
        );
    }

    #[test]
    fn other_networks_are_refused_by_name() {
        for (text, said) in [
            (r#"{"model_type": "gpt2"}"#, r#"model_type is "gpt2"; the networks here have "imagegpt""#),
            (r#"{"activation_function": "gelu"}"#, r#"activation_function is "gelu""#),
            (r#"{"layer_norm_epsilon": 1e-6}"#, "layer_norm_epsilon is "),
            (r#"{"scale_attn_weights": false}"#, "scale_attn_weights is false; the networks here have true"),
            (r#"{"scale_attn_by_inverse_layer_idx": true}"#, "scale_attn_by_inverse_layer_idx is true"),
            (r#"{"tie_word_embeddings": true}"#, "tie_word_embeddings is true"),
            (r#"{"add_cross_attention": true}"#, "add_cross_attention is true"),
            (r#"{"vocab_size": 0}"#, "vocab_size is 0"),
            (r#"{"vocab_size": 1}"#, "vocabulary = 0"),
            (r#"{"n_head": 7}"#, "7 heads do not divide a width of 512"),
            (r#"{"n_positions": 0}"#, "context = 0"),
            (r#"{"n_inner": 0}"#, "inner = 0"),
            (r#"{"n_embd": -1}"#, "not the configuration of an ImageGPT: invalid value: integer `-1`"),
            (r#"{"n_layer": 1048576, "n_embd": 1048576}"#, "than any memory can hold"),
            ("[]", "not the configuration of an ImageGPT"),
            (r#"{"n_head": 8, "n_head": 4}"#, "\"n_head\" is there twice"),
            (r#"{"id2label": {"0": "a", "0": "b"}}"#, "\"0\" is there twice"),
            ("", "not the configuration of an ImageGPT: EOF"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(said), "{error:?} does not say {said:?}");
        }
    }
}

//! What decides a result, and the key that is made of it.

use crate::hex::hex;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Raised when keys are made in another way.
const FORMAT: u32 = 1;

/// What a result is stored under: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// Enough of it to tell results apart.
    pub fn short(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A computation, and everything that decides its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    name: String,
    settings: Value,
    code: Vec<(String, String)>,
    inputs: Vec<(String, Key)>,
    data: Vec<Data>,
    seed: Option<u64>,
    device: String,
}

/// The data that a step reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Data {
    pub(super) name: String,
    pub(super) revision: String,
    pub(super) sha256: String,
}

impl Description {
    /// A step of this name (lower-case letters, digits and hyphens) with all its settings: a struct that says every
    /// choice that was made.
    ///
    /// # Errors
    /// If the name is none, or the settings cannot be written as JSON.
    pub fn new(name: &str, settings: &impl Serialize) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(Error::invalid(format!(
                "{name:?} cannot name a step: use lower-case letters, digits and hyphens"
            )));
        }
        let settings = serde_json::to_value(settings)
            .map_err(|e| Error::invalid(format!("the settings of {name} cannot be written as JSON: {e}")))?;
        Ok(Self {
            name: name.to_owned(),
            settings: sorted(settings),
            code: Vec::new(),
            inputs: Vec::new(),
            data: Vec::new(),
            seed: None,
            device: "cpu".into(),
        })
    }

    /// Names what computes the step: modules of this library, or parts of them, as `build/lists.rs` has them. Their
    /// sources, and those of all that they use, are part of the key: when one changes, the step is computed anew.
    ///
    /// # Errors
    /// If there is no such module.
    pub fn code(mut self, modules: &[&str]) -> Result<Self> {
        for module in modules {
            self.code.push(((*module).to_owned(), source_hash(module)?.to_owned()));
        }
        Ok(self)
    }

    /// Names a result that this step starts from.
    #[must_use]
    pub fn input(mut self, name: &str, key: &Key) -> Self {
        self.inputs.push((name.to_owned(), key.clone()));
        self
    }

    /// Names data that the step reads, a data set or a file: what it is called, which revision, and the SHA-256 of what was read.
    #[must_use]
    pub fn data(mut self, name: &str, revision: &str, sha256: &str) -> Self {
        self.data.push(Data { name: name.into(), revision: revision.into(), sha256: sha256.into() });
        self
    }

    /// The seed of all chance in it.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The device that computes it, if not `cpu`: others round differently.
    #[must_use]
    pub fn device(mut self, device: &str) -> Self {
        self.device = device.to_owned();
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its result is stored under.
    pub fn key(&self) -> Key {
        let digest = Sha256::digest(self.description().as_bytes());
        Key(hex(&digest))
    }

    /// Everything that decides the result, as JSON, always written in the same way.
    pub fn description(&self) -> String {
        let pairs = |pairs: Vec<(&String, String)>| -> Value {
            pairs.into_iter().map(|(name, value)| json!([name, value])).collect()
        };
        let all = json!({
            "format": FORMAT,
            "step": self.name,
            "settings": self.settings,
            "inputs": pairs(self.inputs.iter().map(|(name, key)| (name, key.to_string())).collect()),
            "data": self.data,
            "seed": self.seed,
            "device": self.device,
            "code": pairs(self.code.iter().map(|(name, hash)| (name, hash.clone())).collect()),
        });
        all.to_string()
    }

    pub(super) fn data_read(&self) -> &[Data] {
        &self.data
    }

    pub(super) fn seed_used(&self) -> Option<u64> {
        self.seed
    }

    pub(super) fn device_used(&self) -> &str {
        &self.device
    }
}

/// The hash of what computes a step, as `build.rs` made it.
fn source_hash(module: &str) -> Result<&'static str> {
    let all = env!("IGPT_SOURCES").split(';').filter_map(|entry| entry.split_once('='));
    let found = all.clone().find(|(name, _)| *name == module).map(|(_, hash)| hash);
    found.ok_or_else(|| {
        let known: Vec<_> = all.map(|(name, _)| name).collect();
        Error::invalid(format!("no module {module:?} computes anything; there are {}", known.join(", ")))
    })
}

/// The same JSON with the fields of every object in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> Description {
        Description::new("test", &json!({"a": 1, "b": [{"y": 2.5, "x": "z"}]})).unwrap()
    }

    #[test]
    fn a_key_depends_on_everything_that_decides_the_result() {
        let other = Description::new("other", &json!({})).unwrap().key();
        let all = [
            step(),
            Description::new("test2", &json!({"a": 1, "b": [{"y": 2.5, "x": "z"}]})).unwrap(),
            Description::new("test", &json!({"a": 1, "b": [{"y": 2.6, "x": "z"}]})).unwrap(),
            step().seed(0),
            step().seed(1),
            step().device("cuda"),
            step().input("palette", &other),
            step().input("network", &other),
            step().input("palette", &step().key()),
            step().data("d", "1", "aa"),
            step().data("d", "2", "aa"),
            step().data("d", "1", "ab"),
            step().code(&["rng"]).unwrap(),
            step().code(&["probe"]).unwrap(),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a.key() != b.key()), "{i}");
        }
        assert_eq!(step().key(), step().key());
        assert_eq!(step().key().to_string().len(), 64);
    }

    #[test]
    fn the_order_of_settings_does_not_matter() {
        let other = Description::new("test", &json!({"b": [{"x": "z", "y": 2.5}], "a": 1})).unwrap();
        assert_eq!(other.key(), step().key());
    }

    #[test]
    fn unknown_modules_and_odd_names_are_refused() {
        let error = step().code(&["probes"]).unwrap_err().to_string();
        assert!(error.contains("no module \"probes\"") && error.contains("palette, pca, probe"), "{error}");
        for name in ["", "A", "a/b", "..", "a b"] {
            assert!(Description::new(name, &()).is_err(), "{name}");
        }
    }
}

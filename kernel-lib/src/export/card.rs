//! What a model card is.

use std::fmt;

/// A model card: the `README.md` of a model on the Hugging Face hub, with metadata for the hub in front of a text for people.
/// As text it is that file.
///
/// Source: <https://huggingface.co/docs/hub/model-cards>.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ModelCard {
    /// Licences of the weights, any of which may be chosen, as the hub calls them: `mit`, `apache-2.0`.
    pub license: Vec<String>,
    /// The library that computes the network: `transformers`. `None` if no library of Python computes it.
    pub library_name: Option<String>,
    /// What it is for, as the hub calls it: `unconditional-image-generation`.
    pub pipeline_tag: Option<String>,
    /// Words by which it is found.
    pub tags: Vec<String>,
    /// Data sets of the hub that it was trained on, `owner/name`.
    pub datasets: Vec<String>,
    /// The text, in Markdown.
    pub text: String,
}

impl fmt::Display for ModelCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "---")?;
        for (name, values) in [("license", &self.license), ("tags", &self.tags), ("datasets", &self.datasets)]
        {
            if !values.is_empty() {
                writeln!(f, "{name}:")?;
            }
            values.iter().try_for_each(|value| writeln!(f, "- {}", scalar(value)))?;
        }
        for (name, value) in [("library_name", &self.library_name), ("pipeline_tag", &self.pipeline_tag)] {
            value.iter().try_for_each(|value| writeln!(f, "{name}: {}", scalar(value)))?;
        }
        writeln!(f, "---\n\n{}", self.text.trim_end())
    }
}

/// A text in YAML. Quoted, it may be anything: every string of JSON is one of YAML.
fn scalar(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    // Without quotes these would be no texts.
    let other =
        ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&&*text.to_lowercase());
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(word) && !other;
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_front_matter_and_text() {
        let card = ModelCard {
            license: vec!["mit".into(), "apache-2.0".into()],
            library_name: Some("transformers".into()),
            tags: vec!["vision".into(), "No".into(), "a: b".into()],
            datasets: vec!["owner/name".into()],
            text: "# A network\n\n".into(),
            ..ModelCard::default()
        };
        assert_eq!(
            card.to_string(),
            "---\nlicense:\n- mit\n- apache-2.0\ntags:\n- vision\n- \"No\"\n- \"a: b\"\ndatasets:\n- owner/name\n\
             library_name: transformers\n---\n\n# A network\n"
        );
        assert_eq!(ModelCard::default().to_string(), "---\n---\n\n\n");
    }
}

//! Secrets that must not appear in anything that a run leaves behind.
//!
//! Blanked is a secret as it is, as `{:?}` shows it, in HTML and in URLs, in hexadecimal digits, and inside whatever was
//! encoded in base64. What a cell encrypts, reverses or prints one character a line stays.

use std::{borrow::Cow, io::Write};

use anyhow::{Context as _, Result, ensure};
use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use serde_json::Value;

use super::text::escape;

/// The variables that hold the token of the Hugging Face hub. A kernel does not get them unless that is asked for.
pub const TOKENS: [&str; 2] = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];

/// What stands in a secret's place.
pub const BLANK: &str = "***";

/// Shorter texts occur by chance: blanking them would tear ordinary outputs.
const SHORTEST: usize = 6;

/// The secrets of a run.
#[derive(Clone, Default)]
pub struct Secrets {
    /// All forms of all secrets.
    needles: Vec<String>,
}

// A secret is not to be printed by accident.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({} forms)", self.needles.len())
    }
}

impl Secrets {
    /// The values of the hub's token variables and of these others.
    ///
    /// # Errors
    /// A named variable that is not set, or is too short to be blanked: whoever names it relies on it. An empty one is
    /// fine, as CI services set secrets that a fork may not see.
    pub fn from_environment(named: &[String]) -> Result<Self> {
        let mut values = Vec::new();
        for name in TOKENS {
            values.extend(std::env::var(name));
        }
        for name in named {
            let value = std::env::var(name).with_context(|| {
                format!("--mask {name}: there is no such environment variable, so nothing would be blanked")
            })?;
            let length = value.trim().len();
            ensure!(
                length == 0 || length >= SHORTEST,
                "--mask {name}: its value has {length} characters; blanking it would blank ordinary text"
            );
            values.push(value);
        }
        Ok(Self::of(values.iter().map(String::as_str)))
    }

    /// These texts, but for those that are too short.
    pub fn of<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut needles: Vec<String> =
            values.map(str::trim).filter(|value| value.len() >= SHORTEST).flat_map(forms).collect();
        needles.sort();
        needles.dedup();
        Self { needles }
    }

    /// Whether there is nothing to blank.
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// The text without secrets.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.needles.iter().any(|needle| text.contains(needle.as_str())) {
            let whole = self.mask_pieces(&[text]).pop().unwrap_or_default();
            return Cow::Owned(whole);
        }
        Cow::Borrowed(text)
    }

    /// Pieces of one text, without the secrets in that text: also those that begin in one piece and end in another.
    pub fn mask_pieces(&self, pieces: &[&str]) -> Vec<String> {
        let whole = pieces.concat();
        let mut found: Vec<(usize, usize)> = Vec::new();
        for needle in &self.needles {
            let mut from = 0;
            // Overlapping ones, too.
            while let Some(at) = whole[from..].find(needle.as_str()).map(|at| from + at) {
                found.push((at, at + needle.len()));
                from = at + needle.chars().next().map_or(1, char::len_utf8);
            }
        }
        let merged = merged(found);
        let mut masked = Vec::new();
        let mut start = 0;
        for piece in pieces {
            let end = start + piece.len();
            let (mut text, mut at) = (String::new(), start);
            for (from, to) in merged.iter().filter(|(from, to)| *from < end && *to > start) {
                text.push_str(&whole[at..(*from).max(at)]);
                if *from >= start {
                    text.push_str(BLANK);
                }
                at = (*to).min(end);
            }
            text.push_str(&whole[at..end]);
            masked.push(text);
            start = end;
        }
        masked
    }

    /// Blanks secrets in every text of a document, names of fields included.
    pub fn mask_value(&self, value: &mut Value) {
        if self.is_empty() {
            return;
        }
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.mask(text) {
                    *text = masked;
                }
            }
            // Lines of one text.
            Value::Array(lines) if !lines.is_empty() && lines.iter().all(Value::is_string) => {
                let pieces: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
                let masked = self.mask_pieces(&pieces);
                *lines = masked.into_iter().map(Value::String).collect();
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_value(item)),
            Value::Object(map) => {
                if map.keys().any(|key| matches!(self.mask(key), Cow::Owned(_))) {
                    let entries = std::mem::take(map);
                    map.extend(entries.into_iter().map(|(key, value)| (self.mask(&key).into_owned(), value)));
                }
                map.values_mut().for_each(|value| self.mask_value(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A writer that blanks secrets, also those that come in several writes.
    pub fn writer<W: Write>(&self, inner: W) -> Masking<W> {
        Masking { secrets: self.clone(), held: Vec::new(), inner }
    }

    /// Where secrets are.
    fn found(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let of = |needle: &String| {
            let length = needle.len();
            let windows = bytes.windows(length).enumerate();
            windows
                .filter(|(_, window)| *window == needle.as_bytes())
                .map(|(at, _)| (at, at + length))
                .collect()
        };
        merged(self.needles.iter().flat_map(|needle| -> Vec<_> { of(needle) }).collect())
    }

    /// How many bytes at the end may be the begin of a secret.
    fn open_end(&self, bytes: &[u8]) -> usize {
        let longest = |needle: &String| {
            let most = needle.len().saturating_sub(1).min(bytes.len());
            (1..=most).rev().find(|length| bytes.ends_with(&needle.as_bytes()[..*length])).unwrap_or(0)
        };
        self.needles.iter().map(longest).max().unwrap_or(0)
    }
}

/// Places that touch or overlap become one.
fn merged(mut found: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    found.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (from, to) in found {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// Everything that stands for a secret.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![
        secret.to_owned(),
        secret.escape_debug().to_string(),
        escape(secret),
        percent(secret),
        HEXLOWER.encode(secret.as_bytes()),
        HEXUPPER.encode(secret.as_bytes()),
    ];
    for encoding in [&BASE64, &BASE64URL] {
        // Where the secret begins within three bytes decides on its characters; those that it shares with its
        // neighbours are nobody's.
        for before in 0..3_usize {
            let mut bytes = vec![0; before];
            bytes.extend_from_slice(secret.as_bytes());
            let from = (before * 8).div_ceil(6);
            let to = bytes.len() * 8 / 6;
            let encoded = encoding.encode(&bytes);
            forms.extend(encoded.get(from..to).filter(|core| core.len() >= SHORTEST).map(str::to_owned));
        }
    }
    forms
}

/// As in a URL.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Passes on what is written, without secrets.
#[derive(Debug)]
pub struct Masking<W: Write> {
    secrets: Secrets,
    /// May be the begin of a secret.
    held: Vec<u8>,
    inner: W,
}

impl<W: Write> Masking<W> {
    /// Passes on all but what may turn out to be a secret: `open` bytes at the end, and a secret that reaches into them.
    fn pass_on(&mut self, open: usize) -> std::io::Result<()> {
        let found = self.secrets.found(&self.held);
        let end = self.held.len() - open;
        let end = found.iter().find(|(from, to)| *from < end && end < *to).map_or(end, |(from, _)| *from);
        let mut at = 0;
        for (from, to) in found.into_iter().filter(|(_, to)| *to <= end) {
            self.inner.write_all(&self.held[at..from])?;
            self.inner.write_all(BLANK.as_bytes())?;
            at = to;
        }
        self.inner.write_all(&self.held[at..end])?;
        self.held.drain(..end);
        Ok(())
    }

    /// Writes what was held back.
    ///
    /// # Errors
    /// Those of the inner writer.
    pub fn finish(mut self) -> std::io::Result<()> {
        self.pass_on(0)?;
        self.inner.flush()
    }
}

impl<W: Write> Write for Masking<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.held.extend_from_slice(bytes);
        let open = self.secrets.open_end(&self.held);
        self.pass_on(open)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TOKEN: &str = "hf_AbC\"d&e/fGhIjKlMnOp";

    fn secrets() -> Secrets {
        Secrets::of([TOKEN].into_iter())
    }

    #[test]
    fn every_form_is_blanked() {
        let forms = [
            TOKEN.to_owned(),
            format!("{TOKEN:?}"),
            escape(TOKEN),
            percent(TOKEN),
            HEXLOWER.encode(TOKEN.as_bytes()),
        ];
        for form in forms {
            let masked = secrets().mask(&format!("a {form} b")).into_owned();
            assert!(masked.starts_with("a ") && masked.ends_with(" b") && masked.contains(BLANK), "{masked}");
            assert!(!masked.contains("AbC") && !masked.contains("GhIj"), "{masked}");
        }
        for around in ["", "x", "xy", "Authorization: Bearer ", "user:"] {
            for after in ["", "z", "\n and more"] {
                let encoded = BASE64.encode(format!("{around}{TOKEN}{after}").as_bytes());
                let masked = secrets().mask(&encoded).into_owned();
                assert!(masked.contains(BLANK), "{encoded}");
                // What is left gives no more than the characters at the seams.
                let left: usize = masked.split(BLANK).map(str::len).sum();
                assert!(left <= (around.len() + after.len()) * 4 / 3 + 8, "{masked}");
            }
        }
        assert_eq!(secrets().mask("hf_AbCd and nothing else"), "hf_AbCd and nothing else");
    }

    #[test]
    fn a_secret_in_pieces_is_blanked_wherever_it_is_cut() {
        let text = format!("before {TOKEN}{TOKEN} after");
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                let masked = secrets().mask_pieces(&pieces);
                assert_eq!((masked.len(), masked.concat()), (3, format!("before {BLANK} after")));
                let mut written = Vec::new();
                let mut writer = secrets().writer(&mut written);
                pieces.iter().for_each(|piece| writer.write_all(piece.as_bytes()).unwrap());
                writer.finish().unwrap();
                let written = String::from_utf8(written).unwrap();
                assert!(
                    written == format!("before {BLANK}{BLANK} after")
                        || written == format!("before {BLANK} after"),
                    "{written}"
                );
            }
        }
    }

    #[test]
    fn a_secret_that_repeats_itself_is_blanked_whole() {
        for text in ["abcabcabc", "xabcabcab", "abcabcab abcabc", "abcabcd"] {
            for cut in 0..=text.len() {
                let mut written = Vec::new();
                let mut writer = Secrets::of(["abcabc"].into_iter()).writer(&mut written);
                writer.write_all(&text.as_bytes()[..cut]).unwrap();
                writer.write_all(&text.as_bytes()[cut..]).unwrap();
                writer.finish().unwrap();
                let written = String::from_utf8(written).unwrap();
                assert_eq!(written, Secrets::of(["abcabc"].into_iter()).mask(text), "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn logs_keep_what_is_no_text() {
        let mut written = Vec::new();
        let mut writer = secrets().writer(&mut written);
        writer.write_all(&[0xff, b'a']).unwrap();
        writer.write_all(TOKEN.as_bytes()).unwrap();
        writer.write_all(&[0xfe, b'h']).unwrap();
        writer.finish().unwrap();
        assert_eq!(written, [&[0xff, b'a'][..], BLANK.as_bytes(), &[0xfe, b'h']].concat());
    }

    #[test]
    fn documents_are_searched_through() {
        let (head, tail) = TOKEN.split_at(9);
        let mut document =
            json!({"text": [format!("a {head}"), format!("{tail}\n")], "deep": [{TOKEN: 1}, TOKEN, 7]});
        secrets().mask_value(&mut document);
        assert_eq!(document, json!({"text": ["a ***", "\n"], "deep": [{"***": 1}, "***", 7]}));
        let mut nothing = json!({"a": ["b", 1]});
        Secrets::default().mask_value(&mut nothing);
        assert_eq!(nothing, json!({"a": ["b", 1]}));
    }

    #[test]
    fn short_values_are_left_alone() {
        assert!(Secrets::of(["abc", " \n"].into_iter()).is_empty());
        assert!(!format!("{:?}", secrets()).contains("AbC"));
    }
}

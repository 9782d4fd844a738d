//! JSON that others wrote. An object that has a name twice is an error here: serde_json keeps the last of the two where
//! names are not known beforehand (`Value`, maps), and others keep the first, so that nobody could say what was meant.

use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::fmt;

/// What the JSON is.
///
/// # Errors
/// If it is no JSON, or not that of a `T`, or if an object in it has a name twice.
pub(crate) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice::<Unambiguous>(json)?;
    serde_json::from_slice(json)
}

/// Any JSON whose objects have each name once.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Walk).map(|()| Self)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::new();
        while let Some(name) = object.next_key::<String>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format!("{name:?} is there twice")));
            }
            names.insert(name);
            object.next_value::<Unambiguous>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<Unambiguous>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_name_twice_is_an_error_that_says_so() {
        for (text, said) in [
            (r#"{"a": 1, "a": 1}"#, "\"a\" is there twice at line 1 column "),
            (r#"[0, {"b": [{"c": null, "d": 1, "c": 2}]}]"#, "\"c\" is there twice"),
            // The same name, written otherwise.
            (r#"{"a": 1, "\u0061": 2}"#, "\"a\" is there twice"),
            (r#"{"": 1, "": 2}"#, "\"\" is there twice"),
        ] {
            // What serde_json says nothing of.
            serde_json::from_str::<Value>(text).unwrap();
            let error = from_slice::<Value>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        // Profiles and lists are TOML, which knows that by itself.
        let error = toml::from_str::<toml::Table>("a = 1\na = 1").unwrap_err().to_string();
        assert!(error.contains("duplicate key"), "{error}");
    }

    #[test]
    fn other_json_is_read_as_serde_json_reads_it() {
        let text =
            r#"{"a": [true, -1, 18446744073709551615, 0.1, "x\n", null, {}], "b": {"a": 1}, "c": {"a": 1}}"#;
        let read: Value = from_slice(text.as_bytes()).unwrap();
        assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(from_slice::<Vec<u8>>(b"[1, 2]").unwrap(), [1, 2]);
        assert_eq!(from_slice::<Value>(b" 5 ").unwrap(), json!(5));
        for bad in [&b"{"[..], b"", b"{} {}", b"{1: 2}", b"nul", b"\xff", &[b'['; 1000]] {
            assert!(from_slice::<Value>(bad).is_err(), "{bad:?}");
        }
    }
}

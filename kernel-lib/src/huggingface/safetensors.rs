//! The safetensors format: the length of the header in 8 bytes, the header in JSON (`{"name": {"dtype", "shape",
//! "data_offsets"}}`), the numbers.
//!
//! Read here and not with the `safetensors` crate, whose sums of offsets overflow on files that are made for it.

use super::tensor::{Kind, Raw, Tensors, bytes_of};
use crate::json;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The header: each tensor's name, and what is said of it. What is under `__metadata__` says nothing of tensors.
struct Header(Vec<(String, Info)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the names of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Header, A::Error> {
                let mut tensors = Vec::new();
                while let Some(name) = object.next_key::<String>()? {
                    if name == "__metadata__" {
                        object.next_value::<IgnoredAny>()?;
                    } else {
                        let info = object.next_value();
                        let info = info.map_err(|e| A::Error::custom(format!("{name}: {e}")))?;
                        tensors.push((name, info));
                    }
                }
                Ok(Header(tensors))
            }
        }
        json.deserialize_map(Object)
    }
}

/// The longest header, as the safetensors crate has it: reading JSON takes several times as much memory.
const LONGEST_HEADER: usize = 100_000_000;

/// The tensors of a file, or what is wrong with it.
pub(super) fn tensors(file: &[u8]) -> Result<Tensors<'_>, String> {
    let cut = "not a safetensors file, or cut short: it ends in its header";
    let (length, rest) = file.split_first_chunk::<8>().ok_or(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut)?;
    let (header, data) = rest.split_at_checked(length).ok_or(cut)?;
    if length > LONGEST_HEADER {
        return Err(format!(
            "its header has {length} bytes, and the format allows {LONGEST_HEADER}: no safetensors file, or damaged"
        ));
    }
    let Header(header) = json::from_slice(header)
        .map_err(|e| format!("not a safetensors file: its header is no JSON object of tensors ({e})"))?;
    let mut tensors = Tensors::new();
    let mut spans = Vec::with_capacity(header.len());
    for (name, info) in header {
        let kind = match info.dtype.as_str() {
            "F64" => Kind::F64,
            "F32" => Kind::F32,
            "F16" => Kind::F16,
            "BF16" => Kind::Bf16,
            "I64" | "U64" => Kind::Other(8),
            "I32" | "U32" => Kind::Other(4),
            "I16" | "U16" => Kind::Other(2),
            "I8" | "U8" | "BOOL" => Kind::Other(1),
            other => return Err(format!("{name}: numbers of type {other} are not known here")),
        };
        let [start, end] = info.data_offsets;
        let bytes = data.get(start..end).ok_or_else(|| {
            format!(
                "{name}: it lies at {start}..{end} of {} bytes: the file is cut short or damaged",
                data.len()
            )
        })?;
        if bytes_of(kind, &info.shape) != Some(bytes.len()) {
            return Err(format!(
                "{name}: {} bytes are not {} of shape {:?}",
                bytes.len(),
                info.dtype,
                info.shape
            ));
        }
        spans.push((start, end, name.clone()));
        tensors.insert(name, Raw { kind, shape: info.shape, bytes });
    }
    // The format wants the numbers without holes, and each number to be one tensor's.
    spans.sort_unstable();
    let mut last = (0, "the header");
    for (start, end, name) in &spans {
        if *start < last.0 {
            return Err(format!(
                "{} and {name} share their numbers, which the format does not allow: save tensor.clone() of one of them",
                last.1
            ));
        }
        if *start > last.0 {
            return Err(format!(
                "between {} and {name} are {} bytes that are no tensor's: it is damaged",
                last.1,
                start - last.0
            ));
        }
        last = (*end, name);
    }
    match data.len() - last.0 {
        0 => Ok(tensors),
        more => Err(format!("behind {} are {more} bytes that are no tensor's: it is damaged", last.1)),
    }
}

//! The safetensors format: the length of the header in 8 bytes, the header in JSON (`{"name": {"dtype", "shape",
//! "data_offsets"}}`), the numbers.
//!
//! Read here and not with the `safetensors` crate, whose sums of offsets overflow on files that are made for it.

use super::tensor::{Kind, Raw, Tensors, bytes_of};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The tensors of a file, or what is wrong with it.
pub(super) fn tensors(file: &[u8]) -> Result<Tensors<'_>, String> {
    let cut = "not a safetensors file, or cut short: it ends in its header";
    let (length, rest) = file.split_first_chunk::<8>().ok_or(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut)?;
    let (header, data) = rest.split_at_checked(length).ok_or(cut)?;
    let mut header: BTreeMap<String, Value> = serde_json::from_slice(header)
        .map_err(|e| format!("not a safetensors file: its header is no JSON object ({e})"))?;
    header.remove("__metadata__");
    let mut tensors = Tensors::new();
    let mut spans = Vec::with_capacity(header.len());
    for (name, info) in header {
        let info: Info = serde_json::from_value(info).map_err(|e| format!("{name}: {e}"))?;
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
        spans.push((start, end));
        tensors.insert(name, Raw { kind, shape: info.shape, bytes });
    }
    // The format wants the numbers without holes, and each number to be one tensor's.
    spans.sort_unstable();
    let end = spans.iter().try_fold(0, |last, (start, end)| (*start == last).then_some(*end));
    match end {
        Some(end) if end == data.len() => Ok(tensors),
        _ => Err("its tensors overlap, leave holes, or end before the file does: it is damaged".to_owned()),
    }
}

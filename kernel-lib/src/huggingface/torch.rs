//! `pytorch_model.bin`: what `torch.save` makes of a state dictionary. A zip archive with a pickle, `…/data.pkl`, and
//! the numbers of each storage in `…/data/KEY`.
//!
//! Read here and not with candle's `pickle`, which copies every tensor; here files are mapped, and whatever is wrong with one
//! is said (`tests/malformed.rs`).

use super::pickle::{self, Pending, Tensor};
use super::tensor::{Raw, Tensors, bytes_of};
use super::zip::Archive;
use std::ops::Range;

/// What the legacy form begins with: a pickle of the number 0x1950a86a20f9469cfc6c.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The tensors of a file, or what is wrong with it.
pub(super) fn tensors(file: &[u8]) -> Result<Tensors<'_>, String> {
    if file.starts_with(LEGACY) {
        return Err("in the form that PyTorch wrote before version 1.6, which is not read here. Write it again in Python: \
                    torch.save(torch.load(file, map_location=\"cpu\", weights_only=True), file)"
            .to_owned());
    }
    if !file.starts_with(b"PK\x03\x04") {
        return Err("not a file of torch.save, which is a zip archive".to_owned());
    }
    let archive = Archive::parse(file)?;
    let mut pickles = archive.names().filter(|name| name.ends_with("/data.pkl"));
    let (Some(name), None) = (pickles.next(), pickles.next()) else {
        return Err("not a file of torch.save: it should have one entry …/data.pkl".to_owned());
    };
    let folder = name.trim_end_matches("data.pkl");
    if archive.get(&format!("{folder}byteorder"))?.is_some_and(|order| order != b"little") {
        return Err("its numbers are big-endian, which is not read here".to_owned());
    }
    let pickle = archive.get(name)?.unwrap_or_default();
    let named = pickle::state_dict(pickle)
        .map_err(|what| format!("its entry {name:?} is no dictionary of tensors: {what}"))?;
    let mut tensors = Tensors::new();
    // Where each tensor's bytes are, by storage.
    let mut spans = Vec::with_capacity(named.len());
    for (name, tensor) in named {
        let raw = locate(&archive, folder, &tensor).map_err(|what| format!("{name}: {what}"))?;
        let start = tensor.offset * tensor.storage.kind.size();
        spans.push((tensor.storage.key, start..start + raw.bytes.len(), name));
        tensors.insert(name.to_owned(), raw);
    }
    // Or a small file could ask for any amount of memory.
    if let Some((one, other)) = shared(spans) {
        return Err(format!(
            "{one} and {other} share their numbers, which no two tensors of an ImageGPT do: save tensor.clone() of one of \
             them"
        ));
    }
    Ok(tensors)
}

/// Where a tensor's numbers are.
fn locate<'a>(archive: &Archive<'a>, folder: &str, tensor: &Tensor<'_>) -> Result<Raw<'a>, String> {
    let Tensor { storage, offset, shape, strides, pending } = tensor;
    let put_off = match pending {
        None => None,
        Some(Pending::Negative) => Some(("negative", "resolve_neg")),
        Some(Pending::Conjugate) => Some(("conjugate", "resolve_conj")),
    };
    if let Some((bit, cure)) = put_off {
        return Err(format!(
            "PyTorch's {bit} bit is set: its numbers are not yet those in the file. Save tensor.{cure}()"
        ));
    }
    let entry = format!("{folder}data/{}", storage.key);
    let bytes =
        archive.get(&entry)?.ok_or_else(|| format!("there is no entry {entry:?}, which has its numbers"))?;
    if bytes_of(storage.kind, &[storage.len]) != Some(bytes.len()) {
        return Err(format!("its numbers are {} bytes, not {} numbers", bytes.len(), storage.len));
    }
    if !is_contiguous(shape, strides) {
        return Err(format!(
            "its numbers do not lie in order (shape {shape:?}, strides {strides:?}): save tensor.contiguous()"
        ));
    }
    let part = || {
        let start = bytes_of(storage.kind, &[*offset])?;
        bytes.get(start..start.checked_add(bytes_of(storage.kind, shape)?)?)
    };
    let bytes = part().ok_or_else(|| {
        format!("shape {shape:?} from number {offset} on is more than the {} numbers there are", storage.len)
    })?;
    Ok(Raw { kind: storage.kind, shape: shape.clone(), bytes })
}

/// Two tensors that have a number in common, of these storages and places there.
fn shared<'a>(mut spans: Vec<(&str, Range<usize>, &'a str)>) -> Option<(&'a str, &'a str)> {
    spans.retain(|(_, span, _)| !span.is_empty());
    spans.sort_unstable_by_key(|(storage, span, name)| (*storage, span.start, *name));
    spans.windows(2).find_map(|pair| {
        let [(storage, span, name), (next_storage, next_span, next)] = pair else { return None };
        (storage == next_storage && next_span.start < span.end).then_some((*name, *next))
    })
}

/// Whether numbers lie beside each other, the last dimension's nearest.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut step = 1usize;
    let follows = |(length, stride): (&usize, &usize)| {
        // Where there is one, its stride says nothing.
        let fits = *length == 1 || *stride == step;
        step = step.saturating_mul(*length);
        fits
    };
    shape.len() == strides.len() && shape.iter().zip(strides).rev().all(follows)
}

//! Checkpoints: all that a run needs to go on to the bit-identical result, in one file.

use super::{AdamState, Curve, Training};
use crate::hex::hex;
use crate::model::{Config, Parameters};
use crate::{Error, Result, atomic};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The key of our metadata in the file's header.
const KEY: &str = "igpt";

/// What a run is: two runs of which this is equal compute the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub settings: Training,
    pub network: Config,
    /// Images to train on and to validate with.
    pub images: [usize; 2],
    /// What else it depends on, each by name: checksums of the data and the palette.
    pub inputs: BTreeMap<String, String>,
}

impl Identity {
    /// As JSON, without what changes no result.
    fn canonical(&self) -> Result<Value> {
        let mut value = serde_json::to_value(self).map_err(|e| Error::invalid(e.to_string()))?;
        if let Some(settings) = value.get_mut("settings").and_then(Value::as_object_mut) {
            settings.shift_remove("checkpoint_every");
            settings.shift_remove("activation_checkpointing");
        }
        Ok(value)
    }
}

/// Where a run is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// The network.
    pub parameters: Parameters,
    /// The optimiser.
    pub adam: AdamState,
    /// How the loss fell so far.
    pub curve: Curve,
    /// Sum and number of losses since the curve's last point.
    pub(super) since: (f64, u64),
    /// The network with the best accuracy on the validation images so far, where classes are learnt.
    pub(super) best: Option<Best>,
}

/// The network with the best accuracy so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Best {
    pub step: u64,
    pub share: f64,
    pub values: Vec<f32>,
}

/// What stands beside the tensors.
#[derive(Serialize, Deserialize)]
struct Header {
    step: u64,
    /// Of the library that wrote it.
    version: String,
    run: Value,
    run_sha256: String,
    tensors_sha256: String,
    curve: Curve,
    since: (f64, u64),
    /// The best network's step and accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<(u64, f64)>,
}

/// The folder of a run's checkpoints: the last, and the one before it.
///
/// A checkpoint is written beside the last one and takes its place only when it is whole and on the disk, so a crash
/// or a full disk at any moment leaves at least one good file. The files are safetensors: the parameters by their
/// names, `adam.mean`, `adam.square`, and the rest as JSON in the metadata under `igpt`.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// Checkpoints in this folder, which is made if there is none.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        Ok(Self { folder })
    }

    /// The file of the last checkpoint.
    pub fn last(&self) -> PathBuf {
        self.folder.join("checkpoint.safetensors")
    }

    /// The file of the one before it.
    pub fn previous(&self) -> PathBuf {
        self.folder.join("checkpoint.previous.safetensors")
    }

    /// Writes a checkpoint; the last one becomes the previous one.
    pub(super) fn save(&self, identity: &Identity, checkpoint: &Checkpoint) -> Result<()> {
        let bytes = to_bytes(identity, checkpoint)?;
        // Always the same name: what a crash leaves there is overwritten, and does not fill the disk.
        let partial = self.folder.join("checkpoint.partial");
        let failed = |e: io::Error| {
            let what = format!(
                "the checkpoint of step {} could not be written: {e}. Earlier ones are as they were; make room or \
                 set another folder, and run again to continue from there",
                checkpoint.step
            );
            Error::io(&partial, io::Error::new(e.kind(), what))
        };
        if let Err(e) = fs::write(&partial, &bytes).and_then(|()| atomic::sync(&partial)) {
            // Best effort: it may be what fills the disk.
            let _ = fs::remove_file(&partial);
            return Err(failed(e));
        }
        if self.last().exists() {
            atomic::rename(&self.last(), &self.previous()).map_err(failed)?;
        }
        atomic::rename(&partial, &self.last()).map_err(failed)
    }

    /// Makes `now`, which is of this run, the last checkpoint, if there is one, and says whether there is. Where a crash came
    /// between two renames it is the previous one. What `now` has is overwritten in its place: beside it there is but the
    /// file in memory.
    ///
    /// # Errors
    /// If the file is damaged, or of another run; `now` is as it was then.
    pub(super) fn load_into(&self, identity: &Identity, now: &mut Checkpoint) -> Result<bool> {
        for path in [self.last(), self.previous()] {
            match fs::read(&path) {
                Ok(bytes) => {
                    from_bytes(&bytes, identity, &path, self.cure(&path), now)?;
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io(path, e)),
            }
        }
        Ok(false)
    }

    /// What to do about a damaged file.
    fn cure(&self, path: &Path) -> &'static str {
        if path == self.last() && self.previous().exists() {
            "delete it, and the run goes on from the checkpoint before it, which lies beside it"
        } else {
            "delete it, and the run begins anew"
        }
    }
}

/// Tensors of a checkpoint by their names.
fn tensors(checkpoint: &Checkpoint) -> Vec<(&str, Vec<usize>, &[f32])> {
    let Checkpoint { parameters, adam, .. } = checkpoint;
    let best = checkpoint.best.as_ref().map(|best| &best.values);
    let of_network =
        parameters.layout().entries().iter().map(|entry| {
            (entry.name.as_str(), entry.shape.clone(), &parameters.values()[entry.range.clone()])
        });
    let others = [("adam.mean", Some(&adam.mean)), ("adam.square", Some(&adam.square)), ("best", best)];
    let others = others.into_iter().filter_map(|(name, values)| Some((name, values?)));
    of_network.chain(others.map(|(name, values)| (name, vec![values.len()], values.as_slice()))).collect()
}

fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hex(&hash.finalize())
}

fn to_bytes(identity: &Identity, checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let impossible =
        |e: &dyn std::fmt::Display| Error::invalid(format!("a checkpoint cannot be written: {e}"));
    let tensors = tensors(checkpoint);
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(.., values)| values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let run = identity.canonical()?;
    let header = Header {
        step: checkpoint.step,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        run_sha256: sha256([run.to_string().as_bytes()]),
        run,
        tensors_sha256: sha256(bytes.iter().map(Vec::as_slice)),
        curve: checkpoint.curve.clone(),
        since: checkpoint.since,
        best: checkpoint.best.as_ref().map(|best| (best.step, best.share)),
    };
    let header = serde_json::to_string(&header).map_err(|e| impossible(&e))?;
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, shape, _), bytes) in tensors.into_iter().zip(&bytes) {
        views.push((name, TensorView::new(Dtype::F32, shape, bytes).map_err(|e| impossible(&e))?));
    }
    let metadata = HashMap::from([(KEY.to_owned(), header)]);
    safetensors::serialize(views, Some(metadata)).map_err(|e| impossible(&e))
}

fn from_bytes(
    bytes: &[u8],
    identity: &Identity,
    path: &Path,
    cure: &str,
    now: &mut Checkpoint,
) -> Result<()> {
    let damaged = |what: &dyn std::fmt::Display| {
        Error::format(path, format!("the checkpoint is damaged ({what}): {cure}"))
    };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
    let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let header = header.ok_or_else(|| Error::format(path, "this is no checkpoint of a training run"))?;
    let header: Header = serde_json::from_str(header).map_err(|e| damaged(&e))?;

    let run = identity.canonical()?;
    let differing = differing(&header.run, &run, "");
    if !differing.is_empty() {
        return Err(Error::format(
            path,
            format!(
                "the checkpoint is that of another run: {}. Set what it says to go on with it, or choose another \
                 folder for this run",
                differing.join("; ")
            ),
        ));
    }

    // All is looked at before anything is changed, but for the room of a best network.
    let count = now.parameters.values().len();
    now.best = header.best.map(|(step, share)| Best { step, share, values: vec![0.0; count] });
    let mut read = Vec::new();
    for (name, shape, _) in tensors(now) {
        let tensor = file.tensor(name).map_err(|e| damaged(&e))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            return Err(damaged(&format!(
                "{name} is {:?} {:?}, not F32 {shape:?}",
                tensor.dtype(),
                tensor.shape()
            )));
        }
        read.push(tensor.data());
    }
    if sha256(read.iter().copied()) != header.tensors_sha256 {
        return Err(damaged(&"its checksum is another"));
    }
    let mut values = read.iter().flat_map(|bytes| {
        bytes.chunks_exact(4).map(|bytes| bytes.try_into().map_or(0.0, f32::from_le_bytes))
    });
    (now.step, now.curve, now.since) = (header.step, header.curve, header.since);
    let Checkpoint { parameters, adam, best, .. } = now;
    let best = best.as_mut().map_or(&mut [][..], |best| &mut best.values);
    for into in [parameters.values_mut(), &mut adam.mean, &mut adam.square, best] {
        into.iter_mut().zip(values.by_ref()).for_each(|(into, x)| *into = x);
    }
    Ok(())
}

/// Where two JSON values differ: `settings.batch is 32 there and 64 here`.
fn differing(there: &Value, here: &Value, name: &str) -> Vec<String> {
    if let (Value::Object(a), Value::Object(b)) = (there, here) {
        let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let null = Value::Null;
        let each = names.into_iter().flat_map(|key| {
            let (a, b) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
            differing(a, b, &if name.is_empty() { key.clone() } else { format!("{name}.{key}") })
        });
        return each.collect();
    }
    if there == here { Vec::new() } else { vec![format!("{name} is {there} there and {here} here")] }
}

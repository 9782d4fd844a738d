//! Features while they are computed: layer by layer onto the disk, from where the computation goes on if it is broken off. Those of a large
//! network take hours.

use super::precision::{FeaturePrecision, RoundingErrors};
use super::stored::StoredFeatures;
use crate::hex::hex;
use crate::store::Context;
use crate::{Error, Result, atomic, disk};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much work may be lost, besides that on the images that are computed at a time.
const EVERY: Duration = Duration::from_secs(20);

/// The file that says how far it is, beside those of the layers.
const RECORD: &str = "computed.json";

/// What is in the layers' files, with what is needed to go on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    images: usize,
    /// Of the numbers of these images, by layer: what a failure of the power left of a file may be anything.
    sha256: Vec<String>,
    errors: Vec<RoundingErrors>,
}

/// The file of a layer.
struct Layer {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Sha256,
}

/// Writes features layer by layer while they are computed.
pub(super) struct Written {
    layers: Vec<Layer>,
    width: usize,
    images: usize,
    precision: FeaturePrecision,
    /// By layer; none of f32.
    errors: Vec<RoundingErrors>,
    record: PathBuf,
    recorded: Instant,
    every: Duration,
}

impl Written {
    /// Of so many images: begins, or goes on where an earlier computation of the same step was broken off.
    pub(super) fn new(
        context: &Context,
        images: usize,
        layers: usize,
        width: usize,
        precision: FeaturePrecision,
    ) -> Result<Self> {
        let record = context.folder().join(RECORD);
        let paths: Vec<PathBuf> =
            (0..layers).map(|layer| context.folder().join(format!("layer-{layer}"))).collect();
        let there = found(&record, &paths, images, width * precision.bytes(), precision);
        let (done, hashes, errors) = match there {
            Some((Record { images, errors, .. }, hashes)) => (images, hashes, errors),
            None => {
                let errors = match precision {
                    FeaturePrecision::F32 => Vec::new(),
                    FeaturePrecision::F16 => {
                        RoundingErrors::check_memory(layers, width)?;
                        (0..layers).map(|_| RoundingErrors::new(width)).collect()
                    }
                };
                (0, vec![Sha256::new(); layers], errors)
            }
        };
        let what = match precision {
            FeaturePrecision::F32 => "the features (in f32; kept as f16 they take half of it)",
            FeaturePrecision::F16 => "the features",
        };
        disk::check(what, context.folder(), &[images - done, layers, width, precision.bytes()])?;
        let layer = |(path, hash): (PathBuf, Sha256)| {
            // What was written after the record is not known to be whole.
            let open = || {
                let mut file = File::options().create(true).truncate(false).write(true).open(&path)?;
                file.set_len((done * width * precision.bytes()) as u64)?;
                file.seek(SeekFrom::End(0))?;
                Ok(file)
            };
            let file = BufWriter::new(open().map_err(|e| Error::io(&path, e))?);
            Ok(Layer { path, file, hash })
        };
        let layers = paths.into_iter().zip(hashes).map(layer).collect::<Result<_>>()?;
        let recorded = Instant::now();
        Ok(Self { layers, width, images: done, precision, errors, record, recorded, every: EVERY })
    }

    /// How many images' features are there: the first so many need not be computed.
    pub(super) fn images(&self) -> usize {
        self.images
    }

    /// Adds features `(N, L, F)` of the next images.
    pub(super) fn add(&mut self, values: &[f32]) -> Result<()> {
        let layers = self.layers.len();
        let mut bytes = Vec::with_capacity(self.width * self.precision.bytes());
        for (at, row) in values.chunks(self.width).enumerate() {
            let (image, number) = (self.images + at / layers, at % layers);
            if let Some(feature) = row.iter().position(|value| !value.is_finite()) {
                return Err(Error::NotFinite {
                    what: format!("feature {feature} of layer {number} of image {image} is {}", row[feature]),
                    cause: "did training diverge?".to_owned(),
                });
            }
            bytes.clear();
            if let Err(feature) = self.precision.write(row, &mut bytes) {
                return Err(Error::invalid(format!(
                    "feature {feature} of layer {number} of image {image} is {}, beyond {}, the largest number of f16: keep the \
                     features in f32",
                    row[feature],
                    half::f16::MAX
                )));
            }
            if let Some(errors) = self.errors.get_mut(number) {
                errors.add(row, &self.precision.numbers(&bytes));
            }
            let layer = &mut self.layers[number];
            layer.hash.update(&bytes);
            layer.file.write_all(&bytes).map_err(|e| Error::io(&layer.path, e))?;
        }
        self.images += values.len() / (layers * self.width);
        if self.recorded.elapsed() >= self.every { self.write_record() } else { Ok(()) }
    }

    /// From here on it goes on, if it is broken off.
    fn write_record(&mut self) -> Result<()> {
        for Layer { path, file, .. } in &mut self.layers {
            file.flush().map_err(|e| Error::io(&*path, e))?;
        }
        let record = Record {
            images: self.images,
            sha256: self.layers.iter().map(|layer| hex(&layer.hash.clone().finalize())).collect(),
            errors: self.errors.clone(),
        };
        let text = serde_json::to_vec(&record).map_err(|e| Error::format(&self.record, e.to_string()))?;
        atomic::write_unsynced(&self.record, &text).map_err(|e| Error::io(&self.record, e))?;
        self.recorded = Instant::now();
        Ok(())
    }

    /// All of them, which are of so many images.
    pub(super) fn end(self, images: usize) -> Result<StoredFeatures> {
        if self.images != images {
            return Err(Error::invalid(format!("features of {} images came out of {images}", self.images)));
        }
        let flushed = |Layer { path, file, .. }: Layer| match file.into_inner() {
            Ok(_) => Ok(path),
            Err(error) => Err(Error::io(path, error.into_error())),
        };
        let layers = self.layers.into_iter().map(flushed).collect::<Result<_>>()?;
        let rounding = self.errors.iter().map(RoundingErrors::rounding).collect();
        Ok(StoredFeatures::written(layers, images, self.width, self.precision, rounding))
    }
}

/// What an earlier computation left, if it is what its record says: the record, and the hashes to go on with.
fn found(
    record: &Path,
    layers: &[PathBuf],
    images: usize,
    row: usize,
    precision: FeaturePrecision,
) -> Option<(Record, Vec<Sha256>)> {
    let record: Record = serde_json::from_slice(&std::fs::read(record).ok()?).ok()?;
    let errors = if precision.is_f32() { 0 } else { layers.len() };
    let fits =
        record.images <= images && record.sha256.len() == layers.len() && record.errors.len() == errors;
    if !fits || record.errors.iter().any(|errors| !errors.is_of(record.images)) {
        return None;
    }
    let hash = |(path, sha256): (&PathBuf, &String)| {
        let hash = hash_of(path, record.images as u64 * row as u64)?;
        (hex(&hash.clone().finalize()) == *sha256).then_some(hash)
    };
    let hashes = layers.iter().zip(&record.sha256).map(hash).collect::<Option<_>>()?;
    Some((record, hashes))
}

/// Of the first bytes of a file; `None` if it has fewer, or cannot be read.
fn hash_of(path: &Path, bytes: u64) -> Option<Sha256> {
    let (mut file, mut hash) = (File::open(path).ok()?.take(bytes), Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        match file.read(&mut buffer).ok()? {
            0 => return None,
            read => {
                hash.update(&buffer[..read]);
                left -= read as u64;
            }
        }
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::FeatureLayers as _;
    use crate::store::{Description, Store};
    use FeaturePrecision::{F16, F32};

    const IMAGES: usize = 10;
    const AT_A_TIME: usize = 3;

    /// Features `(1, 2, 2)` of an image.
    fn of_image(image: usize) -> [f32; 4] {
        [image as f32 / 3.0, -1.0 / (image + 1) as f32, 0.1, (image * image) as f32]
    }

    /// Computes them as a step does, but breaks off before an image. Returns how many images it computed.
    fn compute(store: &Store, precision: FeaturePrecision, until: usize) -> (usize, Result<StoredFeatures>) {
        let mut computed = 0;
        let found = store.get_or_run(&Description::new("some", &precision).unwrap(), |context| {
            let mut written = Written::new(context, IMAGES, 2, 2, precision)?;
            written.every = Duration::ZERO;
            while written.images() < IMAGES {
                let begin = written.images();
                if begin >= until {
                    // As after a kill: what is in buffers is lost.
                    for layer in &mut written.layers {
                        layer.file.write_all(&[7]).unwrap();
                    }
                    return Err(Error::Interrupted("the test".into()));
                }
                let end = IMAGES.min(begin + AT_A_TIME);
                let values: Vec<f32> = (begin..end).flat_map(of_image).collect();
                written.add(&values)?;
                computed += end - begin;
            }
            written.end(IMAGES)
        });
        (computed, found)
    }

    fn bits(features: &StoredFeatures) -> Vec<Vec<u32>> {
        let of_layer = |layer| {
            let matrix = features.layer(layer).unwrap();
            matrix.values().iter().map(|x| x.to_bits()).collect()
        };
        (0..2).map(of_layer).collect()
    }

    #[test]
    fn a_computation_that_was_broken_off_goes_on_to_the_same_bytes() {
        for precision in [F32, F16] {
            let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
            let [whole, broken] = folders.each_ref().map(|folder| Store::at(folder.path()));
            let (all, expected) = compute(&whole, precision, usize::MAX);
            assert_eq!(all, IMAGES);
            let expected = expected.unwrap();
            // Broken off after three images, and again after six.
            for (until, computed) in [(3, 3), (6, 3), (IMAGES, 4)] {
                let (found, result) = compute(&broken, precision, until);
                assert_eq!(found, computed, "until {until}");
                assert_eq!(result.is_ok(), until == IMAGES);
                if let Ok(result) = result {
                    assert_eq!(bits(&result), bits(&expected));
                    assert_eq!(result.rounding(1), expected.rounding(1));
                }
            }
        }
    }

    #[test]
    fn what_is_not_what_its_record_says_is_computed_anew() {
        type Spoil = fn(&Path);
        let spoil: [(&str, Spoil); 4] = [
            ("a byte", |folder| {
                let path = folder.join("layer-1");
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[2] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            }),
            ("an end", |folder| {
                File::options().write(true).open(folder.join("layer-0")).unwrap().set_len(5).unwrap();
            }),
            ("a file", |folder| std::fs::remove_file(folder.join("layer-1")).unwrap()),
            ("the record", |folder| std::fs::write(folder.join(RECORD), "{\"images\": 3").unwrap()),
        ];
        let folder = tempfile::tempdir().unwrap();
        let (_, expected) = compute(&Store::at(folder.path()), F16, usize::MAX);
        let expected = bits(&expected.unwrap());
        for (what, spoil) in spoil {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::at(folder.path());
            assert_eq!(compute(&store, F16, 3).0, 3);
            let entry = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
            spoil(&entry.join("checkpoint"));
            let (computed, found) = compute(&store, F16, usize::MAX);
            assert_eq!(computed, IMAGES, "{what}");
            assert_eq!(bits(&found.unwrap()), expected, "{what}");
        }
    }
}

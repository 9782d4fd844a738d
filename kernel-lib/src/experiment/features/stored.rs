//! Features on disk, a file for each layer.

use super::precision::FeaturePrecision;
use crate::probe::{FeatureLayers, FeatureMatrix, LayerRows, Rounding, no_layer};
use crate::store::{Files, LargeFile, Stored};
use crate::{Error, Result, memory};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Features on disk, a file for each layer: they need not fit into memory together.
#[derive(Debug, Clone)]
pub struct StoredFeatures {
    shape: Shape,
    layers: Vec<Layer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shape {
    images: usize,
    layers: usize,
    width: usize,
    #[serde(default, skip_serializing_if = "FeaturePrecision::is_f32")]
    precision: FeaturePrecision,
    /// What rounding did, by layer; nothing of f32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rounding: Vec<Rounding>,
}

/// The features of one layer, `(N, F)` numbers of four bytes, or two of f16, little-endian.
#[derive(Debug, Clone)]
enum Layer {
    /// Just computed.
    Written(PathBuf),
    /// In the store.
    Kept(LargeFile),
}

impl StoredFeatures {
    /// Those in the files of layers that were just computed.
    pub(super) fn written(
        files: Vec<PathBuf>,
        images: usize,
        width: usize,
        precision: FeaturePrecision,
        rounding: Vec<Rounding>,
    ) -> Self {
        let shape = Shape { images, layers: files.len(), width, precision, rounding };
        Self { shape, layers: files.into_iter().map(Layer::Written).collect() }
    }
}

impl FeatureLayers for StoredFeatures {
    fn layers(&self) -> usize {
        self.shape.layers
    }

    fn images(&self) -> usize {
        self.shape.images
    }

    fn width(&self) -> usize {
        self.shape.width
    }

    fn layer(&self, layer: usize) -> Result<Cow<'_, FeatureMatrix>> {
        let file = self.layers.get(layer).ok_or_else(|| no_layer(layer, self.shape.layers))?;
        memory::check("the features of a layer", &[self.shape.images, self.shape.width, 4])?;
        let bytes = match file {
            Layer::Written(path) => std::fs::read(path).map_err(|e| Error::io(path, e))?,
            Layer::Kept(file) => file.read()?,
        };
        let values = self.shape.precision.numbers(&bytes);
        if values.len() != self.shape.images * self.shape.width {
            return Err(Error::invalid(format!(
                "the file of layer {layer} has {} numbers, and {} images × {} are wanted",
                values.len(),
                self.shape.images,
                self.shape.width
            )));
        }
        Ok(Cow::Owned(FeatureMatrix::new(values, self.shape.width)?))
    }

    fn stream(&self, layer: usize) -> Result<Box<dyn LayerRows + '_>> {
        let file = self.layers.get(layer).ok_or_else(|| no_layer(layer, self.shape.layers))?;
        let (path, file) = match file {
            Layer::Written(path) => (path.as_path(), File::open(path).map_err(|e| Error::io(path, e))?),
            Layer::Kept(file) => (file.path(), file.open()?),
        };
        Ok(Box::new(LayerFile { file, path, width: self.shape.width, precision: self.shape.precision }))
    }

    fn rounding(&self, layer: usize) -> Option<Rounding> {
        self.shape.rounding.get(layer).copied()
    }
}

/// A layer whose rows are read from the disk when they are wanted.
struct LayerFile<'a> {
    file: File,
    path: &'a Path,
    width: usize,
    precision: FeaturePrecision,
}

impl LayerRows for LayerFile<'_> {
    fn rows(&mut self, images: Range<usize>) -> Result<FeatureMatrix> {
        let row = self.width * self.precision.bytes();
        let mut bytes: Vec<u8> = memory::zeros("features of some images", images.len().saturating_mul(row))?;
        let from = SeekFrom::Start((images.start * row) as u64);
        let read = self.file.seek(from).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|e| Error::io(self.path, e))?;
        FeatureMatrix::new(self.precision.numbers(&bytes), self.width)
    }
}

impl Stored for StoredFeatures {
    fn write(&self, files: &mut Files) -> Result<()> {
        files.write_json("shape", &self.shape)?;
        for (number, layer) in self.layers.iter().enumerate() {
            match layer {
                Layer::Written(path) => files.take_large(&format!("layer-{number}"), path)?,
                Layer::Kept(_) => return Err(Error::invalid("these features are in the store already")),
            }
        }
        Ok(())
    }

    fn read(files: &Files) -> Result<Self> {
        let shape: Shape = files.read_json("shape")?;
        let layer = |number| files.large(&format!("layer-{number}")).map(Layer::Kept);
        Ok(Self { layers: (0..shape.layers).map(layer).collect::<Result<_>>()?, shape })
    }
}

#[cfg(test)]
mod tests {
    use super::super::written::Written;
    use super::*;
    use crate::probe::{TestSet, choose};
    use crate::store::{Description, Store};

    /// Features `(N, 2, 2)` as they are found in a store, or the error.
    fn kept(values: &[f32], precision: FeaturePrecision) -> Result<StoredFeatures> {
        let folder = tempfile::tempdir().unwrap();
        let images = values.len() / 4;
        Store::at(folder.path()).get_or_run(&Description::new("some", &images)?, |context| {
            let mut written = Written::new(context, images, 2, 2, precision)?;
            written.add(values)?;
            written.end(images)
        })
    }

    #[test]
    fn a_feature_beyond_f16_is_named() {
        let mut values = [0.5; 12];
        // Image 2, layer 1, feature 0.
        values[2 * 4 + 2] = -7e4;
        let error = kept(&values, FeaturePrecision::F16).unwrap_err().to_string();
        assert!(error.contains("feature 0 of layer 1 of image 2 is -70000, beyond 65504"), "{error}");
        assert!(error.contains("f32"), "{error}");
        // The good twins.
        kept(&values, FeaturePrecision::F32).unwrap();
        values[2 * 4 + 2] = -65_504.0;
        kept(&values, FeaturePrecision::F16).unwrap();
        values[2 * 4 + 2] = f32::NAN;
        assert!(matches!(kept(&values, FeaturePrecision::F16), Err(Error::NotFinite { .. })));
    }

    #[test]
    fn room_on_the_disk_is_asked_for_by_the_bytes_of_a_number() {
        let folder = tempfile::tempdir().unwrap();
        let said = |precision| {
            let none = Description::new("none", &()).unwrap();
            let wanted = Store::at(folder.path()).get_or_run(&none, |context| {
                Written::new(context, 1_000_000_000, 1000, 1000, precision)?.end(0)
            });
            wanted.unwrap_err().to_string()
        };
        // A quadrillion numbers; the number of gigabytes is read out of the sentence.
        let (whole, half) = (said(FeaturePrecision::F32), said(FeaturePrecision::F16));
        assert!(
            whole.contains("would take 4e6 GB") && whole.contains("kept as f16 they take half"),
            "{whole}"
        );
        assert!(half.contains("would take 2e6 GB") && !half.contains("half"), "{half}");
    }

    /// Features of iGPT-L's width of as many images as CIFAR-10 has, at twenty layers: 6.1 GB. Its peak is that of the whole
    /// process, so run it alone: `cargo test --release --lib larger_than_memory -- --ignored --nocapture`.
    #[test]
    #[ignore = "writes 12 GB to the disk"]
    fn features_larger_than_memory_are_swept_layer_by_layer() {
        const WIDTH: usize = 1536;
        const LAYERS: usize = 20;
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let store = Store::at(folder.path());
        let label = |image: usize| (image % 2) as u16;
        let features = |name: &str, images: usize| {
            store
                .get_or_run(&Description::new(name, &images).unwrap(), |context| {
                    let mut written = Written::new(context, images, LAYERS, WIDTH, FeaturePrecision::F32)?;
                    let mut state = 1u32;
                    for image in 0..images {
                        let row: Vec<f32> = (0..LAYERS * WIDTH)
                            .map(|at| {
                                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                                // The later the layer, the more a few features say of the label.
                                let tells = at % WIDTH < 4 && label(image) == 1;
                                (state >> 8) as f32 / (1 << 24) as f32
                                    + if tells { (at / WIDTH) as f32 * 0.05 } else { 0.0 }
                            })
                            .collect();
                        written.add(&row)?;
                    }
                    written.end(images)
                })
                .unwrap()
        };
        let (train, test) = (features("train", 50_000), features("test", 500));
        assert!(train.layers.iter().all(|layer| matches!(layer, Layer::Kept(_))));
        let labels: Vec<u16> = (0..50_000).map(label).collect();
        let validation: Vec<usize> = (0..50_000).step_by(10).collect();
        let choice = choose(&train, &labels, 2, &validation, &[1e-1]).unwrap();
        let curve = choice.test(TestSet::new(&test, (0..500).map(label).collect()).unwrap()).unwrap();
        let first = curve.layers[0].test.share();
        assert!(first < 0.7 && curve.layers[LAYERS - 1].test.share() > 0.9, "{curve:?}");
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
        println!("6.1 GB of features, peak memory {peak}");
        let kilobytes: u64 = peak.trim_end_matches(" kB").parse().unwrap();
        assert!(kilobytes < 4 << 20, "{peak}");
    }
}

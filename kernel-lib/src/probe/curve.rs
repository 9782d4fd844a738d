//! Figure 2's protocol: which layer's features are best, found without looking at the test images.

use super::{Accuracy, Curvature, FeatureLayers, Fitting, Rounding, check_count, check_l2, check_labels};
use crate::probe::objective::Design;
use crate::show::{Cell, Show, Table, Tone, fixed, percent};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Chooses, for every layer, the penalty whose probe is best on the validation images, and then the layer whose best
/// probe is best there. Nothing else is known here: the test images come later, in [`Choice::test`].
///
/// `features` and `labels` are those of the training set; the images with the indices `validation` are held out of it,
/// and all others are trained on. `grid` are the penalties λ that are tried. Of penalties that do equally well, the
/// strongest is chosen, and of layers the first.
///
/// # Errors
/// If labels, classes or penalties make no sense, or the validation images are none, all, twice named or not there.
pub fn choose<'a>(
    features: &'a dyn FeatureLayers,
    labels: &'a [u16],
    classes: usize,
    validation: &[usize],
    grid: &[f64],
) -> Result<Choice<'a>> {
    choose_by(features, labels, classes, validation, grid, Curvature::Gram)
}

/// The same for features that are many, those of several layers side by side: what [`choose`] does for each penalty takes
/// F³ / 3 operations, and here it takes next to none, after a decomposition that serves all penalties. The optima are the same, but not the
/// last bits of the way there, which is why results of [`choose`] stay with it.
///
/// # Errors
/// As [`choose`].
pub fn choose_wide<'a>(
    features: &'a dyn FeatureLayers,
    labels: &'a [u16],
    classes: usize,
    validation: &[usize],
    grid: &[f64],
) -> Result<Choice<'a>> {
    choose_by(features, labels, classes, validation, grid, Curvature::Spectrum)
}

fn choose_by<'a>(
    features: &'a dyn FeatureLayers,
    labels: &'a [u16],
    classes: usize,
    validation: &[usize],
    grid: &[f64],
    curvature: Curvature,
) -> Result<Choice<'a>> {
    check_labels(features.images(), labels, classes)?;
    grid.iter().try_for_each(|l2| check_l2(*l2))?;
    let strongest_first = strongest_first(grid);
    if grid.is_empty() {
        return Err(Error::invalid("there is no L2 penalty to choose from"));
    }
    let (training, validation) = split(features.images(), validation)?;
    let layers = (0..features.layers()).map(|layer| {
        let features = features.layer(layer)?;
        let fitting = Fitting::new(&features, labels, &training, curvature)?;
        let held_out = Design::new(&features, &validation, &fitting.scaling);
        // They may be gigabytes.
        drop(features);
        let mut start: Option<Vec<f64>> = None;
        let mut tried = Vec::with_capacity(strongest_first.len());
        for l2 in &strongest_first {
            // The probe of the penalty before is near.
            let probe = fitting.probe(*l2, start.as_deref())?;
            let predicted = probe.classify(&held_out);
            let correct =
                predicted.iter().zip(&validation).filter(|(class, image)| labels[**image] == **class);
            let accuracy = Accuracy::new(correct.count(), validation.len())?;
            tried.push(Tried { l2: *l2, validation: accuracy, converged: probe.fit.converged });
            start = Some(probe.weights);
        }
        Ok(tried)
    });
    let tried = layers.collect::<Result<Vec<_>>>()?;
    let (training, validation) = (training.len(), validation.len());
    Ok(Choice { features, labels, classes, training, validation, tried, curvature })
}

/// Penalties in the order in which they are tried: the probe of one is near that of the next.
pub(super) fn strongest_first(grid: &[f64]) -> Vec<f64> {
    let mut penalties = grid.to_vec();
    penalties.sort_unstable_by(|a, b| b.total_cmp(a));
    penalties
}

/// Training and validation images, in order.
pub(super) fn split(images: usize, validation: &[usize]) -> Result<(Vec<usize>, Vec<usize>)> {
    let mut held_out = vec![false; images];
    for image in validation {
        match held_out.get_mut(*image) {
            Some(held) if !*held => *held = true,
            Some(_) => return Err(Error::invalid(format!("validation image {image} is named twice"))),
            None => {
                return Err(Error::invalid(format!(
                    "there is no validation image {image} among {images} images"
                )));
            }
        }
    }
    let (validation, training): (Vec<usize>, Vec<usize>) = (0..images).partition(|image| held_out[*image]);
    if validation.is_empty() || training.is_empty() {
        return Err(Error::invalid(format!(
            "{} images to train on and {} to validate on are not enough to choose by",
            training.len(),
            validation.len()
        )));
    }
    Ok((training, validation))
}

/// A penalty that was tried.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tried {
    l2: f64,
    validation: Accuracy,
    converged: bool,
}

/// Layer and penalties, chosen on validation images.
#[derive(Clone)]
pub struct Choice<'a> {
    features: &'a dyn FeatureLayers,
    labels: &'a [u16],
    classes: usize,
    training: usize,
    validation: usize,
    /// For each layer, the strongest penalty first.
    tried: Vec<Vec<Tried>>,
    curvature: Curvature,
}

/// The test images. There is no way to copy one, or to look into it: it can be used once, for [`Choice::test`].
pub struct TestSet<'a> {
    pub(super) features: &'a dyn FeatureLayers,
    pub(super) labels: Vec<u16>,
}

impl std::fmt::Debug for Choice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Choice")
            .field("layer", &self.layer())
            .field("tried", &self.tried)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TestSet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestSet").field("images", &self.labels.len()).finish_non_exhaustive()
    }
}

impl<'a> TestSet<'a> {
    /// Images of which the classes are known.
    ///
    /// # Errors
    /// If there is no image, or not a label for each.
    pub fn new(features: &'a dyn FeatureLayers, labels: Vec<u16>) -> Result<Self> {
        check_count(features.images(), &labels)?;
        if labels.is_empty() {
            return Err(Error::invalid("there is no test image"));
        }
        Ok(Self { features, labels })
    }

    /// Checks that it goes together with the training images.
    pub(super) fn check(&self, training: &dyn FeatureLayers, classes: usize) -> Result<()> {
        check_labels(self.features.images(), &self.labels, classes)?;
        let shape = |features: &dyn FeatureLayers| (features.layers(), features.width());
        let ((layers, width), (own_layers, own_width)) = (shape(training), shape(self.features));
        if (own_layers, own_width) != (layers, width) {
            return Err(Error::invalid(format!(
                "the test images have {own_layers} layers × {own_width} features, the training images {layers} × {width}"
            )));
        }
        Ok(())
    }
}

impl Choice<'_> {
    /// The penalty that was chosen for a layer.
    fn best(&self, layer: usize) -> Option<Tried> {
        let tried = self.tried.get(layer)?;
        tried
            .iter()
            .copied()
            .reduce(|best, next| if next.validation.correct > best.validation.correct { next } else { best })
    }

    /// The layer that was chosen.
    pub fn layer(&self) -> usize {
        let correct = |layer| self.best(layer).map_or(0, |best| best.validation.correct);
        (1..self.tried.len()).fold(0, |best, layer| if correct(layer) > correct(best) { layer } else { best })
    }

    /// The penalty λ that was chosen for each layer.
    pub fn l2(&self) -> Vec<f64> {
        (0..self.tried.len()).filter_map(|layer| self.best(layer)).map(|best| best.l2).collect()
    }

    /// Fits a probe to training and validation images together at every layer, with that layer's penalty, and counts
    /// what it gets right of the test images, which are used up.
    ///
    /// # Errors
    /// If the test images have other layers or features, or a label that is no class.
    pub fn test(self, test: TestSet<'_>) -> Result<Curve> {
        test.check(self.features, self.classes)?;
        let rounding = Rounding::of([self.features, test.features]);
        let chosen = self.layer();
        let images: Vec<usize> = (0..self.features.images()).collect();
        let all: Vec<usize> = (0..test.features.images()).collect();
        let layers = self.tried.iter().enumerate().filter_map(|(layer, tried)| {
            let best = self.best(layer)?;
            let layer = || {
                let features = self.features.layer(layer)?;
                let fitting = Fitting::new(&features, self.labels, &images, self.curvature)?;
                drop(features);
                let probe = fitting.probe(best.l2, None)?;
                let design = Design::new(&*test.features.layer(layer)?, &all, &fitting.scaling);
                let predicted = probe.classify(&design);
                let is_correct: Vec<bool> = predicted.iter().zip(&test.labels).map(|(a, b)| a == b).collect();
                let correct = is_correct.iter().filter(|correct| **correct).count();
                Ok(Layer {
                    l2: best.l2,
                    validation: best.validation,
                    test: Accuracy::new(correct, is_correct.len())?,
                    at_edge: tried.len() > 1
                        && [tried.first(), tried.last()].into_iter().flatten().any(|end| end.l2 == best.l2),
                    converged: probe.fit.converged && tried.iter().all(|tried| tried.converged),
                    is_correct,
                })
            };
            Some(layer())
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        Ok(Curve { layers, chosen, training: self.training, validation: self.validation, rounding })
    }
}

/// What a probe reaches at one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Layer {
    /// The penalty λ, chosen for this layer on the validation images.
    pub l2: f64,
    /// Validation accuracy of the probe that was fitted to the training images with it.
    pub validation: Accuracy,
    /// Test accuracy of the probe that was fitted to training and validation images with it.
    pub test: Accuracy,
    /// Whether λ is the strongest or the weakest that was tried, so that a wider grid might do better.
    pub at_edge: bool,
    /// Whether every fit of this layer came to its end.
    pub converged: bool,
    /// Whether each test image was classified correctly.
    pub is_correct: Vec<bool>,
}

/// Accuracy by layer, as in Figure 2.
///
/// The curve is the test accuracy of every layer, each with its own penalty. **The result** is that of one layer only:
/// [`Curve::result`], the layer chosen on validation images. The layer that happens to be best on the test images is
/// not reported as a result, since it was found by looking at them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Curve {
    /// Every layer: for a network the blocks' first RMSNorms from 0, and last the final RMSNorm.
    pub layers: Vec<Layer>,
    /// The layer that was chosen on validation images.
    pub chosen: usize,
    /// How many images were trained on while choosing.
    pub training: usize,
    /// How many images were chosen by.
    pub validation: usize,
    /// What rounding did to the features; none of f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
}

impl Curve {
    /// The result: test accuracy of the layer that was chosen on validation images.
    ///
    /// # Errors
    /// If the curve (of a file, say) names a layer that it does not have.
    pub fn result(&self) -> Result<Accuracy> {
        Ok(self.at(self.chosen)?.test)
    }

    /// The layer with this number.
    ///
    /// # Errors
    /// If there is none.
    pub fn at(&self, layer: usize) -> Result<&Layer> {
        self.layers.get(layer).ok_or_else(|| {
            Error::invalid(format!("there is no layer {layer} on a curve of {} layers", self.layers.len()))
        })
    }

    /// Test accuracy by layer, (layer, share), for a figure.
    pub fn points(&self) -> Vec<(f64, f64)> {
        self.layers.iter().enumerate().map(|(layer, at)| (layer as f64, at.test.share())).collect()
    }

    fn table(&self) -> Table {
        let rows = self.layers.iter().enumerate().map(|(number, layer)| {
            let chosen = number == self.chosen;
            let tone = |cell: Cell| if chosen { cell.tone(Tone::Good) } else { cell };
            [
                Cell::from(number),
                Cell::text(format!("{:e}", layer.l2)),
                layer.validation.cell(),
                tone(layer.test.cell()),
                fixed(100.0 * layer.test.standard_error(), 1),
                Cell::text(if chosen { "chosen" } else { "" }),
            ]
        });
        let test = self.layers.first().map_or(0, |layer| layer.test.images);
        let mut note = format!(
            "Layer and L2 are chosen on {} of {} training images; the probe is then fitted to all of them and judged \
             once by {test} test images.",
            self.validation,
            self.training + self.validation
        );
        let edges = self.layers.iter().filter(|layer| layer.at_edge).count();
        if edges > 0 {
            note.push_str(&format!(
                " At {edges} of {} layers the L2 is an end of the grid.",
                self.layers.len()
            ));
        }
        let open = self.layers.iter().filter(|layer| !layer.converged).count();
        if open > 0 {
            note.push_str(&format!(" At {open} of {} layers a fit did not converge.", self.layers.len()));
        }
        Table::of(["Layer", "L2", "Validation", "Test", "± (points)", ""], rows)
            .caption("Linear probe by layer")
            .note(Rounding::note(self.rounding, note))
    }
}

impl Show for Curve {
    fn to_html(&self) -> String {
        self.table().to_html()
    }
    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

crate::show::displays!(Curve);

impl From<Accuracy> for Cell {
    fn from(accuracy: Accuracy) -> Self {
        percent(accuracy.share(), 1)
    }
}

//! The linear probe of several layers' features side by side (section 4.4).

use super::probed::{self, Probed};
use super::{AnyStep, Data, LinearProbe, Step, Workspace};
use crate::probe::{self, Accuracy, Concatenated, Curve, FeatureLayers as _, Rounding, TestSet};
use crate::show::{Show, Table};
use crate::store::Context;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A linear classifier of the features of several layers side by side, centred on the best one. Section 4.4 takes five layers
/// of iGPT-XL, 15,360 features.
///
/// The best layer is that of a [`LinearProbe`], which chooses it on the validation images. The penalty is chosen anew among
/// the same ones, on the same images, and the test images are used once, as there. Near the first or the last layer there are
/// fewer layers: those that there are not are left out.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let probe = LinearProbe::of(Features::of(&Pretraining::of(&Profile::current()?)));
/// let five = ConcatenatedProbe::of(probe).run()?;
/// println!("layers {:?}: {}", five.layers, five.result()?);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcatenatedProbe {
    /// The probe of each layer, which finds the best one. Its features are taken, and its penalties are tried.
    pub probe: LinearProbe,
    /// How many layers, the best one included.
    pub layers: usize,
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ConcatenatedResult {
    /// The best single layer, chosen on the validation images.
    pub best: usize,
    /// The layers whose features were put side by side.
    pub layers: Vec<usize>,
    /// Their probe, as a curve of one layer.
    pub probe: Curve,
}

impl ConcatenatedProbe {
    /// Five layers.
    pub fn of(probe: LinearProbe) -> Self {
        Self { probe, layers: 5 }
    }

    /// The same with so many layers.
    #[must_use]
    pub fn layers(mut self, count: usize) -> Self {
        self.layers = count;
        self
    }
}

impl ConcatenatedResult {
    /// The test accuracy.
    ///
    /// # Errors
    /// If it (of a file, say) has none.
    pub fn result(&self) -> Result<Accuracy> {
        self.probe.result()
    }

    fn table(&self) -> Result<Table> {
        let layer = self.probe.at(0)?;
        let names: Vec<String> = self.layers.iter().map(ToString::to_string).collect();
        let row = [
            names.join(", ").into(),
            format!("{:e}", layer.l2).into(),
            layer.validation.cell(),
            layer.test.cell(),
            crate::show::fixed(100.0 * layer.test.standard_error(), 1),
        ];
        Ok(Table::of(["Layers", "L2", "Validation", "Test", "± (points)"], [row])
            .caption("Linear probe of several layers side by side")
            .note(Rounding::note(
                self.probe.rounding,
                format!("Layer {} is the best one on the validation images.", self.best),
            )))
    }
}

impl Show for ConcatenatedResult {
    fn to_html(&self) -> String {
        self.table().map_or_else(|error| error.to_string(), |table| table.to_html())
    }
    fn to_text(&self) -> String {
        self.table().map_or_else(|error| error.to_string(), |table| table.to_text())
    }
}

crate::show::displays!(ConcatenatedResult);

impl Step for ConcatenatedProbe {
    const NAME: &'static str = "concatenated-probe";
    type Output = ConcatenatedResult;

    fn about(&self) -> String {
        format!("a linear probe of {} layers side by side of {}", self.layers, self.probe.features.about())
    }

    fn inputs(&self) -> Vec<AnyStep> {
        let mut inputs = probed::inputs(&self.probe.features);
        inputs.push(self.probe.clone().into());
        inputs
    }

    fn data(&self) -> Vec<&Data> {
        self.probe.data()
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["probe", "experiment/concatenated_probe"]
    }

    fn validate(&self) -> Result<()> {
        if self.layers == 0 {
            return Err(Error::invalid("no layers have no features: the setting layers is at least 1"));
        }
        self.probe.validate()
    }

    fn compute(&self, on: &Workspace, _context: &Context) -> Result<ConcatenatedResult> {
        let best = self.probe.run_on(on)?.chosen;
        let Probed { features, labels, classes, validation } = Probed::training(&self.probe.features, on)?;
        let layers = Concatenated::around(best, self.layers, features.layers());
        let train = Concatenated::new(&features, layers.clone())?;
        let choice = probe::choose_wide(&train, &labels, classes, &validation, &self.probe.l2)?;
        let (test, labels) = probed::test(&self.probe.features, on)?;
        let test = Concatenated::new(&test, layers.clone())?;
        let probe = choice.test(TestSet::new(&test, labels)?)?;
        Ok(ConcatenatedResult { best, layers: layers.collect(), probe })
    }
}

//! The loss of a model that only counts, as a baseline of a network's.

use super::{AnyStep, Data, Encoding, PaletteOf, Split, Step, Workspace};
use crate::count_table::CountTable;
use crate::show::{Cell, Show, Table, fixed};
use crate::store::Context;
use crate::train::{Examples as _, Tokens};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The loss, in nats per token, of a [`CountTable`]: each colour by its left and its upper neighbour, counted in the images
/// that a network is trained on. What is added to each count, α, is chosen on the validation images, by their loss.
///
/// Images are those that a network is judged by, each placed once; a network sees them placed anew at each step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountBaseline {
    /// The images.
    pub data: Data,
    /// What makes tokens of them.
    pub palette: PaletteOf,
    /// Numbers that are tried as α.
    pub alpha: Vec<f64>,
}

/// What it came to, in nats per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CountLoss {
    /// Each α that was tried, with the loss on the validation images.
    pub tried: Vec<(f64, f64)>,
    /// The α with the smallest of these; of equals the first.
    pub alpha: f64,
    /// The loss on the validation images with it.
    pub validation: f64,
    /// The loss on the test images with it.
    pub test: f64,
}

impl CountBaseline {
    /// Of the images, in these colours.
    pub fn of(data: &Data, palette: &PaletteOf) -> Self {
        Self { data: data.clone(), palette: palette.clone(), alpha: vec![1.0, 0.3, 0.1, 0.03, 0.01] }
    }

    fn encoding(&self, split: Split) -> Encoding {
        Encoding { data: self.data.clone(), split, palette: self.palette.clone() }
    }
}

impl CountLoss {
    fn table(&self) -> Table {
        let row = |(alpha, loss): &(f64, f64)| {
            let test = (*alpha == self.alpha).then(|| fixed(self.test, 4));
            [Cell::text(format!("{alpha}")), fixed(*loss, 4), test.into()]
        };
        Table::of(["α", "Validation (nats)", "Test (nats)"], self.tried.iter().map(row))
            .caption("Loss of counts by left and upper neighbour")
    }
}

impl Show for CountLoss {
    fn to_html(&self) -> String {
        self.table().to_html()
    }
    fn to_text(&self) -> String {
        self.table().to_text()
    }
}

crate::show::displays!(CountLoss);

impl Step for CountBaseline {
    const NAME: &'static str = "count-baseline";
    type Output = CountLoss;

    fn about(&self) -> String {
        format!("the loss of counts by left and upper neighbour in {}, in {}", self.data, self.palette)
    }

    fn inputs(&self) -> Vec<AnyStep> {
        let mut inputs = self.palette.inputs();
        inputs.extend([Split::Train, Split::Test].map(|split| self.encoding(split).into()));
        inputs
    }

    fn data(&self) -> Vec<&Data> {
        vec![&self.data]
    }

    fn files(&self) -> Result<Vec<(String, String)>> {
        self.palette.files()
    }

    fn code(&self, _on: &Workspace) -> Vec<&'static str> {
        vec!["count_table", "experiment/count_baseline"]
    }

    fn validate(&self) -> Result<()> {
        self.data.validate()?;
        if self.alpha.is_empty() || self.alpha.iter().any(|alpha| !(*alpha > 0.0 && alpha.is_finite())) {
            return Err(Error::invalid(
                "the setting alpha (one or more, each above 0) makes no sense as it is",
            ));
        }
        Ok(())
    }

    fn compute(&self, on: &Workspace, _context: &Context) -> Result<CountLoss> {
        let side = self.data.side;
        let train = Tokens::new(side * side, self.encoding(Split::Train).run_on(on)?.0)?;
        let training = train.tokens(0, &self.data.training_positions()?)?;
        let held_out = train.tokens(0, &self.data.validation_positions()?)?;
        let table = CountTable::fit(&training, side, self.palette.palette(on)?.len())?;
        let losses = self.alpha.iter().map(|alpha| Ok((*alpha, table.loss(&held_out, *alpha)?)));
        let tried = losses.collect::<Result<Vec<_>>>()?;
        let best = tried.iter().copied().reduce(|best, next| if next.1 < best.1 { next } else { best });
        let (alpha, validation) = best.ok_or_else(|| Error::invalid("there is no α to choose from"))?;
        let test = table.loss(&self.encoding(Split::Test).run_on(on)?.0, alpha)?;
        Ok(CountLoss { tried, alpha, validation, test })
    }
}

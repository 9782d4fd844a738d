//! The search for a learning rate (section 3.4).

use super::{AnyStep, Data, Pretraining, Step, Workspace};
use crate::show::{Cell, Show, Table, Tone, fixed};
use crate::store::Context;
use crate::train::{RateSearch, choose_learning_rate};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Pre-trains with learning rates from large to small, 0.01, 0.003, 0.001 and so on, until the final validation loss rises.
/// Trainings that diverge at large rates are left out, and the result says so. Each training is a [`Pretraining`] of its own:
/// it is found again in the store, and so is each that a search over more rates has done before.
///
/// ```no_run
/// use igpt::prelude::*;
///
/// let ar = Pretraining::of(&Profile::current()?);
/// let found = LearningRateSearch::of(&ar).run()?;
/// let best = ar.learning_rate(found.best);
/// # Ok::<(), igpt::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningRateSearch {
    /// What is trained. Its own learning rate does not count.
    pub pretraining: Pretraining,
    /// Learning rates, from large to small.
    pub rates: Vec<f64>,
}

impl LearningRateSearch {
    /// With the first rates that section 3.4 names, and as many more.
    pub fn of(pretraining: &Pretraining) -> Self {
        let rates = vec![0.01, 0.003, 0.001, 0.0003, 0.0001, 0.00003, 0.00001];
        // So that the same search has the same key, whatever it started from.
        Self { pretraining: pretraining.clone().learning_rate(rates[0]), rates }
    }

    /// The same with other rates.
    #[must_use]
    pub fn rates(mut self, rates: impl Into<Vec<f64>>) -> Self {
        self.rates = rates.into();
        self
    }
}

impl Show for RateSearch {
    fn to_html(&self) -> String {
        table(self).to_html()
    }
    fn to_text(&self) -> String {
        table(self).to_text()
    }
}

crate::show::displays!(RateSearch);

fn table(search: &RateSearch) -> Table {
    let rows = search.tried.iter().map(|(rate, loss)| {
        let loss = loss.map_or_else(|| Cell::text("diverged"), |loss| fixed(loss, 4));
        [Cell::text(format!("{rate}")), if *rate == search.best { loss.tone(Tone::Good) } else { loss }]
    });
    Table::of(["Learning rate", "Validation loss (nats per token)"], rows).caption("Learning rates")
}

impl Step for LearningRateSearch {
    const NAME: &'static str = "learning-rate";
    type Output = RateSearch;

    fn about(&self) -> String {
        format!("the learning rate, among {:?}, of {}", self.rates, self.pretraining.about())
    }

    /// What every training needs. The trainings themselves are not named: which ones there will be is only known when it is
    /// done.
    fn inputs(&self) -> Vec<AnyStep> {
        self.pretraining.inputs()
    }

    fn data(&self) -> Vec<&Data> {
        self.pretraining.data()
    }

    fn files(&self) -> Result<Vec<(String, String)>> {
        self.pretraining.files()
    }

    fn code(&self, on: &Workspace) -> Vec<&'static str> {
        let mut code = self.pretraining.code(on);
        code.push("experiment/learning_rate");
        code
    }

    fn device<'a>(&self, on: &'a Workspace) -> &'a str {
        self.pretraining.device(on)
    }

    fn seed(&self) -> Option<u64> {
        Step::seed(&self.pretraining)
    }

    fn validate(&self) -> Result<()> {
        if self.rates.is_empty() {
            return Err(Error::invalid("there is no learning rate to try"));
        }
        self.rates.iter().try_for_each(|rate| self.pretraining.clone().learning_rate(*rate).validate())
    }

    fn compute(&self, on: &Workspace, context: &Context) -> Result<RateSearch> {
        let mut done = 0;
        choose_learning_rate(&self.rates, &mut |rate| {
            context.progress(done, self.rates.len() as u64, "learning rates");
            done += 1;
            let trained = self.pretraining.clone().learning_rate(rate).run_on(on)?;
            Ok(trained.curve.validation.last().map(|point| point.loss))
        })
    }
}

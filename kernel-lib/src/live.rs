//! A pre-training that shows how it goes: a bar, the loss, and what the network draws as it gets better.

use crate::experiment::{Experiment, Pretrained};
use crate::model::{Network, Parameters};
use crate::sample::sample;
use crate::show::{Bar, Displayed, Figure, ImageGrid, Page, display};
use crate::train::{Curve, Point, Progress};
use crate::{Error, Result};
use std::time::Duration;

/// Pictures that are drawn each time.
const DRAWN: usize = 8;
/// Figures cost milliseconds; the bar moves more often.
const PAUSE: Duration = Duration::from_secs(1);
const TITLE: &str = "Pre-training";

/// Told how a pre-training goes.
pub(crate) trait Watch {
    /// It begins, or goes on: with so many steps done.
    fn begin(&mut self, _step: u64, _steps: u64, _curve: &Curve) {}
    /// After each step.
    fn step(&mut self, progress: &Progress);
    /// The network after so many steps, which is kept, and what trains it: on a GPU there may be no room for another.
    fn snapshot(&mut self, _step: u64, _network: &mut dyn Network, _parameters: &Parameters) -> Result<()> {
        Ok(())
    }
}

/// Only told of losses.
pub(crate) struct Losses<'a>(pub(crate) &'a mut dyn FnMut(&Progress));

impl Watch for Losses<'_> {
    fn step(&mut self, progress: &Progress) {
        if progress.has_loss() {
            (self.0)(progress);
        }
    }
}

fn nothing_drawn() -> ImageGrid {
    ImageGrid::new().caption("Made up, after so many steps")
}

/// Shows it in a notebook.
pub(crate) struct Live<'a> {
    experiment: &'a Experiment,
    bar: Option<Bar>,
    picture: Option<Displayed>,
    curve: Curve,
    drawn: ImageGrid,
}

impl<'a> Live<'a> {
    pub(crate) fn new(experiment: &'a Experiment) -> Self {
        Self { experiment, bar: None, picture: None, curve: Curve::default(), drawn: nothing_drawn() }
    }

    /// Shows the end, whether it was computed now or found: the same in both cases.
    pub(crate) fn end(mut self, trained: &Pretrained) -> Result<()> {
        self.curve = trained.curve.clone();
        let last = self.curve.training.last().map_or(0, |point| point.step);
        // A bar that is full leaves its last words.
        let mut bar = self.bar.take().unwrap_or_else(|| Bar::new(TITLE, last).unit("steps"));
        bar.set(last);
        drop(bar);
        self.drawn = nothing_drawn();
        let mut network = self.experiment.network()?;
        for (step, parameters) in &trained.snapshots {
            self.draw(*step, network.as_mut(), parameters)?;
        }
        self.draw(last, network.as_mut(), &trained.parameters)?;
        self.redraw();
        Ok(())
    }

    /// Draws images of the network after so many steps, if it is trained to predict the next token.
    fn draw(&mut self, step: u64, network: &mut dyn Network, parameters: &Parameters) -> Result<()> {
        if !self.draws() {
            return Ok(());
        }
        let sampling = &self.experiment.profile().samples.sampling;
        let tokens = sample(network, parameters, &[], DRAWN, 0, sampling)?;
        self.drawn.push(format!("{step}"), &self.experiment.pictures(&tokens)?);
        Ok(())
    }

    fn draws(&self) -> bool {
        self.experiment.profile().training.objective.is_causal()
    }

    fn page(&self) -> Page {
        let points = |curve: &[Point]| -> Vec<(f64, f64)> {
            curve.iter().map(|point| (point.step as f64, point.loss)).collect()
        };
        let guess = (self.experiment.config().vocabulary as f64).ln();
        let figure = Figure::new(self.experiment.name())
            .x("step")
            .y("nats per token")
            .line("training", points(&self.curve.training))
            .line("validation", points(&self.curve.validation))
            .level("a guess: ln k", guess)
            .size(480, 300);
        let page = Page::across().show(figure);
        if self.draws() { page.show(&self.drawn) } else { page }
    }

    fn redraw(&mut self) {
        let page = self.page();
        match &mut self.picture {
            Some(picture) => picture.update(page),
            None => self.picture = Some(display(page)),
        }
    }
}

impl Watch for Live<'_> {
    fn begin(&mut self, step: u64, steps: u64, curve: &Curve) {
        self.curve = curve.clone();
        self.bar = Some(Bar::new(TITLE, steps).starting_at(step).unit("steps"));
    }

    fn step(&mut self, progress: &Progress) {
        let point = |loss: f64| Point { step: progress.step, loss };
        self.curve.training.extend(progress.loss.map(point));
        self.curve.validation.extend(progress.validation.map(point));
        if let Some(bar) = &mut self.bar {
            if let Some(last) = self.curve.training.last() {
                bar.note(format!("{:.0} tokens/s · loss {:.4}", progress.tokens_per_second, last.loss));
            }
            bar.set(progress.step);
        }
        if progress.has_loss() && self.picture.as_ref().is_none_or(|picture| picture.is_due(PAUSE)) {
            self.redraw();
        }
    }

    fn snapshot(&mut self, step: u64, network: &mut dyn Network, parameters: &Parameters) -> Result<()> {
        match self.draw(step, network, parameters) {
            // The training asks next, and ends with its checkpoint.
            Err(Error::Interrupted(_)) => crate::stop::request(),
            drawn => {
                drawn?;
                self.redraw();
            }
        }
        Ok(())
    }
}

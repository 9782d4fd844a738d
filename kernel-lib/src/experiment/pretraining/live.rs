//! A pre-training that shows how it goes: a bar, the loss, and what the network draws as it gets better.

use super::super::Trained;
use super::Watch;
use crate::model::{Network, Parameters};
use crate::sample::{Sampling, sample};
use crate::show::{Bar, Displayed, Figure, ImageGrid, Page, display};
use crate::train::{Curve, Point, Progress};
use crate::{Error, Image, Result};
use std::time::Duration;

/// Images that are drawn each time.
const DRAWN: usize = 8;
/// Figures cost milliseconds; the bar moves more often.
const PAUSE: Duration = Duration::from_secs(1);
const TITLE: &str = "Pre-training";

fn nothing_drawn() -> ImageGrid {
    ImageGrid::new().caption("Made up, after so many steps")
}

/// Turns tokens into images.
type Images<'a> = dyn Fn(&[u16]) -> Result<Vec<Image>> + 'a;

/// Shows it in a notebook.
pub(super) struct Live<'a> {
    title: String,
    /// The loss of a guess.
    guess: f64,
    /// None for a network that cannot draw images.
    images: Option<&'a Images<'a>>,
    bar: Option<Bar>,
    image: Option<Displayed>,
    curve: Curve,
    drawn: ImageGrid,
}

impl<'a> Live<'a> {
    pub(super) fn new(title: String, guess: f64, images: Option<&'a Images<'a>>) -> Self {
        let (curve, drawn) = (Curve::default(), nothing_drawn());
        Self { title, guess, images, bar: None, image: None, curve, drawn }
    }

    /// Shows the end, whether it was computed now or found: the same in both cases.
    pub(super) fn end(
        mut self,
        trained: &Trained,
        network: &mut dyn FnMut() -> Result<Box<dyn Network>>,
    ) -> Result<()> {
        self.curve = trained.curve.clone();
        let last = self.curve.training.last().map_or(0, |point| point.step);
        // A bar that is full leaves its last words.
        let mut bar = self.bar.take().unwrap_or_else(|| Bar::new(TITLE, last).unit("steps"));
        bar.set(last);
        drop(bar);
        self.drawn = nothing_drawn();
        let mut network = network()?;
        for (step, parameters) in &trained.snapshots {
            self.draw(*step, network.as_mut(), parameters)?;
        }
        self.draw(last, network.as_mut(), &trained.parameters)?;
        self.redraw();
        Ok(())
    }

    /// Draws images of the network after so many steps, if it is trained to predict the next token.
    fn draw(&mut self, step: u64, network: &mut dyn Network, parameters: &Parameters) -> Result<()> {
        if let Some(images) = self.images {
            let sampling = Sampling { seed: 1, ..Sampling::default() };
            let tokens = sample(network, parameters, &[], DRAWN, 0, &sampling)?;
            self.drawn.push(format!("{step}"), &images(&tokens)?);
        }
        Ok(())
    }

    fn page(&self) -> Page {
        let points = |curve: &[Point]| -> Vec<(f64, f64)> {
            curve.iter().map(|point| (point.step as f64, point.loss)).collect()
        };
        let figure = Figure::new(&self.title)
            .x("step")
            .y("nats per token")
            .line("training", points(&self.curve.training))
            .line("validation", points(&self.curve.validation))
            .level("a guess: ln k", self.guess)
            .size(480, 300);
        let page = Page::across().show(figure);
        if self.images.is_some() { page.show(&self.drawn) } else { page }
    }

    fn redraw(&mut self) {
        let page = self.page();
        match &mut self.image {
            Some(image) => image.update(page),
            None => self.image = Some(display(page)),
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
        if progress.has_loss() && self.image.as_ref().is_none_or(|image| image.is_due(PAUSE)) {
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

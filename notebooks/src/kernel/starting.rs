//! What a user sees while the kernel starts: shown in the cell that waits, and taken away when it begins, so that no
//! notebook holds it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{channels::Channels, wire::Message};
use crate::slot::BuildProgress;

/// A kernel whose library is compiled starts faster than anyone reads.
const PATIENCE: Duration = Duration::from_secs(2);
/// Crates of the library for notebooks, about; what is more does not move the bar.
const CRATES: usize = 144;

/// What the task that starts evcxr says of itself.
#[derive(Debug, Clone, Default)]
pub struct Stage(Arc<Mutex<Option<BuildProgress>>>);

impl Stage {
    /// The library is being built.
    pub fn build(&self, watch: BuildProgress) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
    }

    /// It is built.
    pub fn built(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn compiled(&self) -> Option<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(BuildProgress::compiled)
    }
}

/// The display of the cell that waits.
#[derive(Debug)]
pub struct Starting {
    stage: Stage,
    since: Instant,
    /// The request in whose cell it is shown.
    shown_in: Option<Message>,
}

impl Starting {
    /// Begins now.
    pub fn new(stage: Stage) -> Self {
        Self { stage, since: Instant::now(), shown_in: None }
    }

    /// Shows how far it is, in the cell of `first`, the one that waits.
    pub fn show(&mut self, channels: &Channels, first: &Message) {
        if self.since.elapsed() < PATIENCE || first.content["silent"] == true {
            return;
        }
        let is_new = self.shown_in.as_ref().is_none_or(|shown| shown.id() != first.id());
        if is_new {
            self.clear(channels);
            self.shown_in = Some(first.clone());
        }
        let kind = if is_new { "display_data" } else { "update_display_data" };
        let id = format!("igpt-starting-{}", first.id());
        let content = json!({"data": self.state(), "metadata": {}, "transient": {"display_id": id}});
        channels.publish(&first.header, kind, content);
    }

    /// Takes it away.
    pub fn clear(&mut self, channels: &Channels) {
        if let Some(shown) = self.shown_in.take() {
            channels.publish(&shown.header, "clear_output", json!({"wait": false}));
        }
    }

    fn state(&self) -> Value {
        let seconds = self.since.elapsed().as_secs();
        let (words, share) = match self.stage.compiled() {
            None => (format!("The kernel is starting: {seconds} s"), None),
            Some(compiled) => (
                format!(
                    "The library for notebooks is built, for it is new or has changed: {compiled} of about {CRATES} \
                     crates, {}:{:02}",
                    seconds / 60,
                    seconds % 60
                ),
                Some(100 * compiled.min(CRATES) / CRATES),
            ),
        };
        let bar = share.map_or(String::new(), |share| {
            format!(
                "<div style=\"background:rgba(128,128,128,.25);border-radius:3px;width:24em;max-width:100%;height:.6em\">\
                 <div style=\"background:#0060aa;border-radius:3px;width:{share}%;height:.6em\"></div></div>"
            )
        });
        json!({"text/plain": words, "text/html": format!("<div style=\"opacity:.75\">{words}</div>{bar}")})
    }
}

//! What the kernel has each cell call, see [`super`]. Nothing of it is meant to be called by hand.

use super::failure::{Failure, forget_panics};
use super::{begin, stdin};
use crate::kernel::{MARK, write_line};
use crate::stop;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

/// What is known so far of how the running cell ends.
struct Running {
    /// Its last statement was passed.
    reached_its_end: bool,
    /// The error of the last `?`.
    error: Option<Failure>,
    /// It failed, in this way.
    failure: Option<Failure>,
}

const NOTHING: Running = Running { reached_its_end: false, error: None, failure: None };
static RUNNING: Mutex<Running> = Mutex::new(NOTHING);

fn running() -> std::sync::MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The cell `nonce` begins. With `asks`, it may ask the user through evcxr, which answers on the standard input.
#[doc(hidden)]
pub fn start(nonce: &str, asks: bool) {
    begin();
    forget_panics();
    *running() = NOTHING;
    if !asks {
        stdin::take_away();
    }
    // An interrupt that came too late for the cell before is none for this one.
    stop::clear();
    write_line(&mut std::io::stderr(), &format!("{MARK}igpt:start {nonce}"));
    write_line(&mut std::io::stdout(), &format!("{MARK}igpt:start {nonce}"));
}

/// A `?` turns its error into that of the cell, in line `line` of the generated code.
#[doc(hidden)]
pub fn question_mark(line: u32, error: &dyn std::fmt::Display, type_name: &str) {
    let error = Failure::of_question_mark(line, &error.to_string(), type_name);
    running().error = Some(error);
}

/// The last statement of the cell was passed.
#[doc(hidden)]
pub fn reached_its_end() {
    running().reached_its_end = true;
}

/// The cell's code is through without a panic: at its end, by a `?`, or by a `return`.
#[doc(hidden)]
pub fn returned<E>(result: Result<(), E>) {
    has_returned(result.is_err());
}

fn has_returned(with_error: bool) {
    let mut running = running();
    running.failure = match with_error {
        true => Some(running.error.take().unwrap_or_else(Failure::of_unknown_error)),
        false if !running.reached_its_end => Some(Failure::of_return()),
        false => None,
    };
}

/// A panic ended the cell.
#[doc(hidden)]
pub fn panicked(payload: Box<dyn Any + Send>) {
    let failure = Failure::of_panic(&*payload);
    running().failure = Some(failure);
    // A payload may be anything, and panic when it is dropped.
    if let Err(again) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

/// The cell is over: its last outputs, its verdict, and then evcxr's own notice, so that it drops what the cell bound.
#[doc(hidden)]
pub fn end(nonce: &str) {
    crate::show::flush();
    stdin::give_back();
    let failure = running().failure.take();
    let json = failure.as_ref().and_then(|failure| serde_json::to_string(failure).ok()).unwrap_or_default();
    // evcxr looks for one of its own words anywhere in a line.
    let json = json.replace("EVCXR_", "EVCXR\\u005f");
    write_line(&mut std::io::stderr(), &format!("{MARK}igpt:end {nonce}"));
    let stdout = &mut std::io::stdout().lock();
    write_line(stdout, &format!("{MARK}igpt:end {nonce} {json}"));
    if failure.is_some() {
        write_line(stdout, "EVCXR_ERROR_OCCURRED");
    }
}

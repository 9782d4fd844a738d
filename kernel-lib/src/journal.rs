//! What the runner is told besides the outputs: which results were reused, which data was read, which verdicts were reached. It is told by
//! lines of JSON in the file that `IGPT_JOURNAL` names, so that what a notebook prints does not depend on it.

use serde::Serialize;
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::Duration;

/// The variable that names the file.
pub(crate) const VARIABLE: &str = "IGPT_JOURNAL";

/// Adds a line. Nobody's result shall fail because it could not be told of.
pub(crate) fn note(what: &impl Serialize) {
    let Some(file) = std::env::var_os(VARIABLE) else { return };
    let Ok(line) = serde_json::to_string(what) else { return };
    // One write to a file opened for appending: lines of several processes do not mix.
    let file = std::fs::File::options().create(true).append(true).open(file);
    let _ = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
}

/// Tells how long a notebook waited for another one's computation, which is none of its own work.
pub(crate) fn waited(time: Duration) {
    if time > Duration::from_millis(50) {
        note(&json!({ "kind": "waited", "ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX) }));
    }
}

/// The line that says which data was read: its name, its revision if it has one, and the SHA-256 of what was read.
pub(crate) fn data_read(name: &str, revision: &str, sha256: &str) -> Value {
    json!({ "kind": "data", "name": name, "revision": revision, "sha256": sha256 })
}

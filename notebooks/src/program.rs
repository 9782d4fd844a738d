//! Programs that are asked for something.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// What a program prints.
///
/// # Errors
/// If it cannot be started, or fails.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start `{name}`; is Rust installed?"))?;
    if !output.status.success() {
        bail!("`{name}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

//! `igpt export`: a network that was trained here, in a folder that others can use. As with `igpt compute`, the library does it
//! in a kernel.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::steps::{evaluate, in_rust};

/// The words behind `igpt export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Whose network
    #[arg(long, default_value = crate::profiles::USUAL, value_parser = crate::profiles::parser())]
    profile: String,
    /// Another pre-training than a profile's: a file that `igpt steps --write` or `AnyStep::to_json` made
    #[arg(value_name = "FILE", conflicts_with = "profile")]
    file: Option<PathBuf>,
    /// The folder to write [default: target/export/NAME of this repository, by the profile's or the file's name]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Train the network first, if the store has not got it, as `igpt compute` does
    #[arg(long)]
    compute: bool,
}

/// Writes the network into its folder.
pub fn export(root: &Path, words: &Export) -> Result<ExitCode> {
    let step = match &words.file {
        Some(file) => format!("igpt::export::pretraining({})?", in_rust(file)?),
        None => "Pretraining::of(&Profile::current()?)".to_owned(),
    };
    let folder = match &words.out {
        Some(folder) => in_rust(folder)?,
        None => in_rust(&root.join("target").join("export").join(name(words)?))?,
    };
    let compute = if words.compute { "step.run_on(&on)?;\n" } else { "" };
    let code = format!(
        "use igpt::prelude::*;\nlet (step, on) = ({step}, Workspace::current()?);\n{compute}println!(\"{{}}\", step.export_on(&on, {folder})?);"
    );
    evaluate(root, &code, &[("IGPT_PROFILE", OsStr::new(&words.profile))])
}

/// What the folder is called, if nobody says it.
fn name(words: &Export) -> Result<&OsStr> {
    match &words.file {
        Some(file) => file.file_stem().with_context(|| format!("{} names no file", file.display())),
        None => Ok(OsStr::new(&words.profile)),
    }
}

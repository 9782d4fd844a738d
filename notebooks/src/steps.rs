//! `igpt compute` and `igpt steps`: steps of an experiment without a notebook. The library computes them in a kernel, which
//! has it compiled already; so the results are those that a notebook finds.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::run::{
    client::{Channel, Client, Event},
    launch::{Kernel, KernelCommand, LaunchOptions},
    message::Message,
    secrets::Secrets,
};

/// The words behind `igpt compute`.
#[derive(Debug, Args)]
pub struct Compute {
    /// Files that `igpt steps --write` or `AnyStep::to_json` made
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// The words behind `igpt steps`.
#[derive(Debug, Args)]
pub struct Steps {
    /// Whose steps
    #[arg(long, default_value = crate::profiles::USUAL, value_parser = crate::profiles::parser())]
    profile: String,
    /// Only what the store has not
    #[arg(long)]
    missing: bool,
    /// Write each step that is missing into this folder, as a file for `igpt compute`
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// Computes what the files say.
pub fn compute(root: &Path, words: &Compute) -> Result<ExitCode> {
    let mut code = String::from("use igpt::prelude::*;\nlet on = Workspace::current()?;\n");
    for file in &words.files {
        code += &format!("println!(\"{{}}\", experiment::compute({}, &on)?);\n", in_rust(file)?);
    }
    evaluate(root, &code, &[])
}

/// Lists the steps of a profile.
pub fn list(root: &Path, words: &Steps) -> Result<ExitCode> {
    let folder = match &words.write {
        Some(folder) => format!("Some({})", in_rust(folder)?),
        None => "None".into(),
    };
    let code = format!(
        "use igpt::prelude::*;\nprintln!(\"{{}}\", experiment::list(&Profile::current()?, &Workspace::current()?, {}, {folder})?);",
        words.missing
    );
    evaluate(root, &code, &[("IGPT_PROFILE", OsStr::new(&words.profile))])
}

/// A path in Rust, the same in any working directory.
pub(crate) fn in_rust(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).with_context(|| format!("no path {}", path.display()))?;
    let text = path.to_str().with_context(|| format!("{} is not valid UTF-8", path.display()))?;
    Ok(format!("{text:?}.as_ref()"))
}

/// Runs a cell in a kernel of its own, and passes on what it prints.
pub(crate) fn evaluate(root: &Path, code: &str, variables: &[(&str, &OsStr)]) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let scratch = tempfile::tempdir().context("a folder for the kernel's log")?;
        let secrets = Secrets::from_environment(&[])?;
        let around = LaunchOptions {
            folder: root,
            log: &scratch.path().join("kernel.log"),
            variables,
            withheld: &[],
            secrets: &secrets,
        };
        let (kernel, mut client) = Kernel::launch(&KernelCommand::own()?, around).await?;
        let outcome = follow(&mut client, code).await;
        kernel.shut_down(&mut client, Duration::from_secs(5)).await;
        outcome
    })
}

/// Two seconds between two lines of progress.
const PAUSE: Duration = Duration::from_secs(2);

async fn follow(client: &mut Client, code: &str) -> Result<ExitCode> {
    let request = client.execute(code, None, true).await?;
    let (mut failed, mut last) = (false, None::<Instant>);
    loop {
        let event = tokio::select! {
            event = client.next() => event,
            _ = tokio::signal::ctrl_c() => {
                client.interrupt().await?;
                continue;
            }
        };
        let (channel, message) = match event {
            Event::Message(channel, message) => (channel, message),
            Event::Unreadable(what) => bail!("unreadable message from the kernel: {what}"),
            Event::Died(how) => bail!("the kernel died: {how}"),
        };
        if message.parent.as_deref() != Some(&request) {
            continue;
        }
        match (channel, message.kind.as_str()) {
            (Channel::Shell, "execute_reply") => failed |= message.content["status"] != "ok",
            (Channel::Iopub, "status") if message.content["execution_state"] == "idle" => break,
            (Channel::Iopub, _) => failed |= pass_on(&message, &mut last),
            _ => {}
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Prints an output; whether it is an error.
fn pass_on(message: &Message, last: &mut Option<Instant>) -> bool {
    let content = &message.content;
    // Nobody may be listening any more; the computation is of use all the same.
    match message.kind.as_str() {
        "stream" if content["name"] == "stderr" => {
            let _ = write!(std::io::stderr(), "{}", content["text"].as_str().unwrap_or_default());
        }
        "stream" => {
            let _ = write!(std::io::stdout(), "{}", content["text"].as_str().unwrap_or_default());
        }
        "display_data" | "update_display_data" => {
            let text = content["data"]["text/plain"].as_str().unwrap_or_default().trim();
            if !text.is_empty() && last.is_none_or(|last| last.elapsed() > PAUSE) {
                *last = Some(Instant::now());
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
        "error" => {
            let value = content["evalue"].as_str().unwrap_or_default();
            let text = crate::run::text::strip_ansi(value);
            let _ = writeln!(std::io::stderr(), "error: {text}");
            return true;
        }
        _ => {}
    }
    false
}

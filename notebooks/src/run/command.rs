//! `igpt run` on the command line.

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Args;

use super::{
    Misused, Run, RunOptions,
    events::Events,
    execute::CellLimit,
    exit::Exit,
    github,
    launch::KernelCommand,
    parameters::Parameter,
    secrets::{Secrets, TOKENS},
    select::{self, Selection, Shard},
    settings::{duration, size},
    summary, times,
};
use crate::{dirs, host, profiles, repository};

/// What to run and how.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes; the smallest that occurs is the run's:
  0  every notebook passed
  1  a cell raised an error, or a cell tagged `raises-exception` raised none
  2  what was asked for cannot be run: a wrong option, an unreadable notebook or one of another language
  3  the process of a cell, evcxr or the kernel died
  4  a time limit
  5  with --check: outputs differ from the committed ones
  6  a fault of the machine alone: no kernel, a kernel that breaks the protocol, a full disk
130  stopped by Ctrl-C or a signal, whatever else occurred

docs/ci.md has the cells' tags and a workflow for CI.")]
pub struct Arguments {
    /// Notebooks, folders and patterns such as 'notebooks/**/4*.ipynb', or names such as 4.1_best_layer, in this order [default: every notebook of the
    /// repository, first those that take the shortest time]
    #[arg(value_name = "NOTEBOOK")]
    notebooks: Vec<PathBuf>,
    /// How much to compute
    #[arg(long, value_name = "NAME", default_value = profiles::USUAL, value_parser = profiles::parser())]
    profile: String,
    /// Compare the new outputs with the committed ones: text, tables and HTML exactly, images by their hash.
    /// Cells tagged `volatile` are not compared; `check-tolerance:1e-3` and `check-ignore:REGEX` allow for less
    #[arg(long)]
    check: bool,
    /// Write the new outputs into the notebook itself when every cell passed
    #[arg(long, conflicts_with = "check")]
    in_place: bool,
    /// Another value for a variable of the cell that is tagged `parameters`; for each notebook
    #[arg(short, long = "parameter", value_name = "NAME=VALUE", conflicts_with_all = ["check", "in_place"])]
    parameters: Vec<Parameter>,
    /// Only the notebooks that did not pass when they were run last; all, if none is known to have failed
    #[arg(long)]
    last_failed: bool,
    /// Only the notebooks that a change since this git revision touches: their own file, the library, or data
    #[arg(long, value_name = "REV")]
    changed_since: Option<String>,
    /// Only the second of five shares, about as long as the others by the committed times of notebooks, see --update-times
    #[arg(long, value_name = "2/5")]
    shard: Option<Shard>,
    /// Write what each notebook took that passed into times.toml beside it. By it shares are balanced, and the quick notebooks run first
    #[arg(long, conflicts_with = "parameters")]
    update_times: bool,
    /// Time for one cell, for example 90s, 30m, 2h30m; the tag `timeout:90s` goes before [default: none, while it shows progress]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Time for one cell without progress, where it has no other limit: without a change of what it displays
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = duration)]
    progress_timeout: Duration,
    /// Time for one notebook, its kernel's start included; the tag `notebook-timeout:1h` goes before [default: none]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    notebook_timeout: Option<Duration>,
    /// How much of a cell's output is kept, for example 500kB, 20MB; the tag `output-limit:1MB` goes before
    #[arg(long, value_name = "SIZE", default_value = "64MB", value_parser = size)]
    output_limit: usize,
    /// How much of the outputs of all cells of a notebook together is kept; the tag `notebook-output-limit:20MB` goes before
    #[arg(long, value_name = "SIZE", default_value = "64MB", value_parser = size)]
    notebook_output_limit: usize,
    /// How many notebooks run at the same time; `auto` takes as many as there are cores, and memory for kernels. While one computes a
    /// result for the experiment store, the others wait with their next cell
    #[arg(long, value_name = "N", default_value = "1", value_parser = jobs)]
    jobs: usize,
    /// How often a notebook is run again after a fault of the machine, never after one of its own
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10))]
    retries: u32,
    /// Blank the value of this environment variable in every output and log, as that of HF_TOKEN always is
    #[arg(long, value_name = "NAME")]
    mask: Vec<String>,
    /// Let cells have HF_TOKEN, which they do not get otherwise
    #[arg(long)]
    pass_token: bool,
    /// Tell what happens as JSON, one object a line on standard output; the rest goes to standard error
    #[arg(long)]
    json: bool,
    /// Where executed notebooks, logs, report.html and junit.xml go [default: target/notebooks]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Another kernel, for tests
    #[arg(long, hide = true, value_name = "COMMAND")]
    kernel_command: Option<String>,
}

/// Runs notebooks, says what came of it, and returns the exit code.
pub fn run(arguments: &Arguments) -> ExitCode {
    let exit = match prepare(arguments) {
        Ok(None) => Exit::Well,
        Ok(Some(prepared)) => execute(arguments, prepared),
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<NoKernel>() { Exit::Infrastructure } else { Exit::Usage }
        }
    };
    ExitCode::from(exit.code())
}

/// What is missing before any notebook can run: told once, and not for each.
#[derive(Debug)]
struct NoKernel(String);

impl std::fmt::Display for NoKernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoKernel {}

fn kernel(arguments: &Arguments) -> Result<KernelCommand> {
    if let Some(command) = &arguments.kernel_command {
        return KernelCommand::parse(command);
    }
    match dirs::not_set_up() {
        Ok(None) => KernelCommand::own(),
        Ok(Some(missing)) => {
            Err(NoKernel(format!("{missing}. `igpt doctor` says what else is missing")).into())
        }
        Err(error) => Err(NoKernel(format!("{error:#}")).into()),
    }
}

/// What the command line stands for; `None` if there is nothing to run, which is then said.
fn prepare(arguments: &Arguments) -> Result<Option<RunOptions>> {
    let secrets = Secrets::from_environment(&arguments.mask)?;
    let events = Events::new(arguments.json, secrets.clone());
    let root = repository::root();
    let everything = match (&arguments.notebooks[..], &root) {
        (_, Ok(root)) => vec![root.join("notebooks")],
        ([], Err(error)) => anyhow::bail!("{error:#}; name the notebooks to run"),
        _ => Vec::new(),
    };
    // Two profiles of one name would be an error of each notebook.
    let listed = match &root {
        Ok(root) => profiles::notebooks(root, &arguments.profile)?,
        Err(_) => None,
    };
    let named = match (listed, &arguments.notebooks[..]) {
        (Some(listed), []) => {
            let which = listed.join(", ");
            say(
                &events,
                &format!(
                    "the profile {} computes {which}: its network is not trained here, and the other notebooks train",
                    arguments.profile
                ),
            );
            listed.into_iter().map(PathBuf::from).collect()
        }
        (_, named) => named.to_vec(),
    };
    let out = match (&arguments.out, root) {
        (Some(out), _) => out.clone(),
        (None, root) => root?.join("target/notebooks"),
    };
    let selection = Selection {
        named,
        last_failed: arguments.last_failed,
        changed_since: arguments.changed_since.clone(),
        shard: arguments.shard,
        profile: arguments.profile.clone(),
    };
    let selected = select::select(&selection, &everything, &out)?;
    for note in &selected.notes {
        say(&events, note);
    }
    if selected.notebooks.is_empty() {
        events.run(&selected.notebooks, &selected.notes);
        say(&events, "nothing to run");
        events.nothing();
        return Ok(None);
    }
    let kernel = kernel(arguments)?;
    events.run(&selected.notebooks, &selected.notes);
    let withheld = if arguments.pass_token { Vec::new() } else { TOKENS.to_vec() };
    Ok(Some(RunOptions {
        notebooks: selected.notebooks,
        cheapest_first: arguments.notebooks.is_empty(),
        profile: arguments.profile.clone(),
        check: arguments.check,
        in_place: arguments.in_place,
        parameters: arguments.parameters.clone(),
        cell_limit: match arguments.timeout {
            Some(limit) => CellLimit::Whole(limit),
            None => CellLimit::WithoutProgress(arguments.progress_timeout),
        },
        notebook_timeout: arguments.notebook_timeout,
        output_limit: arguments.output_limit,
        notebook_output_limit: arguments.notebook_output_limit,
        jobs: arguments.jobs,
        retries: arguments.retries,
        secrets,
        withheld,
        out,
        kernel,
        events,
    }))
}

fn execute(arguments: &Arguments, options: RunOptions) -> Exit {
    let (events, secrets) = (options.events.clone(), options.secrets.clone());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            return Exit::Infrastructure;
        }
    };
    let run = runtime.block_on(super::run(options));
    runtime.shutdown_background();
    let run = match run {
        Ok(run) => run,
        Err(error) => {
            eprintln!("error: {}", secrets.mask(&format!("{error:#}")));
            return if error.is::<Misused>() { Exit::Usage } else { Exit::Infrastructure };
        }
    };
    let summary = summary::summary(&run.outcomes, std::io::stdout().is_terminal() && !events.are_on());
    say(&events, &format!("\n{}", secrets.mask(summary.trim_end())));
    for claims in &run.claims {
        let of = if run.claims.len() > 1 { format!("{}: ", claims.title) } else { String::new() };
        say(&events, &format!("{of}{}", claims.in_words()));
    }
    say(&events, &format!("report: {}", run.report.display()));
    events.over(&run);
    let mut exit = run.exit();
    if let Err(error) = tell_github(&run, &events, &secrets) {
        eprintln!("error: {error:#}");
        exit = if exit == Exit::Well { Exit::Infrastructure } else { exit };
    }
    if arguments.update_times {
        match times::update(&run.outcomes, &arguments.profile) {
            Ok(updated) => {
                updated.iter().for_each(|file| say(&events, &format!("times: {}", file.display())));
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                exit = if exit == Exit::Well { Exit::Infrastructure } else { exit };
            }
        }
    }
    exit
}

/// Annotations and a summary, where GitHub Actions asks for them.
fn tell_github(run: &Run, events: &Events, secrets: &Secrets) -> Result<()> {
    if std::env::var("GITHUB_ACTIONS").is_ok_and(|on| on == "true") {
        let workspace = std::env::var_os("GITHUB_WORKSPACE").map(PathBuf::from);
        let folder = workspace.or_else(|| std::env::current_dir().ok()).unwrap_or_default();
        let lines = github::annotations(&run.outcomes, &folder);
        if !lines.is_empty() {
            say(events, secrets.mask(lines.trim_end()).as_ref());
        }
    }
    if let Some(file) =
        std::env::var_os("GITHUB_STEP_SUMMARY").map(PathBuf::from).filter(|f| !f.as_os_str().is_empty())
    {
        let context = || format!("cannot write the job's summary {}", file.display());
        let mut summary =
            std::fs::OpenOptions::new().create(true).append(true).open(&file).with_context(context)?;
        summary.write_all(secrets.mask(&github::step_summary(run)).as_bytes()).with_context(context)?;
    }
    Ok(())
}

/// What a kernel needs, with a cell's compiler.
const KERNEL_BYTES: u64 = 1_200_000_000;

fn jobs(text: &str) -> Result<usize, String> {
    match text {
        "auto" => Ok(automatic(
            std::thread::available_parallelism().map_or(1, usize::from),
            host::available_memory().unwrap_or(u64::MAX),
        )),
        number => match number.parse() {
            Ok(jobs) if (1..=64).contains(&jobs) => Ok(jobs),
            _ => Err(format!("{text:?} is neither a number from 1 to 64 nor `auto`")),
        },
    }
}

/// One kernel more than notebooks that run is started.
fn automatic(cores: usize, memory: u64) -> usize {
    let kernels = usize::try_from(memory / KERNEL_BYTES).unwrap_or(usize::MAX);
    cores.min(kernels.saturating_sub(1)).clamp(1, 64)
}

/// For users: on standard output, unless that is for a program.
fn say(events: &Events, text: &str) {
    if events.are_on() {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_bounded_by_cores_and_memory() {
        assert_eq!(automatic(8, 100_000_000_000), 8);
        assert_eq!(automatic(8, 4 * KERNEL_BYTES), 3);
        assert_eq!((automatic(8, 0), automatic(0, u64::MAX), automatic(1000, u64::MAX)), (1, 1, 64));
        assert_eq!((jobs("7"), jobs("auto").is_ok_and(|jobs| jobs >= 1)), (Ok(7), true));
        assert!(jobs("0").is_err() && jobs("65").is_err() && jobs("many").is_err());
    }
}

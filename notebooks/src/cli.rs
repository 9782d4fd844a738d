//! The command line.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use igpt_common::fetch_arguments::Arguments;

use crate::{doctor, export, fetch, kernel, lab, on_path, repository, run, setup, slot::inventory, steps};

/// Papers in Rust notebooks: run their experiments from notebooks, and check what the papers claim.
///
/// Without a subcommand: prepares the kernel, runs every notebook in the quick profile (committed data, CPU,
/// minutes) and says where the report is.
#[derive(Debug, Parser)]
#[command(name = "igpt", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Execute notebooks and report on them; exit 0 only if all is well
    Run(Box<run::command::Arguments>),
    /// Build and install what the notebooks' kernel needs
    Setup,
    /// Open the notebooks in JupyterLab with this repository's kernel
    ///
    /// One engine is kept ready for the next notebook that is opened or restarted in the same folder, so that its first cell need
    /// not wait (on Linux). It takes .7 GB of memory; it is made only where 4 GiB are free, and let go when there are less than
    /// 2 GiB.
    Lab(LabArgs),
    /// Look for what keeps notebooks from running, and say how to cure it; exit 1 if there is a problem
    Doctor,
    /// Be the Jupyter kernel of a connection file (Jupyter starts this), or look after kernels' build slots
    Kernel(KernelArgs),
    /// Download weights and data sets from the Hugging Face hub, and decode data sets into plain files, from which
    /// notebooks read them at once
    ///
    /// CIFAR-10 and -100, STL-10, Fashion-MNIST, ImageNet and OpenAI's networks have names (--list); other data sets of
    /// the hub are OWNER/NAME.
    ///
    /// The hub is HF_ENDPOINT, else https://huggingface.co; who asks is known by HF_TOKEN. The cache, which the hub's
    /// Python client shares, is HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub. A download that broke
    /// off goes on where it was. HF_HUB_OFFLINE=1 forbids the network.
    ///
    /// Decoded files go to IGPT_DATA, else target/igpt-data of this repository. One that is there and whole is left as it
    /// is. A notebook that needs a data set starts this by itself.
    ///
    /// What does this is compiled when it is first asked for.
    Fetch(Arguments),
    /// Compute steps of an experiment from files, and keep their results where notebooks find them
    ///
    /// What a step needs is computed before, unless the store (IGPT_STORE, else target/igpt-store) has it. Several may run
    /// at once: what one computes the others wait for.
    Compute(steps::Compute),
    /// List the steps that a profile's notebooks need: what is there, what is missing, and about how long it will take
    Steps(steps::Steps),
    /// Write a network that was trained here into a folder as Hugging Face's transformers keep their models, with a model card
    ///
    /// The network is that of a profile, or of a file. It must be in the store (IGPT_STORE, else target/igpt-store): nothing is
    /// trained unless --compute is given. A folder that is there is left as it is, and is an error if it holds anything else
    /// than what would be written.
    ///
    /// transformers' ImageGPTForCausalImageModeling.from_pretrained("DIR") loads it, and in a notebook
    /// huggingface::Checkpoint::read("DIR".as_ref())?. Its README.md, the model card, says how, what the network was trained on,
    /// and what transformers cannot do with it: its image processor knows no palettes of greys, as the profile quick has one.
    Export(export::Export),
    /// Keep what came of the last run in papers/NAME/results/PROFILE.toml: verdicts, effects with their intervals, and where they
    /// come from
    ///
    /// It has to be a run of all notebooks, all of which passed, and of what is in this checkout now; and the experiment store has to
    /// know where their results come from.
    Record(run::results::record::Record),
    /// List recorded runs and the last one with their keys, or say where a run or a stored result comes from
    Results(run::results::Results),
    /// Remove what setup built
    Clean,
    /// Run a program that ends with its parent
    #[command(hide = true)]
    Guard(GuardArgs),
    /// Keep an engine ready for a kernel
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Spare(SpareArgs),
    /// Pass on what cells print, in a form that harms nobody
    #[command(hide = true)]
    Filter,
    /// Be the cargo of notebooks
    #[command(hide = true)]
    Cargo(ToolArgs),
    /// Be the rustup of notebooks
    #[command(hide = true)]
    Rustup(ToolArgs),
    /// Be the rustc that compiles notebooks
    #[command(hide = true)]
    Rustc(ToolArgs),
    /// Be the rustc that programs find in notebooks
    #[command(hide = true)]
    RustcInPath(ToolArgs),
}

#[derive(Debug, Args)]
struct LabArgs {
    /// Keep no engine ready
    #[arg(long)]
    no_spare: bool,
    /// Passed on to JupyterLab
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

#[derive(Debug, Args)]
struct KernelArgs {
    /// Where the channels are
    #[arg(value_name = "FILE", required_unless_present_any = ["connection_file", "list", "clean"])]
    file: Option<PathBuf>,
    /// Where the channels are
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "file")]
    connection_file: Option<PathBuf>,
    /// List the build slots: whose they are, how large, free or in use by which process
    #[arg(long, conflicts_with_all = ["file", "connection_file"])]
    list: bool,
    /// Remove the free build slots, except the bases from which new ones are copied, and all of checkouts that are gone
    #[arg(long, conflicts_with_all = ["file", "connection_file", "list"])]
    clean: bool,
    /// The checkout whose library notebooks get that lie in none
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct GuardArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<std::ffi::OsString>,
}

#[cfg(target_os = "linux")]
#[derive(Debug, Args)]
struct SpareArgs {
    /// The checkout whose library it has
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
}

#[derive(Debug, Args)]
struct ToolArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<std::ffi::OsString>,
}

/// Does what the command line says.
pub fn main(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        None => main_job(),
        Some(Command::Run(args)) => Ok(run::command::run(&args)),
        Some(Command::Setup) => set_up(&repository::root()?).map(|()| ExitCode::SUCCESS),
        Some(Command::Lab(args)) => lab::lab(&repository::root()?, &args.arguments, !args.no_spare),
        Some(Command::Doctor) => {
            Ok(if doctor::doctor(&repository::root()?) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(Command::Kernel(args)) if args.list => {
            print!("{}", inventory::table(&inventory::find()?, std::time::SystemTime::now()));
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Kernel(args)) if args.clean => inventory::clean().map(|()| ExitCode::SUCCESS),
        Some(Command::Kernel(args)) => {
            let file = args.connection_file.or(args.file).context("no connection file")?;
            kernel::serve(&file, args.root.as_deref()).map(|()| ExitCode::SUCCESS)
        }
        // The words are read here for their mistakes; who does the work reads them again.
        Some(Command::Fetch(_)) => fetch::fetch(&repository::root()?),
        Some(Command::Compute(words)) => steps::compute(&repository::root()?, &words),
        Some(Command::Steps(words)) => steps::list(&repository::root()?, &words),
        Some(Command::Export(words)) => export::export(&repository::root()?, &words),
        Some(Command::Record(words)) => {
            run::results::record::record(&repository::root()?, &words).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Results(words)) => {
            run::results::results(&repository::root()?, &words).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Clean) => setup::clean().map(|()| ExitCode::SUCCESS),
        Some(Command::Guard(args)) => kernel::guard::guard(&args.command),
        #[cfg(target_os = "linux")]
        Some(Command::Spare(args)) => kernel::spare::maker::make(&args.root),
        Some(Command::Filter) => kernel::filter::filter(),
        Some(Command::Cargo(args)) => kernel::cargo::cargo(&args.arguments),
        Some(Command::Rustup(args)) => kernel::cargo::rustup(&args.arguments),
        Some(Command::RustcInPath(args)) => kernel::cargo::rustc(&args.arguments),
        Some(Command::Rustc(args)) => kernel::cargo::build::rustc(&args.arguments),
    }
}

fn set_up(root: &Path) -> Result<()> {
    setup::setup(root)?;
    if let Some(offer) = on_path::offer(root) {
        println!("{offer}");
    }
    Ok(())
}

fn main_job() -> Result<ExitCode> {
    setup::setup(&repository::root()?)?;
    println!();
    let everything = Cli::try_parse_from(["igpt", "run"])?;
    match everything.command {
        Some(Command::Run(args)) => Ok(run::command::run(&args)),
        _ => bail!("internal error: `igpt run` is not `run`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert!(Cli::try_parse_from(["igpt", "kernel", "file.json"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "kernel", "-f", "file.json"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "kernel"]).is_err());
        assert!(Cli::try_parse_from(["igpt", "kernel", "--list"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "kernel", "--clean", "file.json"]).is_err());
        let lab = |words: &[&str]| match Cli::try_parse_from(["igpt", "lab"].iter().chain(words))
            .unwrap()
            .command
        {
            Some(Command::Lab(args)) => (args.no_spare, args.arguments),
            _ => panic!("{words:?} is not for the lab"),
        };
        assert_eq!(lab(&["--no-spare", "--port", "9"]), (true, vec!["--port".into(), "9".into()]));
        assert_eq!(lab(&["--no-browser"]), (false, vec!["--no-browser".into()]));
        assert!(Cli::try_parse_from(["igpt", "run", "--profile", "cifar-short"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "record", "--uncommitted"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "results", "0123abcd"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "results", "0123abcd", "--readme"]).is_err());
        assert!(Cli::try_parse_from(["igpt", "export"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "export", "step.json", "--out", "there", "--compute"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "export", "step.json", "--profile", "cifar"]).is_err());
        assert!(Cli::try_parse_from(["igpt", "fetch", "cifar10"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "fetch", "a/b", "--side", "32", "--label-column", "x"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "fetch", "--list"]).is_ok());
        assert!(Cli::try_parse_from(["igpt", "fetch"]).is_err());
    }

    /// Those that have settings, and no other.
    #[test]
    fn profiles_are_offered_with_their_sentences() {
        let all = profiles::profiles(&repository::root().unwrap());
        let help = Cli::command().find_subcommand_mut("run").unwrap().render_long_help().to_string();
        for profile in &all {
            // Long sentences are broken into lines.
            let words: Vec<_> = profile.about.split_whitespace().collect();
            let help: Vec<_> = help.split_whitespace().collect();
            assert!(help.windows(words.len()).any(|part| part == words), "{}", profile.about);
        }
        let error = Cli::try_parse_from(["igpt", "run", "--profile", "paper"]).unwrap_err().to_string();
        assert!(
            all.iter().all(|profile| error.contains(&profile.name)) && error.contains("quick"),
            "{error}"
        );
    }
}

//! The runner: executes notebooks as any Jupyter client would, and tells the truth about them.

pub mod account;
pub mod areas;
pub mod bound;
pub mod check;
pub mod claims;
pub mod client;
pub mod command;
pub mod diff;
pub mod ended;
pub mod events;
pub mod execute;
pub mod exit;
pub mod expected;
pub mod github;
pub mod journal;
pub mod junit;
pub mod launch;
pub mod listed;
pub mod message;
pub mod notebook;
pub mod outcome;
pub mod output;
pub mod parameters;
pub mod place;
pub mod progress;
pub mod report;
pub mod resources;
pub mod results;
pub mod schedule;
pub mod secrets;
pub mod select;
pub mod settings;
pub mod summary;
pub mod text;
pub mod times;
pub mod turns;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};

use crate::slot::try_lock;

use self::{
    account::Account,
    ended::Ended,
    events::Events,
    execute::{CellLimit, End, Limits, News, stopped},
    exit::Exit,
    journal::Journal,
    launch::{Kernel, KernelCommand, LaunchOptions},
    notebook::Notebook,
    outcome::{Cause, CellRun, CellStatus, Failure, Outcome, Verdict},
    parameters::Parameter,
    progress::Progress,
    results::made,
    schedule::Schedule,
    secrets::Secrets,
    settings::Settings,
    turns::Turns,
};

/// How long the start of a kernel is put off without a word.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of the run's own files, below its output folder.
const LOGS: &str = "logs";

/// What to run and how.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The notebooks.
    pub notebooks: Vec<PathBuf>,
    /// Run those first that take the shortest time; else all in this order.
    pub cheapest_first: bool,
    /// `IGPT_PROFILE` for the cells.
    pub profile: String,
    /// Compare the outputs with the committed ones.
    pub check: bool,
    /// Write the executed notebook over its source when every cell passed.
    pub in_place: bool,
    /// Values for the cells that are tagged `parameters`.
    pub parameters: Vec<Parameter>,
    /// For each cell.
    pub cell_limit: CellLimit,
    /// For each notebook, its kernel's start included.
    pub notebook_timeout: Option<Duration>,
    /// How many bytes of each cell's output are kept.
    pub output_limit: usize,
    /// How many bytes of the outputs of all cells of a notebook together are kept.
    pub notebook_output_limit: usize,
    /// How many notebooks run at the same time.
    pub jobs: usize,
    /// How often a notebook is run again after a fault of the machine.
    pub retries: u32,
    /// What must not appear in anything that the run leaves behind.
    pub secrets: Secrets,
    /// Environment variables that kernels do not get.
    pub withheld: Vec<&'static str>,
    /// Where executed notebooks, logs and reports go.
    pub out: PathBuf,
    /// The kernel to run them with.
    pub kernel: KernelCommand,
    /// What a program is told while notebooks run.
    pub events: Events,
}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    /// One for each notebook, in the order of the options.
    pub outcomes: Vec<Outcome>,
    /// The names of those that are still to come, in a report that is written meanwhile.
    pub to_come: Vec<String>,
    /// The HTML report.
    pub report: PathBuf,
    /// The JUnit file.
    pub junit: PathBuf,
    /// What it was of, and what came of it, for those who come after it.
    pub account: Account,
    /// The claims of each paper of which any was judged, and what became of them.
    pub claims: Vec<claims::Claims>,
    /// Ended by Ctrl-C or a signal.
    pub interrupted: bool,
}

impl Run {
    fn of(
        account: Account,
        outcomes: Vec<Outcome>,
        to_come: Vec<String>,
        interrupted: bool,
        options: &RunOptions,
    ) -> Self {
        Self {
            report: options.out.join("report.html"),
            junit: options.out.join("junit.xml"),
            claims: claims::of_run(checkout(&options.notebooks).as_deref(), &account),
            account,
            outcomes,
            to_come,
            interrupted,
        }
    }

    /// How the run ended.
    pub fn exit(&self) -> Exit {
        Exit::of_run(&self.outcomes, self.interrupted)
    }
}

/// Runs the notebooks, saves them, writes the reports.
///
/// # Errors
/// [`Misused`] where what was asked for cannot be done, and anything else where the output folder cannot be written.
pub async fn run(options: RunOptions) -> Result<Run> {
    ensure!(!options.notebooks.is_empty(), Misused("there is no notebook to run".into()));
    let jobs = jobs(&options).map_err(|error| Misused(format!("{error:#}")))?;
    let logs = options.out.join(LOGS);
    fs::create_dir_all(&logs).with_context(|| format!("cannot make the folder {}", logs.display()))?;
    // Both would write the same journals and reports, and each would take the other's numbers for its own.
    let _alone = try_lock(&logs)?.ok_or_else(|| {
        Misused(format!(
            "another `igpt run` is writing to {}: wait for it, or choose another folder with --out",
            options.out.display()
        ))
    })?;
    let (stop_sender, stop) = watch::channel(false);
    let progress = Progress::new(options.events.clone());
    let signals = tokio::spawn(stop_on_signals(stop_sender, progress.clone()));

    let named: Vec<_> = jobs.iter().map(|job| (job.source.clone(), job.name.clone())).collect();
    let schedule = Arc::new(Schedule::new(&named, &options.profile, options.cheapest_first));
    let options = Arc::new(options);
    made::begin(&options.out);
    let root = checkout(&options.notebooks);
    let begun = Account::begin(&options.out, root, &options.profile, &options.notebooks);
    let so_far = Arc::new(SoFar::new(&options, &jobs, begun.clone()));
    let alive = Arc::new(Semaphore::new(options.jobs.max(1) + 1));
    let running = Arc::new(Semaphore::new(options.jobs.max(1)));
    let mut tasks = Vec::new();
    for place in schedule.order() {
        let (place, job) = (*place, jobs[*place].clone());
        // One kernel more than notebooks that run: the next one starts while the current one works.
        let permit = Arc::clone(&alive).acquire_owned().await?;
        // It stands in the queue from now on, so that notebooks run in the order of the schedule, whichever kernel
        // starts first.
        let mut turn = Box::pin(Arc::clone(&running).acquire_owned());
        let at_once = tokio::select! {
            biased;
            permit = &mut turn => Some(permit),
            () = std::future::ready(()) => None,
        };
        let turn = async move {
            match at_once {
                Some(permit) => permit,
                None => turn.await,
            }
        };
        let (options, progress) = (Arc::clone(&options), progress.clone());
        let (schedule, so_far, stop) = (Arc::clone(&schedule), Arc::clone(&so_far), stop.clone());
        tasks.push((
            place,
            tokio::spawn(async move {
                let mut running = None;
                let outcome =
                    run_one(job, &options, (turn, &mut running), stop, (&progress, schedule.as_ref())).await;
                // Before the next one begins, whose time is estimated from this. With other parameters a notebook takes
                // another time than the one that is known, and than the one it takes the next time.
                if options.parameters.is_empty() {
                    schedule.ended(&outcome);
                }
                progress.finished(&outcome);
                schedule.through(&outcome.name);
                drop((running, permit));
                so_far.ended(place, &outcome, &options);
                outcome
            }),
        ));
    }
    let mut outcomes = Vec::new();
    for (place, task) in tasks {
        let failed = |error: tokio::task::JoinError| {
            jobs[place].failed(Cause::Infrastructure, format!("internal error: {error}"))
        };
        outcomes.push((place, task.await.unwrap_or_else(failed)));
    }
    signals.abort();
    outcomes.sort_by_key(|(place, _)| *place);
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();

    // As it stands in its file, so that the records' keys are those of what is kept.
    let account = begun.ended().with(&outcomes, &options.parameters).to_json()?;
    let account = options.secrets.mask(&account);
    let run = Run::of(Account::parse(&account)?, outcomes, Vec::new(), *stop.borrow(), &options);
    let write =
        |file: &Path, text: String| notebook::write_atomically(file, options.secrets.mask(&text).as_bytes());
    write(&run.junit, junit::junit(&run.outcomes))?;
    write(&run.report, report::report(&run, &options))?;
    Ended::update(&options.out, &run.outcomes)?;
    write(&options.out.join(account::FILE), account.into_owned())?;
    for claims in &run.claims {
        if let Some(file) = made::file(&options.out, &claims.paper) {
            write(&file, claims.run.to_text())?;
        }
    }
    Ok(run)
}

/// What was asked for cannot be done.
#[derive(Debug)]
pub struct Misused(String);

impl std::fmt::Display for Misused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misused {}

/// What a run has done until now, by the places of its notebooks.
struct SoFar {
    names: Vec<String>,
    begun: Account,
    outcomes: Mutex<Vec<Option<Outcome>>>,
}

impl SoFar {
    /// A report of an earlier run is not this run's.
    fn new(options: &RunOptions, jobs: &[Job], begun: Account) -> Self {
        let _ = fs::remove_file(options.out.join("report.html"));
        let names = jobs.iter().map(|job| job.name.clone()).collect();
        Self { names, begun, outcomes: Mutex::new(vec![None; jobs.len()]) }
    }

    /// Writes the report of what there is. That it cannot be written will be told at the end.
    fn ended(&self, place: usize, outcome: &Outcome, options: &RunOptions) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes[place] = Some(outcome.clone());
        let with_names = self.names.iter().zip(outcomes.iter());
        let to_come =
            with_names.filter(|(_, outcome)| outcome.is_none()).map(|(name, _)| name.clone()).collect();
        let outcomes: Vec<Outcome> = outcomes.iter().flatten().cloned().collect();
        let account = self.begun.with(&outcomes, &options.parameters);
        let run = Run::of(account, outcomes, to_come, false, options);
        let report = report::report(&run, options);
        let _ = notebook::write_atomically(&run.report, options.secrets.mask(&report).as_bytes());
    }
}

/// The checkout in which the notebooks lie, if one does.
fn checkout(notebooks: &[PathBuf]) -> Option<PathBuf> {
    let absolute = notebooks.iter().filter_map(|notebook| std::path::absolute(notebook).ok());
    absolute.filter_map(|notebook| crate::repository::around(notebook.parent()?)).next()
}

/// One notebook and its places.
#[derive(Debug, Clone)]
struct Job {
    source: PathBuf,
    name: String,
    executed: PathBuf,
    log: PathBuf,
    journal: PathBuf,
}

impl Job {
    fn outcome(&self, cells: Vec<CellRun>, duration: Duration, verdict: Verdict) -> Outcome {
        Outcome {
            source: self.source.clone(),
            name: self.name.clone(),
            executed: self.executed.clone(),
            log: self.log.clone(),
            cells,
            journal: Journal::read(&self.journal),
            duration,
            resources: None,
            retries: Vec::new(),
            lines: Vec::new(),
            verdict,
        }
    }

    fn failed(&self, cause: Cause, error: String) -> Outcome {
        let failure = Failure::new(cause, error);
        self.outcome(Vec::new(), Duration::ZERO, Verdict::Failed { cell: None, failure })
    }
}

fn jobs(options: &RunOptions) -> Result<Vec<Job>> {
    let mut names = HashSet::new();
    let mut jobs = Vec::new();
    for source in &options.notebooks {
        let source = std::path::absolute(source)?;
        source.file_name().context("a notebook needs a file name")?;
        let stem = notebook::name(&source);
        // Two folders may hold notebooks of the same name.
        let numbered = (2..).map(|n| format!("{stem}-{n}"));
        let name = std::iter::once(stem.clone()).chain(numbered).find(|name| names.insert(name.clone()));
        let name = name.unwrap_or(stem);
        let executed = std::path::absolute(options.out.join(format!("{name}.ipynb")))?;
        if executed == source
            || fs::canonicalize(&executed).is_ok_and(|e| fs::canonicalize(&source).is_ok_and(|s| s == e))
        {
            bail!(
                "the executed notebook would overwrite {}: choose another --out, or --in-place",
                source.display()
            );
        }
        let log = options.out.join(LOGS).join(format!("{name}.log"));
        // The kernel works in another folder.
        let journal = std::path::absolute(log.with_extension("journal"))?;
        jobs.push(Job { source, name, executed, log, journal });
    }
    Ok(jobs)
}

/// A notebook that is ready to be run.
struct Prepared {
    /// As it is in its file.
    committed: Notebook,
    /// With the parameters of this run, and without outputs.
    notebook: Notebook,
    /// Of the whole notebook.
    timeout: Option<Duration>,
    /// Of the whole notebook: how many bytes of its outputs are kept.
    output_limit: usize,
    /// The file's line of each line of each cell of `notebook`.
    lines: Vec<Vec<usize>>,
}

/// Reads a notebook and all that its tags say: what means nothing would otherwise be found after an hour.
fn prepare(job: &Job, options: &RunOptions) -> Result<Prepared> {
    let text =
        fs::read_to_string(&job.source).with_context(|| format!("cannot read {}", job.source.display()))?;
    let named = || format!("{} is not a notebook", job.source.display());
    let committed = Notebook::parse(&text).with_context(named)?;
    if let Some(other) = committed.other_language() {
        bail!("{other}");
    }
    for cell in committed.code_cells() {
        Settings::of(&cell).with_context(|| format!("cell {}", cell.number))?;
    }
    let timeout = settings::notebook_timeout(&committed)?.or(options.notebook_timeout);
    let output_limit = settings::notebook_output_limit(&committed)?.unwrap_or(options.notebook_output_limit);
    let (mut notebook, mut lines) = (committed.clone(), place::lines(&text));
    if !options.parameters.is_empty() {
        let places = parameters::inject(&mut notebook, &options.parameters)?;
        let of = |place: Option<usize>| place.and_then(|place| lines.get(place).cloned()).unwrap_or_default();
        lines = places.into_iter().map(of).collect();
    }
    notebook.clear_outputs();
    Ok(Prepared { committed, notebook, timeout, output_limit, lines })
}

async fn run_one(
    job: Job,
    options: &RunOptions,
    (turn, permit): (
        impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>>,
        &mut Option<OwnedSemaphorePermit>,
    ),
    mut stop: watch::Receiver<bool>,
    (progress, schedule): (&Progress, &Schedule),
) -> Outcome {
    // A stale file of an earlier run would look like this run's.
    let _ = fs::remove_file(&job.executed);
    let _ = fs::remove_file(&job.journal);
    let prepared = match prepare(&job, options) {
        Ok(prepared) => prepared,
        Err(error) => {
            let text = format!("{error:#}");
            return job.failed(Cause::Notebook, options.secrets.mask(&text).into_owned());
        }
    };
    let mut turn = Box::pin(turn);
    let mut retries = Vec::new();
    loop {
        let mut outcome =
            attempt(&job, options, &prepared, (&mut turn, &mut *permit), &mut stop, (progress, schedule))
                .await;
        let fault = match &outcome.verdict {
            Verdict::Failed { failure, .. } if failure.cause == Cause::Infrastructure => failure.clone(),
            _ => {
                outcome.retries = retries;
                return outcome;
            }
        };
        if retries.len() >= options.retries as usize || *stop.borrow() {
            outcome.retries = retries;
            return outcome;
        }
        // What the failed try said is kept beside what the next one will say.
        let number = retries.len() + 1;
        let _ = fs::rename(&job.log, job.log.with_extension(format!("try-{number}.log")));
        progress.retry(&job.source, &job.name, number, options.retries, &fault);
        retries.push(fault);
    }
}

/// A notebook's turn among all of the run, and the permit that it gives.
type Turn<'a, T> = (&'a mut std::pin::Pin<Box<T>>, &'a mut Option<OwnedSemaphorePermit>);

async fn attempt<T: Future<Output = Result<OwnedSemaphorePermit, AcquireError>>>(
    job: &Job,
    options: &RunOptions,
    prepared: &Prepared,
    (turn, permit): Turn<'_, T>,
    stop: &mut watch::Receiver<bool>,
    (progress, schedule): (&Progress, &Schedule),
) -> Outcome {
    let Prepared { committed, timeout, output_limit, lines, .. } = prepared;
    let mut notebook = prepared.notebook.clone();
    let _ = fs::remove_file(&job.journal);
    let outcome = |cells, duration, verdict| {
        let outcome = job.outcome(cells, duration, verdict);
        Outcome { lines: lines.clone(), ..outcome }
    };
    let infrastructure = |error: &anyhow::Error| Verdict::Failed {
        cell: None,
        failure: Failure::new(Cause::Infrastructure, format!("{error:#}")),
    };
    let not_run = || -> Vec<CellRun> {
        let cells = prepared.notebook.code_cells().into_iter();
        cells.map(|cell| CellRun::untouched(cell.masked(&options.secrets), CellStatus::NotRun)).collect()
    };
    let save = |notebook: &Notebook| {
        if options.secrets.is_empty() {
            return notebook.save(&job.executed);
        }
        let mut notebook = notebook.clone();
        notebook.mask(&options.secrets);
        notebook.save(&job.executed)
    };
    if let Err(error) = save(&notebook) {
        return outcome(not_run(), Duration::ZERO, infrastructure(&error));
    }
    if not_run().is_empty() {
        return outcome(Vec::new(), Duration::ZERO, Verdict::Passed);
    }
    if *stop.borrow() {
        return outcome(not_run(), Duration::ZERO, Verdict::Interrupted);
    }
    // Beside the journal, whose path holds in the folder where the kernel works, too.
    let turns = Turns::beside(&job.journal);
    let variables = [
        ("IGPT_PROFILE", options.profile.as_ref()),
        (journal::VARIABLE, job.journal.as_os_str()),
        (turns::VARIABLE, turns.file()),
    ];
    let around = LaunchOptions {
        folder: job.source.parent().unwrap_or(Path::new(".")),
        log: &job.log,
        variables: &variables,
        withheld: &options.withheld,
        secrets: &options.secrets,
    };
    let launch = async {
        let until_free = turns.free();
        tokio::pin!(until_free);
        if tokio::time::timeout(PATIENCE, &mut until_free).await.is_err() {
            progress.say(&format!("{}: its kernel is started when the computation under way ends", job.name));
            until_free.await;
        }
        let began = Instant::now();
        let launched = Kernel::launch(&options.kernel, around);
        let launched = match timeout {
            None => Some(launched.await),
            Some(limit) => tokio::time::timeout(*limit, launched).await.ok(),
        };
        (launched, began.elapsed())
    };
    let queue = async {
        if permit.is_none() {
            *permit = turn.await.ok();
        }
    };
    let ((launched, start), ()) = tokio::select! {
        started = async { tokio::join!(launch, queue) } => started,
        () = stopped(stop) => return outcome(not_run(), Duration::ZERO, Verdict::Interrupted),
    };
    let (kernel, mut client) = match launched {
        Some(Ok(kernel)) => kernel,
        Some(Err(error)) => return outcome(not_run(), Duration::ZERO, infrastructure(&error)),
        None => {
            let limit = timeout.unwrap_or_default().as_secs_f64();
            let why = format!("the kernel did not start within {limit} s, the notebook's limit");
            let failure = Failure::new(Cause::TimeLimit, why);
            return outcome(not_run(), start, Verdict::Failed { cell: None, failure });
        }
    };

    if let Some(line) = schedule.begins(&job.name) {
        progress.say(&line);
    }
    let started = Instant::now();
    let watch = resources::ResourceMonitor::begin(kernel.process());
    let mut bar = progress.notebook(&job.source, &job.name, notebook.code_cells().len());
    // Saved after every cell: even a killed run leaves what it did.
    let mut saved = Ok(());
    let mut observer = |news: News<'_>| match news {
        News::Status(line) => bar.status(line),
        News::Through(run, notebook) => {
            bar.cell(run);
            saved = save(notebook);
        }
    };
    let limits = Limits {
        // A kernel starts while it waits for its turn; that waiting is not its own.
        notebook: timeout.map(|limit| (limit, started + limit.saturating_sub(start))),
        output: options.output_limit,
        outputs: *output_limit,
        ..Limits::per_cell(options.cell_limit)
    };
    let (cells, end, waited) =
        execute::execute(&mut client, &mut notebook, limits, &options.secrets, &turns, stop, &mut observer)
            .await;
    let duration = started.elapsed().saturating_sub(waited);
    let resources = watch.end();
    let patience = if end == End::Stopped { Duration::from_secs(2) } else { Duration::from_secs(5) };
    kernel.shut_down(&mut client, patience).await;
    drop(bar);

    let mut verdict = match end {
        End::Finished => Verdict::Passed,
        End::Failed(cell, failure) => Verdict::Failed { cell: Some(cell), failure },
        End::Stopped => Verdict::Interrupted,
    };
    if verdict == Verdict::Passed && options.check {
        match check::compare(committed, &notebook) {
            Ok(differences) if differences.is_empty() => {}
            Ok(differences) => verdict = Verdict::Differs(differences),
            Err(error) => {
                let failure = Failure::new(Cause::Notebook, format!("{error:#}"));
                verdict = Verdict::Failed { cell: None, failure };
            }
        }
    }
    if saved.is_ok() && verdict == Verdict::Passed && options.in_place {
        saved = notebook.save(&job.source);
    }
    if let (Err(error), Verdict::Passed) = (saved, &verdict) {
        verdict = infrastructure(&error);
    }
    mask_file(&job.journal, &options.secrets);
    Outcome { resources: Some(resources), ..outcome(cells, duration, verdict) }
}

/// Blanks secrets in a file that the library wrote.
fn mask_file(file: &Path, secrets: &Secrets) {
    if secrets.is_empty() {
        return;
    }
    if let Ok(text) = fs::read_to_string(file)
        && let std::borrow::Cow::Owned(masked) = secrets.mask(&text)
    {
        let _ = notebook::write_atomically(file, masked.as_bytes());
    }
}

/// The first signal ends the run in order; a second one ends it at once.
async fn stop_on_signals(stop: watch::Sender<bool>, progress: Progress) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        if stop.send_replace(true) {
            launch::kill_all();
            std::process::exit(130);
        }
        progress.say("stopping: what ran is saved; once more to stop at once");
    }
}

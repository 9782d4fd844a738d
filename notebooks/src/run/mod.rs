//! The runner: executes notebooks as any Jupyter client would, and tells the truth about them.

pub mod check;
pub mod client;
pub mod execute;
pub mod expected;
pub mod journal;
pub mod junit;
pub mod launch;
pub mod message;
pub mod notebook;
pub mod outcome;
pub mod output;
pub mod progress;
pub mod report;
pub mod schedule;
pub mod summary;
pub mod text;

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};

use self::{
    execute::{End, Limits, News, stopped},
    expected::Expected,
    journal::Journal,
    launch::{Kernel, KernelCommand},
    notebook::Notebook,
    outcome::{Cause, CellRun, CellStatus, Failure, Outcome, Verdict},
    progress::Progress,
    schedule::Schedule,
};

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
    /// For each cell.
    pub timeout: Duration,
    /// How many notebooks run at the same time.
    pub jobs: usize,
    /// Where executed notebooks, logs and reports go.
    pub out: PathBuf,
    /// The kernel to run them with.
    pub kernel: KernelCommand,
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
    /// How many of the paper's claims have which verdict, in words.
    pub claims: Option<String>,
    /// Ended by Ctrl-C or a signal.
    pub interrupted: bool,
}

impl Run {
    fn of(outcomes: Vec<Outcome>, to_come: Vec<String>, interrupted: bool, options: &RunOptions) -> Self {
        Self {
            report: options.out.join("report.html"),
            junit: options.out.join("junit.xml"),
            claims: journal::verdicts(outcomes.iter().map(|outcome| &outcome.journal), &claims(options)),
            outcomes,
            to_come,
            interrupted,
        }
    }

    /// 0 only if all is well, 130 after Ctrl-C, else 1.
    pub fn exit_code(&self) -> u8 {
        match (self.interrupted, self.outcomes.iter().all(Outcome::is_well)) {
            (true, _) => 130,
            (false, true) => 0,
            (false, false) => 1,
        }
    }
}

/// The notebooks of a folder, by name.
pub fn notebooks_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|ending| ending == "ipynb") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Runs the notebooks, saves them, writes the reports.
pub async fn run(options: RunOptions) -> Result<Run> {
    ensure!(!options.notebooks.is_empty(), "there is no notebook to run");
    let logs = options.out.join("logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make the folder {}", logs.display()))?;
    let jobs = jobs(&options)?;
    let (stop_sender, stop) = watch::channel(false);
    let progress = Progress::new();
    let signals = tokio::spawn(stop_on_signals(stop_sender, progress.clone()));

    let named: Vec<_> = jobs.iter().map(|job| (job.source.clone(), job.name.clone())).collect();
    let schedule = Arc::new(Schedule::new(&named, &options.profile, options.cheapest_first));
    let options = Arc::new(options);
    let so_far = Arc::new(SoFar::new(&options, &jobs));
    let alive = Arc::new(Semaphore::new(options.jobs.max(1) + 1));
    let running = Arc::new(Semaphore::new(options.jobs.max(1)));
    let mut tasks = Vec::new();
    for place in schedule.order() {
        let (place, job) = (*place, jobs[*place].clone());
        // One kernel more than notebooks that run: the next one wakes while the current one works.
        let permit = Arc::clone(&alive).acquire_owned().await?;
        // It stands in the queue from now on, so that notebooks run in the order in which they were named, whichever
        // kernel starts first.
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
                let outcome = run_one(job, &options, turn, stop, (&progress, schedule.as_ref())).await;
                drop(permit);
                progress.finished(&outcome);
                schedule.through(&outcome.name);
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
    let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();

    let run = Run::of(outcomes, Vec::new(), *stop.borrow(), &options);
    notebook::write_atomically(&run.junit, junit::junit(&run.outcomes).as_bytes())?;
    notebook::write_atomically(&run.report, report::report(&run, &options).as_bytes())?;
    Ok(run)
}

/// What a run has done until now, by the places of its notebooks.
struct SoFar {
    names: Vec<String>,
    outcomes: Mutex<Vec<Option<Outcome>>>,
}

impl SoFar {
    /// A report of an earlier run is not this run's.
    fn new(options: &RunOptions, jobs: &[Job]) -> Self {
        let _ = fs::remove_file(options.out.join("report.html"));
        let names = jobs.iter().map(|job| job.name.clone()).collect();
        Self { names, outcomes: Mutex::new(vec![None; jobs.len()]) }
    }

    /// Writes the report of what there is. That it cannot be written will be told at the end.
    fn ended(&self, place: usize, outcome: &Outcome, options: &RunOptions) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes[place] = Some(outcome.clone());
        let with_names = self.names.iter().zip(outcomes.iter());
        let to_come =
            with_names.filter(|(_, outcome)| outcome.is_none()).map(|(name, _)| name.clone()).collect();
        let run = Run::of(outcomes.iter().flatten().cloned().collect(), to_come, false, options);
        let _ = notebook::write_atomically(&run.report, report::report(&run, options).as_bytes());
    }
}

/// The keys of the claims of the paper to which the notebooks belong.
fn claims(options: &RunOptions) -> Vec<String> {
    let absolute = options.notebooks.iter().filter_map(|notebook| std::path::absolute(notebook).ok());
    let checkouts = absolute.filter_map(|notebook| crate::repository::around(notebook.parent()?));
    let files = checkouts.map(|root| root.join("papers/igpt/claims.toml"));
    files.take(1).flat_map(|file| journal::claims_in(&file)).collect()
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
        let stem = source.file_stem().context("a notebook needs a file name")?.to_string_lossy().into_owned();
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
        let log = options.out.join("logs").join(format!("{name}.log"));
        // The kernel works in another folder.
        let journal = std::path::absolute(log.with_extension("journal"))?;
        jobs.push(Job { source, name, executed, log, journal });
    }
    Ok(jobs)
}

async fn run_one(
    job: Job,
    options: &RunOptions,
    turn: impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>>,
    mut stop: watch::Receiver<bool>,
    (progress, schedule): (&Progress, &Schedule),
) -> Outcome {
    // A stale file of an earlier run would look like this run's.
    let _ = fs::remove_file(&job.executed);
    let _ = fs::remove_file(&job.journal);
    let committed = match Notebook::read(&job.source) {
        Ok(notebook) => notebook,
        Err(error) => return job.failed(Cause::Notebook, format!("{error:#}")),
    };
    // Before anything runs: a tag that means nothing would be found after an hour.
    for cell in committed.code_cells() {
        if let Err(error) = Expected::from_tags(&cell.tags) {
            return job.failed(Cause::Notebook, format!("cell {}: {error:#}", cell.number));
        }
    }
    let mut notebook = committed.clone();
    notebook.clear_outputs();
    if let Err(error) = notebook.save(&job.executed) {
        return job.failed(Cause::Infrastructure, format!("{error:#}"));
    }
    let not_run = || -> Vec<CellRun> {
        let run = |cell| CellRun { cell, seconds: 0.0, status: CellStatus::NotRun };
        committed.code_cells().into_iter().map(run).collect()
    };
    if not_run().is_empty() {
        return job.outcome(Vec::new(), Duration::ZERO, Verdict::Passed);
    }
    if *stop.borrow() {
        return job.outcome(not_run(), Duration::ZERO, Verdict::Interrupted);
    }
    let folder = job.source.parent().unwrap_or(Path::new("."));
    let start = async {
        let variables =
            [("IGPT_PROFILE", options.profile.as_ref()), (journal::VARIABLE, job.journal.as_os_str())];
        let launched = Kernel::launch(&options.kernel, folder, &job.log, &variables);
        tokio::join!(launched, turn)
    };
    let (launched, _permit) = tokio::select! {
        started = start => started,
        () = stopped(&mut stop) => return job.outcome(not_run(), Duration::ZERO, Verdict::Interrupted),
    };
    let (kernel, mut client) = match launched {
        Ok(kernel) => kernel,
        Err(error) => {
            let failure = Failure::new(Cause::Infrastructure, format!("{error:#}"));
            let verdict = Verdict::Failed { cell: None, failure };
            return job.outcome(not_run(), Duration::ZERO, verdict);
        }
    };

    if let Some(line) = schedule.begins(&job.name) {
        progress.say(&line);
    }
    let started = Instant::now();
    let mut bar = progress.notebook(&job.name, committed.code_cells().len());
    // Saved after every cell: even a killed run leaves what it did.
    let mut saved = Ok(());
    let mut observer = |news: News<'_>| match news {
        News::Status(line) => bar.status(line),
        News::Through(run, notebook) => {
            bar.cell(run);
            saved = notebook.save(&job.executed);
        }
    };
    let limits = Limits::per_cell(options.timeout);
    let (cells, end) = execute::execute(&mut client, &mut notebook, limits, &mut stop, &mut observer).await;
    let duration = started.elapsed();
    let patience = if end == End::Stopped { Duration::from_secs(2) } else { Duration::from_secs(5) };
    kernel.shut_down(&mut client, patience).await;
    drop(bar);

    let mut verdict = match end {
        End::Finished => Verdict::Passed,
        End::Failed(cell, failure) => Verdict::Failed { cell: Some(cell), failure },
        End::Stopped => Verdict::Interrupted,
    };
    if verdict == Verdict::Passed && options.check {
        let differences = check::compare(&committed, &notebook);
        if !differences.is_empty() {
            verdict = Verdict::Differs(differences);
        }
    }
    if saved.is_ok() && verdict == Verdict::Passed && options.in_place {
        saved = notebook.save(&job.source);
    }
    if let (Err(error), Verdict::Passed) = (saved, &verdict) {
        let failure = Failure::new(Cause::Infrastructure, format!("{error:#}"));
        verdict = Verdict::Failed { cell: None, failure };
    }
    let outcome = job.outcome(cells, duration, verdict);
    // Before the next one begins, whose time is estimated from this.
    schedule.ended(&outcome);
    outcome
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

//! `igpt spare`: makes one engine, offers it at the name in its environment, and ends when it is taken, or of no use any more. Says
//! then in a line where the next one is to be. Ends with everything that it has when its stdin closes.

use std::{
    io::{Read as _, Write as _},
    ops::ControlFlow,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, WaitOptions, setpriority_pgrp, waitpid};
use serde::{Deserialize, Serialize};
use tokio::{
    net::UnixListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::spawn_blocking,
    time::sleep,
};

use super::{
    super::{evcxr::Evcxr, event::Event, signals::Signals},
    handover::{self, Ask, Handed},
    place::{Difference, Place, Start},
    room,
};
use crate::{
    dirs,
    environment::SPARE,
    slot::{self, Slot},
};

/// The last word of a maker.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum End {
    /// A kernel took it, or it was dropped: the next one is to be there.
    Next(Start),
    /// None that is made here is of use.
    Useless(String),
}

/// How long somebody may take to ask.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the machine is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often the sources are: that reads them all.
const READ: Duration = Duration::from_secs(20);
/// When to see again whether somebody has built the library; a spare never does.
const BUILT: Duration = Duration::from_secs(5);

/// Makes one for the checkout `root`, and waits for its end.
///
/// # Errors
/// If it cannot be made.
pub fn make(root: &Path) -> Result<ExitCode> {
    // No terminal: kernels that a server starts have none.
    let _ = rustix::process::setsid();
    std::thread::spawn(|| {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        // The guard's pipe closes with this process, if it has it still.
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async {
        let name = std::env::var(SPARE).with_context(|| format!("{SPARE} is not set"))?;
        // As a kernel does: what is not caught is as usual in what is started here.
        let _signals = Signals::new()?;
        let asked = listen(&name)?;
        Maker { place: Place::of_this_process(root)?, asked }.run().await
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    let (end, guard) = ended?;
    println!("{}", serde_json::to_string(&end)?);
    std::io::stdout().flush()?;
    if let Some(guard) = guard.and_then(Pid::from_raw) {
        // It is a child of this process, and would be a zombie for ever.
        let _ = waitpid(Some(guard), WaitOptions::empty());
    }
    Ok(ExitCode::SUCCESS)
}

struct Maker {
    place: Place,
    asked: UnboundedReceiver<(Ask, UnixStream)>,
}

/// Those who ask, as soon as they have said what; until the runtime ends.
fn listen(name: &str) -> Result<UnboundedReceiver<(Ask, UnixStream)>> {
    let listener = handover::listen(name)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let (sender, asked) = unbounded_channel();
    tokio::spawn(async move {
        loop {
            let Ok(stream) = listener.accept().await.and_then(|(stream, _)| stream.into_std()) else {
                sleep(LOOK).await;
                continue;
            };
            let sender = sender.clone();
            spawn_blocking(move || {
                let heard = stream.set_nonblocking(false).map_err(Into::into);
                match heard.and_then(|()| handover::hear(&stream, PATIENCE)) {
                    Ok(ask) => drop(sender.send((ask, stream))),
                    Err(error) => eprintln!("igpt spare: {error:#}"),
                }
            });
        }
    });
    Ok(asked)
}

impl Maker {
    /// Makes it and offers it. Returns its last word, and the guard of one that was taken.
    async fn run(mut self) -> Result<(End, Option<i32>)> {
        if let ControlFlow::Break(end) = self.refuse_while(room::wait(), false).await? {
            return Ok((end, None));
        }
        let begun = Instant::now();
        let mut evcxr = match self.refuse_while(make_one(self.place.start.root.clone()), true).await? {
            ControlFlow::Continue(made) => made?,
            ControlFlow::Break(end) => return Ok((end, None)),
        };
        eprintln!("igpt spare: ready after {:.1} s", begun.elapsed().as_secs_f64());
        let (mut looks, mut read) = (tokio::time::interval(LOOK), Instant::now());
        loop {
            tokio::select! {
                event = evcxr.next() => if let Event::Exited(how) | Event::Stuck(how) = event {
                    return Ok((self.dropped(&how), None));
                },
                asked = self.asked.recv() => {
                    let (ask, stream) = asked.context("nobody can ask")?;
                    return self.answer(evcxr, ask, stream).await;
                }
                _ = looks.tick() => {
                    if room::is_tight() {
                        return Ok((self.dropped("there is not much memory"), None));
                    }
                    if read.elapsed() > READ {
                        read = Instant::now();
                        let root = self.place.start.root.clone();
                        let now = spawn_blocking(move || slot::fingerprints(&root)).await?;
                        if now.is_ok_and(|now| now[1] != evcxr.slot.fingerprint()) {
                            return Ok((self.dropped("the library has changed"), None));
                        }
                    }
                }
            }
        }
    }

    /// Waits for `work`, and refuses kernels that ask meanwhile; gives up if one asks from elsewhere, or when it takes memory that is
    /// not there.
    async fn refuse_while<T>(
        &mut self,
        work: impl Future<Output = T>,
        takes_memory: bool,
    ) -> Result<ControlFlow<End, T>> {
        let mut looks = tokio::time::interval(LOOK);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(ControlFlow::Continue(done)),
                asked = self.asked.recv() => {
                    let (ask, stream) = asked.context("nobody can ask")?;
                    let _ = handover::refuse(&stream, "it is not ready yet".into());
                    if let Some(difference) = self.place.differs_from(&ask.place) {
                        return Ok(ControlFlow::Break(self.elsewhere(&difference, ask)));
                    }
                }
                _ = looks.tick(), if takes_memory => if room::is_tight() {
                    return Ok(ControlFlow::Break(self.dropped("there is not much memory")));
                }
            }
        }
    }

    /// Hands it over, if it is what the asking kernel would have started.
    async fn answer(&self, evcxr: Evcxr, ask: Ask, stream: UnixStream) -> Result<(End, Option<i32>)> {
        if let Some(difference) = self.place.differs_from(&ask.place) {
            let (Difference::Start(what) | Difference::Inherited(what)) = &difference;
            let _ = handover::refuse(&stream, format!("it is for {what}"));
            return Ok((self.elsewhere(&difference, ask), None));
        }
        if ask.fingerprint != evcxr.slot.fingerprint() {
            let _ = handover::refuse(&stream, "the library has changed".into());
            return Ok((self.dropped("the library has changed"), None));
        }
        let guard = evcxr.reached().guard();
        match hand_over(evcxr, &ask, &stream).await {
            Ok(()) => eprintln!("igpt spare: taken"),
            Err(error) => {
                let _ = handover::refuse(&stream, format!("{error:#}"));
                eprintln!("igpt spare: it could not be handed over: {error:#}");
            }
        }
        Ok((End::Next(ask.place.start), Some(guard)))
    }

    /// The kernel that asked was another kind of kernel; the next one may be, too.
    fn elsewhere(&self, difference: &Difference, ask: Ask) -> End {
        match difference {
            Difference::Start(_) => End::Next(ask.place.start),
            Difference::Inherited(what) => {
                End::Useless(format!("kernels of this server have another {what} than `igpt lab`"))
            }
        }
    }

    fn dropped(&self, why: &str) -> End {
        eprintln!("igpt spare: dropped: {why}");
        End::Next(self.place.start.clone())
    }
}

/// An engine of the library as it is now. Waits until that is built.
async fn make_one(root: std::path::PathBuf) -> Result<Evcxr> {
    let program = dirs::evcxr()?;
    let slot = loop {
        let (slots, root) = (dirs::slots()?, root.clone());
        if let Some(slot) = spawn_blocking(move || Slot::take(&slots, &root, false)).await?? {
            break slot;
        }
        sleep(BUILT).await;
    };
    Evcxr::start(slot, &program).await
}

/// Gives it the priority of the kernel that asked, and to that kernel.
async fn hand_over(evcxr: Evcxr, ask: &Ask, stream: &UnixStream) -> Result<()> {
    let (reached, pipes, slot) = evcxr.hand_over().await;
    let group = Pid::from_raw(reached.guard());
    ensure!(group.is_some(), "it has no group");
    setpriority_pgrp(group, ask.priority).context("its priority cannot be set")?;
    let (folder, lock) = slot.hand_over();
    handover::hand(stream, Handed { reached, pipes, folder }, OwnedFd::from(lock))
}

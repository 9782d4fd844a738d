//! The spare engine: `igpt lab` keeps one evcxr ready, with the library loaded and the prelude done. A kernel that a Jupyter server
//! below it starts, for a new notebook or because one was restarted, takes that and need not wait for its own.
//!
//! * [`keeper`]: in `igpt lab`: has one made, and another one when it is gone;
//! * [`maker`]: the process that makes one, offers it, and lets it go under pressure; [`room`]: when there is room for one;
//! * [`place`]: what a kernel was started with, on which all depends that its cells see;
//! * [`handover`]: how one process gives it to another.
//!
//! ```text
//! igpt lab ── jupyter-lab ── igpt kernel ┐ asks, gets the guard's pipes and the slot's lock
//!    └─────── igpt spare ◄───────────────┘
//!                └─ igpt guard ── evcxr_jupyter …
//! ```
//!
//! Whoever has the pipe to the guard keeps evcxr alive: at first the maker, then the kernel that took it. It passes in one message, so
//! there is no moment in which nobody or both have it, and whatever is killed, evcxr ends with the one who has it.
//!
//! A spare is taken only by a kernel that would have started the same: the same checkout, library, evcxr and program, the same
//! folder, the same environment but for what a server sets for each notebook. That, limits and priority are set right in it. Else it
//! is dropped, the kernel starts its own, and the next spare is made for a place like that kernel's.

pub mod handover;
pub mod keeper;
pub mod maker;
pub mod place;
mod room;

use std::{
    env,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, getpriority_process, getrlimit, prlimit};
use tokio::task::spawn_blocking;

use self::{
    handover::{Ask, Handed},
    place::Place,
};
use super::{evcxr::Evcxr, processes::Below};
use crate::{
    environment::{NOTEBOOK, SPARE},
    slot::{self, Slot},
};

/// How long a kernel waits for an answer: more than this is no gain.
const PATIENCE: Duration = Duration::from_secs(2);

/// The engine that is kept ready for a kernel of the checkout `root`, if there is one that fits. Clients without a server, and runs,
/// get none: their times and logs are as ever.
pub async fn take(root: &Path) -> Option<Evcxr> {
    let is_of_server = env::var_os(NOTEBOOK).is_some() && env::var_os("IGPT_HEADLESS").is_none();
    let name = env::var(SPARE).ok().filter(|_| is_of_server)?;
    let begun = Instant::now();
    match take_from(name, root).await {
        Ok(evcxr) => {
            eprintln!("igpt kernel: took the spare engine in {:.2} s", begun.elapsed().as_secs_f64());
            Some(evcxr)
        }
        Err(error) => {
            eprintln!("igpt kernel: no spare engine: {error:#}");
            None
        }
    }
}

async fn take_from(name: String, root: &Path) -> Result<Evcxr> {
    let root = root.to_owned();
    let late = place::launch_variables()?;
    let (Handed { reached, pipes, .. }, slot) = spawn_blocking(move || ask(&name, &root)).await??;
    let guard = Below(reached.guard());
    let mut evcxr = Evcxr::take_over(reached, pipes, slot).await?;
    guard.everyone().into_iter().try_for_each(give_limits)?;
    evcxr.set_late(late).await?;
    Ok(evcxr)
}

/// Asks for it; fails if there is none, or it is not for this process.
fn ask(name: &str, root: &Path) -> Result<(Handed, Slot)> {
    let fingerprints = slot::fingerprints(root)?;
    let priority = getpriority_process(None).context("this process's priority")?;
    let ask = Ask { place: Place::of_this_process(root)?, fingerprint: fingerprints[1].clone(), priority };
    let (handed, lock) = handover::ask(name, &ask, PATIENCE)?;
    let slot = Slot::taken_over(handed.folder.clone(), root.to_owned(), fingerprints, lock.into());
    Ok((handed, slot))
}

/// Gives a process the limits that this one has.
fn give_limits(process: i32) -> Result<()> {
    let process = Pid::from_raw(process).context("a process number")?;
    for limit in place::LIMITS {
        let own = getrlimit(limit);
        prlimit(Some(process), limit, own).with_context(|| format!("its limit {limit:?} cannot be set"))?;
    }
    Ok(())
}

//! `igpt kernel`: a Jupyter kernel that has evcxr_jupyter run the cells, and makes it truthful, quick and careful.
//!
//! evcxr alone calls cells that panicked or returned early a success, leaves late output behind, hangs on a line
//! without a newline, needs minutes to build and lets dependencies float. This kernel stands between any client and
//! evcxr, and mends that for all clients alike:
//!
//! * [`channels`]: the five channels to the client; [`wire`]: messages;
//! * [`base`]: where the library for it is compiled; [`evcxr`]: its process, in a build slot; [`processes`]: what runs below
//!   it; [`guard`]: its end; [`filter`]: what cells print;
//! * [`spare`]: an evcxr that `igpt lab` keeps ready for the next kernel (on Linux);
//! * [`cargo`]: what evcxr and rust-analyzer ask of cargo, and there the instrumented code that makes cells truthful;
//! * [`check`]: what is refused before it is compiled; [`items`]: what each cell defines, and the cell as it is sent;
//! * [`code`]: a cell's code as evcxr reads it; [`cell`]: which of evcxr's messages are for the user, and how a cell ended;
//! * [`traceback`]: where it failed, in the cell's own lines; [`fault`]: what a client is told of it, with [`hints`];
//! * [`shown`]: how a cell's value is shown; [`variables`]: what a cell lost;
//! * [`running`]: a cell while evcxr runs it, and its interruption; [`starting`]: what is seen before evcxr is ready;
//! * [`answers`]: what does not need evcxr; [`signals`]: what comes from outside;
//! * [`proxy`]: the queue, the states and the verdicts.

pub mod answers;
pub mod base;
pub mod cargo;
pub mod cell;
pub mod channels;
pub mod check;
pub mod code;
pub mod evcxr;
pub mod event;
pub mod fault;
pub mod filter;
pub mod guard;
mod hints;
pub mod items;
pub mod processes;
pub mod proxy;
pub mod running;
pub mod shown;
pub mod signals;
#[cfg(target_os = "linux")]
pub mod spare;
pub mod starting;
pub mod traceback;
pub mod variables;
pub mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::{
    channels::{Channels, ConnectionFile},
    proxy::Proxy,
};
use crate::repository;

/// Serves the client of a connection file until it asks for the end, or is gone. `checkout` is the one that the
/// kernelspec names; a notebook inside another checkout gets that one's library.
///
/// # Errors
/// A connection file that cannot be read, channels that cannot be bound.
pub fn serve(connection_file: &Path, checkout: Option<&Path>) -> Result<()> {
    let connection = ConnectionFile::read(connection_file)?;
    let root = choose_root(checkout);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(async {
        let (channels, requests) = Channels::bind(&connection).await?;
        let served = Proxy::new(channels, requests, root).run().await;
        // The last answers are on their way.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        served
    });
    // Sockets' tasks have no end of their own.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    served
}

/// The checkout whose library a notebook gets: the one that it lies in, else the one that the kernelspec names.
fn choose_root(named: Option<&Path>) -> Result<PathBuf> {
    let set = std::env::var_os("IGPT_ROOT").map(PathBuf::from);
    let around = || std::env::current_dir().ok().and_then(|here| repository::around(&here));
    let root = set.or_else(around).or_else(|| named.map(Path::to_owned)).map_or_else(repository::root, Ok)?;
    root.canonicalize().with_context(|| format!("the checkout {} is not there any more", root.display()))
}

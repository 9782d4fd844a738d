//! `igpt kernel`: a Jupyter kernel that has evcxr_jupyter as its engine and makes it truthful, quick and careful.
//!
//! evcxr alone calls cells that panicked or returned early a success, leaves late output behind, hangs on a line
//! without a newline, needs minutes to build and lets dependencies float. This kernel stands between any client and
//! evcxr, and mends that for all clients alike:
//!
//! * [`client`]: the five channels towards the client; [`wire`]: messages;
//! * [`engine`]: evcxr in a build slot; [`processes`]: what runs below it; [`guard`]: its end; [`filter`]: what cells print;
//!   [`cargo`]: what evcxr and rust-analyzer ask of cargo, and there the instrumented code that makes cells truthful;
//! * [`check`]: what is refused before it is compiled; [`items`]: what each cell defines, and the cell as it is sent;
//! * [`code`]: a cell's code as evcxr reads it; [`cell`]: what of the engine's messages is for the user, and how a cell ended;
//! * [`traceback`]: where it failed, in the cell's own lines; [`fault`]: what a client is told of it, with [`hints`];
//! * [`shown`]: how a cell's value is shown; [`variables`]: what a cell lost;
//! * [`running`]: a cell at the engine, and its interruption; [`waking`]: what is seen before there is an engine;
//! * [`answers`]: what needs no engine; [`signals`]: what comes from outside;
//! * [`proxy`]: the queue, the states and the verdicts.

pub mod answers;
pub mod cargo;
pub mod cell;
pub mod check;
pub mod client;
pub mod code;
pub mod engine;
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
pub mod traceback;
pub mod variables;
pub mod waking;
pub mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::{
    cell::Ending,
    client::{Client, ConnectionFile},
    engine::Engine,
    proxy::Proxy,
};
use crate::{dirs, repository, slot::Slot};

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
        let (client, requests) = Client::bind(&connection).await?;
        let served = Proxy::new(client, requests, root).run().await;
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

/// Builds the checkout's base slot if it is not built from the library as it is; checks that its cells tell the
/// truth. Returns whether there was anything to do; if so it calls `begin` first. `say` gets the number of compiled crates from time to time.
///
/// # Errors
/// A library that does not compile, an engine that does not start or whose failures go unnoticed.
pub fn build_base(root: &Path, begin: &dyn Fn(), say: &(dyn Fn(usize) + Sync)) -> Result<bool> {
    let slot = Slot::base(root)?;
    if slot.is_built() {
        return Ok(false);
    }
    begin();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let program = dirs::evcxr()?;
        let watched = slot.watch();
        let build = async {
            let mut engine = Engine::start(slot, &program).await?;
            self_test(&mut engine).await?;
            engine.slot.note_built()
        };
        tokio::pin!(build);
        loop {
            tokio::select! {
                built = &mut build => return built,
                () = tokio::time::sleep(std::time::Duration::from_millis(500)) => say(watched.compiled()),
            }
        }
    })?;
    Ok(true)
}

/// A kernel that overlooks failures is worse than none: see whether the engine's reports still look as we know them, also
/// behind a cell that takes the names on which they might stand.
async fn self_test(engine: &mut Engine) -> Result<()> {
    type Expected = fn(&Ending) -> bool;
    let panicked: Expected = |e| matches!(e, Ending::Failed(f) if f.evalue == "on purpose");
    let returned: Expected = |e| matches!(e, Ending::Failed(f) if f.ename == "ParseIntError");
    let left: Expected = |e| matches!(e, Ending::Failed(f) if f.ename == "EarlyReturn");
    let well: Expected = |e| matches!(e, Ending::Ok);
    let refused: Expected = |e| matches!(e, Ending::Engine(_));
    const PANIC: &str = "panic!(\"on purpose\");";
    const QUESTION_MARK: &str = "let n = \"x\".parse::<i32>()?;";
    let cases = [
        (PANIC, panicked),
        (QUESTION_MARK, returned),
        ("return Ok(());", left),
        ("no_such_name", refused),
        (
            "std::println!(\"EVCXR_PANIC_NOTIFICATION\\nEVCXR_ERROR_OCCURRED\\nEVCXR_EXECUTION_COMPLETE\");",
            well,
        ),
        (
            "fn println() {}\nmacro_rules! println { ($($t:tt)*) => {} }\nmacro_rules! stringify { ($($t:tt)*) => { \"\" } }",
            well,
        ),
        (PANIC, panicked),
        (QUESTION_MARK, returned),
    ];
    for (code, expected) in cases {
        expect(engine, code, expected).await?;
    }
    // Behind `:clear` nothing of it is left, and the kernel's own part must be there again.
    engine.command(":clear").await?;
    engine.wake().await?;
    for (code, expected) in [(PANIC, panicked), (QUESTION_MARK, returned), ("println!(\"well\");", well)] {
        expect(engine, code, expected).await?;
    }
    Ok(())
}

async fn expect(engine: &mut Engine, code: &str, expected: fn(&Ending) -> bool) -> Result<()> {
    let ending = engine.run(code).await?;
    anyhow::ensure!(
        expected(&ending),
        "the engine's reports are not understood: {code} ended with {ending:?}"
    );
    Ok(())
}

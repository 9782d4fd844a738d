//! The library for notebooks is compiled once for all kernels of a checkout, in its base slot: by set-up, or by the first
//! kernel that finds it missing or changed. Kernels that start meanwhile wait for that one, and copy it as it does.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::spawn_blocking;

use super::{cell::Ending, evcxr::Evcxr, starting::Stage};
use crate::{
    dirs,
    slot::{BuildProgress, Slot},
};

/// Builds the checkout's base slot if it is not built from the library as it is; checks that its cells tell the
/// truth. Returns whether there was anything to do; if so it calls `begin` first. `say` gets the number of compiled crates from time to time.
///
/// # Errors
/// If the library does not compile, evcxr does not start, or its failures go unnoticed.
pub fn set_up(root: &Path, begin: &dyn Fn(), say: &(dyn Fn(usize) + Sync)) -> Result<bool> {
    let slot = Slot::base(&dirs::slots()?, root)?;
    if slot.is_built() {
        return Ok(false);
    }
    begin();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let watched = slot.watch();
        let build = build(slot, dirs::evcxr()?);
        tokio::pin!(build);
        loop {
            tokio::select! {
                built = &mut build => return built,
                () = tokio::time::sleep(Duration::from_millis(500)) => say(watched.compiled()),
            }
        }
    })?;
    Ok(true)
}

/// A slot for one kernel with the library as it is now. Says in `stage` while that is being built, here or elsewhere.
///
/// # Errors
/// As [`set_up`].
pub async fn slot(root: PathBuf, program: PathBuf, stage: &Stage) -> Result<Slot> {
    slot_of(dirs::slots()?, root, stage, move |base| build(base, program.clone())).await
}

async fn slot_of<B>(all: PathBuf, root: PathBuf, stage: &Stage, build: impl Fn(Slot) -> B) -> Result<Slot>
where
    B: Future<Output = Result<()>>,
{
    // At first whoever holds the base builds it, most likely, and that is said while it lasts. Later it is other kernels, which
    // look at it or copy it: two that did not wait for each other would go round and round.
    let mut wait = false;
    // Once more if somebody changed the library while it was built.
    loop {
        let of = (all.clone(), root.clone());
        if let Some(slot) = spawn_blocking(move || Slot::take(&of.0, &of.1, wait)).await?? {
            return Ok(slot);
        }
        wait = true;
        stage.build(BuildProgress::base(&all, &root)?);
        let begun = Instant::now();
        let of = (all.clone(), root.clone());
        let base = spawn_blocking(move || Slot::base(&of.0, &of.1)).await??;
        let who = if base.is_built() { "by another kernel or checkout" } else { "by this kernel" };
        if !base.is_built() {
            build(base).await?;
        }
        stage.built();
        eprintln!("igpt kernel: the library was built {who} in {:.1} s", begun.elapsed().as_secs_f64());
    }
}

/// Compiles the library in a base.
async fn build(base: Slot, program: PathBuf) -> Result<()> {
    let mut evcxr = Evcxr::start(base, &program).await?;
    self_test(&mut evcxr).await?;
    evcxr.slot.note_built()
}

/// A kernel that overlooks failures is worse than none: see whether evcxr's reports still look as we know them, also
/// behind a cell that takes the names on which they might stand.
async fn self_test(evcxr: &mut Evcxr) -> Result<()> {
    type Expected = fn(&Ending) -> bool;
    let panicked: Expected = |e| matches!(e, Ending::Failed(f) if f.evalue == "on purpose");
    let returned: Expected = |e| matches!(e, Ending::Failed(f) if f.ename == "ParseIntError");
    let left: Expected = |e| matches!(e, Ending::Failed(f) if f.ename == "EarlyReturn");
    let well: Expected = |e| matches!(e, Ending::Ok);
    let refused: Expected = |e| matches!(e, Ending::Refused(_));
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
        expect(evcxr, code, expected).await?;
    }
    // Behind `:clear` nothing of it is left, and the kernel's own part must be there again.
    evcxr.command(":clear").await?;
    evcxr.run_prelude().await?;
    for (code, expected) in [(PANIC, panicked), (QUESTION_MARK, returned), ("println!(\"well\");", well)] {
        expect(evcxr, code, expected).await?;
    }
    Ok(())
}

async fn expect(evcxr: &mut Evcxr, code: &str, expected: fn(&Ending) -> bool) -> Result<()> {
    let ending = evcxr.run(code).await?;
    anyhow::ensure!(expected(&ending), "evcxr's reports are not understood: {code} ended with {ending:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use anyhow::ensure;

    use super::*;
    use crate::slot::tests::checkout;

    /// What stands for a compiled library.
    const COMPILED: &str = "target/compiled";

    async fn compile(base: Slot, builds: &AtomicUsize) -> Result<()> {
        let number = builds.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::time::sleep(Duration::from_millis(300)).await;
        fs::create_dir_all(base.cell().join("target"))?;
        fs::write(base.cell().join(COMPILED), number.to_string())?;
        base.note_built()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn kernels_that_start_at_once_compile_the_library_once() -> Result<()> {
        let (checkout, all) = (checkout()?, tempfile::tempdir()?);
        let builds = AtomicUsize::new(0);
        let stages = [Stage::default(), Stage::default(), Stage::default()];
        let start = |stage| {
            let (all, root) = (all.path().to_owned(), checkout.path().to_owned());
            slot_of(all, root, stage, |base| compile(base, &builds))
        };
        let (a, b, c) = tokio::try_join!(start(&stages[0]), start(&stages[1]), start(&stages[2]))?;
        assert_eq!(builds.load(Ordering::SeqCst), 1);
        let cells = [a.cell(), b.cell(), c.cell()];
        assert!(cells[0] != cells[1] && cells[1] != cells[2] && cells[0] != cells[2], "{cells:?}");
        for slot in [&a, &b, &c] {
            assert!(slot.is_built() && fs::read_to_string(slot.cell().join(COMPILED))? == "1");
        }
        // A change of the library: the kernels that live keep theirs, and the next two share one build.
        let source = checkout.path().join("kernel-lib/src/lib.rs");
        fs::write(&source, "pub fn two() {}\n")?;
        let (d, e) = tokio::try_join!(start(&stages[0]), start(&stages[1]))?;
        assert_eq!(builds.load(Ordering::SeqCst), 2);
        assert_eq!(fs::read_to_string(d.cell().join(COMPILED))?, "2");
        assert_eq!(fs::read_to_string(e.library().join("src/lib.rs"))?, "pub fn two() {}\n");
        assert_eq!(fs::read_to_string(a.cell().join(COMPILED))?, "1");
        // Its slot is free again, and has the library of before: it takes the new one over.
        let cell = a.cell();
        drop(a);
        let again = start(&stages[2]).await?;
        assert_eq!((again.cell(), builds.load(Ordering::SeqCst)), (cell, 2));
        assert_eq!(fs::read_to_string(again.cell().join(COMPILED))?, "2");
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_library_that_another_checkout_has_compiled_is_taken_over() -> Result<()> {
        let (first, second, all) = (checkout()?, checkout()?, tempfile::tempdir()?);
        let (stage, builds) = (Stage::default(), AtomicUsize::new(0));
        let start = |checkout: &tempfile::TempDir| {
            let (all, root) = (all.path().to_owned(), checkout.path().to_owned());
            slot_of(all, root, &stage, |base| compile(base, &builds))
        };
        let of_first = start(&first).await?;
        let of_second = start(&second).await?;
        assert_eq!(builds.load(Ordering::SeqCst), 1);
        assert!(of_second.is_built() && of_second.cell() != of_first.cell());
        // Later, when the second checkout's base has a library of its own, too: the change of one is the other's.
        let change = |checkout: &tempfile::TempDir| {
            fs::write(checkout.path().join("kernel-lib/src/lib.rs"), "pub fn two() {}\n")
        };
        change(&second)?;
        let of_second = start(&second).await?;
        assert_eq!(builds.load(Ordering::SeqCst), 2);
        change(&first)?;
        let of_first = start(&first).await?;
        assert_eq!(builds.load(Ordering::SeqCst), 2);
        for slot in [&of_first, &of_second] {
            assert_eq!(fs::read_to_string(slot.cell().join(COMPILED))?, "2");
        }
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_build_that_fails_is_tried_by_the_next_kernel() -> Result<()> {
        let (checkout, all) = (checkout()?, tempfile::tempdir()?);
        let (stage, builds) = (Stage::default(), AtomicUsize::new(0));
        let places = || (all.path().to_owned(), checkout.path().to_owned());
        let (folder, root) = places();
        let failed = slot_of(folder, root, &stage, |_base| async {
            ensure!(false, "it does not compile");
            Ok(())
        });
        assert_eq!(failed.await.unwrap_err().to_string(), "it does not compile");
        let (folder, root) = places();
        let slot = slot_of(folder, root, &stage, |base| compile(base, &builds)).await?;
        assert!(slot.is_built() && builds.load(Ordering::SeqCst) == 1);
        Ok(())
    }

    /// The library is changed, the change is compiled in part, and taken back.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_failed_build_leaves_is_not_taken_for_the_library_before() -> Result<()> {
        let (checkout, all) = (checkout()?, tempfile::tempdir()?);
        let (stage, builds) = (Stage::default(), AtomicUsize::new(0));
        let places = || (all.path().to_owned(), checkout.path().to_owned());
        let (folder, root) = places();
        drop(slot_of(folder, root, &stage, |base| compile(base, &builds)).await?);
        assert!(Slot::base(all.path(), checkout.path())?.is_built());
        let source = checkout.path().join("kernel-lib/src/lib.rs");
        let before = fs::read(&source)?;
        fs::write(&source, "pub fn changed() {}\n")?;
        let (folder, root) = places();
        let failed = slot_of(folder, root, &stage, |base| async move {
            fs::write(base.cell().join(COMPILED), "half of the change")?;
            ensure!(false, "killed");
            Ok(())
        });
        assert!(failed.await.is_err());
        fs::write(&source, before)?;
        assert!(!Slot::base(all.path(), checkout.path())?.is_built());
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_library_that_changes_while_it_is_built_is_built_again() -> Result<()> {
        let (checkout, all) = (checkout()?, tempfile::tempdir()?);
        let (stage, builds) = (Stage::default(), AtomicUsize::new(0));
        let source = checkout.path().join("kernel-lib/src/lib.rs");
        let (folder, root) = (all.path().to_owned(), checkout.path().to_owned());
        let slot = slot_of(folder, root, &stage, |base| {
            let (source, builds) = (&source, &builds);
            async move {
                fs::write(source, "pub fn three() {}\n")?;
                compile(base, builds).await
            }
        });
        let slot = slot.await?;
        assert_eq!(fs::read_to_string(slot.library().join("src/lib.rs"))?, "pub fn three() {}\n");
        assert_eq!((slot.is_built(), builds.load(Ordering::SeqCst)), (true, 2));
        Ok(())
    }
}

//! Tests of the store, with faults put in.

use super::*;
use candle_core::{Device, Tensor};
use serde_json::json;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

fn step(number: u32) -> Description {
    Description::new("test", &json!({"number": number})).unwrap()
}

/// Numbers, kept as a tensor.
#[derive(Debug, Clone, PartialEq)]
struct Numbers(Vec<f32>);

impl Stored for Numbers {
    fn write(&self, files: &mut Files) -> Result<()> {
        let tensor = Tensor::from_slice(&self.0, self.0.len(), &Device::Cpu)?;
        files.write_tensors("features", &Tensors::from([("features".into(), tensor)]))
    }

    fn read(files: &Files) -> Result<Self> {
        let tensors = files.read_tensors("features")?;
        Ok(Self(tensors.get("features").ok_or_else(|| Error::invalid("no features"))?.to_vec1()?))
    }
}

/// Stores the features [1, 2, 3, 4], and returns how often they were computed.
fn features(store: &Store) -> (Result<Numbers>, usize) {
    let count = Cell::new(0);
    let result = store.get_or_run(&step(1), |_| {
        count.set(count.get() + 1);
        Ok(Numbers(vec![1.0, 2.0, 3.0, 4.0]))
    });
    (result, count.get())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files_below(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

fn file(store: &Store, name: &str) -> PathBuf {
    files_below(store.folder()).into_iter().find(|path| path.ends_with(name)).unwrap()
}

#[test]
fn what_is_stored_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("not/yet"));
    assert!(!store.has(&step(1)) && store.provenance(&step(1)).unwrap().is_none());
    let (first, computed) = features(&store);
    assert_eq!(computed, 1);
    let (again, computed) = features(&Store::at(store.folder()));
    assert_eq!((again.unwrap(), computed), (first.unwrap(), 0));
    assert!(store.has(&step(1)) && !store.has(&step(2)));
    let provenance = store.provenance(&step(1)).unwrap().unwrap();
    assert_eq!((provenance.key, provenance.device.as_str()), (step(1).key(), "cpu"));
    let names: Vec<_> =
        files_below(store.folder()).into_iter().map(|p| p.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["lock", "features.safetensors", "manifest.json"]);
    let (reused, _) = (features(&store), ());
    assert_eq!(reused.1, 0);
    let report = crate::show::Show::to_text(&store.report());
    assert!(report.contains("Reused: 1 of 2 results") && report.contains("computed"), "{report}");
}

#[test]
fn numbers_come_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    // What is computed is what will be reused, also where writing and reading a float as text loses its last bit.
    let mut rng = crate::rng::Rng::keyed(1, "store test", [0, 0]);
    let numbers: Vec<f64> = (0..10_000).map(|_| rng.normal()).collect();
    let computed: Vec<f64> = store.get_or_run(&step(2), |_| Ok(numbers)).unwrap();
    let reused: Vec<f64> = store.get_or_run(&step(2), |_| unreachable!()).unwrap();
    assert_eq!(computed, reused);
    let numbers: Vec<f32> = (0..10_000).map(|_| rng.normal() as f32).collect();
    let stored = store.get_or_run(&step(1), |_| Ok(Numbers(numbers.clone()))).unwrap();
    assert_eq!(stored.0, numbers);
}

#[test]
fn damaged_results_are_computed_again() {
    type Damage = fn(&Path);
    let truncate: Damage = |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    };
    let flip: Damage = |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() - 3;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let remove: Damage = |path| fs::remove_file(path).unwrap();
    let empty: Damage = |path| fs::write(path, "").unwrap();
    for name in ["features.safetensors", "manifest.json"] {
        for damage in [truncate, flip, remove, empty] {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::at(folder.path());
            let first = features(&store).0.unwrap();
            damage(&file(&store, name));
            let (again, computed) = features(&store);
            assert_eq!((again.unwrap(), computed), (first, 1), "{name}");
            let damage = store.uses.lock().unwrap().last().unwrap().damage.clone().unwrap();
            assert!(damage.contains(name.split('.').next().unwrap()), "{damage}");
            assert_eq!(features(&store).1, 0, "{name}");
        }
    }
    // The good twin: a file of somebody else's is no damage.
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    features(&store).0.unwrap();
    fs::write(file(&store, "manifest.json").with_file_name("notes.txt"), "mine").unwrap();
    assert_eq!(features(&store).1, 0);
}

#[test]
fn a_manifest_that_was_edited_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    features(&store).0.unwrap();
    let path = file(&store, "manifest.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"device\": \"cpu\"", "\"device\": \"gpu\"");
    fs::write(&path, text).unwrap();
    let error = store.provenance(&step(1)).unwrap_err().to_string();
    assert!(error.contains("another SHA-256"), "{error}");
    assert_eq!(features(&store).1, 1);
}

#[test]
fn a_result_of_another_type_is_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let _: Vec<u32> = store.get_or_run(&step(1), |_| Ok(vec![1])).unwrap();
    let text: String = store.get_or_run(&step(1), |_| Ok("one".to_owned())).unwrap();
    assert_eq!(text, "one");
}

#[test]
fn of_several_that_want_a_result_one_computes_it() {
    let folder = tempfile::tempdir().unwrap();
    let computed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    Store::at(folder.path()).get_or_run(&step(1), |_| {
                        std::thread::sleep(std::time::Duration::from_millis(100));
                        Ok(computed.fetch_add(1, Ordering::SeqCst))
                    })
                })
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().unwrap(), 0);
        }
    });
    assert_eq!(computed.load(Ordering::SeqCst), 1);
}

#[test]
fn what_fails_stores_nothing_and_keeps_its_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let failed = store.get_or_run::<u32>(&step(1), |context| {
        fs::write(context.folder().join("at"), "300").unwrap();
        Err(Error::invalid("interrupted"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "interrupted");
    assert!(!store.has(&step(1)));
    let continued = store.get_or_run(&step(1), |context| {
        assert_eq!(context.key(), &step(1).key());
        Ok(fs::read_to_string(context.folder().join("at")).unwrap())
    });
    assert_eq!(continued.unwrap(), "300");
    // They go with the result, and another step never saw them.
    assert!(files_below(store.folder()).iter().all(|path| !path.ends_with("at")));
    store
        .get_or_run(&step(2), |context| Ok(fs::read_dir(context.folder()).unwrap().count() as u32))
        .map(|count| assert_eq!(count, 0))
        .unwrap();
}

/// A result that is a large file, which the computation writes where its checkpoints are.
enum Large {
    Computed(PathBuf),
    Kept(LargeFile),
}

impl Stored for Large {
    fn write(&self, files: &mut Files) -> Result<()> {
        let Self::Computed(path) = self else { panic!("it is kept already") };
        files.take_large("numbers", path)
    }

    fn read(files: &Files) -> Result<Self> {
        files.large("numbers").map(Self::Kept)
    }
}

#[test]
fn a_large_file_is_checked_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let computed = Cell::new(0);
    let large = || {
        store.get_or_run(&step(1), |context| {
            computed.set(computed.get() + 1);
            let path = context.folder().join("numbers");
            fs::write(&path, [7; 1000]).unwrap();
            Ok(Large::Computed(path))
        })
    };
    let read = || match large().unwrap() {
        Large::Kept(file) => file.read(),
        Large::Computed(_) => panic!("it is not kept"),
    };
    assert_eq!(read().unwrap(), [7; 1000]);
    assert_eq!(read().unwrap(), [7; 1000]);
    assert_eq!(computed.get(), 1);
    let path = file(&store, "numbers.large");
    let mut bytes = fs::read(&path).unwrap();
    bytes[500] = 8;
    fs::write(&path, &bytes).unwrap();
    let error = read().unwrap_err().to_string();
    assert!(error.contains("another SHA-256") && error.contains("remove"), "{error}");
    // One that was cut short is computed again.
    fs::write(&path, &bytes[..999]).unwrap();
    assert_eq!(read().unwrap(), [7; 1000]);
    assert_eq!(computed.get(), 2);
}

#[test]
fn whoever_waits_hears_how_far_it_is_and_can_be_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let (begun, go_on) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        let computing = scope.spawn(|| {
            store.get_or_run(&step(1), |context| {
                context.progress(3, 10, "steps");
                begun.wait();
                go_on.wait();
                Ok(1u32)
            })
        });
        begun.wait();
        let said = store.progress(&step(1)).unwrap();
        assert_eq!((said.done, said.total, said.unit.as_str()), (3, 10, "steps"));
        assert!(store.progress(&step(2)).is_none());
        let mut heard = None;
        let mut go_on = Some(&go_on);
        let waited: u32 = store
            .get_or_run_watched(
                &step(1),
                &mut |progress| {
                    heard = progress;
                    if let Some(barrier) = go_on.take() {
                        barrier.wait();
                    }
                },
                |_| unreachable!("another thread computes it"),
            )
            .unwrap();
        assert_eq!((waited, heard), (1, Some(said)));
        assert_eq!(computing.join().unwrap().unwrap(), 1);
    });
    assert!(store.progress(&step(1)).is_none());
    assert!(files_below(store.folder()).iter().all(|path| !path.ends_with("progress.json")));
}

/// What the tests below run in a process of its own, since its faults concern a whole process. Run as any other test, it
/// has nothing to do.
#[test]
fn in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os("IGPT_TEST_FOLDER").map(PathBuf::from) else { return };
    let store = Store::at(folder.join("store"));
    match std::env::var("IGPT_TEST_FAULT").as_deref() {
        // No file may grow beyond 64 KiB: as if the disk were full.
        Ok("full") => {
            let limit = libc::rlimit { rlim_cur: 1 << 16, rlim_max: 1 << 16 };
            // SAFETY: plain calls with valid arguments. The signal would end the process before it hears of the error.
            unsafe {
                libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
            }
            let many = Numbers(vec![1.0; 100_000]);
            let error = store.get_or_run(&step(1), |_| Ok(many)).unwrap_err().to_string();
            assert!(error.contains("cannot be kept") && error.contains("IGPT_STORE"), "{error}");
            assert!(!store.has(&step(1)));
            let few = store.get_or_run(&step(2), |_| Ok(Numbers(vec![1.0; 100])));
            assert_eq!(few.unwrap().0.len(), 100);
        }
        // Says that it has begun, and waits to be killed.
        Ok("killed") => {
            let _: u32 = store
                .get_or_run(&step(1), |context| {
                    fs::write(context.folder().join("at"), "300").unwrap();
                    fs::write(folder.join("begun"), "").unwrap();
                    std::thread::sleep(std::time::Duration::from_secs(60));
                    Ok(0)
                })
                .unwrap();
        }
        other => panic!("{other:?}"),
    }
}

fn process(folder: &Path, fault: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::tests::in_a_process_of_its_own", "--nocapture"]);
    command.env("IGPT_TEST_FOLDER", folder).env("IGPT_TEST_FAULT", fault);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let output = process(folder.path(), "full").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    let left: Vec<_> =
        files_below(folder.path()).into_iter().filter(|p| p.to_string_lossy().contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn after_a_kill_the_next_one_continues() {
    let folder = tempfile::tempdir().unwrap();
    let mut killed = process(folder.path(), "killed").spawn().unwrap();
    let begun = folder.path().join("begun");
    for _ in 0..1000 {
        if begun.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(begun.exists());
    killed.kill().unwrap();
    killed.wait().unwrap();
    let store = Store::at(folder.path().join("store"));
    assert!(!store.has(&step(1)));
    let at =
        store.get_or_run(&step(1), |context| Ok(fs::read_to_string(context.folder().join("at")).unwrap()));
    assert_eq!(at.unwrap(), "300");
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the store should be: no permissions are needed to see this, so it works for root too.
    let path = folder.path().join("store");
    fs::write(&path, "").unwrap();
    let error =
        Store::at(&path).get_or_run::<u32>(&step(1), |_| unreachable!("it began")).unwrap_err().to_string();
    assert!(error.contains("IGPT_STORE") && error.contains("store"), "{error}");
}

#[test]
#[cfg(unix)]
fn a_read_only_store_can_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("store"));
    features(&store).0.unwrap();
    let mode = |mode| {
        let folders = [store.folder().to_owned(), file(&store, "lock").parent().unwrap().to_owned()];
        folders
            .iter()
            .for_each(|folder| fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap());
    };
    mode(0o555);
    let (reused, other) = (features(&store), store.get_or_run(&step(2), |_| Ok(2u32)));
    mode(0o755);
    assert_eq!((reused.0.unwrap().0.len(), reused.1), (4, 0));
    // root may write anywhere.
    if let Err(error) = other {
        assert!(error.to_string().contains("IGPT_STORE"), "{error}");
    }
}

#[test]
fn a_result_takes_its_own_time_without_what_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let wait = |ms: u64| std::thread::sleep(Duration::from_millis(ms));
    let number = |x: f32| Ok(Numbers(vec![x]));
    let outer = |_: &Context| {
        wait(30);
        store.get_or_run(&step(3), |_| {
            // Needs one, too; and one that fails took its time all the same.
            store.get_or_run(&step(4), |_| {
                wait(300);
                number(4.0)
            })?;
            wait(30);
            number(3.0)
        })?;
        let failed: Result<Numbers> = store.get_or_run(&step(5), |_| {
            wait(300);
            Err(Error::invalid("on purpose"))
        });
        assert!(failed.is_err());
        number(2.0)
    };
    store.get_or_run(&step(2), outer).unwrap();
    let took = |n: u32| store.provenance(&step(n)).unwrap().unwrap().wall_ms;
    assert!(took(4) >= 300, "{}", took(4));
    for n in [2, 3] {
        assert!((30..290).contains(&took(n)), "{n}: {}", took(n));
    }
}

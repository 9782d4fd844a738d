//! `igpt fetch`, and what the library reads of it.

mod layouts;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    time::Instant,
};

use igpt::data::{self, Labelled};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What `igpt fetch` becomes.
const PROGRAM: &str = env!("CARGO_BIN_EXE_igpt-fetch");
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/parquet")
}

/// A Hugging Face cache with the small data set of `tests/fixtures/parquet`, whose test split is the file `test`.
fn hub(folder: &Path, test: &str) -> PathBuf {
    let hub = folder.join("hub");
    let dataset = hub.join("datasets--uoft-cs--cifar10");
    let plain = dataset.join("snapshots").join(REVISION).join("plain_text");
    fs::create_dir_all(&plain).unwrap();
    fs::create_dir_all(dataset.join("refs")).unwrap();
    fs::write(dataset.join("refs/main"), REVISION).unwrap();
    for (name, fixture) in [
        ("train-00000-of-00002", "train-00000-of-00002"),
        ("train-00001-of-00002", "train-00001-of-00002"),
        ("test-00000-of-00001", test),
    ] {
        let from = fixtures().join(format!("{fixture}.parquet"));
        fs::copy(from, plain.join(format!("{name}.parquet"))).unwrap();
    }
    hub
}

fn fetch(hub: &Path, data: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("cifar10").env("HF_HUB_CACHE", hub).env("IGPT_DATA", data).env("HF_HUB_OFFLINE", "1");
    command
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8(Vec::clone(bytes)).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// What lies in a folder, without lock files.
fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

/// Set in the processes that [`in_a_process_of_its_own`] starts.
const CHILD: &str = "IGPT_TEST_CHILD";

fn is_child() -> bool {
    let is_child = std::env::var_os(CHILD).is_some();
    if !is_child {
        println!("skipped: it is a part of other tests, which start it");
    }
    is_child
}

/// A command that can `fetch` and nothing else: what the library starts. That `igpt` is such a command, too, is tested where
/// it is built: tests/first_wait.rs.
fn command_of_the_library() -> &'static Path {
    static COMMAND: OnceLock<PathBuf> = OnceLock::new();
    COMMAND.get_or_init(|| {
        let command =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fetch-only-{}", std::process::id()));
        let script = format!("#!/bin/sh\n[ \"$1\" = fetch ] && shift && exec '{PROGRAM}' \"$@\"\n");
        fs::write(&command, script).unwrap();
        fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
        command
    })
}

/// Runs the test `name` of this file again, in a process with this environment: what `data::cifar10` reads.
fn in_a_process_of_its_own(name: &str, hub: &Path, data: &Path, with_program: bool) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture"]).env(CHILD, "1");
    command
        .env("HF_HUB_CACHE", hub)
        .env("IGPT_DATA", data)
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("IGPT_PROGRAM");
    if with_program {
        command.env("IGPT_PROGRAM", command_of_the_library());
    }
    command.output().unwrap()
}

#[test]
#[ignore = "other tests start it"]
fn child_prints_the_data_set() {
    if !is_child() {
        return;
    }
    match data::cifar10() {
        Ok(data) => println!(
            "read {}: {} + {}, {:?}, first pixel {:?}",
            data.name(),
            data.train().len(),
            data.test().len(),
            data.classes(),
            &data.train().images.all_pixels()[..3]
        ),
        Err(error) => println!("failed: {error}"),
    }
}

#[test]
fn the_library_has_the_command_fetch_and_reads_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, data) = (hub(folder.path(), "test-00000-of-00001"), folder.path().join("data"));
    let child = "child_prints_the_data_set";
    let (out, _) = said(&in_a_process_of_its_own(child, &hub, &data, false));
    assert!(
        out.contains("failed: CIFAR-10 is not prepared in ") && out.contains("run `igpt fetch cifar10`"),
        "{out}"
    );

    let (out, _) = said(&in_a_process_of_its_own(child, &hub, &data, true));
    let first: Value =
        serde_json::from_str(&fs::read_to_string(fixtures().join("pixels.json")).unwrap()).unwrap();
    let first = &first["files"]["train-00000-of-00002"]["pixels"][0].as_str().unwrap()[..6];
    let first: Vec<u8> =
        (0..3).map(|at| u8::from_str_radix(&first[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert!(out.contains("cifar10: decoding revision 0123456789ab of uoft-cs/cifar10"), "{out}");
    assert!(out.contains("read CIFAR-10: 20 + 10, [\"airplane\", \"automobile\", "), "{out}");
    assert!(out.contains(&format!("first pixel {first:?}")), "{out}");

    // Now it is there, and needs neither the command nor the cache.
    let (out, _) = said(&in_a_process_of_its_own(child, Path::new("/nowhere"), &data, false));
    assert!(out.contains("read CIFAR-10: 20 + 10"), "{out}");

    let (out, _) = said(&in_a_process_of_its_own(child, Path::new("/nowhere"), folder.path(), true));
    assert!(
        out.contains("failed: `igpt fetch cifar10` failed (exit status: 1): uoft-cs/cifar10 is needed, but HF_HUB_OFFLINE"),
        "{out}"
    );
    assert!(out.contains("huggingface-cli download uoft-cs/cifar10 --repo-type dataset"), "{out}");
}

/// What `cargo test` built, as copies: their sources are not newer, so that nothing is compiled.
#[test]
fn the_command_becomes_this_program() {
    let igpt = Path::new(PROGRAM).with_file_name("igpt");
    if !igpt.is_file() {
        assert!(std::env::var_os("CI").is_none(), "there is no {}", igpt.display());
        println!("skipped: `cargo test` of all packages builds {}", igpt.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (hub, data) = (hub(folder.path(), "test-00000-of-00001"), folder.path().join("data"));
    let built = folder.path().join("target/debug");
    fs::create_dir_all(&built).unwrap();
    fs::write(built.with_file_name(".rustc_info.json"), "{}").unwrap();
    for program in [&igpt, Path::new(PROGRAM)] {
        fs::copy(program, built.join(program.file_name().unwrap())).unwrap();
    }
    let mut command = Command::new(built.join("igpt"));
    command.args(["fetch", "cifar10", "--rgb"]).env("HF_HUB_CACHE", &hub).env("IGPT_DATA", &data);
    let output = command.env("HF_HUB_OFFLINE", "1").env("PATH", "/nowhere").output().unwrap();
    let (out, errors) = said(&output);
    assert!(output.status.success() && out.contains("20 training and 10 test images"), "{out}{errors}");
    assert_eq!(files(&data), ["cifar10-rgb-0123456789ab.igpt-data"]);
}

#[test]
fn a_whole_file_is_kept_and_a_damaged_one_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, data) = (hub(folder.path(), "test-00000-of-00001"), folder.path().join("data"));
    let (out, errors) = said(&fetch(&hub, &data).output().unwrap());
    assert!(
        out.contains("CIFAR-10: 20 training and 10 test images, 6 × 4, RGB (all PNG); decoded and "),
        "{out}{errors}"
    );
    assert_eq!(files(&data), ["cifar10-0123456789ab.igpt-data"]);
    let file = data.join("cifar10-0123456789ab.igpt-data");
    let good = fs::read(&file).unwrap();

    // As an earlier version wrote it.
    let old = String::from_utf8_lossy(&good[..40]).replace("\"version\":2", "\"version\":1");
    fs::write(&file, [old.as_bytes(), &good[40..]].concat()).unwrap();
    let (out, _) = said(&in_a_process_of_its_own("child_prints_the_data_set", &hub, &data, true));
    assert!(
        out.contains("is `igpt-data` of version 1, but this library reads `igpt-data` of version 2; `igpt fetch cifar10`"),
        "{out}"
    );
    let (out, _) = said(&fetch(&hub, &data).output().unwrap());
    assert!(out.contains("decoding"), "{out}");
    assert_eq!(fs::read(&file).unwrap(), good);

    let (out, _) = said(&fetch(&hub, &data).output().unwrap());
    assert!(out.contains("is whole") && !out.contains("decoding"), "{out}");
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&file, bad).unwrap();
    let (out, _) = said(&in_a_process_of_its_own("child_prints_the_data_set", &hub, &data, true));
    assert!(
        out.contains("the bytes of its split `test` have the SHA-256")
            && out.contains("`igpt fetch cifar10` writes it anew"),
        "{out}"
    );
    let (out, _) = said(&fetch(&hub, &data).output().unwrap());
    assert!(out.contains("decoding"), "{out}");
    assert_eq!(fs::read(&file).unwrap(), good);

    // Another file in the same revision: what was made of the first is of no use.
    let test = hub.join(format!(
        "datasets--uoft-cs--cifar10/snapshots/{REVISION}/plain_text/test-00000-of-00001.parquet"
    ));
    fs::copy(fixtures().join("two-jpeg.parquet"), test).unwrap();
    let (out, _) = said(&fetch(&hub, &data).output().unwrap());
    assert!(
        out.contains(
            "CIFAR-10 (JPEG copy): 20 training and 10 test images, 6 × 4, RGB (2 of them JPEG); dec"
        ),
        "{out}"
    );
}

/// In a copy of a cache in which links became files, the blobs still say what the files should be.
#[test]
fn one_changed_byte_of_a_copied_cache_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, data) = (hub(folder.path(), "test-00000-of-00001"), folder.path().join("data"));
    let dataset = hub.join("datasets--uoft-cs--cifar10");
    let plain = dataset.join("snapshots").join(REVISION).join("plain_text");
    let (out, _) = said(&fetch(&hub, &data).output().unwrap());
    assert!(out.contains("nothing there says which bytes these files should have"), "{out}");
    let blobs = dataset.join("blobs");
    fs::create_dir(&blobs).unwrap();
    for file in files(&plain) {
        let bytes = fs::read(plain.join(file)).unwrap();
        fs::write(blobs.join(format!("{:x}", Sha256::digest(&bytes))), bytes).unwrap();
    }
    let (out, errors) = said(&fetch(&hub, &data).output().unwrap());
    assert!(out.contains("is whole") && !out.contains("nothing there says"), "{out}{errors}");

    let file = plain.join("train-00001-of-00002.parquet");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    for data in [data, folder.path().join("new")] {
        let (out, errors) = said(&fetch(&hub, &data).output().unwrap());
        let expected = format!("error: {} is damaged: ", file.display());
        assert!(errors.starts_with(&expected) && !out.contains("is whole"), "{out}{errors}");
    }
}

/// An image is replaced by another of the same length, which is said to be as old.
#[test]
fn a_changed_folder_is_decoded_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (images, data) = (folder.path().join("images"), folder.path().join("data"));
    let write = |name: &str, value: u8| {
        let path = images.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_pixel(4, 4, image::Luma([value])).save(&path).unwrap();
        path
    };
    for name in ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png"] {
        write(name, 50);
    }
    let fetch = || {
        let mut command = Command::new(PROGRAM);
        command.args(["imagenet", "--side", "4", "--folder"]).arg(&images).env("IGPT_DATA", &data);
        let output = command.output().unwrap();
        let (out, errors) = said(&output);
        assert!(output.status.success(), "{out}{errors}");
        let [file] = &files(&data)[..] else { panic!("{:?}", files(&data)) };
        (out, fs::read(data.join(file)).unwrap())
    };
    let (out, before) = fetch();
    assert!(out.contains("decoding"), "{out}");
    let (out, same) = fetch();
    assert!(out.contains("is whole") && !out.contains("decoding") && same == before, "{out}");

    let image = images.join("train/b/1.png");
    let old = fs::metadata(&image).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    write("train/b/1.png", 60);
    fs::File::options().write(true).open(&image).unwrap().set_modified(old.modified().unwrap()).unwrap();
    assert_eq!(fs::metadata(&image).unwrap().len(), old.len());
    let (out, after) = fetch();
    assert!(out.contains("decoding") && after.contains(&60) && !before.contains(&60), "{out}");
}

#[test]
fn two_at_once_are_safe() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, data) = (hub(folder.path(), "test-00000-of-00001"), folder.path().join("data"));
    let children: Vec<_> =
        (0..4).map(|_| fetch(&hub, &data).stdout(std::process::Stdio::piped()).spawn().unwrap()).collect();
    let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert!(outputs.iter().all(|output| output.status.success()));
    // One decodes; the others wait, and find its file.
    let decoded = outputs.iter().filter(|output| said(output).0.contains("decoding")).count();
    assert_eq!(decoded, 1);
    assert_eq!(files(&data), ["cifar10-0123456789ab.igpt-data"]);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let failed = |hub: &Path| {
        let output = fetch(hub, &data).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        said(&output).1
    };
    let none = failed(Path::new("/nowhere"));
    for part in [
        "error: uoft-cs/cifar10 is needed, but HF_HUB_OFFLINE forbids the network",
        "uoft-cs/cifar10 is not in the Hugging Face cache /nowhere",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "huggingface-cli download uoft-cs/cifar10 --repo-type dataset",
    ] {
        assert!(none.contains(part), "{none}");
    }
    let bad = failed(&hub(&folder.path().join("bad"), "bad-png-row-7"));
    assert!(
        bad.contains("plain_text/test-00000-of-00001.parquet: row 7: its image cannot be decoded"),
        "{bad}"
    );
    assert!(files(&data).is_empty());

    // A part of the training split is missing.
    let cut = hub(&folder.path().join("cut"), "test-00000-of-00001");
    let part =
        format!("datasets--uoft-cs--cifar10/snapshots/{REVISION}/plain_text/train-00001-of-00002.parquet");
    fs::remove_file(cut.join(part)).unwrap();
    let error = failed(&cut);
    assert!(
        error.contains("the split train: there are only 1 of the 2 parts of plain_text/train.parquet"),
        "{error}"
    );
}

/// A limit on the size of files stands for the end of the disk.
#[test]
fn a_file_that_cannot_be_written_whole_does_not_appear() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, data) = (hub(folder.path(), "test-00000-of-00001"), folder.path().join("data"));
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" cifar10"]).arg(PROGRAM);
    let output = command.env("HF_HUB_CACHE", &hub).env("IGPT_DATA", &data).output().unwrap();
    let error = said(&output).1;
    let file = data.join("cifar10-0123456789ab.igpt-data");
    assert!(error.starts_with(&format!("error: cannot write {} (1 MB)", file.display())), "{error}");
    assert!(error.contains("IGPT_DATA names another folder: File too large"), "{error}");
    assert!(files(&data).is_empty());
}

/// The whole data set, from `HF_HUB_CACHE` or a cache beside this checkout.
#[test]
fn cifar10_is_whole_and_the_right_way_up() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/hub");
    let hub = std::env::var_os("HF_HUB_CACHE").map_or_else(beside, PathBuf::from);
    if !hub.join("datasets--uoft-cs--cifar10/refs/main").is_file() {
        println!("skipped: uoft-cs/cifar10 is not in the Hugging Face cache {}", hub.display());
        return;
    }
    let hub = hub.canonicalize().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let output = fetch(&hub, folder.path()).output().unwrap();
    let (out, errors) = said(&output);
    assert!(output.status.success(), "{out}{errors}");
    println!("{out}{:.1} s in all", begun.elapsed().as_secs_f64());
    let (out, errors) = said(&in_a_process_of_its_own("child_checks_cifar10", &hub, folder.path(), true));
    println!("{out}");
    assert!(out.contains("all of CIFAR-10 is right"), "{out}{errors}");
}

#[test]
#[ignore = "cifar10_is_whole_and_the_right_way_up starts it"]
fn child_checks_cifar10() {
    if !is_child() {
        return;
    }
    let begun = Instant::now();
    let data = data::cifar10().unwrap();
    println!("read and verified in {:.2} s", begun.elapsed().as_secs_f64());
    let classes = "airplane automobile bird cat deer dog frog horse ship truck";
    assert_eq!(data.classes().join(" "), classes);
    for (split, each) in [(data.train(), 5_000), (data.test(), 1_000)] {
        assert_eq!((split.images.height(), split.images.width(), split.images.channels()), (32, 32, 3));
        for class in 0..10 {
            assert_eq!(split.labels.iter().filter(|label| **label == class).count(), each);
        }
    }
    // As Pillow decodes them, up to what JPEG decoders differ by.
    let text = fs::read_to_string(fixtures().join("cifar10-means.json")).unwrap();
    let means: Value = serde_json::from_str(&text).unwrap();
    let main = std::env::var("HF_HUB_CACHE").unwrap() + "/datasets--uoft-cs--cifar10/refs/main";
    if fs::read_to_string(main).unwrap().trim() == means["revision"] {
        assert_eq!(data.name(), "CIFAR-10 (JPEG copy)");
        for image in means["images"].as_array().unwrap() {
            let split = if image["split"] == "train" { data.train() } else { data.test() };
            check_means(split, image);
        }
    } else {
        println!("skipped: two images of revision {} are not compared with Pillow's", means["revision"]);
    }
    println!("all of CIFAR-10 is right");
}

/// The means of each row and each column are those of the fixture within two levels. Single pixels are not: these
/// images have half of the colours' resolution, which Pillow's decoder and ours make up for differently, and up to
/// five levels lie between them. On its side, upside down, mirrored or with blue for red, an image is off by more
/// than thirty.
fn check_means(split: &Labelled, expected: &Value) {
    let place = expected["place"].as_u64().unwrap() as usize;
    assert_eq!(u64::from(split.labels[place]), expected["label"].as_u64().unwrap());
    let image = split.images.get(place).unwrap();
    for line in 0..32 {
        for channel in 0..3 {
            let mean = |at: &dyn Fn(usize) -> (usize, usize)| -> f64 {
                let values = (0..32).map(|i| image.pixel(at(i).0, at(i).1).unwrap()[channel]);
                values.map(f64::from).sum::<f64>() / 32.
            };
            let row = mean(&|x| (x, line)) - expected["rows"][line][channel].as_f64().unwrap();
            let column = mean(&|y| (line, y)) - expected["columns"][line][channel].as_f64().unwrap();
            assert!(row.abs() <= 2. && column.abs() <= 2., "image {place}, line {line}: {row}, {column}");
        }
    }
}

//! Files that are damaged, or made to do harm, are errors: no reader panics on one, and none takes more memory than the
//! file has a right to. Good files are changed at random, the same way each time, and random bytes are read as well.

use igpt::data::idx::Idx;
use igpt::huggingface::Checkpoint;
use igpt::palette::Palette;
use igpt::rng::Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

/// The system's allocator, counting what each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

fn count(more: usize, less: usize) {
    // Not while a thread ends; nothing is measured then.
    let _ = HELD.try_with(|held| {
        held.set((held.get() + more).saturating_sub(less));
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as the caller promised.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are there while it is copied.
        count(size, 0);
        count(0, layout.size());
        // SAFETY: as the caller promised.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that were held while this ran, beyond those before it.
fn most_held(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    MOST.set(before);
    work();
    MOST.get() - before
}

/// A good file with a few changes: bits, bytes, numbers, parts cut out, doubled or put elsewhere, the end cut off.
fn changed(good: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut file = good.to_vec();
    for _ in 0..1 + rng.below(4) {
        if file.is_empty() {
            break;
        }
        // Half the time near an end, where headers and directories are.
        let near = file.len().min(400);
        let at = match rng.below(4) {
            0 => rng.below(near),
            1 => file.len() - 1 - rng.below(near),
            _ => rng.below(file.len()),
        };
        let end = (at + 1 + rng.below(40)).min(file.len());
        match rng.below(8) {
            0 => file[at] ^= 1 << rng.below(8),
            1 => file[at] = rng.below(256) as u8,
            2 => file[at..end].fill([0, 0xff, b'9', b'['][rng.below(4)]),
            3 => drop(file.drain(at..end)),
            4 => {
                let part = file[at..end].to_vec();
                let to = rng.below(file.len());
                file.splice(to..to, part);
            }
            5 => {
                let number = [0, 1, 1 << 31, u64::MAX >> 1, u64::MAX, file.len() as u64][rng.below(6)];
                let bytes = number.to_le_bytes();
                let width = [2, 4, 8][rng.below(3)].min(file.len() - at);
                file[at..at + width].copy_from_slice(&bytes[..width]);
            }
            6 => file.truncate(at),
            _ => {
                let digits = format!("{}", [0, 4_294_967_295, u64::MAX, 3][rng.below(4)]);
                file.splice(at..at, digits.into_bytes());
            }
        }
    }
    file
}

fn random(rng: &mut Rng) -> Vec<u8> {
    (0..rng.below(300)).map(|_| rng.below(256) as u8).collect()
}

/// What any reader may hold: an error's text, paths, and the window and tables of an inflater.
const CONSTANT: usize = 128 << 10;

/// Reads changed copies of a good file, each of which may hold `times` its size and [`CONSTANT`]. `read` says whether it was taken for good.
fn try_out(what: &str, good: &[u8], count: usize, times: usize, mut read: impl FnMut(&[u8]) -> bool) {
    assert!(read(good), "{what}: the good file");
    let (mut refused, mut largest) = (0, 0.0f64);
    for at in 0..count {
        let mut rng = Rng::keyed(11, what, [at as u64, 0]);
        let file = if at % 8 == 7 { random(&mut rng) } else { changed(good, &mut rng) };
        let most = most_held(|| refused += usize::from(!read(&file)));
        assert!(
            most <= times * file.len() + CONSTANT,
            "{what}, change {at}: {most} bytes for {}",
            file.len()
        );
        largest = largest.max(most as f64 / (file.len() + 1000) as f64);
    }
    println!("{what}: {refused} of {count} refused, at most {largest:.1} times the file");
    assert!(refused > count / 3, "{what}: {refused} of {count} refused");
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/imagegpt")
}

/// Tries out one file of a checkpoint; the others stay good.
fn checkpoint(network: &str, file: &str, as_file: &str, with: &[&str], count: usize) {
    let folder = tempfile::tempdir().unwrap();
    for name in with {
        fs::copy(fixtures().join(network).join(name), folder.path().join(name)).unwrap();
    }
    let good = fs::read(fixtures().join(network).join(file)).unwrap();
    // What the good files beside it hold: the network, and their own headers.
    let beside: usize =
        with.iter().map(|name| fs::metadata(folder.path().join(name)).unwrap().len() as usize).sum();
    let times = 32 + 8 * beside / good.len();
    try_out(&format!("{network}/{file}"), &good, count, times, |bytes| {
        fs::write(folder.path().join(as_file), bytes).unwrap();
        Checkpoint::read(folder.path()).is_ok()
    });
}

#[test]
fn a_damaged_torch_file_is_an_error() {
    for file in ["pytorch_model.bin", "mixed.bin"] {
        checkpoint("square", file, "pytorch_model.bin", &["config.json"], 1000);
    }
    // What of the pickle is changed the archive's checksum finds; so with the checksum mended.
    let good = fs::read(fixtures().join("odd/pytorch_model.bin")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixtures().join("odd/config.json"), folder.path().join("config.json")).unwrap();
    let (record, start, length) = pickle_in(&good);
    try_out("the pickle", &good[start..][..length], 2000, 64, |pickle| {
        let mut pickle = pickle.to_vec();
        pickle.resize(length, b'.');
        let mut file = good.clone();
        file[start..][..length].copy_from_slice(&pickle);
        let mut crc = flate2::Crc::new();
        crc.update(&pickle);
        file[record + 16..][..4].copy_from_slice(&crc.sum().to_le_bytes());
        fs::write(folder.path().join("pytorch_model.bin"), file).unwrap();
        Checkpoint::read(folder.path()).is_ok()
    });
}

/// Where in an archive the directory's record of the pickle is, and where the pickle.
fn pickle_in(file: &[u8]) -> (usize, usize, usize) {
    let number = |at: usize| u32::from_le_bytes(file[at..][..4].try_into().unwrap()) as usize;
    let short = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let records = (0..file.len() - 46).filter(|at| file[*at..].starts_with(b"PK\x01\x02"));
    let named = |at: &usize| file[at + 46..][..short(at + 28)].ends_with(b"/data.pkl");
    let record = records.into_iter().find(named).unwrap();
    let header = number(record + 42);
    (record, header + 30 + short(header + 26) + short(header + 28), number(record + 24))
}

#[test]
fn damaged_safetensors_are_an_error() {
    checkpoint("square", "model.safetensors", "model.safetensors", &["config.json"], 1000);
    // The header alone is where there is something to misread.
    let good = fs::read(fixtures().join("narrow/model.safetensors")).unwrap();
    let length = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixtures().join("narrow/config.json"), folder.path().join("config.json")).unwrap();
    try_out("a header of safetensors", &good[..length], 1000, 64, |header| {
        fs::write(folder.path().join("model.safetensors"), [header, &good[length..]].concat()).unwrap();
        Checkpoint::read(folder.path()).is_ok()
    });
}

#[test]
fn a_damaged_checkpoint_of_tensorflow_is_an_error() {
    let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/openai/bert");
    for file in ["model.ckpt-7.index", "model.ckpt-7.data-00001-of-00003"] {
        let folder = tempfile::tempdir().unwrap();
        let mut beside = 0;
        for name in fs::read_dir(&good).unwrap().map(|file| file.unwrap().file_name()) {
            beside += fs::copy(good.join(&name), folder.path().join(name)).unwrap() as usize;
        }
        let bytes = fs::read(good.join(file)).unwrap();
        // The network, as often as it is there while it is put together.
        let times = 32 + 8 * beside / bytes.len();
        try_out(file, &bytes, 1000, times, |bytes| {
            fs::write(folder.path().join(file), bytes).unwrap();
            igpt::openai::Checkpoint::read(folder.path()).is_ok()
        });
    }
}

#[test]
fn a_damaged_index_or_configuration_is_an_error() {
    checkpoint("square", "config.json", "config.json", &["model.safetensors"], 1000);
    let shards: Vec<String> = (1..=5).map(|i| format!("model-0000{i}-of-00005.safetensors")).collect();
    let with: Vec<&str> = shards.iter().map(String::as_str).chain(["config.json"]).collect();
    let index = "model.safetensors.index.json";
    checkpoint("odd", index, index, &with, 1000);
}

/// A palette of some colours.
fn palette() -> Palette {
    let mut rng = Rng::keyed(3, "test palette", [0, 0]);
    Palette::new(3, (0..48).map(|_| (2.0 * rng.uniform() - 1.0) as f32).collect()).unwrap()
}

#[test]
fn a_damaged_palette_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    palette().write_npy(&path).unwrap();
    let good = fs::read(&path).unwrap();
    try_out("a palette in .npy", &good, 2000, 16, |bytes| {
        fs::write(&path, bytes).unwrap();
        Palette::read_npy(&path).is_ok()
    });
    fs::remove_file(&path).unwrap();
    palette().write_preprocessor_config(&path, 4).unwrap();
    let good = fs::read(&path).unwrap();
    try_out("a palette in preprocessor_config.json", &good, 2000, 64, |bytes| {
        fs::write(&path, bytes).unwrap();
        Palette::read_preprocessor_config(&path).is_ok()
    });
}

#[test]
fn damaged_idx_files_are_an_error() {
    let plain = [&[0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6][..], &[7; 120]].concat();
    try_out("IDX", &plain, 6000, 8, |bytes| Idx::parse(bytes, "x").is_ok());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &plain).unwrap();
    // A byte of deflate makes 1,032 at most; a vector that grows is twice as large for a moment.
    try_out("IDX in gzip", &packed.finish().unwrap(), 6000, 3 * 1032, |bytes| Idx::parse(bytes, "x").is_ok());
}

/// What is made to ask for memory: each is refused before it gets any.
#[test]
fn small_files_get_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixtures().join("square").join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("config.json");
    let good = fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"n_layer\": 2", "\"n_layer\": 1048576"),
        ("\"n_embd\": 16", "\"n_embd\": 1048576"),
        ("\"n_positions\": 16", "\"n_positions\": 1048576"),
        ("\"vocab_size\": 11", "\"vocab_size\": 65537"),
        ("\"n_inner\": null", "\"n_inner\": 1048576"),
    ] {
        fs::write(&path, good.replace(from, to)).unwrap();
        let most = most_held(|| assert!(Checkpoint::read(folder.path()).is_err(), "{to}"));
        assert!(most < 200_000, "{to}: {most} bytes");
    }
    // A header of safetensors that announces 2^62 bytes.
    fs::write(folder.path().join("model.safetensors"), [0, 0, 0, 0, 0, 0, 0, 64, b'{', b'}']).unwrap();
    let most = most_held(|| assert!(Checkpoint::read(folder.path()).is_err()));
    assert!(most < 200_000, "{most} bytes");
}

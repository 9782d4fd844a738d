//! What a change of the sources does to the keys of results: each file of the library is edited, in memory, and the hashes
//! of the sources are computed again, as `build.rs` computes them. Nothing is compiled for it.
//!
//! After a change of the library that is meant, `cargo test --test keys -- --ignored` writes anew what is held against it
//! here, to be read before it is committed: `tests/fixtures/keys.toml`, the table of `docs/reuse.md`, and the versions in
//! `build/versions.txt`. Why a root reaches something:
//! `IGPT_WHY='engine/cuda engine/plan.rs' cargo test --test keys why -- --ignored --nocapture`.

#[path = "../build/sources.rs"]
mod sources;

use proc_macro2::{Delimiter, Group, Literal, TokenStream, TokenTree};
use rayon::prelude::*;
use sources::lists::{CRATES, CRATES_WITHOUT_NUMBERS, NO_NUMBERS, NUMBERS, OWN_CRATES, ROOTS};
use sources::{Sources, Tree};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;

/// Kinds of steps, as `docs/reuse.md` heads its columns, and the code that their keys name in `experiment.rs`.
const STEPS: &[(&str, &[&str])] = &[
    ("palette", &["palette", "augment", "experiment/palette"]),
    ("tokens", &["palette", "augment", "experiment/encoding"]),
    (
        "pre-training on a CPU",
        &["engine/cpu", "model", "train", "augment", "palette", "experiment/pretraining", "rng"],
    ),
    (
        "pre-training on a GPU",
        &["engine/cuda", "model", "train", "augment", "palette", "experiment/pretraining", "rng"],
    ),
    ("features on a CPU", &["engine/cpu", "model", "experiment/features"]),
    ("features on a GPU", &["engine/cuda", "model", "experiment/features"]),
    ("probe of a CPU's features", &["probe", "experiment/linear_probe"]),
    ("probe of a GPU's features", &["probe", "experiment/linear_probe"]),
    ("principal components", &["palette", "pca", "experiment/pca"]),
    ("loss of counts", &["count_table", "experiment/count_baseline"]),
    // Of a CPU's features.
    ("probe of several layers", &["probe", "experiment/concatenated_probe"]),
    ("few labels", &["probe/few_labels", "rng", "experiment/few_labels"]),
    ("nearest neighbours", &["probe/neighbours", "experiment/neighbours"]),
    ("similarity of layers", &["probe/similarity", "experiment/similarity"]),
    ("probe by SGD", &["probe/sgd", "rng", "experiment/sgd_probe"]),
    // On a CPU.
    (
        "learning rate",
        &[
            "engine/cpu",
            "model",
            "train",
            "augment",
            "palette",
            "experiment/pretraining",
            "rng",
            "experiment/learning_rate",
        ],
    ),
    ("loss and accuracy", &["engine/cpu", "model", "experiment/pretraining", "experiment/loss_and_accuracy"]),
    (
        "fine-tuning on a CPU",
        &["engine/cpu", "model", "train", "augment", "palette", "experiment/fine_tuning", "rng"],
    ),
    ("probe of masked images", &["probe", "experiment/masked_probe", "rng"]),
    (
        "contrastive pre-training",
        &["contrast", "model", "train", "augment", "palette", "experiment/contrastive", "rng"],
    ),
];

/// How many of these are columns of the table in `docs/reuse.md`.
const COLUMNS: usize = 8;

/// A step that starts from another's result is computed again when that is.
const STARTS_FROM: &[(&str, &str)] = &[
    ("tokens", "palette"),
    ("pre-training on a CPU", "tokens"),
    ("pre-training on a GPU", "tokens"),
    ("features on a CPU", "pre-training on a CPU"),
    ("features on a GPU", "pre-training on a GPU"),
    ("probe of a CPU's features", "features on a CPU"),
    ("probe of a GPU's features", "features on a GPU"),
    ("principal components", "tokens"),
    ("loss of counts", "tokens"),
    ("probe of several layers", "probe of a CPU's features"),
    ("few labels", "features on a CPU"),
    ("nearest neighbours", "features on a CPU"),
    ("similarity of layers", "features on a CPU"),
    ("probe by SGD", "features on a CPU"),
    ("learning rate", "tokens"),
    ("loss and accuracy", "probe of a CPU's features"),
    ("fine-tuning on a CPU", "pre-training on a CPU"),
    ("probe of masked images", "features on a CPU"),
    ("contrastive pre-training", "palette"),
];

/// An edit of a file: what is replaced, and by what.
struct Edit {
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// The steps that are computed again, by the first letters of their names in order: "palette" is `p`.
    again: &'static str,
}

/// `again` names steps by these letters, in the order of [`STEPS`].
const LETTERS: &str = "ptcgfFbBPCSLNMDRAums";

const EDITS: &[Edit] = &[
    edit("a comment", "engine/cpu/gemm.rs", "const DEPTH", "// Why.\nconst DEPTH", ""),
    edit("documentation", "engine/cpu/gemm.rs", "const DEPTH", "/// Why.\nconst DEPTH", ""),
    edit("how lines are broken", "rng.rs", "impl Rng {", "impl\n    Rng\n{\n", ""),
    edit("a unit test", "palette/nearest.rs", "use super::*;", "use super::*;\n    const NEW: u8 = 1;", ""),
    edit("the text of an error", "engine.rs", "complete: no token comes next", "full: none comes next", ""),
    edit("how an accuracy is shown", "probe/accuracy.rs", "{:.1} ± {:.1} %", "{:.2} ± {:.2} %", ""),
    edit("the table of a probe", "probe/curve.rs", "Linear probe by layer", "Probe by layer", ""),
    edit("how tables are shown", "show/table.rs", "pub fn new(", "pub fn made(", ""),
    edit(
        "what is shown of a training",
        "experiment/pretraining/live.rs",
        "const DRAWN: usize = 8",
        "const DRAWN: usize = 9",
        "",
    ),
    edit(
        "how the store finds results",
        "store/entry.rs",
        "impl Entry {",
        "impl Entry {\n    const NEW: u8 = 1;\n",
        "",
    ),
    edit(
        "how a data set is downloaded",
        "data/fetch.rs",
        "impl Fetch {",
        "impl Fetch {\n    pub const NEW: u8 = 1;\n",
        "",
    ),
    edit(
        "how released weights are read",
        "huggingface/pickle.rs",
        "impl Value<'_> {",
        "impl Value<'_> {\n    pub const NEW: u8 = 1;\n",
        "",
    ),
    edit(
        "the readable reference",
        "model/reference.rs",
        "impl Attention {",
        "impl Attention {\n    pub const NEW: u8 = 1;\n",
        "",
    ),
    edit("a CUDA kernel", "engine/cuda/kernels/gelu.cu", "1.702f", "1.703f", "gFB"),
    edit(
        "the CUDA engine",
        "engine/cuda/network.rs",
        "const SHARE: f64 = 0.8",
        "const SHARE: f64 = 0.7",
        "gFB",
    ),
    edit(
        "matrix products on the CPU",
        "engine/cpu/gemm.rs",
        "DEPTH: usize = 256",
        "DEPTH: usize = 128",
        "cfbSLNMDRAum",
    ),
    edit("attention on the CPU", "engine/cpu/attention.rs", "12 * row_of", "16 * row_of", "cfbSLNMDRAum"),
    edit(
        "the engines' forward pass",
        "engine/forward.rs",
        "self.images * self.config.context",
        "self.images",
        "cgfFbBSLNMDRAum",
    ),
    edit(
        "Adam on the CPU",
        "adam/kernel.rs",
        "PIECE: usize = 1 << 14",
        "PIECE: usize = 1 << 13",
        "cgfFbBSLNMDRAums",
    ),
    edit(
        "how a network starts",
        "model/parameters.rs",
        "Rng::keyed(seed, \"init\"",
        "Rng::keyed(seed, \"start\"",
        "cgfFbBSLNMDRAums",
    ),
    edit(
        "the learning rate's schedule",
        "train/schedule.rs",
        "0.5 * self.peak",
        "0.4 * self.peak",
        "cgfFbBSLNMDRAums",
    ),
    edit("the contrastive losses", "contrast.rs", "* -1e9", "* -1e8", "fFbBSLNMDAums"),
    edit("the votes of masked images", "experiment/masks.rs", "\"vote\"", "\"voice\"", "um"),
    edit("the probe", "probe/lbfgs.rs", "const MEMORY: usize = 10", "const MEMORY: usize = 11", "bBSLAm"),
    edit(
        "the probe of wide features",
        "probe/spectrum.rs",
        "IMAGES: usize = 1024",
        "IMAGES: usize = 2048",
        "bBSLAm",
    ),
    edit("few labels", "probe/few_labels.rs", "\"few labels\"", "\"labels\"", "Lu"),
    edit("nearest neighbours", "probe/neighbours.rs", "square - 2.0 * product", "square - product", "N"),
    edit("the similarity of layers", "probe/similarity.rs", "TILE: usize = 20", "TILE: usize = 40", "M"),
    edit("the probe by SGD", "probe/sgd.rs", "MOMENTUM: f64 = 0.9", "MOMENTUM: f64 = 0.8", "D"),
    edit(
        "counts of neighbours",
        "count_table.rs",
        "f64::from(self.pairs[pair])",
        "f64::from(self.pairs[0])",
        "C",
    ),
    edit("principal components", "pca.rs", "CHUNK: usize = 1024", "CHUNK: usize = 512", "fFbBPSLNMDAum"),
    edit(
        "the search for a learning rate",
        "train/rate.rs",
        "loss > smallest",
        "loss >= smallest",
        "cgfFbBSLNMDRAums",
    ),
    edit("the palette's k-means", "palette/kmeans.rs", "131_072.0", "65_536.0", "ptcgfFbBPCSLNMDRAums"),
    edit(
        "how images are resized",
        "../formats/src/bilinear.rs",
        "32 - 8 - 2",
        "32 - 8 - 3",
        "ptcgfFbBPCSLNMDRAums",
    ),
];

const fn edit(
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    again: &'static str,
) -> Edit {
    Edit { what, file, from, to, again }
}

fn library() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The sources as they are.
fn tree() -> &'static Tree {
    static TREE: OnceLock<Tree> = OnceLock::new();
    TREE.get_or_init(read_tree)
}

fn read_tree() -> Tree {
    fn collect(folder: &Path, below: &str, tree: &mut Tree) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{below}{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                collect(&path, &format!("{name}/"), tree);
            } else {
                tree.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut tree = Tree::new();
    collect(&library().join("src"), "", &mut tree);
    for (_, folder) in OWN_CRATES {
        collect(&library().join("src").join(folder), &format!("{folder}/"), &mut tree);
    }
    tree
}

fn versions() -> String {
    std::fs::read_to_string(library().join("build/versions.txt")).unwrap()
}

thread_local! {
    /// Files that were read, by their text: an edit changes only one of them. Each thread has its own, for a syntax tree stays in
    /// its thread.
    static READ: RefCell<HashMap<String, Rc<syn::File>>> = RefCell::default();
}

/// Reads a file of Rust, unless this thread has read the same text before.
fn parse(file: &str, text: &str) -> Result<Rc<syn::File>, String> {
    if let Some(known) = READ.with_borrow(|read| read.get(text).cloned()) {
        return Ok(known);
    }
    let parsed = sources::parse(file, text)?;
    READ.with_borrow_mut(|read| read.insert(text.to_owned(), Rc::clone(&parsed)));
    Ok(parsed)
}

fn sources<'a>(tree: &'a Tree, versions: &str) -> Result<Sources<'a>, String> {
    Sources::read_by(tree, versions, &parse)
}

fn hashes(tree: &Tree) -> BTreeMap<String, String> {
    sources(tree, &versions()).unwrap().hashes()
}

/// The hashes of the sources as they are.
fn before() -> &'static BTreeMap<String, String> {
    static BEFORE: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    BEFORE.get_or_init(|| hashes(tree()))
}

/// The roots whose hash differs from that of the sources as they are.
fn moved(after: &BTreeMap<String, String>) -> BTreeSet<String> {
    let before = before();
    assert_eq!(before.len(), after.len());
    before.iter().filter(|(name, hash)| after[*name] != **hash).map(|(name, _)| name.clone()).collect()
}

/// The roots that move when a text is replaced in a file.
fn moved_by(file: &str, from: &str, to: &str) -> BTreeSet<String> {
    let text = String::from_utf8(tree()[file].clone()).unwrap();
    assert!(text.contains(from), "src/{file} does not say {from:?} any more: choose another edit");
    moved_with(file, text.replace(from, to))
}

/// The roots that move when a file has another text.
fn moved_with(file: &str, text: String) -> BTreeSet<String> {
    let mut tree = tree().clone();
    tree.insert(file.to_owned(), text.into_bytes());
    moved(&hashes(&tree))
}

/// What each of [`EDITS`] moves.
fn moved_by_edits() -> &'static [BTreeSet<String>] {
    static MOVED: OnceLock<Vec<BTreeSet<String>>> = OnceLock::new();
    // Not in a thread that others wait for.
    before();
    MOVED.get_or_init(|| EDITS.par_iter().map(|edit| moved_by(edit.file, edit.from, edit.to)).collect())
}

/// The steps that are computed again, in the order of [`STEPS`], if these roots move.
fn again(moved: &BTreeSet<String>) -> Vec<&'static str> {
    let mut found: Vec<&str> = Vec::new();
    for (step, code) in STEPS {
        let input = STARTS_FROM.iter().any(|(after, before)| after == step && found.contains(before));
        if input || code.iter().any(|root| moved.contains(*root)) {
            found.push(step);
        }
    }
    found
}

#[test]
fn an_edit_computes_again_what_it_decides_and_nothing_else() {
    let differing = EDITS.iter().zip(moved_by_edits()).filter_map(|(edit, moved)| {
        let (Edit { what, file, again: expected, .. }, again) = (edit, again(moved));
        let letters: String = STEPS
            .iter()
            .zip(LETTERS.chars())
            .filter(|(step, _)| again.contains(&step.0))
            .map(|(_, c)| c)
            .collect();
        (letters != *expected).then(|| format!("{what}: {file} computes {letters:?}, not {expected:?}"))
    });
    let differing: Vec<String> = differing.collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn roots_move_alone() {
    let names =
        |roots: &[&str]| -> BTreeSet<String> { roots.iter().map(|root| (*root).to_owned()).collect() };
    assert_eq!(moved_by("engine/cuda/kernels/gelu.cu", "1.702f", "1.703f"), names(&["engine/cuda"]));
    assert_eq!(
        moved_by("engine/cpu/gemm.rs", "DEPTH: usize = 256", "DEPTH: usize = 128"),
        names(&["engine/cpu"])
    );
    assert_eq!(moved_by("probe/accuracy.rs", "{:.1} ± {:.1} %", "{:.2} %"), names(&[]));
    // A function that no step calls.
    let square = moved_by("image.rs", "(self.width - side) / 2, (self", "(self.width - side) / 3, (self");
    assert_eq!(square, names(&["image"]));
    // Through the re-export `crate::Image`.
    let resize = moved_by("image/resize.rs", "bilinear(&self.pixels, ", "bilinear(&self.pixels[1..], ");
    for root in ["augment", "palette", "experiment/palette", "experiment/encoding"] {
        assert!(resize.contains(root), "{resize:?}");
    }
    for root in ["probe", "train", "engine/cpu", "model", "rng"] {
        assert!(!resize.contains(root), "{resize:?}");
    }
}

/// A file with every number of its code changed, and a statement added to every function: whatever of it a root reaches,
/// the root moves.
fn all_changed(text: &str) -> String {
    fn change(tokens: TokenStream) -> TokenStream {
        let (mut function, mut attribute) = (false, false);
        let mut before: Option<TokenTree> = None;
        let change_one = |token: TokenTree| -> TokenStream {
            let is_fn =
                |token: &Option<TokenTree>| matches!(token, Some(TokenTree::Ident(word)) if word == "fn");
            function |= matches!(token, TokenTree::Ident(_)) && is_fn(&before);
            let is_attribute = attribute;
            attribute = matches!(&token, TokenTree::Punct(p) if p.as_char() == '#' || is_attribute && p.as_char() == '!');
            function &= !matches!(&token, TokenTree::Punct(p) if p.as_char() == ';');
            before = Some(token.clone());
            match token {
                TokenTree::Group(group) if !is_attribute => {
                    let mut inside = change(group.stream());
                    if group.delimiter() == Delimiter::Brace && std::mem::take(&mut function) {
                        let added: TokenStream = "let _changed = 0;".parse().unwrap();
                        inside = added.into_iter().chain(inside).collect();
                    }
                    TokenTree::from(Group::new(group.delimiter(), inside)).into()
                }
                TokenTree::Literal(literal) => match literal.to_string().parse::<u64>() {
                    Ok(number) => TokenTree::from(Literal::u64_unsuffixed(number + 1)).into(),
                    Err(_) => TokenTree::from(literal).into(),
                },
                token => token.into(),
            }
        };
        tokens.into_iter().flat_map(change_one).collect()
    }
    change(text.parse().unwrap()).to_string()
}

/// `tests/fixtures/keys.toml`, as it should be.
fn table() -> String {
    let tree = tree();
    let sources = sources(tree, &versions()).unwrap();
    // Not in a thread that others wait for.
    before();
    let mut text = String::from(
        "# Which roots move when a file is changed of kernel-lib/src, from where its path is, or of a crate that the library is\n\
         # made of: every number in its code, and every function (of other files than Rust's, one byte). Written by\n\
         # `cargo test --test keys -- --ignored`; read what changed here before it is committed.\n",
    );
    let files: Vec<&String> = tree.keys().filter(|file| !sources.tests().contains(*file)).collect();
    let line = |file: &&String| {
        let old = String::from_utf8_lossy(&tree[*file]);
        let new = if file.ends_with(".rs") { all_changed(&old) } else { format!("{old} ") };
        let moved = moved_with(file, new);
        let moved: Vec<String> = moved.into_iter().map(|root| format!("{root:?}")).collect();
        format!("{file:?} = [{}]\n", moved.join(", "))
    };
    text.extend(files.par_iter().map(line).collect::<Vec<_>>());
    text
}

#[test]
fn each_file_moves_the_roots_that_it_is_known_to_move() {
    let file = library().join("tests/fixtures/keys.toml");
    let (known, now) = (std::fs::read_to_string(&file).unwrap(), table());
    let differ: Vec<_> = now.lines().filter(|line| !known.lines().any(|known| known == *line)).collect();
    assert!(
        known == now,
        "{} says otherwise. Now it is:\n{}\n(the head of this test says how to write it)",
        file.display(),
        differ.join("\n")
    );
}

#[test]
fn each_file_is_reached_or_is_known_to_decide_no_number() {
    let tree = tree();
    let sources = sources(tree, &versions()).unwrap();
    let reached: BTreeSet<String> = sources.files().into_values().flatten().collect();
    let lost: Vec<_> = sources.that_count().into_iter().filter(|file| !reached.contains(file)).collect();
    assert!(
        lost.is_empty(),
        "{lost:?}: no root reaches these. Let a root in build/lists.rs have them, or say there why they decide no number"
    );
    let modules = sources.modules();
    let strange: Vec<_> = tree
        .keys()
        .filter(|file| {
            !modules.contains(*file) && !reached.contains(*file) && !sources.tests().contains(*file)
        })
        .collect();
    assert!(strange.is_empty(), "{strange:?}: no module, and nobody includes them");
}

#[test]
fn lists_name_what_there_is() {
    let tree = tree();
    let sources = sources(tree, &versions()).unwrap();
    let names = NO_NUMBERS.iter().chain(NUMBERS).map(|(name, _)| *name);
    for name in names.chain(ROOTS.iter().flat_map(|root| root.of.iter().chain(root.without).copied())) {
        assert!(sources.has(name), "build/lists.rs: there is no {name}");
    }
    // Modules that decide no number are roots that nobody names.
    let is_named = |name: &str| STEPS.iter().any(|(_, code)| code.contains(&name));
    for (name, reached) in sources.files().into_iter().filter(|(name, _)| is_named(name)) {
        assert!(!reached.is_empty(), "the root {name} reaches nothing");
    }
    // As the steps and the device name them.
    let texts: String = tree
        .iter()
        .filter(|(file, _)| file.starts_with("experiment") || *file == "device.rs")
        .map(|(_, bytes)| String::from_utf8_lossy(bytes))
        .collect();
    for root in STEPS.iter().flat_map(|(_, code)| *code) {
        assert!(texts.contains(&format!("{root:?}")), "no step of the experiment names {root}");
    }
}

/// What `build/versions.txt` should say.
fn locked() -> String {
    let lock = std::fs::read_to_string(library().join("../Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let names: BTreeSet<&str> = CRATES.iter().flat_map(|(_, names)| *names).copied().collect();
    let of = |package: &toml::Value, what: &str| package[what].as_str().unwrap().to_owned();
    let packages = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (of(package, "name"), of(package, "version")));
    let lines: BTreeSet<String> = packages
        .filter(|(name, _)| names.contains(name.as_str()))
        .map(|(name, version)| format!("{name} {version}\n"))
        .collect();
    let lines: String = lines.into_iter().collect();
    format!(
        "# Versions of the crates that compute numbers, as Cargo.lock has them. Written and checked by tests/keys.rs.\n{lines}"
    )
}

#[test]
fn versions_are_those_of_the_lock_file() {
    assert_eq!(versions(), locked(), "the head of this test says how to write build/versions.txt");
    let known =
        CRATES.iter().map(|(name, _)| *name).chain(CRATES_WITHOUT_NUMBERS.iter().map(|(name, _)| *name));
    let known: BTreeSet<&str> = known.collect();
    let own = |name: &str| OWN_CRATES.iter().any(|(own, _)| name.replace('-', "_") == *own);
    let folders = OWN_CRATES.iter().map(|(_, sources)| library().join("src").join(sources).join(".."));
    for folder in std::iter::once(library()).chain(folders) {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        for name in manifest["dependencies"].as_table().unwrap().keys() {
            let is_known = own(name) || known.contains(name.as_str());
            assert!(is_known, "build/lists.rs does not say whether {name} decides numbers");
        }
    }
}

#[test]
fn another_version_moves_those_that_use_it() {
    let other = |name: &str| {
        let versions = versions().replace(&format!("\n{name} "), &format!("\n{name} 99."));
        moved(&sources(tree(), &versions).unwrap().hashes())
    };
    let candle = other("candle-core");
    assert!(
        candle.contains("model/reference") && !candle.contains("engine/cpu") && !candle.contains("palette"),
        "{candle:?}"
    );
    let cuda = other("cudarc");
    assert!(cuda.contains("engine/cuda") && !cuda.contains("engine/cpu"), "{cuda:?}");
    let libm = other("libm");
    assert!(libm.contains("train") && !libm.contains("image"), "{libm:?}");
    assert!(sources(tree(), "libm 0.2\n").is_err_and(|error| error.contains("which version")));
}

/// The table of `docs/reuse.md`.
fn reuse() -> String {
    let heads: Vec<_> = STEPS.iter().take(COLUMNS).map(|(step, _)| *step).collect();
    let mut text = format!("| changed | {} |\n|---|{}\n", heads.join(" | "), ":-:|".repeat(heads.len()));
    for (Edit { what, file, .. }, moved) in EDITS.iter().zip(moved_by_edits()) {
        let again = again(moved);
        let cells: Vec<_> =
            heads.iter().map(|step| if again.contains(step) { "again" } else { "" }).collect();
        writeln!(text, "| {what} (`{file}`) | {} |", cells.join(" | ")).unwrap();
    }
    text
}

const DOCUMENT: &str = "../docs/reuse.md";
const BEGIN: &str = "<!-- table: written and checked by kernel-lib/tests/keys.rs -->\n";
const END: &str = "<!-- end of the table -->";

#[test]
fn the_document_has_the_table() {
    let document = std::fs::read_to_string(library().join(DOCUMENT)).unwrap();
    let table = document.split(BEGIN).nth(1).and_then(|rest| rest.split(END).next());
    assert_eq!(table, Some(reuse().as_str()), "docs/reuse.md: the head of this test says how to write it");
}

#[test]
#[ignore = "writes tests/fixtures/keys.toml, build/versions.txt and the table of docs/reuse.md"]
fn write() {
    std::fs::write(library().join("build/versions.txt"), locked()).unwrap();
    std::fs::write(library().join("tests/fixtures/keys.toml"), table()).unwrap();
    let file = library().join(DOCUMENT);
    let document = std::fs::read_to_string(&file).unwrap();
    let (head, rest) = document.split_once(BEGIN).expect("docs/reuse.md has the line before the table");
    let (_, tail) = rest.split_once(END).expect("docs/reuse.md has the line after the table");
    std::fs::write(&file, format!("{head}{BEGIN}{}{END}{tail}", reuse())).unwrap();
}

#[test]
#[ignore = "answers IGPT_WHY='ROOT FILE'"]
fn why() {
    let Ok(asked) = std::env::var("IGPT_WHY") else { return };
    let (root, what) = asked.split_once(' ').expect("IGPT_WHY is a root and a file or an item");
    // The usual way to read: what build.rs does.
    for line in Sources::read(tree(), &versions()).unwrap().why(root, what) {
        println!("{line}");
    }
}

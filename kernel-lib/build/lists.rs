//! What decides no number, and what a step can name.

/// Modules, and single functions, that decide no number of a result, each with the reason. Whatever a reached item says
/// of them is not followed. So a type of which a value comes only out of one of them (of a field of a profile, say) is not
/// reached by that: code that calls its methods must name it, or the step must name its module.
pub const NO_NUMBERS: &[(&str, &str)] = &[
    ("atomic", "writes files whole or not at all; it does not look at what it writes"),
    ("data::fashion_mnist", READS_DATA),
    ("data::fetch", READS_DATA),
    ("data::folder", READS_DATA),
    ("data::hub_sets", READS_DATA),
    ("data::idx", READS_DATA),
    ("data::origin", "says where a data set comes from, and under which licence it is"),
    ("data::prepared", READS_DATA),
    ("data::registry", READS_DATA),
    ("device", "chooses which engine computes; a step names that engine's code, and the device itself"),
    ("error", "an error ends a computation: there is no number then"),
    ("experiment::any", "steps of all kinds as one type; each names its own code"),
    ("experiment::listing", "lists steps, and has them computed"),
    ("experiment::pretraining::live", "shows a training while it runs; what it draws is in no result"),
    ("experiment::profile", "settings: those that decide a step are in its key by value"),
    ("experiment::released", "finds released weights, whose files' SHA-256 are in a step's key"),
    ("experiment::step", "finds results, or has them computed"),
    ("experiment::workspace", "chooses what computes, as `device` does; a step names that code itself"),
    ("export", "writes trained networks into folders, with what is known of them"),
    ("fetch", "runs the program that downloads; what it brings is checked where it is read"),
    ("hex", "names: of files, and of checksums"),
    (
        "hub",
        "finds files of the hub; a step that computes with released weights names `huggingface`, which reads them",
    ),
    ("igpt_formats::data_file", READS_DATA),
    ("igpt_formats::image_folder", READS_DATA),
    ("igpt_formats::published", "says where the hub has a data set, and under which licence it is"),
    ("igpt_formats::request", READS_DATA),
    ("journal", "tells the runner what was computed"),
    ("json", "reads what is there exactly, or ends in an error"),
    ("kernel", "tells the notebook's kernel what is shown"),
    ("notebook", "speaks with the notebook's kernel"),
    ("paper", "compares results with the paper's, after they are computed"),
    ("prelude", "names for notebooks"),
    ("root", "finds the checkout"),
    ("show", "shows results"),
    ("stop", "asks whether someone wants to stop: then there is no result"),
    ("store", "finds and keeps results, under keys that have a format number of their own"),
];

const READS_DATA: &str = "reads a data set; the SHA-256 of what was read, pixel by pixel, is in a step's key";

/// Parts of these that do decide one.
pub const NUMBERS: &[(&str, &str)] = &[
    ("experiment::step::Step", "how each kind of step computes"),
    (
        "store::stored::Stored",
        "how a step writes its own types, and reads them back; not how the store writes any",
    ),
];

/// The library's own modules whose things are only looked at: who gives one of them gives no number.
pub const SHOWS: &str = "show";

/// What a step can name in `Step::code`.
pub struct Root {
    /// Its name.
    pub name: &'static str,
    /// Modules with all that is below them, or single functions, `module::Type::function`. What others can use of them,
    /// and all that this reaches, counts.
    pub of: &'static [&'static str],
    /// Modules below them that are roots of their own. They count where they are reached.
    pub without: &'static [&'static str],
}

const fn whole(name: &'static str, of: &'static [&'static str]) -> Root {
    Root { name, of, without: &[] }
}

/// What a step can name. Besides, each module below `experiment` is a root, `experiment/NAME`.
pub const ROOTS: &[Root] = &[
    whole("augment", &["augment"]),
    whole("contrast", &["contrast"]),
    whole("count_table", &["count_table"]),
    whole("data", &["data"]),
    Root { name: "engine/cpu", of: &["engine"], without: &["engine::cuda"] },
    whole("engine/cuda", &["engine::cuda"]),
    whole("experiment", &["experiment"]),
    whole("huggingface", &["huggingface"]),
    whole("image", &["image"]),
    Root { name: "model", of: &["model"], without: &["model::reference"] },
    whole("model/reference", &["model::reference"]),
    whole("openai", &["openai"]),
    whole("palette", &["palette"]),
    whole("pca", &["pca"]),
    Root {
        name: "probe",
        of: &["probe"],
        without: &["probe::few_labels", "probe::neighbours", "probe::sgd", "probe::similarity"],
    },
    whole("probe/few_labels", &["probe::few_labels"]),
    whole("probe/neighbours", &["probe::neighbours"]),
    whole("probe/sgd", &["probe::sgd"]),
    whole("probe/similarity", &["probe::similarity"]),
    whole("rng", &["rng"]),
    whole("sample", &["sample"]),
    whole("train", &["train"]),
];

/// Crates of this repository that the library is made of, each with the folder of its sources, as seen from `src/`. Their
/// code counts like the library's own: `igpt_formats::bilinear` is followed as `crate::image` is.
pub const OWN_CRATES: &[(&str, &str)] = &[("igpt_formats", "../formats/src")];

/// Other crates that compute numbers, each with those of its own dependencies that do. Their versions are in
/// `versions.txt`, and count for the roots that use them.
pub const CRATES: &[(&str, &[&str])] = &[
    ("candle-core", CANDLE),
    ("candle-nn", CANDLE),
    ("cudarc", &["cudarc"]),
    ("half", &["half"]),
    ("image", &["image", "png"]),
    ("libm", &["libm"]),
    ("rand_chacha", &["ppv-lite86", "rand_chacha", "rand_core"]),
];

const CANDLE: &[&str] = &[
    "candle-core",
    "candle-nn",
    "gemm",
    "gemm-common",
    "gemm-f16",
    "gemm-f32",
    "gemm-f64",
    "half",
    "libm",
    "pulp",
];

/// Other crates whose version decides no number, each with the reason.
pub const CRATES_WITHOUT_NUMBERS: &[(&str, &str)] = &[
    ("base64", "images in outputs"),
    ("flate2", "what is unpacked is what was packed, or an error"),
    ("libc", "calls of the system"),
    ("memmap2", "reads files"),
    ("plotters", "figures"),
    ("rayon", "who computes, not what: no sum here depends on the number of threads"),
    ("safetensors", "copies bytes"),
    ("serde", "its formats are those of serde_json and toml"),
    ("serde_json", "reads and writes numbers exactly (float_roundtrip)"),
    ("sha2", "one function, which has no versions"),
    ("thiserror", "texts of errors"),
    ("toml", "settings, which are in keys by value"),
];

//! A profile with a released network, from the hub to the report: a network of random weights in the released ones' layout is fetched
//! from a stub of the hub, and the notebooks that such a profile lists are executed with it.
//!
//! With the network of iGPT-S's shape and CIFAR-10 (`docs/log/2026-11-30-released-24-layers.md`), once:
//!
//!     cargo test --workspace --test paper_profile -- --ignored --nocapture

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use igpt_tests::{Executed, cell, igpt, png, second_checkout, set_up, stub_hub::StubHub, write_notebook};

const NETWORK: &str = "openai/imagegpt-small";
const CIFAR_10: &str = "datasets/uoft-cs/cifar10";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// As the released networks have it; all else is small enough for a test.
const SIDE: u32 = 32;
const NOTEBOOKS: [&str; 4] = ["1_quickstart", "4.1_best_layer", "4.4_several_layers", "4.7_few_labels"];

/// A profile as somebody would write it for a network of the hub and images of their own.
fn profile(images: &Path) -> String {
    format!(
        "extends = \"paper-s-short\"\njudges = false\nabout = \"A random network and a folder of images.\"\n\
         released = \"imagegpt-small\"\nnotebooks = {NOTEBOOKS:?}\n\
         [data]\nset = {:?}\ntrain_images = 80\ntest_images = 30\n\
         [model]\nlayers = 2\nwidth = 64\nheads = 2\n[probe]\nl2 = [1e-3, 1e-1]\n[samples]\nimages = 4\n",
        format!("folder:{}", images.display())
    )
}

/// Bright images above, and below dark ones: two classes that any features tell apart.
fn write_images(folder: &Path) {
    for (split, count) in [("train", 40), ("test", 15)] {
        for (class, base) in [("bright", 150), ("dark", 20)] {
            let folder = folder.join(split).join(class);
            fs::create_dir_all(&folder).expect("a folder");
            for number in 0..count {
                let level = |x: u32, y: u32, channel: u32| {
                    (base + (x * 7 + y * 5 + channel * 11 + number * 13) % 90).try_into().expect("a level")
                };
                let pixels: Vec<u8> =
                    (0..SIDE * SIDE * 3).map(|at| level(at / 3 % SIDE, at / 3 / SIDE, at % 3)).collect();
                fs::write(folder.join(format!("{number:02}.png")), png(SIDE, SIDE, &pixels))
                    .expect("an image");
            }
        }
    }
}

/// A notebook that writes a network as the hub has it.
fn writer(snapshot: &Path) -> String {
    format!(
        "let config = Config {{ layers: 2, width: 64, heads: 2, ..Config::igpt_s() }};\n\
         let colours: Vec<f32> = (0..512 * 3).map(|i| ((i * 7919) % 1536) as f32 / 768.0 - 1.0).collect();\n\
         let checkpoint = igpt::huggingface::Checkpoint {{\n\
             parameters: Parameters::init(config, 7)?, palette: Some(igpt::palette::Palette::new(3, colours)?),\n\
         }};\n\
         checkpoint.write(std::path::Path::new({snapshot:?}))?;"
    )
}

/// All files of a folder, by their paths in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("it lies there").to_string_lossy().into_owned();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

/// Runs to its end with success; what it printed.
fn said(command: &mut Command) -> String {
    let output = command.output().expect("igpt can be started");
    let all = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}", all.concat());
    all.concat()
}

/// `igpt fetch`, with a cache that is empty before.
fn fetch(hub: &StubHub, cache: &Path, names: &[&str]) {
    let mut command = igpt();
    command.arg("fetch").args(names).env("HF_ENDPOINT", &hub.endpoint).env("HF_HUB_CACHE", cache);
    let said = said(&mut command);
    assert!(said.contains("openai/imagegpt-small: revision 0123456789ab is whole"), "{said}");
    assert!(hub.log().iter().any(|request| request.elsewhere), "no weights came from the hub");
}

#[test]
fn notebooks_judge_a_network_of_the_hub_and_images_of_a_folder() {
    set_up();
    let checkout = second_checkout("a checkout with a released network");
    let at = |name: &str| checkout.join(name);
    let (cache, images, store) = (at("cache"), at("images"), at("store"));
    write_images(&images);
    fs::write(at("papers/igpt/profiles/mine.toml"), profile(&images)).expect("a profile");
    let run = |arguments: &[&str]| {
        let mut command = igpt();
        command.current_dir(&checkout).args(["run", "--out", "out"]).args(arguments);
        command.env("CARGO_NET_OFFLINE", "true").env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", &cache);
        said(command.env("IGPT_STORE", &store))
    };
    let notebook = write_notebook(&checkout, "writer", &[cell(writer(&at("on the hub")))]);
    run(&[notebook.to_str().expect("a name in UTF-8")]);
    let hub = StubHub::new(NETWORK);
    hub.commit_to(NETWORK, COMMIT, files(&at("on the hub")));
    fetch(&hub, &cache, &["imagegpt-small"]);

    let said = run(&["--profile", "mine"]);
    assert!(said.contains("the profile mine computes 1_quickstart, 4.1_best_layer"), "{said}");
    // Nothing was trained, and each layer's features were judged: layers 0 to 2.
    let trained: Vec<_> = fs::read_dir(&store)
        .expect("the store")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("training") || name.starts_with("palette"))
        .collect();
    assert!(trained.is_empty(), "{trained:?}");
    assert_report(&at("out"));
    // The same again computes nothing.
    let again = run(&["--profile", "mine", "4.7_few_labels"]);
    assert!(again.contains("reused"), "{again}");
}

/// That each notebook is in the report, and the network that was judged.
fn assert_report(out: &Path) {
    let executed = Executed::read(&out.join("4.1_best_layer.ipynb"));
    let best_layer: String = executed.code_cells().map(|cell| cell["outputs"].to_string()).collect();
    assert!(best_layer.contains("imagegpt-small"), "{best_layer}");
    let report = fs::read_to_string(out.join("report.html")).expect("the report");
    for name in NOTEBOOKS {
        assert!(report.contains(name), "{name}");
    }
}

/// The network of iGPT-S's shape (`cargo test --workspace --test released a_random_network -- --ignored` writes it) and CIFAR-10, both
/// from the stub: `IGPT_HUB` is a Hugging Face cache that has them. `IGPT_STORE` and `IGPT_DATA` are used if they are set, so that it
/// can be ended and continued.
#[test]
#[ignore = "it takes half an hour, and needs CIFAR-10"]
fn notebooks_judge_a_network_of_igpt_s_shape_and_cifar_10() {
    set_up();
    let on_the_hub = PathBuf::from(env::var_os("IGPT_HUB").expect("IGPT_HUB names a cache"));
    let hub = StubHub::new(NETWORK);
    for repository in [NETWORK, CIFAR_10] {
        let kind = if repository.starts_with("datasets/") { "" } else { "models/" };
        let snapshots = on_the_hub.join(format!("{kind}{repository}").replace('/', "--")).join("snapshots");
        let mut commits = fs::read_dir(&snapshots).expect("a repository's snapshots");
        let snapshot = commits.next().expect("a snapshot").expect("an entry").path();
        let commit = snapshot.file_name().expect("a commit").to_string_lossy().into_owned();
        hub.commit_to(repository, &commit, files(&snapshot));
    }
    let checkout = second_checkout("a checkout with a network of iGPT-S's shape");
    let at = |name: &str| checkout.join(name);
    let cache = at("cache");
    fetch(&hub, &cache, &["imagegpt-small", "cifar10"]);
    let profile = format!(
        "extends = \"paper-s-short\"\njudges = false\nabout = \"300 images a split.\"\n\
         notebooks = {NOTEBOOKS:?}\n[data]\ntrain_images = 300\ntest_images = 300\n"
    );
    fs::write(at("papers/igpt/profiles/mine.toml"), profile).expect("a profile");
    let mut command = igpt();
    command.current_dir(&checkout).args(["run", "--out", "out", "--profile", "mine"]);
    command.env("CARGO_NET_OFFLINE", "true").env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", &cache);
    println!("{}", said(&mut command));
    assert_report(&at("out"));
}

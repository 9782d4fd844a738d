//! `igpt steps`, `igpt compute` and `igpt export`: what is computed without a notebook is what a notebook finds, and what is
//! exported can be loaded.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use igpt::{
    experiment::Describer,
    huggingface::Checkpoint,
    prelude::{AnyStep, Features, LinearProbe, Pretraining, Profile, Store, Workspace},
};
use igpt_tests::{Executed, cell, igpt, set_up, write_notebook};

/// Runs the command with a store of its own.
fn run(store: &Path, arguments: &[&str]) -> Output {
    let output = igpt()
        .args(arguments)
        .env("IGPT_STORE", store)
        .env("IGPT_DEVICE", "cpu")
        .current_dir(root())
        .output()
        .expect("igpt runs");
    println!("{}{}", text(&output.stdout), text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the folder").map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A tiny pre-training of the quick profile's data, and a probe of it.
fn tiny() -> LinearProbe {
    let mut profile = Profile::named("quick").expect("the quick profile");
    profile.data.train_images = Some(200);
    profile.data.test_images = Some(100);
    (profile.model.layers, profile.model.width, profile.model.heads) = (2, 16, 2);
    profile.training.length = igpt::train::Length::Steps(6);
    profile.training.warm_up = igpt::train::WarmUp::Steps(1);
    profile.samples.after = vec![0, 3];
    profile.probe.l2 = vec![1e-2, 1.0];
    LinearProbe::of(Features::of(&Pretraining::of(&profile))).with(&profile.probe)
}

/// The pre-training of a probe.
fn pretraining(probe: &LinearProbe) -> Pretraining {
    match &probe.features.of {
        Describer::Pretraining(pretraining) => (**pretraining).clone(),
        other => panic!("features of another kind: {other:?}"),
    }
}

/// The files of all results in a store, without manifests, which hold dates.
fn results(store: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in files(store) {
        for file in files(&entry.join("result")).into_iter().filter(|file| !file.ends_with("manifest.json")) {
            let name = file.strip_prefix(store).unwrap().display().to_string();
            all.push((name, fs::read(&file).unwrap()));
        }
    }
    all
}

#[test]
fn what_is_computed_from_a_file_is_what_a_notebook_finds() {
    set_up();
    let folder = tempfile::tempdir().expect("a folder");
    let (store, file) = (folder.path().join("store"), folder.path().join("step.json"));
    let step = tiny();
    fs::write(&file, AnyStep::from(step.clone()).to_json().unwrap()).unwrap();
    let name = file.to_str().unwrap();
    let output = run(&store, &["compute", name, name]);
    let said = text(&output.stdout);
    assert!(output.status.success());
    // A second time there is nothing to do.
    let [first, again] = said.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {said}") };
    assert!(first.contains("linear-probe ") && first.contains("computed in"), "{said}");
    assert!(again.contains("linear-probe ") && again.contains("was there"), "{said}");

    // This process finds it; and what it computes itself has the same names and bytes.
    let device = igpt::device::Device::cpu();
    let found = Workspace::new(Store::at(&store), device.clone());
    step.run_on(&found).unwrap();
    let said = igpt::show::Show::to_text(&found.store().report());
    assert!(said.contains("Reused: 1 of 1 results"), "{said}");
    let own = folder.path().join("own");
    step.run_on(&Workspace::new(Store::at(&own), device)).unwrap();
    assert!(results(&own) == results(&store));

    // Its network goes out, in greys as it is, and comes back with its palette.
    let network = pretraining(&step);
    let (file_of_network, out) = (folder.path().join("network.json"), folder.path().join("out/network"));
    fs::write(&file_of_network, AnyStep::from(network.clone()).to_json().unwrap()).unwrap();
    let [file_of_network, to] = [&file_of_network, &out].map(|path| path.to_str().unwrap());
    let output = run(&store, &["export", file_of_network, "--out", to]);
    let said = text(&output.stdout);
    assert!(output.status.success() && said.contains(to), "{said}");
    assert!(said.contains("its image processor cannot make tokens for it"), "{said}");
    let names: Vec<_> = files(&out).iter().map(|file| file.strip_prefix(&out).unwrap().to_owned()).collect();
    assert_eq!(
        names,
        ["README.md", "config.json", "kmeans_centers.npy", "model.safetensors"].map(PathBuf::from)
    );
    let again = Checkpoint::read(&out).unwrap();
    assert_eq!(again.parameters, network.run_on(&found).unwrap().parameters);
    assert_eq!(again.palette, Some(network.palette.palette(&found).unwrap()));
    // Another machine would write the same.
    assert!(network.export_on(&found, &out).unwrap().was_there);

    // What is wrong is said.
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("\"side\": 14", "\"side\": 0")).unwrap();
    let output = run(&store, &["compute", name]);
    assert!(!output.status.success() && text(&output.stderr).contains("data.side"));
    // As a kernel does, which takes ten seconds to start.
    fs::write(&file, "{\"step\": \"palett\"}").unwrap();
    let error = igpt::experiment::compute(&file, &found).unwrap_err().to_string();
    assert!(error.contains("it is no step"), "{error}");
}

/// The rule for GNU make in `docs/steps.md`.
fn make_rule() -> String {
    let text = fs::read_to_string(root().join("docs/steps.md")).expect("docs/steps.md");
    let rule = text.split("```make\n").nth(1).and_then(|rest| rest.split("```").next());
    rule.expect("a rule for make").to_owned()
}

#[test]
fn steps_are_listed_written_and_left_to_make() {
    set_up();
    let folder = tempfile::tempdir().expect("a folder");
    let (store, steps) = (folder.path().join("store"), folder.path().join("steps"));
    let output = run(&store, &["steps", "--missing", "--write", steps.to_str().unwrap()]);
    let said = text(&output.stdout);
    let count = igpt::experiment::steps_of(&Profile::named("quick").expect("the quick profile")).len();
    assert!(count > 19, "pre-training with its probes and controls alone is more: {count}");
    assert!(
        output.status.success() && said.contains(&format!("0 of {count} steps of the profile quick")),
        "{said}"
    );
    assert_eq!(files(&steps).len(), count);
    let first = files(&steps).remove(0);
    assert!(first.to_str().unwrap().contains("01-palette-"), "{first:?}");

    let here = igpt().get_program().to_owned();
    std::os::unix::fs::symlink(here, folder.path().join("igpt")).unwrap();
    fs::write(folder.path().join("Makefile"), make_rule()).unwrap();
    let done = first.with_extension("done");
    let made = Command::new("make")
        .arg(done.strip_prefix(folder.path()).unwrap())
        .env("IGPT_STORE", &store)
        .current_dir(folder.path())
        .output()
        .expect("make runs");
    assert!(made.status.success() && done.exists(), "{}{}", text(&made.stdout), text(&made.stderr));
    let said = text(&run(&store, &["steps"]).stdout);
    assert!(said.contains(&format!("1 of {count} steps")) && said.contains(" there "), "{said}");
}

/// The lines of `docs/steps.md`, for networks that train in a second.
#[test]
fn a_notebook_composes_steps() {
    set_up();
    let folder = tempfile::tempdir().expect("a folder");
    let small = "use igpt::train::{Length, WarmUp};
let mut profile = Profile::current()?;
profile.data.train_images = Some(200);
profile.data.test_images = Some(100);
(profile.model.layers, profile.model.width, profile.model.heads) = (2, 16, 2);
(profile.training.length, profile.training.warm_up) = (Length::Steps(6), WarmUp::Steps(1));
profile.samples.after = vec![0];";
    let lines = "let ar = Pretraining::of(&profile).seed(2);
let bert = ar.clone().objective(Objective::Bert { mask: 0.15 });
let curve = LinearProbe::of(Features::of(&bert)).run()?;
println!(\"BERT: {} layers\", curve.layers.len());";
    let twin = "let curve = LinearProbe::of(Features::of(&ar)).run()?;
println!(\"AR: {} layers\", curve.layers.len());";
    let shown = "let trained = ar.show()?;\nprintln!(\"{} steps\", trained.curve.validation.last().map_or(0, |point| point.step));";
    // A network that was exported elsewhere: the cell that its model card has.
    let network = pretraining(&tiny());
    let elsewhere = Workspace::new(Store::at(folder.path().join("elsewhere")), igpt::device::Device::cpu());
    network.run_on(&elsewhere).unwrap();
    let exported = network.export_on(&elsewhere, &folder.path().join("network")).unwrap();
    let of_card = exported.card.text.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    let of_card = of_card.expect("a cell in the card").replace("FOLDER", exported.folder.to_str().unwrap());
    let numbers = "println!(\"{} features, {} tokens\", features.len(), drawn.len());";
    write_notebook(
        folder.path(),
        "steps",
        &[cell(small), cell(lines), cell(twin), cell(shown), cell(of_card), cell(numbers)],
    );
    let output = igpt()
        .args(["run", "steps.ipynb", "--out", "out"])
        .env("IGPT_STORE", folder.path().join("store"))
        .current_dir(folder.path())
        .output()
        .expect("igpt runs");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    let notebook = Executed::read(&folder.path().join("out/steps.ipynb"));
    assert_eq!(notebook.stream(2, "stdout"), "BERT: 3 layers\n", "{said}");
    assert_eq!(notebook.stream(3, "stdout"), "AR: 3 layers\n", "{said}");
    assert_eq!(notebook.stream(4, "stdout"), "6 steps\n", "{said}");
    assert_eq!(notebook.stream(6, "stdout"), "48 features, 784 tokens\n", "{said}");
    // What was computed says in the report why, and what was found, too: the last cell's network.
    let report = fs::read_to_string(folder.path().join("out/report.html")).expect("the report");
    assert!(report.contains("no result of such a step was stored"), "{said}");
}

/// Each of the paper's methods is a cell, on networks that train in a second.
#[test]
fn each_method_is_a_cell() {
    set_up();
    let folder = tempfile::tempdir().expect("a folder");
    let small = "use igpt::contrast::Contrast;
use igpt::train::{Length, WarmUp};
let mut profile = Profile::current()?;
profile.data.train_images = Some(300);
profile.data.test_images = Some(100);
(profile.model.layers, profile.model.width, profile.model.heads) = (2, 16, 2);
(profile.training.length, profile.training.warm_up) = (Length::Steps(6), WarmUp::Steps(1));
(profile.samples.after, profile.probe.l2) = (vec![3], vec![1e-2, 1.0]);
let ar = Pretraining::of(&profile);
let bert = ar.clone().objective(Objective::Bert { mask: 0.15 });";
    let cells = [
        small,
        // Section 4.6, and infilling.
        "let masked = MaskedProbe::of(&bert)?.l2([1e-2, 1.0]).run()?;
println!(\"{} of {} images\", masked.layers.len(), masked.chosen().voted.images);
let (network, tokens) = (bert.run()?.parameters, bert.validation_tokens()?);
let mask: Vec<bool> = (0..tokens.len()).map(|at| at % 196 >= 98).collect();
let filled = bert.infill(&network, &tokens, &mask, 4, &Sampling::default())?;
println!(\"{}\", (0..filled.len()).all(|at| mask[at] || filled[at] == tokens[at]));",
        // Section 4.1: what each layer can still predict, and how alike layers are.
        "println!(\"{} losses\", ar.losses_by_layer(&ar.run()?.parameters, &tokens)?.len());
let alike = LayerSimilarity::of(Features::of(&ar).first(100)).run()?;
println!(\"{} outputs\", LayerHeads::of(&ar).steps(3).run()?.trained.len());",
        // Sections 2.3 and 4.5.
        "for tuning in [FineTuning::of(&ar), FineTuning::of(&bert), FineTuning::supervised(&ar)] {
    let tuned = tuning.run()?;
    println!(\"{} test images\", tuned.test.images);
}",
        // Section 4.7.
        "let few = FewLabels::of(Features::of(&ar)).labels([4]).run()?;
let memorized = FineTuning::of(&ar).labels_per_class(4).run()?;
println!(\"{} trained on\", memorized.training.images);",
        // Section 4.4.
        "let probe = LinearProbe::of(Features::of(&ar)).with(&profile.probe);
let wide = ConcatenatedProbe::of(probe).layers(3).run()?;
let sgd = SgdProbe::of(Features::of(&ar)).layers([1]).run()?;",
        // Section 3.4, Figure 3, and controls.
        "let search = LearningRateSearch::of(&ar).rates([0.01, 0.003]).run()?;
let figure = LossAndAccuracy::of([ar.clone()], &profile.probe).run()?;
let neighbours = NearestNeighbours::of(Features::of(&ar)).run()?;
let pca = LinearProbe::of(Features::pca(&ar, 10)).with(&profile.probe).run()?;
let counts = CountBaseline::of(&ar.data, &ar.palette).run()?;
let placed = PixelPlacements::of(&ar, 3).with(&profile.probe).run()?;",
        // What the paper compares with.
        "for contrast in [Contrast::SimClr { temperature: 0.2, projection: 8 }, Contrast::Cpc { ahead: 2, projection: 8 }] {
    let curve = LinearProbe::of(Features::contrastive(&Contrastive::like(&ar, contrast, 2))).with(&profile.probe).run()?;
    println!(\"{} layers\", curve.layers.len());
}",
    ];
    write_notebook(folder.path(), "methods", &cells.map(cell));
    let output = igpt()
        .args(["run", "methods.ipynb", "--out", "out"])
        .env("IGPT_STORE", folder.path().join("store"))
        .env("IGPT_DEVICE", "cpu")
        .current_dir(folder.path())
        .output()
        .expect("igpt runs");
    let said = text(&output.stdout) + &text(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    let notebook = Executed::read(&folder.path().join("out/methods.ipynb"));
    for (number, expected) in [
        (2, "3 of 100 images\ntrue\n"),
        (3, "3 losses\n3 outputs\n"),
        (4, "100 test images\n100 test images\n100 test images\n"),
        (5, "40 trained on\n"),
        (8, "3 layers\n3 layers\n"),
    ] {
        assert_eq!(notebook.stream(number, "stdout"), expected, "{said}");
    }
}

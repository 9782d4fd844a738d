//! A profile with a released network: what is computed is that network's, and what was not released is refused. The network is one of
//! random weights, in a cache as Hugging Face's clients have it. Variables of the environment say where that is, and these are a
//! process's: the test starts this file again.

use igpt::huggingface::Checkpoint;
use igpt::model::View;
use igpt::prelude::*;
use igpt::sample::Sampling;
use std::path::Path;
use std::process::Command;

const SIDE: usize = 8;
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A profile of the paper's, with a tiny network and images of a folder.
fn tiny(name: &str, images: &Path) -> Profile {
    let mut profile = Profile::named(name).unwrap();
    (profile.model.layers, profile.model.width, profile.model.heads) = (2, 16, 2);
    profile.data.set = format!("folder:{}", images.display());
    profile.data.side = SIDE;
    profile.palette.colours = 12;
    profile.probe.l2 = vec![1e-2, 1.0];
    profile
}

/// A network of random weights with a palette of random colours, as `imagegpt-small` in the cache.
fn random(config: Config, cache: &Path) -> Checkpoint {
    let parameters = Parameters::init(config, 7).unwrap();
    let colours = config.vocabulary * 3;
    let centres: Vec<f32> =
        (0..colours).map(|i| ((i * 7919) % colours) as f32 * 2.0 / colours as f32 - 1.0).collect();
    let checkpoint = Checkpoint { parameters, palette: Some(Palette::new(3, centres).unwrap()) };
    let model = cache.join("models--openai--imagegpt-small");
    std::fs::create_dir_all(model.join("refs")).unwrap();
    std::fs::write(model.join("refs/main"), COMMIT).unwrap();
    checkpoint.write(&model.join("snapshots").join(COMMIT)).unwrap();
    checkpoint
}

/// For a run of notebooks with a network of iGPT-S's shape, or with so many layers of it, where nobody can download one:
///
/// ```sh
/// TO=<a Hugging Face cache> LAYERS=2 cargo test --test released a_random_network -- --ignored
/// ```
#[test]
#[ignore = "writes 300 MB"]
fn a_random_network_of_the_shape_of_igpt_s() {
    let cache = std::env::var("TO").expect("TO names a Hugging Face cache");
    let layers = std::env::var("LAYERS").map_or(24, |layers| layers.parse().expect("a number of layers"));
    random(Config { layers, ..Config::igpt_s() }, Path::new(&cache));
}

/// Images of two colours in a folder, `side` blocks wide, each of `zoom` pixels.
fn write_images(images: &Path, side: usize, zoom: u32) {
    let side = side as u32 * zoom;
    for (split, count) in [("train", 30u8), ("test", 10)] {
        for (class, colour) in [("red", [250, 0, 0]), ("blue", [0, 0, 250])] {
            let folder = images.join(split).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            for number in 0..count {
                let pixel = |x: u32, y: u32| {
                    let noise = (x / zoom * 31 + y / zoom * 17 + u32::from(number) * 13) as u8 % 100;
                    image::Rgb(colour.map(|level: u8| level.saturating_sub(noise).max(noise)))
                };
                let file = folder.join(format!("{number:02}.png"));
                image::RgbImage::from_fn(side, side, pixel).save(file).unwrap();
            }
        }
    }
}

/// The network, in the cache, and images.
fn write(cache: &Path, images: &Path) -> Checkpoint {
    let checkpoint = random(tiny("paper-s", images).config(), cache);
    write_images(&images.join("small"), SIDE, 1);
    // As STL-10's, three times as wide as the network reads them.
    write_images(&images.join("large"), SIDE, 3);
    checkpoint
}

#[test]
#[ignore = "what the test below starts"]
fn a_notebook() {
    let images = std::env::var("IMAGES").unwrap();
    let profile = tiny("paper-s", &Path::new(&images).join("small"));
    let on = Workspace::current().unwrap();
    let released = Pretraining::of(&profile);
    let trained = released.show().unwrap();
    let checkpoint = hub::imagegpt("small").unwrap();
    assert_eq!(trained.parameters, checkpoint.parameters);
    assert!(trained.curve.training.is_empty() && trained.snapshots.is_empty());
    // Its palette makes the tokens, and its features are probed.
    let tokens = released.encoding(Split::Test).run().unwrap().0;
    let test = profile.data.images(Split::Test).unwrap();
    assert_eq!(tokens, checkpoint.palette.clone().unwrap().encode(test.all_pixels()).unwrap());
    let features = Features::of(&released).split(Split::Test).run().unwrap();
    let mut network = on.network(profile.config()).unwrap();
    let by_hand = network.features(&trained.parameters, &tokens, View::Causal).unwrap(); // (N, L + 1, C)
    let layer: Vec<f32> = by_hand.chunks(3 * 16).flat_map(|image| image[16..32].to_vec()).collect();
    assert_eq!(features.layer(1).unwrap().values(), layer);
    let curve = LinearProbe::of(Features::of(&released)).with(&profile.probe).run().unwrap();
    assert_eq!((curve.layers.len(), curve.layers[0].test.images), (3, 20));
    assert_ne!(LinearProbe::of(Features::untrained(&released)).with(&profile.probe).run().unwrap(), curve);
    LinearProbe::of(Features::pixels(&released)).with(&profile.probe).run().unwrap();
    let drawn = released.sample(&trained.parameters, &[], 2, &Sampling::default()).unwrap();
    assert_eq!(released.images(&drawn).unwrap().len(), 2);
    // All that `igpt steps` lists can be computed, and is found then.
    for step in igpt::experiment::steps_of(&profile) {
        step.run_on(&on).unwrap_or_else(|error| panic!("{}: {error}", step.about()));
        assert!(step.provenance(&on).unwrap().is_some(), "{}", step.about());
    }
    assert!(!igpt::experiment::steps_of(&profile).contains(&released.clone().into()));
    let tuned = igpt::experiment::FineTuning::of(&released);
    assert_eq!(
        tuned,
        igpt::experiment::FineTuning::released("imagegpt-small", profile.data.clone(), &profile.training)
    );

    // The other data sets of Table 1: the same network, and images that are made as small as it reads them.
    let stl10 = tiny("paper-s-stl10", &Path::new(&images).join("large"));
    assert_eq!(stl10.data.load().unwrap().train().images.width(), 3 * SIDE);
    let tokens = Pretraining::of(&stl10).encoding(Split::Test).run().unwrap().0;
    assert_eq!(tokens.len(), 20 * SIDE * SIDE);
    let kinds = |profile: &Profile| -> Vec<_> {
        igpt::experiment::steps_of(profile).iter().map(AnyStep::name).collect()
    };
    assert!(kinds(&profile).contains(&"few-labels") && !kinds(&stl10).contains(&"few-labels"));
    for step in igpt::experiment::steps_of(&stl10) {
        step.run_on(&on).unwrap_or_else(|error| panic!("{}: {error}", step.about()));
    }
    let listed = igpt::experiment::list(&stl10, &on, true, None).unwrap();
    assert!(listed.contains("steps of the profile paper-s-stl10") && !listed.contains("missing"), "{listed}");

    // Nothing that was not released is taken for it, and nothing is trained.
    let mut small = profile.model;
    small.layers = 1;
    let kept = Pretraining { after: vec![5], ..released.clone() };
    for (other, what) in [
        (released.clone().seed(2), "seed"),
        (released.clone().learning_rate(1.0), "learning rate"),
        (released.clone().objective(Objective::Bert { mask: 0.15 }), "objective"),
        (released.clone().network(small), "shape"),
        (kept, "snapshots"),
    ] {
        for error in [
            other.run().unwrap_err(),
            other.show().unwrap_err(),
            Features::of(&other).run().unwrap_err(),
            LinearProbe::of(Features::of(&other)).run().unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.contains(&format!("another {what}")) && error.contains("IGPT_PROFILE=quick"),
                "{error}"
            );
        }
    }
    assert!(profile.smaller(0).unwrap_err().to_string().contains("imagegpt-small"));
    // A profile that says another shape than the network has.
    let mut wrong = profile.clone();
    wrong.model.layers = 5;
    let error = Pretraining::of(&wrong).run().unwrap_err().to_string();
    assert!(error.contains("2 layers × 16") && error.contains("5 layers × 16"), "{error}");
}

#[test]
fn a_released_network_is_judged_and_never_trained() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, images) = (folder.path().join("hub"), folder.path().join("images"));
    write(&cache, &images);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_notebook", "--ignored", "--nocapture"])
        .env_remove("IGPT_PROFILE")
        .env("IMAGES", &images)
        .env("HF_HUB_CACHE", &cache)
        .env("IGPT_STORE", folder.path().join("store"))
        .env("IGPT_DATA", folder.path().join("data"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("imagegpt-small: as it was released") && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "what the test below starts"]
fn a_notebook_of_snapshots() {
    use igpt::experiment::ReleasedLossAndAccuracy;
    use igpt::openai;
    let images = Path::new(&std::env::var("IMAGES").unwrap()).to_owned();
    let data = |images: &Path| Data::of(format!("folder:{}", images.display()), 4);
    let (of_loss, probed) = (data(&images.join("loss")), data(&images.join("probed")));
    let mut profile = Profile::named("paper-s").unwrap();
    profile.probe.l2 = vec![1e-2, 1.0];
    let on = Workspace::current().unwrap();
    let names = openai::found().unwrap();
    assert_eq!(names, ["igpt-s/131000", "igpt-s/262000", "igpt-m/131000", "igpt-s-bert/7"]);
    let error = ReleasedLossAndAccuracy::of(&names, of_loss.clone(), &profile.probe).run().unwrap_err();
    assert!(error.to_string().contains("igpt-s/131000 and igpt-s-bert/7 were trained by two"), "{error}");
    for name in ["igpt-s", "igpt-xl/7", "imagegpt-small"] {
        let error = ReleasedLossAndAccuracy::of([name], of_loss.clone(), &profile.probe).run().unwrap_err();
        assert!(error.to_string().contains("Names are like igpt-s/131000"), "{error}");
    }
    let nothing: [&str; 0] = [];
    assert!(ReleasedLossAndAccuracy::of(nothing, of_loss.clone(), &profile.probe).run().is_err());
    let wide = Data::of(of_loss.set.clone(), 8);
    let error = ReleasedLossAndAccuracy::of(["igpt-s/131000"], wide, &profile.probe).run().unwrap_err();
    assert!(error.to_string().contains("set the side of the data to 4"), "{error}");

    for (names, data) in [(&names[..3], Some(probed.clone())), (&names[3..], None)] {
        profile.probe.data = data;
        let step = ReleasedLossAndAccuracy::of(names, of_loss.clone(), &profile.probe);
        let found = step.run().unwrap();
        for (name, point) in names.iter().zip(&found.points) {
            // By hand, all images at once; and the probe as a step of its own.
            let read = openai::released(name).unwrap().read().unwrap();
            let palette = Palette::read_npy(openai::released(name).unwrap().palette).unwrap();
            let test = of_loss.images(Split::Test).unwrap();
            let tokens = palette.encode(test.all_pixels()).unwrap();
            let mut network = on.network(read.config()).unwrap();
            if read.causal {
                let loss = network.loss(&read.parameters, &Batch::autoregressive(&tokens)).unwrap();
                assert!((point.loss / loss - 1.0).abs() < 1e-6, "{name}: {} {loss}", point.loss);
            }
            assert!(point.loss > 0.0 && point.loss < 2.0 * 8f64.ln(), "{}", point.loss);
            assert_eq!(point.parameters, read.config().parameters());
            let on_what = profile.probe.data.clone().unwrap_or_else(|| of_loss.clone());
            let curve = LinearProbe::of(Features::released(name, on_what)).l2([1e-2, 1.0]).run().unwrap();
            assert_eq!((point.layer, point.test), (curve.chosen, curve.result().unwrap()));
        }
        let of: Vec<_> = found.points.iter().map(|point| (point.network, point.step)).collect();
        match names.len() {
            3 => assert_eq!(of, [(0, 131_000), (0, 262_000), (1, 131_000)]),
            _ => assert_eq!(of, [(0, 7)]),
        }
        let text = found.to_text();
        assert!(text.contains("The loss is that of the test images of"), "{text}");
        // As a file it is the same step, and all that it needs was stored under its own name.
        for needed in igpt::experiment::with_inputs([step.into()]) {
            assert!(needed.provenance(&on).unwrap().is_some(), "{}", needed.about());
        }
    }
}

/// Figure 3 of OpenAI's snapshots, which lie in a folder as OpenAI's store had them: tiny networks that TensorFlow wrote.
#[test]
fn figure_3_comes_of_snapshots_that_others_have_kept() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/openai");
    for (network, from, name) in [
        ("ar", 131_000, "igpt-s/131000"),
        ("ar", 131_000, "igpt-s/262000"),
        ("ar", 131_000, "igpt-m/131000"),
        ("bert", 7, "igpt-s-bert/7"),
    ] {
        let place = folder.path().join("checkpoints").join(name);
        std::fs::create_dir_all(&place).unwrap();
        let (old, steps) = (format!("model.ckpt-{from}."), name.split('/').next_back().unwrap());
        for file in std::fs::read_dir(fixtures.join(network)).unwrap().map(Result::unwrap) {
            if let Some(ending) = file.file_name().to_str().unwrap().strip_prefix(&old) {
                std::fs::copy(file.path(), place.join(format!("model.ckpt-{steps}.{ending}"))).unwrap();
            }
        }
    }
    // Eight colours, all different.
    let colours = folder.path().join("color-clusters");
    std::fs::create_dir_all(&colours).unwrap();
    let centres: Vec<f32> = (0..24).map(|i| ((i * 11) % 24) as f32 / 12.0 - 1.0).collect();
    Palette::new(3, centres).unwrap().write_npy(colours.join("kmeans_centers.npy")).unwrap();
    let images = folder.path().join("images");
    write_images(&images.join("loss"), 4, 1);
    write_images(&images.join("probed"), 4, 2);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_notebook_of_snapshots", "--ignored", "--nocapture"])
        .env_remove("IGPT_PROFILE")
        .env("IGPT_OPENAI", folder.path())
        .env("IMAGES", &images)
        .env("IGPT_STORE", folder.path().join("store"))
        .env("IGPT_DATA", folder.path().join("data"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

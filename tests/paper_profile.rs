//! A profile with a released network, from the checkpoint to the report: the notebooks that such a profile lists are executed with a
//! network of random weights in the released ones' layout, and with images in a folder.

use std::{fs, path::Path};

use igpt_tests::{Executed, cell, igpt, png, second_checkout, set_up, write_notebook};

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

/// A notebook that writes a network into a Hugging Face cache, as `openai/imagegpt-small`.
fn writer(cache: &Path) -> String {
    let model = cache.join("models--openai--imagegpt-small");
    format!(
        "let config = Config {{ layers: 2, width: 64, heads: 2, ..Config::igpt_s() }};\n\
         let colours: Vec<f32> = (0..512 * 3).map(|i| ((i * 7919) % 1536) as f32 / 768.0 - 1.0).collect();\n\
         let checkpoint = igpt::huggingface::Checkpoint {{\n\
             parameters: Parameters::init(config, 7)?, palette: Some(igpt::palette::Palette::new(3, colours)?),\n\
         }};\n\
         checkpoint.write(&std::path::Path::new({model:?}).join(\"snapshots\").join({COMMIT:?}))?;\n\
         std::fs::create_dir_all({:?})?;\n\
         std::fs::write({:?}, {COMMIT:?})?;",
        model.join("refs"),
        model.join("refs/main"),
    )
}

#[test]
fn notebooks_judge_a_released_network_and_images_of_a_folder() {
    set_up();
    let checkout = second_checkout("a checkout with a released network");
    let (cache, images, store) = (checkout.join("cache"), checkout.join("images"), checkout.join("store"));
    write_images(&images);
    fs::write(checkout.join("papers/igpt/profiles/mine.toml"), profile(&images)).expect("a profile");
    let run = |arguments: &[&str]| {
        let mut command = igpt();
        command.current_dir(&checkout).args(["run", "--out", "out"]).args(arguments);
        command.env("CARGO_NET_OFFLINE", "true").env("HF_HUB_OFFLINE", "1").env("HF_HUB_CACHE", &cache);
        let output = command.env("IGPT_STORE", &store).output().expect("igpt can be started");
        let all = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{}", all.concat());
        all.concat()
    };
    let notebook = write_notebook(&checkout, "writer", &[cell(writer(&cache))]);
    run(&[notebook.to_str().expect("a name in UTF-8")]);

    let said = run(&["--profile", "mine"]);
    assert!(said.contains("the profile mine computes 1_quickstart, 4.1_best_layer"), "{said}");
    // Nothing was trained, and each layer's features were judged: layers 0 to 2.
    let trained: Vec<_> = fs::read_dir(&store)
        .expect("the store")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("training") || name.starts_with("palette"))
        .collect();
    assert!(trained.is_empty(), "{trained:?}");
    let shown = |name: &str| -> String {
        let executed = Executed::read(&checkout.join(format!("out/{name}.ipynb")));
        executed.code_cells().map(|cell| cell["outputs"].to_string()).collect()
    };
    let best_layer = shown("4.1_best_layer");
    assert!(best_layer.contains("imagegpt-small"), "{best_layer}");
    let report = fs::read_to_string(checkout.join("out/report.html")).expect("the report");
    for name in NOTEBOOKS {
        assert!(report.contains(name), "{name}");
    }
    // The same again computes nothing.
    let again = run(&["--profile", "mine", "4.7_few_labels"]);
    assert!(again.contains("reused"), "{again}");
}

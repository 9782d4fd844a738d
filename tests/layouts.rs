//! Data sets other than CIFAR-10: likenesses of their repositories, `tests/fixtures/parquet/layouts.py`, and folders.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use igpt::data::{self, Dataset, Images, Labelled, Labels};
use serde_json::{Value, json};

use super::{PROGRAM, REVISION, files, fixtures, in_a_process_of_its_own, is_child, said};

/// A Hugging Face cache with all repositories of `tests/fixtures/parquet/layouts`.
fn cache(folder: &Path) -> PathBuf {
    let hub = folder.join("hub");
    for owner in fs::read_dir(fixtures().join("layouts")).unwrap().flatten() {
        for repository in fs::read_dir(owner.path()).unwrap().flatten() {
            let [owner, name] =
                [owner.file_name(), repository.file_name()].map(|name| name.into_string().unwrap());
            let here = hub.join(format!("datasets--{owner}--{name}"));
            fs::create_dir_all(here.join("snapshots")).unwrap();
            fs::create_dir_all(here.join("refs")).unwrap();
            fs::write(here.join("refs/main"), REVISION).unwrap();
            let snapshot = here.join("snapshots").join(REVISION);
            assert!(
                Command::new("cp").arg("-r").arg(repository.path()).arg(snapshot).status().unwrap().success()
            );
        }
    }
    hub
}

fn fetch(hub: &Path, data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("HF_HUB_CACHE", hub).env("IGPT_DATA", data);
    command.env("HF_HUB_OFFLINE", "1").env_remove("IGPT_IMAGENET");
    command
}

fn failure(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{:?}", said(&output));
    said(&output).1
}

/// What the scripts' JSON says of pixels and labels.
fn expected(split: &str, labels: &str) -> Value {
    let text = fs::read_to_string(fixtures().join("layouts.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let split = &all["splits"][split];
    assert!(split["pixels"].is_array());
    json!({"pixels": split["pixels"], "labels": split.get(labels)})
}

fn hex(images: &Images) -> Vec<String> {
    let hex = |pixels: &[u8]| pixels.iter().map(|byte| format!("{byte:02x}")).collect();
    images.iter_pixels().map(hex).collect()
}

fn described(data: &Dataset) -> Value {
    let split = |split: &Labelled| json!({"pixels": hex(&split.images), "labels": split.labels});
    json!({"name": data.name(), "classes": data.classes(), "channels": data.train().images.channels(),
           "train": split(data.train()), "test": split(data.test())})
}

/// The images of a single kind in the scripts' JSON.
fn image(name: &str) -> Vec<u8> {
    let text = fs::read_to_string(fixtures().join("layouts.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let images = all["images"].as_array().unwrap();
    let file =
        images.iter().find(|image| image["name"] == name).unwrap()["file"].as_str().unwrap().to_owned();
    (0..file.len() / 2).map(|at| u8::from_str_radix(&file[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
#[ignore = "each_data_set_is_one_call starts it"]
fn child_reads_every_data_set() {
    if !is_child() {
        return;
    }
    let print = |what: &str, data: igpt::Result<Dataset>| println!("@{what} {}", described(&data.unwrap()));
    print("fine", data::cifar100(Labels::Fine));
    print("coarse", data::cifar100(Labels::Coarse));
    print("stl10", data::stl10());
    println!("@unlabeled {}", json!(hex(&data::stl10_unlabeled().unwrap())));
    print("fashion", data::fashion_mnist_whole());
    print("imagenet", data::imagenet(8));
    let pets = data::Fetch::new("a/pets").image_column("photo").label_column("kind");
    print("large", pets.clone().config("large").rgb().load());
    print("small", pets.config("small").rgb().load());
    print("hub", data::hub("zalando-datasets/fashion_mnist"));
}

#[test]
fn each_data_set_is_one_call() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, data) = (cache(folder.path()), folder.path().join("data"));
    let output = in_a_process_of_its_own("layouts::child_reads_every_data_set", &hub, &data, true);
    let (out, errors) = said(&output);
    assert!(output.status.success(), "{out}{errors}");
    let read = |what: &str| -> Value {
        let line = out.lines().find_map(|line| line.strip_prefix(&format!("@{what} ")));
        serde_json::from_str(line.unwrap_or_else(|| panic!("{what}: {out}"))).unwrap()
    };
    for (what, name, channels, splits, labels) in [
        ("fine", "CIFAR-100", 3, ["cifar100 train", "cifar100 test"], "fine"),
        ("coarse", "CIFAR-100", 3, ["cifar100 train", "cifar100 test"], "coarse"),
        ("stl10", "STL-10", 3, ["stl10 train 0", "stl10 test 0"], "label"),
        ("fashion", "Fashion-MNIST", 1, ["fashion train", "fashion test"], "label"),
        ("large", "a/pets", 3, ["pets large train", "pets large val"], "kind"),
        ("small", "a/pets", 3, ["pets small train", "pets small val"], "kind"),
        ("hub", "zalando-datasets/fashion_mnist", 1, ["fashion train", "fashion test"], "label"),
    ] {
        let data = read(what);
        assert_eq!((&data["name"], &data["channels"]), (&json!(name), &json!(channels)), "{what}");
        assert!(data["train"] == expected(splits[0], labels), "{what}");
        assert!(data["test"] == expected(splits[1], labels), "{what}");
    }
    let classes = |what: &str, at: usize| read(what)["classes"][at].clone();
    assert_eq!((classes("fine", 99), classes("coarse", 19)), (json!("fine 99"), json!("coarse 19")));
    assert_eq!(classes("coarse", 20), Value::Null);
    assert_eq!((classes("stl10", 7), classes("fashion", 0)), (json!("monkey"), json!("T - shirt / top")));
    // Without names they are numbers, as many as there are labels.
    assert_eq!((classes("large", 300), classes("large", 301)), (json!("300"), Value::Null));
    let parts = [0, 1].map(|part| expected(&format!("stl10 unlabeled {part}"), "")["pixels"].clone());
    let parts: Vec<Value> = parts.iter().flat_map(|part| part.as_array().unwrap().clone()).collect();
    assert_eq!(read("unlabeled"), json!(parts));

    let imagenet = read("imagenet");
    assert_eq!((&imagenet["name"], &imagenet["channels"]), (&json!("ImageNet, 8 × 8"), &json!(3)));
    assert_eq!((classes("imagenet", 0), classes("imagenet", 999)), (json!("class 0"), json!("class 999")));
    assert!(imagenet["train"] == expected("imagenet train", "label"));
    let test = expected("imagenet validation", "label");
    assert_eq!(imagenet["test"]["labels"], test["labels"]);
    // Three of them are JPEG.
    assert_eq!(imagenet["test"]["pixels"], test["pixels"]);
    assert!(
        out.contains("STL-10: 10 training and 10 test images, 6 more without labels, 3 × 3, RGB (all PNG)")
    );
    assert_eq!(
        files(&data),
        [
            "a--pets-config=large-image=photo-label=kind-rgb-0123456789ab.igpt-data",
            "a--pets-config=small-image=photo-label=kind-rgb-0123456789ab.igpt-data",
            "cifar100-0123456789ab.igpt-data",
            "fashion-mnist-0123456789ab.igpt-data",
            "imagenet-8px-0123456789ab.igpt-data",
            "stl10-0123456789ab.igpt-data",
            "stl10-unlabeled-0123456789ab.igpt-data",
            "zalando-datasets--fashion_mnist-0123456789ab.igpt-data",
        ]
    );

    let (out, _) = said(&fetch(&hub, &data, &["--list"]).output().unwrap());
    assert!(out.contains("stl10-unlabeled") && out.contains("in the cache, prepared"), "{out}");
}

#[test]
fn what_is_missing_from_a_request_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, data) = (cache(folder.path()), folder.path().join("data"));
    for (arguments, expected) in [
        (&["imagenet"][..], "the images of ImageNet have many sizes: --side 32 makes all of them 32 × 32"),
        (&["imagenet", "--side", "0"], "--side is from 1 to 1024 pixels"),
        (
            &["ILSVRC/imagenet-1k"],
            "row 1: its image has 9 × 30 pixels, but the first one 20 × 11; --side makes",
        ),
        (&["cifar"], "there is no data set `cifar`; `igpt fetch --list` has the names"),
        (&["a/../b"], "there is no data set `a/../b`"),
        (&["a/pets"], "a/pets has several configurations: say --config large or small"),
        (&["a/pets", "--config", "x"], "a/pets has no configuration `x`; there are large, small"),
        (
            &["a/pets", "--config", "small"],
            "there is no column `image` or `img`; there are photo.bytes, photo.path, kind; --image-column and \
             --label-column name others",
        ),
        (
            &["a/pets", "--config", "small", "--image-column", "photo", "--label-column", "kind"],
            "row 1: its image has colours, but the first one is grey: --rgb makes all of them red-green-blue",
        ),
        (&["a/dogs"], "a/dogs is not in the Hugging Face cache"),
    ] {
        let error = failure(&mut fetch(&hub, &data, arguments));
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    assert!(!data.exists() || files(&data).is_empty());
}

/// ImageNet as it is published, but for the number of images.
fn imagenet(folder: &Path) -> PathBuf {
    let root = folder.join("imagenet");
    for (path, name) in [
        ("train/n02/b.JPEG", "jpeg"),
        ("train/n02/a.JPEG", "rgb"),
        ("train/n01/z.JPEG", "grey"),
        ("train/n10/x.JPEG", "jpeg, cmyk"),
        ("val/n01/v1.JPEG", "palette"),
        ("val/n02/v0.JPEG", "rgb"),
        ("val/n10/v3.JPEG", "jpeg, grey"),
    ] {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), image(name)).unwrap();
    }
    root
}

#[test]
#[ignore = "imagenet_is_read_from_its_folder starts it"]
fn child_reads_imagenet() {
    if is_child() {
        println!("@imagenet {}", described(&data::imagenet(3).unwrap()));
    }
}

#[test]
fn imagenet_is_read_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (root, data) = (imagenet(folder.path()), folder.path().join("data"));
    let nowhere = Path::new("/nowhere");
    let path = root.to_str().unwrap();
    let (out, errors) =
        said(&fetch(nowhere, &data, &["imagenet", "--side", "3", "--folder", path]).output().unwrap());
    let found = "ImageNet, 3 × 3: 4 training and 3 test images, 3 × 3, RGB (3 of them JPEG)";
    assert!(out.contains(&format!("{found}; decoded")), "{out}{errors}");
    // The same by the environment, and for any number of threads.
    let mut again = fetch(nowhere, &data, &["imagenet", "--side", "3"]);
    again.env("IGPT_IMAGENET", path);
    let (out, _) = said(&again.output().unwrap());
    assert!(out.contains(found) && out.contains(" is whole"), "{out}");
    let file = data.join(&files(&data)[0]);
    let good = fs::read(&file).unwrap();
    for threads in ["1", "3", "8"] {
        fs::remove_file(&file).unwrap();
        assert!(again.env("RAYON_NUM_THREADS", threads).status().unwrap().success());
        assert!(fs::read(&file).unwrap() == good);
    }

    let (out, _) = said(&in_a_process_of_its_own("layouts::child_reads_imagenet", nowhere, &data, false));
    let line =
        out.lines().find_map(|line| line.strip_prefix("@imagenet ")).unwrap_or_else(|| panic!("{out}"));
    let read: Value = serde_json::from_str(line).unwrap();
    assert_eq!(read["classes"], json!(["n01", "n02", "n10"]));
    assert_eq!(
        (&read["train"]["labels"], &read["test"]["labels"]),
        (&json!([0, 1, 1, 2]), &json!([0, 1, 2]))
    );
    // a.JPEG, which is PNG inside, comes before b.JPEG, and is the same image in both splits.
    assert_eq!(read["train"]["pixels"][1], read["test"]["pixels"][1]);

    fs::write(root.join("train/n02/c.JPEG"), &image("jpeg")[..700]).unwrap();
    let error = failure(&mut again);
    assert!(error.contains("train/n02/c.JPEG: its image is cut or damaged: "), "{error}");
    fs::remove_file(root.join("train/n02/c.JPEG")).unwrap();
    fs::remove_dir_all(root.join("val/n10")).unwrap();
    let error = failure(&mut again);
    assert!(error.contains("have not the same classes: only one has n10"), "{error}");
    fs::remove_dir_all(root.join("val")).unwrap();
    let error = failure(&mut again);
    assert!(error.contains("imagenet: holds no folder val"), "{error}");
    fs::create_dir_all(root.join("val")).unwrap();
    fs::write(root.join("val/ILSVRC2012_val_00000001.JPEG"), "x").unwrap();
    let error = failure(&mut again);
    assert!(
        error.contains(
            "val: holds images that are in no class's folder: ILSVRC2012_val_00000001.JPEG (1 in all)"
        ),
        "{error}"
    );
}

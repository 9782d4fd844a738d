//! Networks of a few steps, exported and loaded again.

use super::*;
use crate::device::Device;
use crate::experiment::{Data, PaletteFit, Profile};
use crate::model::View;
use crate::sample::{Sampling, sample};
use crate::store::Store;
use crate::train::{Length, Objective, WarmUp};
use crate::{data, experiment};
use std::fs;
use tempfile::TempDir;

/// A pre-training of the quick profile, in greys, small enough for a test.
fn tiny() -> Pretraining {
    let mut profile = Profile::named("quick").unwrap();
    profile.data.train_images = Some(60);
    profile.data.test_images = Some(20);
    (profile.model.layers, profile.model.width, profile.model.heads) = (2, 8, 2);
    (profile.training.length, profile.training.warm_up) = (Length::Steps(3), WarmUp::Steps(1));
    (profile.training.batch, profile.samples.after) = (4, vec![0]);
    Pretraining::of(&profile)
}

/// Images in colour, 8 × 8, of two classes, as `folder:PATH`.
fn in_colour(folder: &Path) -> Data {
    for split in ["train", "test"] {
        for class in ["a", "b"] {
            let place = folder.join(split).join(class);
            fs::create_dir_all(&place).unwrap();
            for number in 0..6_u8 {
                let bytes: Vec<u8> = (0..192_u8).map(|at| at.wrapping_mul(7 + number)).collect();
                image::RgbImage::from_raw(8, 8, bytes)
                    .unwrap()
                    .save(place.join(format!("{number}.png")))
                    .unwrap();
            }
        }
    }
    Data::of(format!("folder:{}", folder.display()), 4)
}

/// Stores, and where exports go.
fn place() -> (TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    let on = Workspace::new(Store::at(folder.path().join("store")), Device::cpu());
    (folder, on)
}

#[test]
fn a_network_of_greys_goes_out_and_comes_back_with_its_palette() {
    let (folder, on) = place();
    let (step, out) = (tiny(), folder.path().join("out"));
    let trained = step.run_on(&on).unwrap();
    let exported = step.export_on(&on, &out).unwrap();
    assert_eq!(exported.files, ["README.md", "config.json", "kmeans_centers.npy", "model.safetensors"]);
    assert!(!exported.was_there && exported.folder == out);
    let said = exported.to_string();
    for part in ["image processor cannot make tokens", "one of greys", "kmeans_centers.npy", "nats per token"]
    {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(fs::read_to_string(out.join("README.md")).unwrap(), exported.card.to_string());

    let again = Checkpoint::read(&out).unwrap();
    assert_eq!(again.parameters, trained.parameters);
    assert_eq!(again.palette, Some(step.palette.palette(&on).unwrap()));
    // It computes what it computed: samples, features, and the images of tokens.
    let mut network = on.network(again.config()).unwrap();
    let drawn = sample(network.as_mut(), &again.parameters, &[], 2, 0, &Sampling::default()).unwrap();
    let expected = sample(network.as_mut(), &trained.parameters, &[], 2, 0, &Sampling::default()).unwrap();
    assert_eq!(drawn, expected);
    let images = again.images(&drawn).unwrap();
    assert_eq!((images.len(), images[0].width(), images[0].channels()), (2, 14, 1));
    // The colour of a palette is its own nearest one.
    assert_eq!(again.tokens(&images).unwrap(), drawn);
    let features = network.features(&again.parameters, &drawn, View::Causal).unwrap();
    assert_eq!(features.len(), 2 * 3 * 8);

    // A second time there is nothing to do; and what somebody has changed stays.
    assert!(step.export_on(&on, &out).unwrap().was_there);
    fs::write(out.join("README.md"), "mine").unwrap();
    let error = step.export_on(&on, &out).unwrap_err().to_string();
    assert!(error.contains("its README.md is not what would be written"), "{error}");
    assert_eq!(fs::read_to_string(out.join("README.md")).unwrap(), "mine");
}

#[test]
fn the_card_says_what_is_known_and_nothing_else() {
    let (folder, on) = place();
    let step = tiny();
    let curve = step.run_on(&on).unwrap().curve;
    let provenance = on.store().provenance(&step.description(&on).unwrap()).unwrap().unwrap();
    let text = step.export_on(&on, &folder.path().join("out")).unwrap().card.to_string();
    let validation = curve.validation.last().unwrap();
    let sha256 = step.data.load().unwrap().checksum().to_owned();
    let origin = data::origin("fashion-mnist").unwrap();
    for fact in [
        "license:\n- mit\n- apache-2.0\n".to_owned(),
        "library_name: transformers\npipeline_tag: unconditional-image-generation\n---\n".to_owned(),
        "- zalando-datasets/fashion_mnist\n".to_owned(),
        "| Layers | 2 |\n| Width | 8 |\n| Attention heads | 2 |".to_owned(),
        format!("| Parameters | {} |", fixed(step.config().unwrap().parameters() as f64, 0).into_text()),
        "14 × 14 pixels, a sequence of 196 tokens".to_owned(),
        "16 greys, found by k-means in the images trained on, seed 1".to_owned(),
        "autoregressive: each token from those before it".to_owned(),
        "Fashion-MNIST (sample); images of 28 × 28 pixels, grey".to_owned(),
        origin.licence.unwrap(),
        "| Trained on | 54 images, without their labels |".to_owned(),
        "6 of the 60 training images, 10.0 %".to_owned(),
        "shifted at random by up to 4 pixels".to_owned(),
        format!("`{sha256}`"),
        "| Steps | 3 |\n| Batch | 4 images |\n| Images seen | 12: 0.22 epochs, 2,352 tokens |".to_owned(),
        format!("on a CPU, {} threads", provenance.threads),
        "β₁ 0.9, β₂ 0.95, ε 1e-8, no weight decay, gradients not clipped".to_owned(),
        "to 0.003 over 1 steps, then falls to zero by half a cosine".to_owned(),
        "| Precision | f32 |\n| Seed | 1,".to_owned(),
        "3 steps instead of 1000000 steps".to_owned(),
        format!(
            "**{:.4} nats per predicted token** after 3 steps, on the 6 training images that were held out",
            validation.loss
        ),
        format!("| Key of the result | `pre-training-{}` |", provenance.key),
        provenance.commit.clone().unwrap_or("not known".to_owned()),
        provenance.date.clone(),
        "ImageGPTForCausalImageModeling".to_owned(),
        "np.load(f\"{folder}/kmeans_centers.npy\")".to_owned(),
        "it is token 16, the last row".to_owned(),
        "Data::of(\"fashion-mnist\", 14)".to_owned(),
        "The weights: MIT OR Apache-2.0".to_owned(),
        "booktitle = {ICML}".to_owned(),
        "**Note:** transformers loads this network, but its image processor cannot".to_owned(),
    ] {
        assert!(text.contains(&fact), "the card does not say {fact:?}:\n{text}");
    }

    // Other settings, another text: nothing of the first is a constant.
    let mut other = step.clone().seed(3).learning_rate(0.001);
    other.training.length = Length::Epochs(1.5);
    other.training.warm_up = WarmUp::Epoch;
    (other.training.adam.weight_decay, other.training.adam.clip) = (0.01, Some(1.0));
    other.data = other.data.folded_back();
    other.palette = PaletteOf::Fit(PaletteFit { data: other.data.clone(), colours: 9, seed: 2 });
    other.run_on(&on).unwrap();
    let text = other.export_on(&on, &folder.path().join("other")).unwrap().card.to_string();
    for fact in [
        "9 greys, found by k-means in the images trained on, seed 2",
        "| Trained on | 60 images",
        "none: all training images were trained on",
        "| Steps | 23 |",
        "to 0.001 over 15 steps",
        "weight decay 0.01, gradients clipped to a norm of 1 |",
        "| Seed | 3,",
        "There is no validation loss",
        "it is token 9,",
    ] {
        assert!(text.contains(fact), "the card does not say {fact:?}:\n{text}");
    }
}

#[test]
fn a_network_in_colour_is_all_that_transformers_wants() {
    let (folder, on) = place();
    let images = folder.path().join("somebody's images");
    let mut step = tiny();
    step.data = in_colour(&images);
    step.palette = PaletteOf::Fit(PaletteFit { data: step.data.clone(), colours: 5, seed: 1 });
    step.run_on(&on).unwrap();
    let exported = step.export_on(&on, &folder.path().join("out")).unwrap();
    assert_eq!(exported.files, ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]);
    assert_eq!(exported.limits, [""; 0]);
    let again = Checkpoint::read(&exported.folder).unwrap();
    assert_eq!(again.palette, Some(step.palette.palette(&on).unwrap()));
    let text = exported.card.to_string();
    for fact in [
        "5 colours",
        "ImageGPTImageProcessor.from_pretrained",
        "| Licence | not known here |",
        "\"folder:PATH\"",
    ] {
        assert!(text.contains(fact), "the card does not say {fact:?}:\n{text}");
    }
    // Where the images lie is nobody's business.
    assert!(!text.contains(&*folder.path().to_string_lossy()) && !text.contains("**Note:**"), "{text}");
    assert!(!text.contains("datasets:"), "{text}");
}

#[test]
fn a_network_trained_by_berts_objective_says_that_transformers_computes_something_else() {
    let (folder, on) = place();
    let step = tiny().objective(Objective::Bert { mask: 0.2 });
    step.run_on(&on).unwrap();
    let exported = step.export_on(&on, &folder.path().join("out")).unwrap();
    assert!(exported.limits[0].contains("computes something else"), "{:?}", exported.limits);
    let text = exported.card.to_string();
    assert!(
        text.contains("each masked with probability 0.2") && text.contains("nats per masked token"),
        "{text}"
    );
    assert!(text.contains("View::Bidirectional(None)") && text.contains("infill("), "{text}");
    for absent in ["library_name", "pipeline_tag", "import torch"] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
}

#[test]
fn what_cannot_be_exported_is_said_and_nothing_is_computed() {
    let (folder, on) = place();
    let (step, out) = (tiny(), folder.path().join("out"));
    let key = step.key(&on).unwrap();
    let error = step.export_on(&on, &out).unwrap_err().to_string();
    for part in
        ["a network of 2 layers × 8", "the store", key.short(), "igpt export --compute", "IGPT_DEVICE"]
    {
        assert!(error.contains(part), "{error}");
    }
    assert!(!out.exists() && !on.store().folder().exists());

    // A damaged result is no reason to train.
    step.run_on(&on).unwrap();
    let file = on.store().folder().join(format!("pre-training-{}/result/parameters.bin", key.short()));
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[1..]).unwrap();
    let error = step.export_on(&on, &out).unwrap_err().to_string();
    assert!(error.contains("is damaged, and nothing is computed here") && !out.exists(), "{error}");
    // Its good twin.
    fs::write(&file, whole).unwrap();
    step.export_on(&on, &out).unwrap();

    let mut released = tiny();
    released.released = Profile::named("paper-s").ok().and_then(|profile| Pretraining::of(&profile).released);
    let error = released.export_on(&on, &out).unwrap_err().to_string();
    assert!(error.contains("imagegpt-small was trained and released by others"), "{error}");

    // Files of steps.
    let file = folder.path().join("step.json");
    let write = |step: AnyStep| fs::write(&file, step.to_json().unwrap()).unwrap();
    write(step.clone().into());
    assert_eq!(pretraining(&file).unwrap(), step);
    write(step.encoding(experiment::Split::Train).into());
    let error = pretraining(&file).unwrap_err().to_string();
    assert!(error.contains("a step of the kind tokens") && error.contains("step.json"), "{error}");
}

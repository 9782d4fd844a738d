//! What a model card says of a network. No number stands here: each comes from the network's step, its result, or its
//! provenance.

use super::card::ModelCard;
use super::facts::Facts;
use super::usage;
use crate::augment::Augmentation;
use crate::experiment::PaletteOf;
use crate::model::{Config, Precision};
use crate::show::{fixed, percent};
use crate::train::{Adam, Objective, Training};
use crate::{Result, paper};

/// The licences of this project, and so of networks that are trained with it.
const LICENCE: &str = env!("CARGO_PKG_LICENSE");

/// The model card of a network.
pub(super) fn card(facts: &Facts<'_>) -> Result<ModelCard> {
    let paper = paper::igpt()?;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let kind = if facts.is_causal() { "autoregressive" } else { "bert" };
    let Config { layers, width, .. } = facts.checkpoint.config();
    let text = [
        format!("# An image GPT of {layers} layers × {width}, pre-trained on {}", plain(&facts.set)),
        format!(
            "A network of the kind of *Generative Pretraining from Pixels*, trained by igpt, a reproduction of that paper in \
             Rust notebooks, {}. It is none of OpenAI's networks. An image goes through it as a sequence of tokens, each the \
             number of a colour in a palette, row by row from the top left.",
            facts.step.training.objective
        ),
        usage::limits(facts)
            .iter()
            .map(|limit| format!("**Note:** {limit}."))
            .collect::<Vec<_>>()
            .join("\n\n"),
        format!("## The network\n\n{}", table(network(facts))),
        format!("## The data\n\n{}", table(data(facts))),
        format!("## The training\n\n{}", table(training(facts))),
        format!("## How good it is\n\n{}", loss(facts)),
        format!("## Where it comes from\n\n{}", origin(facts)),
        format!("## How to use it\n\n{}", usage::usage(facts)),
        format!("## What it is not good for\n\n{}", not_good_for(facts)),
        format!("## Licence\n\n{}", licence(facts)),
        format!("## Citation\n\n{}\n\n```bibtex\n{}\n```", paper.citation(), paper.bibtex()),
    ];
    Ok(ModelCard {
        // `MIT OR Apache-2.0`, as the hub writes it.
        license: LICENCE.split(" OR ").map(str::to_lowercase).collect(),
        // transformers would compute something else with a network that sees all tokens.
        library_name: facts.is_causal().then(|| "transformers".to_owned()),
        pipeline_tag: facts.is_causal().then(|| "unconditional-image-generation".to_owned()),
        tags: words(&["imagegpt", "image-gpt", "vision", "igpt", kind]),
        datasets: facts.origin.repository.iter().cloned().collect(),
        text: text.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n"),
    })
}

fn network(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let config @ Config { layers, width, heads, context, .. } = facts.checkpoint.config();
    let side = facts.step.data.side;
    let (palette, colours) = facts.palette();
    let count = palette.map_or(config.vocabulary, |palette| palette.len());
    let found = match &facts.step.palette {
        PaletteOf::Fit(fit) => {
            format!("{count} {colours}, found by k-means in the images trained on, seed {}", fit.seed)
        }
        PaletteOf::Released(name) => format!("{count} {colours}, those of {}", plain(name)),
    };
    vec![
        ("Layers", layers.to_string()),
        ("Width", width.to_string()),
        ("Attention heads", heads.to_string()),
        ("Parameters", whole(config.parameters())),
        ("Images", format!("{side} × {side} pixels, a sequence of {} tokens", whole(context))),
        ("Palette", found),
        (
            "Objective",
            match facts.step.training.objective {
                Objective::Autoregressive => {
                    "autoregressive: each token from those before it, the first from a start-of-sequence \
                                              (SOS) token"
                        .to_owned()
                }
                Objective::Bert { mask } => format!(
                    "BERT's: masked tokens from all others, each masked with probability {mask}; every position sees all"
                ),
            },
        ),
    ]
}

fn data(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let (data, [width, height, channels]) = (&facts.step.data, facts.size);
    let colours = if channels == 1 { "grey" } else { "in colour" };
    let held_out = match facts.held_out {
        0 => "none: all training images were trained on".to_owned(),
        held_out => format!(
            "{} of the {} training images, {}, drawn at random, always the same ones",
            whole(held_out),
            whole(facts.images),
            percent(held_out as f64 / facts.images as f64, 1).into_text()
        ),
    };
    let mut rows =
        vec![("Data set", format!("{}; images of {width} × {height} pixels, {colours}", plain(&facts.set)))];
    if let Some(repository) = &facts.origin.repository {
        rows.push(("On the hub", hub_link(repository)));
    }
    if let Some(source) = &facts.origin.source {
        rows.push(("Taken from", plain(source)));
    }
    rows.push(("Licence", plain(&data_licence(facts))));
    rows.push(("Trained on", format!("{} images, without their labels", whole(facts.trained_on))));
    rows.push(("Held out to validate with", held_out));
    rows.push((
        "Augmentation",
        format!("{}; then {side} × {side} pixels", augmentation(data.augmentation), side = data.side),
    ));
    if let Some(sha256) = &facts.provenance.data_sha256 {
        let of =
            "of the pixels and labels of all training and test images that were read, and the classes' names";
        rows.push(("SHA-256", format!("`{sha256}`, {of}")));
    }
    rows
}

/// The page of a data set. A name that the hub cannot have is no link.
fn hub_link(repository: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    match repository.chars().all(is_name) {
        true => format!("[{}](https://huggingface.co/datasets/{repository})", plain(repository)),
        false => plain(repository),
    }
}

/// What is known of the data's licence.
fn data_licence(facts: &Facts<'_>) -> String {
    match (&facts.origin.licence, &facts.origin.repository) {
        (Some(licence), _) => licence.clone(),
        (None, Some(_)) => "not known here; the data set's page may say it".to_owned(),
        (None, None) => "not known here".to_owned(),
    }
}

/// How images were changed while training.
fn augmentation(how: Augmentation) -> String {
    match how {
        Augmentation::None => "none".to_owned(),
        Augmentation::RandomTranslation { shift, pool } => format!(
            "mirrored at random, shifted at random by up to {shift} pixels to either side and up or down, and each square of \
             {pool} × {pool} pixels replaced by its mean"
        ),
        Augmentation::Crop { padding } => format!(
            "padded by reflection by {padding} pixels on every side, mirrored at random, and cropped at random to the size it had"
        ),
        Augmentation::ResizedCrop { shorter: [least, most], crop } => format!(
            "resized at random to a shorter side of {least} to {most} pixels, and a random square of {crop} pixels of that"
        ),
    }
}

fn training(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let training @ Training { batch, learning_rate, adam, .. } = &facts.step.training;
    let provenance = facts.provenance;
    let seen = facts.steps.saturating_mul(*batch as u64);
    let tokens = seen.saturating_mul(facts.checkpoint.config().context as u64);
    let Adam { beta_1, beta_2, epsilon, weight_decay, clip } = adam;
    let then = if training.cosine { "then falls to zero by half a cosine" } else { "then stays there" };
    let precision = match training.precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "factors of matrix products in bf16, everything else in f32",
        Precision::Tf32 => "factors of matrix products in TF32, everything else in f32",
    };
    let mut rows = vec![
        ("Steps", whole(facts.steps)),
        ("Batch", format!("{} images", whole(*batch))),
        (
            "Images seen",
            format!(
                "{}: {} epochs, {} tokens",
                whole(seen),
                fixed(seen as f64 / facts.trained_on as f64, 2).into_text(),
                whole(tokens)
            ),
        ),
        (
            "Wall time",
            format!(
                "{} on {}, {} threads; if the training was interrupted, since it was last continued",
                duration(provenance.wall_ms),
                device(&provenance.device),
                provenance.threads
            ),
        ),
        (
            "Optimiser",
            format!(
                "Adam, β₁ {beta_1}, β₂ {beta_2}, ε {epsilon:e}, {}, {}",
                match weight_decay {
                    0.0 => "no weight decay".to_owned(),
                    decay => format!("weight decay {decay}"),
                },
                clip.map_or("gradients not clipped".to_owned(), |clip| format!(
                    "gradients clipped to a norm of {clip}"
                ))
            ),
        ),
        (
            "Learning rate",
            format!(
                "rises in a straight line to {learning_rate} over {} steps, {then}",
                whole(facts.warm_up)
            ),
        ),
        ("Precision", precision.to_owned()),
        (
            "Seed",
            format!("{}, of the network's start, the order of images, and their augmentation", training.seed),
        ),
    ];
    let differences = training.differences();
    if !differences.is_empty() {
        rows.push(("Unlike the paper's", differences.join("; ")));
    }
    rows
}

/// A device as people write it.
fn device(kind: &str) -> &str {
    if kind == "cpu" { "a CPU" } else { kind }
}

fn loss(facts: &Facts<'_>) -> String {
    let masked = if facts.is_causal() { "predicted token" } else { "masked token" };
    let mut text = match facts.validation {
        Some(point) => format!(
            "Validation loss: **{:.4} nats per {masked}** after {} steps, on the {} training images that were held out, which are \
             not test images.",
            point.loss,
            whole(point.step),
            whole(facts.held_out)
        ),
        None => "There is no validation loss: all training images were trained on, after every choice had been made.".to_owned(),
    };
    if let Some(point) = facts.training {
        text += &format!(
            " Training loss: {:.4} nats per {masked}, the mean of the last steps before step {}.",
            point.loss,
            whole(point.step)
        );
    }
    text + " A network that knows nothing has the logarithm of the number of colours."
        + &format!(" Here that is {:.4}.", (facts.checkpoint.config().vocabulary as f64).ln())
}

fn origin(facts: &Facts<'_>) -> String {
    let provenance = facts.provenance;
    let commit = provenance.commit.as_ref().map_or("not known".to_owned(), |commit| format!("`{commit}`"));
    table(vec![
        ("Key of the result", format!("`{}-{}`", provenance.step, provenance.key)),
        ("Finished", provenance.date.clone()),
        ("Library", format!("igpt {}", provenance.version)),
        ("Commit", commit),
    ]) + "\n\nThe key covers every setting, the data, the device, and the sources that computed the result; these may have been \
          changed since the commit."
}

fn not_good_for(facts: &Facts<'_>) -> String {
    let (_, colours) = facts.palette();
    format!(
        "It was trained to see which of the paper's findings hold with {} parameters and {} steps. It knows images of {side} × {side} \
         pixels in {} {colours} that are like those it was trained on, and no others. It was not examined for anything else: not for \
         images that are to be looked at, and not for decisions, about people least of all. What its data shows one-sidedly it has \
         learnt one-sidedly.",
        whole(facts.checkpoint.config().parameters()),
        whole(facts.steps),
        whole(facts.checkpoint.config().vocabulary),
        side = facts.step.data.side
    )
}

fn licence(facts: &Facts<'_>) -> String {
    format!(
        "The weights: {LICENCE}, as the project that trained them. The data they were trained on has a licence of its own: {}.",
        plain(&data_licence(facts))
    )
}

/// A table of two columns in Markdown.
fn table(rows: Vec<(&'static str, String)>) -> String {
    let lines = rows.into_iter().map(|(name, value)| format!("| {name} | {} |", value.replace('|', "\\|")));
    std::iter::once("| | |\n|---|---|".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

/// A name from elsewhere, so that nothing in it is Markdown.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' => plain.extend(['\\', c]),
            c if c.is_control() => plain.push(' '),
            c => plain.push(c),
        }
    }
    plain
}

/// A whole number: `1,024`.
fn whole(number: impl TryInto<u64>) -> String {
    fixed(number.try_into().map_or(f64::NAN, |number| number as f64), 0).into_text()
}

/// How long something took.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) => format!("{:.1} s", ms as f64 / 1000.0),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_markdown_and_numbers_are_readable() {
        assert_eq!(plain("a_b <c>\n[d](e) `f` #1"), "a\\_b \\<c\\> \\[d\\](e) \\`f\\` \\#1");
        assert_eq!(table(vec![("a", "b|c".into())]), "| | |\n|---|---|\n| a | b\\|c |");
        assert_eq!((whole(606_080_usize), whole(7_u64)), ("606,080".to_owned(), "7".to_owned()));
        assert_eq!(
            [1_234, 83_000, 7_384_000].map(duration),
            ["1.2 s".to_owned(), "1 min 23 s".to_owned(), "2 h 03 min".to_owned()]
        );
    }

    #[test]
    fn augmentations_say_their_settings() {
        for (how, said) in [
            (Augmentation::None, "none"),
            (
                Augmentation::random_translation(),
                "by up to 4 pixels to either side and up or down, and each square of 2 × 2",
            ),
            (Augmentation::cifar(), "by 4 pixels on every side"),
            (
                Augmentation::imagenet(),
                "a shorter side of 256 to 384 pixels, and a random square of 224 pixels",
            ),
        ] {
            assert!(augmentation(how).contains(said), "{}", augmentation(how));
        }
    }
}

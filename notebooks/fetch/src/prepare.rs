//! From a plan to a file: every image is decoded, and written at once.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use igpt_formats::{
    data_file::{Header, LabelSet},
    request::Request,
};

use super::{
    count,
    plan::{Plan, Planned},
    say,
    writer::{self, Writer},
};

/// Makes the file that the library reads, in the folder `data`; a good one is left as it is.
///
/// # Errors
/// If an image or a label is not as it should be, or the file cannot be written.
pub(super) fn prepare(request: &Request, plan: Plan, data: &Path) -> Result<PathBuf> {
    let begun = Instant::now();
    let stem = request.stem();
    let _lock = writer::lock(data, &stem)?;
    let Plan { title, dataset, revision, label_sets, sources, splits, wanted, is_uniform } = plan;
    let short = revision.get(..12).unwrap_or(&revision).to_owned();
    let mut header = Header::of(&dataset, &revision, label_sets, sources);
    let path = data.join(format!("{stem}-{short}.igpt-data"));
    if let Some(there) = writer::intact(&path, &header)? {
        say(format_args!("{}; {} is whole", found(&there), path.display()));
        return Ok(path);
    }

    say(format_args!("{stem}: decoding revision {short} of {dataset}"));
    let images: usize = splits.iter().map(|split| split.source.total()).sum();
    let mut writer = Writer::new(&path, &header)?;
    let mut size = None;
    for Planned { name, is_labelled, mut source } in splits {
        let sets: &[LabelSet] = if is_labelled { &header.label_sets } else { &[] };
        let classes: Vec<usize> = sets.iter().map(|set| set.classes.len()).collect();
        let seen = source.decode(wanted, &classes, size, &format!("{stem}: {name}"), |pixels| {
            writer.expect(pixels.len() as u64 * images as u64);
            writer.write(pixels)
        })?;
        writer.end(name, None);
        size = seen.size;
        for (set, labels) in sets.iter().zip(&seen.labels) {
            if is_uniform {
                check_even(labels, &set.classes).with_context(|| format!("the {name} split of {dataset}"))?;
            }
            writer.write(&labels.iter().flat_map(|label| label.to_le_bytes()).collect::<Vec<_>>())?;
            writer.end(name, Some(&set.name));
        }
        header.jpeg += seen.jpeg;
    }
    let Some((height, width, channels)) = size else { bail!("there is no image in {dataset}") };
    (header.height, header.width, header.channels) = (height, width, channels);
    // Compression changed the pixels: it is not the data set that others' results are of.
    header.name = if is_uniform && header.jpeg > 0 { format!("{title} (JPEG copy)") } else { title };
    let header = writer.finish(header)?;
    say(format_args!(
        "{}; decoded and written to {} in {:.1} s",
        found(&header),
        path.display(),
        begun.elapsed().as_secs_f64()
    ));
    Ok(path)
}

/// `CIFAR-10 (JPEG copy): 50,000 training and 10,000 test images, 32 × 32, RGB (60,000 of them JPEG)`
fn found(header: &Header) -> String {
    let jpeg = match header.jpeg {
        0 => "all PNG".to_owned(),
        jpeg => format!("{} of them JPEG", count(jpeg)),
    };
    let images = |split: &str| usize::try_from(header.images(split)).unwrap_or(usize::MAX);
    let unlabeled = match images("unlabeled") {
        0 => String::new(),
        more => format!(", {} more without labels", count(more)),
    };
    format!(
        "{}: {} training and {} test images{unlabeled}, {} × {}, {} ({jpeg})",
        header.name,
        count(images("train")),
        count(images("test")),
        header.width,
        header.height,
        if header.channels == 1 { "grey" } else { "RGB" },
    )
}

/// The classes of a uniform data set are equally frequent in both splits, whatever part of it a file says to be.
fn check_even(labels: &[u16], classes: &[String]) -> Result<()> {
    let mut counts = vec![0; classes.len()];
    labels.iter().for_each(|label| counts[usize::from(*label)] += 1);
    if counts.windows(2).all(|two| two[0] == two[1]) {
        return Ok(());
    }
    let each: Vec<_> = classes.iter().zip(counts).map(|(class, n)| format!("{class} {}", count(n))).collect();
    bail!("its classes are not equally frequent, so it is not whole: {}", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uneven_classes_are_refused() {
        let even: Vec<u16> = (0..3).cycle().take(9).collect();
        let classes = ["cat", "dog", "cow"].map(String::from);
        check_even(&even, &classes).unwrap();
        let error = check_even(&even[..8], &classes).unwrap_err().to_string();
        assert!(error.ends_with("so it is not whole: cat 3, dog 3, cow 2"), "{error}");
    }
}

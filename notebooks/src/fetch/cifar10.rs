//! CIFAR-10 from the hub's `uoft-cs/cifar10`.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use super::{
    count,
    hub::{self, Snapshot},
    prepared::{self, Header, Source},
    rows::{self, Rows},
    say,
};

const NAME: &str = "cifar10";
const REPOSITORY: &str = "uoft-cs/cifar10";
const FOLDER: &str = "plain_text";
/// Labels 0 to 9, as the repository names them.
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Makes the file that the library reads, in the folder `data`, from the cache `hub`; a good one is left as it is.
///
/// # Errors
/// If the data set is not in the cache, is damaged there, or the file cannot be written.
pub(super) fn prepare(hub: &Path, data: &Path) -> Result<PathBuf> {
    let begun = Instant::now();
    let snapshot = Snapshot::find(hub, REPOSITORY)?;
    let [train_files, test_files] = [snapshot.shards(FOLDER, "train")?, snapshot.shards(FOLDER, "test")?];
    let _lock = prepared::lock(data, NAME)?;

    let sources = train_files.iter().chain(&test_files).map(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(Source { file: format!("{FOLDER}/{name}"), sha256: hub::sha256(file)? })
    });
    let sources = sources.collect::<Result<Vec<_>>>()?;
    let mut header = Header::of(REPOSITORY, &snapshot.revision, &CLASSES, sources);
    let path = data.join(format!("{NAME}-{}.igpt-data", &snapshot.revision[..12]));
    if let Some(there) = prepared::intact(&path, &header)? {
        say(format_args!("{}; {} is whole", found(&there), path.display()));
        return Ok(path);
    }

    say(format_args!("{NAME}: decoding revision {} from {}", &snapshot.revision[..12], hub.display()));
    let split = |files: &[PathBuf], name: &str| -> Result<Rows> {
        let rows = rows::read(files, &CLASSES, &format!("{NAME}: {name}"))?;
        check_even(&rows.labels).with_context(|| format!("the {name} split of {REPOSITORY}"))?;
        Ok(rows)
    };
    let (train, test) = (split(&train_files, "train")?, split(&test_files, "test")?);
    if (train.height, train.width) != (test.height, test.width) {
        bail!(
            "the training pictures of {REPOSITORY} have {} × {} pixels, but the test pictures {} × {}",
            train.width,
            train.height,
            test.width,
            test.height
        );
    }
    let jpeg = train.jpeg + test.jpeg;
    let body: [&[u8]; 4] = [&train.pixels, &train.labels, &test.pixels, &test.labels];
    // Compression changed the pixels: it is not the data set that others' results are of.
    header.name = if jpeg > 0 { "CIFAR-10 (JPEG copy)" } else { "CIFAR-10" }.into();
    (header.height, header.width, header.channels) = (train.height, train.width, 3);
    (header.train, header.test, header.jpeg) = (train.labels.len(), test.labels.len(), jpeg);
    let header = header.complete(&body);
    let decoded = begun.elapsed();
    prepared::write(&path, &header, &body)?;
    say(format_args!(
        "{}; decoded in {:.1} s, written to {} in {:.1} s",
        found(&header),
        decoded.as_secs_f64(),
        path.display(),
        (begun.elapsed() - decoded).as_secs_f64()
    ));
    Ok(path)
}

/// `CIFAR-10 (JPEG copy): 50,000 training and 10,000 test pictures, 32 × 32, RGB (60,000 of them JPEG)`
fn found(header: &Header) -> String {
    let jpeg = match header.jpeg {
        0 => "all PNG".to_owned(),
        jpeg => format!("{} of them JPEG", count(jpeg)),
    };
    format!(
        "{}: {} training and {} test pictures, {} × {}, RGB ({jpeg})",
        header.name,
        count(header.train),
        count(header.test),
        header.width,
        header.height,
    )
}

/// The classes of CIFAR-10 are equally frequent in both splits, whatever part of it a file says to be.
fn check_even(labels: &[u8]) -> Result<()> {
    let counts: Vec<usize> =
        (0u8..10).map(|class| labels.iter().filter(|label| **label == class).count()).collect();
    if counts.windows(2).all(|two| two[0] == two[1]) {
        return Ok(());
    }
    let each: Vec<_> = CLASSES.iter().zip(counts).map(|(class, n)| format!("{class} {}", count(n))).collect();
    bail!("its classes are not equally frequent, so it is not whole: {}", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uneven_classes_are_refused() {
        let even: Vec<u8> = (0..10).cycle().take(30).collect();
        check_even(&even).unwrap();
        let error = check_even(&even[..29]).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "airplane 3, automobile 3, bird 3, cat 3, deer 3, dog 3, frog 3, horse 3, ship 3, truck 2"
            ),
            "{error}"
        );
    }
}

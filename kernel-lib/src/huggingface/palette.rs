//! The palette beside a network: in `preprocessor_config.json` where transformers' image processor can use it, else in
//! `kmeans_centers.npy`, the form in which OpenAI published theirs.

use crate::model::Config;
use crate::palette::Palette;
use crate::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What transformers reads.
const THEIRS: &str = "preprocessor_config.json";
/// What holds any palette: (k, channels) numbers in f32. transformers does not look at it, NumPy reads it.
pub(super) const ANY: &str = "kmeans_centers.npy";

/// Why transformers' image processor cannot make tokens by this palette for this network; none if it can.
pub(super) fn obstacle(palette: &Palette, config: &Config) -> Option<&'static str> {
    let side = config.context.isqrt();
    if palette.channels() != 3 {
        return Some("it takes images in red, green and blue, and this palette is one of greys");
    }
    (side * side != config.context).then_some("it makes square images, and this network's are not square")
}

/// The palette in a folder, if there is one, for this network.
pub(super) fn read(folder: &Path, config: &Config) -> Result<Option<Palette>> {
    let any = read_file(folder.join(ANY), config, |path| Palette::read_npy(path))?;
    let theirs = read_file(folder.join(THEIRS), config, |path| Palette::read_preprocessor_config(path))?;
    match (any, theirs) {
        // Nobody could say which of two the network was trained with.
        (Some(any), Some(theirs)) if any != theirs => Err(Error::format(
            folder.join(ANY),
            format!(
                "another palette than that of {THEIRS} beside it: remove the one that is not this network's"
            ),
        )),
        (any, theirs) => Ok(any.or(theirs)),
    }
}

fn read_file(
    path: PathBuf,
    config: &Config,
    read: impl FnOnce(&Path) -> Result<Palette>,
) -> Result<Option<Palette>> {
    if !path.exists() {
        return Ok(None);
    }
    let palette = read(&path)?;
    if palette.len() == config.vocabulary {
        return Ok(Some(palette));
    }
    let what = format!(
        "a palette of {} colours beside a network of {}: the files are not of one checkpoint",
        palette.len(),
        config.vocabulary
    );
    Err(Error::format(path, what))
}

/// Writes the palette, if it is known, into the file for it. Another palette that lies there from an earlier checkpoint is
/// removed, so that what is read is what was written.
pub(super) fn write(palette: Option<&Palette>, config: &Config, folder: &Path) -> Result<()> {
    let (any, theirs) = (folder.join(ANY), folder.join(THEIRS));
    let left = match palette {
        Some(palette) if obstacle(palette, config).is_none() => {
            palette.write_preprocessor_config(&theirs, config.context.isqrt())?;
            vec![any]
        }
        Some(palette) => {
            palette.write_npy(&any)?;
            vec![theirs]
        }
        None => vec![any, theirs],
    };
    for path in left {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(path, e)),
            _ => {}
        }
    }
    Ok(())
}

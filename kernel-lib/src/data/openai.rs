//! OpenAI's palette, where it is at hand.

use crate::{Result, hub, palette::Palette};
use std::path::PathBuf;

/// The 512 colours that OpenAI published with its models, if a copy is on this machine: the file that `IGPT_PALETTE`
/// names (`.npy`, or a `preprocessor_config.json`), else one in the Hugging Face cache (`HF_HUB_CACHE`, else
/// `HF_HOME/hub`, else `~/.cache/huggingface/hub`), where the processors of `openai/imagegpt-small`, `-medium` and
/// `-large` have it. `None` if there is none: it is not part of this repository.
///
/// # Errors
/// If a file that was found, or named, is not a palette.
pub fn openai_palette() -> Result<Option<Palette>> {
    if let Some(file) = hub::set("IGPT_PALETTE") {
        return read(file).map(Some);
    }
    let Some(cache) = hub::cache() else { return Ok(None) };
    for size in ["small", "medium", "large"] {
        let snapshots = cache.join(format!("models--openai--imagegpt-{size}")).join("snapshots");
        for snapshot in std::fs::read_dir(snapshots).into_iter().flatten().flatten() {
            let file = snapshot.path().join("preprocessor_config.json");
            if file.is_file() {
                return read(file).map(Some);
            }
        }
    }
    Ok(None)
}

fn read(file: PathBuf) -> Result<Palette> {
    if file.extension().is_some_and(|ending| ending == "json") {
        Palette::read_preprocessor_config(file)
    } else {
        Palette::read_npy(file)
    }
}

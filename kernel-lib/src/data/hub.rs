//! Where the Hugging Face hub's clients keep what they downloaded.

use std::path::PathBuf;

/// The value of an environment variable, if it is set and not empty.
pub(crate) fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The cache directory of the hub's own Python client: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
/// `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`. `None` without a home.
pub(crate) fn cache() -> Option<PathBuf> {
    let user = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let home = || set("HF_HOME").or_else(|| user().map(|cache| cache.join("huggingface")));
    set("HF_HUB_CACHE").or_else(|| home().map(|home| home.join("hub")))
}

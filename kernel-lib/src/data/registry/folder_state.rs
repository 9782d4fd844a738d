//! Whether the images of a folder are still those that were read: what the file system says of them. Nothing is read for it.

use sha2::{Digest as _, Sha256};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How deep images lie: `train/CLASS/x.png`.
const DEPTH: usize = 3;

/// Another one after every change of a file in the folder, also of an image that is replaced by one of the same length and given its
/// date: no program can set the time of the last change of an inode (`ctime`). What cannot be listed is left out; who reads the folder
/// says so.
pub(super) fn folder_state(folder: &Path) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut folders = vec![(folder.to_owned(), 1)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            // Of a link: of what it leads to.
            let Ok(found) = path.metadata() else { continue };
            if !found.is_dir() {
                hash.update(path.as_os_str().as_encoded_bytes());
                stamp(&found).iter().for_each(|number| hash.update(number.to_le_bytes()));
            } else if depth < DEPTH {
                folders.push((path, depth + 1));
            }
        }
    }
    hash.finalize().into()
}

fn stamp(found: &Metadata) -> [i64; 6] {
    let [inode, length] = [found.ino(), found.len()].map(u64::cast_signed);
    [inode, length, found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()]
}

//! Whether the images of a folder are still those that were read: what the file system says of them. Nothing is read for it.

use igpt_formats::image_folder::{classes, images};
use sha2::{Digest as _, Sha256};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Another one after every change of an image that `data::folder` reads, also of one that is replaced by another of the
/// same length and given its date: no program can set the time of the last change of an inode (`ctime`). What cannot be listed is left
/// out; who reads the folder says so.
pub(super) fn folder_state(folder: &Path) -> [u8; 32] {
    let mut hash = Sha256::new();
    for split in ["train", "test"] {
        let split = folder.join(split);
        for class in classes(&split).unwrap_or_default() {
            let class = split.join(class);
            for image in images(&class).unwrap_or_default() {
                let path = class.join(image.path);
                let Ok(found) = path.metadata() else { continue };
                hash.update(path.as_os_str().as_encoded_bytes());
                stamp(&found).iter().for_each(|number| hash.update(number.to_le_bytes()));
            }
        }
    }
    hash.finalize().into()
}

fn stamp(found: &Metadata) -> [i64; 6] {
    let [inode, length] = [found.ino(), found.len()].map(u64::cast_signed);
    [inode, length, found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()]
}

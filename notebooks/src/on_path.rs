//! How to have `igpt` in every folder: the script `igpt` in the checkout is the command, and works by a link, too.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// Says how the checkout's `igpt` gets into the `PATH`; nothing if it is there.
pub fn offer(root: &Path) -> Option<String> {
    let home = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    of(root, &env::var_os("PATH").unwrap_or_default(), home.as_deref())
}

fn of(root: &Path, path: &OsStr, home: Option<&Path>) -> Option<String> {
    let script = root.join("igpt");
    let own = script.canonicalize().ok()?;
    let folders: Vec<PathBuf> = env::split_paths(path).filter(|folder| folder.is_absolute()).collect();
    let found = folders.iter().map(|folder| folder.join("igpt")).find(|file| file.is_file());
    if found.as_ref().is_some_and(|found| found.canonicalize().is_ok_and(|found| found == own)) {
        return None;
    }
    let begin = format!("This is ./igpt in {}; to have it in every folder:", root.display());
    // Where a user's own programs usually lie, if the shell looks there; not where another `igpt` would be hidden.
    let usual = [".local/bin", "bin", ".cargo/bin"].map(|folder| home.map(|home| home.join(folder)));
    let place = usual.into_iter().flatten().find(|folder| found.is_none() && folders.contains(folder));
    Some(match place {
        Some(folder) => format!("{begin} ln -s {} {}", quoted(&script), quoted(&folder.join("igpt"))),
        None => format!("{begin} export PATH={}:\"$PATH\"", quoted(root)),
    })
}

/// As a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_link_is_offered_where_the_shell_looks() {
        let folder = tempfile::tempdir().unwrap();
        let (root, home) = (folder.path().join("a checkout"), folder.path().join("home"));
        let bin = home.join(".local/bin");
        for made in [&root, &bin] {
            fs::create_dir_all(made).unwrap();
        }
        // A checkout without the script has nothing to offer.
        assert_eq!(of(&root, "/usr/bin".as_ref(), Some(&home)), None);
        fs::write(root.join("igpt"), "").unwrap();
        let said = |path: &[&Path]| of(&root, &env::join_paths(path).unwrap(), Some(&home));

        let link = said(&[Path::new("/usr/bin"), &bin]).unwrap();
        let expected = format!("ln -s '{}/igpt' {}/igpt", root.display(), bin.display());
        assert!(link.ends_with(&expected), "{link}");
        let path = said(&[Path::new("/usr/bin")]).unwrap();
        assert!(path.ends_with(&format!("export PATH='{}':\"$PATH\"", root.display())), "{path}");
        assert!(of(&root, "/usr/bin".as_ref(), None).unwrap().contains("export PATH="));

        // It is there, by a link or because the checkout itself is in the path.
        std::os::unix::fs::symlink(root.join("igpt"), bin.join("igpt")).unwrap();
        assert_eq!(said(&[Path::new("/usr/bin"), &bin]), None);
        assert_eq!(said(&[&root]), None);
        // Another checkout's comes first: a link beside it would change nothing.
        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("igpt"), "").unwrap();
        assert!(said(&[&other, &bin]).unwrap().contains("export PATH="));
    }
}

//! What Jupyter knows of the kernel.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Finding;
use crate::{dirs, setup};

const WHAT: &str = "kernelspec";

/// Installed, starting an existing program that is this one, with this checkout.
pub fn findings(root: &Path) -> Vec<Finding> {
    let folder = match setup::kernelspec_folder() {
        Ok(folder) => folder,
        Err(error) => {
            return vec![Finding::problem(WHAT, format!("{error:#}"), "set JUPYTER_DATA_DIR to a folder")];
        }
    };
    let own = std::env::current_exe().and_then(fs::read).map(|bytes| sha256(&bytes)).ok();
    let mut findings = vec![look(&folder.join("kernel.json"), own.as_deref(), root)];
    if let Ok(Some(path)) = dirs::jupyter_path() {
        findings.push(Finding::note(
            WHAT,
            format!("Jupyter's own folder cannot be written; it is in {}", folder.display()),
            format!("`igpt lab` knows; for other clients: export JUPYTER_PATH='{}'", path.display()),
        ));
    }
    findings
}

/// `own` is the hash of this program.
fn look(file: &Path, own: Option<&str>, root: &Path) -> Finding {
    let problem = |seen: String| Finding::problem(WHAT, seen, "igpt setup");
    let Ok(text) = fs::read_to_string(file) else {
        return problem(format!("not installed: {} is missing", file.display()));
    };
    let Ok(spec) = serde_json::from_str::<Value>(&text) else {
        return problem(format!("{} is not JSON", file.display()));
    };
    if spec["metadata"]["igpt"].is_null() {
        return problem(format!("{} is not ours", file.display()));
    }
    let words: Vec<&str> = spec["argv"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(program) = words.first().map(PathBuf::from) else {
        return problem(format!("{} starts nothing", file.display()));
    };
    let Ok(bytes) = fs::read(&program) else {
        return problem(format!("it starts {}, which is not there", program.display()));
    };
    if !is_executable(&program) {
        return problem(format!("it starts {}, which is not executable", program.display()));
    }
    let noted = spec["metadata"]["igpt"]["sha256"].as_str().unwrap_or_default();
    if noted != sha256(&bytes) {
        return problem(format!("{} is not the program that was installed", program.display()));
    }
    let version = spec["metadata"]["igpt"]["version"].as_str().unwrap_or("unknown");
    if own.is_some_and(|own| own != noted) {
        return Finding::note(
            WHAT,
            format!("it starts another build of igpt (version {version}) than this one"),
            "igpt setup",
        );
    }
    let named = words.iter().position(|word| *word == "--root").and_then(|at| words.get(at + 1));
    match named.map(Path::new) {
        Some(named) if !named.is_dir() => problem(format!(
            "its checkout {} is not there any more: notebooks outside a checkout have no library",
            named.display()
        )),
        Some(named) if same(named, root) => {
            Finding::ok(WHAT, format!("installed, version {version}, for this checkout"))
        }
        Some(named) => Finding::note(
            WHAT,
            format!("notebooks outside a checkout get the library of {}", named.display()),
            "to give them this one's: igpt setup",
        ),
        None => problem(format!("{} names no checkout", file.display())),
    }
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn is_executable(program: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(program).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Health;

    /// A kernelspec as setup writes it, in a folder of its own, changed by `change`.
    fn looked(change: impl FnOnce(&Path, &mut Value)) -> Finding {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        let (program, root) = (place.path().join("igpt"), place.path().join("checkout"));
        fs::create_dir(&root).unwrap();
        fs::write(&program, "program").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let own = sha256(b"program");
        let mut spec = json!({
            "argv": [program, "kernel", "--connection-file", "{connection_file}", "--root", root],
            "metadata": {"igpt": {"version": "1", "sha256": own}},
        });
        change(place.path(), &mut spec);
        let file = place.path().join("kernel.json");
        fs::write(&file, spec.to_string()).unwrap();
        look(&file, Some(&own), &root)
    }

    #[test]
    fn what_setup_installs_is_well() {
        assert_eq!(looked(|_, _| {}).health, Health::Ok);
    }

    #[test]
    fn each_fault_is_seen() {
        let problem = |seen: &str, finding: Finding| {
            assert!(finding.seen.contains(seen), "{finding:?}");
            assert_eq!((finding.health, finding.cure.as_deref()), (Health::Problem, Some("igpt setup")));
        };
        problem("is not ours", looked(|_, spec| spec["metadata"] = json!({})));
        problem("is not there", looked(|place, _| fs::remove_file(place.join("igpt")).unwrap()));
        problem("not the program", looked(|place, _| fs::write(place.join("igpt"), "other").unwrap()));
        problem("not there any more", looked(|place, _| fs::remove_dir(place.join("checkout")).unwrap()));
        problem("starts nothing", looked(|_, spec| spec["argv"] = json!([])));
        problem("is missing", look(Path::new("/not/there/kernel.json"), None, Path::new("/")));
    }

    #[test]
    fn another_build_and_another_checkout_are_notes() {
        let finding = looked(|place, spec| {
            fs::create_dir(place.join("other")).unwrap();
            spec["argv"][5] = json!(place.join("other"));
        });
        assert_eq!(finding.health, Health::Note);
        assert!(finding.seen.contains("other"), "{finding:?}");
        let finding = looked(|place, spec| {
            fs::write(place.join("igpt"), "an older build").unwrap();
            spec["metadata"]["igpt"]["sha256"] = json!(sha256(b"an older build"));
        });
        assert_eq!(finding.health, Health::Note);
        assert!(finding.seen.contains("another build"), "{finding:?}");
    }
}

//! The notebooks in the repository were run from top to bottom, and show what they have to show.

mod literals;
mod reproduced;

use std::{fs, path::Path};

use igpt_tests::{Executed, text};

fn notebooks() -> Vec<(String, Executed)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks");
    let files =
        fs::read_dir(folder).expect("the notebooks' folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|e| e == "ipynb")).collect();
    files.sort();
    let name = |file: &Path| file.file_name().expect("a name").to_string_lossy().into_owned();
    files.iter().map(|file| (name(file), Executed::read(file))).collect()
}

#[test]
fn cells_ran_in_order_and_failed_only_on_purpose() {
    let all = notebooks();
    assert!(all.len() >= 5, "{}", all.len());
    for (name, notebook) in &all {
        for (number, cell) in (1..).zip(notebook.code_cells()) {
            assert_eq!(cell["execution_count"], number, "{name}, cell {number}");
            let tags = cell["metadata"]["tags"].as_array().into_iter().flatten();
            let named =
                |tag: &serde_json::Value| tag.as_str().is_some_and(|tag| tag.starts_with("raises-exception"));
            let may_raise = tags.into_iter().any(named);
            let raised = notebook.outputs(number).iter().any(|output| output["output_type"] == "error");
            assert_eq!(raised, may_raise, "{name}, cell {number}");
        }
    }
}

/// A type that can show itself was shown by `{:?}` if evcxr did not find how to show it.
#[test]
fn what_can_show_itself_does() {
    for (name, notebook) in &notebooks() {
        for (number, _) in (1..).zip(notebook.code_cells()) {
            let data = notebook.outputs(number).iter().map(|output| &output["data"]);
            for data in data.filter(|data| data["text/html"].is_null()) {
                let plain = data.get("text/plain").map(text).unwrap_or_default();
                let of_a_type = plain.starts_with(char::is_uppercase) && plain.contains(" {");
                assert!(!of_a_type, "{name}, cell {number}: {plain:.80}");
            }
        }
    }
}

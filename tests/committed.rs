//! The notebooks in the repository were run from top to bottom, and show what they have to show.

use std::{fs, path::Path};

use igpt_tests::text;
use serde_json::Value;

fn notebooks() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../notebooks");
    let files =
        fs::read_dir(folder).expect("the notebooks' folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|e| e == "ipynb")).collect();
    files.sort();
    let read = |file: &std::path::PathBuf| {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        (name, serde_json::from_str(&fs::read_to_string(file).expect("a notebook")).expect("JSON"))
    };
    files.iter().map(read).collect()
}

fn code_cells(notebook: &Value) -> impl Iterator<Item = &Value> {
    let cells = notebook["cells"].as_array().expect("a notebook has cells").iter();
    cells.filter(|cell| cell["cell_type"] == "code")
}

fn outputs(cell: &Value) -> impl Iterator<Item = &Value> {
    cell["outputs"].as_array().expect("a code cell has outputs").iter()
}

#[test]
fn cells_ran_in_order_and_failed_only_on_purpose() {
    let all = notebooks();
    assert!(all.len() >= 5, "{}", all.len());
    for (name, notebook) in &all {
        for (index, cell) in code_cells(notebook).enumerate() {
            let number = index + 1;
            assert_eq!(cell["execution_count"], number, "{name}, cell {number}");
            let tags = cell["metadata"]["tags"].as_array().into_iter().flatten();
            let may_raise = tags.into_iter().any(|tag| tag == "raises-exception");
            let raised = outputs(cell).any(|output| output["output_type"] == "error");
            assert_eq!(raised, may_raise, "{name}, cell {number}");
        }
    }
}

/// A type that can show itself was shown by `{:?}` if evcxr did not find how to show it.
#[test]
fn what_can_show_itself_does() {
    for (name, notebook) in &notebooks() {
        for (index, cell) in code_cells(notebook).enumerate() {
            for data in outputs(cell).map(|output| &output["data"]).filter(|data| data["text/html"].is_null())
            {
                let plain = data.get("text/plain").map(text).unwrap_or_default();
                let of_a_type = plain.starts_with(char::is_uppercase) && plain.contains(" {");
                assert!(!of_a_type, "{name}, cell {}: {:.80}", index + 1, plain);
            }
        }
    }
}

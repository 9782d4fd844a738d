//! `igpt record` reads manifests of the store without this library. `tests/fixtures/store/manifest.json` is one as the library writes
//! it, with which the command's own tests work: here it is compared with one that was just written.

use igpt::store::{Description, Store};
use serde_json::{Value, json};
use std::path::Path;

/// The names of all fields, with what they lie in.
fn fields(value: &Value, of: &str, found: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{of}.{name}");
        found.push(path.clone());
        fields(value, &path, found);
    }
}

fn names(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    fields(value, "", &mut found);
    found
}

#[test]
fn the_fixture_is_a_manifest_as_the_library_writes_it() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/store/manifest.json");
    let fixture: Value = serde_json::from_slice(&std::fs::read(fixture).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let step = Description::new("fixture", &json!({"width": 7})).unwrap();
    let step = step.data("images", "r1", &"ab".repeat(32)).seed(7);
    let store = Store::at(folder.path());
    store.get_or_run(&step, |_| Ok(vec![1.0, 2.0])).unwrap();
    let key = step.key();
    // Where the command looks for it.
    let written = folder.path().join(format!("fixture-{}/result/manifest.json", key.short()));
    let written: Value = serde_json::from_slice(&std::fs::read(written).unwrap()).unwrap();
    assert_eq!(names(&written), names(&fixture));
    let of = |manifest: &Value, field: &str| manifest["manifest"]["provenance"][field].clone();
    for field in ["step", "key", "description", "seed", "device", "data", "data_revision", "data_sha256"] {
        assert_eq!(of(&written, field), of(&fixture, field), "{field}");
    }
    for field in ["threads", "version", "wall_ms", "date"] {
        assert_eq!(of(&written, field).is_string(), of(&fixture, field).is_string(), "{field}");
    }
}

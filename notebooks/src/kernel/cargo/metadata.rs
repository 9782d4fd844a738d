//! Which crates rust-analyzer sees. evcxr has it infer the types of variables, and at the start of every notebook it
//! loads each crate of the graph: 160 for our library, most of which no cell can name. Without them a kernel starts
//! seconds earlier. What is compiled does not change; crates that a user adds with `:dep` are seen with all that they
//! depend on.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::LIBRARY;

/// Of the library's dependencies only these are shown: crates that it re-exports, or whose types its functions take and return.
const SHOWN: [&str; 3] = ["candle-core", "candle-nn", "half"];

/// Metadata without the crates that only the library's inside needs; `None` if there is nothing to take out.
pub fn prune(mut metadata: Value) -> Option<Value> {
    let packages = metadata["packages"].as_array()?;
    let named = |names: &[&str]| -> HashSet<String> {
        let wanted =
            packages.iter().filter(|package| package["name"].as_str().is_some_and(|n| names.contains(&n)));
        wanted.filter_map(|package| package["id"].as_str().map(str::to_owned)).collect()
    };
    let (library, shown) = (named(&[LIBRARY]), named(&SHOWN));
    let root = metadata["resolve"]["root"].as_str()?.to_owned();
    let nodes = metadata["resolve"]["nodes"].as_array()?;
    let dependencies: HashMap<&str, Vec<&str>> = nodes
        .iter()
        .filter_map(|node| {
            let ids = node["dependencies"].as_array()?.iter().filter_map(Value::as_str).collect();
            Some((node["id"].as_str()?, ids))
        })
        .collect();
    // Only for a crate that uses the library, and not for the library's own workspace.
    if library.is_empty() || library.contains(&root) {
        return None;
    }
    let mut kept: HashSet<String> = HashSet::new();
    let mut waiting = vec![root.as_str()];
    while let Some(id) = waiting.pop() {
        if !kept.insert(id.to_owned()) {
            continue;
        }
        let all = dependencies.get(id).into_iter().flatten().copied();
        let hides = library.contains(id) || shown.contains(id);
        waiting.extend(all.filter(|id| !hides || shown.contains(*id)));
    }
    let is_kept = |value: &Value| value.as_str().is_some_and(|id| kept.contains(id));
    for node in metadata["resolve"]["nodes"].as_array_mut()? {
        node["dependencies"].as_array_mut()?.retain(is_kept);
        node["deps"].as_array_mut()?.retain(|dependency| is_kept(&dependency["pkg"]));
    }
    metadata["resolve"]["nodes"].as_array_mut()?.retain(|node| is_kept(&node["id"]));
    metadata["packages"].as_array_mut()?.retain(|package| is_kept(&package["id"]));
    Some(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A notebook that uses the library, and `rand` by itself.
    fn metadata(root: &str) -> Value {
        let graph = [
            ("ctx", vec!["igpt", "rand"]),
            ("igpt", vec!["candle-core", "image", "serde"]),
            ("candle-core", vec!["half", "tokenizers"]),
            ("rand", vec!["libc"]),
            ("half", vec!["libc"]),
            ("image", vec!["png"]),
            ("tokenizers", vec!["serde"]),
            ("libc", vec![]),
            ("png", vec![]),
            ("serde", vec![]),
        ];
        let packages: Vec<Value> = graph.iter().map(|(name, _)| json!({"name": name, "id": name})).collect();
        let nodes: Vec<Value> = graph
            .iter()
            .map(|(name, all)| {
                let deps: Vec<Value> = all.iter().map(|id| json!({"pkg": id})).collect();
                json!({"id": name, "dependencies": all, "deps": deps})
            })
            .collect();
        json!({"packages": packages, "resolve": {"root": root, "nodes": nodes}, "target_directory": "t"})
    }

    #[test]
    fn only_what_cells_can_name_is_seen() {
        let pruned = prune(metadata("ctx")).unwrap();
        let names = |list: &Value, key: &str| -> Vec<String> {
            list.as_array().unwrap().iter().map(|x| x[key].as_str().unwrap().to_owned()).collect()
        };
        let seen = ["ctx", "igpt", "candle-core", "rand", "half", "libc"];
        assert_eq!(names(&pruned["packages"], "name"), seen);
        assert_eq!(names(&pruned["resolve"]["nodes"], "id"), seen);
        assert_eq!(names(&pruned["resolve"]["nodes"][1]["deps"], "pkg"), ["candle-core"]);
        assert_eq!(pruned["target_directory"], "t");
        // A user's own crate keeps what it depends on.
        assert_eq!(pruned["resolve"]["nodes"][3]["dependencies"], json!(["libc"]));
    }

    #[test]
    fn other_metadata_is_left_alone() {
        assert!(prune(metadata("igpt")).is_none());
        assert!(prune(json!({"packages": [], "resolve": null})).is_none());
    }
}

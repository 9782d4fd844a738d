//! Why a stored result was reused, or why one had to be computed: in words, for the report.

use super::entry::{self, Entry};
use super::{Description, Provenance};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Why a result was reused.
pub(super) fn reused(provenance: &Provenance) -> String {
    let mut same = vec!["settings".to_owned()];
    let description: Value = serde_json::from_str(&provenance.description).unwrap_or_default();
    if !names(&description["inputs"]).is_empty() {
        same.push("what it was made from".into());
    }
    same.extend(provenance.data.as_ref().map(|data| format!("the checksum of {data}")));
    same.extend(provenance.seed.map(|seed| format!("seed {seed}")));
    same.push(format!("device ({})", provenance.device));
    same.push(format!("the sources that decide it ({})", names(&description["code"]).join(", ")));
    let commit = provenance
        .commit
        .as_ref()
        .map_or(String::new(), |commit| format!(" at commit {}", commit.get(..7).unwrap_or(commit)));
    format!("the same as when it was computed, {}{commit}: {}", provenance.date, same.join(", "))
}

/// Why a result had to be computed: what has changed since the stored result of such a step that is most like it.
pub(super) fn computed(store: &Path, step: &Description, damage: Option<&str>) -> String {
    if let Some(damage) = damage {
        return format!("the stored result was damaged: {damage}");
    }
    let wanted: Value = serde_json::from_str(&step.description()).unwrap_or_default();
    let own = Entry::of(store, step);
    let others = entry::descriptions(store, step.name(), own.folder());
    let differences = others.iter().filter_map(|text| {
        let other: Value = serde_json::from_str(text).ok()?;
        Some(difference(&wanted, &other)).filter(|difference| !difference.is_empty())
    });
    match differences.min_by_key(Vec::len) {
        Some(difference) => format!("other than the stored result most like it: {}", shortened(difference)),
        None => "no result of such a step was stored".into(),
    }
}

/// In what two descriptions differ, in words.
fn difference(a: &Value, b: &Value) -> Vec<String> {
    let mut found = Vec::new();
    settings("", &a["settings"], &b["settings"], &mut found);
    for (field, what) in [("inputs", "its input"), ("code", "the sources of")] {
        let (of_a, of_b) = (pairs(&a[field]), pairs(&b[field]));
        let changed: BTreeSet<&str> =
            of_a.symmetric_difference(&of_b).map(|(name, _)| name.as_str()).collect();
        found.extend(changed.into_iter().map(|name| format!("{what} {name}")));
    }
    for (field, what) in
        [("data", "the data"), ("seed", "the seed"), ("device", "the device"), ("format", "the form of keys")]
    {
        if a[field] != b[field] {
            found.push(what.to_owned());
        }
    }
    found
}

/// The paths of settings that differ.
fn settings(path: &str, a: &Value, b: &Value, found: &mut Vec<String>) {
    match (a, b) {
        _ if a == b => {}
        (Value::Object(of_a), Value::Object(of_b)) => {
            for name in of_a.keys().chain(of_b.keys()).collect::<BTreeSet<_>>() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                settings(&path, &a[name], &b[name], found);
            }
        }
        _ => found.push(format!("the setting {path}")),
    }
}

fn pairs(value: &Value) -> BTreeSet<(String, String)> {
    let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()));
    value.as_array().into_iter().flatten().filter_map(pair).collect()
}

fn names(value: &Value) -> Vec<String> {
    pairs(value).into_iter().map(|(name, _)| name).collect()
}

/// The first of them, and how many more.
fn shortened(mut all: Vec<String>) -> String {
    const MOST: usize = 4;
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    all.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;
    use serde_json::json;

    #[test]
    fn it_is_said_what_is_the_same_and_what_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path());
        let step =
            |settings: Value| Description::new("test", &settings).unwrap().data("Dots", "", "ab").seed(1);
        let told = |step: &Description| {
            let _: u8 = store.get_or_run(step, |_| Ok(1)).unwrap();
            store.uses.lock().unwrap().last().unwrap().why.clone()
        };
        let first = step(json!({"rate": 0.1, "network": {"layers": 2}}));
        assert_eq!(told(&first), "no result of such a step was stored");
        let again = told(&first);
        assert!(again.contains("the checksum of Dots, seed 1, device (cpu)"), "{again}");
        let other = told(&step(json!({"rate": 0.1, "network": {"layers": 3}})));
        assert_eq!(other, "other than the stored result most like it: the setting network.layers");
        // The one most like it is looked at.
        let key = first.key();
        let third = step(json!({"rate": 0.1, "network": {"layers": 3}})).input("palette", &key).seed(2);
        assert_eq!(told(&third), "other than the stored result most like it: its input palette, the seed");
        let code = third.clone().code(&["rng"]).unwrap();
        assert_eq!(told(&code), "other than the stored result most like it: the sources of rng");
        std::fs::write(Entry::of(folder.path(), &first).folder().join("result/value.json"), "2").unwrap();
        assert!(told(&first).contains("was damaged: value.json"));
    }
}

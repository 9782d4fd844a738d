use super::*;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../papers/igpt")
}

fn paper() -> Paper {
    Paper::open(&folder()).unwrap()
}

/// The paper's files with one of them changed.
fn changed(file: &str, from: &str, to: &str) -> Result<Paper> {
    let copy = tempfile::tempdir().unwrap();
    for name in ["paper.toml", "reported.toml", "claims.toml"] {
        let mut text = std::fs::read_to_string(folder().join(name)).unwrap();
        if name == file {
            assert!(text.contains(from), "{from:?} is not in {file}");
            text = text.replacen(from, to, 1);
        }
        std::fs::write(copy.path().join(name), text).unwrap();
    }
    Paper::open(copy.path())
}

#[test]
fn the_files_can_be_read_and_agree() {
    let paper = paper();
    assert!(paper.citation().starts_with("Mark Chen et al.: Generative Pretraining from Pixels. ICML 2020"));
    assert_eq!(paper.section("3.2").unwrap().title, "Context Reduction");
    assert_eq!(paper.reported("context.palette").unwrap().text(), "512 colours");
    assert_eq!(paper.reported("context.input_sides").unwrap().counts().unwrap(), [32, 48, 64]);
    assert!(changed("paper.toml", "2020", "2020").is_ok());
}

#[test]
fn every_claim_is_about_something_reported_and_has_a_criterion() {
    let paper = paper();
    assert!(!paper.claims().is_empty());
    for claim in paper.claims() {
        assert!(!claim.reported.is_empty() && claim.criterion.len() > 20, "{}", claim.key);
        for key in &claim.reported {
            paper.reported(key).unwrap();
        }
    }
}

#[test]
fn what_is_derived_is_derived() {
    let paper = paper();
    let squares: Vec<usize> = paper
        .reported("context.input_sides")
        .unwrap()
        .counts()
        .unwrap()
        .iter()
        .map(|side| side * side)
        .collect();
    assert_eq!(paper.reported("context.lengths").unwrap().counts().unwrap(), squares);
    let bits = paper.reported("context.palette_bits").unwrap().number().unwrap();
    assert_eq!(paper.reported("context.palette").unwrap().number().unwrap(), bits.exp2());
    for value in &paper.values {
        assert!(value.confidence != Confidence::Derived || value.note.is_some(), "{}", value.key);
    }
}

#[test]
fn sections_with_a_notebook_name_one_that_exists() {
    for section in paper().sections() {
        let Some(notebook) = &section.notebook else { continue };
        assert!(folder().join("../..").join(notebook).is_file(), "{notebook}");
    }
}

#[test]
fn unknown_fields_are_refused() {
    for (file, from) in [
        ("paper.toml", "title = \"Gen"),
        ("paper.toml", "number = \"1\""),
        ("reported.toml", "key = \"v2\""),
        ("reported.toml", "key = \"context.palette\""),
        ("claims.toml", "key = \"palette-is-faithful\""),
    ] {
        let error = changed(file, from, &format!("colour = 1\n{from}")).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("colour"), "{error}");
    }
    for from in ["{ kind = \"increasing\"", "{ kind = \"equals\""] {
        let error = changed("claims.toml", from, &format!("{from}, margn = 1")).unwrap_err().to_string();
        assert!(error.contains("margn"), "{error}");
    }
}

#[test]
fn files_that_contradict_each_other_are_refused() {
    for (file, from, to, said) in [
        ("claims.toml", "\"context.shortening\"", "\"context.shortning\"", "no \"context.shortning\""),
        ("claims.toml", "section = \"3.2\"", "section = \"9.9\"", "no section 9.9"),
        ("reported.toml", "source = \"v2\"", "source = \"v3\"", "no source \"v3\""),
        ("reported.toml", "\"context.palette_bits\"", "\"context.palette\"", "twice"),
        ("claims.toml", "kind = \"equals\"", "kind = \"resembles\"", "resembles"),
    ] {
        let error = changed(file, from, to).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_missing_key_names_those_that_exist() {
    let error = paper().reported("context.pallette").unwrap_err().to_string();
    assert!(
        error.contains("\"context.pallette\"; there are") && error.contains("context.palette,"),
        "{error}"
    );
    assert!(paper().reported("context.faithful").unwrap().numbers().is_err());
}

#[test]
fn a_comparison_shows_both_and_counts_verdicts() {
    let paper = paper();
    let comparison = paper
        .compare("made up for a test.")
        .value("context.palette", [512.0])
        .unwrap()
        .claim("palette-is-faithful", [33.26, 30.1])
        .unwrap()
        .claim("palette-shortens-context", [3.0, 3.0])
        .unwrap()
        .claim("more-colours-less-error", [])
        .unwrap();
    use Verdict::{Inconclusive, Supported, Untested};
    assert_eq!(comparison.verdicts(), [Inconclusive, Supported, Untested]);
    let text = comparison.to_text();
    for said in [
        "33.3, 30.1 dB",
        "512 colours",
        "✓\u{a0}supported",
        "3 claims: 1 supported, 1 inconclusive, 1 untested.",
        "made up for a test. 3",
    ] {
        assert!(text.contains(said), "{said}:\n{text}");
    }
    assert!(paper.compare("").claim("no-such-claim", []).is_err());
}

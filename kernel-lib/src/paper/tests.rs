use super::*;
use crate::statistics::{Effect, RankCorrelation};
use std::collections::BTreeMap;

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
        let said = claim.criterion.as_ref().or(claim.untested.as_ref()).unwrap();
        assert!(said.len() > 10, "{}", claim.key);
        for key in &claim.reported {
            paper.cited(key).unwrap();
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
    for value in paper.values.iter().filter(|value| value.confidence == Confidence::Derived) {
        assert!(value.note.is_some(), "{}", value.key);
        // The page of the figures that it is derived from, where they stand in the paper.
        assert!(value.page.is_some() || value.source != "v2", "{}", value.key);
    }
}

/// Each paper's files can be read and agree, its claims say what is tested or why not, and its notebooks are there.
#[test]
fn every_paper_can_be_opened_and_names_notebooks_that_exist() {
    let papers = std::fs::read_dir(folder().join("..")).unwrap().map(|entry| entry.unwrap().path());
    let papers: Vec<Paper> = papers
        .filter(|folder| folder.join("paper.toml").is_file())
        .map(|f| Paper::open(&f).unwrap())
        .collect();
    assert!(papers.len() >= 2);
    for paper in papers {
        assert!(paper.sections().iter().any(|section| section.notebook.is_some()), "{}", paper.name());
        assert!(!paper.claims().is_empty());
        for notebook in paper.sections().iter().filter_map(|section| section.notebook.as_ref()) {
            assert!(folder().join("../..").join(notebook).is_file(), "{notebook}");
        }
    }
}

#[test]
fn unknown_fields_are_refused() {
    for (file, from) in [
        ("paper.toml", "title = \"Gen"),
        ("paper.toml", "number = \"1\""),
        ("reported.toml", "key = \"v2\""),
        ("reported.toml", "key = \"context.palette\""),
        ("reported.toml", "key = \"table1\""),
        ("claims.toml", "key = \"palette-is-faithful\""),
    ] {
        let error = changed(file, from, &format!("colour = 1\n{from}")).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("colour"), "{error}");
    }
    for from in ["{ kind = \"increasing\"", "{ kind = \"equals\"", "{ kind = \"unimodal\""] {
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
        (
            "claims.toml",
            "kind = \"finding\"\nreported = []",
            "kind = \"check\"\nreported = []",
            "a check is exact",
        ),
        ("claims.toml", "kind = \"check\"", "kind = \"finding\"", "bare numbers"),
        ("claims.toml", "\"unimodal\", by = 1", "\"unimodal\", by = -1", "make no sense"),
        ("claims.toml", "untested = ", "criterion = ", "or says why it is untested"),
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
        .claim("palette-is-faithful", Effect::of_images(&[31.5, 30.7, 33.4]).unwrap())
        .unwrap()
        .claim("palette-shortens-context", [3.0, 3.0])
        .unwrap()
        .claim("more-colours-less-error", Vec::<f64>::new())
        .unwrap();
    use Verdict::{Inconclusive, Passed, Untested};
    assert_eq!(comparison.verdicts(), [Inconclusive, Passed, Untested]);
    let text = comparison.to_text();
    for said in [
        "31.9 [28.4, 35.3] dB (3 images)",
        "512 colours",
        "✓\u{a0}passed",
        "made up for a test. 1 finding: 1 inconclusive. 2 checks: 1 passed, 1 untested.",
    ] {
        assert!(text.contains(said), "{said}:\n{text}");
    }
    assert!(paper.compare("").claim("no-such-claim", [1.0]).is_err());
    assert_eq!(comparison.label(), "made up for a test", "as the runner is told, and as the table shows it");
}

/// A profile of seconds shows what was measured; a check holds at any size, a finding is not judged.
#[test]
fn a_profile_that_judges_nothing_leaves_findings_untested() {
    let far_above = Effect::of_images(&[50.0, 50.1, 50.2]).unwrap();
    let judged = |by: Option<&str>| {
        Comparison::new(paper(), "ours".to_owned(), by.map(str::to_owned))
            .claim("palette-is-faithful", far_above)
            .unwrap()
            .claim("palette-shortens-context", [3.0, 3.0])
            .unwrap()
    };
    let untested = judged(Some("smoke"));
    assert_eq!(untested.verdicts(), [Verdict::Untested, Verdict::Passed]);
    let text = untested.to_text();
    assert!(text.contains("50.1") && text.contains("Untested: the profile smoke"), "{text}");
    assert_eq!(judged(None).verdicts(), [Verdict::Supported, Verdict::Passed]);
}

/// As it is judged: the interval of an effect is no narrower than the criterion's margin.
#[test]
fn what_was_measured_is_told_in_numbers() {
    let paper = paper();
    let told =
        |key: &str, measured: Measured| compare::in_numbers(paper.claim(key).unwrap(), &measured).to_string();
    let same = Effect::of_images(&[31.0, 31.0]).unwrap();
    assert_eq!(
        told("palette-is-faithful", same.into()),
        r#"{"effects":[{"mean":31.0,"low":30.5,"high":31.5,"seeds":0,"images":2}]}"#
    );
    let alone = Effect::of_seeds(&[0.25]).unwrap();
    assert_eq!(
        told("palette-is-faithful", alone.into()),
        r#"{"effects":[{"mean":0.25,"low":null,"high":null,"seeds":1,"images":0}]}"#
    );
    assert_eq!(told("palette-shortens-context", [3.0, f64::NAN].into()), r#"{"numbers":[3.0,null]}"#);
    let order = RankCorrelation::of(&[(1.0, 1.0), (2.0, 2.0)]).unwrap();
    assert_eq!(
        told("palette-shortens-context", order.into()),
        r#"{"order":{"correlation":1.0,"low":null,"high":null,"pairs":2}}"#
    );
}

#[test]
fn a_paper_is_opened_by_its_name() {
    let paper = open("igpt").unwrap();
    assert_eq!((paper.name(), paper.citation()), ("igpt", igpt().unwrap().citation()));
    let error = open("ipgt").unwrap_err().to_string();
    assert!(error.contains("no paper \"ipgt\"; there are") && error.contains("igpt"), "{error}");
}

#[test]
fn numbers_keep_the_digits_of_their_source() {
    let text = |number: &str| {
        toml::from_str::<BTreeMap<String, Number>>(&format!("x = {number}")).unwrap()["x"].to_string()
    };
    for number in ["0.0003", "2.0895", "96.3", "99.0", "94", "0.95", "1.0", "0"] {
        assert_eq!(text(number), number);
    }
    assert_eq!(text("1362250752"), "1,362,250,752");
    let paper = paper();
    assert_eq!(paper.reported("training.beta_2").unwrap().text(), "0.95");
    let table = paper.table("table1").unwrap();
    assert_eq!(table.number(&[("dataset", "CIFAR-10"), ("model", "iGPT-L")], "accuracy").unwrap(), 96.3);
    let shown = table.show(&["dataset", "model", "accuracy"]).unwrap().to_text();
    assert!(shown.contains("95.5") && shown.contains("STL-10"), "{shown}");
    assert!(table.show(&["no such column"]).is_err());
    assert!(table.number(&[("dataset", "CIFAR-10")], "accuracy").unwrap_err().to_string().contains("3 rows"));
    assert_eq!(paper.table("figure2").unwrap().points("layer", "cifar10").unwrap().len(), 46);
}

/// `tests/fixtures/paper/reported.toml` has everything that was found of the paper's tables and figures; each table, row, cell
/// and fact of it is here.
#[test]
fn nothing_that_the_paper_reports_is_missing() {
    let fixtures = folder().join("../../tests/fixtures/paper");
    let read = |name: &str| -> toml::Table {
        std::fs::read_to_string(fixtures.join(name)).unwrap().parse().unwrap()
    };
    let (there, mapping, paper) = (read("reported.toml"), read("mapping.toml"), paper());
    let text =
        |value: &toml::Value, key: &str| value.get(key).and_then(toml::Value::as_str).unwrap().to_owned();
    let tables = there["table"].as_array().unwrap();
    let mut cells = 0;
    for theirs in tables {
        let id = text(theirs, "id");
        let map = &mapping["table"][&id];
        let ours = paper.table(&text(map, "key")).unwrap();
        assert_eq!(ours.of.as_deref(), Some(&*id));
        let rows = theirs["rows"].as_array().unwrap();
        assert_eq!(ours.rows.len(), rows.len(), "{id}");
        for (row_number, (row, ours)) in rows.iter().zip(&ours.rows).enumerate() {
            for (name, cell) in row.as_table().unwrap() {
                let renamed =
                    map.get("cells").and_then(|cells| cells.get(name)).and_then(toml::Value::as_str);
                let name = renamed.unwrap_or(name);
                // 94 here and 94.0 there are one number: ours keeps the digits that are printed.
                let number =
                    |cell: &toml::Value| cell.as_float().or_else(|| cell.as_integer().map(|x| x as f64));
                let found = ours.get(name).unwrap_or_else(|| panic!("{id}, row {row_number}, {name}"));
                let same = found == cell || number(found).is_some() && number(found) == number(cell);
                assert!(same, "{id}, row {row_number}, {name}: {found} {cell}");
                cells += 1;
            }
        }
    }
    assert!(tables.len() >= 14 && cells > 600, "{} {cells}", tables.len());
    let facts = there["fact"].as_array().unwrap();
    let ids: Vec<String> = facts.iter().map(|fact| text(fact, "id")).collect();
    let is_twice = |id: &String| ids.iter().filter(|other| *other == id).count() > 1;
    for fact in facts {
        let id = text(fact, "id");
        let name = if is_twice(&id) { format!("{id}/{}", text(fact, "what")) } else { id };
        let ours: Vec<_> = paper.values.iter().filter(|value| value.fact.contains(&name)).collect();
        assert_eq!(ours.len(), 1, "{name}");
        let number =
            |value: &toml::Value| value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        let expected: Vec<f64> = match &fact["value"] {
            toml::Value::Array(values) => values.iter().map(|value| number(value).unwrap()).collect(),
            value => vec![number(value).unwrap()],
        };
        assert_eq!(ours[0].numbers().unwrap(), expected, "{name}");
    }
    let known: HashSet<&String> = paper.values.iter().flat_map(|value| &value.fact).collect();
    assert_eq!(known.len(), facts.len());
}

/// Every section that states findings has them listed, tested or not.
#[test]
fn each_section_has_its_findings() {
    let paper = paper();
    for section in ["2.1", "2.2", "2.3", "3.2", "4.1", "4.2", "4.3", "4.4", "4.5", "4.6", "4.7", "6", "A.1"] {
        assert!(
            paper.claims().iter().any(|claim| claim.section == section && claim.kind == Kind::Finding),
            "{section}"
        );
    }
    let kinds = |kind| paper.claims().iter().filter(|claim| claim.kind == kind).count();
    assert!(kinds(Kind::Finding) > 50 && kinds(Kind::Check) >= 7);
}

//! Tables of findings in Markdown, made from recorded runs. Between these two lines of a text
//!
//! ```text
//! <!-- findings: begin papers/igpt/results/quick.toml -->
//! <!-- findings: end -->
//! ```
//!
//! stands what the recorded run of that file found, and nothing else: a test compares it.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::recorded::Recorded;
use crate::run::{
    listed::{Listed, listed},
    text::count,
};

const BEGIN: &str = "<!-- findings: begin ";
const BEGIN_ENDS: &str = " -->\n";
const END: &str = "<!-- findings: end -->";

/// The text with all its tables of findings made anew.
///
/// # Errors
/// A table without an end, or of a file that is no recorded run.
pub fn made_anew(root: &Path, text: &str) -> Result<String> {
    let (mut made, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (file, after) = after.split_once(BEGIN_ENDS).context("a line `findings: begin` has no end")?;
        let (_, after) =
            after.split_once(END).with_context(|| format!("findings of {file} begin, and do not end"))?;
        let run = Recorded::read(&root.join(file))?;
        let claims = listed(&root.join("papers"), &run.paper);
        ensure!(!claims.is_empty(), "the paper {:?} has no list of claims", run.paper);
        let _ = write!(made, "{before}{BEGIN}{file}{BEGIN_ENDS}{}{END}", findings(&run, &claims));
        rest = after;
    }
    Ok(made + rest)
}

/// What a run found, as a table and a few sentences.
fn findings(run: &Recorded, listed: &[Listed]) -> String {
    let of_run: Vec<String> = [run.profile.clone(), run.seeds_in_words(), run.day().to_owned()]
        .into_iter()
        .filter(|s| !s.is_empty())
        .collect();
    let mut text = format!(
        "<!-- Made by `igpt results --readme`; do not edit. -->\n\n| | reported | ours ({}), [95 % interval] | verdict |\n|---|---|---|---|\n",
        of_run.join(", ")
    );
    let listed_of = |key: &str| listed.iter().find(|claim| claim.key == key);
    for judged in run.claims.iter().filter(|claim| claim.kind == "finding") {
        let statement =
            listed_of(&judged.claim).map_or(&*judged.claim, |claim| claim.statement.trim_end_matches('.'));
        let cells = [statement, &judged.reported, &judged.ours, &judged.verdict].map(cell);
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let controls = listed.iter().filter(|claim| claim.kind == "finding" && claim.reported.is_empty()).count();
    let _ = write!(
        text,
        "\n{}. {} of these findings {} of ours, and {} not in the paper. Run `{}`: `igpt results {}` says where its numbers come from.",
        run.in_words(listed),
        controls,
        if controls == 1 { "is a control" } else { "are controls" },
        if controls == 1 { "is" } else { "are" },
        run.key,
        run.key,
    );
    if run.seeds.len() == 1 {
        text.push_str(" With one seed an interval is that of the test images alone: another seed trains another network.");
    }
    if !run.uncommitted.is_empty() {
        let _ = write!(text, " It was of {} that no commit has.", count(run.uncommitted.len(), "file"));
    }
    text + "\n\n"
}

/// Text in a table.
fn cell(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::results::recorded::tests::example;
    use std::fs;

    #[test]
    fn a_table_is_made_between_its_lines_and_nothing_else_changes() {
        let root = tempfile::tempdir().unwrap();
        let results = root.path().join("papers/p/results");
        fs::create_dir_all(&results).unwrap();
        fs::write(results.join("quick.toml"), example().to_text()).unwrap();
        let claims = "[[claim]]\nkey = \"two\"\nkind = \"finding\"\nreported = [\"x\"]\nstatement = \"Two | things.\"\n\
                      [[claim]]\nkey = \"three\"\nkind = \"check\"\n[[claim]]\nkey = \"four\"\nkind = \"finding\"\n";
        fs::write(root.path().join("papers/p/claims.toml"), claims).unwrap();
        let text = "a\n<!-- findings: begin papers/p/results/quick.toml -->\nold <!-- findings: end -->\nb\n";
        let made = made_anew(root.path(), text).unwrap();
        let run = example();
        for part in [
            "a\n<!-- findings: begin papers/p/results/quick.toml -->\n<!-- Made by",
            "\n\n<!-- findings: end -->\nb\n",
            "| ours (quick, seeds 1, 2, 2026-11-29), [95 % interval] |",
            "\n| Two \\| things | 3.3 \"points\" (p. 5) | 1.2 [0.5, 2.0] points | supported |\n",
            "3 findings: 2 supported, 1 untested. 1 check: 1 passed. 1 of these findings is a control of ours",
            &format!("`igpt results {}`", run.key),
            "It was of 1 file that no commit has.",
        ] {
            assert!(made.contains(part), "{part:?} in\n{made}");
        }
        assert!(!made.contains("old") && !made.contains("With one seed"), "{made}");
        assert_eq!(made_anew(root.path(), &made).unwrap(), made, "once is enough");
        assert_eq!(made_anew(root.path(), "no table").unwrap(), "no table");
        for (from, to, why) in [
            ("<!-- findings: end -->", "", "do not end"),
            ("quick.toml", "slow.toml", "slow.toml cannot be read"),
        ] {
            let error = format!("{:#}", made_anew(root.path(), &text.replacen(from, to, 1)).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    /// The README's tables are those of the committed records: `igpt results --readme` makes them.
    #[test]
    fn the_readme_has_what_was_recorded() {
        let root = crate::repository::root().unwrap();
        let text = fs::read_to_string(root.join("README.md")).unwrap();
        assert!(text.contains(BEGIN), "the README has no table of findings");
        let made = made_anew(&root, &text).unwrap();
        assert!(
            made == text,
            "README.md differs from the recorded runs: `igpt results --readme` makes it anew"
        );
    }
}

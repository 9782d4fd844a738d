//! Tables of findings in Markdown, made from recorded runs. Between these two lines of a text
//!
//! ```text
//! <!-- findings: begin papers/igpt/results/quick.toml -->
//! <!-- findings: end -->
//! ```
//!
//! stands what the recorded run of that file found, and nothing else: a test compares it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::recorded::Recorded;
use crate::run::{
    listed::{Listed, listed},
    text::{count, escape},
};

const BEGIN: &str = "<!-- findings: begin ";
const BEGIN_ENDS: &str = " -->\n";
const END: &str = "<!-- findings: end -->";

/// The texts of a checkout that have such tables: its README, and what else there is.
pub fn texts(root: &Path) -> Vec<PathBuf> {
    let more = Some(root.join("docs/in_colour.md")).filter(|file| file.is_file());
    [root.join("README.md")].into_iter().chain(more).collect()
}

/// The text with all its tables of findings made anew.
///
/// # Errors
/// A table without a begin or an end, so that other text could be taken for one, or of a file that is no recorded run.
pub fn made_anew(root: &Path, text: &str) -> Result<String> {
    // What follows `from` has no end of a table.
    let no_end = |from: usize, part: &str| -> Result<()> {
        let Some(place) = part.find(END) else { return Ok(()) };
        let line = text[..from + place].matches('\n').count() + 1;
        bail!("line {line}: `{END}` stands where no table begins")
    };
    let (mut made, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        no_end(text.len() - rest.len(), before)?;
        let (file, after) = after.split_once(BEGIN_ENDS).context("a line `findings: begin` has no end")?;
        let unended = || format!("the findings of {file} begin, and do not end: `{END}` is missing");
        let (old, after) = after.split_once(END).with_context(unended)?;
        // Else all up to the next table's end would go.
        ensure!(!old.contains(BEGIN) && !file.contains('\n'), "{}", unended());
        let run = Recorded::read(&root.join(file))?;
        let claims = listed(&root.join("papers"), &run.paper);
        ensure!(!claims.is_empty(), "the paper {:?} has no list of claims", run.paper);
        let _ = write!(made, "{before}{BEGIN}{file}{BEGIN_ENDS}{}{END}", findings(&run, &claims));
        rest = after;
    }
    no_end(text.len() - rest.len(), rest)?;
    Ok(made + rest)
}

/// What a run found, as a table and a few sentences.
fn findings(run: &Recorded, listed: &[Listed]) -> String {
    let mut text = format!(
        "<!-- Made by `igpt results --readme`; do not edit. -->\n\n| | reported | ours ({}, {}), [95 % interval] | verdict |\n|---|---|---|---|\n",
        run.profile,
        run.day()
    );
    let listed_of = |key: &str| listed.iter().find(|claim| claim.key == key);
    let findings = || run.claims.iter().filter(|claim| claim.kind == "finding");
    for judged in findings() {
        let statement =
            listed_of(&judged.claim).map_or(&*judged.claim, |claim| claim.statement.trim_end_matches('.'));
        // What the table does not say by itself: of what, if not of the profile as it is, and from how many trainings.
        let of_seeds = judged.effects.iter().any(|effect| effect.seeds > 0);
        let seeds = Some(run.seeds_of(judged)).filter(|seeds| !of_seeds && !seeds.is_empty());
        let beside = [run.apart(judged).map(str::to_owned), seeds.map(|seeds| format!("seeds: {seeds}"))];
        let beside = beside.into_iter().flatten().map(|text| format!("<br>({})", cell(&text)));
        let ours = cell(&judged.ours) + &beside.collect::<String>();
        let _ = writeln!(
            text,
            "| {} | {} | {ours} | {} |",
            cell(statement),
            cell(&judged.reported),
            cell(&judged.verdict)
        );
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
    text.push_str(" What is reported was read in the paper, or in a source of its authors, unless *derived* (by arithmetic) or *digitised* \
                   (in an image of a figure) stands beside it.");
    if let [usual] = &run.profile_labels[..]
        && findings().any(|claim| run.apart(claim).is_some())
    {
        let _ = write!(
            text,
            " In brackets below a number: of what it is, where that is not just {}.",
            escape(usual)
        );
    }
    if findings().flat_map(|claim| &claim.effects).any(|effect| effect.seeds == 1) {
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
    use crate::run::{listed::NOT_JUDGED, results::recorded::tests::example};
    use std::fs;

    #[test]
    fn a_table_is_made_between_its_lines_and_nothing_else_changes() {
        let root = tempfile::tempdir().unwrap();
        let results = root.path().join("papers/p/results");
        fs::create_dir_all(&results).unwrap();
        fs::write(results.join("quick.toml"), example().to_text()).unwrap();
        let claims = "[[claim]]\nkey = \"two\"\nkind = \"finding\"\nreported = [\"x\"]\nstatement = \"Two | things.\"\n\
                      [[claim]]\nkey = \"three\"\nkind = \"check\"\n[[claim]]\nkey = \"four\"\nkind = \"finding\"\nuntested = \"why\"\n\
                      [[claim]]\nkey = \"five\"\nkind = \"finding\"\nreported = [\"x\"]\n";
        fs::write(root.path().join("papers/p/claims.toml"), claims).unwrap();
        let text = "a\n<!-- findings: begin papers/p/results/quick.toml -->\nold <!-- findings: end -->\nb\n";
        let made = made_anew(root.path(), text).unwrap();
        let run = example();
        for part in [
            "a\n<!-- findings: begin papers/p/results/quick.toml -->\n<!-- Made by",
            "\n\n<!-- findings: end -->\nb\n",
            "| ours (quick, 2026-11-29), [95 % interval] |",
            "\n| one | 3.3 \"points\" (p. 5) | 1.2 [0.5, 2.0] points | supported |\n",
            "\n| Two \\| things | 3.3 \"points\" (p. 5) | 1.2 [0.5, 2.0] points<br>(2 layers)<br>(seeds: probe 1) | supported |\n",
            "4 findings: 2 supported, 1 not judged in this run, 1 untested. 1 check: 1 passed. 1 of these findings is a control of ours",
            "of what it is, where that is not just profile quick, images, CPU.",
            "With one seed an interval",
            &format!("`igpt results {}`", run.key),
            "It was of 1 file that no commit has.",
        ] {
            assert!(made.contains(part), "{part:?} in\n{made}");
        }
        assert!(!made.contains("old"), "{made}");
        assert_eq!(made_anew(root.path(), &made).unwrap(), made, "once is enough");
        assert_eq!(made_anew(root.path(), "no table").unwrap(), "no table");
        // Two tables, and what stands between them.
        let two = format!("{text}between\n{text}");
        let made = made_anew(root.path(), &two).unwrap();
        assert!(made.matches("| Two").count() == 2 && made.contains("-->\nb\nbetween\na\n<!--"), "{made}");
        let end = "<!-- findings: end -->";
        for (text, from, to, why) in [
            (text, end, "", "do not end"),
            (text, "quick.toml", "slow.toml", "slow.toml cannot be read"),
            // The first table's end is missing: what stands before the second one is not a part of it.
            (&two, end, "", "do not end"),
            (
                text,
                "a\n",
                "a\n<!-- findings: end -->\n",
                "line 2: `<!-- findings: end -->` stands where no table begins",
            ),
            (
                text,
                "\nb\n",
                "\n<!-- findings: end -->\nb\n",
                "line 4: `<!-- findings: end -->` stands where no table begins",
            ),
        ] {
            let error = format!("{:#}", made_anew(root.path(), &text.replacen(from, to, 1)).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }

    /// The tables are those of the committed records: `igpt results --readme` makes them.
    #[test]
    fn the_texts_have_what_was_recorded() {
        let root = crate::repository::root().unwrap();
        let texts = texts(&root);
        assert_eq!(texts.len(), 2, "{texts:?}");
        for file in texts {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains(BEGIN), "{} has no table of findings", file.display());
            let made = made_anew(&root, &text).unwrap();
            assert!(
                made == text,
                "{} differs from the recorded runs: `igpt results --readme` makes it anew",
                file.display()
            );
            // A claim with a criterion that the recorded run did not judge is one that was forgotten.
            assert!(
                !made.contains(NOT_JUDGED),
                "a recorded run did not judge all that has a criterion: record another one"
            );
        }
    }
}

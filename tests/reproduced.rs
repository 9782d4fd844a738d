//! Each table and figure of the paper is reproduced by a notebook, which reads it and shows ours beside it. Where a part of a
//! table has no number of ours, tests/fixtures/reproduced.toml says why.

use std::{collections::BTreeMap, fs, path::Path};

use igpt_tests::{Executed, text};
use regex::Regex;
use serde::{Deserialize, de::DeserializeOwned};

/// What has no number of ours.
const LISTED: &str = "tests/fixtures/reproduced.toml";

/// Cells by the names of their columns.
type Row = BTreeMap<String, toml::Value>;

/// A table of the paper, or a figure.
#[derive(Debug, Deserialize)]
struct Reported {
    key: String,
    /// What the paper calls it; nothing for figures of its text.
    #[serde(default)]
    number: String,
    section: String,
    /// None: it is a drawing.
    rows: Vec<Row>,
}

impl Reported {
    /// How a notebook reads it.
    fn call(&self) -> String {
        format!(".table(\"{}\")", self.key)
    }

    /// All cells, each as its row and the name of its column.
    fn cells(&self) -> impl Iterator<Item = (&Row, &String)> {
        self.rows.iter().flat_map(|row| row.keys().map(move |column| (row, column)))
    }
}

/// A part of a table that has no number of ours.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    table: String,
    /// What its rows have in these columns, or one of what they have; nothing: all rows.
    #[serde(default)]
    rows: Row,
    /// Nothing: all columns.
    #[serde(default)]
    columns: Vec<String>,
    reason: String,
}

impl Exception {
    fn covers(&self, table: &Reported, row: &Row, column: &str) -> bool {
        let has = |(column, wanted): (&String, &toml::Value)| match (row.get(column), wanted) {
            (Some(cell), toml::Value::Array(several)) => several.contains(cell),
            (cell, one) => cell == Some(one),
        };
        self.table == table.key
            && self.rows.iter().all(has)
            && (self.columns.is_empty() || self.columns.iter().any(|of| of == column))
    }
}

/// What notebooks have to reproduce.
#[derive(Debug)]
struct Paper {
    tables: Vec<Reported>,
    exceptions: Vec<Exception>,
    /// The section of each claim.
    claims: BTreeMap<String, String>,
}

impl Paper {
    /// As it is committed.
    fn committed() -> Self {
        #[derive(Deserialize)]
        struct Tables {
            table: Vec<Reported>,
        }
        #[derive(Deserialize)]
        struct Claims {
            claim: Vec<Claim>,
        }
        #[derive(Deserialize)]
        struct Claim {
            key: String,
            section: String,
        }
        #[derive(Deserialize)]
        struct Exceptions {
            exception: Vec<Exception>,
        }
        let mut tables = read::<Tables>("papers/igpt/reported.toml").table;
        tables.retain(|table| !table.number.is_empty());
        let claims = read::<Claims>("papers/igpt/claims.toml").claim;
        let claims = claims.into_iter().map(|claim| (claim.key, claim.section)).collect();
        Self { tables, exceptions: read::<Exceptions>(LISTED).exception, claims }
    }

    /// Whether no cell of a table needs a number of ours.
    fn is_excepted(&self, table: &Reported) -> bool {
        let excepted = |(row, column): (&Row, &String)| {
            self.exceptions.iter().any(|exception| exception.covers(table, row, column))
        };
        table.cells().all(excepted)
    }

    /// What is wrong with the exceptions.
    fn wrong_exceptions(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for exception in &self.exceptions {
            let covered = self.tables.iter().flat_map(|table| {
                table.cells().filter(move |(row, column)| exception.covers(table, row, column))
            });
            if covered.count() == 0 {
                wrong.push(format!("{exception:?} is about nothing"));
            }
            if exception.reason.len() < 10 {
                wrong.push(format!("{exception:?} has no reason"));
            }
        }
        for table in &self.tables {
            for (row, column) in table.cells() {
                let of = self.exceptions.iter().filter(|exception| exception.covers(table, row, column));
                if of.count() > 1 {
                    wrong.push(format!("{}: {column} of {row:?} has several reasons", table.number));
                }
            }
        }
        wrong
    }

    /// The tables that no notebook reproduces, each with what is missing.
    fn not_reproduced(&self, notebooks: &[Notebook]) -> Vec<String> {
        let missing = |table: &Reported| {
            let reading: Vec<&Notebook> = notebooks.iter().filter(|notebook| notebook.reads(table)).collect();
            if reading.is_empty() {
                return Some("no notebook reads it");
            }
            let (shown, missing) = match () {
                () if table.rows.is_empty() => (
                    reading.iter().any(|notebook| notebook.draws()),
                    "no notebook that is about it draws anything",
                ),
                () if self.is_excepted(table) => (
                    reading.iter().any(|notebook| notebook.judges(&table.section, &self.claims)),
                    "no notebook that reads it judges a claim of its section",
                ),
                () => (
                    reading.iter().any(|notebook| notebook.shows_ours_beside(table)),
                    "no notebook that reads it shows ours beside it",
                ),
            };
            (!shown).then_some(missing)
        };
        let tables = self.tables.iter();
        tables.filter_map(|table| Some(format!("{}: {}", table.number, missing(table)?))).collect()
    }
}

/// A file of the repository.
fn read<T: DeserializeOwned>(file: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What counts of a notebook.
#[derive(Debug, Clone)]
struct Notebook {
    /// The first line of its first cell.
    title: String,
    cells: Vec<Cell>,
}

/// What counts of a code cell.
#[derive(Debug, Clone)]
struct Cell {
    /// Without lines that are comments.
    code: String,
    /// The tables and figures of its outputs, in words.
    shown: Vec<String>,
    /// Whether there are figures or images among its outputs.
    draws: bool,
}

impl Notebook {
    fn of(executed: &Executed) -> Self {
        let first = executed.root["cells"].as_array().and_then(|cells| cells.first());
        let first = first.map(|cell| text(&cell["source"])).unwrap_or_default();
        let title = first.lines().next().unwrap_or_default().to_owned();
        Self { title, cells: executed.code_cells().map(Cell::of).collect() }
    }

    fn reads(&self, table: &Reported) -> bool {
        match table.rows.is_empty() {
            true => has(&self.title, &table.number),
            false => self.cells.iter().any(|cell| cell.code.contains(&table.call())),
        }
    }

    fn draws(&self) -> bool {
        self.cells.iter().any(|cell| cell.draws)
    }

    /// Whether a claim of this section is judged, and the verdict shown.
    fn judges(&self, section: &str, claims: &BTreeMap<String, String>) -> bool {
        let claim = Regex::new(r#"\.claim\("([^"]+)""#).expect("a pattern");
        self.cells.iter().any(|cell| {
            let mut judged = claim.captures_iter(&cell.code);
            judged.any(|found| claims.get(&found[1]).is_some_and(|of| of == section))
                && cell.shown.iter().any(|words| has(words, "ours") && has(words, "verdict"))
        })
    }

    /// Whether a figure or a table has what is reported in this table, and ours. The table of verdicts does not count:
    /// every notebook has one.
    fn shows_ours_beside(&self, table: &Reported) -> bool {
        let variables = self.variables(table);
        self.cells.iter().filter(|cell| !cell.code.contains(".compare(")).any(|cell| {
            let uses_it = cell.code.contains(&table.call())
                || variables.iter().any(|variable| has(&cell.code, variable));
            let is_beside = |words: &String| {
                has(words, "ours") && (has(words, &table.number) || uses_it && has(words, "reported"))
            };
            cell.shown.iter().any(is_beside)
        })
    }

    /// The variables that hold the table, or something of it.
    fn variables(&self, table: &Reported) -> Vec<String> {
        let pattern = format!(r"let (?:mut )?(\w+)(?:: [^=;]+)? = [^;]*{}", regex::escape(&table.call()));
        let binding = Regex::new(&pattern).expect("a pattern");
        let mut variables = Vec::new();
        for cell in &self.cells {
            variables.extend(binding.captures_iter(&cell.code).map(|found| found[1].to_owned()));
        }
        variables
    }
}

impl Cell {
    fn of(cell: &serde_json::Value) -> Self {
        let source = text(&cell["source"]);
        let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let (mut shown, mut draws) = (Vec::new(), false);
        for output in cell["outputs"].as_array().into_iter().flatten() {
            let of = |kind: &str| output["data"].get(kind).map(text).unwrap_or_default();
            let html = of("text/html");
            let has_image = html.contains("<img");
            if has_image || html.contains("<table") {
                shown.push(of("text/plain"));
            }
            draws |= has_image;
        }
        Self { code: code.join("\n"), shown, draws }
    }
}

/// Whether a text has these words, be they large or small. `ours` is not in `hours`, and `Table 1` not in `Table 12`.
fn has(text: &str, words: &str) -> bool {
    Regex::new(&format!(r"(?i)\b{}\b", regex::escape(words))).expect("a pattern").is_match(text)
}

fn committed() -> Vec<Notebook> {
    super::notebooks().iter().map(|(_, executed)| Notebook::of(executed)).collect()
}

/// The notebooks with one change in each.
fn changed(notebooks: &[Notebook], change: impl Fn(&mut Notebook)) -> Vec<Notebook> {
    let mut notebooks = notebooks.to_vec();
    notebooks.iter_mut().for_each(change);
    notebooks
}

#[test]
fn each_table_and_figure_of_the_paper_is_reproduced() {
    let paper = Paper::committed();
    let mut numbers: Vec<&str> = paper.tables.iter().map(|table| table.number.as_str()).collect();
    numbers.sort_unstable();
    let all = [
        "Figure 1", "Figure 2", "Figure 3", "Figure 4", "Table 1", "Table 2", "Table 3", "Table 4", "Table 5",
    ];
    assert_eq!(numbers, all);
    let missing = paper.not_reproduced(&committed());
    assert!(missing.is_empty(), "{missing:#?}");
    let wrong = paper.wrong_exceptions();
    assert!(wrong.is_empty(), "{LISTED}: {wrong:#?}");
}

#[test]
fn a_table_that_the_notebooks_lose_is_found() {
    let (paper, notebooks) = (Paper::committed(), committed());
    for table in &paper.tables {
        let of = format!("{}: ", table.number);
        let dropped = changed(&notebooks, |notebook| {
            notebook.title = notebook.title.replace(&table.number, "");
            for cell in &mut notebook.cells {
                cell.code = cell.code.replace(&table.call(), ".table(\"another\")");
            }
        });
        assert_eq!(paper.not_reproduced(&dropped), [format!("{of}no notebook reads it")]);
        // It is read, and nothing comes of it.
        let without_outputs = changed(&notebooks, |notebook| {
            for cell in &mut notebook.cells {
                (cell.shown, cell.draws) = (Vec::new(), false);
            }
        });
        let missing = paper.not_reproduced(&without_outputs);
        assert!(missing.iter().any(|missing| missing.starts_with(&of)), "{of}{missing:#?}");
        // Only what is reported is shown.
        let without_ours = changed(&notebooks, |notebook| {
            for words in notebook.cells.iter_mut().flat_map(|cell| &mut cell.shown) {
                *words = words.replace("ours", "theirs").replace("Ours", "Theirs");
            }
        });
        let missing = paper.not_reproduced(&without_ours);
        let is_drawing = table.rows.is_empty();
        assert_eq!(missing.iter().any(|missing| missing.starts_with(&of)), !is_drawing, "{of}{missing:#?}");
    }
}

/// A paper with a figure that needs numbers of ours, and a table that needs none.
fn planted() -> Paper {
    let row = |text: &str| -> Row { toml::from_str(text).expect("a row") };
    let table = |key: &str, number: &str, section: &str, row: Row| Reported {
        key: key.into(),
        number: number.into(),
        section: section.into(),
        rows: vec![row],
    };
    Paper {
        tables: vec![
            table("figure8", "Figure 8", "8", row("layer = 3\naccuracy = 50.5")),
            table("table9", "Table 9", "9", row("model = \"other\"\naccuracy = 60.5")),
        ],
        exceptions: vec![Exception {
            table: "table9".into(),
            rows: row("model = [\"other\", \"another\"]"),
            columns: Vec::new(),
            reason: "Of another group.".into(),
        }],
        claims: [("eight", "8"), ("nine", "9")].map(|(key, of)| (key.to_owned(), of.to_owned())).into(),
    }
}

/// A notebook of cells, each with its code and the words of its only output, a figure.
fn notebook(cells: &[(&str, &str)]) -> Notebook {
    let cell = |(code, words): &(&str, &str)| {
        Cell::of(&serde_json::json!({"source": [code], "outputs": [
            {"output_type": "execute_result", "data": {"text/html": ["<img>"], "text/plain": [words]}},
        ]}))
    };
    Notebook { title: String::new(), cells: cells.iter().map(cell).collect() }
}

#[test]
fn what_counts_as_reproduced() {
    let paper = planted();
    let reads_8 = ("let figure = paper.table(\"figure8\")?.clone();\nfigure", "Figure: as reported");
    let shows_8 = ("draw(&figure)", "Figure: two curves\n  reported: one point\n  ours: one point");
    let reads_9 = ("paper.table(\"table9\")?.show(&columns)?", "model  accuracy");
    let judges_9 = ("paper.compare(\"\").claim(\"nine\", effect)?", "Claim  Reported  Ours  Verdict");
    let judge = |cells: &[(&str, &str)]| paper.not_reproduced(&[notebook(cells)]);
    assert_eq!(judge(&[reads_8, shows_8, reads_9, judges_9]), [""; 0]);
    let named = ("draw()", "Figure: Figure 8, and ours");
    assert_eq!(judge(&[reads_8, named, reads_9, judges_9]), [""; 0], "by its number");
    for planted in [
        // A comment reads nothing.
        ("// paper.table(\"figure8\")?", shows_8.1),
        ("draw(&another)", shows_8.1),
        ("draw(&figure)", "Figure: reported, after two hours"),
        ("draw(&figure)", "Figure: ours"),
        ("draw(&figure)", "Figure: Figure 88, and ours"),
        // Every notebook has a table of verdicts.
        ("paper.compare(\"\").value(\"figure\", figure)?", judges_9.1),
    ] {
        let missing = judge(&[reads_8, planted, reads_9, judges_9]);
        assert_eq!(missing, ["Figure 8: no notebook that reads it shows ours beside it"], "{planted:?}");
    }
    let of_another_section = ("paper.compare(\"\").claim(\"eight\", effect)?", judges_9.1);
    let missing = judge(&[reads_8, shows_8, reads_9, of_another_section]);
    assert_eq!(missing, ["Table 9: no notebook that reads it judges a claim of its section"]);
    assert_eq!(judge(&[reads_8, shows_8, judges_9]), ["Table 9: no notebook reads it"]);
}

/// What is wrong with the planted paper's exception and a second one, which differs from it in this.
fn wrong_with(change: impl Fn(&mut Exception)) -> String {
    let mut paper = planted();
    let mut more = paper.exceptions[0].clone();
    change(&mut more);
    paper.exceptions.push(more);
    paper.wrong_exceptions().join("\n")
}

#[test]
fn an_exception_is_about_something_and_has_one_reason() {
    assert_eq!(planted().wrong_exceptions(), [""; 0]);
    assert!(wrong_with(|exception| exception.table = "table7".into()).contains("is about nothing"));
    let without_a_model = wrong_with(|exception| exception.table = "figure8".into());
    assert!(without_a_model.contains("is about nothing"), "{without_a_model}");
    assert!(wrong_with(|exception| exception.columns = vec!["colour".into()]).contains("is about nothing"));
    assert!(wrong_with(|exception| exception.reason.clear()).contains("has no reason"));
    let twice = wrong_with(|exception| exception.columns = vec!["accuracy".into()]);
    assert!(twice.starts_with("Table 9: accuracy of ") && twice.ends_with("has several reasons"), "{twice}");
}

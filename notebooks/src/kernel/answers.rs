//! Answers for which evcxr is not needed.

use serde_json::{Value, json};

use super::{code::Rust, wire::PROTOCOL_VERSION};
use crate::dirs;

/// What `kernel_info_request` asks for.
pub fn kernel_info() -> Value {
    json!({
        "status": "ok",
        "protocol_version": PROTOCOL_VERSION,
        "implementation": "igpt",
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": {
            "name": "rust",
            "version": env!("CARGO_PKG_RUST_VERSION"),
            "mimetype": "text/x-rustsrc",
            "file_extension": ".rs",
            "pygments_lexer": "rust",
            "codemirror_mode": "rust",
        },
        "banner": format!("Rust by evcxr {}, with igpt {}", dirs::EVCXR_VERSION, env!("CARGO_PKG_VERSION")),
        "debugger": false,
        "help_links": [],
    })
}

/// Whether code is whole; for consoles, which send a line at a time.
pub fn is_complete(code: &str) -> Value {
    let parses = Rust::of(code).is_none_or(|rust| rust.parse().is_ok());
    let status = match brackets(code) {
        _ if parses => "complete",
        Brackets::Open => "incomplete",
        // `let a =`, `1 +`, `a.`: more must follow.
        Brackets::Closed if code.trim_end().ends_with(['=', '+', '-', '*', '/', '.', ',', '&', '|']) => {
            "incomplete"
        }
        _ => "invalid",
    };
    match status {
        "incomplete" => json!({"status": status, "indent": "    "}),
        _ => json!({"status": status}),
    }
}

/// How the brackets of code are, and its strings and comments.
#[derive(Debug, PartialEq, Eq)]
enum Brackets {
    /// Each has its other one.
    Closed,
    /// Something was begun and not ended.
    Open,
    /// One closes another kind.
    Wrong,
}

fn brackets(code: &str) -> Brackets {
    let characters: Vec<char> = code.chars().collect();
    let starts =
        |at: usize, word: &str| word.chars().enumerate().all(|(i, c)| characters.get(at + i) == Some(&c));
    let find = |from: usize, word: &str| (from..characters.len()).find(|at| starts(*at, word));
    let (mut open, mut at) = (Vec::new(), 0);
    while let Some(&c) = characters.get(at) {
        let is_word = at > 0 && (characters[at - 1].is_alphanumeric() || characters[at - 1] == '_');
        let hashes = characters[at + 1..].iter().take_while(|c| **c == '#').count();
        // Behind what is skipped; none if that has no end.
        let next = match c {
            '/' if starts(at, "//") => Some(find(at, "\n").unwrap_or(characters.len())),
            '/' if starts(at, "/*") => find(at + 2, "*/").map(|end| end + 2),
            'r' if !is_word && characters.get(at + 1 + hashes) == Some(&'"') => {
                let end = format!("\"{}", "#".repeat(hashes));
                find(at + hashes + 2, &end).map(|found| found + hashes + 1)
            }
            '"' => end_of_string(&characters, at),
            // A character, or a lifetime.
            '\'' if characters.get(at + 1) == Some(&'\\') => find(at + 3, "'").map(|end| end + 1),
            '\'' if characters.get(at + 2) == Some(&'\'') => Some(at + 3),
            '(' | '[' | '{' => {
                open.push(c);
                Some(at + 1)
            }
            ')' | ']' | '}' => {
                if !matches!((open.pop(), c), (Some('('), ')') | (Some('['), ']') | (Some('{'), '}')) {
                    return Brackets::Wrong;
                }
                Some(at + 1)
            }
            _ => Some(at + 1),
        };
        let Some(next) = next else { return Brackets::Open };
        at = next;
    }
    if open.is_empty() { Brackets::Closed } else { Brackets::Open }
}

/// Behind the string that begins at `start`.
fn end_of_string(characters: &[char], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match characters.get(at)? {
            '"' => return Some(at + 1),
            '\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The place behind the name that a question about `position` means: the one that the cursor is on or behind, else that of
/// the call in whose parentheses it is. evcxr explains only what ends at the cursor. Both are counted in characters.
pub fn end_of_name(code: &str, position: usize) -> usize {
    let characters: Vec<char> = code.chars().collect();
    let is_name = |at: usize| characters.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let mut at = position.min(characters.len());
    let touches_a_name = is_name(at) || (at > 0 && is_name(at - 1));
    if !touches_a_name {
        let mut closed = 0;
        let open = characters[..at].iter().rposition(|c| {
            closed += match c {
                ')' => 1,
                '(' => -1,
                _ => 0,
            };
            closed < 0
        });
        at = open.unwrap_or(at);
    }
    (at..=characters.len()).find(|end| !is_name(*end)).unwrap_or(at)
}

/// What was entered since the kernel began.
#[derive(Debug, Default)]
pub struct History(Vec<(u64, String)>);

impl History {
    /// Remembers a cell.
    pub fn push(&mut self, count: u64, code: &str) {
        self.0.push((count, code.to_owned()));
    }

    /// Answers `history_request`. There is one session, the current one, and outputs are not kept.
    pub fn answer(&self, request: &Value) -> Value {
        let number = |key: &str| request[key].as_i64();
        let most = number("n").and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let chosen = match request["hist_access_type"].as_str() {
            Some("range") => {
                let (start, stop) = (number("start").unwrap_or(0), number("stop").unwrap_or(i64::MAX));
                let is_current = matches!(number("session"), None | Some(0 | 1));
                let within =
                    |count: u64| i64::try_from(count).is_ok_and(|count| start <= count && count < stop);
                self.0.iter().filter(|(count, _)| is_current && within(*count)).collect()
            }
            Some("search") => {
                let pattern = request["pattern"].as_str().unwrap_or("*");
                let mut found: Vec<_> =
                    self.0.iter().filter(|(_, code)| matches_glob(pattern, code)).collect();
                if request["unique"] == true {
                    let mut seen = std::collections::HashSet::new();
                    found.reverse();
                    found.retain(|(_, code)| seen.insert(code));
                    found.reverse();
                }
                last(found, most)
            }
            _ => last(self.0.iter().collect(), most),
        };
        let with_output = request["output"] == true;
        let entries = chosen.into_iter().map(|(count, code)| match with_output {
            true => json!([1, count, [code, null]]),
            false => json!([1, count, code]),
        });
        json!({"status": "ok", "history": entries.collect::<Vec<_>>()})
    }
}

/// The last `n`.
fn last<T>(mut entries: Vec<T>, n: usize) -> Vec<T> {
    entries.split_off(entries.len().saturating_sub(n))
}

/// Whether the whole text fits a pattern with `*` and `?`.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // fits[j]: the pattern so far fits the first j characters.
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    for p in pattern {
        let mut next = vec![false; text.len() + 1];
        next[0] = fits[0] && p == '*';
        for (j, t) in text.iter().enumerate() {
            next[j + 1] = match p {
                '*' => next[j] || fits[j + 1],
                p => fits[j] && (p == '?' || p == *t),
            };
        }
        fits = next;
    }
    fits[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_code_is_known() {
        for (code, status) in [
            ("fn f() {", "incomplete"),
            ("foo(1,", "incomplete"),
            ("let a = [1,", "incomplete"),
            ("1 +", "incomplete"),
            ("/* not closed", "incomplete"),
            ("let a = 1);", "invalid"),
            ("fn one( -> u32 { ]", "invalid"),
            ("let r = r#\"not closed\"", "incomplete"),
            ("let s = \"a \\\" {", "incomplete"),
            ("let a = ('(', '\\'', \"{\"); // (", "complete"),
            ("fn f<'a>(a: &'a str) {", "incomplete"),
            ("let a =", "incomplete"),
            ("", "complete"),
            ("let a = 1;", "complete"),
            ("fn f() {}", "complete"),
            (":dep x", "complete"),
            ("let = ;", "invalid"),
            ("fn f() }", "invalid"),
        ] {
            assert_eq!(is_complete(code)["status"], status, "{code}");
        }
    }

    #[test]
    fn questions_are_about_whole_names() {
        for (code, expected) in [
            ("Ten|sor::zeros(3)", "Tensor"),
            ("Tensor::ze|ros(3)", "Tensor::zeros"),
            ("Tensor::zeros|(3)", "Tensor::zeros"),
            ("Tensor::zeros(|", "Tensor::zeros"),
            ("Tensor::zeros((2, 3), |)", "Tensor::zeros"),
            ("é(f(1), |", "é"),
            ("|", ""),
        ] {
            let position = code.chars().position(|c| c == '|').unwrap();
            let code: String = code.chars().filter(|c| *c != '|').collect();
            let end = end_of_name(&code, position);
            assert_eq!(code.chars().take(end).collect::<String>(), expected);
        }
    }

    #[test]
    fn history_is_found_in_three_ways() {
        let mut history = History::default();
        for (count, code) in [(1, "let a = 1;"), (2, "a"), (3, "let b = 2;"), (4, "a")] {
            history.push(count, code);
        }
        let ask = |request: Value| history.answer(&request)["history"].clone();
        assert_eq!(
            ask(json!({"hist_access_type": "tail", "n": 2})),
            json!([[1, 3, "let b = 2;"], [1, 4, "a"]])
        );
        assert_eq!(
            ask(json!({"hist_access_type": "range", "session": 0, "start": 2, "stop": 3, "output": true})),
            json!([[1, 2, ["a", null]]])
        );
        assert_eq!(
            ask(json!({"hist_access_type": "search", "pattern": "let*", "n": 1})),
            json!([[1, 3, "let b = 2;"]])
        );
        let unique = json!({"hist_access_type": "search", "pattern": "?", "unique": true});
        assert_eq!(ask(unique), json!([[1, 4, "a"]]));
    }
}

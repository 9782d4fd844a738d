//! How a cell ended and what it printed, as either side has it, and whether they agree.

use super::model::Leeway;

/// How a cell ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Well.
    Ok,
    /// It panicked. The message, if it is text.
    Panic(Option<String>),
    /// A `?` ended it. What the error says.
    Error(String),
    /// A `return` ended it.
    Return,
    /// It does not compile.
    Refused,
    /// Its process ended.
    Died,
    /// There was no end within the time, or the kernel contradicts itself.
    Broken(String),
}

/// A cell, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// How it ended.
    pub verdict: Verdict,
    /// What it printed.
    pub stdout: String,
    /// What it printed to stderr.
    pub stderr: String,
    /// Its value as text.
    pub value: Option<String>,
    /// What is said of its failure, for whoever reads of a disagreement.
    pub said: String,
}

/// What differs between what the oracle says and what the kernel says, in words; `None` if nothing does.
pub fn difference(oracle: &Seen, kernel: &Seen, lists: Option<&[String]>, leeway: Leeway) -> Option<String> {
    let agree = match (&oracle.verdict, &kernel.verdict) {
        // The kernel may refuse it before it begins, or end it: so long as it is an error with a name of its own.
        (Verdict::Return, Verdict::Panic(_) | Verdict::Error(_) | Verdict::Refused) => true,
        (Verdict::Panic(message), Verdict::Panic(_)) if message.is_none() || leeway.unsaid => true,
        (oracle, kernel) => oracle == kernel,
    };
    if !agree {
        return Some(format!(
            "the program: {:?}; the kernel: {:?}\n{}",
            oracle.verdict, kernel.verdict, kernel.said
        ));
    }
    if matches!(oracle.verdict, Verdict::Return | Verdict::Refused) {
        return None;
    }
    let plain = |text: &str| match leeway.brackets {
        true => text.replace(['<', '>'], ""),
        false => text.to_owned(),
    };
    if plain(&oracle.stdout) != plain(&kernel.stdout) {
        return Some(format!(
            "stdout of the program: {:?}; of the kernel: {:?}",
            oracle.stdout, kernel.stdout
        ));
    }
    if oracle.verdict != Verdict::Ok {
        return None;
    }
    let (wanted, found) = (told(&oracle.stderr, leeway), told(&kernel.stderr, leeway));
    if wanted != found {
        return Some(format!("stderr of the program: {wanted:?}; of the kernel: {found:?}"));
    }
    if let Some(lists) = lists {
        let text = kernel.value.as_deref().unwrap_or_default();
        let names = text.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name.to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        return (names != lists).then(|| format!("variables: {lists:?}; the kernel lists {names:?}"));
    }
    (oracle.value != kernel.value && !leeway.value)
        .then(|| format!("value of the program: {:?}; of the kernel: {:?}", oracle.value, kernel.value))
}

/// The lines of stderr, sorted, since the kernel tells of a caught panic when the cell is over; without the kernel's own
/// notes and without the places of `dbg!`, which are the cell's on one side and the program's on the other.
fn told(stderr: &str, leeway: Leeway) -> Vec<String> {
    let mut told = Vec::new();
    let mut lines = stderr.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("thread '") && line.contains("' panicked at ") {
            let message = lines.next().unwrap_or_default();
            if !leeway.hook {
                told.push(format!("panic: {message}"));
            }
            continue;
        }
        if line.starts_with("note: ") || line.is_empty() {
            continue;
        }
        let of_dbg = line.split_once("] ").filter(|(place, _)| place.starts_with('[') && place.contains(':'));
        told.push(of_dbg.map_or(line, |(_, rest)| rest).to_owned());
    }
    told.sort();
    told
}

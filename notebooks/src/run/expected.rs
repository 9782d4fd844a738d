//! What a cell's tags say about how it has to end.
//!
//! `raises-exception` is the tag that Jupyter's own tools know. There it permits an error; here it demands one, and the
//! exit of the process is none that it accepts. `raises-exception:KIND` demands an error of that kind alone, also
//! beside the plain tag, which other tools need.

use anyhow::{Result, bail};
use serde_json::Value;

use super::{
    outcome::{Cause, Failure},
    text::headline,
};

/// The tag of a cell that has to raise an error.
pub const RAISES: &str = "raises-exception";

/// The kernel could do nothing with a cell.
pub const KERNEL_ERROR: &str = "KernelError";
/// The kernel does not know how a cell ended, and ended its process.
pub const END_NOT_SEEN: &str = "EndNotSeen";

/// A way in which a cell raises an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It panicked.
    Panic,
    /// A `?` returned early.
    Error,
    /// It does not compile.
    CompileError,
    /// It ended the process that ran it.
    ProcessDied,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Panic, Self::Error, Self::CompileError, Self::ProcessDied];

    /// Its name in tags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::CompileError => "compile-error",
            Self::ProcessDied => "process-died",
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Panic => "a panic",
            Self::Error => "an error that `?` returns",
            Self::CompileError => "a compile error",
            Self::ProcessDied => "the exit of its process",
        }
    }

    /// The kind of an error output; `None` for what is no doing of the cell's code: an interrupt, a refused request, a
    /// word of evcxr about one of its commands.
    pub fn of(error: &Value) -> Option<Self> {
        match error["ename"].as_str().unwrap_or_default() {
            "panic" => Some(Self::Panic),
            "CompileError" => Some(Self::CompileError),
            "ProcessDied" | "EvcxrDied" | "DeadKernelError" => Some(Self::ProcessDied),
            "" | "Interrupted" | "KeyboardInterrupt" | "StdinNotAllowed" | END_NOT_SEEN => None,
            // evcxr's refusals and the kernel's own troubles have these names, and so have the error types of many
            // crates. An early return knows its place in a cell.
            name if name == "Error" || name.starts_with("Kernel") || name.starts_with("Evcxr") => {
                let lines = error["traceback"].as_array().into_iter().flatten().filter_map(Value::as_str);
                lines.skip(1).any(|line| line.trim_start().starts_with("at cell [")).then_some(Self::Error)
            }
            _ => Some(Self::Error),
        }
    }
}

/// How a cell has to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Expected {
    /// Without an error.
    #[default]
    Success,
    /// With an error, but not with the exit of its process.
    AnyError,
    /// With an error of one of these kinds.
    Kinds(Vec<ErrorKind>),
}

impl Expected {
    /// Reads a cell's tags.
    ///
    /// # Errors
    /// A kind that is none: a misspelt one would accept nothing, or everything.
    pub fn from_tags(tags: &[String]) -> Result<Self> {
        let mut kinds = Vec::new();
        for name in tags.iter().filter_map(|tag| tag.strip_prefix(RAISES)?.strip_prefix(':')) {
            let Some(kind) = ErrorKind::ALL.into_iter().find(|kind| kind.name() == name.trim()) else {
                let known = ErrorKind::ALL.map(ErrorKind::name).join(", ");
                bail!("the tag `{RAISES}:{name}` names no kind of error; there are {known}");
            };
            kinds.push(kind);
        }
        Ok(match kinds.is_empty() {
            false => Self::Kinds(kinds),
            true if tags.iter().any(|tag| tag == RAISES) => Self::AnyError,
            true => Self::Success,
        })
    }

    /// Whether the cell has to raise an error.
    pub fn raises(&self) -> bool {
        *self != Self::Success
    }

    /// Whether this error is one that the cell has to raise.
    fn accepts(&self, error: &Value) -> bool {
        match (self, ErrorKind::of(error)) {
            (Self::Success, _) => false,
            (Self::AnyError, kind) => {
                let unknown = [KERNEL_ERROR, END_NOT_SEEN].iter().any(|name| error["ename"] == *name);
                kind != Some(ErrorKind::ProcessDied) && !unknown
            }
            (Self::Kinds(kinds), kind) => kind.is_some_and(|kind| kinds.contains(&kind)),
        }
    }

    /// The errors that are none of those that the cell has to raise.
    pub fn unexpected<'a>(&self, errors: &[&'a Value]) -> Vec<&'a Value> {
        errors.iter().copied().filter(|error| !self.accepts(error)).collect()
    }

    /// What is said of a cell that raised no error; `None` where none is demanded.
    pub fn nothing_raised(&self) -> Option<Failure> {
        let text = match self {
            Self::Success => return None,
            Self::AnyError => {
                format!("the cell is tagged `{RAISES}` but raised no error: remove the tag, or mend the cell")
            }
            Self::Kinds(kinds) => format!(
                "the cell is tagged `{RAISES}:{}` but raised no error: {} was expected",
                names(kinds, ErrorKind::name, ","),
                names(kinds, ErrorKind::in_words, " or "),
            ),
        };
        Some(Failure::new(Cause::Cell, text))
    }

    /// What is said of a cell that raised errors of other kinds than it has to; `failure` tells of those errors.
    pub fn explain(&self, failure: Failure) -> Failure {
        let why = match self {
            Self::Success => return failure,
            Self::AnyError => format!(
                "the tag `{RAISES}` accepts an error of the cell, and not the exit of its process \
                 (`{RAISES}:process-died` does)"
            ),
            Self::Kinds(kinds) => format!(
                "the cell is tagged `{RAISES}:{}`, which accepts {} alone",
                names(kinds, ErrorKind::name, ","),
                names(kinds, ErrorKind::in_words, " or ")
            ),
        };
        let headline = headline(&format!("{} ({why})", failure.headline), 300);
        Failure { headline, text: format!("{why}, but it ended with\n{}", failure.text), ..failure }
    }
}

fn names(kinds: &[ErrorKind], name: fn(ErrorKind) -> &'static str, between: &str) -> String {
    kinds.iter().map(|kind| name(*kind)).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn expected(tags: &[&str]) -> Expected {
        Expected::from_tags(&tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn error(ename: &str, traceback: &[&str]) -> Value {
        json!({"ename": ename, "evalue": "why", "traceback": traceback})
    }

    #[test]
    fn each_kind_accepts_itself_alone() {
        let errors = [
            (ErrorKind::Panic, error("panic", &["panic: why"])),
            (ErrorKind::Error, error("ParseIntError", &["ParseIntError: why", "  at cell [3], line 2"])),
            (ErrorKind::CompileError, error("CompileError", &["CompileError: why", "an image"])),
            (ErrorKind::ProcessDied, error("ProcessDied", &["ProcessDied: why"])),
        ];
        for (kind, error) in &errors {
            for other in ErrorKind::ALL {
                let expected = expected(&[&format!("raises-exception:{}", other.name()), RAISES]);
                assert_eq!(expected.accepts(error), *kind == other, "{kind:?} {other:?}");
            }
            assert_eq!(expected(&[RAISES, "hide-input"]).accepts(error), *kind != ErrorKind::ProcessDied);
            assert!(!expected(&["raises"]).accepts(error));
        }
        assert!(expected(&["raises-exception:panic", "raises-exception:error"]).accepts(&errors[1].1));
        assert!(!expected(&["raises-exception:process-died"]).accepts(&error("Interrupted", &[])));
        assert!(expected(&["raises-exception:process-died"]).accepts(&error("EvcxrDied", &[])));
        // Nobody knows whether the cell did what it had to.
        for name in [KERNEL_ERROR, END_NOT_SEEN] {
            for tag in [RAISES, "raises-exception:error", "raises-exception:process-died"] {
                assert!(!expected(&[tag]).accepts(&error(name, &["x: why"])), "{name} {tag}");
            }
        }
    }

    #[test]
    fn an_error_of_that_name_is_told_from_the_engines_refusal() {
        let returned = error("Error", &["Error: why", "  at cell [3], line 2", "    2 | f()?;"]);
        let refused = error("Error", &["Error: why", "at cell"]);
        assert_eq!((ErrorKind::of(&returned), ErrorKind::of(&refused)), (Some(ErrorKind::Error), None));
    }

    #[test]
    fn a_misspelt_kind_is_refused() {
        let said = Expected::from_tags(&["raises-exception:painc".into()]).unwrap_err().to_string();
        assert!(
            said.contains("painc") && said.contains("panic, error, compile-error, process-died"),
            "{said}"
        );
        assert_eq!(expected(&["raises-exceptions"]), Expected::Success);
    }
}

//! `igpt doctor`: looks for what keeps notebooks from running, and says how to cure it. It changes nothing and needs no
//! network.
//!
//! * [`rust`]: the toolchain, the standard library's sources, the linker, evcxr;
//! * [`kernelspec`]: what Jupyter knows of the kernel;
//! * [`jupyter`]: which Jupyter is there;
//! * [`machine`]: build slots, disk, memory, processor, GPU.

mod jupyter;
mod kernelspec;
mod machine;
mod rust;

use std::{fmt::Write as _, io::IsTerminal as _, path::Path};

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As it should be.
    Ok,
    /// Notebooks run, but not as well as they could, or not everywhere.
    Note,
    /// No notebook runs until it is cured.
    Problem,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How it is.
    pub health: Health,
    /// What was seen.
    pub seen: String,
    /// What to do about it.
    pub cure: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, health: Health::Ok, seen: seen.into(), cure: None }
    }

    fn note(what: &'static str, seen: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what, health: Health::Note, seen: seen.into(), cure: Some(cure.into()) }
    }

    fn problem(what: &'static str, seen: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { what, health: Health::Problem, seen: seen.into(), cure: Some(cure.into()) }
    }
}

/// Prints a report on this machine and the checkout `root`; true if there is no problem.
pub fn doctor(root: &Path) -> bool {
    let color = std::io::stdout().is_terminal();
    let mut worst = Health::Ok;
    println!("{}", heading(root));
    // Each is printed as soon as it is known: some programs that are asked take a second.
    for check in [rust::toolchain, rust::sources, rust::linker, rust::evcxr] {
        tell(&check(root), color, &mut worst);
    }
    for finding in kernelspec::findings(root) {
        tell(&finding, color, &mut worst);
    }
    tell(&machine::slots(root), color, &mut worst);
    tell(&machine::disk(), color, &mut worst);
    for finding in jupyter::findings(root) {
        tell(&finding, color, &mut worst);
    }
    for check in [machine::processor, machine::memory, machine::gpu] {
        tell(&check(), color, &mut worst);
    }
    println!("\n{}", verdict(worst));
    worst < Health::Problem
}

fn heading(root: &Path) -> String {
    format!("igpt {} in {}\n", env!("CARGO_PKG_VERSION"), root.display())
}

fn tell(finding: &Finding, color: bool, worst: &mut Health) {
    *worst = (*worst).max(finding.health);
    print!("{}", line(finding, color));
}

fn line(finding: &Finding, color: bool) -> String {
    let (word, code) = match finding.health {
        Health::Ok => ("ok", "32"),
        Health::Note => ("note", "33"),
        Health::Problem => ("problem", "1;31"),
    };
    let word = format!("{word:8}");
    let word = if color { format!("\x1b[{code}m{word}\x1b[0m") } else { word };
    const INDENT: &str = "                       ";
    let seen = finding.seen.trim().replace('\n', &format!("\n{INDENT}"));
    let mut text = format!("{word} {:13} {seen}\n", finding.what);
    if let Some(cure) = &finding.cure {
        let _ = writeln!(text, "{INDENT}→ {}", cure.replace('\n', &format!("\n{INDENT}  ")));
    }
    text
}

fn verdict(worst: Health) -> &'static str {
    match worst {
        Health::Ok => "Notebooks can run.",
        Health::Note => "Notebooks can run; see the notes.",
        Health::Problem => {
            "Notebooks cannot run until the problems are cured. (`igpt` is `./igpt` in the checkout.)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_and_its_cure_another() {
        let finding = Finding::problem("linker", "there is none\nanywhere", "apt install build-essential");
        assert_eq!(
            line(&finding, false),
            "problem  linker        there is none\n                       anywhere\n                       → apt install build-essential\n"
        );
        assert_eq!(line(&Finding::ok("linker", "cc"), false), "ok       linker        cc\n");
        assert!(line(&finding, true).starts_with("\x1b[1;31mproblem "));
    }

    #[test]
    fn only_a_problem_is_a_failure() {
        assert!(Health::Ok < Health::Note && Health::Note < Health::Problem);
        assert!(verdict(Health::Note).starts_with("Notebooks can run"));
    }
}

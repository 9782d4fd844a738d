//! The processes below evcxr: compilers, the cells' own process with all that cells have started, and filters.
//!
//! ```text
//! igpt guard                     the group's leader; orphans become its children
//! └─ evcxr_jupyter               takes the requests
//!    ├─ igpt cargo … ─ rustc     compiles a cell
//!    └─ evcxr_jupyter            runs the cells
//!       ├─ igpt filter           one for each stream
//!       └─ …                     what cells have started
//! ```

use rustix::process::{Pid, Signal, kill_process};

use crate::host;

/// The processes below evcxr's guard.
#[derive(Debug, Clone, Copy)]
pub struct Below(pub i32);

/// A process with its parent.
type Entry = (i32, i32);

impl Below {
    /// All of them. Whoever left the group is found by its parents.
    fn all(self) -> Vec<Entry> {
        descendants_of(self.0, &parents())
    }

    /// The guard and all below it.
    pub fn everyone(self) -> Vec<i32> {
        std::iter::once(self.0).chain(self.all().into_iter().map(|(process, _)| process)).collect()
    }

    /// The programs that evcxr has started to compile a cell, or for a line with `!`, and all that they have started.
    /// Not what cells started, and not cargo where it only reads manifests, which is quick.
    pub fn compilers(self) -> Vec<i32> {
        let all = self.all();
        let children =
            |of: i32| all.iter().filter(move |(_, parent)| *parent == of).map(|(process, _)| *process);
        let is_compiler = |process: &i32| {
            let words = host::command_line(*process);
            let runs_cells = words[0].ends_with(b"evcxr_jupyter");
            !runs_cells && !words.iter().any(|word| word == b"metadata")
        };
        let evcxr = children(self.0).find(|process| is_evcxr(*process));
        let first: Vec<i32> = evcxr.into_iter().flat_map(children).filter(is_compiler).collect();
        let below =
            first.iter().flat_map(|process| descendants_of(*process, &all)).map(|(process, _)| process);
        first.iter().copied().chain(below).collect()
    }

    /// Whether the process `cells` has ended, though nobody may have taken note of it.
    pub fn has_ended(self, cells: i32) -> bool {
        host::state(cells).is_none_or(|state| matches!(state, 'Z' | 'X'))
    }

    /// What the process `cells` has started, but for the filters, which have the last words of it.
    pub fn started_by(self, cells: i32) -> Vec<i32> {
        let below = descendants_of(cells, &parents());
        below.into_iter().map(|(process, _)| process).filter(|process| !is_filter(*process)).collect()
    }

    /// What cells have started and nobody waits for any more, now that their process is gone.
    pub fn orphans(self) -> Vec<i32> {
        let all = self.all();
        let orphans: Vec<i32> = all
            .iter()
            .filter(|(process, parent)| *parent == self.0 && !is_evcxr(*process) && !is_filter(*process))
            .map(|(process, _)| *process)
            .collect();
        let below =
            orphans.iter().flat_map(|process| descendants_of(*process, &all)).map(|(process, _)| process);
        orphans.iter().copied().chain(below).collect()
    }

    /// Those that have left the group.
    pub fn outside(self, group: i32) -> Vec<i32> {
        let left = |process: &i32| host::parent_and_group(*process).is_some_and(|(_, of)| of != group);
        self.all().into_iter().map(|(process, _)| process).filter(left).collect()
    }

    /// Processor time that they have used so far, in ticks of the system, but for what cells use.
    pub fn ticks(self, cells: Option<i32>) -> u64 {
        let all = self.all();
        let of_cells = cells.map(|cells| descendants_of(cells, &all)).unwrap_or_default();
        let counts =
            |process: &i32| Some(*process) != cells && !of_cells.iter().any(|(other, _)| other == process);
        all.iter().map(|(process, _)| *process).filter(counts).map(host::ticks).sum()
    }
}

/// Ends processes at once.
pub fn kill(processes: impl IntoIterator<Item = i32>) {
    signal(processes, Signal::KILL);
}

/// Sends a signal to processes. Those that are gone need none.
pub fn signal(processes: impl IntoIterator<Item = i32>, signal: Signal) {
    for process in processes {
        let _ = Pid::from_raw(process).map(|process| kill_process(process, signal));
    }
}

fn parents() -> Vec<Entry> {
    host::processes().filter_map(|process| Some((process, host::parent_and_group(process)?.0))).collect()
}

fn descendants_of(process: i32, all: &[Entry]) -> Vec<Entry> {
    let mut found: Vec<Entry> = all.iter().filter(|(_, parent)| *parent == process).copied().collect();
    let mut at = 0;
    while let Some((parent, _)) = found.get(at).copied() {
        found.extend(all.iter().filter(|(_, of)| *of == parent));
        at += 1;
    }
    found
}

fn is_evcxr(process: i32) -> bool {
    host::command_line(process)[0].ends_with(b"evcxr_jupyter")
}

fn is_filter(process: i32) -> bool {
    host::command_line(process).get(1).is_some_and(|word| word == b"filter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_are_found_through_their_parents() {
        let all = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 5)];
        let mut found: Vec<i32> = descendants_of(2, &all).into_iter().map(|(process, _)| process).collect();
        found.sort_unstable();
        assert_eq!(found, [3, 4]);
        assert_eq!(descendants_of(6, &all), []);
    }

    #[test]
    fn a_child_is_found_and_ended() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 60; true"]).spawn().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let process = i32::try_from(child.id()).unwrap();
        let below = Below(own);
        assert!(!below.has_ended(process));
        let grandchild = loop {
            if let Some(found) = below.started_by(process).first() {
                break *found;
            }
        };
        assert!(below.orphans().contains(&grandchild), "whatever is not evcxr is one");
        kill([grandchild, process]);
        child.wait().unwrap();
        assert!(below.has_ended(process));
    }
}

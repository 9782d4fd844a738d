//! What a notebook takes of the machine: memory and processor time of its kernel and of everything that this started,
//! read from `/proc` while it runs. Elsewhere than on Linux nothing is known.

use std::{
    collections::{HashMap, HashSet},
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinHandle;

use crate::host;

/// What was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Resources {
    /// The most memory that its processes had at the same time, in bytes: the sum of what of each was resident, so that
    /// what they share counts more than once.
    pub peak_memory: u64,
    /// Processor time of all processes, in seconds; that of the system included.
    pub processor_seconds: f64,
}

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(250);

/// The unit in which Linux tells programs processor times, whatever it counts in itself.
const TICKS_PER_SECOND: f64 = 100.0;

/// Watches a process and its descendants until it is asked.
#[derive(Debug)]
pub struct ResourceMonitor {
    seen: Arc<Mutex<Measured>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Measured {
    root: i32,
    /// All processes that were ever seen, with their processor time in ticks. A process's time is kept when it is gone:
    /// its parent may not wait for it.
    ticks: HashMap<i32, Ticks>,
    peak_memory: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    own: u64,
    /// Of children that it waited for, and theirs.
    children: u64,
}

impl ResourceMonitor {
    /// Begins to watch.
    pub fn begin(root: i32) -> Self {
        let seen = Arc::new(Mutex::new(Measured { root, ticks: HashMap::new(), peak_memory: 0 }));
        let looking = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let looking = Arc::clone(&looking);
                // Reading many files may take a while on a loaded machine.
                let looked = tokio::task::spawn_blocking(move || lock(&looking).look());
                if looked.await.is_err() {
                    return;
                }
            }
        });
        Self { seen, task }
    }

    /// Looks for a last time; to be asked while the process is still there.
    pub fn end(self) -> Resources {
        self.task.abort();
        let mut seen = lock(&self.seen);
        seen.look();
        seen.sum()
    }
}

fn lock(seen: &Mutex<Measured>) -> std::sync::MutexGuard<'_, Measured> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Measured {
    fn look(&mut self) {
        let parents: HashMap<i32, i32> = host::processes()
            .filter_map(|process| Some((process, host::parent_and_group(process)?.0)))
            .collect();
        let mut ours: HashSet<i32> = HashSet::from([self.root]);
        // One whose parent ended belongs to another one now, but it was seen before.
        ours.extend(self.ticks.keys().filter(|process| parents.contains_key(process)));
        loop {
            let more: Vec<i32> = parents
                .iter()
                .filter(|(process, parent)| ours.contains(parent) && !ours.contains(process))
                .map(|(process, _)| *process)
                .collect();
            if more.is_empty() {
                break;
            }
            ours.extend(more);
        }
        let mut memory = 0;
        for process in ours {
            memory += resident(process).unwrap_or(0);
            if let Some(ticks) = ticks(process) {
                self.ticks.insert(process, ticks);
            }
        }
        self.peak_memory = self.peak_memory.max(memory);
    }

    fn sum(&self) -> Resources {
        // The time of a process that is gone is among its parent's children's, if the parent waited for it, and what
        // is left of it otherwise is at most what was seen: the larger of the two sums counts nothing twice.
        let own: u64 = self.ticks.values().map(|ticks| ticks.own).sum();
        let alive = |process: &i32| ticks(*process).is_some();
        let whole = |(process, ticks): (&i32, &Ticks)| alive(process).then_some(ticks.own + ticks.children);
        let waited: u64 = self.ticks.iter().filter_map(whole).sum();
        Resources {
            peak_memory: self.peak_memory,
            processor_seconds: own.max(waited) as f64 / TICKS_PER_SECOND,
        }
    }
}

fn resident(process: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn ticks(process: i32) -> Option<Ticks> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // pid (name) state …: the fields from the 14th on are utime, stime, cutime, cstime.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Ticks { own: field(14)? + field(15)?, children: field(16)? + field(17)? })
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::process::Command;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_child_and_its_children_are_counted() {
        // A process that holds 64 MB, a child of it that works for a while, and one that it waited for.
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let script = format!(
            "sh -c '{work}'; held=$(head -c 64000000 /dev/zero | tr '\\0' x); sh -c '{work}' & wait; sleep 60"
        );
        let mut child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
        let watch = ResourceMonitor::begin(i32::try_from(child.id()).unwrap());
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        // The script is through when it sleeps.
        let sleeping = || {
            host::processes().any(|process| {
                host::parent_and_group(process).is_some_and(|(parent, _)| parent == child.id() as i32)
                    && host::command_line(process).first().is_some_and(|name| name == b"sleep")
            })
        };
        while !sleeping() {
            assert!(std::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(2 * EVERY).await;
        let resources = watch.end();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(resources.peak_memory > 64_000_000, "{resources:?}");
        assert!(resources.processor_seconds > 0.1, "{resources:?}");
    }

    #[test]
    fn a_process_that_is_gone_is_nothing() {
        assert!(resident(i32::MAX).is_none() && ticks(i32::MAX).is_none());
    }
}

//! What this machine is and what runs on it, by `/proc`; elsewhere than on Linux little is known.

use std::{fs, path::Path};

/// The processor's name, else its architecture.
pub fn processor() -> String {
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or(std::env::consts::ARCH, |(_, model)| model.trim()).to_owned()
}

/// How many bytes of memory programs may still take: on the machine, and in the control groups of this process, which a container's
/// limit is.
pub fn available_memory() -> Option<u64> {
    let about = fs::read_to_string("/proc/meminfo").ok()?;
    let line = about.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let machine = line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let left = own.and_then(|own| left_in_groups(Path::new("/sys/fs/cgroup"), Path::new(own)));
    Some(left.map_or(machine, |left| left.min(machine)))
}

/// What the control group `own`, and those around it, leave; none if none has a limit.
fn left_in_groups(all: &Path, own: &Path) -> Option<u64> {
    let number = |file: &Path| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let left = |group: &Path| {
        let folder = all.join(group);
        let limit = number(&folder.join("memory.max"))?;
        let used = number(&folder.join("memory.current"))?;
        // Of this, what files hold that nobody has looked at lately is given up when it is needed.
        let about = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let files = about.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
        Some(limit.saturating_sub(used.saturating_sub(files.unwrap_or(0))))
    };
    own.ancestors().filter_map(left).min()
}

/// The share of the last ten seconds, in percent, in which some program waited for memory; none where the system does not say.
pub fn memory_pressure() -> Option<f64> {
    let about = fs::read_to_string("/proc/pressure/memory").ok()?;
    let some = about.lines().find_map(|line| line.strip_prefix("some avg10="))?;
    some.split_whitespace().next()?.parse().ok()
}

/// Processor time of all processors so far, in ticks: what nobody used, and all.
pub fn idle_and_all_ticks() -> Option<(u64, u64)> {
    let about = fs::read_to_string("/proc/stat").ok()?;
    let ticks = about.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // user nice system idle iowait irq softirq steal; guests' time is a part of the first.
    let ticks: Vec<u64> = ticks.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    Some((ticks.get(3)? + ticks.get(4)?, ticks.iter().sum()))
}

/// The numbers of all processes.
pub fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process's parent and its group; none if it is gone.
pub fn parent_and_group(process: i32) -> Option<(i32, i32)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // pid (name) state parent group …; the name may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1).map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// A process's state, as `Z` for one that has ended and is not waited for; none if it is gone.
pub fn state(process: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// The processor time that a process has used, in ticks of the system; 0 if it is gone.
pub fn ticks(process: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // pid (name) state, then ten fields, then time as a user and in the kernel.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The words of a process's command line.
pub fn command_line(process: i32) -> Vec<Vec<u8>> {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(processes().any(|process| process == own));
        let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get());
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        assert_eq!(parent_and_group(own), parent.map(|parent| (parent, group)));
        let program = std::env::args().next().unwrap();
        assert_eq!(command_line(own)[0], program.as_bytes());
        assert!(!processor().is_empty());
        assert!(state(own).is_some() && state(i32::MAX).is_none());
        let before = ticks(own);
        while ticks(own) == before {
            std::hint::black_box((0..100_000).sum::<u64>());
        }
        assert!(available_memory().is_some_and(|bytes| bytes > 1_000_000));
        assert!(idle_and_all_ticks().is_some_and(|(idle, all)| idle < all));
        assert!(memory_pressure().is_none_or(|percent| (0.0..=100.0).contains(&percent)));
    }

    #[test]
    fn a_control_group_leaves_what_it_and_those_around_it_leave() {
        let folder = tempfile::tempdir().unwrap();
        let write = |group: &str, files: [(&str, &str); 3]| {
            fs::create_dir_all(folder.path().join(group)).unwrap();
            files
                .iter()
                .for_each(|(name, text)| fs::write(folder.path().join(group).join(name), text).unwrap());
        };
        let left = || left_in_groups(folder.path(), Path::new("a/b"));
        assert_eq!(left(), None);
        write("a/b", [("memory.max", "max\n"), ("memory.current", "5\n"), ("memory.stat", "")]);
        assert_eq!(left(), None);
        write(
            "a",
            [
                ("memory.max", "100\n"),
                ("memory.current", "70\n"),
                ("memory.stat", "anon 3\ninactive_file 20\n"),
            ],
        );
        assert_eq!(left(), Some(50));
        write("a/b", [("memory.max", "30\n"), ("memory.current", "40\n"), ("memory.stat", "")]);
        assert_eq!(left(), Some(0));
    }
}

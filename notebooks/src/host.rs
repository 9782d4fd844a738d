//! What this machine is and what runs on it, by `/proc`; elsewhere than on Linux little is known.

use std::fs;

/// The processor's name, else its architecture.
pub fn processor() -> String {
    let about = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or(std::env::consts::ARCH, |(_, model)| model.trim()).to_owned()
}

/// How many bytes of memory programs may still take.
pub fn available_memory() -> Option<u64> {
    let about = fs::read_to_string("/proc/meminfo").ok()?;
    let line = about.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
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
    }
}

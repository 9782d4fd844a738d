//! When there is room for a spare: enough memory, and a processor that nobody needs, or a priority so low that nobody notices.

use std::time::Duration;

use rustix::process::{getpriority_process, setpriority_pgrp, setpriority_process};

use crate::host;

/// One is made if programs may take this much more memory. It has .7 GB itself (docs/log/2026-11-30-spare.md).
const ROOMY: u64 = 4 << 30;
/// It is let go if there is less than this.
const TIGHT: u64 = 2 << 30;
/// It is let go if some program waited for memory for this share of the last ten seconds, in percent.
const PRESSURE: f64 = 10.0;
/// The lowest of all priorities.
const LOWEST: i32 = 19;
/// How long it is looked whether a processor is idle.
const LOOK: Duration = Duration::from_secs(2);

/// What is known of the machine's memory.
#[derive(Debug, Clone, Copy)]
struct Memory {
    available: Option<u64>,
    pressure: Option<f64>,
}

impl Memory {
    fn now() -> Self {
        Self { available: host::available_memory(), pressure: host::memory_pressure() }
    }

    fn is_roomy(self) -> bool {
        self.available.is_some_and(|bytes| bytes >= ROOMY) && !self.is_pressed()
    }

    fn is_tight(self) -> bool {
        self.available.is_none_or(|bytes| bytes < TIGHT) || self.is_pressed()
    }

    fn is_pressed(self) -> bool {
        self.pressure.is_some_and(|percent| percent > PRESSURE)
    }
}

/// Whether a spare has to be let go.
pub fn is_tight() -> bool {
    Memory::now().is_tight()
}

/// Waits for room, and then lowers the priority of this process, if it can be raised again.
pub async fn wait() {
    let can_step_back = can_step_back();
    loop {
        let before = host::idle_and_all_ticks();
        let look = if can_step_back { Duration::ZERO } else { LOOK };
        tokio::time::sleep(look).await;
        let is_idle = || before.zip(host::idle_and_all_ticks()).is_some_and(|(then, now)| is_idle(then, now));
        if Memory::now().is_roomy() && (can_step_back || is_idle()) {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    if can_step_back {
        // All threads of this process, which is alone in its group.
        let _ = setpriority_pgrp(None, LOWEST);
    }
}

/// Whether a processor was idle between two looks.
fn is_idle((idle_then, all_then): (u64, u64), (idle, all): (u64, u64)) -> bool {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let (idle, all) = (idle.saturating_sub(idle_then), all.saturating_sub(all_then));
    // In tenths: a whole processor is never seen.
    all > 0 && 10 * idle * processors >= 9 * all
}

/// Whether a priority that was lowered can be raised again, which not everybody may. Tried on a thread that ends then.
fn can_step_back() -> bool {
    let tried = std::thread::spawn(|| {
        let before = getpriority_process(None)?;
        setpriority_process(None, LOWEST)?;
        setpriority_process(None, before)
    });
    matches!(tried.join(), Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_gap_between_room_and_no_room() {
        let memory = |gigabytes: f64, pressure| {
            let available = Some((gigabytes * f64::from(1 << 30)) as u64);
            Memory { available, pressure }
        };
        let is = |memory: Memory| (memory.is_roomy(), memory.is_tight());
        assert_eq!(is(memory(8.0, Some(0.0))), (true, false));
        assert_eq!(is(memory(8.0, None)), (true, false));
        assert_eq!(is(memory(3.0, Some(0.0))), (false, false));
        assert_eq!(is(memory(1.9, Some(0.0))), (false, true));
        assert_eq!(is(memory(8.0, Some(11.0))), (false, true));
        assert_eq!(is(Memory { available: None, pressure: None }), (false, true));
    }

    #[test]
    fn an_idle_processor_is_seen() {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
        let all = 200 * processors;
        assert!(is_idle((7, 9), (7 + 200, 9 + all)));
        assert!(!is_idle((7, 9), (7 + 100, 9 + all)));
        assert!(!is_idle((7, 9), (7, 9)));
    }

    #[test]
    fn trying_leaves_the_priority_as_it_was() {
        let before = getpriority_process(None).unwrap();
        can_step_back();
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}

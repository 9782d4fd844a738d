//! The build slots, and what the machine has.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::Finding;
use crate::{
    dirs, host,
    program::output,
    slot::inventory::{self, Built, SlotInfo, SlotState, megabytes},
};

/// Build slots of all checkouts.
pub fn slots(root: &Path) -> Finding {
    match inventory::find() {
        Ok(found) => about_slots(&found, root),
        Err(error) => Finding::problem("build slots", format!("{error:#}"), "set IGPT_CACHE to a folder"),
    }
}

fn about_slots(found: &[SlotInfo], root: &Path) -> Finding {
    const WHAT: &str = "build slots";
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let own: Vec<&SlotInfo> = found.iter().filter(|slot| slot.checkout.as_ref() == Some(&root)).collect();
    let used = found.iter().filter(|slot| slot.state != SlotState::Free).count();
    let total: u64 = found.iter().map(|slot| slot.bytes).sum();
    let current = own.iter().filter(|slot| slot.built == Built::Current).count();
    let gone = found.iter().filter(|slot| slot.checkout.is_some() && !slot.checkout_exists).count();
    let seen = format!(
        "{} in all ({}), {used} in use; {current} of this checkout's {} built from the library as it is",
        found.len(),
        megabytes(total),
        own.len()
    );
    if !own.iter().any(|slot| slot.name == "base" && slot.built == Built::Current) {
        let cure = "igpt setup, or else the next kernel compiles the library for minutes";
        Finding::note(WHAT, seen, cure)
    } else if gone > 0 {
        Finding::note(WHAT, format!("{seen}; {gone} of checkouts that are gone"), "igpt kernel --clean")
    } else {
        Finding::ok(WHAT, seen)
    }
}

/// What set-up and a few slots need.
const ROOMY: u64 = 5_000_000_000;
/// What a kernel needs, once set up.
const TIGHT: u64 = 500_000_000;

/// Room where the cache lies.
pub fn disk() -> Finding {
    const WHAT: &str = "disk";
    let cache = match dirs::cache() {
        Ok(cache) => cache,
        Err(error) => return Finding::problem(WHAT, format!("{error:#}"), "set IGPT_CACHE to a folder"),
    };
    match rustix::fs::statvfs(&cache) {
        Ok(about) => about_disk(about.f_bavail.saturating_mul(about.f_frsize), &cache),
        Err(error) => Finding::note(WHAT, format!("{}: {error}", cache.display()), "set IGPT_CACHE"),
    }
}

fn about_disk(free: u64, cache: &Path) -> Finding {
    const WHAT: &str = "disk";
    let seen = format!("{} free at {}", megabytes(free), cache.display());
    let cure = "make room (`igpt kernel --clean`), or set IGPT_CACHE to a folder on a larger disk";
    match free {
        ..TIGHT => Finding::problem(WHAT, seen, cure),
        TIGHT..ROOMY => Finding::note(WHAT, format!("{seen}; set-up needs about 4 GB"), cure),
        ROOMY.. => Finding::ok(WHAT, seen),
    }
}

/// Cores, and the instructions for which the library has code.
pub fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let sets = instruction_sets();
    let sets = if sets.is_empty() { "no vector instructions that we know".into() } else { sets.join(", ") };
    Finding::ok("processor", format!("{}, {cores} cores; {sets}", host::processor()))
}

fn instruction_sets() -> Vec<&'static str> {
    let mut sets = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let known = [
            ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
            ("FMA", std::arch::is_x86_feature_detected!("fma")),
            ("AVX-512F", std::arch::is_x86_feature_detected!("avx512f")),
            ("AVX-512BF16", std::arch::is_x86_feature_detected!("avx512bf16")),
        ];
        sets.extend(known.into_iter().filter_map(|(name, there)| there.then_some(name)));
    }
    #[cfg(target_arch = "aarch64")]
    sets.push("NEON");
    sets
}

/// A kernel needs about one gigabyte.
const KERNEL: u64 = 1_000_000_000;

/// Memory for a kernel.
pub fn memory() -> Finding {
    about_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn about_memory(meminfo: &str) -> Finding {
    const WHAT: &str = "memory";
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    match (field("MemAvailable"), field("MemTotal")) {
        (Some(free), Some(all)) => {
            let seen = format!("{} of {} available", megabytes(free), megabytes(all));
            if free < KERNEL + KERNEL / 2 {
                let seen = format!("{seen}; a kernel needs about {}", megabytes(KERNEL));
                Finding::note(WHAT, seen, "end other programs, or other kernels (`igpt kernel --list`)")
            } else {
                Finding::ok(WHAT, seen)
            }
        }
        _ => Finding::ok(WHAT, "unknown on this system"),
    }
}

/// Never a problem: everything runs on the CPU.
pub fn gpu() -> Finding {
    const WHAT: &str = "GPU";
    let mut smi = Command::new("nvidia-smi");
    smi.args(["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]).stdin(Stdio::null());
    let named = output(smi).ok().filter(|said| !said.is_empty());
    match (driver_is_loadable(), named) {
        (true, Some(named)) => Finding::ok(WHAT, named),
        (true, None) => Finding::ok(WHAT, "libcuda can be loaded; nvidia-smi says nothing"),
        (false, Some(named)) => Finding::note(
            WHAT,
            format!("{named}, but libcuda cannot be loaded: the CPU is used"),
            "put the folder of libcuda.so.1 into LD_LIBRARY_PATH",
        ),
        (false, None) => Finding::ok(WHAT, "none: the CPU is used"),
    }
}

/// Whether the loader finds NVIDIA's driver, as a program that uses it would.
fn driver_is_loadable() -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::ffi::{c_char, c_int, c_void};
        unsafe extern "C" {
            fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
        }
        const RTLD_LAZY: c_int = 1;
        // SAFETY: a C string and a flag, as dlopen wants them. The driver's library may be loaded at any time; it is not
        // unloaded again.
        !unsafe { dlopen(c"libcuda.so.1".as_ptr(), RTLD_LAZY) }.is_null()
    }
    #[cfg(not(target_os = "linux"))]
    false
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::doctor::Health;

    fn slot(name: &str, checkout: &str, built: Built, there: bool) -> SlotInfo {
        SlotInfo {
            folder: PathBuf::from("/cache/slots/x").join(name),
            name: name.into(),
            checkout: Some(checkout.into()),
            checkout_exists: there,
            bytes: 1_000_000,
            state: SlotState::Free,
            built,
            last_used: None,
        }
    }

    #[test]
    fn a_checkout_without_a_built_base_is_told() {
        let root = Path::new("/not/there/here");
        let base = slot("base", "/not/there/here", Built::Current, true);
        assert_eq!(about_slots(std::slice::from_ref(&base), root).health, Health::Ok);
        assert_eq!(about_slots(&[], root).health, Health::Note);
        let old = slot("base", "/not/there/here", Built::Other, true);
        let finding = about_slots(&[old, slot("0", "/not/there/here", Built::Current, true)], root);
        assert_eq!(finding.health, Health::Note);
        assert!(finding.seen.starts_with("2 in all (2 MB), 0 in use; 1 of this checkout's 2"), "{finding:?}");
        let finding = about_slots(&[base, slot("0", "/gone", Built::Other, false)], root);
        assert_eq!(finding.cure.as_deref(), Some("igpt kernel --clean"));
    }

    #[test]
    fn a_full_disk_is_a_problem() {
        let at = |free| about_disk(free, Path::new("/cache")).health;
        assert_eq!([at(0), at(TIGHT), at(ROOMY)], [Health::Problem, Health::Note, Health::Ok]);
    }

    #[test]
    fn memory_is_read() {
        let little = "MemTotal:        4000000 kB\nMemFree: 1 kB\nMemAvailable:    1000000 kB\n";
        assert_eq!(about_memory(little).health, Health::Note);
        let much = little.replace("   1000000", "   3000000");
        assert_eq!(about_memory(&much).seen, "3072 MB of 4096 MB available");
        assert_eq!(about_memory("").health, Health::Ok);
    }
}

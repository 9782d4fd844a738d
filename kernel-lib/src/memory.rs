//! Whether something fits into memory, asked before it is allocated: an allocation that cannot be had ends the process,
//! and with it every variable of a notebook. Whatever takes as much as a setting says asks here.

use crate::{Error, Result};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Checks that something of so many bytes fits into this machine's memory; `factors` are what the number is the product
/// of, which may be larger than any number of bytes. It may still not be free: this is about what can never be had.
///
/// # Errors
/// [`Error::Memory`] if it does not fit.
pub(crate) fn check(what: &str, factors: &[usize]) -> Result<()> {
    let bytes = factors.iter().fold(1u128, |product, factor| product.saturating_mul(*factor as u128));
    let available = available();
    if bytes <= u128::from(available) {
        return Ok(());
    }
    Err(Error::Memory { what: what.to_owned(), bytes, available })
}

/// So many zeros.
///
/// # Errors
/// [`Error::Memory`] if there is no memory for them.
pub(crate) fn zeros<T: Copy + Default>(what: &str, count: usize) -> Result<Vec<T>> {
    check(what, &[count, size_of::<T>()])?;
    let mut numbers = Vec::new();
    if numbers.try_reserve_exact(count).is_err() {
        let (bytes, available) = (count as u128 * size_of::<T>() as u128, available());
        return Err(Error::Memory { what: what.to_owned(), bytes, available });
    }
    numbers.resize(count, T::default());
    Ok(numbers)
}

/// The memory of this machine, swap space included, in bytes, or what this process's control group may have of it. No
/// bound where the system does not say.
fn available() -> u64 {
    static AVAILABLE: OnceLock<u64> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let machine = of_machine(&read(Path::new("/proc/meminfo"))).unwrap_or(u64::MAX);
        let group = read(Path::new("/proc/self/cgroup"));
        // A limit of any group around this one counts, too.
        let groups = group.lines().filter_map(|line| line.strip_prefix("0::/")).flat_map(|path| {
            Path::new(path).ancestors().map(|path| Path::new("/sys/fs/cgroup").join(path)).collect::<Vec<_>>()
        });
        groups.filter_map(|group| read(&group.join("memory.max")).trim().parse().ok()).fold(machine, u64::min)
    })
}

/// RAM and swap space, as `/proc/meminfo` has them in KiB.
fn of_machine(text: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some((field("MemTotal:")? + field("SwapTotal:").unwrap_or(0)).saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_allocated_and_what_cannot_fit_is_an_error() {
        assert_eq!(zeros::<f32>("a little", 1000).unwrap(), vec![0.0; 1000]);
        assert!(zeros::<u8>("nothing", 0).unwrap().is_empty());
        for count in [1 << 50, usize::MAX / 4, usize::MAX] {
            let error = zeros::<f32>("the test's numbers", count).unwrap_err();
            assert!(matches!(error, Error::Memory { .. }));
            let text = error.to_string();
            assert!(text.starts_with("the test's numbers would take") && text.contains("GB"), "{text}");
        }
        check("a product", &[1 << 10, 1 << 10]).unwrap();
        check("nothing", &[usize::MAX, 0]).unwrap();
        for factors in [&[usize::MAX; 5][..], &[1 << 40, 1 << 40], &[1 << 50]] {
            assert!(check("a product", factors).is_err(), "{factors:?}");
        }
    }

    #[test]
    fn memory_is_that_of_the_machine() {
        let text = "MemTotal:       24540012 kB\nMemFree:  100 kB\nSwapTotal:       1000 kB\n";
        assert_eq!(of_machine(text), Some((24_540_012 + 1000) * 1024));
        assert_eq!(of_machine("MemTotal:       1 kB\n"), Some(1024));
        assert_eq!(of_machine(""), None);
        assert!(available() > 64 << 20);
    }
}

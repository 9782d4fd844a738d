//! Work shared among the threads of rayon's current pool, and memory that each thread keeps for a moment's needs.

use crate::simd::Number;
use rayon::prelude::*;
use std::cell::RefCell;

/// Who shares the work of a kernel: all threads of the current pool, or the calling one alone, because the others
/// have the like to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Team {
    pub(crate) threads: usize,
}

impl Team {
    pub(crate) fn all() -> Self {
        Self { threads: rayon::current_num_threads() }
    }

    pub(crate) fn alone() -> Self {
        Self { threads: 1 }
    }

    /// Does the tasks 0..n, in any order. Tasks do not depend on each other, and what they compute must not depend on
    /// how many there are.
    pub(crate) fn share(self, n: usize, task: impl Fn(usize) + Sync + Send) {
        if n <= 1 || self.threads == 1 {
            (0..n).for_each(task);
        } else {
            (0..n).into_par_iter().with_max_len(1).for_each(task);
        }
    }
}

/// Does `work` on a thread of the pool. What it shares then begins on this very thread, and goes on there if the others have no
/// time for it; a thread that is not of the pool would hand over each piece of work, sleep, and wait to be woken: 5 to 9 % of a
/// training step of a network of 8 layers × 128.
pub(crate) fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if rayon::current_thread_index().is_some() { work() } else { rayon::scope(|_| work()) }
}

/// A pointer, or something with pointers in it, that tasks may use at the same time: they write to different places.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(pub(crate) T);

// SAFETY: whoever makes one keeps the promise of its description.
unsafe impl<T> Send for Shared<T> {}
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    pub(crate) fn get(&self) -> T {
        self.0
    }
}

impl<S> Shared<*mut S> {
    /// # Safety
    /// The memory is there, and no other task uses this part of it.
    #[allow(clippy::mut_from_ref, reason = "the caller promises that parts differ")]
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> &mut [S] {
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

/// Where a cache line begins.
const ALIGNMENT: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with `len` numbers of any value, which begin at a cache line. They are this thread's own and are kept for
/// the next time, so that steady work allocates nothing. Must not be nested.
pub(crate) fn with_scratch<S: Number, T>(len: usize, f: impl FnOnce(&mut [S]) -> T) -> T {
    SCRATCH.with_borrow_mut(|words| {
        let bytes = len * size_of::<S>() + ALIGNMENT;
        if words.len() * 8 < bytes {
            *words = vec![0; bytes.div_ceil(8)];
        }
        let start = words.as_mut_ptr().cast::<u8>();
        let start = start.wrapping_add(start.align_offset(ALIGNMENT)).cast::<S>();
        // SAFETY: within the words, which are initialised; any bits are a number, f32 or f64.
        f(unsafe { std::slice::from_raw_parts_mut(start, len) })
    })
}

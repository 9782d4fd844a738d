//! Panics of the Parquet reader and of the image decoders become errors.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

use anyhow::{Result, bail};

thread_local! {
    /// Whether this thread is inside [`catch_panic`].
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

/// Runs what uses the Parquet reader or an image decoder. They take more care with damaged files than they promise:
/// a panic is an error like others, does not end this program, and is not told twice.
pub(super) fn catch_panic<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !CATCHES.get() {
                usual(panic);
            }
        }));
    });
    let outer = CATCHES.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    CATCHES.set(outer);
    result.unwrap_or_else(|_| bail!("is damaged: its reader gave up; download it again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_once() {
        let error = catch_panic(|| catch_panic(|| -> Result<()> { panic!("not told") })).unwrap_err();
        assert_eq!(error.to_string(), "is damaged: its reader gave up; download it again");
        assert!(!CATCHES.get());
        assert_eq!(catch_panic(|| Ok(1)).unwrap(), 1);
    }
}

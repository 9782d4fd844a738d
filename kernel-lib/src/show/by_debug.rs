//! How cells show what has no display of its own.

use super::emit::emit_text;
use std::fmt::Debug;

/// Shows a value by `{:?}`, as evcxr does where a type has no `evcxr_display`. With this in scope every type that has
/// [`Debug`] has the method, so that a cell whose last expression is not one of ours compiles at once, and not only when
/// evcxr has tried in vain. A type's own `evcxr_display` goes before it. `()` is not shown.
///
/// ```
/// use igpt::prelude::*;
///
/// let numbers = vec![1, 2];
/// numbers.evcxr_display(); // as evcxr calls it
/// ```
pub trait ByDebug {
    /// Shows it as the value of the running cell.
    fn evcxr_display(&self);
}

impl<T: Debug + ?Sized> ByDebug for T {
    fn evcxr_display(&self) {
        let text = format!("{self:?}");
        if text != "()" {
            emit_text(&text);
        }
    }
}

//! The variables that cells leave for later cells, as evcxr keeps them: boxed, by name.
//!
//! evcxr compiles the functions of its own store into each cell, once for each variable: of a cell of twenty lines that was a
//! quarter of what the compiler had to translate. So the kernel has cells call these, whose larger halves are compiled here, once
//! (`notebooks/src/kernel/cargo/instrument.rs`). The store itself stays evcxr's.

use crate::kernel::write_line;
use std::any::{Any, TypeId};
use std::collections::HashMap;

/// evcxr's store, between two cells.
pub type Variables = HashMap<String, Box<dyn Any>>;

/// What evcxr takes for news of a variable whose type was defined anew, with its name behind it.
const CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";

/// An empty store, for evcxr, which never gives it back.
#[doc(hidden)]
pub fn create() -> *mut Variables {
    Box::into_raw(Box::default())
}

/// Whether the variable, if it is there, is of this type. Says so to evcxr if not, which then forgets it.
#[doc(hidden)]
pub fn check<T: 'static>(variables: &Variables, name: &str) -> bool {
    is_of(variables, name, TypeId::of::<T>())
}

/// Moves the variable out of the store.
///
/// # Panics
/// If it is not there, or of another type: [`check`] was not called.
#[doc(hidden)]
pub fn take<T: 'static>(variables: &mut Variables, name: &str) -> T {
    match taken(variables, name).downcast() {
        Ok(value) => *value,
        Err(_) => changed(name),
    }
}

/// Moves the variable into the store.
#[doc(hidden)]
pub fn put<T: 'static>(variables: &mut Variables, name: &str, value: T) {
    insert(variables, name, Box::new(value));
}

#[inline(never)]
fn is_of(variables: &Variables, name: &str, expected: TypeId) -> bool {
    let is_of = variables.get(name).is_none_or(|value| (**value).type_id() == expected);
    if !is_of {
        write_line(&mut std::io::stdout(), &format!("{CHANGED_TYPE}{name}"));
    }
    is_of
}

#[inline(never)]
fn taken(variables: &mut Variables, name: &str) -> Box<dyn Any> {
    match variables.remove(name) {
        Some(value) => value,
        None => panic!("the variable '{name}' has gone missing"),
    }
}

#[inline(never)]
fn changed(name: &str) -> ! {
    panic!("the variable '{name}' has changed its type")
}

#[inline(never)]
fn insert(variables: &mut Variables, name: &str, value: Box<dyn Any>) {
    variables.insert(name.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_taken_if_it_is_of_the_same_type() {
        let mut variables = Variables::new();
        put(&mut variables, "x", 5_u8);
        put(&mut variables, "y", vec!["a".to_owned()]);
        assert!(check::<u8>(&variables, "x") && check::<Vec<String>>(&variables, "y"));
        assert!(!check::<i8>(&variables, "x"));
        // evcxr asks for variables that a cell consumed, too.
        assert!(check::<u8>(&variables, "gone"));
        assert_eq!(take::<Vec<String>>(&mut variables, "y"), ["a"]);
        put(&mut variables, "x", 6_u8);
        assert_eq!((take::<u8>(&mut variables, "x"), variables.len()), (6, 0));
    }

    #[test]
    #[should_panic(expected = "the variable 'x' has changed its type")]
    fn a_value_of_another_type_is_not_taken() {
        let mut variables = Variables::new();
        put(&mut variables, "x", 5_u8);
        let _: i8 = take(&mut variables, "x");
    }

    #[test]
    #[should_panic(expected = "the variable 'x' has gone missing")]
    fn what_is_not_there_is_not_taken() {
        let _: u8 = take(&mut Variables::new(), "x");
    }
}

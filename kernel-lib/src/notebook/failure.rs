//! What is known of a failure: the panic hook, the error of a `?`, and the cells' code on the stack.

use crate::kernel::{MARK, write_line};
use serde::Serialize;
use std::any::Any;
use std::panic::PanicHookInfo;
use std::sync::Mutex;
use std::thread::ThreadId;

/// How a cell failed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Failure {
    /// `panic`, `early-return` (through `?`) or `return`.
    kind: &'static str,
    /// The error's short type name (`ParseIntError`), or `panic`.
    ename: String,
    /// The panic's or the error's message.
    evalue: String,
    /// For a panic, the file where it happened.
    file: String,
    /// Line in `file`, from 1; 0 if unknown.
    line: u32,
    /// Column in `file`, from 1; 0 if unknown.
    column: u32,
    /// The cells' code on the stack, the innermost first: library file and offset of the return address in it.
    /// The kernel turns them into lines; symbols and line tables are no business of this process.
    frames: Vec<(String, usize)>,
    /// Frames up to and including this line of the generated source are evcxr's and not the user's; 0 if none.
    skip_line: u32,
    /// Number of the panic in this process, from 1 (0 if it is none, or is not known).
    panic: u64,
}

impl Failure {
    /// A failure of which no more is known than that it happened.
    fn unexplained(kind: &'static str, ename: &str, evalue: &str) -> Self {
        Self {
            kind,
            ename: ename.to_owned(),
            evalue: evalue.to_owned(),
            file: String::new(),
            line: 0,
            column: 0,
            frames: Vec::new(),
            skip_line: 0,
            panic: 0,
        }
    }

    /// The error of a `?`, at the moment at which it becomes that of the cell. `line` is where evcxr converts it.
    pub(super) fn of_question_mark(line: u32, evalue: &str, type_name: &str) -> Self {
        Self {
            frames: frames_of_cells(),
            skip_line: line,
            ..Self::unexplained("early-return", &short_type_name(type_name), evalue)
        }
    }

    /// A `?` of whose error nothing was seen.
    pub(super) fn of_unknown_error() -> Self {
        Self::unexplained("early-return", "Error", "`?` returned an error from the cell")
    }

    /// A `return` that ended the cell, although with `Ok`.
    pub(super) fn of_return() -> Self {
        Self::unexplained(
            "return",
            "EarlyReturn",
            "a `return` ended the cell before its end. What the cell bound is not kept; earlier variables are. Put the code \
             into a function, or what follows into an `else`",
        )
    }

    /// The panic that ended the cell, by what it left to the one who caught it. Panics that happened meanwhile, as in a
    /// `drop` while the stack was unwound, are told apart by their message.
    pub(super) fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let wanted = text.as_deref().unwrap_or(NO_TEXT);
        let own = std::thread::current().id();
        let recorded = recorded();
        let of = |thread: Option<ThreadId>| {
            let mut matching = recorded.panics.iter().rev().filter(|(by, failure)| {
                failure.evalue == wanted && thread.is_none_or(|thread| *by == thread)
            });
            matching.next().map(|(_, failure)| failure.clone())
        };
        // A payload of another thread may have been raised again here.
        of(Some(own)).or_else(|| of(None)).unwrap_or_else(|| {
            let text = text.as_deref().unwrap_or("a panic that was raised without a message (resume_unwind)");
            Self::unexplained("panic", "panic", text)
        })
    }
}

const NO_TEXT: &str = "a panic whose payload is not text";
/// Panics that are remembered. A cell may catch any number of them.
const REMEMBERED: usize = 64;

/// The panics of this cell, for the whole process.
struct Recorded {
    number: u64,
    panics: Vec<(ThreadId, Failure)>,
}

static RECORDED: Mutex<Recorded> = Mutex::new(Recorded { number: 0, panics: Vec::new() });

fn recorded() -> std::sync::MutexGuard<'static, Recorded> {
    RECORDED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Forgets the panics of the cell before.
pub(super) fn forget_panics() {
    recorded().panics.clear();
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send + 'static>;

/// Sets the panic hook, unless it is set. A hook that a cell has set meanwhile is called after ours.
pub(super) fn watch_panics() {
    // A boxed closure is told by its address, which is its own only if it holds something.
    static OURS: Mutex<Option<usize>> = Mutex::new(None);
    let address = |hook: &Hook| std::ptr::from_ref(&**hook).cast::<()>() as usize;
    let mut ours = OURS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let found = std::panic::take_hook();
    let hook: Hook = match *ours {
        Some(known) if known == address(&found) => found,
        // The standard library's own would only print what the kernel tells.
        None => {
            let first = std::process::id();
            Box::new(move |info| {
                std::hint::black_box(&first);
                note_panic(info);
            })
        }
        Some(_) => Box::new(move |info| {
            note_panic(info);
            found(info);
        }),
    };
    *ours = Some(address(&hook));
    std::panic::set_hook(hook);
}

/// The panic hook: remembers the panic, and writes it to stderr as a line for the kernel, which prints it
/// unless the panic turns out to be what ended the cell (then it is in the error).
fn note_panic(info: &PanicHookInfo<'_>) {
    let evalue = info.payload_as_str().unwrap_or(NO_TEXT).to_owned();
    let (file, line, column) =
        info.location().map_or((String::new(), 0, 0), |l| (l.file().to_owned(), l.line(), l.column()));
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("<unnamed>").to_owned();
    let frames = frames_of_cells();
    let mut recorded = recorded();
    recorded.number += 1;
    let panic = recorded.number;
    let failure =
        Failure { file, line, column, frames, panic, ..Failure::unexplained("panic", "panic", &evalue) };
    if let Ok(json) = serde_json::to_string(&serde_json::json!({"thread": name, "failure": &failure})) {
        write_line(&mut std::io::stderr(), &format!("{MARK}igpt:panic {json}"));
    }
    if recorded.panics.len() == REMEMBERED {
        recorded.panics.remove(0);
    }
    recorded.panics.push((thread.id(), failure));
}

/// The cells' code on the stack of the caller, see [`Failure::frames`]. `std::backtrace` cannot be asked: it keeps
/// the list of libraries that it found at its first use, and each cell is a new library.
#[cfg(unix)]
fn frames_of_cells() -> Vec<(String, usize)> {
    use std::ffi::{CStr, c_int, c_void};

    type Visit = extern "C" fn(*mut c_void, *mut c_void) -> c_int;
    // Every Rust program with unwinding links the unwinder that has these two.
    unsafe extern "C" {
        fn _Unwind_Backtrace(visit: Visit, argument: *mut c_void) -> c_int;
        fn _Unwind_GetIP(context: *mut c_void) -> usize;
    }
    extern "C" fn visit(context: *mut c_void, addresses: *mut c_void) -> c_int {
        // SAFETY: `addresses` is the vector below, lent for the time of the walk; `context` is the unwinder's.
        unsafe { (*addresses.cast::<Vec<usize>>()).push(_Unwind_GetIP(context)) };
        0
    }
    let mut addresses: Vec<usize> = Vec::new();
    // SAFETY: `visit` does not unwind, and the vector outlives the call.
    unsafe { _Unwind_Backtrace(visit, (&raw mut addresses).cast()) };
    let mut frames = Vec::new();
    for address in addresses {
        // SAFETY: all zero is a valid `Dl_info`; `dladdr` takes any address and fills it for those it knows.
        let (found, info) = unsafe {
            let mut info: libc::Dl_info = std::mem::zeroed();
            (libc::dladdr(address as *const c_void, &raw mut info) != 0, info)
        };
        if !found || info.dli_fname.is_null() {
            continue;
        }
        // SAFETY: the loader's name of a loaded library is a C string that lives as long as the library.
        let file = unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy().into_owned();
        if file.rsplit('/').next().is_some_and(|name| name.contains("code_")) {
            frames.push((file, address - info.dli_fbase as usize));
        }
    }
    frames
}

#[cfg(not(unix))]
fn frames_of_cells() -> Vec<(String, usize)> {
    Vec::new()
}

/// `alloc::vec::Vec<core::num::error::ParseIntError>` becomes `Vec<ParseIntError>`.
fn short_type_name(name: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    for c in name.chars() {
        match c {
            ':' => word.clear(),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            c => {
                short.push_str(&word);
                word.clear();
                short.push(c);
            }
        }
    }
    short + &word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_panic_that_ended_a_cell_is_told_from_others() {
        struct Cleanup;
        impl Drop for Cleanup {
            fn drop(&mut self) {
                let _ = std::panic::catch_unwind(|| panic!("cleanup"));
            }
        }
        watch_panics();
        forget_panics();
        let payload = std::panic::catch_unwind(|| {
            let _guard = Cleanup;
            panic!("cause");
        });
        let failure = Failure::of_panic(&*payload.unwrap_err());
        assert_eq!((failure.evalue.as_str(), failure.panic), ("cause", 1));
        assert_ne!(failure.line, 0);
        // Without the hook the message is still known.
        forget_panics();
        let failure = Failure::of_panic(&String::from("told by its payload"));
        assert_eq!((failure.evalue.as_str(), failure.panic), ("told by its payload", 0));
        assert!(Failure::of_panic(&7u8).evalue.contains("without a message"));
        // A hook that somebody else has set is kept, and ours is put before it again.
        static THEIRS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        std::panic::set_hook(Box::new(|_| _ = THEIRS.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
        watch_panics();
        watch_panics();
        let payload = std::panic::catch_unwind(|| panic!("both"));
        assert_ne!(Failure::of_panic(&*payload.unwrap_err()).panic, 0);
        assert_eq!(THEIRS.load(std::sync::atomic::Ordering::Relaxed), 1);
        let _ = std::panic::take_hook();
    }

    #[test]
    fn type_names_are_shortened() {
        assert_eq!(short_type_name("core::num::error::ParseIntError"), "ParseIntError");
        assert_eq!(short_type_name("alloc::boxed::Box<dyn core::error::Error>"), "Box<dyn Error>");
        assert_eq!(short_type_name("&str"), "&str");
    }
}

//! The cells' side of the `igpt` kernel: how a cell tells the truth about how it ended.
//!
//! evcxr reports a cell that panicked, or that returned early through `?`, as a success. But its generated
//! code does say what happened, through `println!` and `eprintln!`, and it names each variable that it loads
//! and stores through `stringify!`. The kernel's prelude imports macros of these three names from here, and
//! keeps one variable alive, `igpt_session`. So, without touching anybody's cell:
//!
//! * an uncaught panic and an early return each send a *failure* as a value of the MIME type
//!   [`FAILURE_MIME`], on the same ordered path as the cell's result;
//! * the start and the end of each cell are marked on stdout and stderr, so that the kernel knows when a
//!   cell's output is complete, and a line left open by `print!` is closed.
//!
//! Panics that are caught, threads that are joined and errors that are handled send nothing. Everything else
//! that a cell prints passes through unchanged. A cell never needs anything of this module by name.
//!
//! The kernel interrupts a cell by SIGINT, which only asks for a [`stop`].

mod streams;

use crate::stop;
use serde::Serialize;
use std::fmt::Display;
use std::io::Write;
use std::panic::{Location, PanicHookInfo};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// First character of every line that is for the kernel and not for the reader.
pub const MARK: char = '\u{1}';

/// MIME type of the value that says that a cell failed: a JSON object, see [`Failure`].
pub const FAILURE_MIME: &str = "application/vnd.igpt.failure+json";

/// How a cell failed.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// `panic` or `early-return`.
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
    /// Frames up to and including this line of the generated source are evcxr's and not the person's; 0 if none.
    skip_line: u32,
    /// Number of the panic in this process, from 1 (0 for an early return).
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
}

/// What the panic hook and the boundary know, for the whole process.
struct State {
    panics: u64,
    last_panic: Option<Failure>,
    last_error: Option<Failure>,
    /// Which cell's code is running (the address of a string in its library), and how often it has named
    /// the session variable.
    cell: (usize, u32),
}

static STATE: Mutex<State> =
    Mutex::new(State { panics: 0, last_panic: None, last_error: None, cell: (0, 0) });

fn state() -> std::sync::MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The variable that the prelude keeps alive so that each cell marks its start and end. It holds nothing.
#[derive(Debug)]
pub struct Session(());

impl Session {
    /// Starts the session in the process that runs the cells: sets the panic hook and says so to the kernel.
    #[must_use]
    pub fn start() -> Self {
        std::panic::set_hook(Box::new(note_panic));
        streams::filter();
        #[cfg(unix)]
        ask_to_stop_at_interrupts();
        LIVE.store(true, Ordering::Relaxed);
        tell(&format!("session {}", std::process::id()));
        Self(())
    }
}

/// Whether the `igpt` kernel reads what this process prints.
static LIVE: AtomicBool = AtomicBool::new(false);

/// Whether the `igpt` kernel reads what this process prints: then outputs can be updated, see
/// [`show::display`](crate::show::display).
pub(crate) fn is_live() -> bool {
    LIVE.load(Ordering::Relaxed)
}

/// Tells the kernel something, if there is one.
pub(crate) fn tell(what: &str) {
    if is_live() {
        write_line(&mut std::io::stdout().lock(), &format!("{MARK}igpt:{what}"));
    }
}

#[cfg(unix)]
fn ask_to_stop_at_interrupts() {
    extern "C" fn interrupted(_signal: libc::c_int) {
        stop::request();
    }
    // SAFETY: all zero is a valid `sigaction`; the handler only stores into an atomic. Calls that wait are taken up again.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = interrupted as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGINT, &raw const action, std::ptr::null_mut());
    }
}

/// Writes one whole line and flushes. A failure to write is ignored: nobody is left to tell.
fn write_line(to: &mut impl Write, line: &str) {
    let _ = to.write_all(format!("{line}\n").as_bytes()).and_then(|()| to.flush());
}

/// The panic hook: remembers the panic, and writes it to stderr as a line for the kernel, which prints it
/// unless the panic turns out to be what ended the cell (then it is in the error).
fn note_panic(info: &PanicHookInfo<'_>) {
    let evalue = info.payload_as_str().unwrap_or("a panic whose payload is not text").to_owned();
    let (file, line, column) =
        info.location().map_or((String::new(), 0, 0), |l| (l.file().to_owned(), l.line(), l.column()));
    let thread = std::thread::current().name().unwrap_or("<unnamed>").to_owned();
    let frames = frames_of_cells();
    let mut state = state();
    state.panics += 1;
    let panic = state.panics;
    let failure =
        Failure { file, line, column, frames, panic, ..Failure::unexplained("panic", "panic", &evalue) };
    if let Ok(json) = serde_json::to_string(&serde_json::json!({"thread": thread, "failure": &failure})) {
        write_line(&mut std::io::stderr(), &format!("{MARK}igpt:panic {json}"));
    }
    state.last_panic = Some(failure);
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

/// Writes `failure` where it cannot be lost or overtaken: as a value of the cell. Closes an open line and an
/// open value first, so that a failure in the middle of either is still seen.
fn send(failure: &Failure) {
    let json = serde_json::to_string(failure).unwrap_or_default();
    let stdout = &mut std::io::stdout().lock();
    write_line(stdout, &format!("{MARK}igpt:close"));
    write_line(stdout, "EVCXR_END_CONTENT");
    write_line(stdout, &format!("EVCXR_BEGIN_CONTENT {FAILURE_MIME}\n{json}\nEVCXR_END_CONTENT"));
}

/// Says that the cell ended in a panic. Called by evcxr's generated code, through `println!`.
#[doc(hidden)]
pub fn uncaught_panic() {
    let last = state().last_panic.take();
    send(&last.unwrap_or_else(|| {
        Failure::unexplained("panic", "panic", "a panic that was raised without a message (resume_unwind)")
    }));
    write_line(&mut std::io::stdout(), "EVCXR_PANIC_NOTIFICATION");
}

/// Remembers the error of a `?` (and only of evcxr's own conversion, told by the name of the caller), else
/// prints it as `eprintln!` would. Called by evcxr's generated code, through `eprintln!`, from line `line`.
#[doc(hidden)]
pub fn error_of_question_mark(caller: &str, line: u32, error: &dyn Display, type_name: &str) {
    if !caller.contains("EvcxrUserCodeError") {
        return std::eprintln!("{error}");
    }
    state().last_error = Some(Failure {
        frames: frames_of_cells(),
        skip_line: line,
        ..Failure::unexplained("early-return", &short_type_name(type_name), &error.to_string())
    });
}

/// Says that the cell returned early through `?`. Called by evcxr's generated code, through `println!`.
#[doc(hidden)]
pub fn early_return(notification: &str) {
    let last = state().last_error.take();
    send(&last.unwrap_or_else(|| {
        Failure::unexplained("early-return", "Error", "`?` returned an error from the cell")
    }));
    write_line(&mut std::io::stdout(), notification);
}

/// Marks the start and the end of a cell. evcxr's generated code names the session variable three times:
/// to check its type and to load it, before the cell, and to store it, after the cell however that ended.
/// Each cell is a library of its own, so the address of the caller's file name tells them apart.
#[doc(hidden)]
#[track_caller]
#[must_use]
pub fn boundary() -> &'static str {
    let library = Location::caller().file().as_ptr() as usize;
    let count = {
        let mut state = state();
        state.cell = if state.cell.0 == library { (library, state.cell.1 + 1) } else { (library, 1) };
        state.cell.1
    };
    match count {
        1 => {
            // An interrupt that came too late for the cell before is none for this one.
            stop::clear();
            write_line(&mut std::io::stdout(), &format!("{MARK}igpt:start"));
        }
        3 => {
            crate::show::flush();
            write_line(&mut std::io::stdout(), &format!("{MARK}igpt:end"));
            write_line(&mut std::io::stderr(), &format!("{MARK}igpt:end"));
        }
        _ => {}
    }
    "igpt_session"
}

/// `println!` of the cells: evcxr's two reports become failures, all else is `std::println!`.
#[doc(hidden)]
#[macro_export]
macro_rules! cell_println {
    ("EVCXR_PANIC_NOTIFICATION") => { $crate::notebook::uncaught_panic() };
    ("{}", evcxr_internal_runtime::USER_ERROR_OCCURRED) => {
        $crate::notebook::early_return(evcxr_internal_runtime::USER_ERROR_OCCURRED)
    };
    ($($t:tt)*) => { ::std::println!($($t)*) };
}

/// `eprintln!` of the cells: the error of a `?` is kept for the failure, all else is `std::eprintln!`.
#[doc(hidden)]
#[macro_export]
macro_rules! cell_eprintln {
    ("{}", $error:ident) => {{
        fn here() {}
        $crate::notebook::error_of_question_mark(
            ::std::any::type_name_of_val(&here),
            ::std::line!(),
            &$error,
            ::std::any::type_name_of_val(&$error),
        )
    }};
    ($($t:tt)*) => { ::std::eprintln!($($t)*) };
}

/// `stringify!` of the cells: naming the session variable marks a boundary, all else is `std::stringify!`.
#[doc(hidden)]
#[macro_export]
macro_rules! cell_stringify {
    (igpt_session) => { $crate::notebook::boundary() };
    ($($t:tt)*) => { ::std::stringify!($($t)*) };
}

#[doc(hidden)]
pub use crate::{cell_eprintln as eprintln, cell_println as println, cell_stringify as stringify};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_are_shortened() {
        assert_eq!(short_type_name("core::num::error::ParseIntError"), "ParseIntError");
        assert_eq!(short_type_name("alloc::boxed::Box<dyn core::error::Error>"), "Box<dyn Error>");
        assert_eq!(short_type_name("&str"), "&str");
    }
}

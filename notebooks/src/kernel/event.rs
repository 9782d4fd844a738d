//! What evcxr tells the kernel.

use super::wire::Message;

/// What evcxr says.
#[derive(Debug)]
pub enum Event {
    /// A reply.
    Shell(Message),
    /// An output or a state.
    Iopub(Message),
    /// A question to the user.
    Stdin(Message),
    /// A reply on the control channel, which says nothing.
    Control,
    /// It will never answer again, for this reason, though its process lives.
    Stuck(String),
    /// Its process ended; says how.
    Exited(String),
}

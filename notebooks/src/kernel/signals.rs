//! How the kernel is told from outside: by signals, and by the exit of what launched it.

use anyhow::Result;

/// Signals: true for an interrupt, false for the end.
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on.
    pub fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => false,
            _ = self.hang_up.recv() => false,
        }
    }
}

/// The process that launched the kernel. When it has exited nobody will ever ask for anything; a front end that merely
/// disconnected may come back.
#[derive(Debug)]
pub struct Parent {
    parent: Option<rustix::process::Pid>,
    named: Option<rustix::process::Pid>,
}

impl Parent {
    /// The one that this process has now.
    pub fn of_this_process() -> Self {
        let named = std::env::var("JPY_PARENT_PID").ok().and_then(|pid| pid.parse().ok());
        let named = named.filter(|pid| *pid > 1).and_then(rustix::process::Pid::from_raw);
        Self { parent: rustix::process::getppid(), named }
    }

    /// Whether nobody will ever ask for anything again.
    pub fn is_gone(&self) -> bool {
        let gone = |pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
        rustix::process::getppid() != self.parent || self.named.is_some_and(gone)
    }
}

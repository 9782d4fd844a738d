//! How long something is tried: how often, with which pauses, and how long in all because the hub asks to wait.

use std::time::{Duration, Instant};

use super::{Settings, error::DownloadError};

/// How long it is waited in all, for one question or file, because the hub asks to.
const LONGEST: Duration = Duration::from_secs(300);
/// A long pause, or a silent hub, is spoken of so often.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What is left of it.
pub(super) struct Patience<'a> {
    settings: &'a Settings,
    what: &'a str,
    failed: u32,
    tries: u32,
    longest: Duration,
    waited: Duration,
}

impl<'a> Patience<'a> {
    /// For `what`, as lines call it.
    pub(super) fn new(settings: &'a Settings, what: &'a str) -> Self {
        Self { settings, what, failed: 0, tries: settings.tries, longest: LONGEST, waited: Duration::ZERO }
    }

    /// Who has something to go on with waits neither often nor because the hub asks to.
    pub(super) fn short(self) -> Self {
        Self { tries: self.tries.min(2), longest: Duration::ZERO, ..self }
    }

    /// It got on: what failed before does not count any more.
    pub(super) fn renew(&mut self) {
        (self.failed, self.waited) = (0, Duration::ZERO);
    }

    /// Waits until the next try: twice as long after each failure, or as long as the hub asks.
    ///
    /// # Errors
    /// `error`, if there is to be no other try.
    pub(super) async fn wait(
        &mut self,
        error: DownloadError,
        say: &dyn Fn(&str),
    ) -> Result<(), DownloadError> {
        self.failed += 1;
        if !error.is_transient {
            return Err(error);
        }
        if let Some(asked) = error.wait.filter(|asked| !asked.is_zero()) {
            self.waited += asked;
            if self.waited > self.longest {
                return Err(error.asks_to_wait_long(asked, self.longest));
            }
        }
        if self.failed >= self.tries {
            return Err(error);
        }
        let delay =
            self.settings.delay.saturating_mul(1 << self.failed.saturating_sub(1).min(8)).min(LONGEST);
        let delay = error.wait.unwrap_or(delay).max(self.settings.delay);
        say(&format!("{}: {}; trying again in {:.1} s", self.what, error.brief, delay.as_secs_f64()));
        let end = Instant::now() + delay;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(SAY_AGAIN)).await;
            if left <= SAY_AGAIN {
                return Ok(());
            }
            say(&format!("{}: trying again in {:.0} s", self.what, (left - SAY_AGAIN).as_secs_f64()));
        }
    }
}

/// Waits for something, and says so as long as it does not come.
pub(super) async fn until<T>(
    what: &str,
    whom: &str,
    say: &dyn Fn(&str),
    comes: impl Future<Output = T>,
) -> T {
    let begun = Instant::now();
    let mut comes = std::pin::pin!(comes);
    loop {
        match tokio::time::timeout(SAY_AGAIN, comes.as_mut()).await {
            Ok(came) => return came,
            Err(_) => say(&format!("{what}: waiting for {whom} for {:.0} s", begun.elapsed().as_secs_f64())),
        }
    }
}

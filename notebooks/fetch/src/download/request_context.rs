//! What the hub is asked for, as its errors tell it.

use std::time::Duration;

/// What a request was about, for the message of its failure.
pub(super) struct RequestContext<'a> {
    pub endpoint: &'a str,
    pub repository: &'a str,
    pub noun: &'a str,
    /// What stands before the repository's name in addresses.
    pub prefix: &'a str,
    pub revision: &'a str,
    pub file: Option<&'a str>,
    pub timeout: Duration,
    /// Where the token comes from that was sent.
    pub token: Option<&'a str>,
}

impl RequestContext<'_> {
    /// What to do about a token.
    pub(super) fn token_cure(&self) -> String {
        let page = format!("{}/settings/tokens", self.endpoint);
        match self.token {
            None => format!("set HF_TOKEN to a token of yours ({page})"),
            Some(from) => format!("see whether the token in {from} is valid and may read it ({page})"),
        }
    }
}

//! What goes wrong between this program and the hub: whether it can pass, and what a user can do.

use std::{error::Error as _, fmt, time::Duration};

use hf_hub::HFError;
use reqwest::StatusCode;

use super::request_context::RequestContext;

/// What to do if what comes is not the file.
pub(super) const WITHOUT_MIRROR: &str =
    "try again later, and with a mirror in HF_ENDPOINT or a proxy, try without";

const CHECK_NETWORK: &str =
    "check the network, HF_ENDPOINT and HTTPS_PROXY; HF_HUB_OFFLINE=1 uses only what is in the cache";

/// A request that failed.
#[derive(Debug)]
pub(super) struct DownloadError {
    /// What happened, for a line that says that it is tried again.
    pub brief: String,
    /// What can be done about it.
    cure: String,
    /// Another try may go well.
    pub is_transient: bool,
    /// How long the hub asks to wait before another try.
    pub wait: Option<Duration>,
}

impl fmt::Display for DownloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.brief)?;
        if self.cure.is_empty() { Ok(()) } else { write!(f, "; {}", self.cure) }
    }
}

impl std::error::Error for DownloadError {}

/// An answer that is not what was asked for.
pub(super) struct Refusal {
    pub status: StatusCode,
    /// The hub's own word for the reason, like `GatedRepo`.
    pub code: Option<String>,
    /// The hub's own sentence.
    pub message: Option<String>,
    pub body: String,
    pub wait: Option<Duration>,
}

impl DownloadError {
    /// That can pass.
    pub(super) fn transient(brief: impl Into<String>) -> Self {
        Self { brief: brief.into(), cure: String::new(), is_transient: true, wait: None }
    }

    /// An answer of another length than the file's.
    pub(super) fn wrong_length(brief: String) -> Self {
        Self { cure: WITHOUT_MIRROR.into(), ..Self::transient(brief) }
    }

    /// That cannot.
    pub(super) fn permanent(brief: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { brief: brief.into(), cure: cure.into(), is_transient: false, wait: None }
    }

    pub(super) fn of(error: HFError, asked: &RequestContext<'_>) -> Self {
        let wait = if let HFError::RateLimited { retry_after, .. } = &error { *retry_after } else { None };
        match error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context }
            | HFError::RateLimited { context, .. }
            | HFError::RepoNotFound { context: Some(context), .. }
            | HFError::RevisionNotFound { context: Some(context), .. }
            | HFError::EntryNotFound { context: Some(context), .. } => {
                let context = *context;
                Self::refused(
                    Refusal {
                        status: context.status,
                        code: context.error_code,
                        message: context.server_message,
                        body: context.body,
                        wait,
                    },
                    asked,
                )
            }
            HFError::Request { source, .. } => Self::of_transport(&source, asked),
            HFError::Json(_) | HFError::MalformedResponse { .. } => Self::no_hub(&error.to_string(), asked),
            other => {
                Self::permanent(cause(&other), format!("check HF_ENDPOINT, which is {}", asked.endpoint))
            }
        }
    }

    /// No answer came, or only a part.
    pub(super) fn of_transport(error: &reqwest::Error, asked: &RequestContext<'_>) -> Self {
        let endpoint = asked.endpoint;
        let cure = CHECK_NETWORK;
        let away = |brief: String| Self { cure: cure.into(), ..Self::transient(brief) };
        if is_caused_by::<serde_json::Error>(error) {
            return Self::no_hub(&cause(error), asked);
        }
        if error.is_redirect() {
            return Self::redirected(&cause(error), asked);
        }
        if error.is_timeout() && !error.is_connect() {
            return away(format!("nothing came from {endpoint} for {:.1} s", asked.timeout.as_secs_f64()));
        }
        if error.is_body() || error.is_decode() {
            return away(format!("the connection broke off: {}", cause(error)));
        }
        away(format!("cannot reach {endpoint}: {}", cause(error)))
    }

    /// One address leads to the next, and none to an answer.
    pub(super) fn redirected(what: &str, asked: &RequestContext<'_>) -> Self {
        let brief = format!("{} sends this from one address to the next: {what}", asked.endpoint);
        Self::permanent(brief, CHECK_NETWORK)
    }

    /// The bytes are not the file's, but compressed. Nobody asked for that.
    pub(super) fn compressed(encoding: &str) -> Self {
        Self::permanent(
            format!(
                "its bytes came compressed ({encoding}), which was not asked for: nothing of them was kept"
            ),
            format!("a mirror or proxy does this: {WITHOUT_MIRROR}"),
        )
    }

    /// The hub asks to wait longer than it is waited: `longest` in all.
    pub(super) fn asks_to_wait_long(self, wait: Duration, longest: Duration) -> Self {
        let (wait, minutes) = (wait.as_secs(), wait.as_secs().div_ceil(60));
        let limit = match longest.as_secs() {
            0 => String::new(),
            longest => format!(", and {longest} s in all are the most that it is waited"),
        };
        Self {
            cure: format!("it asks to wait {wait} s{limit}: come back in {minutes} min; {}", self.cure),
            is_transient: false,
            ..self
        }
    }

    /// Something answers, but not as a hub does: a log-in page of the network, or a wrong `HF_ENDPOINT`.
    pub(super) fn no_hub(what: &str, asked: &RequestContext<'_>) -> Self {
        let cure = "check HF_ENDPOINT, and whether the network wants a log-in in a browser first";
        Self::permanent(format!("what answers at {} is not the hub: {what}", asked.endpoint), cure)
    }

    pub(super) fn refused(refusal: Refusal, asked: &RequestContext<'_>) -> Self {
        let Refusal { status, code, message, body, wait } = refusal;
        let (endpoint, what) = (asked.endpoint, asked.repository);
        let code = code.as_deref().unwrap_or_default();
        // What a proxy or firewall has to say is a web page.
        let page = title(&body).map(|title| format!(" (the answer is a web page: {title:?})"));
        let said = message.map(|message| format!(" ({message})")).or(page).unwrap_or_default();
        let no_repository =
            code == "RepoNotFound" || (status == StatusCode::NOT_FOUND && asked.file.is_none());
        match status {
            StatusCode::NOT_FOUND if code == "RevisionNotFound" => Self::permanent(
                format!("{what} has no revision {}{said}", asked.revision),
                "name a branch, a tag or a commit of it",
            ),
            // Without a token, the hub says 401 of what is not there.
            StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED if no_repository => Self::permanent(
                format!(
                    "{endpoint} has no {} {what}, or not at revision {}, or it is private{said}",
                    asked.noun, asked.revision
                ),
                format!("check the name and HF_ENDPOINT; for what is private, {}", asked.token_cure()),
            ),
            StatusCode::NOT_FOUND => Self::permanent(
                format!(
                    "{endpoint} does not have the file {} of {what} at revision {}{said}",
                    asked.file.unwrap_or_default(),
                    asked.revision
                ),
                format!("it names the file, so {WITHOUT_MIRROR}"),
            ),
            StatusCode::UNAUTHORIZED => Self::permanent(
                format!("{endpoint} wants to know who asks for {what} (401 Unauthorized){said}"),
                asked.token_cure(),
            ),
            StatusCode::FORBIDDEN => {
                let gated = format!(
                    "if it is gated, accept its conditions at {endpoint}/{}{what} in a browser, and {}",
                    asked.prefix,
                    asked.token_cure()
                );
                Self::permanent(format!("{endpoint} refuses {what} (403 Forbidden){said}"), gated)
            }
            StatusCode::TOO_MANY_REQUESTS => Self {
                wait,
                cure: format!("for more requests, {}", asked.token_cure()),
                ..Self::transient(format!("{endpoint} had too many requests from here (429){said}"))
            },
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => Self {
                cure: "try again later; HF_HUB_OFFLINE=1 uses only what is in the cache".into(),
                wait,
                ..Self::transient(format!("{endpoint} is out of order: it answers {status}{said}"))
            },
            status => Self::permanent(
                format!("{endpoint} answers {status} when asked for {what}{said}"),
                "check HF_ENDPOINT and HTTPS_PROXY",
            ),
        }
    }
}

/// What an error says that is not only where it came from: the last of its causes.
fn cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| (*error).source())
        .last()
        .map_or_else(String::new, ToString::to_string)
}

fn is_caused_by<E: std::error::Error + 'static>(error: &reqwest::Error) -> bool {
    std::iter::successors(error.source(), |error| (*error).source()).any(|error| error.is::<E>())
}

/// The title of a web page.
fn title(body: &str) -> Option<String> {
    // In lower case no character's place changes.
    let lower = body.to_ascii_lowercase();
    if !lower.contains("<html") && !lower.contains("<!doctype") {
        return None;
    }
    let start = lower.find("<title>").map(|at| at + "<title>".len());
    let title = start.and_then(|start| Some(&body[start..start + lower[start..].find("</title>")?]));
    Some(title.unwrap_or("without a title").trim().chars().take(80).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_page_is_told_from_other_answers() {
        assert_eq!(title("{\"error\": \"no\"}"), None);
        let page = "<!DOCTYPE html><HTML><head><TITLE> Zugriff verweigert – Proxy</title></head>";
        assert_eq!(title(page).unwrap(), "Zugriff verweigert – Proxy");
        assert_eq!(title("<html><title>").unwrap(), "without a title");
    }
}

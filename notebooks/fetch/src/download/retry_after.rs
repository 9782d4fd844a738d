//! How long the hub asks to wait: the header `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The wait that an answer asks for; `None` if it asks for none, or in another way.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

/// `120`, or `Wed, 21 Oct 2015 07:28:00 GMT`: then the time from `now` until that, none if it has passed.
fn parse(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = u64::try_from(DateTime::parse_from_rfc2822(text).ok()?.timestamp()).ok()?;
    let then = UNIX_EPOCH.checked_add(Duration::from_secs(then))?;
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        // `date -ud 'Wed, 21 Oct 2015 07:28:00 GMT' +%s`
        let now = UNIX_EPOCH + Duration::from_secs(1_445_412_480 - 90);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(90)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("Mon, 01 Jan 0001 00:00:00 GMT", None),
            ("soon", None),
            ("-1", None),
            ("99999999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(parse(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}

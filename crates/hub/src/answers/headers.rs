//! What answers say in their headers, and errors in their bodies.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use serde::Deserialize;

/// The most of a server's words that an error quotes, in characters.
const QUOTED: usize = 300;

/// The wait that an answer asks for: the longer of `Retry-After` (seconds, or a
/// date, which counts from the answer's own `Date` if it has one) and the time after which an exhausted quota of `RateLimit` (as in
/// `"api";r=0;t=55`) is filled again.
#[must_use]
pub fn told_wait(headers: &HeaderMap) -> Option<Duration> {
    let retry_after = word(headers, RETRY_AFTER).and_then(|value| match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => until(headers, value),
    });
    retry_after.max(exhausted_quota(headers))
}

/// How long it is to a date by the server's clock; `None` when it is past, which
/// says nothing about when to come back.
fn until(headers: &HeaderMap, date: &str) -> Option<Duration> {
    let date = httpdate::parse_http_date(date).ok()?;
    let sent = word(headers, DATE).and_then(|sent| httpdate::parse_http_date(sent).ok());
    let wait = date.duration_since(sent.unwrap_or_else(SystemTime::now));
    wait.ok().filter(|wait| !wait.is_zero())
}

fn word(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

fn exhausted_quota(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all("ratelimit")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(exhausted)
        .max()
}

/// One quota, `"name";r=REMAINING;t=SECONDS`, if nothing remains of it.
fn exhausted(quota: &str) -> Option<Duration> {
    let parameter = |name: &str| -> Option<u64> {
        let mut parameters = quota.split(';').skip(1);
        parameters.find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            (key.trim() == name).then(|| value.trim().parse().ok())?
        })
    };
    (parameter("r")? == 0).then(|| parameter("t").map(Duration::from_secs))?
}

/// The address of a listing's next page, from a `Link` header
/// (`<ADDRESS>; rel="next"`).
#[must_use]
pub fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(reqwest::header::LINK);
    links
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|link| {
            let (address, parameters) = link.split_once('>')?;
            let address = address.trim().strip_prefix('<')?;
            let is_next = parameters
                .split(';')
                .any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
            is_next.then(|| address.to_owned())
        })
}

/// Which part of a file an answer holds: `Content-Range: bytes FIRST-LAST/TOTAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Offset of its first byte.
    pub first: u64,
    /// Offset of its last byte.
    pub last: u64,
    /// The whole file's size, where the server says it.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads the header's value. `None` if it is malformed.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let total = match total.trim() {
            "*" => None,
            total => Some(number(total)?),
        };
        (first <= last && total.is_none_or(|total| last < total)).then_some(Self {
            first,
            last,
            total,
        })
    }
}

/// Digits alone: `str::parse` would take a sign too.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty())
        .then(|| text.parse().ok())?
}

/// The server's own words on why it refused: from `X-Error-Message`, from
/// `{"error": …}`, or from the start of whatever it sent.
pub(crate) fn error_message(headers: &HeaderMap, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: String,
    }
    let header = headers
        .get("x-error-message")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let message = header
        .or_else(|| Some(serde_json::from_slice::<Body>(body).ok()?.error))
        .unwrap_or_else(|| {
            String::from_utf8_lossy(&body[..body.len().min(4 * QUOTED)]).into_owned()
        });
    let words: Vec<&str> = message.split_whitespace().collect();
    if words.is_empty() {
        return "no explanation".to_owned();
    }
    words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(QUOTED)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn told(pairs: &[(&'static str, &'static str)]) -> Option<u64> {
        told_wait(&headers(pairs)).map(|wait| wait.as_secs())
    }

    #[test]
    fn the_servers_waiting_times_are_read() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[("retry-after", "7")]), Some(7));
        assert_eq!(told(&[("ratelimit", "\"api\";r=0;t=55")]), Some(55));
        let both = [("ratelimit", "\"api\"; r=0; t=55"), ("retry-after", "7")];
        assert_eq!(told(&both), Some(55));
        let two = [("ratelimit", "\"pages\";r=0;t=9, \"api\";r=0;t=12")];
        assert_eq!(told(&two), Some(12));
        assert_eq!(told(&[("ratelimit", "\"api\";r=3;t=55")]), None);
        for nonsense in ["soon", "-1", "99999999999999999999"] {
            assert_eq!(told(&[("retry-after", nonsense)]), None);
        }
        assert_eq!(told(&[("ratelimit", ";;=,r=0;t")]), None);
    }

    #[test]
    fn a_date_to_wait_for_counts_from_the_servers_own() {
        const SENT: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let until = |date| told(&[SENT, ("retry-after", date)]);
        assert_eq!(until("Sun, 06 Nov 1994 08:51:07 GMT"), Some(90));
        assert_eq!(until("Sun, 06 Nov 1994 08:49:37 GMT"), None);
        assert_eq!(until("Sat, 05 Nov 1994 08:49:37 GMT"), None);
        assert_eq!(until("Sun, 06 Nov 1994 08:51:07 CET"), None);
        // By this machine's clock, where the server tells no time.
        assert_eq!(
            told(&[("retry-after", "Sun, 06 Nov 1994 08:51:07 GMT")]),
            None
        );
        let far = told(&[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")]);
        assert!(far > Some(1_000_000_000), "{far:?}");
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        let links = "<https://h/a?p=0>; rel=\"prev\", <https://h/a?p=2>; rel=\"next\"";
        let page = next_page(&headers(&[("link", links)]));
        assert_eq!(page.as_deref(), Some("https://h/a?p=2"));
        assert_eq!(
            next_page(&headers(&[("link", "<https://h>; rel=\"last\"")])),
            None
        );
        assert_eq!(next_page(&headers(&[("link", "nonsense")])), None);
    }

    #[test]
    fn a_content_range_is_read_or_refused() {
        let range = ContentRange::parse("bytes 5-9/10").unwrap();
        assert_eq!((range.first, range.last, range.total), (5, 9, Some(10)));
        assert_eq!(ContentRange::parse("bytes 5-9/*").unwrap().total, None);
        for bad in [
            "bytes */10",
            "bytes 9-5/10",
            "bytes 0-10/10",
            "5-9/10",
            "bytes +5-9/10",
            "bytes -/",
        ] {
            assert_eq!(ContentRange::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_servers_words_are_cut_to_a_line() {
        let none = headers(&[]);
        assert_eq!(
            error_message(&none, br#"{"error":"no\nsuch repo"}"#),
            "no such repo"
        );
        assert_eq!(error_message(&none, b""), "no explanation");
        assert_eq!(error_message(&none, &[b'x'; 5000]).len(), QUOTED);
        let header = headers(&[("x-error-message", "Repository not found")]);
        assert_eq!(error_message(&header, b"<html>"), "Repository not found");
    }
}

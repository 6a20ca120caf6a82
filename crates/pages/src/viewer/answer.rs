//! Reading the server's answers, and refusing those that could silently change the plan.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::retry::told_wait;
use crate::column::{ColumnError, take_text};
use crate::source::{SourceError, SourceInfo, check_pinned};

/// The most of a server's words that an error quotes, in characters.
const QUOTED: usize = 200;

/// What one attempt failed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Asking again will not help.
    Final(SourceError),
    /// Other rows came than those asked for.
    OtherRows(String),
    /// It may pass, after the wait that the server asked for, if it asked for one.
    Passing {
        cause: String,
        told: Option<Duration>,
        throttled: bool,
    },
}

impl Failure {
    pub(super) fn passing(cause: String) -> Self {
        Self::Passing {
            cause,
            told: None,
            throttled: false,
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::Final(error)
    }
}

/// What was asked for, in words and numbers, to check the answer against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Dataset, config and split, for errors.
    pub(super) what: &'a str,
    pub(super) column: &'a str,
    pub(super) page: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Rows that were checked against what was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) texts: Vec<String>,
    pub(super) info: SourceInfo,
}

#[derive(Deserialize)]
struct RowsBody {
    rows: Vec<RowBody>,
    num_rows_total: u64,
    #[serde(default)]
    partial: bool,
}

#[derive(Deserialize)]
struct RowBody {
    row_idx: u64,
    row: Map<String, Value>,
    #[serde(default)]
    truncated_cells: Vec<String>,
}

/// Sorts an unsuccessful answer: what concerns everything is fatal, what concerns this page skips
/// it, and what may pass is tried again.
pub(super) fn failure(
    asked: Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Failure {
    let code = header(headers, "x-error-code");
    let message = message(body);
    if status == StatusCode::NOT_IMPLEMENTED || code.as_deref() == Some("TooBigContentError") {
        return Failure::Final(SourceError::PageUnreadable {
            page: asked.page,
            reason: format!(
                "the dataset server cannot serve it: {}",
                words(status, &code, &message)
            ),
        });
    }
    let passing = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT;
    if passing {
        return Failure::Passing {
            cause: format!(
                "the dataset server answered {}",
                words(status, &code, &message)
            ),
            told: told_wait(headers),
            throttled: status == StatusCode::TOO_MANY_REQUESTS,
        };
    }
    Failure::Final(SourceError::Refused {
        what: asked.what.to_owned(),
        status: status.as_u16(),
        code,
        message,
    })
}

/// Reads rows, and checks that they are the ones asked for, whole, and of the pinned revision.
pub(super) fn rows(
    asked: Asked<'_>,
    pinned: Option<&SourceInfo>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Answer, Failure> {
    let revision = header(headers, "x-revision").ok_or_else(|| {
        Failure::passing("the answer has no X-Revision header, so its revision is unknown".into())
    })?;
    let body: RowsBody = serde_json::from_slice(body)
        .map_err(|error| Failure::passing(format!("the answer is not a page of rows: {error}")))?;
    let info = SourceInfo {
        rows: body.num_rows_total,
        revision,
    };
    if body.partial {
        return Err(SourceError::Partial {
            what: asked.what.to_owned(),
        }
        .into());
    }
    if let Some(pinned) = pinned {
        check_pinned(asked.what, pinned, &info)?;
    }
    check_numbers(asked, &info, &body.rows)?;

    let mut texts = Vec::with_capacity(body.rows.len());
    for row in body.rows {
        if row.truncated_cells.iter().any(|cell| cell == asked.column) {
            return Err(Failure::Final(SourceError::PageUnreadable {
                page: asked.page,
                reason: format!(
                    "the dataset server cut the `{}` of row {} short",
                    asked.column, row.row_idx
                ),
            }));
        }
        let text = take_text(row.row, asked.column).map_err(|error: ColumnError| {
            Failure::Final(SourceError::Column {
                what: asked.what.to_owned(),
                column: asked.column.to_owned(),
                problem: error.to_string(),
            })
        })?;
        texts.push(text);
    }
    Ok(Answer { texts, info })
}

/// That the rows are all there, and are numbered as asked.
fn check_numbers(asked: Asked<'_>, info: &SourceInfo, rows: &[RowBody]) -> Result<(), Failure> {
    if asked.offset >= info.rows {
        let past_the_end = SourceError::PastTheEnd {
            page: asked.page,
            pages: info.pages(),
        };
        return Err(past_the_end.into());
    }
    let expected = asked.length.min(info.rows - asked.offset);
    if rows.len() as u64 != expected {
        return Err(Failure::OtherRows(format!(
            "the answer has {} rows instead of {expected} from row {}",
            rows.len(),
            asked.offset
        )));
    }
    for (row, expected) in rows.iter().zip(asked.offset..) {
        if row.row_idx != expected {
            return Err(Failure::OtherRows(format!(
                "the answer has row {} where row {expected} belongs",
                row.row_idx
            )));
        }
    }
    Ok(())
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

/// The server's own words, from `{"error": …}` or from the start of whatever it sent.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct ErrorBody {
        error: String,
    }
    let message = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error,
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(4 * QUOTED)]).into_owned(),
    };
    let message = message.trim();
    if message.is_empty() {
        return "no explanation".to_owned();
    }
    message.chars().take(QUOTED).collect()
}

fn words(status: StatusCode, code: &Option<String>, message: &str) -> String {
    match code {
        Some(code) => format!("{} {code}: {message}", status.as_u16()),
        None => format!("{}: {message}", status.as_u16()),
    }
}

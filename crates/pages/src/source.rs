//! What every source of pages is: a numbered list of rows at one revision.

use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use ledger::PageId;
use run::ROWS_PER_PAGE;

use crate::metrics::SourceMetrics;

/// A boxed future, so that sources can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a source holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInfo {
    /// Number of rows.
    pub rows: u64,
    /// What pins the contents: the dataset's commit, or a digest of the files.
    pub revision: String,
}

impl SourceInfo {
    /// Number of pages, counting a short last one.
    pub fn pages(&self) -> u64 {
        self.rows.div_ceil(ROWS_PER_PAGE)
    }

    /// The rows of a page, or the error that it is past the end.
    pub(crate) fn rows_of(&self, page: PageId) -> Result<std::ops::Range<u64>, SourceError> {
        let past_the_end = SourceError::PastTheEnd {
            page: page.0,
            pages: self.pages(),
        };
        let first = page
            .0
            .checked_mul(ROWS_PER_PAGE)
            .ok_or_else(|| past_the_end.clone())?;
        if first >= self.rows {
            return Err(past_the_end);
        }
        Ok(first..self.rows.min(first.saturating_add(ROWS_PER_PAGE)))
    }
}

/// Where pages come from.
pub trait Source: Send + Sync + Debug {
    /// Row count and revision. May ask a server.
    fn describe(&self) -> BoxFuture<'_, Result<SourceInfo, SourceError>>;

    /// The texts of rows `100p .. 100p+99` of the revision, in order. A null is an empty text.
    ///
    /// Retries by itself what may pass; an error it returns has to be dealt with by its
    /// [class](SourceError::class).
    fn page(&self, page: PageId) -> BoxFuture<'_, Result<Vec<String>, SourceError>>;

    /// What it has done so far.
    fn metrics(&self) -> SourceMetrics;
}

/// What to do about a [`SourceError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// It concerns every page: stop and tell the person.
    Fatal,
    /// It passed neither with patience nor with retries: try again after this long, or elsewhere.
    Retry {
        /// How long to leave the source alone.
        after: Duration,
    },
    /// It concerns this page alone and will not pass: record the page as skipped, for this reason.
    Skip {
        /// Words for the page table.
        reason: String,
    },
}

/// Why rows could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The server will never answer this request (400, 401, 403, 404, 422).
    #[error(
        "the dataset server refused {what}: {status}{code}: {message}; check --dataset, its config and split, and that HF_ACCESS_TOKEN may read it",
        code = .code.as_deref().map(|code| format!(" {code}")).unwrap_or_default()
    )]
    Refused {
        /// Dataset, config and split.
        what: String,
        /// HTTP status.
        status: u16,
        /// The server's `X-Error-Code`.
        code: Option<String>,
        /// The server's words.
        message: String,
    },
    /// The contents are not those that the run was planned on.
    #[error(
        "the data changed: the run was planned on revision {pinned}, {what} now has {served}; restore that revision or start a new run"
    )]
    RevisionChanged {
        /// Which dataset or folder.
        what: String,
        /// The run's revision.
        pinned: String,
        /// The revision found.
        served: String,
    },
    /// The row count is not the one that the run was planned on.
    #[error(
        "the data changed: the run was planned on {pinned} rows, {what} now has {served}; restore them or start a new run"
    )]
    RowsChanged {
        /// Which dataset or folder.
        what: String,
        /// The run's row count.
        pinned: u64,
        /// The row count found.
        served: u64,
    },
    /// The server has only part of the dataset (`partial: true`).
    #[error(
        "the dataset server has only a part of {what}; training on it would silently leave out the rest: download the dataset's parquet files and read those"
    )]
    Partial {
        /// Dataset, config and split.
        what: String,
    },
    /// The server answered with other rows than those asked for.
    #[error("the dataset server did not answer with the rows of page {page}: {problem}")]
    OtherRows {
        /// The page.
        page: u64,
        /// What came instead.
        problem: String,
        /// How long to leave the server alone.
        after: Duration,
    },
    /// There is no such page.
    #[error("page {page} is past the end: the data has {pages} pages")]
    PastTheEnd {
        /// The page asked for.
        page: u64,
        /// Pages that exist.
        pages: u64,
    },
    /// The column is missing or holds something else than text.
    #[error("{what} has no text in the column `{column}`: {problem}; name another with --column")]
    Column {
        /// Dataset or file.
        what: String,
        /// The column asked for.
        column: String,
        /// What is there instead.
        problem: String,
    },
    /// A local file or folder cannot be used.
    #[error("cannot read {path}: {problem}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The HTTP client cannot be built from these settings.
    #[error("cannot set up the dataset client: {0}")]
    Client(String),
    /// This page cannot be read, now or later.
    #[error("page {page} cannot be read: {reason}")]
    PageUnreadable {
        /// The page.
        page: u64,
        /// Why.
        reason: String,
    },
    /// All attempts failed, though none of them for good.
    #[error("no answer after {attempts} attempts: {cause}; try again in {} s", .after.as_secs())]
    Unavailable {
        /// How often it was tried.
        attempts: u32,
        /// How long to leave the server alone, by its own word if it gave one.
        after: Duration,
        /// What the last attempt failed on.
        cause: String,
    },
}

impl SourceError {
    /// Whether to stop, to wait, or to do without the page.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::PageUnreadable { reason, .. } => ErrorClass::Skip {
                reason: reason.clone(),
            },
            Self::Unavailable { after, .. } | Self::OtherRows { after, .. } => {
                ErrorClass::Retry { after: *after }
            }
            Self::Refused { .. }
            | Self::RevisionChanged { .. }
            | Self::RowsChanged { .. }
            | Self::Partial { .. }
            | Self::PastTheEnd { .. }
            | Self::Column { .. }
            | Self::File { .. }
            | Self::Client(_) => ErrorClass::Fatal,
        }
    }
}

/// That what is served is what the run was planned on.
pub(crate) fn check_pinned(
    what: &str,
    pinned: &SourceInfo,
    served: &SourceInfo,
) -> Result<(), SourceError> {
    if pinned.revision != served.revision {
        return Err(SourceError::RevisionChanged {
            what: what.to_owned(),
            pinned: pinned.revision.clone(),
            served: served.revision.clone(),
        });
    }
    if pinned.rows != served.rows {
        return Err(SourceError::RowsChanged {
            what: what.to_owned(),
            pinned: pinned.rows,
            served: served.rows,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_last_page_counts_and_nothing_lies_past_it() {
        let info = SourceInfo {
            rows: 968_000_015,
            revision: "r".into(),
        };
        assert_eq!(info.pages(), 9_680_001);
        assert_eq!(
            info.rows_of(PageId(9_680_000)).unwrap(),
            968_000_000..968_000_015
        );
        assert_eq!(
            info.rows_of(PageId(9_680_001)),
            Err(SourceError::PastTheEnd {
                page: 9_680_001,
                pages: 9_680_001
            })
        );
        assert!(info.rows_of(PageId(u64::MAX)).is_err());
    }

    #[test]
    fn an_empty_source_has_no_pages() {
        let info = SourceInfo {
            rows: 0,
            revision: "r".into(),
        };
        assert_eq!(info.pages(), 0);
        assert!(info.rows_of(PageId(0)).is_err());
    }
}

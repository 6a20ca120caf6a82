//! Rows from local files: one file, or a folder of them.
//!
//! The format follows from the file name:
//!
//! | name | rows |
//! |---|---|
//! | `*.parquet` | the rows, their text in the named column |
//! | `*.jsonl`, `*.ndjson` | one JSON object per line, its text in the named field; blank lines are no rows |
//! | `*.txt`, `*.text` | one document per block of lines, blocks separated by blank lines |
//!
//! A folder is read with its subfolders, in the bytewise order of the relative names; other files
//! and hidden ones are left alone. Opening reads every file once, to count rows and to compute the
//! revision (a digest of names and contents), and keeps one offset per hundred rows; reading a page
//! reads little more than the page. A file that changes afterwards is noticed and refused.
//!
//! Architecture invariant: never more than a page of text is in memory.

mod catalogue;
mod lines;
mod parquet_rows;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::PageId;

use self::catalogue::DataFile;
use crate::metrics::{SourceCounters, SourceMetrics};
use crate::source::{BoxFuture, Source, SourceError, SourceInfo};

/// Local files, indexed.
#[derive(Clone, Debug)]
pub struct LocalFiles {
    index: Arc<Index>,
    counters: Arc<SourceCounters>,
}

#[derive(Debug)]
struct Index {
    path: PathBuf,
    column: String,
    files: Vec<DataFile>,
    info: SourceInfo,
}

/// Why rows of one file could not be read.
#[derive(Debug)]
enum ReadError {
    /// The file is not what it was, or cannot be read at all.
    File(String),
    /// One of the rows asked for is not text.
    Row(String),
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self::File(error.to_string())
    }
}

impl LocalFiles {
    /// Indexes a file or a folder. Reads all of it, so call it where blocking is allowed.
    ///
    /// `column` names the parquet column or JSON field; text files have none.
    ///
    /// # Errors
    /// [`SourceError::File`] if there is nothing to read or it cannot be read, and
    /// [`SourceError::Column`] if a file has no such column.
    pub fn open(path: &Path, column: &str) -> Result<Self, SourceError> {
        let (files, info) = catalogue::index(path, column)?;
        tracing::info!(path = %path.display(), files = files.len(), rows = info.rows, revision = info.revision, "indexed local files");
        let index = Index {
            path: path.to_owned(),
            column: column.to_owned(),
            files,
            info,
        };
        Ok(Self {
            index: Arc::new(index),
            counters: Arc::default(),
        })
    }

    /// Row count and revision.
    pub fn info(&self) -> &SourceInfo {
        &self.index.info
    }

    /// The texts of a page; blocks while it reads.
    ///
    /// # Errors
    /// [`SourceError::PageUnreadable`] if one of its rows is not text, [`SourceError::File`] if a
    /// file changed since it was indexed, [`SourceError::PastTheEnd`].
    pub fn read_page(&self, page: PageId) -> Result<Vec<String>, SourceError> {
        self.counters.requests.add(1);
        let texts = self.index.read_page(page)?;
        self.counters
            .bytes
            .add(texts.iter().map(|text| text.len() as u64).sum());
        Ok(texts)
    }
}

impl Index {
    fn read_page(&self, page: PageId) -> Result<Vec<String>, SourceError> {
        let rows = self.info.rows_of(page)?;
        let mut texts = Vec::new();
        for file in &self.files {
            let wanted = overlap(&rows, &file.rows());
            if wanted.is_empty() {
                continue;
            }
            let local = wanted.start - file.first_row..wanted.end - file.first_row;
            let before = texts.len();
            file.read(local, &self.column, &mut texts)
                .map_err(|error| match error {
                    ReadError::File(problem) => SourceError::File {
                        path: file.path.clone(),
                        problem,
                    },
                    ReadError::Row(problem) => SourceError::PageUnreadable {
                        page: page.0,
                        reason: format!("{}: {problem}", file.name),
                    },
                })?;
            if (texts.len() - before) as u64 != wanted.end - wanted.start {
                return Err(SourceError::File {
                    path: file.path.clone(),
                    problem: "it has fewer rows than when it was indexed; start again".into(),
                });
            }
        }
        Ok(texts)
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> Range<u64> {
    one.start.max(other.start)..one.end.min(other.end)
}

impl Source for LocalFiles {
    fn describe(&self) -> BoxFuture<'_, Result<SourceInfo, SourceError>> {
        Box::pin(async { Ok(self.index.info.clone()) })
    }

    fn page(&self, page: PageId) -> BoxFuture<'_, Result<Vec<String>, SourceError>> {
        let files = self.clone();
        Box::pin(async move {
            let path = files.index.path.clone();
            tokio::task::spawn_blocking(move || files.read_page(page))
                .await
                .unwrap_or_else(|error| {
                    Err(SourceError::File {
                        path,
                        problem: format!("the reader stopped: {error}"),
                    })
                })
        })
    }

    fn metrics(&self) -> SourceMetrics {
        self.counters.snapshot()
    }
}

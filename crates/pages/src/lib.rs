//! From a page's number to its token ids.
//!
//! ```text
//!   Source ──rows──▶ Tokenizer ──ids──▶ pack ──▶ PackedPage ──▶ cache on disk
//!     │ DatasetViewer   GPT-2, or        windows     (crate ledger)
//!     │ LocalFiles      tokenizer.json   of sl
//!     └──────────────────── Preparer ─────────────────────────────────────┘
//! ```
//!
//! A dataset is a numbered list of rows at a pinned revision; page `p` is its rows `100p` to
//! `100p + 99`. A [`Source`] gives a page's rows: [`DatasetViewer`] over HTTP, [`LocalFiles`] from
//! parquet, JSON Lines or text. The [`Tokenizer`] turns rows into ids, [`pack()`] reads the ids off
//! in sequences of `sl`, and a [`Preparer`] does all of it for many pages at once, in bounded
//! memory, once per page, with a cache on disk.
//!
//! What a page packs to is a pure function of its rows and of the run's manifest, so that whoever
//! prepares it again must arrive at the same digest. Sources therefore refuse everything that
//! could change rows silently: another revision, a partial dataset, truncated cells, a file edited
//! after it was indexed. Errors come in three [classes](ErrorClass): fatal (it concerns every
//! page), retry (it may pass), skip (it concerns this page alone, for good).
//!
//! Architecture invariant: nothing here chooses pages. Which page is next, who prepares it and
//! what happens to a skipped one is decided above.
//!
//! Architecture invariant: no network but the dataset server's, and none at all for local files;
//! the vocabulary comes with the crate.

#![forbid(unsafe_code)]

mod cache;
mod column;
mod files;
mod metrics;
mod open;
mod packing;
mod prepare;
mod single_flight;
mod source;
mod tokenizer;
mod viewer;

pub use cache::CacheConfig;
pub use files::LocalFiles;
pub use metrics::{Metrics, SourceMetrics};
pub use open::open;
pub use packing::{PackError, pack};
pub use prepare::{PrepareError, Preparer, PreparerConfig};
pub use source::{BoxFuture, ErrorClass, Source, SourceError, SourceInfo};
pub use tokenizer::{DOCUMENT_CUT, TokenBuffer, Tokenizer, TokenizerError};
pub use viewer::{
    DEFAULT_ENDPOINT, DatasetViewer, RequestBudget, RetryPolicy, Secret, ServerAccess, Timeouts,
    ViewerConfig,
};

//! Rows from the Hugging Face dataset viewer: any public dataset, config, split and text column,
//! Falcon RefinedWeb first of all.
//!
//! One aligned request per page. What may pass (a busy server, a cut connection, an answer with
//! the wrong rows) is asked again after a back-off with jitter, or after the wait that the server
//! itself asks for; the whole [`RequestBudget`] then waits, since the server counts by token. The
//! revision and row count are pinned by the run, or by the first answer, and any change is fatal.
//!
//! Architecture invariant: no answer is used in part. Missing, misnumbered or truncated rows never
//! make a shorter page.

mod answer;
mod budget;
mod client;
mod one_page;
mod retry;

pub use budget::RequestBudget;
pub use client::{DatasetViewer, Secret, ServerAccess, Timeouts, ViewerConfig};
pub use retry::RetryPolicy;

/// The public dataset viewer.
pub const DEFAULT_ENDPOINT: &str = "https://datasets-server.huggingface.co";

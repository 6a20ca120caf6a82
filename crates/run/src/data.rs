//! What a run is trained on: which rows, and how they become token ids.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::hex_digest;
use crate::error::{RunError, require};

/// Rows of the data set in a page: page p is rows 100p .. 100p+99.
pub const ROWS_PER_PAGE: u64 = 100;

/// The version of the rule by which a page's rows become sequences: each row's
/// token ids, cut to 1024 unless long documents are kept, and the end-of-text
/// id; all rows of the page in order; cut into windows of `sl` ids; what is left
/// over at the page's end is dropped.
///
/// A change to what any page packs to must raise it, so that no run is continued
/// on other sequences than it was begun on.
pub const PACKING_VERSION: u32 = 1;

/// Which rows a run is trained on, and how they become token ids. With `sl` it
/// decides what every page packs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataManifest {
    /// Where the rows come from, pinned to a revision.
    pub source: Source,
    /// How many rows there are.
    pub rows: u64,
    /// The tokenizer's name and the SHA-256 of its vocabulary.
    pub tokenizer: String,
    /// How many token ids the tokenizer has; the model needs as many.
    pub vocabulary: u32,
    /// Whether a row keeps all its token ids, rather than its first 1024.
    pub keep_long_documents: bool,
    /// The rule of packing, [`PACKING_VERSION`].
    pub packing: u32,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A data set on the Hugging Face Hub, row by row.
    Falcon {
        /// The data set's repository, such as `tiiuae/falcon-refinedweb`.
        dataset: String,
        /// Its configuration, such as `default`.
        config: String,
        /// Its split, such as `train`.
        split: String,
        /// The column that holds the text.
        column: String,
        /// The commit of the data set that every row must come from.
        revision: String,
    },
    /// Files on a disk that the process can read.
    Files {
        /// The file or folder. It may differ by machine: the revision decides.
        path: String,
        /// The column or field that holds the text.
        column: String,
        /// A digest of the files' contents.
        revision: String,
    },
}

impl Source {
    /// What pins the rows' contents.
    #[must_use]
    pub fn revision(&self) -> &str {
        match self {
            Self::Falcon { revision, .. } | Self::Files { revision, .. } => revision,
        }
    }

    /// The same rows, without where this machine has them.
    #[must_use]
    pub(crate) fn without_path(mut self) -> Self {
        if let Self::Files { path, .. } = &mut self {
            path.clear();
        }
        self
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Falcon {
                dataset,
                config,
                split,
                column,
                revision,
            } => write!(f, "{dataset} {config}/{split}, {column}, at {revision}"),
            Self::Files {
                path,
                column,
                revision,
            } => {
                if path.is_empty() {
                    write!(f, "files, {column}, at {revision}")
                } else {
                    write!(f, "{path}, {column}, at {revision}")
                }
            }
        }
    }
}

impl DataManifest {
    /// How many pages there are, counting a short last one.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.rows.div_ceil(ROWS_PER_PAGE)
    }

    /// A digest, in hexadecimal, of all that decides what a page packs to in
    /// sequences of `sl` ids: the name under which packed pages can be kept.
    #[must_use]
    pub fn digest(&self, sl: u32) -> String {
        let manifest = Self {
            source: self.source.clone().without_path(),
            ..self.clone()
        };
        // `Debug` shows every field, and quotes strings, so that no two
        // manifests read alike.
        let text = format!("{manifest:?} {sl}");
        hex_digest("peregrine data manifest", &text)
    }

    /// Checks that the pages are enough for the evaluation and one epoch, and
    /// that the ids fit the model.
    pub(crate) fn check(
        &self,
        pages_per_epoch: u64,
        eval_pages: u64,
        model_vocabulary: usize,
    ) -> Result<(), RunError> {
        let pages = self.pages();
        require(
            eval_pages < pages,
            "--eval_pages",
            eval_pages,
            &format!(
                "the data set has {pages} pages of {ROWS_PER_PAGE} rows, and some must be left to \
                 train on; give fewer, or more data"
            ),
        )?;
        let left = pages - eval_pages;
        require(
            pages_per_epoch <= left,
            "--pages_per_epoch",
            pages_per_epoch,
            &format!(
                "the data set has {pages} pages of {ROWS_PER_PAGE} rows, of which {eval_pages} are \
                 the evaluation's; give at most {left}"
            ),
        )?;
        require(
            self.vocabulary as usize <= model_vocabulary,
            "--preset / --model_config",
            format!("with vocab_size {model_vocabulary}"),
            &format!(
                "the tokenizer has {} ids; choose a model with at least as many",
                self.vocabulary
            ),
        )?;
        require(
            self.packing == PACKING_VERSION,
            "--run-id",
            format!("packed by rule {}", self.packing),
            &format!(
                "this program packs by rule {PACKING_VERSION}; continue the run with the version \
                 that began it"
            ),
        )
    }
}

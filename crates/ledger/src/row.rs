//! A row of the page table.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{PageDigest, PageId};

/// What is known about one page before any step reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageRow {
    /// The page was read, tokenized and packed.
    Packed {
        /// Which page.
        page: PageId,
        /// How many sequences it packs to; 0 if its text is shorter than one.
        sequences: u32,
        /// Digest of the packed page; whoever packs it again must get the same.
        digest: PageDigest,
        /// Token ids at the page's end that fill no sequence.
        dropped_tokens: u32,
    },
    /// The page can never be read, and counts as having no sequences.
    Skipped {
        /// Which page.
        page: PageId,
        /// Why, in words.
        reason: String,
    },
}

impl PageRow {
    /// Which page the row describes.
    pub fn page(&self) -> PageId {
        match self {
            PageRow::Packed { page, .. } | PageRow::Skipped { page, .. } => *page,
        }
    }

    /// How many sequences the page contributes.
    pub fn sequences(&self) -> u32 {
        match self {
            PageRow::Packed { sequences, .. } => *sequences,
            PageRow::Skipped { .. } => 0,
        }
    }

    /// The packed page's digest; `None` for a skipped page.
    pub fn digest(&self) -> Option<PageDigest> {
        match self {
            PageRow::Packed { digest, .. } => Some(*digest),
            PageRow::Skipped { .. } => None,
        }
    }

    /// Whether the page is skipped.
    pub fn is_skipped(&self) -> bool {
        matches!(self, PageRow::Skipped { .. })
    }
}

impl fmt::Display for PageRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PageRow::Packed {
                page,
                sequences,
                digest,
                dropped_tokens,
            } => write!(
                f,
                "{page} with {sequences} sequences, {dropped_tokens} tokens dropped, digest {digest}"
            ),
            PageRow::Skipped { page, reason } => write!(f, "{page} skipped: {reason}"),
        }
    }
}

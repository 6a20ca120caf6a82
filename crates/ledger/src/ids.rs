//! The numbers that name pages and places in the order.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Rows that make a page: page `p` is rows `100 p .. 100 p + 99`.
const ROWS_PER_PAGE: u64 = 100;

/// A page of the dataset: 100 consecutive rows, aligned. Page `p` is rows
/// `100 p ..= 100 p + 99`; the dataset's last page may hold fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageId(pub u64);

impl PageId {
    /// The dataset row with which the page begins.
    pub fn first_row(self) -> u64 {
        self.0.saturating_mul(ROWS_PER_PAGE)
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}", self.0)
    }
}

/// A place in the order, counted from the run's first training page through
/// all its passes over the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ordinal(pub u64);

impl Ordinal {
    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Ordinal {
        Ordinal(self.0.saturating_add(1))
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ordinal {}", self.0)
    }
}

/// What a packed page is for. Evaluation pages are prepared first, which is
/// why they sort first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    /// The n-th of the run's evaluation pages.
    Evaluation(u32),
    /// A place in the training order.
    Training(Ordinal),
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Evaluation(index) => write!(f, "evaluation page {index}"),
            Slot::Training(ordinal) => write!(f, "training {ordinal}"),
        }
    }
}

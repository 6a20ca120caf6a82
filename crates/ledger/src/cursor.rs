//! Where training stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Ordinal;

/// Where a page begins on the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PageStart {
    /// The page's place in the order.
    pub ordinal: Ordinal,
    /// The position of the page's first sequence: how many sequences all
    /// earlier pages hold.
    pub position: u64,
}

/// A point between two steps: everything that planning needs in order to
/// continue, whatever was forgotten before it.
///
/// There is exactly one cursor per point: a page that is consumed to its end
/// is left behind, and the end of an epoch is written as the start of the next.
/// So two cursors stand at the same point exactly if they are equal. Where an
/// epoch has no sequences at all, its start and its end are two points with the
/// same `step` and `position`, told apart by `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// Steps done; also the number of the next step.
    pub step: u64,
    /// Sequences consumed; also the position of the next sequence.
    pub position: u64,
    /// The epoch of the next step.
    pub epoch: u64,
    /// The first page that is not consumed to its end. `position -
    /// page.position` of its sequences are consumed.
    pub page: PageStart,
}

impl Cursor {
    /// The beginning of a run.
    pub fn start() -> Cursor {
        Cursor {
            step: 0,
            position: 0,
            epoch: 0,
            page: PageStart {
                ordinal: Ordinal(0),
                position: 0,
            },
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step {}, position {}, epoch {}, {} from position {}",
            self.step, self.position, self.epoch, self.page.ordinal, self.page.position
        )
    }
}

//! What happened, for a person to read.

use std::fmt;

/// One line: when, who, what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Simulated milliseconds.
    pub at: u64,
    /// Who did or heard it.
    pub who: String,
    /// In words.
    pub what: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7} ms  {:<14} {}", self.at, self.who, self.what)
    }
}

/// A schedule's history; kept only where someone wants to read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) is_kept: bool,
    pub(crate) lines: Vec<Line>,
}

impl History {
    pub(crate) fn note(&mut self, at: u64, who: impl fmt::Display, what: impl FnOnce() -> String) {
        if self.is_kept {
            self.lines.push(Line {
                at,
                who: who.to_string(),
                what: what(),
            });
        }
    }
}

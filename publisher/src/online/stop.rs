//! Why a step towards the Hub or the chain ends without its result.

use std::fmt;
use std::time::Duration;

use chain::{BLOCK_TIME, ChainError};
use hub::{Class, HubError};

use crate::Error;

/// Why a step ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It was asked to, and let go where nothing is half done.
    Interrupted,
    /// It cannot be done just now.
    Setback(Setback),
    /// The model is not worth it, in words.
    NotWorth(String),
    /// A person has to mend something first.
    Fatal {
        /// What is wrong.
        reason: String,
        /// What to do about it.
        advice: Option<String>,
    },
    /// This machine, the journal or the coordinator is in the way.
    Error(Error),
}

/// Something that passes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setback {
    /// What it is, in words.
    pub(crate) why: String,
    /// When to try again.
    pub(crate) again: Again,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// After a while, longer each time.
    BackOff,
    /// After this long, as we were told.
    After(Duration),
    /// When the chain has finalized this block.
    AtBlock {
        /// The block.
        block: u64,
        /// The chain's block now.
        now: u64,
    },
}

impl Again {
    /// How long it takes, as far as that is known.
    pub(crate) fn foreseen(self) -> Option<Duration> {
        match self {
            Again::BackOff => None,
            Again::After(time) => Some(time),
            Again::AtBlock { block, now } => {
                let blocks = u32::try_from(block.saturating_sub(now)).unwrap_or(u32::MAX);
                Some(BLOCK_TIME.saturating_mul(blocks))
            }
        }
    }
}

impl Stop {
    /// Something passing that is tried again after a while.
    pub(crate) fn passing(why: impl ToString) -> Stop {
        Stop::Setback(Setback {
            why: why.to_string(),
            again: Again::BackOff,
        })
    }

    /// Something that a person has to mend.
    pub(crate) fn fatal(reason: impl ToString, advice: &str) -> Stop {
        Stop::Fatal {
            reason: reason.to_string(),
            advice: Some(advice.to_owned()),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Interrupted => f.write_str("there is something better to do"),
            Stop::Setback(Setback { why, .. }) | Stop::NotWorth(why) => f.write_str(why),
            Stop::Fatal { reason, .. } => f.write_str(reason),
            Stop::Error(error) => error.fmt(f),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Stop {
        let why = error.to_string();
        match error.class() {
            Class::Fatal => Stop::Fatal {
                reason: why,
                advice: error.advice(),
            },
            Class::Wait(time) => Stop::Setback(Setback {
                why,
                again: Again::After(time),
            }),
            // The next attempt reads before it writes.
            Class::Retry | Class::Ambiguous => Stop::passing(why),
        }
    }
}

impl From<ChainError> for Stop {
    fn from(error: ChainError) -> Stop {
        match error.class() {
            chain::Class::Retry => Stop::passing(error),
            chain::Class::Fatal => Stop::Fatal {
                reason: error.to_string(),
                advice: None,
            },
        }
    }
}

//! Faults that a test can order, to see that the cluster and the audit find them.
//!
//! `PEREGRINE_FAULT=feed-twice@7` changes what this worker feeds to its model in
//! step 7, and `hang@7` lets it get no further; see [`Fault`]. A build without debug assertions has none of it.

use std::borrow::Cow;

use crate::feeder::MicroBatchIds;

/// What is fed in a step, and what is only said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Feed<'a> {
    /// Goes through the model.
    pub(crate) share: Cow<'a, [MicroBatchIds]>,
    /// Counted as if it had.
    pub(crate) pretended: Pretended,
}

/// Sequences and tokens that were not fed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pretended {
    pub(crate) sequences: u64,
    pub(crate) tokens: u64,
}

impl<'a> Feed<'a> {
    fn honest(share: &'a [MicroBatchIds]) -> Self {
        Self {
            share: Cow::Borrowed(share),
            pretended: Pretended::default(),
        }
    }
}

/// A way to feed something else than the step's share.
#[cfg(debug_assertions)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The share's first micro-batch once more, in place of its last: as when
    /// two ranks compute the same share.
    Twice,
    /// Ids that are not the sequence's: as when a page is read wrongly.
    Other,
    /// The last micro-batch not at all, and yet counted.
    None,
    /// The last micro-batch not at all, once in this process's life.
    Short,
    /// Nothing ever again: as when a kernel hangs.
    Hang,
}

#[cfg(debug_assertions)]
impl Fault {
    /// The fault that is ordered for `step`.
    fn ordered(order: &str, step: u64) -> Option<Fault> {
        let (name, at) = order.split_once('@')?;
        if at.parse() != Ok(step) {
            return None;
        }
        match name {
            "feed-twice" => Some(Fault::Twice),
            "feed-other" => Some(Fault::Other),
            "feed-none" => Some(Fault::None),
            "feed-short" => Some(Fault::Short),
            "hang" => Some(Fault::Hang),
            _ => None,
        }
    }

    fn apply(self, share: &[MicroBatchIds]) -> Feed<'_> {
        let (Some(first), Some(last)) = (share.first(), share.last()) else {
            return Feed::honest(share);
        };
        let mut fed = share.to_vec();
        let mut pretended = Pretended::default();
        match self {
            Fault::Twice => {
                fed.pop();
                fed.push(first.clone());
            }
            Fault::Other => fed[0].ids.rotate_left(1),
            Fault::Hang => loop {
                std::thread::park();
            },
            Fault::None | Fault::Short => {
                fed.pop();
            }
        }
        if self == Fault::None {
            let tokens = last
                .sequences()
                .map(|(_, sequence)| sequence.len() as u64 - 1);
            pretended = Pretended {
                sequences: u64::from(last.rows),
                tokens: tokens.sum(),
            };
        }
        Feed {
            share: Cow::Owned(fed),
            pretended,
        }
    }
}

/// What is fed in a step of which this worker has `share`.
#[cfg(debug_assertions)]
pub(crate) fn feed(step: u64, share: &[MicroBatchIds]) -> Feed<'_> {
    use std::sync::atomic::{AtomicBool, Ordering};

    static FELL_SHORT: AtomicBool = AtomicBool::new(false);

    let ordered = std::env::var("PEREGRINE_FAULT");
    let fault = ordered.ok().and_then(|order| Fault::ordered(&order, step));
    match fault {
        None => Feed::honest(share),
        Some(Fault::Short) if FELL_SHORT.swap(true, Ordering::Relaxed) => Feed::honest(share),
        Some(fault) => {
            tracing::warn!(step, ?fault, "feeding something else, as ordered");
            fault.apply(share)
        }
    }
}

/// What is fed in a step of which this worker has `share`: that.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn feed(_: u64, share: &[MicroBatchIds]) -> Feed<'_> {
    Feed::honest(share)
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    fn share() -> Vec<MicroBatchIds> {
        let micro_batch = |first: u64| MicroBatchIds {
            first,
            ids: (0..8).map(|id| id + first as u32).collect(),
            rows: 2,
        };
        vec![micro_batch(10), micro_batch(12)]
    }

    fn positions(fed: &Feed<'_>) -> Vec<u64> {
        let micro_batches = fed.share.iter();
        micro_batches
            .flat_map(|micro_batch| micro_batch.sequences().map(|(position, _)| position))
            .collect()
    }

    #[test]
    fn each_fault_does_what_its_name_says() {
        let share = share();
        let twice = Fault::Twice.apply(&share);
        assert_eq!(positions(&twice), [10, 11, 10, 11]);
        let other = Fault::Other.apply(&share);
        assert_eq!(positions(&other), [10, 11, 12, 13]);
        assert_ne!(other.share[0].ids, share[0].ids);
        let none = Fault::None.apply(&share);
        assert_eq!(positions(&none), [10, 11]);
        let expected = Pretended {
            sequences: 2,
            tokens: 6,
        };
        assert_eq!(none.pretended, expected);
        let short = Fault::Short.apply(&share);
        assert_eq!(
            (positions(&short), short.pretended),
            (vec![10, 11], Pretended::default())
        );
    }

    #[test]
    fn a_fault_is_of_one_step() {
        assert_eq!(Fault::ordered("feed-twice@7", 7), Some(Fault::Twice));
        assert_eq!(Fault::ordered("feed-twice@7", 8), None);
        assert_eq!(Fault::ordered("feed-nonsense@7", 7), None);
    }
}

//! What must have happened if a step's digest is not the planned one.
//!
//! Digests are sums, so a difference of sums is the sum of what was fed too
//! often minus the sum of what was not fed. The faults that trainers have leave
//! a run of consecutive sequences out, feed a run twice, or feed one run in
//! place of another; each is found with prefix sums. Anything else, such as
//! wrong token ids, stays unexplained.

use std::collections::HashMap;
use std::ops::Range;

use crate::FedDigest;

/// The longest replaced run that is looked for: the search takes time in
/// proportion to it, and real micro-batches are shorter.
const LONGEST_REPLACED_RUN: usize = 64;

/// Consecutive sequences, by their index in the window: the previous step's
/// sequences, then the step's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) len: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Exactly the step's sequences.
    AsPlanned,
    /// All of them, and a run once more.
    Repeated(Run),
    /// All but a run.
    Missed(Run),
    /// All, but one run in place of another of equal length.
    Replaced { missed: Run, repeated: Run },
    /// Nothing that consecutive sequences explain.
    Unexplained,
}

impl Verdict {
    /// The verdict for people; `window_first` is the position of the window's
    /// first sequence.
    pub(super) fn in_words(self, window_first: u64) -> String {
        let subject = |run: Run| {
            let first = window_first + run.first;
            match run.len {
                1 => format!("the sequence at position {first}"),
                len => format!("the sequences at positions {first}..{}", first + len),
            }
        };
        let was = |run: Run| if run.len == 1 { "was" } else { "were" };
        match self {
            Verdict::AsPlanned => "exactly what was planned".to_owned(),
            Verdict::Repeated(run) => {
                format!("{} {} fed once too often", subject(run), was(run))
            }
            Verdict::Missed(run) => format!("{} {} not fed", subject(run), was(run)),
            Verdict::Replaced { missed, repeated } => {
                let (repeated, was) = (subject(repeated), was(repeated));
                format!("{repeated} {was} fed in place of {}", subject(missed))
            }
            Verdict::Unexplained => {
                "something else than this step's or the previous step's sequences was fed"
                    .to_owned()
            }
        }
    }
}

/// Compares what a step fed with the digests of its sequences, `own`, and looks
/// for an explanation there and among `previous`, those of the step before.
pub(super) fn diagnose(previous: &[FedDigest], own: &[FedDigest], fed: FedDigest) -> Verdict {
    let difference = fed - own.iter().copied().sum();
    if difference == FedDigest::ZERO {
        return Verdict::AsPlanned;
    }
    let sums = prefix_sums(previous.iter().chain(own));
    let window = 0..sums.len();
    let own_window = previous.len()..sums.len();
    if let Some(run) = run_with_sum(&sums, window.clone(), difference) {
        return Verdict::Repeated(run);
    }
    if let Some(run) = run_with_sum(&sums, own_window.clone(), -difference) {
        return Verdict::Missed(run);
    }
    for len in 1..=own.len().min(LONGEST_REPLACED_RUN) {
        let runs: HashMap<FedDigest, usize> = window
            .clone()
            .zip(sums.windows(len + 1))
            .map(|(first, sums)| (sums[len] - sums[0], first))
            .collect();
        for missed in own_window.start..own_window.end - len {
            let missed_sum = sums[missed + len] - sums[missed];
            if let Some(&repeated) = runs.get(&(missed_sum + difference)) {
                let run = |first: usize| Run {
                    first: first as u64,
                    len: len as u64,
                };
                return Verdict::Replaced {
                    missed: run(missed),
                    repeated: run(repeated),
                };
            }
        }
    }
    Verdict::Unexplained
}

/// The sums of the first 0, 1, 2, … digests.
fn prefix_sums<'a>(digests: impl Iterator<Item = &'a FedDigest>) -> Vec<FedDigest> {
    let mut sums = vec![FedDigest::ZERO];
    let mut sum = FedDigest::ZERO;
    for digest in digests {
        sum += *digest;
        sums.push(sum);
    }
    sums
}

/// A run, between two of the prefix sums at `range`, that sums to `wanted`.
fn run_with_sum(sums: &[FedDigest], range: Range<usize>, wanted: FedDigest) -> Option<Run> {
    let mut starts: HashMap<FedDigest, usize> = HashMap::new();
    for end in range {
        if let Some(&first) = starts.get(&(sums[end] - wanted)) {
            return Some(Run {
                first: first as u64,
                len: (end - first) as u64,
            });
        }
        starts.insert(sums[end], end);
    }
    None
}

//! Whether a generation can be formed, of whom, and from which state.
//!
//! Pure functions of what is known, each with its reason in words.

use ledger::Cursor;

use super::effect::Origin;
use super::event::Millis;
use super::members::Applied;
use crate::records::{Checkpoint, CheckpointId, KeptGeneration, WorkerId};

/// A worker that could be put into a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) worker: WorkerId,
    pub(super) instance: String,
    pub(super) applied: Applied,
    /// Since when it waits.
    pub(super) since: Millis,
}

/// What a generation begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) base: Cursor,
    pub(super) origin: Origin,
    /// For each member, in rank order, whether it has the state at the base.
    pub(super) has_state: Vec<bool>,
}

/// Workers that are there and cannot be chosen, for the words.
#[derive(Clone, Debug, Default)]
pub(super) struct Others {
    /// Connected and not ready yet.
    pub(super) preparing: usize,
    /// One sentence each.
    pub(super) set_aside: Vec<String>,
}

/// Says what is missing of the `wanted` workers, if any is.
pub(super) fn check_enough(ready: usize, wanted: usize, others: &Others) -> Result<(), String> {
    let missing = wanted.saturating_sub(ready);
    if missing == 0 {
        return Ok(());
    }
    let preparing = match others.preparing {
        0 => String::new(),
        preparing => format!(", {preparing} connected and not ready yet"),
    };
    let set_aside = match others.set_aside.is_empty() {
        true => String::new(),
        false => format!("; {}", others.set_aside.join("; ")),
    };
    Err(format!(
        "waiting for {missing} more worker{} ({ready} of {wanted} ready{preparing}){set_aside}",
        if missing == 1 { "" } else { "s" },
    ))
}

/// Chooses the members of the next generation, in rank order. With more
/// candidates than seats, those whose state is furthest come first: they are
/// the ones that make a restore unnecessary.
pub(super) fn choose_members(
    mut candidates: Vec<Candidate>,
    seats: usize,
    usable: impl Fn(&Applied) -> Option<Cursor>,
) -> Vec<Candidate> {
    let progress = |candidate: &Candidate| usable(&candidate.applied).map(progress);
    candidates.sort_by(|left, right| {
        let furthest_first = progress(right).cmp(&progress(left));
        furthest_first.then_with(|| left.worker.cmp(&right.worker))
    });
    candidates.truncate(seats);
    candidates.sort_by(|left, right| left.worker.cmp(&right.worker));
    candidates
}

/// Chooses the state that a generation begins with: the furthest that a member
/// holds and whose steps are all reported, or a checkpoint that is further
/// still. So a durable checkpoint is never rolled back.
pub(super) fn choose_basis(
    members: &[Candidate],
    usable: impl Fn(&Applied) -> Option<Cursor>,
    latest: Option<&Checkpoint>,
    initial: Option<&CheckpointId>,
) -> Basis {
    let states: Vec<Option<Cursor>> = members.iter().map(|m| usable(&m.applied)).collect();
    let furthest = states
        .iter()
        .flatten()
        .copied()
        .max_by_key(|c| progress(*c));
    let further_checkpoint = latest.filter(|checkpoint| {
        furthest.is_none_or(|cursor| progress(checkpoint.cursor) > progress(cursor))
    });
    if let Some(checkpoint) = further_checkpoint {
        return Basis {
            base: checkpoint.cursor,
            origin: Origin::Checkpoint(checkpoint.id.clone()),
            has_state: vec![false; members.len()],
        };
    }
    let holder = furthest.and_then(|base| {
        let rank = states.iter().position(|state| *state == Some(base))?;
        Some((base, u32::try_from(rank).ok()?))
    });
    match holder {
        Some((base, rank)) => Basis {
            base,
            origin: Origin::Rank(rank),
            has_state: states.iter().map(|state| *state == Some(base)).collect(),
        },
        None => Basis {
            base: Cursor::start(),
            origin: Origin::Initial {
                weights: initial.cloned(),
            },
            has_state: vec![false; members.len()],
        },
    }
}

/// Whether steps done in `generation` up to `step` are part of the surviving
/// lineage: no later generation went on from before them.
pub(super) fn survives(generations: &[KeptGeneration], generation: u64, step: u64) -> bool {
    let known = step == 0 || generations.iter().any(|g| g.record.number == generation);
    let later = generations.iter().filter(|g| g.record.number > generation);
    known && later.into_iter().all(|g| g.record.base.step >= step)
}

/// How far a cursor is: steps, and epochs without any.
pub(super) fn progress(cursor: Cursor) -> (u64, u64) {
    (cursor.step, cursor.epoch)
}

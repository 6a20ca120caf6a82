//! Who keeps the others waiting, and for how long they put up with it.
//!
//! A collective waits for everyone, so one worker that hangs stops all of them
//! without anyone failing. Heartbeats say what a worker does and since when: a
//! member that *reduces* has done its part of the step and waits for the
//! others. When one has waited for longer than steps have taken so far, whoever
//! is not there yet is left behind, and the rest go on.
//!
//! Where nobody waits, because there is nobody else or because all hang in the
//! same place, a member that *trains* at one step for far longer than steps have
//! taken hangs as well, and so does one that *evaluates* one batch, which is a part
//! of what a step computes. Nothing is lost by waiting there but its own time, so
//! the patience is many times as long. What waits for data, forms the group, or
//! copies a checkpoint while two others are still on their way has no length that
//! is known, and is never taken for a hang.

use std::collections::VecDeque;

use super::event::{Activity, Millis};
use super::generation::{Generation, Leave, SeatState, Stage};
use super::happening::Happening;
use super::members::{Member, Standing};
use super::settings::Straggling;
use super::{Machine, Sabotage};
use crate::records::WorkerId;

/// Steps over which a generation's pace is measured.
const RECENT: usize = 32;
/// Steps that a generation must have made before its pace says anything: the
/// first ones fill caches.
const FEWEST: usize = 3;

/// How long a generation's steps have taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    seconds: VecDeque<f64>,
}

impl Pace {
    pub(super) fn note(&mut self, seconds: f64) {
        if seconds.is_finite() && seconds > 0.0 {
            self.seconds.push_back(seconds);
            if self.seconds.len() > RECENT {
                self.seconds.pop_front();
            }
        }
    }

    /// How long one member may keep the others waiting, if that is known yet.
    pub(super) fn deadline_ms(&self, policy: &Straggling) -> Option<Millis> {
        if self.seconds.len() < FEWEST {
            return None;
        }
        let mut sorted: Vec<f64> = self.seconds.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let longest = sorted[sorted.len() - 1];
        let seconds = (policy.medians * median).max(policy.longest * longest);
        Some(policy.floor_ms.max((seconds * 1000.0) as Millis))
    }

    /// How long a member may train at one step, or evaluate one batch, while nobody
    /// waits for it.
    /// `unknown` is for a generation whose pace is not known yet.
    fn unwaited_ms(&self, policy: &Straggling, unknown: Millis) -> Millis {
        let deadline = self.deadline_ms(policy);
        let patience = deadline.map_or(unknown, |deadline| {
            deadline.saturating_mul(policy.unwaited_deadlines)
        });
        patience.max(policy.unwaited_floor_ms)
    }
}

/// A member that the others wait for.
struct Straggler {
    worker: WorkerId,
    doing: String,
    silent: bool,
}

impl Machine {
    /// Leaves a member behind that gets no further.
    pub(super) fn expect_stragglers(&mut self) {
        let Some(generation) = &self.current else {
            return;
        };
        // One that is left in good order has a step to finish before: whoever hangs
        // in that holds the others up as in any other.
        if !matches!(
            generation.stage,
            Stage::Running | Stage::Leaving { at_once: false, .. }
        ) || self.settings.breaks(Sabotage::LeaveNobodyBehind)
        {
            return;
        }
        let policy = &self.settings.straggling;
        let known = generation.pace.deadline_ms(policy);
        let patience = known.unwrap_or(self.settings.collective_ms);
        match self.longest_wait(generation) {
            Some(waited) if waited > patience => self.expect_the_late(waited, patience),
            _ => self.expect_the_hung(),
        }
    }

    /// Leaves those behind that others have waited for, for too long.
    fn expect_the_late(&mut self, waited: Millis, patience: Millis) {
        let Some(generation) = &self.current else {
            return;
        };
        let number = generation.number;
        let stragglers = self.stragglers(generation, patience);
        if stragglers.is_empty() {
            // Everyone has done its part: it is the network between them.
            let reducing = |worker: &WorkerId| {
                let member = self.members.get(worker);
                member.is_some_and(|member| member.activity == Activity::Reducing)
            };
            let all_wait = generation.in_it().all(reducing);
            if all_wait && waited > patience.max(self.settings.lease_ms) {
                let seconds = waited as f64 / 1000.0;
                let reason = match generation.seats.len() {
                    1 => format!(
                        "the only member has waited for its own sums for {seconds:.1} s: its \
                         device may hang"
                    ),
                    _ => format!(
                        "every member has waited for the others for {seconds:.1} s: the network \
                         between the workers may be cut"
                    ),
                };
                self.leave(Leave::Now, reason);
            }
            return;
        }
        for straggler in stragglers {
            self.tell(Happening::Straggled {
                worker: straggler.worker.clone(),
                generation: number,
                doing: straggler.doing.clone(),
                waited: waited as f64 / 1000.0,
                deadline: patience as f64 / 1000.0,
            });
            let reason = format!("it held the others up: {}", straggler.doing);
            self.leave_behind(&straggler, &reason);
        }
    }

    /// Leaves those behind that hang although nobody waits for them.
    fn expect_the_hung(&mut self) {
        let Some(generation) = &self.current else {
            return;
        };
        // What ends has a deadline of its own.
        if generation.stage != Stage::Running {
            return;
        }
        let patience = self.unwaited_ms(generation);
        let hung = |worker: &WorkerId| {
            let member = self.members.get(worker)?;
            let lasted = self.now.saturating_sub(member.activity_since);
            let computes = matches!(member.activity, Activity::Training | Activity::Evaluating);
            let hangs = computes
                && lasted > patience
                // What was heard long ago says nothing of now: a lease is for that.
                && !self.is_silent(member);
            hangs.then(|| Straggler {
                worker: worker.clone(),
                doing: doing(member, lasted),
                silent: false,
            })
        };
        let hung: Vec<Straggler> = generation.in_it().filter_map(hung).collect();
        for straggler in hung {
            let seconds = patience as f64 / 1000.0;
            let reason = format!(
                "its device may hang: {}, and {seconds:.1} s are more than any step should take",
                straggler.doing
            );
            self.leave_behind(&straggler, &reason);
        }
    }

    fn unwaited_ms(&self, generation: &Generation) -> Millis {
        let unknown = self.settings.collective_ms;
        let policy = &self.settings.straggling;
        generation.pace.unwaited_ms(policy, unknown)
    }

    /// For how long a member that is alive has waited for the others. One that waited
    /// at a step which is reported by now has what it waited for, and will say so.
    fn longest_wait(&self, generation: &Generation) -> Option<Millis> {
        let reported = self.reported_steps();
        let waits = generation.in_it().filter_map(|worker| {
            let member = self.members.get(worker)?;
            let waits = member.activity == Activity::Reducing
                && step(member) >= reported
                && !self.is_silent(member);
            waits.then(|| self.now.saturating_sub(member.activity_since))
        });
        waits.max()
    }

    fn is_silent(&self, member: &Member) -> bool {
        let silence = self.now.saturating_sub(member.last_heard);
        member.session.is_none() || silence > self.settings.straggling.silence_ms
    }

    /// The members that are not where the others wait.
    fn stragglers(&self, generation: &Generation, patience: Millis) -> Vec<Straggler> {
        let unwaited = self.unwaited_ms(generation);
        let members = || {
            let workers = generation.in_it();
            workers.filter_map(|worker| Some((worker, self.members.get(worker)?)))
        };
        let waiting = members().filter(|(_, m)| m.activity == Activity::Reducing);
        let Some(furthest) = waiting.map(|(_, member)| step(member)).max() else {
            return Vec::new();
        };
        let straggler = |(worker, member): (&WorkerId, &Member)| {
            if self.is_silent(member) {
                let seconds = self.now.saturating_sub(member.last_heard) as f64 / 1000.0;
                return Some(Straggler {
                    worker: worker.clone(),
                    doing: format!("it has been silent for {seconds:.1} s"),
                    silent: true,
                });
            }
            let behind = step(member) < furthest || member.activity != Activity::Reducing;
            // What it did before was its own affair: an evaluation, say.
            let lasted = self.now.saturating_sub(member.activity_since);
            let patience = match member.activity {
                // Its data, or the way of its checkpoints, is not its fault.
                Activity::WaitingForData | Activity::Checkpointing => self.settings.collective_ms,
                // The others may have had less to evaluate, and no batch waits for
                // anything.
                Activity::Evaluating => unwaited,
                _ => patience,
            };
            (behind && lasted > patience).then(|| Straggler {
                worker: worker.clone(),
                doing: doing(member, lasted),
                silent: false,
            })
        };
        members().filter_map(straggler).collect()
    }

    fn leave_behind(&mut self, straggler: &Straggler, reason: &str) {
        if straggler.silent
            && let Some(session) = self.members.session_of(&straggler.worker)
        {
            // A process that is stopped hears of it when it goes on.
            return self.drop_session(session, reason);
        }
        if let Some(member) = self.members.get_mut(&straggler.worker) {
            member.standing = Standing::Starting;
        }
        // Nobody waits for it to leave: that the others have is enough.
        if self.seat_state(&straggler.worker) == Some(SeatState::Seated) {
            self.tell_to_abort(&straggler.worker, reason);
        }
        self.lose_seat(&straggler.worker, reason);
    }
}

fn step(member: &Member) -> u64 {
    member.cursor.map_or(0, |cursor| cursor.step)
}

/// What a member has been doing for `lasted`, in words.
fn doing(member: &Member, lasted: Millis) -> String {
    format!(
        "it is {} at step {} for {:.1} s",
        member.activity.as_str(),
        step(member),
        lasted as f64 / 1000.0
    )
}

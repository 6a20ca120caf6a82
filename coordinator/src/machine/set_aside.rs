//! Workers that break generation after generation, and are left out of them
//! for a while.
//!
//! One break is bad luck. A worker that breaks several generations in a row
//! before they get anywhere (a failing card, a flapping network, a process
//! that crashes as soon as it trains) costs everyone else their time, so it
//! waits, longer each time, and may then try again.

use std::collections::BTreeMap;

use super::Machine;
use super::ending::RunState;
use super::event::Millis;
use super::generation::Generation;
use super::happening::Happening;
use super::settings::SetAside;
use crate::records::WorkerId;

/// What is held against workers, by name: a process that is started again
/// answers for the one before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Offenders {
    by_name: BTreeMap<WorkerId, Offender>,
}

#[derive(Clone, Debug, Default)]
struct Offender {
    /// Young generations that it broke, one after the other.
    breaks: u32,
    /// How often it was set aside.
    times: u32,
    /// Until when it is, and why.
    aside: Option<(Millis, String)>,
}

impl Offenders {
    /// Until when a worker is set aside, and why.
    pub(super) fn aside(&self, worker: &WorkerId) -> Option<(Millis, &str)> {
        let (until, reason) = self.by_name.get(worker)?.aside.as_ref()?;
        Some((*until, reason))
    }

    /// A generation that got somewhere clears its members, but not of how often
    /// they were set aside before.
    fn clear(&mut self, worker: &WorkerId) {
        if let Some(offender) = self.by_name.get_mut(worker) {
            offender.breaks = 0;
        }
    }

    /// Holds a broken generation against a worker. Returns for how long it is
    /// set aside, if it is.
    fn blame(
        &mut self,
        worker: &WorkerId,
        now: Millis,
        policy: &SetAside,
        reason: &str,
    ) -> Option<Millis> {
        let offender = self.by_name.entry(worker.clone()).or_default();
        offender.breaks += 1;
        if offender.breaks < policy.breaks || offender.aside.is_some() {
            return None;
        }
        let doublings = offender.times.min(16);
        let pause = (policy.first_ms << doublings).min(policy.longest_ms);
        offender.times += 1;
        offender.aside = Some((now + pause, reason.to_owned()));
        Some(pause)
    }

    /// Lets those in again whose time is over; one more break is enough to set
    /// them aside again.
    fn readmit(&mut self, now: Millis, policy: &SetAside) -> Vec<WorkerId> {
        let mut readmitted = Vec::new();
        for (worker, offender) in &mut self.by_name {
            if offender
                .aside
                .as_ref()
                .is_some_and(|(until, _)| *until <= now)
            {
                offender.aside = None;
                offender.breaks = policy.breaks.saturating_sub(1);
                readmitted.push(worker.clone());
            }
        }
        readmitted
    }
}

impl Machine {
    /// A generation is over: takes note of who broke it, if anyone did and it
    /// had got nowhere.
    pub(super) fn judge(&mut self, generation: &Generation) {
        let policy = self.settings.set_aside;
        let steps = self.reports.reported().step;
        if steps.saturating_sub(generation.base_step) >= policy.young_steps {
            for seat in &generation.seats {
                self.offenders.clear(&seat.worker);
            }
            return;
        }
        if !matches!(self.run, RunState::Open) || generation.adopted {
            return;
        }
        // Who meets with a damaged checkpoint has not damaged it.
        if self.checkpoint_in_doubt().is_some() {
            return;
        }
        // Who complains of a failed collective is rarely who made it fail, so
        // that counts only where nobody was lost and few complain.
        let complaints = &generation.complaints;
        let breakers = match generation.losses.is_empty() {
            false => &generation.losses,
            true if 2 * complaints.len() < generation.seats.len() => complaints,
            true => return,
        };
        for (worker, reason) in breakers {
            if let Some(pause) = self.offenders.blame(worker, self.now, &policy, reason) {
                self.tell(Happening::SetAside {
                    worker: worker.clone(),
                    seconds: pause as f64 / 1000.0,
                    reason: format!(
                        "it broke {} generations in a row within their first {} steps, the last \
                         one because {reason}",
                        policy.breaks, policy.young_steps
                    ),
                });
            }
        }
    }

    pub(super) fn readmit_workers(&mut self) {
        let policy = self.settings.set_aside;
        for worker in self.offenders.readmit(self.now, &policy) {
            self.tell(Happening::Readmitted { worker });
        }
    }
}

//! Workers that break generation after generation, and are left out of them
//! for a while.
//!
//! One break is bad luck. A worker that breaks several generations in a row
//! before they get anywhere (a failing card, a flapping network, a process
//! that crashes as soon as it trains) costs everyone else their time, so it
//! waits, longer each time, and may then try again.
//!
//! How sure it is who broke one depends on how it broke:
//!
//! - A member was lost: that one did.
//! - One gave up before the group met, or alone in it: no other rank can have
//!   been the reason, so it did.
//! - One complains of a failed collective: any of them may have made it fail. Only
//!   a worker that is the single one to complain again and again, without another
//!   such break in between, is taken for the reason.
//!
//! Breaks without a loss follow one another within milliseconds. After the second
//! in a row the next generation waits, longer each time, whoever is to blame.

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
    /// Young generations that broke without a loss, one after the other.
    broken: u32,
    /// Until when the next one waits for that.
    pause_until: Millis,
}

#[derive(Clone, Debug, Default)]
struct Offender {
    /// Young generations that it broke, one after the other.
    breaks: u32,
    /// Those of which it alone complained, one after the other.
    alone: u32,
    /// How often it was set aside.
    times: u32,
    /// Until when it is, and why.
    aside: Option<(Millis, String)>,
}

impl Offender {
    /// Returns for how long, unless it is set aside already.
    fn put_aside(&mut self, now: Millis, policy: &SetAside, reason: &str) -> Option<Millis> {
        if self.aside.is_some() {
            return None;
        }
        let doublings = self.times.min(16);
        let pause = (policy.first_ms << doublings).min(policy.longest_ms);
        self.times += 1;
        self.aside = Some((now + pause, reason.to_owned()));
        Some(pause)
    }
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
            offender.alone = 0;
        }
    }

    /// A generation that broke without a loss is followed by a pause, if another one
    /// did before it.
    fn pause(&mut self, now: Millis, policy: &SetAside) {
        let doublings = self.broken.saturating_sub(1).min(16);
        let pause = (policy.first_pause_ms << doublings).min(policy.longest_pause_ms);
        if self.broken > 0 {
            self.pause_until = now + pause;
        }
        self.broken = self.broken.saturating_add(1);
    }

    /// Takes note of who complained of a failed collective. Returns for how long
    /// the one that is blamed for it is set aside, if one is.
    fn suspect(
        &mut self,
        members: &[&WorkerId],
        complaints: &[(WorkerId, String)],
        now: Millis,
        policy: &SetAside,
    ) -> Option<Millis> {
        let (sole, reason) = match complaints {
            [(worker, reason)] => (Some(worker), reason.as_str()),
            _ => (None, ""),
        };
        for worker in members {
            if Some(*worker) != sole
                && let Some(offender) = self.by_name.get_mut(*worker)
            {
                offender.alone = 0;
            }
        }
        let offender = self.by_name.entry(sole?.clone()).or_default();
        offender.alone += 1;
        if offender.alone < policy.breaks {
            return None;
        }
        offender.alone = 0;
        offender.put_aside(now, policy, reason)
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
        if offender.breaks < policy.breaks {
            return None;
        }
        offender.put_aside(now, policy, reason)
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
            self.offenders.broken = 0;
            return;
        }
        if !matches!(self.run, RunState::Open) || generation.adopted {
            return;
        }
        // Who meets with a damaged checkpoint has not damaged it.
        if self.checkpoint_in_doubt().is_some() {
            return;
        }
        let Generation {
            complaints, losses, ..
        } = generation;
        if !losses.is_empty() {
            return self.blame_all(losses);
        }
        if complaints.is_empty() {
            // Left in good order.
            return;
        }
        self.offenders.pause(self.now, &policy);
        // Before rank 0's store listens no rank depends on another, nor does the
        // only one.
        if generation.store.is_none() || generation.seats.len() == 1 {
            return self.blame_all(complaints);
        }
        let members: Vec<&WorkerId> = generation.seats.iter().map(|seat| &seat.worker).collect();
        let pause = self
            .offenders
            .suspect(&members, complaints, self.now, &policy);
        if let (Some(pause), [(worker, reason)]) = (pause, complaints.as_slice()) {
            let breaks = policy.breaks;
            let what =
                format!("it alone complained of {breaks} generations in a row that broke within");
            self.tell_set_aside(worker, pause, &what, reason);
        }
    }

    fn blame_all(&mut self, breakers: &[(WorkerId, String)]) {
        let policy = self.settings.set_aside;
        for (worker, reason) in breakers {
            if let Some(pause) = self.offenders.blame(worker, self.now, &policy, reason) {
                let what = format!("it broke {} generations in a row within", policy.breaks);
                self.tell_set_aside(worker, pause, &what, reason);
            }
        }
    }

    fn tell_set_aside(&mut self, worker: &WorkerId, pause: Millis, what: &str, reason: &str) {
        let steps = self.settings.set_aside.young_steps;
        self.tell(Happening::SetAside {
            worker: worker.clone(),
            seconds: pause as f64 / 1000.0,
            reason: format!("{what} their first {steps} steps, the last one because {reason}"),
        });
    }

    /// Whether the next generation waits because those before it broke one after
    /// the other; says so.
    pub(super) fn pauses_after_breaks(&mut self) -> bool {
        let would_form = matches!(self.run, RunState::Open) && self.current.is_none();
        let until = self.offenders.pause_until;
        if !would_form || self.now >= until {
            return false;
        }
        let seconds = (until - self.now).div_ceil(1000);
        let broken = self.offenders.broken;
        self.wait_for(&format!(
            "waiting {seconds} s before the next generation: {broken} in a row broke soon after \
             they were formed, and the last one because {}",
            self.next_reason
        ));
        true
    }

    pub(super) fn readmit_workers(&mut self) {
        let policy = self.settings.set_aside;
        for worker in self.offenders.readmit(self.now, &policy) {
            self.tell(Happening::Readmitted { worker });
        }
    }
}

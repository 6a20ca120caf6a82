//! What the operator does, and how it is undone.

use std::time::Instant;

use rustix::process::Signal;

use super::operator::{Chaos, Return};
use super::{Fault, Kind};
use crate::{Cut, Error};

/// Who is struck, and how things stood.
pub(super) struct Struck<'a> {
    /// The victim, where that is a worker.
    pub(super) worker: &'a str,
    /// The coordinator that led.
    pub(super) leader: &'a str,
    pub(super) began: Instant,
    /// The last step reported, and its generation.
    pub(super) generation: u64,
    pub(super) step: u64,
}

impl Chaos<'_> {
    /// Does it, waits as long as it is to last, and undoes it; yields when that
    /// was.
    pub(super) fn strike(&mut self, fault: &Fault, at: &Struck<'_>) -> Result<Instant, Error> {
        match fault.kind {
            Kind::KillWorker => {
                self.cluster.worker(at.worker)?.kill();
                self.start_again(at)?;
            }
            Kind::DrainWorker => {
                self.drain(at.worker)?;
                self.start_again(at)?;
            }
            Kind::PauseWorker => {
                self.cluster.worker(at.worker)?.signal(Signal::STOP)?;
                self.outlast(fault, at)?;
                self.cluster.worker(at.worker)?.signal(Signal::CONT)?;
            }
            Kind::CutWorker => self.cut(at.worker, fault, at)?,
            Kind::KillCoordinator => {
                self.cluster.coordinator()?.kill();
                self.cluster.start_coordinator_again()?;
            }
            Kind::PauseCoordinator => {
                self.cluster.coordinator()?.signal(Signal::STOP)?;
                self.outlast(fault, at)?;
                self.cluster.coordinator()?.signal(Signal::CONT)?;
            }
            Kind::CutCoordinator => self.cut(crate::cluster::COORDINATOR, fault, at)?,
            Kind::KillLeader => self.kill_leader(at)?,
            Kind::PauseLeader => {
                let leader = self.cluster.coordinator_named(at.leader)?;
                leader.signal(Signal::STOP)?;
                self.follower.reconnect();
                self.outlast(fault, at)?;
                let leader = self.cluster.coordinator_named(at.leader)?;
                leader.signal(Signal::CONT)?;
            }
            Kind::CutLeader => {
                self.cluster.cut_from_store(at.leader, fault.cut)?;
                self.outlast(fault, at)?;
                self.cluster.mend_to_store(at.leader)?;
            }
            Kind::KillStore => {
                self.cluster.store()?.kill();
                self.outlast(fault, at)?;
                self.cluster.store()?.restart()?;
            }
            Kind::PauseStore => {
                self.cluster.store()?.pause()?;
                self.outlast(fault, at)?;
                self.cluster.store()?.resume()?;
            }
            Kind::CutStore => {
                self.cluster.cut_store(fault.cut)?;
                self.outlast(fault, at)?;
                self.cluster.mend_store()?;
            }
        }
        Ok(Instant::now())
    }

    /// Kills whoever leads, and starts it again when another has led for a step.
    fn kill_leader(&mut self, at: &Struck<'_>) -> Result<(), Error> {
        self.cluster.coordinator_named(at.leader)?.kill();
        self.follower.reconnect();
        let step = at.step;
        self.wait("another coordinator to lead", Some(at.leader), |chaos| {
            let last = chaos.follower.last();
            Ok(last.filter(|seen| seen.step.number > step).map(drop))
        })?;
        self.cluster.start_coordinator_named_again(at.leader)
    }

    fn cut(&mut self, machine: &str, fault: &Fault, at: &Struck<'_>) -> Result<(), Error> {
        let no_network = Error::NotRunning("a network that can be cut");
        let Some(network) = &mut self.cluster.network else {
            return Err(no_network);
        };
        let cut = if network.can(fault.cut) {
            fault.cut
        } else {
            Cut::Both
        };
        network.cut(machine, cut)?;
        self.outlast(fault, at)?;
        match &mut self.cluster.network {
            Some(network) => network.mend(machine),
            None => Err(no_network),
        }
    }

    /// Asks a worker to end, and holds it to ending well.
    fn drain(&mut self, victim: &str) -> Result<(), Error> {
        self.cluster.worker(victim)?.signal(Signal::TERM)?;
        let name = victim.to_owned();
        self.wait(&format!("{victim} to drain"), Some(victim), move |chaos| {
            let worker = chaos.cluster.worker(&name)?;
            worker.expect_no_failure()?;
            Ok(worker.ended()?.map(drop))
        })
    }

    /// Starts a worker that has ended, when it is time.
    fn start_again(&mut self, at: &Struck<'_>) -> Result<(), Error> {
        if self.comes_back == Return::AfterRecovery {
            let what = format!("the others to go on without {}", at.worker);
            let generation = at.generation;
            self.wait(&what, Some(at.worker), |chaos| {
                Ok(chaos.has_gone_on(generation).then_some(()))
            })?;
        }
        self.cluster.start_worker_again(at.worker)
    }

    /// Waits until the fault has lasted long enough.
    fn outlast(&mut self, fault: &Fault, at: &Struck<'_>) -> Result<(), Error> {
        let early = self.undoes_early && fault.kind.strikes_worker();
        let (began, generation) = (at.began, at.generation);
        self.wait("a fault to last", None, |chaos| {
            let over = began.elapsed() >= fault.lasts || (early && chaos.has_gone_on(generation));
            Ok(over.then_some(()))
        })
    }

    /// Whether a generation after this one has reported a step.
    fn has_gone_on(&self, generation: u64) -> bool {
        let last = self.follower.last();
        last.is_some_and(|seen| seen.step.generation > generation)
    }
}

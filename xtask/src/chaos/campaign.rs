//! A cluster, the faults that are injected into it, and what it has to show
//! afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use local_cluster::chaos::{Chaos, Fault, Injected, Kind, Return};
use local_cluster::{Audit, Cluster, Error, Follower, Method, Step, wait_until};

use crate::interrupt;
use crate::progress::Progress;

/// How long the cluster may take to be whole again, whatever was done to it.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the programs may take to end when asked to.
const GRACE: Duration = Duration::from_secs(60);
/// Steps that the whole cluster takes before it is stopped.
const LAST_STEPS: u64 = 3;

/// A cluster that is about to be disturbed.
pub(crate) struct Campaign {
    /// Without any process yet.
    pub(crate) cluster: Cluster,
    /// How many there are; several share a store.
    pub(crate) coordinators: u32,
    /// Of a run without an end.
    pub(crate) coordinator_flags: Vec<String>,
    /// Of each worker.
    pub(crate) worker_flags: Vec<String>,
    /// How many of them.
    pub(crate) workers: u32,
}

/// What a disturbed cluster has to show.
pub(crate) struct Campaigned {
    pub(crate) injected: Vec<Injected>,
    /// The surviving lineage.
    pub(crate) steps: Vec<Step>,
    /// Reported steps that were rolled back.
    pub(crate) steps_lost: u64,
    pub(crate) audit: Audit,
    pub(crate) left_behind: Vec<String>,
}

/// The same as far as it got, for a cluster may not recover.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// What it recovered from.
    pub(super) injected: Vec<Injected>,
    /// What it did not recover from.
    pub(super) not_recovered_from: Option<Kind>,
    /// The surviving lineage as it is recorded, or, if it cannot be read, as it
    /// was reported.
    pub(super) steps: Vec<Step>,
    pub(super) steps_lost: u64,
    /// Workers that asked to be started again.
    pub(super) asked_for_restart: u64,
    /// `None` where there is nothing to audit.
    pub(super) audit: Option<Audit>,
    pub(super) left_behind: Vec<String>,
    /// How cables were cut.
    pub(super) network: Option<Method>,
    /// Why it got no further.
    pub(super) error: Option<anyhow::Error>,
}

impl Campaign {
    /// Starts everything, injects faults as long as there are some and `go_on`
    /// says so of their number, stops everything, and audits.
    pub(crate) fn run(
        self,
        faults: impl Iterator<Item = Fault>,
        go_on: impl FnMut(usize) -> bool,
    ) -> anyhow::Result<Campaigned> {
        let reached = self.run_as_far_as_it_gets(faults, go_on)?;
        if let Some(error) = reached.error {
            return Err(error);
        }
        Ok(Campaigned {
            injected: reached.injected,
            steps: reached.steps,
            steps_lost: reached.steps_lost,
            audit: reached.audit.context("there was nothing to audit")?,
            left_behind: reached.left_behind,
        })
    }

    /// The same, for whoever wants to know what was reached before it failed.
    ///
    /// # Errors
    /// Only of Ctrl-C: whoever interrupts wants no report.
    pub(super) fn run_as_far_as_it_gets(
        mut self,
        faults: impl Iterator<Item = Fault>,
        go_on: impl FnMut(usize) -> bool,
    ) -> anyhow::Result<Reached> {
        let network = match self.coordinators {
            1 => self.cluster.network().map(local_cluster::Network::method),
            // Those between coordinators and the store.
            _ => Some(Method::Proxies),
        };
        let mut reached = Reached {
            network,
            ..Reached::default()
        };
        let disturbed = self.disturb(faults, go_on, &mut reached);
        let examined = disturbed.and_then(|()| {
            reached.steps = self.cluster.recorded_steps()?;
            reached.audit = Some(self.cluster.audit_whatever_it_finds()?);
            Ok(())
        });
        if let Err(error) = examined {
            if interrupt::is_cause_of(&error) {
                return Err(error);
            }
            reached.error = Some(error);
            self.salvage(&mut reached);
        }
        reached.left_behind = self.cluster.left_behind();
        Ok(reached)
    }

    fn disturb(
        &mut self,
        faults: impl Iterator<Item = Fault>,
        go_on: impl FnMut(usize) -> bool,
        reached: &mut Reached,
    ) -> anyhow::Result<()> {
        let cluster = &mut self.cluster;
        if self.coordinators > 1 {
            cluster.share_store()?;
        }
        cluster.start_coordinator(&self.coordinator_flags)?;
        for _ in 1..self.coordinators {
            cluster.start_standby(&self.coordinator_flags)?;
        }
        start_workers(cluster, &self.worker_flags, self.workers)?;
        let mut progress = Progress::start("waiting for the workers to join");
        let mut look = |follower: &Follower| {
            if let Some(seen) = follower.last() {
                progress.show(line(&seen.step));
            }
            interrupted()
        };
        let names = (1..=self.workers).map(name).collect();
        let mut chaos = Chaos::new(cluster, names, Return::AfterRecovery, PATIENCE, &mut look);
        let injected = inject_all(&mut chaos, faults, go_on, reached);
        reached.injected = chaos.injected().to_vec();
        reached.steps = survivors(chaos.follower());
        reached.steps_lost = chaos.follower().rolled_back();
        reached.asked_for_restart = chaos.asked_for_restart();
        drop(chaos);
        self.cluster.note_ports();
        injected?;
        progress.finish("stopping the cluster");
        self.cluster.stop(GRACE)?;
        Ok(())
    }

    /// Ends a cluster that failed, and audits what it had done where its records
    /// are in one place.
    fn salvage(&mut self, reached: &mut Reached) {
        for process in self.cluster.processes() {
            process.kill();
        }
        if self.coordinators > 1 {
            // Who led last, and so has every page, is in doubt.
            return;
        }
        // A coordinator that never began has recorded nothing.
        if let Ok(steps) = self.cluster.recorded_steps() {
            reached.steps = steps;
        }
        reached.audit = self.cluster.audit_whatever_it_finds().ok();
    }
}

/// Injects faults as long as there are some and `go_on` says so.
fn inject_all(
    chaos: &mut Chaos<'_>,
    faults: impl Iterator<Item = Fault>,
    mut go_on: impl FnMut(usize) -> bool,
    reached: &mut Reached,
) -> Result<(), Error> {
    for fault in faults {
        chaos.settle(fault.after_steps)?;
        if !go_on(chaos.injected().len()) {
            break;
        }
        reached.not_recovered_from = Some(fault.kind);
        let sentence = in_words(chaos.inject(&fault)?);
        reached.not_recovered_from = None;
        eprintln!("{:>4}. {sentence}", chaos.injected().len());
    }
    chaos.settle(LAST_STEPS)
}

/// The steps that were reported and not rolled back, as far as reports say.
fn survivors(follower: &Follower) -> Vec<Step> {
    let seen = follower.seen().iter();
    let last_of_each: BTreeMap<u64, &Step> =
        seen.map(|seen| (seen.step.number, &seen.step)).collect();
    last_of_each.into_values().cloned().collect()
}

fn name(number: u32) -> String {
    // Ranks follow names: zeros make them follow numbers.
    format!("worker-{number:02}")
}

fn start_workers(
    cluster: &mut Cluster,
    worker_flags: &[String],
    workers: u32,
) -> Result<(), Error> {
    (1..=workers).try_for_each(|number| cluster.start_worker(&name(number), worker_flags))
}

/// The first steps of the same run when nothing happens to it.
pub(super) fn undisturbed(
    mut cluster: Cluster,
    coordinator_flags: &[String],
    worker_flags: &[String],
    workers: u32,
    steps: usize,
) -> anyhow::Result<Vec<Step>> {
    cluster.start_coordinator(coordinator_flags)?;
    start_workers(&mut cluster, worker_flags, workers)?;
    let mut progress = Progress::start("waiting for the workers to join");
    let mut follower = Follower::new();
    // A step takes well under a second.
    let limit = PATIENCE + Duration::from_secs(steps as u64);
    wait_until("the undisturbed run", limit, || {
        cluster.expect_no_failure()?;
        follower.look(&cluster)?;
        if let Some(seen) = follower.last() {
            progress.show(line(&seen.step));
        }
        interrupted()?;
        Ok((follower.seen().len() >= steps).then_some(()))
    })?;
    progress.finish("stopping the cluster");
    cluster.stop(GRACE)?;
    Ok(cluster.recorded_steps()?)
}

fn interrupted() -> Result<(), Error> {
    interrupt::check().map_err(|_| Error::Interrupted)
}

fn line(step: &Step) -> String {
    format!(
        "step {} · loss {:.3} · generation {}",
        step.number + 1,
        step.loss(),
        step.generation
    )
}

fn in_words(injected: &Injected) -> String {
    let mut sentence = format!("step {}: {}", injected.step + 1, injected.kind);
    if let Some(worker) = &injected.victim {
        sentence.push_str(&format!(" {worker}"));
    }
    if let Some(cut) = injected.cut {
        sentence.push_str(&format!(" ({cut:?})").to_lowercase());
    }
    let next = injected.next_step;
    sentence.push_str(&match injected.recovery {
        Some(recovery) => format!(", a step of the next generation after {recovery:.2} s"),
        None => format!(
            " for {:.2} s, generation {} went on after {next:.2} s",
            injected.lasted, injected.generation
        ),
    });
    sentence
}

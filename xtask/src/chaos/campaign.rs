//! A cluster, the faults that are injected into it, and what it has to show
//! afterwards.

use std::time::Duration;

use local_cluster::chaos::{Chaos, Fault, Injected, Return};
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
    /// Workers that asked to be started again.
    pub(crate) asked_for_restart: u64,
    pub(crate) audit: Audit,
    pub(crate) left_behind: Vec<String>,
    pub(crate) network: Option<Method>,
}

impl Campaign {
    /// Starts everything, injects faults as long as there are some and `go_on`
    /// says so of their number, stops everything, and audits.
    pub(crate) fn run(
        self,
        faults: impl Iterator<Item = Fault>,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> anyhow::Result<Campaigned> {
        let mut cluster = self.cluster;
        let network = cluster.network().map(local_cluster::Network::method);
        if self.coordinators > 1 {
            cluster.share_store()?;
        }
        cluster.start_coordinator(&self.coordinator_flags)?;
        for _ in 1..self.coordinators {
            cluster.start_standby(&self.coordinator_flags)?;
        }
        start_workers(&mut cluster, &self.worker_flags, self.workers)?;
        let mut progress = Progress::start("waiting for the workers to join");
        let mut look = |follower: &Follower| {
            if let Some(seen) = follower.last() {
                progress.show(line(&seen.step));
            }
            interrupted()
        };
        let names = (1..=self.workers).map(name).collect();
        let mut chaos = Chaos::new(
            &mut cluster,
            names,
            Return::AfterRecovery,
            PATIENCE,
            &mut look,
        );
        for fault in faults {
            chaos.settle(fault.after_steps)?;
            if !go_on(chaos.injected().len()) {
                break;
            }
            let injected = chaos.inject(&fault)?;
            let sentence = in_words(injected);
            eprintln!("{:>4}. {sentence}", chaos.injected().len());
        }
        chaos.settle(LAST_STEPS)?;
        let injected = chaos.injected().to_vec();
        let steps_lost = chaos.follower().rolled_back();
        let asked_for_restart = chaos.asked_for_restart();
        drop(chaos);
        progress.finish("stopping the cluster");
        cluster.note_ports();
        cluster.stop(GRACE)?;
        Ok(Campaigned {
            injected,
            steps_lost,
            asked_for_restart,
            steps: cluster.recorded_steps()?,
            audit: cluster.audit_whatever_it_finds()?,
            left_behind: cluster.left_behind(),
            network,
        })
    }
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
pub(crate) fn undisturbed(
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
    let whom = injected.victim.as_deref().unwrap_or("the coordinator");
    let mut sentence = format!("step {}: {} {whom}", injected.step + 1, injected.kind);
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

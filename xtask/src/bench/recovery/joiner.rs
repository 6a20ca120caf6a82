//! A worker that joins a run of the largest preset, whose state (weights and
//! both moments) is 1.5 GB.

use std::path::Path;
use std::time::{Duration, Instant};

use local_cluster::{Cluster, Error, Follower, wait_until};
use serde::Serialize;

use crate::chaos::Figures;
use crate::interrupt;
use crate::progress::Progress;

const PATIENCE: Duration = Duration::from_secs(600);
/// Steps before anyone joins, so that a step's time is known.
const STEPS: usize = 4;
const JOINER: &str = "worker-02";

/// What was measured, in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    /// From when the coordinator knew that the joiner was ready until the next
    /// generation, with the joiner, reported a step.
    pub(super) ready_to_step: Figures,
    /// Of the step before.
    pub(super) step_seconds: Figures,
}

/// A run of one worker that another will join.
pub(super) struct Joiner {
    cluster: Cluster,
    follower: Follower,
    progress: Progress,
}

impl Joiner {
    /// Starts the run.
    pub(super) fn start(mut cluster: Cluster, corpus: &Path) -> anyhow::Result<Self> {
        let flags = [
            "--workers=1".to_owned(),
            "--seed=0".to_owned(),
            "--preset=gpt2-122m".to_owned(),
            format!("--data={}", corpus.display()),
            "--sl=64".to_owned(),
            "--bs=1".to_owned(),
            "--global-batch=2".to_owned(),
            "--num_epochs=-1".to_owned(),
            "--pages_per_epoch=30".to_owned(),
            "--eval_pages=0".to_owned(),
        ];
        cluster.start_coordinator(&flags)?;
        cluster.start_worker("worker-01", &["--threads=1", "--precision=fp32"])?;
        Ok(Self {
            cluster,
            follower: Follower::new(),
            progress: Progress::start("waiting for the first step"),
        })
    }

    /// Has a worker join, and leave, so many times.
    pub(super) fn measure(mut self, joins: usize) -> anyhow::Result<Measured> {
        let (mut waits, mut steps) = (Vec::new(), Vec::new());
        for _ in 0..joins {
            self.wait_for("some steps alone", |joiner| {
                let seen = joiner.follower.seen();
                let generation = seen.last().map(|seen| seen.step.generation);
                let alone = seen
                    .iter()
                    .filter(|s| Some(s.step.generation) == generation);
                (alone.count() >= STEPS).then_some(())
            })?;
            let (generation, step) = self.last();
            steps.push(step);
            self.cluster
                .start_worker(JOINER, &["--threads=1", "--precision=fp32"])?;
            // Being ready is heard of by asking; a step, by its report.
            let ready = self.wait_for("the joiner to be ready", |joiner| {
                joiner.joiner_is_ready().then(Instant::now)
            })?;
            let stepped = self.wait_for("a step with the joiner", |joiner| {
                let mut seen = joiner.follower.seen().iter();
                let first = seen.find(|seen| seen.step.generation > generation);
                first.map(|seen| seen.at)
            })?;
            let wait = stepped.saturating_duration_since(ready).as_secs_f64();
            eprintln!("ready to step {wait:.2} s");
            waits.push(wait);
            let generation = self.last().0;
            self.cluster.worker(JOINER)?.kill();
            self.wait_for("a step without the joiner", |joiner| {
                (joiner.last().0 > generation).then_some(())
            })?;
        }
        let (Some(ready_to_step), Some(step_seconds)) = (Figures::of(waits), Figures::of(steps))
        else {
            anyhow::bail!("nobody joined");
        };
        Ok(Measured {
            ready_to_step,
            step_seconds,
        })
    }

    /// The last step's generation and seconds.
    fn last(&self) -> (u64, f64) {
        self.follower.last().map_or((0, 0.0), |seen| {
            (seen.step.generation, seen.step.times.total)
        })
    }

    /// Whether it waits to be let in, or already is.
    fn joiner_is_ready(&self) -> bool {
        let Ok(status) = self.cluster.status() else {
            return false;
        };
        let workers = status["workers"].as_array();
        let mut workers = workers.into_iter().flatten();
        let not_yet = ["starting", "away"];
        workers.any(|worker| {
            let phase = worker["phase"].as_str().unwrap_or_default();
            worker["worker_id"] == JOINER && !not_yet.contains(&phase)
        })
    }

    fn wait_for<T>(
        &mut self,
        what: &str,
        mut attempt: impl FnMut(&Self) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.progress.show(format!("waiting for {what}"));
        let found = wait_until(what, PATIENCE, || {
            self.follower.look(&self.cluster)?;
            interrupt::check().map_err(|_| Error::Interrupted)?;
            Ok(attempt(self))
        })?;
        Ok(found)
    }
}

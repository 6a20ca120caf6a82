//! The operator who does it and holds the stopwatch.

use std::time::{Duration, Instant};

use super::strikes::Struck;
use super::{Fault, Injected, Kind};
use crate::{Cluster, Error, Follower, Seen, wait_until};

/// What a worker's exit code says when it wants to be started again.
const RESTART: i32 = 75;

/// When a killed worker is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// At once: the run cannot go on without it.
    AtOnce,
    /// When the others have gone on without it.
    AfterRecovery,
}

/// Where things stood when a fault struck.
struct Mark {
    generation: u64,
    /// Steps that were seen.
    struck: usize,
    /// The connection over which they were heard of.
    connection: u64,
    /// When the fault was undone.
    undone: Instant,
}

/// Disturbs a cluster and watches it recover.
pub struct Chaos<'a> {
    pub(super) cluster: &'a mut Cluster,
    workers: Vec<String>,
    pub(super) follower: Follower,
    pub(super) comes_back: Return,
    /// Whether a worker is let go as soon as the others have gone on.
    pub(super) undoes_early: bool,
    patience: Duration,
    look: &'a mut dyn FnMut(&Follower) -> Result<(), Error>,
    /// A generation that all workers were seen in.
    whole: Option<u64>,
    injected: Vec<Injected>,
    asked_for_restart: u64,
}

impl<'a> Chaos<'a> {
    /// For a cluster whose coordinator and workers run. Nothing that is waited
    /// for may take longer than `patience`. Meanwhile `look` is called many
    /// times a second; its error ends the wait.
    pub fn new(
        cluster: &'a mut Cluster,
        workers: Vec<String>,
        comes_back: Return,
        patience: Duration,
        look: &'a mut dyn FnMut(&Follower) -> Result<(), Error>,
    ) -> Self {
        Self {
            cluster,
            workers,
            follower: Follower::new(),
            comes_back,
            undoes_early: false,
            patience,
            look,
            whole: None,
            injected: Vec::new(),
            asked_for_restart: 0,
        }
    }

    /// The same, but pauses and cuts of a worker end as soon as the others have
    /// gone on without it, if that is sooner than they last: so that few steps
    /// pass meanwhile.
    #[must_use]
    pub fn undoing_early(self) -> Self {
        Self {
            undoes_early: true,
            ..self
        }
    }

    /// The steps as they were reported.
    #[must_use]
    pub fn follower(&self) -> &Follower {
        &self.follower
    }

    /// What was done so far, and what came of it.
    #[must_use]
    pub fn injected(&self) -> &[Injected] {
        &self.injected
    }

    /// How often a worker left with the exit code that asks to be started
    /// again, and was.
    #[must_use]
    pub fn asked_for_restart(&self) -> u64 {
        self.asked_for_restart
    }

    /// Waits until all workers are in one generation that has taken `steps`
    /// steps since they are.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::Ended`] when a program ended by itself.
    pub fn settle(&mut self, steps: u64) -> Result<(), Error> {
        let what = format!("all of {} to take {steps} steps", self.workers.join(", "));
        let mut looked_at = None;
        let mut first = None;
        self.wait(&what, None, |chaos| {
            let Some(last) = chaos.follower.last() else {
                return Ok(None);
            };
            let (generation, number) = (last.step.generation, last.step.number);
            // Nothing changes without a step; so one look for each.
            if chaos.whole != Some(generation) && looked_at != Some(number) {
                looked_at = Some(number);
                chaos.look_whether_whole(generation);
            }
            if chaos.whole != Some(generation) {
                first = None;
                return Ok(None);
            }
            let first = *first.get_or_insert(number);
            Ok((number >= first + steps).then_some(generation))
        })
        .map(|generation| {
            if let Some(last) = self.injected.last_mut() {
                last.settled_in.get_or_insert(generation);
            }
        })
    }

    fn look_whether_whole(&mut self, generation: u64) {
        // A coordinator that is away does not answer; the next step is another
        // occasion.
        let leader = self.cluster.leader();
        let Some(Ok(status)) = leader.map(|(_, address)| self.cluster.status_of(&address)) else {
            return;
        };
        let listed = status["workers"].as_array();
        let ranked = |name: &String| {
            let mut listed = listed.into_iter().flatten();
            listed
                .any(|worker| worker["worker_id"].as_str() == Some(name) && worker["rank"].is_u64())
        };
        if status["state"] == "training" && self.workers.iter().all(ranked) {
            self.whole = Some(generation);
        }
    }

    /// Does it, measures, and undoes it. The cluster need not be whole again
    /// afterwards: [`Chaos::settle`] waits for that.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when the cluster does not recover, and what
    /// [`Cluster`] and [`Network`](crate::Network) may fail with.
    pub fn inject(&mut self, fault: &Fault) -> Result<&Injected, Error> {
        let victim = self.workers[fault.victim % self.workers.len()].clone();
        self.cluster.note_ports();
        let leader = self.wait("a coordinator to lead", None, |chaos| {
            // Of one there is no doubt, and it need not be asked.
            Ok(chaos.cluster.leader())
        })?;
        self.follower.look(self.cluster)?;
        let Some(before) = self.follower.last().map(|seen| seen.step.clone()) else {
            return Err(Error::NotRunning("a generation"));
        };
        let struck = self.follower.seen().len();
        let connection = self.follower.connections();
        let began = Instant::now();
        let generation = before.generation;
        let undone = self.strike(
            fault,
            &Struck {
                worker: &victim,
                leader: &leader.0,
                began,
                generation,
                step: before.number,
            },
        )?;
        let counted_from = if fault.kind.leaves_someone_who_can() {
            began
        } else {
            undone
        };
        let next = self.next_step_after(
            fault,
            &victim,
            &Mark {
                generation,
                struck,
                connection,
                undone,
            },
        )?;
        let since = |seen: &Seen| {
            seen.at
                .saturating_duration_since(counted_from)
                .as_secs_f64()
        };
        let meanwhile = &self.follower.seen()[struck..];
        let meanwhile = meanwhile.iter().filter(|seen| seen.at <= next.at);
        let recovered = next.step.generation > generation;
        self.injected.push(Injected {
            kind: fault.kind,
            victim: fault.kind.strikes_worker().then_some(victim),
            cut: fault.kind.cuts().then_some(fault.cut),
            lasted: (undone - began).as_secs_f64(),
            generation,
            step: before.number,
            recovery: recovered.then(|| since(&next)),
            next_step: since(&next),
            longest_step: meanwhile
                .map(|seen| seen.step.times.total)
                .fold(0.0, f64::max),
            settled_in: None,
        });
        Ok(&self.injected[self.injected.len() - 1])
    }

    /// The step that ends the measurement: the first of a later generation; or,
    /// where the generation need not end, the first that was reported after all
    /// was undone.
    fn next_step_after(&mut self, fault: &Fault, victim: &str, mark: &Mark) -> Result<Seen, Error> {
        let what = match fault.kind.strikes_worker() {
            true => format!("a step after {} of {victim}", fault.kind),
            false => format!("a step after {}", fault.kind),
        };
        let ends_it = |seen: &&Seen| match fault.kind {
            Kind::KillWorker | Kind::DrainWorker => false,
            // What another coordinator says came over another connection.
            Kind::KillLeader | Kind::PauseLeader => seen.connection > mark.connection,
            // A leader that is cut off ends its connections itself, unless the
            // cut was too short for it to notice.
            Kind::CutLeader => seen.connection > mark.connection || seen.at > mark.undone,
            _ => seen.at > mark.undone,
        };
        self.wait(&what, None, |chaos| {
            let seen = &chaos.follower.seen()[mark.struck..];
            let later = seen
                .iter()
                .find(|seen| seen.step.generation > mark.generation);
            Ok(later.or_else(|| seen.iter().find(ends_it)).cloned())
        })
    }

    /// Waits for something while it sees to everything else: takes in steps,
    /// starts workers that ask for it, and fails when a program ends by itself.
    pub(super) fn wait<T>(
        &mut self,
        what: &str,
        gone: Option<&str>,
        mut attempt: impl FnMut(&mut Self) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let patience = self.patience;
        let waited = wait_until(what, patience, || {
            self.tend(gone)?;
            attempt(self)
        });
        waited.map_err(|error| error.with_log(self.cluster.log_tails()))
    }

    fn tend(&mut self, gone: Option<&str>) -> Result<(), Error> {
        self.follower.look(self.cluster)?;
        (self.look)(&self.follower)?;
        let mut restarting = Vec::new();
        for process in self.cluster.processes() {
            if gone == Some(process.name()) {
                continue;
            }
            match process.ended()?.map(|status| status.code()) {
                Some(Some(RESTART)) => restarting.push(process.name().to_owned()),
                _ => process.expect_running()?,
            }
        }
        for name in restarting {
            self.asked_for_restart += 1;
            self.cluster.start_worker_again(&name)?;
        }
        Ok(())
    }
}

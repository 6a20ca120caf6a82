//! The steps of a run as they are reported, with the moment of each.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::lines::{Lines, Next};
use crate::{Cluster, Error, Step};

/// How far back steps are asked for again when the coordinator was away: it may
/// have rolled back some that were seen.
const OVERLAP: u64 = 64;
/// Pause between two attempts to reach a coordinator that is away.
const RETRY: Duration = Duration::from_millis(100);

/// A step, and when this process heard of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// By this process's clock.
    pub at: Instant,
    /// The step.
    pub step: Step,
    /// Over which connection, counted from 1.
    pub connection: u64,
}

/// Follows `coordinator steps --follow`, over the coordinator's restarts.
#[derive(Debug)]
pub struct Follower {
    lines: Option<Lines>,
    connections: u64,
    tried: Option<Instant>,
    seen: Vec<Seen>,
    known: BTreeSet<(u64, u64)>,
}

impl Follower {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            lines: None,
            connections: 0,
            tried: None,
            seen: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// Takes what has come, and connects again where the coordinator was away.
    ///
    /// # Errors
    /// [`Error::Process`], [`Error::Output`].
    pub fn look(&mut self, cluster: &Cluster) -> Result<(), Error> {
        loop {
            let Some(lines) = &mut self.lines else {
                if self.tried.is_none_or(|tried| tried.elapsed() >= RETRY) {
                    self.connect(cluster)?;
                }
                return Ok(());
            };
            match lines.next_line() {
                Next::Line(line) => {
                    let step = crate::asking::parse("coordinator steps --follow", &line.text)?;
                    self.take(line.at, step);
                }
                Next::NotYet => return Ok(()),
                Next::Ended => {
                    self.lines = None;
                    return Ok(());
                }
            }
        }
    }

    /// Gives up the connection that there is: whoever leads now is to be asked.
    pub fn reconnect(&mut self) {
        self.lines = None;
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections
    }

    fn connect(&mut self, cluster: &Cluster) -> Result<(), Error> {
        self.connections += 1;
        self.tried = Some(Instant::now());
        let next = self.seen.last().map_or(0, |seen| seen.step.number + 1);
        let from = next.saturating_sub(OVERLAP).to_string();
        let mut command = cluster.command("coordinator");
        command
            .args(["steps", "--follow", "--json", "--from", &from])
            .args(["--coordinator", &cluster.addresses()])
            .stderr(Stdio::null());
        self.lines = Some(Lines::of("coordinator steps", &mut command)?);
        Ok(())
    }

    fn take(&mut self, at: Instant, step: Step) {
        if self.known.insert((step.generation, step.number)) {
            self.seen.push(Seen {
                at,
                step,
                connection: self.connections,
            });
        }
    }

    /// Every step that was reported, in the order of the reports.
    #[must_use]
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> Option<&Seen> {
        self.seen.last()
    }

    /// How many reported steps were rolled back: a later generation took a step
    /// of the same number.
    #[must_use]
    pub fn rolled_back(&self) -> u64 {
        let mut survivors = BTreeSet::new();
        let mut lost = 0;
        for seen in self.seen.iter().rev() {
            lost += u64::from(!survivors.insert(seen.step.number));
        }
        lost
    }
}

impl Default for Follower {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Times;

    fn step(generation: u64, number: u64) -> Step {
        Step {
            generation,
            number,
            epoch: 0,
            sequences: 1,
            tokens: 1,
            loss_sum: 1.0,
            grad_norm: 1.0,
            times: Times::default(),
        }
    }

    #[test]
    fn a_step_that_a_later_generation_took_again_was_rolled_back() {
        let mut follower = Follower::new();
        // The second and third line come twice, after a reconnection.
        for (generation, number) in [(1, 0), (1, 1), (1, 2), (1, 1), (1, 2), (2, 2), (2, 3)] {
            follower.take(Instant::now(), step(generation, number));
        }
        assert_eq!(follower.seen().len(), 5);
        assert_eq!(follower.rolled_back(), 1);
    }
}

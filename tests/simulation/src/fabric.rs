//! Process groups: collectives that finish only when every member takes part.

use std::collections::BTreeMap;

use ledger::FedDigest;

use crate::event::WorkerAct;
use crate::fault::Node;
use crate::rule::Rule;
use crate::sim::Sim;
use crate::weights::{Trained, Weights};

/// What a collective is for; all ranks must mean the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Meet,
    State,
    Step(u64),
    Evaluation(u64),
}

/// What one rank brings, or what all brought together.
#[derive(Clone, Debug)]
pub(crate) struct Contribution {
    pub(crate) purpose: Purpose,
    pub(crate) fed: FedDigest,
    pub(crate) sequences: u64,
    pub(crate) pausing: bool,
    pub(crate) checkpointing: bool,
    /// From the rank that has the state.
    pub(crate) state: Option<Weights>,
}

impl Contribution {
    pub(crate) fn of(purpose: Purpose) -> Contribution {
        Contribution {
            purpose,
            fed: FedDigest::ZERO,
            sequences: 0,
            pausing: false,
            checkpointing: false,
            state: None,
        }
    }
}

/// One collective of a group.
#[derive(Debug, Default)]
pub(crate) struct Collective {
    brought: BTreeMap<usize, Contribution>,
    pub(crate) sum: Option<Contribution>,
    /// Ranks that will not get the result although everyone took part.
    cut_short: Vec<usize>,
}

/// The process group of a generation.
#[derive(Debug)]
pub(crate) struct Group {
    /// Workers with their lives, in rank order, as they enter.
    members: Vec<Option<(usize, u64)>>,
    /// Someone has left: no collective that is not complete ever will be.
    is_broken: bool,
    collectives: BTreeMap<u64, Collective>,
    /// The weights after each step, as the first rank had them.
    pub(crate) after_step: BTreeMap<u64, Vec<Trained>>,
}

impl Sim {
    /// A worker enters the group of a generation.
    pub(crate) fn enter_group(&mut self, generation: u64, rank: usize, size: usize, worker: usize) {
        let life = self.workers[worker].host.life;
        let group = self.groups.entry(generation).or_insert_with(|| Group {
            members: vec![None; size],
            is_broken: false,
            collectives: BTreeMap::new(),
            after_step: BTreeMap::new(),
        });
        if let Some(member) = group.members.get_mut(rank) {
            *member = Some((worker, life));
        }
    }

    /// A rank takes part in its next collective.
    pub(crate) fn contribute(
        &mut self,
        generation: u64,
        rank: usize,
        number: u64,
        brought: Contribution,
    ) {
        let now = self.now;
        let purpose = brought.purpose;
        let Some(group) = self.groups.get_mut(&generation) else {
            return;
        };
        let Some((worker, life)) = group.members.get(rank).copied().flatten() else {
            return;
        };
        if group.is_broken {
            let delay = self.dice.within(1..30);
            let act = failed(generation, number, "a peer has closed its connection");
            return self.worker_after(delay, worker, life, act);
        }
        let size = group.members.len();
        let collective = group.collectives.entry(number).or_default();
        let agree = collective
            .brought
            .values()
            .all(|one| one.purpose == purpose);
        collective.brought.insert(rank, brought);
        let complete = collective.brought.len() == size;
        if complete {
            collective.sum = Some(sum(collective.brought.values(), purpose));
        }
        let members = group.members.clone();
        if !agree {
            return self.broken(Rule::EqualWeights, || {
                format!("ranks of generation {generation} take part in different collectives")
            });
        }
        let timeout = self.config.collective_ms;
        let act = failed(generation, number, "the collective timed out");
        self.worker_after(timeout, worker, life, act);
        if !complete {
            return;
        }
        self.history
            .note(now, format!("generation {generation}"), || {
                format!("{purpose:?}: everyone has taken part")
            });
        self.check_collective(generation);
        for (worker, life) in members.into_iter().flatten() {
            // Weights and optimizer state are large; everything else is not.
            let delay = match purpose {
                Purpose::State if size > 1 => self.dice.within(5..300),
                _ => self.dice.within(1..10),
            };
            self.worker_after(
                delay,
                worker,
                life,
                WorkerAct::CallDone { generation, number },
            );
        }
    }

    /// Whether the members of a generation have met, and none has left.
    pub(crate) fn has_met(&self, generation: u64) -> bool {
        let group = self.groups.get(&generation);
        let met = group.and_then(|group| group.collectives.get(&0));
        met.is_some_and(|met| met.sum.is_some()) && group.is_some_and(|group| !group.is_broken)
    }

    /// A rank is out of its group; the others' sockets tell them.
    pub(crate) fn leave_group(&mut self, generation: u64, rank: usize) {
        let Some(group) = self.groups.get_mut(&generation) else {
            return;
        };
        group.is_broken = true;
        let members = group.members.clone();
        let mut failing = Vec::new();
        for (number, collective) in &mut group.collectives {
            for (other, member) in members.iter().enumerate() {
                let Some((worker, life)) = member else {
                    continue;
                };
                if other == rank || !collective.brought.contains_key(&other) {
                    continue;
                }
                if collective.sum.is_none() {
                    failing.push((*number, *worker, *life));
                } else if self.dice.chance(40) {
                    // It waited for a last message of this rank.
                    collective.cut_short.push(other);
                }
            }
        }
        let leaver = members.get(rank).copied().flatten();
        for (number, worker, life) in failing {
            let silent = leaver.is_some_and(|(leaver, _)| {
                !self.hear_each_other(Node::Worker(leaver), Node::Worker(worker))
            });
            if !silent {
                let delay = self.dice.within(1..30);
                let act = failed(generation, number, "a peer has closed its connection");
                self.worker_after(delay, worker, life, act);
            }
        }
    }

    /// The result of a collective for a rank; `None` while the network between
    /// it and another rank is cut.
    pub(crate) fn result(
        &self,
        generation: u64,
        number: u64,
        rank: usize,
    ) -> Option<Result<Contribution, &'static str>> {
        let group = self.groups.get(&generation)?;
        let collective = group.collectives.get(&number)?;
        if collective.cut_short.contains(&rank) {
            return Some(Err("a peer has closed its connection"));
        }
        let own = group.members.get(rank).copied().flatten()?.0;
        let others = group.members.iter().flatten();
        let mut others = others.filter(|(worker, _)| *worker != own);
        let reached = others
            .all(|(worker, _)| self.hear_each_other(Node::Worker(own), Node::Worker(*worker)));
        reached.then(|| collective.sum.clone().ok_or("nothing came"))
    }
}

fn failed(generation: u64, number: u64, reason: &'static str) -> WorkerAct {
    WorkerAct::CallFailed {
        generation,
        number,
        reason,
    }
}

fn sum<'a>(brought: impl Iterator<Item = &'a Contribution>, purpose: Purpose) -> Contribution {
    brought.fold(Contribution::of(purpose), |mut sum, one| {
        sum.fed += one.fed;
        sum.sequences += one.sequences;
        sum.pausing |= one.pausing;
        sum.checkpointing |= one.checkpointing;
        sum.state = sum.state.or_else(|| one.state.clone());
        sum
    })
}

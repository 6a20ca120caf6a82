//! A worker's trainer, without a model: when it takes part in which collective,
//! and what that does to its weights.

use coordinator::records::{CheckpointId, Evaluation, Reported, StepTimes};
use ledger::{Cursor, FedDigest, Planned, Step, StepReport};
use membership::{Input, Membership};
use proto::v1;
use proto::v1::worker_message::Body;

use crate::config::packed;
use crate::event::WorkerAct;
use crate::fabric::{Contribution, Purpose};
use crate::rule::Rule;
use crate::sabotage::OfShell;
use crate::sim::Sim;
use crate::weights::{Trained, Weights};

/// How long a pause may take to store its checkpoint.
const PAUSE_PATIENCE_MS: u64 = 1200;

/// What the trainer is told.
pub(crate) enum Command {
    Form {
        generation: u64,
        base: Cursor,
        form: Box<v1::Form>,
    },
    Rendezvous {
        generation: u64,
    },
    Abort {
        generation: u64,
    },
    Stop,
}

/// What the trainer's thread does.
#[derive(Default)]
pub(crate) enum Trainer {
    /// Builds its model.
    #[default]
    Building,
    /// Waits for commands.
    Idle,
    /// Works in a generation.
    In(Box<Seat>),
    /// Has ended.
    Ended,
}

/// A place in a generation.
pub(crate) struct Seat {
    generation: u64,
    rank: usize,
    size: usize,
    form: v1::Form,
    base: Cursor,
    /// The feeder's, ahead of the weights by epochs without steps.
    cursor: Cursor,
    /// The number of its next collective.
    number: u64,
    stage: Stage,
    /// Whether the generation was aborted here.
    is_aborted: bool,
    /// Since when it waits for the others, if it does, and since when it works
    /// on its step, by its own clock.
    waits_since: u64,
    step_since: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// Rank 0 takes the state from where it is kept.
    Restoring,
    Rendezvous,
    Collective(Purpose),
    /// For rows of the page table.
    Waiting,
    Fetching(Step),
    Computing(Step),
    /// For a checkpoint, before it leaves in good order.
    Storing,
    /// For the run's last checkpoint.
    Finishing,
}

impl Sim {
    pub(crate) fn number_of_commands(&self, index: usize) -> (u64, usize) {
        let process = &self.workers[index].process;
        let generation = match &process.trainer {
            Trainer::In(seat) => seat.generation,
            _ => 0,
        };
        (generation, process.commands.len())
    }

    pub(crate) fn command(&mut self, index: usize, command: Command) {
        self.workers[index].process.commands.push_back(command);
        self.obey(index);
    }

    /// Reads commands, as far as the trainer reads any now.
    pub(crate) fn obey(&mut self, index: usize) {
        loop {
            let process = &mut self.workers[index].process;
            let waits = match &process.trainer {
                Trainer::Idle => true,
                Trainer::In(seat) => seat.stage == Stage::Rendezvous && !seat.is_aborted,
                Trainer::Building | Trainer::Ended => false,
            };
            if !waits {
                return;
            }
            let Some(command) = process.commands.pop_front() else {
                return;
            };
            match &process.trainer {
                Trainer::In(_) => self.obey_in_rendezvous(index, command),
                _ => self.obey_idle(index, command),
            }
        }
    }

    fn obey_in_rendezvous(&mut self, index: usize, command: Command) {
        let Trainer::In(seat) = &mut self.workers[index].process.trainer else {
            return;
        };
        let number = seat.generation;
        match command {
            Command::Rendezvous { generation } if generation == number => {
                self.take_part(index, Contribution::of(Purpose::Meet));
            }
            Command::Abort { generation } if generation >= number => {
                self.leave(index, number, "");
            }
            Command::Stop => {
                self.workers[index]
                    .process
                    .commands
                    .push_front(Command::Stop);
                self.leave(index, number, "");
            }
            _ => {}
        }
    }

    fn obey_idle(&mut self, index: usize, command: Command) {
        let process = &mut self.workers[index].process;
        match command {
            Command::Form {
                generation,
                base,
                form,
            } => self.enter(index, generation, base, *form),
            Command::Rendezvous { .. } => {}
            Command::Abort { generation } => {
                let stale = generation <= process.last_generation && !process.is_member;
                if generation >= process.last_generation && !stale {
                    self.left(index, generation, "");
                }
            }
            Command::Stop => {
                process.trainer = Trainer::Ended;
                self.act_later(index, 20, WorkerAct::Exit);
            }
        }
    }

    fn enter(&mut self, index: usize, generation: u64, base: Cursor, form: v1::Form) {
        self.tell(index, Input::Entered { generation });
        let name = self.workers[index].name.clone();
        let rank = form.members.iter().position(|m| m.worker_id == name);
        let process = &mut self.workers[index].process;
        let membership = process.membership.as_ref();
        let is_over = membership.is_none_or(|m| m.is_over(generation));
        let Some(rank) = rank.filter(|_| !is_over) else {
            return self.left(index, generation, "");
        };
        let size = form.members.len();
        process.has_finished = false;
        process.trainer = Trainer::In(Box::new(Seat {
            generation,
            rank,
            size,
            form,
            base,
            cursor: base,
            number: 0,
            stage: Stage::Rendezvous,
            is_aborted: false,
            waits_since: 0,
            step_since: 0,
        }));
        self.enter_group(generation, rank, size, index);
        if rank == 0 {
            self.stage(index, Stage::Restoring, 2..120);
        }
    }

    /// Takes up something that lasts for a while.
    fn stage(&mut self, index: usize, stage: Stage, lasts: std::ops::Range<u64>) {
        let delay = self.dice.within(lasts) * self.workers[index].slowness;
        let process = &mut self.workers[index].process;
        if let Trainer::In(seat) = &mut process.trainer {
            seat.stage = stage;
            process.turn += 1;
            let turn = process.turn;
            self.act_later(index, delay, WorkerAct::Trainer { turn });
        }
    }

    pub(crate) fn trainer_acts(&mut self, index: usize, act: WorkerAct) {
        match act {
            WorkerAct::Built => {
                self.workers[index].process.trainer = Trainer::Idle;
                self.ready(index);
                self.obey(index);
            }
            WorkerAct::Trainer { turn } if turn == self.workers[index].process.turn => {
                self.go_on(index);
            }
            WorkerAct::CallDone { generation, number } => {
                self.collective_done(index, generation, number);
            }
            WorkerAct::CallFailed {
                generation,
                number,
                reason,
            } if self.is_in_collective(index, generation, number) => {
                self.leave(index, generation, reason);
                self.obey(index);
            }
            WorkerAct::Leave { generation, reason } => {
                let process = &self.workers[index].process;
                if matches!(&process.trainer, Trainer::In(seat) if seat.generation == generation) {
                    self.leave(index, generation, &reason);
                    self.obey(index);
                }
            }
            _ => {}
        }
    }

    fn seat(&self, index: usize) -> Option<&Seat> {
        match &self.workers[index].process.trainer {
            Trainer::In(seat) => Some(seat),
            _ => None,
        }
    }

    /// For how long the trainer has waited for the other ranks, if it does.
    pub(crate) fn waited(&self, index: usize) -> Option<u64> {
        let clock = self.workers[index].host.clock(self.now);
        let seat = self.seat(index)?;
        let waits = matches!(seat.stage, Stage::Collective(_));
        waits.then(|| clock - seat.waits_since)
    }

    fn is_in_collective(&self, index: usize, generation: u64, number: u64) -> bool {
        self.seat(index).is_some_and(|seat| {
            seat.generation == generation
                && seat.number == number
                && matches!(seat.stage, Stage::Collective(_))
        })
    }

    /// A stage that lasted for a while is over.
    fn go_on(&mut self, index: usize) {
        let Some(seat) = self.seat(index) else {
            return;
        };
        if seat.is_aborted {
            return;
        }
        let generation = seat.generation;
        match seat.stage.clone() {
            Stage::Restoring => self.restore(index),
            Stage::Fetching(step) => {
                let reached = self.workers[index].process.connection.is_some();
                if !reached && !self.config.only_restarts && self.dice.chance(10) {
                    // A page that is nowhere but with the coordinator.
                    return self.stage(index, Stage::Fetching(step), 20..60);
                }
                self.tell(index, Input::Phase(v1::Phase::Training));
                self.stage(index, Stage::Computing(step), 5..60);
            }
            Stage::Computing(step) => {
                // What the trainer asks before a step's last collective.
                self.tell(index, Input::Tick);
                let membership = self.workers[index].process.membership.as_ref();
                if membership.is_some_and(|m| m.is_over(generation)) {
                    return;
                }
                let share = self.share(index, &step);
                self.take_part(index, share);
            }
            Stage::Storing => {
                self.leave(index, generation, "");
                self.obey(index);
            }
            _ => {}
        }
    }

    /// What a rank brings to a step's all-reduce.
    fn share(&mut self, index: usize, step: &Step) -> Contribution {
        let mut brought = Contribution::of(Purpose::Step(step.number));
        let Some(seat) = self.seat(index) else {
            return brought;
        };
        let process = &self.workers[index].process;
        let (rank, size) = (seat.rank as u32, seat.size as u32);
        let size = std::num::NonZeroU32::new(size).unwrap_or(std::num::NonZeroU32::MIN);
        let mut ranks = vec![rank];
        if self.config.breaks(OfShell::FeedTwice) && rank > 0 {
            ranks.push(0);
        }
        for rank in ranks {
            let share = step.share(self.config.bs, rank, size);
            for micro_batch in share.micro_batches {
                let table = process.table.as_ref();
                let pieces = table.and_then(|t| t.ordinals_of(micro_batch.first, micro_batch.len));
                let mut position = micro_batch.first;
                for piece in pieces.unwrap_or_default() {
                    let page = packed(self.order.page_at(piece.ordinal));
                    for sequence in piece.sequences {
                        if let Some(ids) = page.sequence(sequence) {
                            brought.fed += FedDigest::of(position, ids);
                            brought.sequences += 1;
                        }
                        position += 1;
                    }
                }
            }
        }
        if let Some(membership) = &process.membership {
            brought.pausing = membership.is_pausing();
            brought.checkpointing = membership.is_checkpointing();
        }
        brought
    }

    fn restore(&mut self, index: usize) {
        let Some(seat) = self.seat(index) else {
            return;
        };
        let (generation, origin, base) = (seat.generation, seat.form.origin.clone(), seat.base);
        let process = &mut self.workers[index].process;
        match origin {
            Some(v1::form::Origin::Checkpoint(id)) => {
                let id = CheckpointId(id);
                if process.connection.is_none() {
                    return self.stage(index, Stage::Restoring, 20..120);
                }
                let Some(files) = self.checkpoints.get(&id) else {
                    return self.broken(Rule::DurableFirst, || {
                        format!("checkpoint {id} is gone, and a generation begins with it")
                    });
                };
                if files.is_damaged {
                    let body = Body::CheckpointDamaged(v1::CheckpointDamaged {
                        checkpoint_id: id.0,
                        reason: "a file has not its hash".to_owned(),
                    });
                    self.tell(index, Input::Say { generation, body });
                    self.leave(index, generation, "the checkpoint cannot be restored");
                    return self.obey(index);
                }
                process.weights = Some(files.weights.clone());
                self.claim(index, generation, base);
            }
            Some(v1::form::Origin::Initial(_)) | None => {
                process.weights = Some(Weights::initial());
                self.claim(index, generation, base);
            }
            Some(v1::form::Origin::FromRank(_)) => {}
        }
        if let Trainer::In(seat) = &mut self.workers[index].process.trainer {
            seat.stage = Stage::Rendezvous;
        }
        let body = Body::StoreListening(v1::StoreListening {
            address: "host:1".to_owned(),
        });
        self.tell(
            index,
            Input::Stand {
                generation,
                phase: v1::Phase::Forming,
                body,
            },
        );
        self.obey(index);
    }

    /// The weights are those of a generation's base.
    fn claim(&mut self, index: usize, generation: u64, base: Cursor) {
        let process = &mut self.workers[index].process;
        process.is_torn = false;
        process.claimed = Some(base);
        process.applied_in = generation;
    }

    fn take_part(&mut self, index: usize, brought: Contribution) {
        let clock = self.workers[index].host.clock(self.now);
        let process = &mut self.workers[index].process;
        let lease_end = process.lease_end;
        let Trainer::In(seat) = &mut process.trainer else {
            return;
        };
        seat.stage = Stage::Collective(brought.purpose);
        seat.waits_since = clock;
        let (generation, rank, number) = (seat.generation, seat.rank, seat.number);
        if clock > lease_end + 5 {
            let name = self.workers[index].name.clone();
            return self.broken(Rule::LeaseKept, || {
                format!(
                    "worker {name} takes part in generation {generation} {} ms after its lease",
                    clock - lease_end
                )
            });
        }
        self.contribute(generation, rank, number, brought);
    }

    fn collective_done(&mut self, index: usize, generation: u64, number: u64) {
        if !self.is_in_collective(index, generation, number) {
            return;
        }
        let Some(seat) = self.seat(index) else {
            return;
        };
        if seat.is_aborted {
            return;
        }
        let sum = match self.result(generation, number, seat.rank) {
            None => {
                let delay = self.dice.within(20..50);
                let act = WorkerAct::CallDone { generation, number };
                return self.act_later(index, delay, act);
            }
            Some(Err(reason)) => {
                self.leave(index, generation, reason);
                return self.obey(index);
            }
            Some(Ok(sum)) => sum,
        };
        if let Trainer::In(seat) = &mut self.workers[index].process.trainer {
            seat.number += 1;
        }
        match sum.purpose {
            Purpose::Meet => self.exchange_state(index),
            Purpose::State => self.take_state(index, &sum),
            Purpose::Step(_) => self.apply_step(index, &sum),
            Purpose::Evaluation(_) => self.end_epoch(index),
        }
    }

    /// The broadcast of the state, where anyone lacks it.
    fn exchange_state(&mut self, index: usize) {
        self.tell(index, Input::Tick);
        let Some(seat) = self.seat(index) else {
            return;
        };
        if seat.is_aborted {
            return;
        }
        let root = match seat.form.origin {
            Some(v1::form::Origin::FromRank(rank)) => rank as usize,
            _ => 0,
        };
        let has_state = seat
            .form
            .members
            .get(seat.rank)
            .is_some_and(|m| m.has_state);
        let is_root = seat.rank == root;
        let mut brought = Contribution::of(Purpose::State);
        let process = &mut self.workers[index].process;
        if is_root {
            brought.state = process.weights.clone().filter(|_| !process.is_torn);
        } else if !has_state {
            // From here on they are partly someone else's.
            process.is_torn = process.weights.is_some();
            if !self.config.breaks(OfShell::ClaimOverwritten) {
                process.claimed = None;
            }
        }
        self.take_part(index, brought);
    }

    fn take_state(&mut self, index: usize, sum: &Contribution) {
        let Some(seat) = self.seat(index) else {
            return;
        };
        let (base, generation) = (seat.base, seat.generation);
        let Some(mut weights) = sum.state.clone() else {
            return self.broken(Rule::StateAsClaimed, || {
                format!("nobody in generation {generation} has the state that it begins with")
            });
        };
        // What the root says of its weights is the generation's base.
        let position = weights.sequences();
        if weights.trained.len() as u64 != base.step || position != base.position {
            return self.broken(Rule::StateAsClaimed, || {
                format!(
                    "generation {generation} begins after {} steps with weights that hold {}",
                    base.step,
                    weights.trained.len()
                )
            });
        }
        weights.cursor = base;
        self.workers[index].process.weights = Some(weights);
        self.claim(index, generation, base);
        self.tell(index, Input::Applied(base));
        self.next_step(index);
    }

    /// Plans the next step, if the rows tell.
    fn next_step(&mut self, index: usize) {
        let epochs = self.config.epochs;
        self.tell(index, Input::Phase(v1::Phase::WaitingForData));
        let clock = self.workers[index].host.clock(self.now);
        let process = &mut self.workers[index].process;
        let Trainer::In(seat) = &mut process.trainer else {
            return;
        };
        if seat.is_aborted {
            return;
        }
        seat.stage = Stage::Waiting;
        seat.step_since = clock;
        let mut planned = None;
        while seat.cursor.epoch < epochs {
            let next = match &process.table {
                Some(table) => table.next_step(&seat.cursor),
                None => return,
            };
            match next {
                Ok(Planned::Step(step)) => {
                    planned = Some(step);
                    break;
                }
                Ok(Planned::EmptyEpoch { after, .. }) => seat.cursor = after,
                Ok(Planned::Unknown { .. }) => return,
                Err(error) => return self.broken(Rule::StepsMonotone, || error.to_string()),
            }
        }
        match planned {
            Some(step) => self.stage(index, Stage::Fetching(step), 1..12),
            None => {
                seat.stage = Stage::Finishing;
                self.finish(index);
            }
        }
    }

    pub(crate) fn rows_came(&mut self, index: usize) {
        if self
            .seat(index)
            .is_some_and(|seat| seat.stage == Stage::Waiting)
        {
            self.next_step(index);
        }
    }

    fn apply_step(&mut self, index: usize, sum: &Contribution) {
        let Some(seat) = self.seat(index) else {
            return;
        };
        let (generation, since) = (seat.generation, seat.step_since);
        let clock = self.workers[index].host.clock(self.now);
        let planned = self.workers[index].process.table.as_ref();
        let planned = planned.and_then(|table| table.next_step(&seat.cursor).ok());
        let Some(Planned::Step(step)) = planned else {
            return;
        };
        if sum.sequences != u64::from(step.count) && !self.config.breaks(OfShell::FeedTwice) {
            return self.broken(Rule::ExactlyOnce, || {
                format!("{} sequences were fed in {step}", sum.sequences)
            });
        }
        let report = StepReport {
            generation,
            step,
            loss_sum: 1.0,
            tokens: u64::from(step.count),
            sequences: sum.sequences,
            fed: sum.fed,
            grad_norm: 1.0,
            applied: true,
        };
        let times = if self.config.breaks(OfShell::ApplyTwice) {
            2
        } else {
            1
        };
        let times = if self.config.breaks(OfShell::SkipStep) {
            0
        } else {
            times
        };
        let process = &mut self.workers[index].process;
        if let Some(weights) = &mut process.weights {
            weights.cursor = step.after();
            for _ in 0..times {
                weights.apply(Trained::of(&step, generation, sum.fed), step.after());
            }
        }
        process.claimed = Some(step.after());
        process.applied_in = generation;
        if let Trainer::In(seat) = &mut process.trainer {
            seat.cursor = step.after();
        }
        self.last_step_at = self.now;
        self.check_applied(index, generation);
        self.tell(index, Input::Applied(step.after()));
        let reported = Reported {
            report,
            learning_rate: 0.1,
            times: StepTimes {
                total: clock.saturating_sub(since) as f64 / 1000.0,
                ..StepTimes::default()
            },
        };
        let report = v1::StepReport::from(&reported);
        let late = self.config.breaks(OfShell::ReportAfterEpoch) && step.last_of_epoch;
        if !late {
            self.report(index, generation, report.clone());
        }
        self.workers[index].process.unsaid = Some((late.then_some(report), sum.clone()));
        if step.last_of_epoch {
            self.tell(index, Input::Phase(v1::Phase::Evaluating));
            if self.seat(index).is_some_and(|seat| !seat.is_aborted) {
                let purpose = Purpose::Evaluation(step.epoch);
                self.take_part(index, Contribution::of(purpose));
            }
            return;
        }
        self.after_step(index, false);
    }

    /// Keeps a report; rank 0 says it at once.
    fn report(&mut self, index: usize, generation: u64, report: v1::StepReport) {
        self.tell(index, Input::Stepped(report.clone()));
        if self.seat(index).is_some_and(|seat| seat.rank == 0) {
            let reports = vec![report];
            let body = Body::StepReports(v1::StepReports { reports });
            self.tell(index, Input::Say { generation, body });
        }
    }

    fn end_epoch(&mut self, index: usize) {
        let Some(seat) = self.seat(index) else {
            return;
        };
        let (generation, rank) = (seat.generation, seat.rank);
        if rank == 0
            && let Some(cursor) = self.workers[index].process.claimed
        {
            let evaluation = Evaluation {
                cursor,
                loss: 9.0 - cursor.step as f64 / 100.0,
                sequences: 1,
                from_training: false,
            };
            let body = Body::Evaluated(v1::Evaluation::from(&evaluation));
            self.tell(index, Input::Say { generation, body });
            self.keep_checkpoint(index, generation, Some(evaluation));
        }
        self.after_step(index, true);
    }

    /// Goes on after a step, or leaves if that was agreed.
    fn after_step(&mut self, index: usize, is_checkpointed: bool) {
        let Some((report, sum)) = self.workers[index].process.unsaid.take() else {
            return;
        };
        let Some(seat) = self.seat(index) else {
            return;
        };
        let (generation, rank) = (seat.generation, seat.rank);
        if let Some(report) = report {
            self.report(index, generation, report);
        }
        if !sum.pausing {
            if rank == 0 && !is_checkpointed && self.is_checkpoint_due(index) {
                self.keep_checkpoint(index, generation, None);
            }
            return self.next_step(index);
        }
        if sum.checkpointing && rank == 0 && !is_checkpointed {
            self.keep_checkpoint(index, generation, None);
        }
        // Nobody waits for a checkpoint that nobody asked for.
        let process = &self.workers[index].process;
        let asked = process
            .membership
            .as_ref()
            .is_some_and(Membership::is_checkpointing);
        if !asked || process.jobs.is_empty() {
            self.leave(index, generation, "");
            return self.obey(index);
        }
        self.stage(
            index,
            Stage::Storing,
            PAUSE_PATIENCE_MS..PAUSE_PATIENCE_MS + 1,
        );
    }

    /// Whether enough steps are done since the last checkpoint of an epoch's
    /// middle, and the last one is stored.
    fn is_checkpoint_due(&self, index: usize) -> bool {
        let process = &self.workers[index].process;
        let steps = process.claimed.map_or(0, |cursor| cursor.step);
        let every = self.config.checkpoint_steps;
        every > 0 && steps.is_multiple_of(every) && process.jobs.is_empty()
    }

    /// Every checkpoint that was handed over is stored or refused.
    pub(crate) fn checkpoints_stored(&mut self, index: usize) {
        if !self.workers[index].process.jobs.is_empty() {
            return;
        }
        let Some(seat) = self.seat(index) else {
            return;
        };
        let generation = seat.generation;
        match seat.stage {
            Stage::Storing => {
                self.leave(index, generation, "");
                self.obey(index);
            }
            Stage::Finishing => self.finish(index),
            _ => {}
        }
    }

    fn finish(&mut self, index: usize) {
        let blames_all = self.config.breaks(OfShell::BlameOldCheckpoints);
        let process = &mut self.workers[index].process;
        let Trainer::In(seat) = &process.trainer else {
            return;
        };
        if !process.jobs.is_empty() {
            return;
        }
        let (generation, cursor) = (seat.generation, seat.cursor);
        process.last_generation = generation;
        process.is_member = true;
        process.trainer = Trainer::Idle;
        // What was rolled back is refused, and that is no fault of this generation.
        let refused = process.refused.clone();
        let refused = refused.filter(|(of, _)| *of == generation || blames_all);
        let body = match refused {
            None => {
                process.has_finished = true;
                Body::Finished(v1::Finished {
                    cursor: Some(cursor.into()),
                })
            }
            Some((_, reason)) => Body::RunFailed(v1::RunFailed {
                cursor: Some(cursor.into()),
                reason,
            }),
        };
        self.tell(
            index,
            Input::Stand {
                generation,
                phase: v1::Phase::Finished,
                body,
            },
        );
        self.obey(index);
    }

    /// The membership has ended a generation: its collectives end at once, and
    /// the trainer's thread is out a moment later.
    pub(crate) fn abort(&mut self, index: usize, generation: u64) {
        let process = &mut self.workers[index].process;
        process.commands.push_back(Command::Abort { generation });
        let mut leaving = None;
        if let Trainer::In(seat) = &mut process.trainer
            && seat.generation <= generation
            && !seat.is_aborted
            // Neither waits for a collective, and neither is interrupted.
            && !matches!(seat.stage, Stage::Storing | Stage::Finishing)
        {
            seat.is_aborted = true;
            leaving = Some(seat.generation);
        }
        if let Some(generation) = leaving {
            let delay = self.dice.within(1..25);
            let reason = String::new();
            self.act_later(index, delay, WorkerAct::Leave { generation, reason });
        }
        self.obey(index);
    }

    fn leave(&mut self, index: usize, generation: u64, reason: &str) {
        self.leave_its_group(index);
        self.left(index, generation, reason);
    }

    pub(crate) fn leave_its_group(&mut self, index: usize) {
        if let Some(seat) = self.seat(index) {
            let (generation, rank) = (seat.generation, seat.rank);
            self.leave_group(generation, rank);
        }
    }

    /// Says that it is out of a generation, and what it has.
    fn left(&mut self, index: usize, generation: u64, reason: &str) {
        let process = &mut self.workers[index].process;
        process.trainer = Trainer::Idle;
        process.last_generation = generation;
        process.is_member = false;
        if process.claimed.is_some() && self.config.breaks(OfShell::ClaimNewGeneration) {
            process.applied_in = generation;
        }
        process.unsaid = None;
        let reports = process.membership.as_ref().map(Membership::unacknowledged);
        let body = Body::Left(v1::Left {
            applied: process.claimed.map(Into::into),
            reports: reports.unwrap_or_default(),
            reason: reason.to_owned(),
        });
        self.tell(index, Input::Say { generation, body });
        self.ready(index);
    }

    fn ready(&mut self, index: usize) {
        let process = &self.workers[index].process;
        let body = Body::Ready(v1::Ready {
            applied: process.claimed.map(Into::into),
            applied_generation: process.applied_in,
        });
        let generation = process
            .membership
            .as_ref()
            .map_or(0, Membership::generation);
        self.tell(
            index,
            Input::Stand {
                generation,
                phase: v1::Phase::Ready,
                body,
            },
        );
    }
}

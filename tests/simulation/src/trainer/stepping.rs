//! A step: planned from the page table, fed, applied and reported.

use coordinator::records::{Reported, StepTimes};
use ledger::{FedDigest, Planned, Step, StepReport};
use membership::Input;
use proto::v1;
use proto::v1::worker_message::Body;

use super::{Stage, Trainer};
use crate::config::packed;
use crate::fabric::{Contribution, Purpose};
use crate::rule::Rule;
use crate::sabotage::OfShell;
use crate::sim::Sim;
use crate::weights::Trained;

impl Sim {
    /// Plans the next step, if the rows tell.
    pub(super) fn next_step(&mut self, index: usize) {
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

    /// What a rank brings to a step's all-reduce.
    pub(super) fn share(&mut self, index: usize, step: &Step) -> Contribution {
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

    pub(super) fn apply_step(&mut self, index: usize, sum: &Contribution) {
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
        let applied = match self.config.breaks(OfShell::UpdateAlone) {
            true => self.share(index, &step).fed,
            false => sum.fed,
        };
        let process = &mut self.workers[index].process;
        if let Some(weights) = &mut process.weights {
            weights.cursor = step.after();
            for _ in 0..times {
                weights.apply(Trained::of(&step, generation, applied), step.after());
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
    pub(super) fn report(&mut self, index: usize, generation: u64, report: v1::StepReport) {
        self.tell(index, Input::Stepped(report.clone()));
        if self.seat(index).is_some_and(|seat| seat.rank == 0) {
            let reports = vec![report];
            let body = Body::StepReports(v1::StepReports { reports });
            self.tell(index, Input::Say { generation, body });
        }
    }
}

//! What the workers of a simulation do together: steps, checkpoints, the end.

use std::collections::BTreeMap;

use ledger::{
    Audit, Cursor, FedDigest, Ordinal, PageId, PageRow, PageTable, Planned, Slot, Step, StepReport,
    lineage,
};

use super::sim::{Sim, packed};
use crate::machine::{Event, FromWorker, RequestId};
use crate::records::{Checkpoint, CheckpointFile, CheckpointId, Evaluation, FileKind, Reported};

impl Sim {
    /// The generation whose members are all in it and have met, if there is
    /// one. More than one would be two clusters.
    pub(super) fn live_generation(&self) -> Option<Vec<usize>> {
        let mut live = Vec::new();
        for (number, kept) in &self.durable.generations {
            let find = |name: &String| {
                let mut workers = self.workers.iter();
                workers.position(|worker| worker.name.0 == *name)
            };
            let members: Option<Vec<usize>> = kept.record.members.iter().map(find).collect();
            let members = members.unwrap_or_default();
            let met = |index: &usize| {
                let seat = self.workers[*index].seat.as_ref();
                seat.is_some_and(|seat| seat.number == *number && seat.met)
            };
            if !members.is_empty() && members.iter().all(met) {
                live.push(members);
            }
        }
        assert!(live.len() <= 1, "two generations are alive");
        live.pop()
    }

    /// What the live generation would do next, as every member sees it.
    pub(super) fn plan(&self, members: &[usize]) -> Option<Planned> {
        let mut plans = members.iter().map(|index| {
            let worker = &self.workers[*index];
            let cursor = worker.seat.as_ref()?.cursor;
            let batch = self.settings.global_batch;
            let mut table = PageTable::new(self.order.clone(), batch, cursor);
            for (slot, row) in &worker.rows {
                if let Slot::Training(ordinal) = slot
                    && *ordinal >= cursor.page.ordinal
                {
                    table.insert(*ordinal, row.clone()).unwrap();
                }
            }
            Some(table.next_step(&cursor).unwrap())
        });
        let first = plans.next()??;
        plans.all(|plan| plan == Some(first)).then_some(first)
    }

    /// The live generation takes a step, if it can; `report` says whether rank
    /// 0 gets to tell.
    pub(super) fn step(&mut self, report: bool) -> bool {
        let Some(members) = self.live_generation() else {
            return false;
        };
        let epochs = self.settings.epochs.unwrap();
        let cursor = self.workers[members[0]].seat.as_ref().unwrap().cursor;
        if cursor.epoch >= epochs {
            self.finish(&members, cursor);
            return true;
        }
        match self.plan(&members) {
            Some(Planned::Step(step)) => {
                let reported = self.report_of(&step, members[0]);
                for index in &members {
                    let worker = &mut self.workers[*index];
                    let seat = worker.seat.as_mut().unwrap();
                    seat.cursor = step.after();
                    worker.applied = Some((step.after(), seat.number));
                    worker.weights.push(seat.number);
                    worker.unacknowledged.push(reported);
                }
                if report {
                    let reports = self.workers[members[0]].unacknowledged.clone();
                    self.say(members[0], FromWorker::StepReports(reports));
                }
                if step.last_of_epoch {
                    self.checkpoint(members[0], step.after());
                }
                true
            }
            Some(Planned::EmptyEpoch { after, .. }) => {
                for index in &members {
                    let worker = &mut self.workers[*index];
                    let seat = worker.seat.as_mut().unwrap();
                    seat.cursor = after;
                    worker.applied = Some((after, seat.number));
                }
                true
            }
            Some(Planned::Unknown { .. }) | None => false,
        }
    }

    fn report_of(&self, step: &Step, index: usize) -> Reported {
        let generation = self.workers[index].seat.as_ref().unwrap().number;
        let mut fed = FedDigest::ZERO;
        let mut position = 0;
        for ordinal in 0.. {
            if position >= step.positions().end {
                break;
            }
            let row = &self.durable.rows[&Slot::Training(Ordinal(ordinal))];
            let page = packed(row.page());
            for sequence in 0..row.sequences() {
                if step.positions().contains(&position) {
                    fed += FedDigest::of(position, page.sequence(sequence).unwrap());
                }
                position += 1;
            }
        }
        Reported {
            report: StepReport {
                generation,
                step: *step,
                loss_sum: 1.0,
                tokens: u64::from(step.count),
                sequences: u64::from(step.count),
                fed,
                grad_norm: 1.0,
                applied: true,
            },
            learning_rate: 0.1,
            times: self.step_times,
        }
    }

    /// Rank 0's upload of the state at `cursor` has arrived.
    pub(super) fn checkpoint(&mut self, index: usize, cursor: Cursor) -> RequestId {
        self.checkpoint_with(index, cursor, 9.0 - cursor.step as f64 / 100.0)
    }

    /// The same, with an evaluation to this loss.
    pub(super) fn checkpoint_with(&mut self, index: usize, cursor: Cursor, loss: f64) -> RequestId {
        let generation = self.workers[index].world.generation;
        let request = RequestId(self.number());
        let evaluation = Evaluation {
            cursor,
            loss,
            sequences: 1,
            from_training: false,
        };
        self.event(Event::CheckpointStored {
            request,
            checkpoint: Checkpoint {
                id: CheckpointId::of(cursor.step, generation),
                generation,
                cursor,
                evaluation: Some(evaluation),
                training_loss: 1.0,
                parameters: 1,
                files: vec![CheckpointFile {
                    name: "model.safetensors".to_owned(),
                    kind: FileKind::Model,
                    size: 100,
                    sha256: [0; 32],
                }],
                created_unix_ms: 0,
            },
        });
        request
    }

    fn finish(&mut self, members: &[usize], cursor: Cursor) {
        let reports = self.workers[members[0]].unacknowledged.clone();
        self.say(members[0], FromWorker::StepReports(reports));
        self.checkpoint(members[0], cursor);
        for index in members {
            self.say(*index, FromWorker::Finished { cursor });
        }
    }

    /// Nothing goes wrong any more: the run comes to its end.
    pub(super) fn run_to_the_end(&mut self) {
        for _ in 0..2000 {
            if self.exit.is_some() {
                return;
            }
            self.look(false);
            for index in 0..self.workers.len() {
                self.connect(index);
                self.heartbeat(index);
            }
            self.settle();
            self.step(true);
            self.settle();
            self.advance(100);
        }
        panic!("no progress: {:?}", self.machine.status());
    }

    /// Compares what was recorded with the pages.
    pub(super) fn audit(&self) -> Audit {
        let generations = self.durable.generations.values().map(|g| g.record.clone());
        let generations: Vec<_> = generations.collect();
        let reports: Vec<_> = self
            .durable
            .steps
            .values()
            .map(|step| step.report)
            .collect();
        let lineage = lineage(&generations, &reports);
        let until = self.durable.complete.unwrap_or(lineage.end());
        let rows: BTreeMap<Ordinal, PageRow> = self
            .durable
            .rows
            .iter()
            .filter_map(|(slot, row)| match slot {
                Slot::Training(ordinal) => Some((*ordinal, row.clone())),
                Slot::Evaluation(_) => None,
            })
            .collect();
        let pages: BTreeMap<Ordinal, PageId> =
            rows.iter().map(|(o, row)| (*o, row.page())).collect();
        let batch = self.settings.global_batch;
        let fetch = |ordinal| Ok(packed(pages[&ordinal]));
        ledger::audit(&self.order, batch, rows, &lineage, until, fetch)
    }
}

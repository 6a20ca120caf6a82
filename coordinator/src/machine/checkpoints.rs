//! Which checkpoints there are, which are kept, and which is the best.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::doubts::Doubts;
use super::effect::{Answer, Refusal};
use super::event::RequestId;
use super::formation::{progress, survives};
use super::happening::Happening;
use super::{Machine, Sabotage};
use crate::records::{Checkpoint, CheckpointId, Evaluation, Record};

/// The durable checkpoints, and those that wait to become so.
///
/// Best and latest are always derived from the durable manifests, so that
/// there is nothing that could disagree with them.
#[derive(Clone, Debug)]
pub(super) struct Checkpoints {
    pub(super) kept: BTreeMap<CheckpointId, Checkpoint>,
    /// How many of the newest stay.
    pub(super) keep: NonZeroU32,
    pub(super) doubts: Doubts,
    /// Whether people know that there is no room.
    pub(super) told_of_no_room: bool,
    /// On disk, but ahead of the reported steps.
    waiting: Vec<(RequestId, Checkpoint)>,
    initial: Option<CheckpointId>,
}

impl Checkpoints {
    pub(super) fn new(kept: Vec<Checkpoint>, keep: NonZeroU32) -> Checkpoints {
        let initial = kept.iter().find(|checkpoint| checkpoint.is_initial());
        Checkpoints {
            initial: initial.map(|checkpoint| checkpoint.id.clone()),
            waiting: Vec::new(),
            keep,
            doubts: Doubts::default(),
            told_of_no_room: false,
            kept: kept.into_iter().map(|c| (c.id.clone(), c)).collect(),
        }
    }

    /// The weights that the run starts from, if they were loaded.
    pub(super) fn initial(&self) -> Option<&CheckpointId> {
        self.initial.as_ref()
    }

    pub(super) fn of_training(&self) -> impl Iterator<Item = &Checkpoint> {
        self.kept
            .values()
            .filter(|checkpoint| !checkpoint.is_initial())
    }

    /// The one to resume from.
    pub(super) fn latest(&self) -> Option<&Checkpoint> {
        self.of_training()
            .max_by_key(|checkpoint| (progress(checkpoint.cursor), checkpoint.generation))
    }

    /// The one to publish: the lowest evaluation, the earlier of equal ones.
    pub(super) fn best(&self) -> Option<&Checkpoint> {
        let loss = |checkpoint: &Checkpoint| {
            let loss = checkpoint.evaluation.map(|evaluation| evaluation.loss);
            loss.filter(|loss| loss.is_finite())
        };
        let evaluated = self.of_training().filter_map(|c| Some((loss(c)?, c)));
        let best = evaluated.min_by(|(left_loss, left), (right_loss, right)| {
            let earlier = progress(left.cursor).cmp(&progress(right.cursor));
            left_loss.total_cmp(right_loss).then(earlier)
        });
        best.map(|(_, checkpoint)| checkpoint)
    }

    pub(super) fn best_evaluation(&self) -> Option<Evaluation> {
        self.best()?.evaluation
    }
}

impl Machine {
    /// Drops checkpoints of steps that were rolled back. A coordinator may have
    /// led meanwhile that had not got them yet, and went on from an earlier one.
    pub(super) fn drop_rolled_back(&mut self) {
        if self.settings.breaks(Sabotage::AcceptOldCheckpoints) {
            return;
        }
        let generations = &self.generations;
        let rolled_back = self.checkpoints.of_training().filter(|checkpoint| {
            let newest_first = generations.iter().rev();
            newest_first
                .take_while(|g| g.record.number > checkpoint.generation)
                .any(|g| g.record.base.step < checkpoint.cursor.step)
        });
        let rolled_back: Vec<CheckpointId> = rolled_back.map(|c| c.id.clone()).collect();
        for id in rolled_back {
            self.drop_checkpoint(&id);
        }
    }

    pub(super) fn on_checkpoint_stored(&mut self, request: RequestId, checkpoint: Checkpoint) {
        let is_rolled_back = !survives(
            &self.generations,
            checkpoint.generation,
            checkpoint.cursor.step,
        );
        if is_rolled_back && !self.settings.breaks(Sabotage::AcceptOldCheckpoints) {
            let refusal = Refusal::precondition(format!(
                "checkpoint {} belongs to steps that were rolled back",
                checkpoint.id
            ));
            return self.reply(request, Err(refusal));
        }
        if let Some(kept) = self.checkpoints.kept.get(&checkpoint.id)
            && !kept.same_content(&checkpoint)
        {
            let refusal = Refusal::invalid(format!(
                "there is another checkpoint {} with different content",
                checkpoint.id
            ));
            return self.reply(request, Err(refusal));
        }
        if checkpoint.cursor.step > self.reports.reported().step {
            self.checkpoints.waiting.push((request, checkpoint));
        } else {
            self.commit_checkpoint(request, checkpoint);
        }
    }

    /// Commits what waited for steps that are reported by now.
    pub(super) fn commit_waiting_checkpoints(&mut self) {
        let reported = self.reports.reported().step;
        let waiting = std::mem::take(&mut self.checkpoints.waiting);
        for (request, checkpoint) in waiting {
            if checkpoint.cursor.step > reported {
                self.checkpoints.waiting.push((request, checkpoint));
            } else {
                self.commit_checkpoint(request, checkpoint);
            }
        }
    }

    /// A new generation goes on from `reported`: what lies beyond is rolled
    /// back.
    pub(super) fn refuse_waiting_checkpoints(&mut self) {
        for (request, checkpoint) in std::mem::take(&mut self.checkpoints.waiting) {
            let refusal = Refusal::precondition(format!(
                "checkpoint {} is ahead of the steps that anyone reported, and a new generation \
                 began before them",
                checkpoint.id
            ));
            self.reply(request, Err(refusal));
        }
    }

    fn commit_checkpoint(&mut self, request: RequestId, mut checkpoint: Checkpoint) {
        let id = checkpoint.id.clone();
        if let Some(kept) = self.checkpoints.kept.get(&id) {
            checkpoint.evaluation = checkpoint.evaluation.or(kept.evaluation);
            checkpoint.created_unix_ms = kept.created_unix_ms;
        }
        self.persist(Record::Checkpoint(checkpoint.clone()));
        self.checkpoints.kept.insert(id.clone(), checkpoint.clone());
        self.reply(request, Ok(Answer::CheckpointKept(id.clone())));
        let best = self.checkpoints.best().is_some_and(|best| best.id == id);
        self.tell(Happening::CheckpointKept { checkpoint, best });
        self.checkpoints.told_of_no_room = false;
        self.retire_checkpoints();
    }
}

//! Which checkpoints stay on disk, and which make room for others.
//!
//! Kept are the newest few, to resume from; the best, to publish; and the
//! weights that the run started from. When room is short, all but the newest,
//! the best and the initial one may go before their time.

use std::collections::BTreeSet;

use super::checkpoints::Checkpoints;
use super::effect::{Answer, Refusal};
use super::event::{RequestId, RoomWanted};
use super::formation::progress;
use super::happening::Happening;
use super::{Effect, Machine};
use crate::records::{Checkpoint, CheckpointId, Record};

impl Checkpoints {
    /// Those of training, the newest first.
    fn newest_first(&self) -> Vec<&Checkpoint> {
        let mut newest: Vec<&Checkpoint> = self.of_training().collect();
        newest.sort_by_key(|c| std::cmp::Reverse((progress(c.cursor), c.generation)));
        newest
    }

    /// Those that neither resuming nor publishing needs, the oldest first: all
    /// but the `newest` newest and the best.
    fn beyond(&self, newest: usize) -> Vec<CheckpointId> {
        let best = self.best().map(|best| &best.id);
        let mut ids: Vec<CheckpointId> = self
            .newest_first()
            .into_iter()
            .skip(newest)
            .map(|checkpoint| &checkpoint.id)
            .filter(|id| Some(*id) != best && !self.doubts.concerns(id))
            .cloned()
            .collect();
        ids.reverse();
        ids
    }

    /// Those to give up for `lacking` bytes; `None` if all together are too
    /// small, for then none shall go.
    fn to_give_up(
        &self,
        lacking: u64,
        in_use: &BTreeSet<CheckpointId>,
    ) -> Option<Vec<CheckpointId>> {
        let mut freed = 0;
        let mut given_up = Vec::new();
        // The newest is the only one that is certain to be whole and recent.
        for id in self.beyond(1) {
            if freed >= lacking {
                break;
            }
            if !in_use.contains(&id) {
                freed += self.kept.get(&id).map_or(0, Checkpoint::total_bytes);
                given_up.push(id);
            }
        }
        (freed >= lacking).then_some(given_up)
    }
}

impl Machine {
    /// Drops what is no longer needed, and lets go of the rows of the page
    /// table that every kept checkpoint is past.
    pub(super) fn retire_checkpoints(&mut self) {
        let newest = self.checkpoints.keep.get() as usize;
        for id in self.checkpoints.beyond(newest) {
            self.drop_checkpoint(&id);
        }
        self.forget_rows();
    }

    pub(super) fn drop_checkpoint(&mut self, id: &CheckpointId) {
        if let Some(checkpoint) = self.checkpoints.kept.remove(id) {
            self.persist(Record::CheckpointForgotten(id.clone()));
            self.effects.push(Effect::DeleteCheckpoint(checkpoint));
            self.tell(Happening::CheckpointDropped { id: id.clone() });
        }
    }

    fn forget_rows(&mut self) {
        // What is recalled when one turns out to be damaged must not be
        // forgotten again before it is used.
        if !self.checkpoints.doubts.is_empty() {
            return;
        }
        let first_needed = self
            .checkpoints
            .of_training()
            .map(|c| c.cursor.page.ordinal);
        if let Some(first_needed) = first_needed.min() {
            self.table.forget_before(first_needed);
        }
    }

    /// Makes room before its time, if that is enough.
    pub(super) fn on_room_wanted(&mut self, request: RequestId, room: &RoomWanted) {
        let given_up = self.checkpoints.to_give_up(room.lacking, &room.in_use);
        let Some(given_up) = given_up else {
            if !self.checkpoints.told_of_no_room {
                self.checkpoints.told_of_no_room = true;
                let reason = room.reason.clone();
                self.tell(Happening::CheckpointRefused { reason });
            }
            let refusal = Refusal::precondition(room.reason.clone());
            return self.reply(request, Err(refusal));
        };
        let kept = &self.checkpoints.kept;
        let bytes = given_up.iter().filter_map(|id| kept.get(id));
        let bytes = bytes.map(Checkpoint::total_bytes).sum();
        for id in &given_up {
            self.drop_checkpoint(id);
        }
        self.reply(request, Ok(Answer::RoomMade(bytes)));
    }
}

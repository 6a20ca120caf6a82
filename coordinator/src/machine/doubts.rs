//! Checkpoints that somebody could not read.
//!
//! A file that does not arrive with its hash may be damaged on disk, or on its
//! way. So the coordinator looks at its own copy before it believes it lost;
//! meanwhile no generation begins from it. A damaged one is dropped, and the
//! next generation goes on from the one before, or from the run's beginning.

use std::collections::BTreeMap;

use super::Effect;
use super::Machine;
use super::ending::RunState;
use super::event::Verified;
use super::happening::Happening;
use crate::records::CheckpointId;

/// Checkpoints whose files are being looked at, with what raised the doubt.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts(BTreeMap<CheckpointId, String>);

impl Doubts {
    pub(super) fn concerns(&self, id: &CheckpointId) -> bool {
        self.0.contains_key(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Machine {
    pub(super) fn on_checkpoint_doubted(&mut self, id: &CheckpointId, reason: String) {
        // One that is no longer kept is nobody's to restore from.
        let Some(checkpoint) = self.checkpoints.kept.get(id).cloned() else {
            return;
        };
        if !self.checkpoints.doubts.concerns(id) {
            self.checkpoints.doubts.0.insert(id.clone(), reason);
            self.effects.push(Effect::VerifyCheckpoint(checkpoint));
        }
    }

    pub(super) fn on_checkpoint_verified(&mut self, id: &CheckpointId, verified: Verified) {
        let Some(doubt) = self.checkpoints.doubts.0.remove(id) else {
            return;
        };
        let Some(checkpoint) = self.checkpoints.kept.get(id) else {
            return;
        };
        match verified {
            Verified::Sound => {
                let id = id.clone();
                self.tell(Happening::CheckpointSound { id, doubt });
            }
            Verified::Damaged { reason, rows } => {
                let is_initial = checkpoint.is_initial();
                self.tell(Happening::CheckpointDamaged {
                    id: id.clone(),
                    reason: reason.clone(),
                });
                if is_initial {
                    // Its record stays: the next start refuses to go on without it.
                    self.miss_initial_weights(&reason);
                } else {
                    self.table.recall(rows);
                    self.drop_checkpoint(id);
                }
            }
        }
    }

    fn miss_initial_weights(&mut self, reason: &str) {
        if self.checkpoints.latest().is_none() && matches!(self.run, RunState::Open) {
            self.fail_run(format!("the run's initial weights are damaged: {reason}"));
        }
    }

    /// Why no generation can begin yet, if that depends on a checkpoint that
    /// is being looked at.
    pub(super) fn checkpoint_in_doubt(&self) -> Option<String> {
        let origin = self.checkpoints.latest().map(|latest| &latest.id);
        let origin = origin.or(self.checkpoints.initial())?;
        self.checkpoints.doubts.concerns(origin).then(|| {
            format!("looking at the files of checkpoint {origin}, which could not be restored")
        })
    }
}

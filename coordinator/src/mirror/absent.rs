//! Checkpoints that the records have and a disk has not.

use std::fs;

use crate::checkpoints::CheckpointFolder;
use crate::machine::History;
use crate::records::Checkpoint;

/// Takes the checkpoints out of a history that are not on this disk, or broken
/// there, and returns them: another coordinator may have them, so the records
/// keep them. Those that a run starts from stay: nothing else can stand in for
/// them, and whoever needs them waits.
pub(crate) fn set_aside(
    history: &mut History,
    checkpoints: &CheckpointFolder,
    followed: bool,
) -> Vec<Checkpoint> {
    let mut absent = Vec::new();
    let kept = std::mem::take(&mut history.checkpoints);
    let looked: Vec<_> = match followed {
        true => kept.iter().map(|one| checkpoints.present(one)).collect(),
        false => checkpoints.verify_all(&kept),
    };
    for (checkpoint, looked) in kept.into_iter().zip(looked) {
        let Err(error) = looked else {
            history.checkpoints.push(checkpoint);
            continue;
        };
        tracing::warn!(
            "checkpoint {} is not used until another coordinator hands it over: {error}",
            checkpoint.id
        );
        if error.is_damage() && fs::exists(checkpoints.path(&checkpoint.id)).unwrap_or(true) {
            checkpoints.discard(&checkpoint.id);
        }
        if checkpoint.is_initial() {
            history.checkpoints.push(checkpoint.clone());
        }
        absent.push(checkpoint);
    }
    absent
}

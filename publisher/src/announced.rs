//! What is known of the coordinator's run.

use proto::v1::{CheckpointManifest, CheckpointState};

/// What the coordinator has said so far.
#[derive(Default)]
pub(crate) struct Announced {
    pub(crate) run_id: Option<String>,
    pub(crate) best: Option<CheckpointManifest>,
    pub(crate) run_complete: bool,
}

impl Announced {
    pub(crate) fn best_id(&self) -> Option<&str> {
        self.best.as_ref().map(|best| &best.checkpoint_id[..])
    }

    pub(crate) fn take(&mut self, state: Option<CheckpointState>) {
        let Some(state) = state else {
            self.run_complete = true;
            return;
        };
        self.run_complete = state.run_complete;
        if let Some(context) = state.context {
            self.run_id = Some(context.run_id);
        }
        if state.best.is_some() {
            self.best = state.best;
        }
    }
}

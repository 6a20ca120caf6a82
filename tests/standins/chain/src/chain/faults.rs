//! What goes wrong inside the node.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;

use super::node::Node;
use super::pool::Refused;
use crate::StartError;
use crate::runtime::{Failure, Runtime};

/// What becomes of the extrinsics of blocks that a fork replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Returning {
    /// The fork's first block includes them again.
    AtOnce,
    /// They are back in the pool, and the next block includes them.
    NextBlock,
    /// They are lost.
    Never,
}

/// The node's faults that are switched on.
#[derive(Default)]
pub(crate) struct NodeFaults {
    /// With what the next submissions are refused.
    pub(crate) rejections: VecDeque<Refused>,
    /// How many of the next submissions are accepted and lost.
    pub(crate) lose_submissions: u32,
    /// With what the next extrinsics that are executed fail.
    pub(crate) failures: VecDeque<Failure>,
    pub(crate) finality_stalled: bool,
    /// Whether blocks include no extrinsics.
    pub(crate) inclusion_withheld: bool,
    /// The runtime that the next block upgrades to.
    pub(crate) upgrade: Option<Arc<Runtime>>,
}

impl Node {
    /// Refuses one of the next submissions, after those that are to be refused already.
    pub(crate) fn reject_submission(&mut self, refused: Refused) {
        self.faults.rejections.push_back(refused);
    }

    pub(crate) fn lose_submissions(&mut self, times: u32) {
        self.faults.lose_submissions = times;
    }

    pub(crate) fn withhold_inclusion(&mut self, withheld: bool) {
        self.faults.inclusion_withheld = withheld;
    }

    /// Lets one of the next extrinsics fail. False if the metadata has no such error.
    pub(crate) fn fail_dispatch(&mut self, failure: Failure) -> bool {
        let is_known = self.best().runtime.knows(&failure);
        if is_known {
            self.faults.failures.push_back(failure);
        }
        is_known
    }

    /// Stops finality, or lets it catch up.
    pub(crate) fn stall_finality(&mut self, stalled: bool) {
        self.faults.finality_stalled = stalled;
        self.advance_finality();
    }

    pub(crate) fn upgrade_runtime(&mut self, spec_version: u32) -> Result<(), StartError> {
        self.faults.upgrade = Some(self.runtime(spec_version)?);
        Ok(())
    }

    pub(crate) fn lift_bans(&mut self) {
        self.pool.lift_bans();
    }
}

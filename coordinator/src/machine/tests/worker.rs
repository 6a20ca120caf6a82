//! A worker as the protocol describes it, without a model.

use std::collections::{BTreeMap, VecDeque};

use ledger::{Cursor, PageRow, Slot};

use crate::machine::{Assignment, Message, Millis, SessionId, StopReason, World};
use crate::records::{Reported, WorkerId};

/// A worker's process, as far as the coordinator can tell.
#[derive(Debug)]
pub(super) struct SimWorker {
    pub(super) name: WorkerId,
    /// Which process of that name.
    pub(super) instance: u64,
    pub(super) session: Option<SessionId>,
    /// Messages under way to it.
    pub(super) inbox: VecDeque<(World, Message)>,
    pub(super) world: World,
    pub(super) seat: Option<SimSeat>,
    pub(super) applied: Option<(Cursor, u64)>,
    /// What stands for its weights: the generation of each step in them.
    pub(super) weights: Vec<u64>,
    /// Reports that nobody acknowledged.
    pub(super) unacknowledged: Vec<Reported>,
    pub(super) work: Vec<Assignment>,
    pub(super) rows: BTreeMap<Slot, PageRow>,
    /// When it sent the heartbeats that are not answered yet.
    pub(super) heartbeats: VecDeque<Millis>,
    /// When it sent the last heartbeat that was: its lease counts from then,
    /// however long the answer took.
    pub(super) lease_from: Millis,
    pub(super) stopped: Option<StopReason>,
}

/// Its place in a generation.
#[derive(Clone, Debug)]
pub(super) struct SimSeat {
    pub(super) number: u64,
    /// Where the generation stands, for this member.
    pub(super) cursor: Cursor,
    /// The weights with which the generation begins.
    pub(super) weights: Vec<u64>,
    /// Whether its store is where the others meet.
    pub(super) serves: bool,
    /// Whether it has met the others.
    pub(super) met: bool,
}

impl SimWorker {
    pub(super) fn new(name: &str) -> SimWorker {
        SimWorker::process(WorkerId::from(name), 1)
    }

    fn process(name: WorkerId, instance: u64) -> SimWorker {
        SimWorker {
            name,
            instance,
            session: None,
            inbox: VecDeque::new(),
            world: World::default(),
            seat: None,
            applied: None,
            weights: Vec::new(),
            unacknowledged: Vec::new(),
            work: Vec::new(),
            rows: BTreeMap::new(),
            heartbeats: VecDeque::new(),
            lease_from: 0,
            stopped: None,
        }
    }

    /// The process ends; another takes its place, without any state.
    pub(super) fn replace(&mut self) {
        *self = SimWorker::process(self.name.clone(), self.instance + 1);
    }

    pub(super) fn is_in(&self, generation: u64) -> bool {
        self.seat
            .as_ref()
            .is_some_and(|seat| seat.number == generation)
    }
}

//! What waits to be said.

use std::collections::VecDeque;

use proto::v1;
use proto::v1::worker_message::Body;

/// Messages in the order in which they are said, each with its generation, and
/// what is said again on every new connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<(u64, Body)>,
    /// The last message that changed the worker's standing.
    standing: Option<(u64, Body)>,
    /// Reports of steps that nobody has acknowledged, oldest first.
    reports: VecDeque<v1::StepReport>,
    /// Why the worker drains, if it does.
    draining: Option<String>,
    connected: bool,
}

/// Whether the next connection's first messages say this anyway, or make it
/// untrue: a standing is said after everything that led to it.
fn is_said_again(body: &Body) -> bool {
    match body {
        Body::Heartbeat(_)
        | Body::Ready(_)
        | Body::StoreListening(_)
        | Body::StepReports(_)
        | Body::Left(_)
        | Body::Finished(_)
        | Body::Drain(_)
        | Body::RunFailed(_) => true,
        Body::Evaluated(_) | Body::PageFailed(_) | Body::CheckpointDamaged(_) => false,
    }
}

impl Outbox {
    pub(crate) fn connect(&mut self, generation: u64, heartbeat: Body, with_reports: bool) {
        self.connected = true;
        let mut first = VecDeque::from([(generation, heartbeat)]);
        // Reports first: a state counts only with the steps that led to it.
        if with_reports && !self.reports.is_empty() {
            let reports = self.reports();
            first.push_back((generation, Body::StepReports(v1::StepReports { reports })));
        }
        first.extend(self.standing.clone());
        if let Some(reason) = self.draining.clone() {
            first.push_back((generation, Body::Drain(v1::Drain { reason })));
        }
        first.append(&mut self.waiting);
        self.waiting = first;
    }

    pub(crate) fn disconnect(&mut self) {
        self.connected = false;
        self.waiting.retain(|(_, body)| !is_said_again(body));
    }

    pub(crate) fn say(&mut self, generation: u64, body: Body) {
        if self.connected || !is_said_again(&body) {
            self.waiting.push_back((generation, body));
        }
    }

    pub(crate) fn stand(&mut self, generation: u64, body: Body) {
        self.standing = Some((generation, body.clone()));
        self.say(generation, body);
    }

    /// In a generation a worker's heartbeats say where it stands.
    pub(crate) fn forget_standing(&mut self) {
        self.standing = None;
    }

    pub(crate) fn drain(&mut self, generation: u64, reason: String) {
        self.draining = Some(reason.clone());
        self.say(generation, Body::Drain(v1::Drain { reason }));
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    pub(crate) fn keep(&mut self, report: v1::StepReport) {
        self.reports.push_back(report);
    }

    /// Reports of steps below `steps` are durable elsewhere.
    pub(crate) fn acknowledge(&mut self, steps: u64) {
        self.reports.retain(|report| report.number >= steps);
    }

    pub(crate) fn forget_reports(&mut self) {
        self.reports.clear();
    }

    pub(crate) fn reports(&self) -> Vec<v1::StepReport> {
        self.reports.iter().cloned().collect()
    }

    /// Whether a heartbeat waits already: the network is slower than the beat.
    pub(crate) fn has_heartbeat(&self) -> bool {
        let mut bodies = self.waiting.iter().map(|(_, body)| body);
        bodies.any(|body| matches!(body, Body::Heartbeat(_)))
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn take(&mut self) -> VecDeque<(u64, Body)> {
        std::mem::take(&mut self.waiting)
    }
}

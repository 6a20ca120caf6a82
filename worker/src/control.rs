//! What the session, the trainer and the heartbeat know of each other.
//!
//! The trainer runs on a thread of its own and blocks in libtorch; the session
//! is asynchronous. They meet here: commands flow one way through a channel,
//! messages the other way, and the few facts that cannot wait for a channel
//! (abort, pause, what was acknowledged) are shared.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ledger::Cursor;
use proto::v1;
use proto::v1::worker_message::Body;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the trainer is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Join a new generation.
    Form { generation: u64, form: v1::Form },
    /// Rank 0's store of this generation listens here.
    Rendezvous { generation: u64, address: String },
    /// The generation is over, whether or not it had begun.
    Abort { generation: u64 },
    /// The worker's work is done.
    Stop,
}

/// Ends a generation's collectives and waits at once.
struct Live {
    generation: u64,
    /// Ends its store's, group's and reducer's calls.
    collectives: c10d::AbortHandle,
    /// Stops the feeder, and with it every wait for data.
    data: CancellationToken,
}

/// What heartbeats and reconnections tell the coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) generation: u64,
    pub(crate) phase: v1::Phase,
    /// Since when.
    phase_since: Instant,
    pub(crate) applied: Option<Cursor>,
    /// The last message that changed this worker's standing; said again after
    /// a reconnection.
    pub(crate) standing: Option<Body>,
}

impl Progress {
    fn begin(&mut self, phase: v1::Phase) {
        self.phase = phase;
        self.phase_since = Instant::now();
    }
}

/// Shared by session and trainer.
pub(crate) struct Control {
    progress: Mutex<Progress>,
    live: Mutex<Option<Live>>,
    /// The highest generation that was aborted: a later arrival must not start.
    aborted: AtomicU64,
    pausing: AtomicBool,
    checkpointing: AtomicBool,
    draining: AtomicBool,
    unacknowledged: Mutex<VecDeque<v1::StepReport>>,
    outbox: mpsc::UnboundedSender<(u64, Body)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every update below leaves the value whole, so a panic elsewhere while
    // the lock was held does not make it unusable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// A worker that has just started, and the messages it will want to send,
    /// each with its generation.
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<(u64, Body)>) {
        let (outbox, messages) = mpsc::unbounded_channel();
        let control = Self {
            progress: Mutex::new(Progress {
                generation: 0,
                phase: v1::Phase::Starting,
                phase_since: Instant::now(),
                applied: None,
                standing: None,
            }),
            live: Mutex::new(None),
            aborted: AtomicU64::new(0),
            pausing: AtomicBool::new(false),
            checkpointing: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            unacknowledged: Mutex::new(VecDeque::new()),
            outbox,
        };
        (Arc::new(control), messages)
    }

    pub(crate) fn progress(&self) -> Progress {
        lock(&self.progress).clone()
    }

    pub(crate) fn set_phase(&self, phase: v1::Phase) {
        lock(&self.progress).begin(phase);
    }

    /// What this worker does and for how long, as a heartbeat says it. One that
    /// waits for the other ranks in the middle of something is reducing.
    pub(crate) fn heartbeat(&self) -> v1::Heartbeat {
        // Not both locks at once: others take them in the other order.
        let waited = lock(&self.live)
            .as_ref()
            .and_then(|live| live.collectives.waited());
        let progress = self.progress();
        let computes = matches!(progress.phase, v1::Phase::Training | v1::Phase::Evaluating);
        let (phase, lasted) = match waited {
            Some(waited) if computes => (v1::Phase::Reducing, waited),
            _ => (progress.phase, progress.phase_since.elapsed()),
        };
        v1::Heartbeat {
            phase: phase.into(),
            cursor: progress.applied.map(Into::into),
            phase_ms: u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn set_applied(&self, applied: Cursor) {
        lock(&self.progress).applied = Some(applied);
    }

    /// Says something that will be said again after a reconnection, until
    /// something newer replaces it.
    pub(crate) fn stand(&self, generation: u64, phase: v1::Phase, standing: Body) {
        {
            let mut progress = lock(&self.progress);
            progress.generation = generation;
            progress.begin(phase);
            progress.standing = Some(standing.clone());
        }
        self.send(generation, standing);
    }

    /// Says something once.
    pub(crate) fn send(&self, generation: u64, body: Body) {
        // The receiver lives as long as the session; after it, nobody listens
        // and nothing is lost that matters.
        let _ = self.outbox.send((generation, body));
    }

    /// Starts a generation whose collectives `collectives` can end, unless it
    /// was aborted before it began. Returns the token that ends its waits for
    /// data.
    pub(crate) fn enter(
        &self,
        generation: u64,
        collectives: c10d::AbortHandle,
    ) -> Option<CancellationToken> {
        let mut live = lock(&self.live);
        if self.is_aborted(generation) {
            return None;
        }
        let data = CancellationToken::new();
        *live = Some(Live {
            generation,
            collectives,
            data: data.clone(),
        });
        self.pausing.store(false, Ordering::SeqCst);
        self.checkpointing.store(false, Ordering::SeqCst);
        let mut progress = lock(&self.progress);
        progress.generation = generation;
        progress.begin(v1::Phase::Forming);
        // It is no longer ready for another.
        progress.standing = None;
        Some(data)
    }

    /// The trainer is out of the generation.
    pub(crate) fn exit(&self, generation: u64) {
        let mut live = lock(&self.live);
        if live
            .as_ref()
            .is_some_and(|live| live.generation == generation)
        {
            *live = None;
        }
    }

    /// Ends `generation` and all before it, in the middle of what they do.
    pub(crate) fn abort(&self, generation: u64, reason: &str) {
        let live = lock(&self.live);
        self.aborted.fetch_max(generation, Ordering::SeqCst);
        if let Some(live) = live.as_ref().filter(|live| live.generation <= generation) {
            live.data.cancel();
            live.collectives.abort(reason);
        }
    }

    /// Whether `generation` was aborted.
    pub(crate) fn is_aborted(&self, generation: u64) -> bool {
        self.aborted.load(Ordering::SeqCst) >= generation
    }

    /// Asks the ranks to leave their generation together after a step, with or
    /// without a checkpoint of where they stand then.
    pub(crate) fn pause(&self, checkpoint: bool) {
        self.checkpointing.fetch_or(checkpoint, Ordering::SeqCst);
        self.pausing.store(true, Ordering::SeqCst);
    }

    /// Asks the same, of this generation and any that follows: the process is
    /// about to end.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether this rank was asked to pause.
    pub(crate) fn is_pausing(&self) -> bool {
        self.pausing.load(Ordering::SeqCst) || self.draining.load(Ordering::SeqCst)
    }

    /// Whether the pause is to leave a checkpoint. One that a draining worker
    /// causes is: it may be the first of all to leave.
    pub(crate) fn is_checkpointing(&self) -> bool {
        self.checkpointing.load(Ordering::SeqCst) || self.draining.load(Ordering::SeqCst)
    }

    /// Keeps a report until the coordinator has it.
    pub(crate) fn remember(&self, report: v1::StepReport) {
        lock(&self.unacknowledged).push_back(report);
    }

    /// Forgets reports of steps below `steps`, which are durable elsewhere.
    pub(crate) fn acknowledge(&self, steps: u64) {
        lock(&self.unacknowledged).retain(|report| report.number >= steps);
    }

    /// Reports that nobody has acknowledged.
    pub(crate) fn unacknowledged(&self) -> Vec<v1::StepReport> {
        lock(&self.unacknowledged).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_reaches_a_generation_that_waits_for_data() {
        let (control, _messages) = Control::new();
        let data = control.enter(1, c10d::AbortHandle::new()).unwrap();
        control.abort(1, "a worker was lost");
        assert!(data.is_cancelled());
        assert!(control.is_aborted(1));
        assert!(!control.is_aborted(2));
    }

    #[test]
    fn an_abort_that_overtakes_its_generation_keeps_it_from_starting() {
        let (control, _messages) = Control::new();
        control.abort(3, "a worker was lost");
        assert!(control.enter(3, c10d::AbortHandle::new()).is_none());
        assert!(control.enter(4, c10d::AbortHandle::new()).is_some());
    }

    #[test]
    fn an_old_abort_leaves_a_newer_generation_alone() {
        let (control, _messages) = Control::new();
        let data = control.enter(5, c10d::AbortHandle::new()).unwrap();
        control.abort(4, "late");
        assert!(!data.is_cancelled());
    }

    #[test]
    fn reports_are_kept_until_they_are_acknowledged() {
        let (control, _messages) = Control::new();
        for number in 0..4 {
            control.remember(v1::StepReport {
                number,
                ..Default::default()
            });
        }
        control.acknowledge(3);
        let left: Vec<u64> = control
            .unacknowledged()
            .iter()
            .map(|report| report.number)
            .collect();
        assert_eq!(left, [3]);
    }

    #[test]
    fn a_pause_ends_with_its_generation() {
        let (control, _messages) = Control::new();
        control.enter(1, c10d::AbortHandle::new()).unwrap();
        control.pause(true);
        assert!(control.is_pausing() && control.is_checkpointing());
        control.enter(2, c10d::AbortHandle::new()).unwrap();
        assert!(!control.is_pausing() && !control.is_checkpointing());
    }

    #[test]
    fn a_member_of_a_generation_does_not_say_that_it_is_ready_for_another() {
        let (control, _messages) = Control::new();
        control.stand(0, v1::Phase::Ready, Body::Ready(v1::Ready::default()));
        assert!(control.progress().standing.is_some());
        control.enter(1, c10d::AbortHandle::new()).unwrap();
        assert_eq!(control.progress().standing, None);
        assert_eq!(control.heartbeat().phase(), v1::Phase::Forming);
    }

    #[test]
    fn a_drain_outlives_the_generation_in_which_it_was_asked() {
        let (control, _messages) = Control::new();
        control.drain();
        control.enter(1, c10d::AbortHandle::new()).unwrap();
        assert!(control.is_pausing() && control.is_checkpointing());
    }
}

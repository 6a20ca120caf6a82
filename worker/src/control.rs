//! What the session, the trainer and the heartbeat know of each other.
//!
//! The trainer runs on a thread of its own and blocks in libtorch; the session
//! is asynchronous. They meet here: both tell the worker's [`Membership`] what
//! happens, commands flow to the trainer through a channel, and an abort, which
//! cannot wait for a channel, ends the generation's collectives at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::Moment;
use ledger::Cursor;
use membership::{Input, Membership, Millis, Output};
use proto::v1;
#[cfg(test)]
use proto::v1::coordinator_message::Body as Directive;
use proto::v1::worker_message::Body;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What the trainer is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// The pages of the next steps are at hand, as far as they can be.
    Warm,
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

/// How far the trainer is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// The generation that it was last in; 0 before the first.
    pub(crate) generation: u64,
}

/// Shared by session and trainer: the membership, and what ends a generation's
/// collectives when the membership says so.
pub(crate) struct Control {
    started: Moment,
    membership: Mutex<Membership>,
    live: Mutex<Option<Live>>,
    trainer: std::sync::mpsc::Sender<Command>,
    /// Something waits to be said.
    unsaid: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every update below leaves the value whole, so a panic elsewhere while
    // the lock was held does not make it unusable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// A worker that has just joined, with the coordinator's answer and the
    /// lease that it grants, and the way to its trainer.
    pub(crate) fn new(
        joined: &v1::Context,
        lease: Duration,
        trainer: std::sync::mpsc::Sender<Command>,
    ) -> Arc<Self> {
        Arc::new(Self {
            started: Moment::now(),
            membership: Mutex::new(Membership::new(joined, millis(lease), 0)),
            live: Mutex::new(None),
            trainer,
            unsaid: Notify::new(),
        })
    }

    /// Tells the membership what happened. What ends a generation is done at
    /// once, from whichever thread this is; the rest is returned in order.
    pub(crate) fn apply(&self, input: Input) -> Vec<Output> {
        // The time is taken under the lock, so that no thread brings an older
        // one after a newer.
        let (mut outputs, has_said_all) = {
            let mut membership = lock(&self.membership);
            let outputs = membership.apply(millis(self.started.elapsed()), input);
            (outputs, membership.has_said_all())
        };
        if !has_said_all {
            self.unsaid.notify_one();
        }
        outputs.retain(|output| {
            let (generation, reason) = match output {
                Output::GiveUp { generation } => {
                    tracing::warn!(
                        generation,
                        "no word from the coordinator for the whole lease; leaving the generation"
                    );
                    (*generation, "the lease ran out")
                }
                Output::Abort { generation, reason } => {
                    tracing::info!(generation, reason, "told to leave at once");
                    (*generation, reason.as_str())
                }
                _ => return true,
            };
            self.end(generation, reason);
            // A trainer that has ended needs no telling.
            let _ = self.trainer.send(Command::Abort { generation });
            false
        });
        outputs
    }

    /// Tells the trainer.
    pub(crate) fn command(&self, command: Command) {
        // A trainer that has ended needs no telling.
        let _ = self.trainer.send(command);
    }

    /// Waits until something is to be said.
    pub(crate) async fn unsaid(&self) {
        self.unsaid.notified().await;
    }

    pub(crate) fn has_said_all(&self) -> bool {
        lock(&self.membership).has_said_all()
    }

    /// How long the lease of the generation that this worker is in still lasts.
    pub(crate) fn lease_left(&self) -> Option<Duration> {
        let deadline = lock(&self.membership).deadline()?;
        let deadline = Duration::from_millis(deadline);
        Some(deadline.saturating_sub(self.started.elapsed()))
    }

    /// What a call to join says of this worker.
    pub(crate) fn known(&self) -> v1::Context {
        lock(&self.membership).known()
    }

    pub(crate) fn term(&self) -> u64 {
        lock(&self.membership).term()
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            generation: lock(&self.membership).generation(),
        }
    }

    /// For how long the trainer has waited for the other ranks, if it does.
    pub(crate) fn waited(&self) -> Option<Millis> {
        let live = lock(&self.live);
        let waited = live.as_ref().and_then(|live| live.collectives.waited());
        waited.map(millis)
    }

    pub(crate) fn set_phase(&self, phase: v1::Phase) {
        self.apply(Input::Phase(phase));
    }

    pub(crate) fn set_applied(&self, applied: Cursor) {
        self.apply(Input::Applied(applied));
    }

    /// Says something that will be said again after a reconnection, until
    /// something newer replaces it.
    pub(crate) fn stand(&self, generation: u64, phase: v1::Phase, standing: Body) {
        self.apply(Input::Stand {
            generation,
            phase,
            body: standing,
        });
    }

    /// Says something once.
    pub(crate) fn send(&self, generation: u64, body: Body) {
        self.apply(Input::Say { generation, body });
    }

    /// Starts a generation whose collectives `collectives` can end, unless it
    /// was aborted before it began. Returns the token that ends its waits for
    /// data.
    pub(crate) fn enter(
        &self,
        generation: u64,
        collectives: c10d::AbortHandle,
    ) -> Option<CancellationToken> {
        // Outside of the lock below, which ending a generation takes.
        self.apply(Input::Entered { generation });
        let mut live = lock(&self.live);
        if lock(&self.membership).is_over(generation) {
            return None;
        }
        let data = CancellationToken::new();
        *live = Some(Live {
            generation,
            collectives,
            data: data.clone(),
        });
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

    /// Ends the collectives of `generation` and all before it, in the middle of
    /// what they do. The membership has noted before that it is over.
    fn end(&self, generation: u64, reason: &str) {
        let live = lock(&self.live);
        if let Some(live) = live.as_ref().filter(|live| live.generation <= generation) {
            live.data.cancel();
            live.collectives.abort(reason);
        }
    }

    /// Ends whatever generation this worker is in: its process ends.
    pub(crate) fn quit(&self, reason: &str) {
        self.apply(Input::Quit);
        self.end(u64::MAX, reason);
    }

    /// Whether `generation` is over for this worker, by whatever has happened
    /// until now.
    pub(crate) fn is_aborted(&self, generation: u64) -> bool {
        self.apply(Input::Tick);
        lock(&self.membership).is_over(generation)
    }

    /// Asks the ranks to leave this generation and any that follows after a
    /// step: the process is about to end.
    pub(crate) fn drain(&self, reason: String) {
        self.apply(Input::Drain { reason });
    }

    /// Whether this rank was asked to pause.
    pub(crate) fn is_pausing(&self) -> bool {
        self.apply(Input::Tick);
        lock(&self.membership).is_pausing()
    }

    /// Whether the pause is to leave a checkpoint.
    pub(crate) fn is_checkpointing(&self) -> bool {
        lock(&self.membership).is_checkpointing()
    }

    /// Keeps a report until the coordinator has it.
    pub(crate) fn remember(&self, report: v1::StepReport) {
        self.apply(Input::Stepped(report));
    }

    /// Reports that nobody has acknowledged.
    pub(crate) fn unacknowledged(&self) -> Vec<v1::StepReport> {
        lock(&self.membership).unacknowledged()
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(3600);

    fn control(lease: Duration) -> (Arc<Control>, std::sync::mpsc::Receiver<Command>) {
        let (trainer, commands) = std::sync::mpsc::channel();
        let control = Control::new(&v1::Context::default(), lease, trainer);
        (control, commands)
    }

    fn hear(control: &Control, generation: u64, body: Directive) {
        control.apply(Input::Heard(v1::CoordinatorMessage {
            context: Some(v1::Context {
                generation,
                ..Default::default()
            }),
            body: Some(body),
        }));
    }

    fn form(control: &Control, generation: u64) {
        let form = v1::Form {
            base: Some(Cursor::start().into()),
            ..Default::default()
        };
        hear(control, generation, Directive::Form(form));
    }

    fn abort(control: &Control, generation: u64) {
        let reason = "a worker was lost".to_owned();
        hear(control, generation, Directive::Abort(v1::Abort { reason }));
    }

    #[test]
    fn an_abort_reaches_a_generation_that_waits_for_data() {
        let (control, commands) = control(LEASE);
        form(&control, 1);
        let handle = c10d::AbortHandle::new();
        let data = control.enter(1, handle.clone()).unwrap();
        abort(&control, 1);
        assert!(data.is_cancelled());
        assert!(handle.reason().is_some());
        assert!(control.is_aborted(1));
        assert!(!control.is_aborted(2));
        let command = commands.try_recv().unwrap();
        assert!(matches!(command, Command::Abort { generation: 1 }));
    }

    #[test]
    fn an_abort_that_overtakes_its_generation_keeps_it_from_starting() {
        let (control, _commands) = control(LEASE);
        form(&control, 3);
        abort(&control, 3);
        assert!(control.enter(3, c10d::AbortHandle::new()).is_none());
        form(&control, 4);
        assert!(control.enter(4, c10d::AbortHandle::new()).is_some());
    }

    #[test]
    fn an_old_abort_leaves_a_newer_generation_alone() {
        let (control, _commands) = control(LEASE);
        form(&control, 5);
        let data = control.enter(5, c10d::AbortHandle::new()).unwrap();
        abort(&control, 4);
        assert!(!data.is_cancelled());
    }

    #[test]
    fn a_trainer_that_wakes_up_after_its_lease_is_out_before_its_next_collective() {
        let (control, _commands) = control(Duration::ZERO);
        // As a process that was stopped finds it: the lease is over, and no
        // timer has run yet.
        form(&control, 1);
        let handle = c10d::AbortHandle::new();
        if let Some(data) = control.enter(1, handle.clone()) {
            control.set_phase(v1::Phase::Training);
            assert!(data.is_cancelled());
            assert!(handle.reason().is_some());
        }
        assert!(control.is_aborted(1));
    }
}

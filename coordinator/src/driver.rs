//! The shell around the state machine: one task that feeds it events and
//! carries out its effects in order.
//!
//! Events that arrive while a batch becomes durable are applied together and
//! share the next batch, so that the disk's latency bounds nothing but itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use run::RunConfig;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tonic::Status as RpcStatus;

use crate::checkpoints::CheckpointFolder;
use crate::clock::Clock;
use crate::events::{Appended, Description, EventBounds, EventLog, Notice, describe};
use crate::machine::{
    Answer, Effect, Event, Machine, Message, Millis, Outcome, Refusal, RequestId, SessionId,
    Status, Verified, World,
};
use crate::progress::Progress;
use crate::records::{Checkpoint, Record, WorkerId};
use crate::services::refused;
use crate::store::{RunStore, StoreError};

/// Events that wait while a batch becomes durable.
const EVENTS_AHEAD: usize = 4096;
/// How often the machine is told that time has passed.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Ticks between two looks for checkpoints that can be removed.
const TICKS_PER_SWEEP: u64 = 50;

/// A status is made after a batch if making the last one took less than one part
/// in so many of the time since then. It lists every worker; with thousands of
/// them it can wait for the next tick.
const STATUS_SHARE: u32 = 50;

/// Messages that wait for one worker. One that falls so far behind is gone.
pub(crate) const MESSAGES_AHEAD: usize = 1024;

/// The way to a worker, or why it is cut. Messages are put into the protocol's
/// words where they leave, so that those that wait are small.
pub(crate) type Outbound = mpsc::Sender<Result<(World, Message), RpcStatus>>;

enum Input {
    Event(Event),
    Call(RequestId, Event, oneshot::Sender<Result<Answer, Refusal>>),
    OpenSession(SessionId, WorkerId, Outbound),
}

/// Talks to the driver from any task.
#[derive(Clone)]
pub(crate) struct Handle {
    inputs: mpsc::Sender<Input>,
    numbers: Arc<AtomicU64>,
    status: watch::Receiver<Arc<Status>>,
    events: watch::Receiver<EventBounds>,
    watchers: Arc<watch::Sender<usize>>,
}

/// Someone who keeps the coordinator from exiting while they watch or read.
pub(crate) struct Watching(Arc<watch::Sender<usize>>);

/// The driver has ended: the coordinator is exiting.
#[derive(Debug, thiserror::Error)]
#[error("the coordinator is stopping")]
pub(crate) struct Gone;

impl From<Gone> for RpcStatus {
    fn from(gone: Gone) -> RpcStatus {
        RpcStatus::unavailable(gone.to_string())
    }
}

impl Handle {
    /// Asks the machine, and waits for its answer.
    pub(crate) async fn call(
        &self,
        event: impl FnOnce(RequestId) -> Event,
    ) -> Result<Result<Answer, Refusal>, Gone> {
        let request = RequestId(self.number());
        let (answer, answered) = oneshot::channel();
        let input = Input::Call(request, event(request), answer);
        self.inputs.send(input).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Tells the machine.
    pub(crate) async fn tell(&self, event: Event) -> Result<(), Gone> {
        let input = Input::Event(event);
        self.inputs.send(input).await.map_err(|_| Gone)
    }

    /// Opens a worker's session.
    pub(crate) async fn open_session(
        &self,
        worker: WorkerId,
        outbound: Outbound,
    ) -> Result<SessionId, Gone> {
        let session = SessionId(self.number());
        let input = Input::OpenSession(session, worker, outbound);
        self.inputs.send(input).await.map_err(|_| Gone)?;
        Ok(session)
    }

    /// The machine as it was after a durable batch, at most a tick ago.
    pub(crate) fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// Every status from now on.
    pub(crate) fn statuses(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// Which events are durable, from now on. Ends with the driver.
    pub(crate) fn events(&self) -> watch::Receiver<EventBounds> {
        self.events.clone()
    }

    /// Keeps the coordinator from exiting until dropped.
    pub(crate) fn watching(&self) -> Watching {
        self.watchers.send_modify(|watchers| *watchers += 1);
        Watching(self.watchers.clone())
    }

    /// Whether the driver has ended: nobody decides here any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.inputs.is_closed()
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.send_modify(|watchers| *watchers -= 1);
    }
}

/// The task that owns the machine.
pub(crate) struct Driver {
    machine: Machine,
    /// What the machine wanted done when it started.
    first_effects: Vec<Effect>,
    store: RunStore,
    checkpoints: CheckpointFolder,
    progress: Progress,
    /// What the coordinator itself has to tell first.
    notices: Vec<Notice>,
    event_log: EventLog,
    /// Epochs of the run, if it ends.
    epochs: Option<u64>,
    started: Instant,
    /// By which the machine counts.
    clock: Clock,
    inputs: mpsc::Receiver<Input>,
    /// The way by which work in the background tells its result; it keeps
    /// nothing alive.
    own_inputs: mpsc::WeakSender<Input>,
    watchers: watch::Receiver<usize>,
    status: watch::Sender<Arc<Status>>,
    /// When the last status was made, and how long that took.
    status_made: (Instant, Duration),
    events: watch::Sender<EventBounds>,
    sessions: HashMap<SessionId, Outbound>,
    calls: HashMap<RequestId, oneshot::Sender<Result<Answer, Refusal>>>,
}

impl Driver {
    /// A driver for a machine that has just started, as `clock`, at time 0, in the
    /// run of `config`. `notices` are told before anything that the machine tells.
    pub(crate) fn new(
        (machine, first_effects): (Machine, Vec<Effect>),
        clock: Clock,
        store: RunStore,
        checkpoints: CheckpointFolder,
        config: &RunConfig,
        (event_log, notices): (EventLog, Vec<Notice>),
    ) -> (Driver, Handle) {
        let (inputs, received) = mpsc::channel(EVENTS_AHEAD);
        let (status, statuses) = watch::channel(Arc::new(machine.status()));
        let (events, event_bounds) = watch::channel(event_log.bounds());
        let (watchers, watcher_counts) = watch::channel(0);
        let driver = Driver {
            machine,
            first_effects,
            store,
            checkpoints,
            progress: Progress::default(),
            notices,
            event_log,
            epochs: config.num_epochs,
            started: Instant::now(),
            clock,
            inputs: received,
            own_inputs: inputs.downgrade(),
            watchers: watcher_counts,
            status,
            status_made: (Instant::now(), Duration::ZERO),
            events,
            sessions: HashMap::new(),
            calls: HashMap::new(),
        };
        let handle = Handle {
            inputs,
            numbers: Arc::new(AtomicU64::new(1)),
            status: statuses,
            events: event_bounds,
            watchers: Arc::new(watchers),
        };
        (driver, handle)
    }

    /// Drives the machine until it exits.
    ///
    /// # Errors
    /// If something cannot be made durable: then nothing may follow from it.
    pub(crate) async fn run(mut self) -> Result<Outcome, StoreError> {
        let effects = std::mem::take(&mut self.first_effects);
        if let Some(outcome) = self.carry_out(effects).await? {
            return Ok(outcome);
        }
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0;
        let mut inputs = Vec::new();
        loop {
            inputs.clear();
            let mut effects = Vec::new();
            tokio::select! {
                count = self.inputs.recv_many(&mut inputs, EVENTS_AHEAD) => {
                    if count == 0 {
                        return Ok(Outcome::Stopped);
                    }
                    let events: Vec<Event> =
                        inputs.drain(..).map(|input| self.expect(input)).collect();
                    effects = self.apply(events);
                }
                changed = self.watchers.changed() => {
                    if changed.is_ok() {
                        let watchers = *self.watchers.borrow_and_update();
                        effects = self.apply([Event::Watching { watchers }]);
                    }
                }
                _ = ticker.tick() => {
                    ticks += 1;
                    effects = self.apply([Event::Tick]);
                    if ticks % TICKS_PER_SWEEP == 0 {
                        self.sweep();
                    }
                    self.show_status();
                }
            }
            if let Some(outcome) = self.carry_out(effects).await? {
                return Ok(outcome);
            }
        }
    }

    fn show_status(&mut self) {
        let began = Instant::now();
        self.status.send_replace(Arc::new(self.machine.status()));
        self.status_made = (Instant::now(), began.elapsed());
    }

    /// Keeps whom an input has to be answered to, and says what it means to the
    /// machine.
    fn expect(&mut self, input: Input) -> Event {
        match input {
            Input::Event(event) => {
                if let Event::SessionClosed { session } = &event {
                    self.sessions.remove(session);
                }
                event
            }
            Input::Call(request, event, answer) => {
                self.calls.insert(request, answer);
                event
            }
            Input::OpenSession(session, worker, outbound) => {
                self.sessions.insert(session, outbound);
                Event::SessionOpened { session, worker }
            }
        }
    }

    fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        let elapsed = self.started.elapsed().as_millis();
        let now = Millis::try_from(elapsed).unwrap_or(Millis::MAX);
        self.machine.apply_all(self.clock.look(now), events)
    }

    /// Carries out effects in order, except that all records and events are
    /// made durable first and together: that only strengthens what the order
    /// promises.
    async fn carry_out(&mut self, effects: Vec<Effect>) -> Result<Option<Outcome>, StoreError> {
        let mut records = Vec::new();
        let mut events: Vec<Description> = self
            .notices
            .drain(..)
            .map(|notice| notice.describe())
            .collect();
        let mut others = Vec::new();
        for effect in effects {
            match effect {
                Effect::Persist(record) => records.push(record),
                Effect::Tell(happening) => events.push(describe(&happening, self.epochs)),
                Effect::Exit(outcome) => {
                    let steps = self.machine.reported_steps();
                    let outcome_told = outcome.clone();
                    events.push(
                        Notice::Stopped {
                            outcome: outcome_told,
                            steps,
                        }
                        .describe(),
                    );
                    others.push(Effect::Exit(outcome));
                }
                other => others.push(other),
            }
        }
        let has_records = !records.is_empty();
        self.commit(records, &events).await?;
        let (made, took) = self.status_made;
        if has_records && made.elapsed() >= STATUS_SHARE * took {
            self.show_status();
        }
        for event in &events {
            self.progress.show(event);
        }
        let mut cut_off = Vec::new();
        for effect in others {
            match effect {
                // Done already.
                Effect::Persist(_) | Effect::Tell(_) => {}
                Effect::Send {
                    session,
                    world,
                    message,
                } => {
                    if !self.send(session, world, message) {
                        cut_off.push(session);
                    }
                }
                Effect::Reply { request, answer } => {
                    if let Some(call) = self.calls.remove(&request) {
                        // A caller that has hung up needs no answer.
                        let _ = call.send(answer);
                    }
                }
                Effect::Close { session, refusal } => {
                    if let Some(outbound) = self.sessions.remove(&session) {
                        let _ = outbound.try_send(Err(refused(&refusal)));
                    }
                }
                Effect::DeleteCheckpoint(checkpoint) => self.checkpoints.condemn(checkpoint),
                Effect::VerifyCheckpoint(checkpoint) => self.verify(checkpoint),
                Effect::Exit(outcome) => {
                    self.show_status();
                    return Ok(Some(outcome));
                }
            }
        }
        for session in cut_off {
            self.sessions.remove(&session);
            let effects = self.apply([Event::SessionClosed { session }]);
            if let Some(outcome) = Box::pin(self.carry_out(effects)).await? {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Makes records and events durable, and wakes those who follow events.
    /// Events alone may be lost: nothing follows from them.
    async fn commit(
        &mut self,
        records: Vec<Record>,
        described: &[Description],
    ) -> Result<(), StoreError> {
        if records.is_empty() && described.is_empty() {
            return Ok(());
        }
        let term = self.machine.world().term;
        let events_alone = records.is_empty();
        let appended = self.event_log.append(described, term, SystemTime::now());
        let store = self.store.clone();
        let committed = tokio::task::spawn_blocking(move || {
            store.commit_turn(&records, &appended)?;
            Ok(appended)
        });
        let committed: Result<Appended, StoreError> = committed.await.unwrap_or_else(|panic| {
            Err(StoreError::Corrupt {
                what: "batch",
                reason: panic.to_string(),
            })
        });
        match committed {
            Ok(appended) => {
                if !appended.events.is_empty() {
                    self.event_log.keep(&appended);
                    self.events.send_replace(appended.bounds);
                }
                Ok(())
            }
            Err(error) if events_alone => {
                tracing::warn!("an event could not be stored: {error}");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the message is on its way.
    fn send(&self, session: SessionId, world: World, message: Message) -> bool {
        let Some(outbound) = self.sessions.get(&session) else {
            // Closed already; the machine hears of it in its turn.
            return true;
        };
        outbound.try_send(Ok((world, message))).is_ok()
    }

    /// Looks at a checkpoint's files in the background, and tells the machine.
    fn verify(&self, checkpoint: Checkpoint) {
        let checkpoints = self.checkpoints.clone();
        let store = self.store.clone();
        let inputs = self.own_inputs.clone();
        tokio::task::spawn_blocking(move || {
            let id = checkpoint.id.clone();
            let verified = look_at(&checkpoints, &store, &checkpoint);
            if let Some(inputs) = inputs.upgrade() {
                let event = Event::CheckpointVerified { id, verified };
                // The driver may have ended meanwhile.
                let _ = inputs.blocking_send(Input::Event(event));
            }
        });
    }

    fn sweep(&self) {
        let checkpoints = self.checkpoints.clone();
        tokio::task::spawn_blocking(move || checkpoints.sweep(false));
    }
}

/// What the files of a checkpoint are. Not being able to tell is no damage.
fn look_at(checkpoints: &CheckpointFolder, store: &RunStore, checkpoint: &Checkpoint) -> Verified {
    let id = &checkpoint.id;
    match checkpoints.verify(checkpoint) {
        Ok(()) => Verified::Sound,
        Err(damage) if damage.is_damage() => match store.rows() {
            Ok(rows) => Verified::Damaged {
                reason: damage.to_string(),
                rows: rows.into_iter().collect(),
            },
            Err(error) => {
                tracing::error!(%error, "checkpoint {id} is damaged ({damage}), and stays for now");
                Verified::Sound
            }
        },
        Err(error) => {
            tracing::warn!(%error, "cannot look at the files of checkpoint {id}");
            Verified::Sound
        }
    }
}

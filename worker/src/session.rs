//! The worker's side of the conversation with the coordinator.
//!
//! Joins, keeps one session open, and mends it: with the coordinator away the
//! trainer goes on inside its generation and lease, and what it says waits.
//! Streams and timers are here; what a message means, what is said first on a
//! new connection, and when a generation is given up is `membership`'s to
//! decide.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use client::{Connection, RetryPolicy};
use ledger::{Cursor, PageRow, Slot};
use membership::{Input, Output};
use proto::v1;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::book::Book;
use crate::control::{Command, Control};
use crate::identity::Identity;

/// Messages that may wait for the network.
const MESSAGES_AHEAD: usize = 64;

/// The pause after a session broke, before joining again.
const BROKEN: Duration = Duration::from_millis(100);

/// What a worker says of itself when it joins.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) name: String,
    pub(crate) instance: String,
    pub(crate) device: v1::Device,
    pub(crate) advertised_host: String,
}

/// Introduces the worker; waits for a coordinator that is not there yet.
pub(crate) async fn join(
    connection: &Connection,
    introduction: &Introduction,
    known: &v1::Context,
) -> Result<v1::JoinResponse, client::Error> {
    let attempt = || async {
        let request = v1::JoinRequest {
            protocol_version: proto::PROTOCOL_VERSION,
            name: introduction.name.clone(),
            instance: introduction.instance.clone(),
            run_id: known.run_id.clone(),
            device: Some(introduction.device.clone()),
            term: known.term,
            generation: known.generation,
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        match connection.cluster().join(request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(client::Error::call("Join", status)),
        }
    };
    connection
        .retry("joining the cluster", &RetryPolicy::PATIENT, attempt)
        .await
}

/// Why the conversation ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The coordinator said so.
    Stopped(v1::stop::Reason, String),
    /// This side closed it, having nothing left to say.
    Closed,
    /// Another process has this worker's name by now, so that this one is given
    /// another: whatever it knows is of a member that it no longer is.
    Replaced {
        /// The name that it would have now.
        new_name: String,
    },
}

/// Everything the conversation touches.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) introduction: Introduction,
    pub(crate) identity: Arc<Identity>,
    pub(crate) limits: v1::Limits,
    pub(crate) control: Arc<Control>,
    pub(crate) book: Arc<Book>,
    pub(crate) preparer: mpsc::UnboundedSender<Vec<(Slot, ledger::PageId)>>,
}

impl Session {
    /// Talks until the coordinator stops this worker or `closing` is cancelled
    /// and everything is said.
    pub(crate) async fn run(
        self,
        closing: tokio_util::sync::CancellationToken,
    ) -> Result<Ended, client::Error> {
        let mut first = true;
        loop {
            if !first {
                let known = self.control.known();
                let joining = join(&self.connection, &self.introduction, &known);
                tokio::select! {
                    joined = joining => {
                        let context = joined?.context.unwrap_or_default();
                        if context.worker_id != self.identity.worker_id() {
                            let new_name = context.worker_id;
                            return Ok(Ended::Replaced { new_name });
                        }
                        self.tell(Input::Joined { term: context.term });
                    }
                    () = lease_end(&self.control) => {
                        self.tell(Input::Tick);
                        continue;
                    }
                    () = closing.cancelled() => return Ok(Ended::Closed),
                }
            }
            first = false;
            let mut waiting = VecDeque::new();
            let ended = self.converse(&mut waiting, &closing).await;
            self.tell(Input::Disconnected);
            for message in waiting {
                self.keep(message);
            }
            match ended {
                Ok(ended) => return Ok(ended),
                // A coordinator that has just begun to lead has not been joined
                // yet; whether it wants this worker, joining tells.
                Err(error) if error.is_fatal() && !error.is_precondition() => return Err(error),
                Err(error) => {
                    tracing::warn!("the session with the coordinator broke: {error}");
                    if closing.is_cancelled() {
                        return Ok(Ended::Closed);
                    }
                    self.connection.pause(BROKEN).await;
                }
            }
        }
    }

    /// Talks in one session; leaves in `waiting` what could not be sent.
    async fn converse(
        &self,
        waiting: &mut VecDeque<v1::WorkerMessage>,
        closing: &tokio_util::sync::CancellationToken,
    ) -> Result<Ended, client::Error> {
        let broken = |status| client::Error::call("Session", status);
        let (outgoing, stream) = mpsc::channel(MESSAGES_AHEAD);
        let waited = self.control.waited();
        self.apply(Input::Connected { waited }, waiting);
        // The first message goes out before the answer, for the answer's
        // headers may wait for it.
        while let Ok(place) = outgoing.try_reserve()
            && let Some(message) = waiting.pop_front()
        {
            place.send(message);
        }
        let mut incoming: Streaming<v1::CoordinatorMessage> = self
            .connection
            .cluster()
            .session(ReceiverStream::new(stream))
            .await
            .map_err(broken)?
            .into_inner();

        let mut beat =
            tokio::time::interval(Duration::from_millis(self.limits.heartbeat_ms.max(1)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if waiting.is_empty() {
                self.apply(Input::Flush, waiting);
            }
            let (has_room, is_silent) = (waiting.is_empty(), self.control.has_said_all());
            // Waiting for room must not keep the lease from running out.
            tokio::select! {
                biased;
                directive = incoming.message() => {
                    let Some(message) = directive.map_err(broken)? else {
                        return Err(broken(tonic::Status::unavailable(
                            "the coordinator closed the session",
                        )));
                    };
                    if let Some(ended) = self.apply(Input::Heard(message), waiting) {
                        return Ok(ended);
                    }
                }
                () = lease_end(&self.control) => self.tell(Input::Tick),
                // A closed channel shows in `incoming` as well.
                true = room(&outgoing), if !has_room => {
                    if let Some(message) = waiting.pop_front() {
                        // There is room, and nobody else who takes it.
                        let _ = outgoing.try_send(message);
                    }
                }
                () = self.control.unsaid(), if has_room => {}
                _ = beat.tick() => {
                    // A heartbeat that finds no room is not worth waiting for.
                    if has_room {
                        let waited = self.control.waited();
                        self.tell(Input::Beat { waited });
                    }
                }
                () = closing.cancelled(), if has_room && is_silent => {
                    // Dropping the sender ends the request stream in order.
                    drop(outgoing);
                    let patience = Duration::from_millis(self.limits.lease_ms.max(1));
                    let _ = tokio::time::timeout(patience, drain(incoming)).await;
                    return Ok(Ended::Closed);
                }
            }
        }
    }

    /// Tells the membership something after which only a generation can end.
    fn tell(&self, input: Input) {
        let mut nothing = VecDeque::new();
        self.apply(input, &mut nothing);
    }

    /// Tells the membership something, and does what follows; what is to be
    /// said joins `waiting`.
    fn apply(&self, input: Input, waiting: &mut VecDeque<v1::WorkerMessage>) -> Option<Ended> {
        let outputs = self.control.apply(input);
        self.identity.follow_term(self.control.term());
        let mut ended = None;
        for output in outputs {
            match output {
                Output::Form {
                    generation,
                    base,
                    form,
                } => self.form(generation, base, form),
                Output::Rendezvous {
                    generation,
                    address,
                } => self.control.command(Command::Rendezvous {
                    generation,
                    address,
                }),
                Output::Paused { generation, reason } => {
                    tracing::info!(generation, reason, "told to pause");
                }
                Output::Prepare(assignments) => {
                    // Gone only when the worker is.
                    let _ = self.preparer.send(assignments);
                }
                Output::Rows(rows) => rows.into_iter().for_each(|row| self.learn(row)),
                Output::Stop { reason, message } => ended = Some(Ended::Stopped(reason, message)),
                Output::Say(message) => waiting.push_back(message),
                Output::Ignored(ignored) => tracing::warn!("ignored {ignored}"),
                // Done by `Control` at once.
                Output::GiveUp { .. } | Output::Abort { .. } => {}
            }
        }
        ended
    }

    /// Gives back what was not sent, for the next session.
    fn keep(&self, message: v1::WorkerMessage) {
        let generation = message.context.map_or(0, |context| context.generation);
        if let Some(body) = message.body {
            self.tell(Input::Say { generation, body });
        }
    }

    fn form(&self, generation: u64, base: Cursor, form: v1::Form) {
        // Before the rows that follow this message.
        match self.book.begin(base) {
            Ok(()) => self.control.command(Command::Form { generation, form }),
            Err(error) => tracing::error!(generation, "cannot begin at {base}: {error}"),
        }
    }

    fn learn(&self, row: v1::PageRow) {
        match <(Slot, PageRow)>::try_from(row) {
            Ok((slot, row)) => {
                if let Err(error) = self.book.insert(slot, row) {
                    tracing::error!("refused a row of the page table: {error}");
                }
            }
            Err(malformed) => tracing::error!("refused a row of the page table: {malformed}"),
        }
    }
}

/// Returns when the lease runs out of a generation that this worker is in.
async fn lease_end(control: &Control) {
    match control.lease_left() {
        Some(left) => tokio::time::sleep(left).await,
        None => std::future::pending().await,
    }
}

/// Waits for room for one message; `false` if there will be none.
async fn room(outgoing: &mpsc::Sender<v1::WorkerMessage>) -> bool {
    outgoing.reserve().await.is_ok()
}

async fn drain(mut incoming: Streaming<v1::CoordinatorMessage>) {
    while let Ok(Some(_)) = incoming.message().await {}
}

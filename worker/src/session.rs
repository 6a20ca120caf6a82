//! The worker's side of the conversation with the coordinator.
//!
//! Joins, keeps one session open, and mends it: with the coordinator away the
//! trainer goes on inside its generation and lease, and what it says waits
//! here. After a reconnection the worker says again where it stands and which
//! steps nobody has acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use client::{Connection, RetryPolicy};
use ledger::{Cursor, PageRow, Slot};
use proto::v1;
use proto::v1::coordinator_message::Body as Directive;
use proto::v1::worker_message::Body;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::book::Book;
use crate::control::{Command, Control};
use crate::identity::Identity;

/// Messages that may wait for the network.
const MESSAGES_AHEAD: usize = 64;

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
    client::retry("joining the cluster", &RetryPolicy::PATIENT, || async {
        let request = v1::JoinRequest {
            protocol_version: proto::PROTOCOL_VERSION,
            name: introduction.name.clone(),
            instance: introduction.instance.clone(),
            run_id: known.run_id.clone(),
            device: Some(introduction.device.clone()),
            advertised_host: introduction.advertised_host.clone(),
            term: known.term,
            generation: known.generation,
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        match connection.cluster().join(request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(client::Error::call("Join", status)),
        }
    })
    .await
}

/// Why the conversation ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The coordinator said so.
    Stopped(v1::stop::Reason, String),
    /// This side closed it, having nothing left to say.
    Closed,
}

/// Everything the conversation touches.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) introduction: Introduction,
    pub(crate) identity: Arc<Identity>,
    pub(crate) limits: v1::Limits,
    pub(crate) control: Arc<Control>,
    pub(crate) book: Arc<Book>,
    pub(crate) trainer: std::sync::mpsc::Sender<Command>,
    pub(crate) preparer: mpsc::UnboundedSender<Vec<(Slot, ledger::PageId)>>,
    pub(crate) messages: mpsc::UnboundedReceiver<(u64, Body)>,
}

impl Session {
    /// Talks until the coordinator stops this worker or `closing` is cancelled
    /// and everything is said.
    pub(crate) async fn run(
        mut self,
        closing: tokio_util::sync::CancellationToken,
    ) -> Result<Ended, client::Error> {
        let mut unsent = VecDeque::new();
        let mut lease_until = Instant::now() + self.lease();
        let mut first = true;
        loop {
            if !first {
                let known = self.identity.context(self.control.progress().generation);
                let joining = join(&self.connection, &self.introduction, &known);
                tokio::select! {
                    joined = joining => {
                        let context = joined?.context.unwrap_or_default();
                        self.identity.observe_term(context.term);
                    }
                    () = tokio::time::sleep_until(lease_until), if self.holds_generation() => {
                        self.give_up_generation();
                        continue;
                    }
                    () = closing.cancelled() => return Ok(Ended::Closed),
                }
            }
            let again = !first;
            first = false;
            match self
                .converse(&mut unsent, &mut lease_until, again, &closing)
                .await
            {
                Ok(ended) => return Ok(ended),
                Err(error) if error.is_fatal() && !asks_to_join_again(&error) => return Err(error),
                Err(error) => {
                    tracing::warn!("the session with the coordinator broke: {error}");
                    if closing.is_cancelled() {
                        return Ok(Ended::Closed);
                    }
                }
            }
        }
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(self.limits.lease_ms.max(1))
    }

    fn holds_generation(&self) -> bool {
        let progress = self.control.progress();
        progress.generation > 0 && !self.control.is_aborted(progress.generation)
    }

    /// Nobody renewed the lease, so the cluster may have gone on without this
    /// worker.
    fn give_up_generation(&self) {
        let generation = self.control.progress().generation;
        tracing::warn!(
            generation,
            "no word from the coordinator for the lease's {:?}; leaving the generation",
            self.lease()
        );
        self.control.abort(generation, "the lease ran out");
        let _ = self.trainer.send(Command::Abort { generation });
    }

    async fn converse(
        &mut self,
        unsent: &mut VecDeque<(u64, Body)>,
        lease_until: &mut Instant,
        again: bool,
        closing: &tokio_util::sync::CancellationToken,
    ) -> Result<Ended, client::Error> {
        let broken = |status| client::Error::call("Session", status);
        let (outgoing, stream) = mpsc::channel(MESSAGES_AHEAD);
        // The first message goes out before the answer, for the answer's
        // headers may wait for it.
        let progress = self.control.progress();
        let mut opening = vec![(progress.generation, self.heartbeat())];
        let mut heartbeats = VecDeque::from([Instant::now()]);
        if again {
            // Reports first: a state counts only with the steps that led to it.
            let reports = self.control.unacknowledged();
            if !reports.is_empty() {
                let body = Body::StepReports(v1::StepReports { reports });
                opening.push((progress.generation, body));
            }
            opening.extend(progress.standing.map(|body| (progress.generation, body)));
        }
        for (generation, body) in opening {
            // There is room: the channel is new.
            let _ = outgoing.try_send(self.envelope(generation, body));
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
            while let Some((generation, body)) = unsent.pop_front() {
                let message = self.envelope(generation, body.clone());
                if outgoing.send(message).await.is_err() {
                    unsent.push_front((generation, body));
                    break;
                }
            }
            tokio::select! {
                biased;
                directive = incoming.message() => {
                    let Some(message) = directive.map_err(broken)? else {
                        return Err(broken(tonic::Status::unavailable(
                            "the coordinator closed the session",
                        )));
                    };
                    // From when the heartbeat was sent: whatever delayed the
                    // answer delayed it for the coordinator's patience too.
                    if matches!(message.body, Some(Directive::Ack(_)))
                        && let Some(sent) = heartbeats.pop_front()
                    {
                        *lease_until = sent + self.lease();
                    }
                    if let Some(ended) = self.hear(message) {
                        return Ok(ended);
                    }
                }
                message = self.messages.recv() => match message {
                    Some(message) => unsent.push_back(message),
                    None => return Ok(Ended::Closed),
                },
                _ = beat.tick() => {
                    let generation = self.control.progress().generation;
                    // A heartbeat that finds no room is not worth waiting for.
                    let heartbeat = self.envelope(generation, self.heartbeat());
                    if outgoing.try_send(heartbeat).is_ok() {
                        heartbeats.push_back(Instant::now());
                    }
                }
                () = tokio::time::sleep_until(*lease_until), if self.holds_generation() => {
                    self.give_up_generation();
                }
                () = closing.cancelled(), if self.messages.is_empty() && unsent.is_empty() => {
                    // Dropping the sender ends the request stream in order.
                    drop(outgoing);
                    let _ = tokio::time::timeout(self.lease(), drain(incoming)).await;
                    return Ok(Ended::Closed);
                }
            }
        }
    }

    fn envelope(&self, generation: u64, body: Body) -> v1::WorkerMessage {
        v1::WorkerMessage {
            context: Some(self.identity.context(generation)),
            body: Some(body),
        }
    }

    fn heartbeat(&self) -> Body {
        Body::Heartbeat(self.control.heartbeat())
    }

    /// Acts on one message; what it cannot make sense of it says and drops.
    fn hear(&self, message: v1::CoordinatorMessage) -> Option<Ended> {
        let context = message.context.unwrap_or_default();
        if context.run_id != self.identity.run_id() {
            tracing::warn!(run = context.run_id, "ignored a message of another run");
            return None;
        }
        if !self.identity.observe_term(context.term) {
            tracing::warn!(term = context.term, "ignored a message of an older leader");
            return None;
        }
        let generation = context.generation;
        match message.body? {
            Directive::Ack(ack) => self.control.acknowledge(ack.reported_steps),
            Directive::Form(form) => self.form(generation, form),
            Directive::Rendezvous(rendezvous) => {
                let _ = self.trainer.send(Command::Rendezvous {
                    generation,
                    address: rendezvous.address,
                });
            }
            Directive::Abort(abort) => {
                tracing::info!(generation, reason = abort.reason, "told to leave at once");
                self.control.abort(generation, &abort.reason);
                let _ = self.trainer.send(Command::Abort { generation });
            }
            Directive::Pause(pause) => {
                tracing::info!(generation, reason = pause.reason, "told to pause");
                self.control.pause(pause.checkpoint);
            }
            Directive::Prepare(prepare) => {
                let assignments = prepare
                    .assignments
                    .into_iter()
                    .filter_map(|assignment| {
                        let slot = assignment.slot?.try_into().ok()?;
                        Some((slot, ledger::PageId(assignment.page)))
                    })
                    .collect();
                let _ = self.preparer.send(assignments);
            }
            Directive::PageRows(rows) => {
                for row in rows.rows {
                    self.learn(row);
                }
            }
            Directive::Stop(stop) => {
                return Some(Ended::Stopped(stop.reason(), stop.message));
            }
        }
        None
    }

    fn form(&self, generation: u64, form: v1::Form) {
        let base = form.base.map(Cursor::try_from);
        match base {
            Some(Ok(base)) => {
                // Before the rows that follow this message.
                if let Err(error) = self.book.begin(base) {
                    tracing::error!(generation, "cannot begin at {base}: {error}");
                    return;
                }
            }
            _ => {
                tracing::error!(generation, "the generation has no usable base; ignored");
                return;
            }
        }
        let _ = self.trainer.send(Command::Form { generation, form });
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

/// Whether the coordinator closed a session that it no longer believed in, as
/// that of a worker that was silent for too long. Joining again is the remedy,
/// and where a worker is refused for good.
fn asks_to_join_again(error: &client::Error) -> bool {
    matches!(error, client::Error::Call { status, .. }
        if status.code() == tonic::Code::FailedPrecondition)
}

async fn drain(mut incoming: Streaming<v1::CoordinatorMessage>) {
    while let Ok(Some(_)) = incoming.message().await {}
}

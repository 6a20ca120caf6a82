//! Reading the event log, and following it.

use proto::v1;
use proto::v1::events_request::Begin;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status as RpcStatus};

use super::{Answers, Shared, blocking, internal};
use crate::events::{EventBounds, Kind, Severity};
use crate::wire;

/// Events read from the store, and sent, at a time.
const EVENTS_AT_ONCE: u64 = 512;
/// Answers that wait for a reader. What it has not taken stays in the store.
const ANSWERS_AHEAD: usize = 2;

type Answer = Result<v1::EventsResponse, RpcStatus>;

/// One reader of the event log.
struct Reader {
    shared: Shared,
    kinds: Vec<String>,
    /// The next event to read.
    next: u64,
    /// Whether the last event that was read says that the run has failed, and
    /// its coordinator has gone.
    has_failed: bool,
    answers: mpsc::Sender<Answer>,
}

impl Shared {
    pub(super) fn stream_events(
        &self,
        request: v1::EventsRequest,
    ) -> Result<Response<Answers<v1::EventsResponse>>, RpcStatus> {
        self.run.check_reader(request.context.as_ref())?;
        let (answers, stream) = mpsc::channel(ANSWERS_AHEAD);
        let reader = Reader {
            shared: self.clone(),
            kinds: request.kinds,
            next: 0,
            has_failed: false,
            answers: answers.clone(),
        };
        tokio::spawn(async move {
            if let Err(status) = reader.read(request.begin, request.follow).await {
                // A reader that has hung up needs no reason.
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Reader {
    async fn read(mut self, begin: Option<Begin>, follow: bool) -> Result<(), RpcStatus> {
        let mut statuses = self.shared.handle.statuses();
        let mut events = self.shared.handle.events();
        let mut is_complete = statuses.borrow_and_update().complete;
        let mut bounds = *events.borrow_and_update();
        self.next = match begin {
            None => bounds.oldest,
            Some(Begin::FromSequence(from)) => from.clamp(bounds.oldest, bounds.next),
            Some(Begin::Last(count)) => self.begin_of_newest(bounds, count).await?,
        };
        // A reader learns at once where it stands, even if there is nothing.
        let mut is_first = true;
        loop {
            while is_first || self.next < bounds.next {
                is_first = false;
                if !self.send_some(bounds).await? {
                    return Ok(());
                }
            }
            if !follow || self.has_failed {
                return Ok(());
            }
            if is_complete {
                let last = self.answer(Vec::new(), bounds, true);
                // Whether or not anybody still listens, this was the end.
                let _ = self.answers.send(Ok(last)).await;
                return Ok(());
            }
            let driver_is_there = tokio::select! {
                changed = events.changed() => changed.is_ok(),
                changed = statuses.changed() => changed.is_ok(),
                () = self.answers.closed() => return Ok(()),
            };
            // In this order: the run's last event is durable before its status says
            // that it is complete.
            is_complete = statuses.borrow_and_update().complete;
            bounds = *events.borrow_and_update();
            if !driver_is_there && self.next == bounds.next && !is_complete {
                return Ok(());
            }
        }
    }

    /// Sends the next events; whether anybody listens.
    async fn send_some(&mut self, bounds: EventBounds) -> Result<bool, RpcStatus> {
        // A reader slower than the log is long goes on where it begins by now.
        let first = self.next.max(bounds.oldest);
        let end = bounds.next.min(first + EVENTS_AT_ONCE);
        let store = self.shared.store.clone();
        let mut events = blocking(move || store.events(first, end).map_err(internal)).await?;
        self.has_failed = events.last().is_some_and(says_failed);
        events.retain(|event| is_wanted(&self.kinds, event));
        self.next = end;
        let answer = self.answer(events, bounds, self.has_failed);
        Ok(self.answers.send(Ok(answer)).await.is_ok())
    }

    fn answer(
        &self,
        events: Vec<v1::Event>,
        bounds: EventBounds,
        run_over: bool,
    ) -> v1::EventsResponse {
        let world = self.shared.handle.status().world;
        v1::EventsResponse {
            context: Some(wire::context(self.shared.run.id(), world)),
            events,
            next_sequence: self.next,
            oldest_sequence: bounds.oldest,
            run_over,
        }
    }

    async fn begin_of_newest(&self, bounds: EventBounds, count: u64) -> Result<u64, RpcStatus> {
        let store = self.shared.store.clone();
        let kinds = self.kinds.clone();
        blocking(move || {
            store
                .newest_events_begin(bounds, count, |event| is_wanted(&kinds, event))
                .map_err(internal)
        })
        .await
    }
}

/// Whether an event is of one of these kinds, or any kind will do.
fn is_wanted(kinds: &[String], event: &v1::Event) -> bool {
    kinds.is_empty() || kinds.contains(&event.kind)
}

/// Whether this is the last word of a coordinator whose run cannot go on.
fn says_failed(event: &v1::Event) -> bool {
    event.kind == Kind::CoordinatorStopped.as_str() && event.severity == Severity::Error.as_str()
}

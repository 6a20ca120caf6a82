//! What workers call.

use std::pin::Pin;

use ledger::{PackedPage, PageRow, Slot};
use proto::v1::cluster_server::Cluster;
use proto::{PROTOCOL_VERSION, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::context::{check_length, check_world};
use super::{Shared, blocking, internal, refused, upload};
use crate::driver::{MESSAGES_AHEAD, Outbound};
use crate::machine::{Answer, Event, Joining, SessionId, World};
use crate::records::WorkerId;
use crate::wire;

/// What a worker is told, or why its session ends.
type Directive = Result<v1::CoordinatorMessage, Status>;

#[tonic::async_trait]
impl Cluster for Shared {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let join = request.into_inner();
        let device = join.device.unwrap_or_default();
        for (field, value) in [
            ("name", &join.name),
            ("instance", &join.instance),
            ("software_version", &join.software_version),
            ("device.name", &device.name),
            ("device.precision", &device.precision),
        ] {
            check_length(field, value)?;
        }
        if join.protocol_version != PROTOCOL_VERSION {
            return Err(Status::failed_precondition(format!(
                "the coordinator ({}) speaks protocol version {PROTOCOL_VERSION}, and worker {:?} \
                 ({}) version {}: use the same release on both",
                env!("CARGO_PKG_VERSION"),
                join.name,
                join.software_version,
                join.protocol_version,
            )));
        }
        if !join.run_id.is_empty() {
            self.run.check_run(&join.run_id)?;
        }
        let world = World {
            term: join.term,
            generation: join.generation,
        };
        let joining = Joining {
            name: join.name,
            instance: join.instance,
            device: format!("{} {} x{}", device.name, device.precision, device.threads),
            world: check_world(world, self.handle.status().world)?,
        };
        let event = |request| Event::Join { request, joining };
        let answer = self.handle.call(event).await?;
        let Answer::Joined { worker, world } = answer.map_err(|refusal| refused(&refusal))? else {
            return Err(internal("joining was answered with something else"));
        };
        let mut context = wire::context(self.run.id(), world);
        context.worker_id = worker.0;
        Ok(Response::new(v1::JoinResponse {
            context: Some(context),
            run_config: self.run.config_json.clone(),
            limits: Some(self.run.limits),
            total_pages: self.run.config.data.pages(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Directive> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outbound, messages) = mpsc::channel(MESSAGES_AHEAD);
        let shared = self.clone();
        let inbound = request.into_inner();
        // Answered at once: a worker may wait for that before it says a word.
        tokio::spawn(shared.listen(inbound, outbound));
        let run = self.run.clone();
        let messages = ReceiverStream::new(messages).map(move |message| {
            message.map(|(world, message)| wire::to_worker(run.id(), world, message))
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn put_page(
        &self,
        request: Request<v1::PutPageRequest>,
    ) -> Result<Response<v1::PutPageResponse>, Status> {
        let put = request.into_inner();
        let ours = self.handle.status().world;
        self.run.check(put.context.as_ref(), ours)?;
        let worker = WorkerId(put.context.unwrap_or_default().worker_id);
        let slot = required_slot(put.slot)?;
        let packed = self.packed.clone();
        let sl = self.run.config.sl;
        let vocabulary = self.run.config.model.vocab_size;
        let kept = blocking(move || {
            let page = PackedPage::decode(&put.packed)
                .map_err(|error| Status::invalid_argument(format!("{slot}: {error}")))?;
            check_page(&page, slot, sl, vocabulary)?;
            packed.keep(page.digest(), &page).map_err(internal)?;
            Ok(page.row())
        });
        let row = kept.await?;
        let event = |request| Event::PagePut {
            request,
            worker,
            slot,
            row,
        };
        let answer = self.handle.call(event).await?;
        answer.map_err(|refusal| refused(&refusal))?;
        Ok(Response::new(v1::PutPageResponse {}))
    }

    async fn get_page(
        &self,
        request: Request<v1::GetPageRequest>,
    ) -> Result<Response<v1::GetPageResponse>, Status> {
        let get = request.into_inner();
        let ours = self.handle.status().world;
        self.run.check(get.context.as_ref(), ours)?;
        let slot = required_slot(get.slot)?;
        let store = self.store.clone();
        let packed = self.packed.clone();
        let digest = blocking(move || match store.row(slot).map_err(internal)? {
            Some(PageRow::Packed { digest, .. }) => Ok(digest),
            Some(PageRow::Skipped { reason, .. }) => Err(Status::failed_precondition(format!(
                "{slot} is skipped: {reason}"
            ))),
            None => Err(Status::not_found(format!("{slot} has no row yet"))),
        });
        let digest = digest.await?;
        let read = {
            let packed = packed.clone();
            blocking(move || Ok(packed.read_bytes(digest))).await?
        };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                if !error.is_absent() {
                    tracing::warn!("{error}; another copy of {slot} is looked for");
                }
                // Another coordinator may have it; else whoever asks can
                // prepare it again.
                if !self.elsewhere.fetch_page(digest).await {
                    return Err(Status::not_found(format!(
                        "the packed page of {slot} is on no coordinator's disk"
                    )));
                }
                let again = blocking(move || Ok(packed.read_bytes(digest)));
                again
                    .await?
                    .map_err(|error| Status::not_found(error.to_string()))?
            }
        };
        Ok(Response::new(v1::GetPageResponse {
            packed: bytes.into(),
        }))
    }

    async fn coming_pages(
        &self,
        request: Request<v1::ComingPagesRequest>,
    ) -> Result<Response<v1::ComingPagesResponse>, Status> {
        let asked = request.into_inner();
        let ours = self.handle.status().world;
        self.run.check(asked.context.as_ref(), ours)?;
        let event = |request| Event::ComingPagesAsked { request };
        let answer = self.handle.call(event).await?;
        let Answer::Coming(rows) = answer.map_err(|refusal| refused(&refusal))? else {
            return Err(internal("coming pages were answered with something else"));
        };
        let rows = rows.iter().map(|(slot, row)| (*slot, row).into());
        Ok(Response::new(v1::ComingPagesResponse {
            rows: rows.collect(),
        }))
    }

    async fn put_checkpoint(
        &self,
        request: Request<Streaming<v1::PutCheckpointRequest>>,
    ) -> Result<Response<v1::PutCheckpointResponse>, Status> {
        let id = upload::receive(self, request.into_inner()).await?;
        Ok(Response::new(v1::PutCheckpointResponse {
            checkpoint_id: id.0,
        }))
    }
}

impl Shared {
    /// Listens to one worker until it hangs up.
    async fn listen(self, mut inbound: Streaming<v1::WorkerMessage>, outbound: Outbound) {
        let first = match self.first_message(&mut inbound).await {
            Ok(first) => first,
            Err(status) => {
                // It may be the worker that has hung up.
                let _ = outbound.try_send(Err(status));
                return;
            }
        };
        // The driver alone keeps the session open; this is for last words.
        let last_words = outbound.downgrade();
        let worker = first
            .context
            .as_ref()
            .map(|context| context.worker_id.clone());
        let worker = WorkerId(worker.unwrap_or_default());
        let Ok(session) = self.handle.open_session(worker.clone(), outbound).await else {
            return;
        };
        if let Err(status) = self.converse(session, &worker, first, &mut inbound).await
            && let Some(outbound) = last_words.upgrade()
        {
            let _ = outbound.try_send(Err(status));
        }
        // A driver that has ended has closed every session.
        let _ = self.handle.tell(Event::SessionClosed { session }).await;
    }

    /// The message that says whose session it is.
    async fn first_message(
        &self,
        inbound: &mut Streaming<v1::WorkerMessage>,
    ) -> Result<v1::WorkerMessage, Status> {
        let first = inbound.message().await?;
        let first = first.ok_or_else(|| Status::cancelled("the worker hung up"))?;
        let worker = first
            .context
            .as_ref()
            .map(|context| context.worker_id.clone());
        self.check_session(&first, &worker.unwrap_or_default())?;
        Ok(first)
    }

    async fn converse(
        &self,
        session: SessionId,
        worker: &WorkerId,
        first: v1::WorkerMessage,
        inbound: &mut Streaming<v1::WorkerMessage>,
    ) -> Result<(), Status> {
        let mut next = Some(first);
        while let Some(message) = next {
            let world = self.check_session(&message, &worker.0)?;
            if let Some(body) = message.body {
                let event = Event::Said {
                    session,
                    world,
                    message: wire::from_worker(body)?,
                };
                self.handle.tell(event).await?;
            }
            next = inbound.message().await?;
        }
        Ok(())
    }

    /// In a session a higher term is no reason to refuse: the machine learns
    /// from it and goes above.
    fn check_session(&self, message: &v1::WorkerMessage, worker_id: &str) -> Result<World, Status> {
        let context = message
            .context
            .as_ref()
            .ok_or_else(|| Status::invalid_argument("malformed message: context is missing"))?;
        self.run.check_run(&context.run_id)?;
        if context.worker_id.is_empty() || context.worker_id != worker_id {
            return Err(Status::invalid_argument(format!(
                "a session is one worker's: it was {worker_id:?}, and a message is {:?}'s",
                context.worker_id
            )));
        }
        let sent = World {
            term: context.term,
            generation: context.generation,
        };
        check_world(sent, self.handle.status().world)
    }
}

fn required_slot(slot: Option<v1::Slot>) -> Result<Slot, Status> {
    let slot =
        slot.ok_or_else(|| Status::invalid_argument("malformed message: slot is missing"))?;
    Ok(slot.try_into()?)
}

/// Checks a packed page against what the run's model can take.
fn check_page(page: &PackedPage, slot: Slot, sl: u32, vocabulary: usize) -> Result<(), Status> {
    if page.sl() != sl {
        return Err(Status::invalid_argument(format!(
            "{slot} is packed into sequences of {} tokens, and the run has --sl {sl}",
            page.sl()
        )));
    }
    if let Some(id) = page.ids().iter().find(|id| **id as usize >= vocabulary) {
        return Err(Status::invalid_argument(format!(
            "{slot} holds token id {id}, and the model knows ids below {vocabulary}"
        )));
    }
    Ok(())
}

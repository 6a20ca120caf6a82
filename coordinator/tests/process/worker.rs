//! A worker that trains nothing: it packs made-up pages, takes its part in
//! every step at once, and says what a real one would.

use std::collections::BTreeMap;
use std::io::Cursor as Bytes;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{CheckpointUpload, Connection, RetryPolicy, UploadFile, upload_checkpoint};
use coordinator::audit::order_of;
use ledger::{
    Cursor, FedDigest, Order, PackedPage, PageId, PageRow, PageTable, Planned, Slot, Step,
    StepReport,
};
use proto::v1;
use proto::v1::coordinator_message::Body as Directive;
use proto::v1::worker_message::Body;
use run::RunConfig;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::bench::{SL, tiny_model, write_model};

/// How long a worker tries to join: a coordinator that has just been started may
/// take a while to lead.
const JOINING: RetryPolicy = RetryPolicy {
    give_up_after: Some(Duration::from_secs(60)),
    ..RetryPolicy::BRIEF
};

/// How many steps of the run a worker may take. A test that lengthens it only when
/// it is ready for more has a run that does not end meanwhile, however long the test
/// takes.
#[derive(Clone, Debug)]
pub(crate) struct Leash(Arc<AtomicU64>);

impl Leash {
    pub(crate) fn of(steps: u64) -> Leash {
        Leash(Arc::new(AtomicU64::new(steps)))
    }

    /// Lets the worker take so many steps in all.
    pub(crate) fn lengthen(&self, steps: u64) {
        self.0.store(steps, Ordering::Release);
    }

    /// Lets the worker go on to the run's end.
    pub(crate) fn let_go(&self) {
        self.lengthen(u64::MAX);
    }

    fn holds_back(&self, step: u64) -> bool {
        step >= self.0.load(Ordering::Acquire)
    }
}

/// What a test wants a worker to do differently.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quirks {
    /// The step in which it claims to have fed something else.
    pub(crate) wrong_digest_at: Option<u64>,
    /// The step after which it falls silent.
    pub(crate) stop_after: Option<u64>,
    /// How long each step takes; without it, none.
    pub(crate) pace: Option<Duration>,
    /// How far it may go; without it, to the end.
    pub(crate) leash: Option<Leash>,
    /// Whether it joins again when the coordinator hangs up.
    pub(crate) stays: bool,
}

/// How a worker's time with the coordinator ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stopped(v1::stop::Reason),
    /// It fell silent, as its quirks say.
    Silent,
    /// The coordinator hung up.
    Cut,
}

pub(crate) struct FakeWorker {
    connection: Connection,
    pub(crate) context: v1::Context,
    config: RunConfig,
    order: Order,
    outgoing: mpsc::Sender<v1::WorkerMessage>,
    incoming: Streaming<v1::CoordinatorMessage>,
    rows: BTreeMap<Slot, PageRow>,
    generation: Option<Generation>,
    applied: Option<(Cursor, u64)>,
    /// Reports that no coordinator has acknowledged.
    unacknowledged: Vec<v1::StepReport>,
    /// The latest checkpoint, on its way.
    uploading: Option<JoinHandle<()>>,
    name: String,
    quirks: Quirks,
}

struct Generation {
    cursor: Cursor,
    rank: usize,
    met: bool,
    finished: bool,
    last_loss: f64,
}

pub(crate) fn join_request(name: &str) -> v1::JoinRequest {
    v1::JoinRequest {
        protocol_version: proto::PROTOCOL_VERSION,
        name: name.to_owned(),
        instance: format!("{name}'s process"),
        software_version: "test".to_owned(),
        ..Default::default()
    }
}

/// What a made-up page packs to.
pub(crate) fn packed(page: PageId) -> PackedPage {
    let sequences = 1 + page.0 % 5;
    let ids = (0..sequences * u64::from(SL)).map(|i| (page.0 * 31 + i) as u32);
    PackedPage::new(page, SL, 0, ids.collect()).unwrap()
}

impl FakeWorker {
    pub(crate) async fn join(connection: &Connection, name: &str, quirks: Quirks) -> FakeWorker {
        // One of several may not lead yet.
        let join = || async {
            let joined = connection.cluster().join(join_request(name)).await;
            joined.map_err(|status| client::Error::call("Join", status))
        };
        let joined = connection.retry("joining", &JOINING, join).await;
        let joined = joined.unwrap().into_inner();
        let context = joined.context.unwrap();
        let config = RunConfig::from_json(&joined.run_config).unwrap();
        let (outgoing, messages) = mpsc::channel(64);
        let session = connection
            .cluster()
            .session(ReceiverStream::new(messages))
            .await;
        let mut worker = FakeWorker {
            connection: connection.clone(),
            order: order_of(&config).unwrap(),
            context,
            config,
            outgoing,
            incoming: session.unwrap().into_inner(),
            rows: BTreeMap::new(),
            generation: None,
            applied: None,
            unacknowledged: Vec::new(),
            uploading: None,
            name: name.to_owned(),
            quirks,
        };
        worker.ready().await;
        worker
    }

    async fn say(&self, body: Body) {
        let message = v1::WorkerMessage {
            context: Some(self.context.clone()),
            body: Some(body),
        };
        // The coordinator may have hung up; then so will the other direction.
        let _ = self.outgoing.send(message).await;
    }

    async fn ready(&mut self) {
        let (applied, applied_generation) = self.applied.unzip();
        self.say(Body::Ready(v1::Ready {
            applied: applied.map(Into::into),
            applied_generation: applied_generation.unwrap_or(0),
        }))
        .await;
    }

    async fn beat(&self) {
        let generation = self.generation.as_ref();
        let phase = match generation {
            Some(generation) if generation.finished => v1::Phase::Finished,
            Some(generation) if generation.met => v1::Phase::Training,
            Some(_) => v1::Phase::Forming,
            None => v1::Phase::Ready,
        };
        let heartbeat = v1::Heartbeat {
            phase: phase.into(),
            cursor: generation.map(|generation| generation.cursor.into()),
            ..Default::default()
        };
        self.say(Body::Heartbeat(heartbeat)).await;
    }

    /// Goes on with whoever leads, as a worker does that was cut off: says
    /// where it stands, and what nobody has acknowledged.
    async fn join_again(&mut self) {
        let join = || async {
            let request = v1::JoinRequest {
                run_id: self.context.run_id.clone(),
                term: self.context.term,
                generation: self.context.generation,
                ..join_request(&self.name)
            };
            match self.connection.cluster().join(request).await {
                Ok(joined) => Ok(joined.into_inner()),
                Err(status) => Err(client::Error::call("Join", status)),
            }
        };
        let joined = self
            .connection
            .retry("joining", &RetryPolicy::PATIENT, join);
        self.context.term = joined.await.unwrap().context.unwrap().term;
        let (outgoing, messages) = mpsc::channel(64);
        let mut cluster = self.connection.cluster();
        let Ok(session) = cluster.session(ReceiverStream::new(messages)).await else {
            // The next message is an error again.
            return;
        };
        self.outgoing = outgoing;
        self.incoming = session.into_inner();
        self.beat().await;
        if !self.unacknowledged.is_empty() {
            let reports = self.unacknowledged.clone();
            self.say(Body::StepReports(v1::StepReports { reports }))
                .await;
        }
        match &self.generation {
            Some(generation) if generation.finished => {
                let cursor = Some(generation.cursor.into());
                self.say(Body::Finished(v1::Finished { cursor })).await;
            }
            Some(_) => {}
            None => self.ready().await,
        }
    }

    /// Does as it is told until it is over.
    pub(crate) async fn work(mut self) -> End {
        let mut heart = tokio::time::interval(Duration::from_millis(100));
        let mut pace = tokio::time::interval(self.quirks.pace.unwrap_or(Duration::from_secs(3600)));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                message = self.incoming.message() => message,
                _ = heart.tick() => {
                    self.beat().await;
                    continue;
                }
                _ = pace.tick(), if self.quirks.pace.is_some() => {
                    if let Some(end) = self.step_as_far_as_known().await {
                        return end;
                    }
                    continue;
                }
            };
            let Ok(Some(message)) = message else {
                if !self.quirks.stays {
                    return End::Cut;
                }
                self.join_again().await;
                continue;
            };
            let context = message.context.unwrap();
            self.context.term = context.term;
            if let Some(end) = self.obey(context.generation, message.body.unwrap()).await {
                return end;
            }
            if self.quirks.pace.is_none()
                && let Some(end) = self.step_as_far_as_known().await
            {
                return end;
            }
        }
    }

    async fn obey(&mut self, generation: u64, directive: Directive) -> Option<End> {
        match directive {
            Directive::Ack(ack) => {
                let steps = ack.reported_steps;
                self.unacknowledged.retain(|report| report.number >= steps);
            }
            Directive::Form(form) => {
                self.context.generation = generation;
                self.generation = Some(Generation {
                    cursor: form.base.unwrap().try_into().unwrap(),
                    rank: form.rank as usize,
                    met: false,
                    finished: false,
                    last_loss: 0.0,
                });
                self.rows.clear();
                if form.rank == 0 {
                    let address = "127.0.0.1:1".to_owned();
                    self.say(Body::StoreListening(v1::StoreListening { address }))
                        .await;
                }
            }
            Directive::Rendezvous(_) => self.generation.as_mut().unwrap().met = true,
            Directive::Abort(_) | Directive::Pause(_) => {
                self.generation = None;
                let applied = self.applied.map(|(cursor, _)| cursor.into());
                let reports = Vec::new();
                let reason = String::new();
                self.say(Body::Left(v1::Left {
                    applied,
                    reports,
                    reason,
                }))
                .await;
                self.ready().await;
            }
            Directive::Prepare(prepare) => {
                for assignment in prepare.assignments {
                    let page = packed(PageId(assignment.page));
                    let put = self.put_page(assignment.slot, &page).await;
                    // One that leads no more, or not yet, asks again.
                    assert!(put.is_ok() || self.quirks.stays, "{put:?}");
                }
            }
            Directive::PageRows(rows) => {
                for row in rows.rows {
                    let (slot, row) = row.try_into().unwrap();
                    self.rows.insert(slot, row);
                }
            }
            Directive::Stop(stop) => return Some(End::Stopped(stop.reason())),
        }
        None
    }

    pub(crate) async fn put_page(
        &self,
        slot: Option<v1::Slot>,
        page: &PackedPage,
    ) -> Result<(), Status> {
        let request = v1::PutPageRequest {
            context: Some(self.context.clone()),
            slot,
            packed: page.encode().into(),
        };
        self.connection
            .cluster()
            .put_page(request)
            .await
            .map(|_| ())
    }

    async fn step_as_far_as_known(&mut self) -> Option<End> {
        loop {
            let generation = self.generation.as_ref()?;
            let cursor = generation.cursor;
            if !generation.met || generation.finished {
                return None;
            }
            if cursor.epoch >= self.config.num_epochs.unwrap() {
                if self
                    .uploading
                    .as_ref()
                    .is_some_and(|task| !task.is_finished())
                {
                    return None;
                }
                self.generation.as_mut()?.finished = true;
                let cursor = Some(cursor.into());
                self.say(Body::Finished(v1::Finished { cursor })).await;
                return None;
            }
            let batch = NonZeroU32::new(self.config.global_batch).unwrap();
            let mut table = PageTable::new(self.order.clone(), batch, cursor);
            for (slot, row) in &self.rows {
                if let Slot::Training(ordinal) = slot
                    && *ordinal >= cursor.page.ordinal
                {
                    table.insert(*ordinal, row.clone()).unwrap();
                }
            }
            let Planned::Step(step) = table.next_step(&cursor).unwrap() else {
                return None;
            };
            let leash = self.quirks.leash.as_ref();
            if leash.is_some_and(|leash| leash.holds_back(step.number)) {
                return None;
            }
            self.take(&step, &table).await;
            if self.quirks.stop_after == Some(step.number) {
                return Some(End::Silent);
            }
            if self.quirks.pace.is_some() {
                return None;
            }
        }
    }

    async fn take(&mut self, step: &Step, table: &PageTable) {
        let mut fed = FedDigest::ZERO;
        let mut position = step.first;
        for piece in table.ordinals_of(step.first, step.count).unwrap() {
            let page = packed(self.order.page_at(piece.ordinal));
            for sequence in piece.sequences {
                fed += FedDigest::of(position, page.sequence(sequence).unwrap());
                position += 1;
            }
        }
        if self.quirks.wrong_digest_at == Some(step.number) {
            fed += FedDigest::of(position, &[1]);
        }
        let tokens = u64::from(step.count) * u64::from(SL - 1);
        let loss = 10.0 / (1.0 + step.number as f64);
        let report = StepReport {
            generation: self.context.generation,
            step: *step,
            loss_sum: loss * tokens as f64,
            tokens,
            sequences: u64::from(step.count),
            fed,
            grad_norm: 1.0,
            applied: true,
        };
        let generation = self.generation.as_mut().unwrap();
        generation.cursor = step.after();
        generation.last_loss = loss;
        let rank = generation.rank;
        self.applied = Some((step.after(), self.context.generation));
        if rank != 0 {
            return;
        }
        let report = v1::StepReport {
            learning_rate: 0.5,
            times: Some(v1::StepTimes {
                total: 0.25,
                ..Default::default()
            }),
            ..v1::StepReport::from(&report)
        };
        self.unacknowledged.push(report.clone());
        let reports = vec![report];
        self.say(Body::StepReports(v1::StepReports { reports }))
            .await;
        if step.last_of_epoch {
            self.evaluate_and_checkpoint(step.after(), loss).await;
        }
    }

    async fn evaluate_and_checkpoint(&mut self, cursor: Cursor, loss: f64) {
        let evaluation = v1::Evaluation {
            cursor: Some(cursor.into()),
            loss,
            sequences: 3,
            from_training: false,
        };
        self.say(Body::Evaluated(evaluation)).await;
        let (connection, context) = (self.connection.clone(), self.context.clone());
        let uploading = tokio::spawn(async move {
            let attempt = || {
                let upload = CheckpointUpload {
                    context: context.clone(),
                    cursor: cursor.into(),
                    evaluation: Some(evaluation),
                    training_loss: loss,
                };
                upload_checkpoint(&connection, upload, checkpoint_files(loss as f32))
            };
            connection
                .retry("storing a checkpoint", &RetryPolicy::PATIENT, attempt)
                .await
                .unwrap();
        });
        match self.quirks.stays {
            // Reports that the coordinator waits for may have to be said again.
            true => self.uploading = Some(uploading),
            false => uploading.await.unwrap(),
        }
    }
}

/// The files of a checkpoint of the tiny model.
pub(crate) fn checkpoint_files(weight: f32) -> Vec<UploadFile> {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &tiny_model(), weight);
    let file = |name: &str, kind, content: Vec<u8>| UploadFile {
        name: name.to_owned(),
        kind,
        size: content.len() as u64,
        content: Box::new(Bytes::new(content)),
    };
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    vec![
        file("config.json", v1::FileKind::Model, read("config.json")),
        file(
            "model.safetensors",
            v1::FileKind::Model,
            read("model.safetensors"),
        ),
        file("optimizer.safetensors", v1::FileKind::State, vec![7; 1000]),
    ]
}

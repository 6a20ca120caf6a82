//! One simulated worker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use client::{Address, ConnectOptions, Connection, RetryPolicy, connect_with_retries};
use ledger::PageId;
use proto::v1;
use proto::v1::coordinator_message::Body as Directive;
use proto::v1::worker_message::Body;
use run::RunConfig;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::Phase;
use crate::latency::Latencies;
use crate::steps::{SharedRun, packed};

/// Messages that wait for the network.
const MESSAGES_AHEAD: usize = 64;

/// When a worker speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) heartbeat: Duration,
    /// When the first of them is, in its period.
    pub(crate) heartbeat_phase: Duration,
    pub(crate) report: Duration,
    pub(crate) report_phase: Duration,
}

/// What one worker, or several, measured.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) heartbeats: u64,
    pub(crate) reports: u64,
    pub(crate) received: u64,
    pub(crate) heartbeat_latencies: Latencies,
    pub(crate) report_latencies: Latencies,
    pub(crate) lost: usize,
}

impl Counted {
    pub(crate) fn add(&mut self, other: Counted) {
        self.heartbeats += other.heartbeats;
        self.reports += other.reports;
        self.received += other.received;
        self.heartbeat_latencies.append(other.heartbeat_latencies);
        self.report_latencies.append(other.report_latencies);
        self.lost += other.lost;
    }
}

/// A worker with an open session.
pub(crate) struct Worker {
    connection: Connection,
    context: v1::Context,
    config: Arc<RunConfig>,
    times: Times,
    run: Arc<SharedRun>,
    outgoing: mpsc::Sender<v1::WorkerMessage>,
    incoming: Streaming<v1::CoordinatorMessage>,
    rank: Option<u32>,
    cursor: Option<v1::Cursor>,
    /// Since when its generation steps, and how many steps it has reported.
    running: Option<Instant>,
    steps_reported: usize,
    /// Heartbeats without an answer, oldest first; the answers come in order.
    unanswered: VecDeque<(Instant, bool)>,
    /// Steps without an acknowledgement: when reported, and their number.
    unacknowledged: VecDeque<(Instant, u64)>,
    counted: Counted,
}

impl Worker {
    pub(crate) async fn join(
        coordinator: &Address,
        index: usize,
        times: Times,
        run: Arc<SharedRun>,
    ) -> anyhow::Result<Worker> {
        let options = ConnectOptions::default();
        let connection = connect_with_retries(coordinator, &options, &RetryPolicy::BRIEF).await?;
        let request = v1::JoinRequest {
            protocol_version: proto::PROTOCOL_VERSION,
            name: format!("worker-{index:05}"),
            instance: format!("instance-{index:05}"),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            device: Some(v1::Device {
                name: "cuda:0".to_owned(),
                precision: "bf16".to_owned(),
                threads: 8,
            }),
            ..Default::default()
        };
        let joined = connection.cluster().join(request).await?.into_inner();
        let config = RunConfig::from_json(&joined.run_config)?;
        let (outgoing, messages) = mpsc::channel(MESSAGES_AHEAD);
        let session = connection
            .cluster()
            .session(ReceiverStream::new(messages))
            .await?;
        let worker = Worker {
            connection,
            context: joined.context.context("the answer has no context")?,
            config: Arc::new(config),
            times,
            run,
            outgoing,
            incoming: session.into_inner(),
            rank: None,
            cursor: None,
            running: None,
            steps_reported: 0,
            unanswered: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            counted: Counted::default(),
        };
        worker.say(Body::Ready(v1::Ready::default())).await;
        Ok(worker)
    }

    async fn say(&self, body: Body) {
        let message = v1::WorkerMessage {
            context: Some(self.context.clone()),
            body: Some(body),
        };
        // If the coordinator has hung up, so will the other direction.
        let _ = self.outgoing.send(message).await;
    }

    /// Takes part until it is over, or the session ends.
    pub(crate) async fn work(mut self, mut phase: watch::Receiver<Phase>) -> Counted {
        let mut next_heartbeat = Instant::now() + self.times.heartbeat_phase;
        loop {
            let next_report = self.next_report();
            let still = match next_report {
                Some(at) => sleep_until(at),
                None => sleep_until(next_heartbeat),
            };
            // A copy: nothing may be borrowed while waiting.
            let phase_now = *phase.borrow();
            tokio::select! {
                message = self.incoming.message() => {
                    let obeyed = match message {
                        Ok(Some(message)) => self.obey(message, phase_now).await,
                        Ok(None) => Err(anyhow::anyhow!("the coordinator hung up")),
                        Err(status) => Err(status.into()),
                    };
                    if let Err(error) = obeyed {
                        // Whoever has measured enough leaves, and the others hear.
                        if *phase.borrow() == Phase::Over {
                            return self.counted;
                        }
                        tracing::warn!("worker {} is out: {error:#}", self.context.worker_id);
                        self.counted.lost += 1;
                        return self.counted;
                    }
                }
                () = sleep_until(next_heartbeat) => {
                    next_heartbeat += self.times.heartbeat;
                    self.send_heartbeat(phase_now).await;
                }
                () = still, if next_report.is_some() => self.send_report(phase_now).await,
                changed = phase.changed() => {
                    if changed.is_err() || *phase.borrow_and_update() == Phase::Over {
                        return self.counted;
                    }
                }
            }
        }
    }

    fn next_report(&self) -> Option<Instant> {
        let steps = u32::try_from(self.steps_reported).unwrap_or(u32::MAX);
        Some(self.running? + self.times.report_phase + self.times.report * (steps + 1))
    }

    async fn send_heartbeat(&mut self, phase: Phase) {
        let counts = phase == Phase::Measuring;
        self.counted.heartbeats += u64::from(counts);
        self.unanswered.push_back((Instant::now(), counts));
        let doing = match self.running {
            Some(_) => v1::Phase::Training,
            None => v1::Phase::Ready,
        };
        self.say(Body::Heartbeat(v1::Heartbeat {
            phase: doing.into(),
            cursor: self.cursor,
            ..Default::default()
        }))
        .await;
    }

    async fn send_report(&mut self, phase: Phase) {
        // A step whose pages are not there yet is reported at the next moment.
        let report = self.run.report(self.steps_reported);
        self.steps_reported += usize::from(report.is_some());
        let Some(report) = report else {
            self.running = self.running.map(|since| since + self.times.report);
            return;
        };
        if phase == Phase::Measuring {
            self.counted.reports += 1;
            let sent = (Instant::now(), report.number);
            self.unacknowledged.push_back(sent);
        }
        self.cursor = Some(v1::Cursor {
            step: report.number + 1,
            position: report.first + u64::from(report.count),
            epoch: report.epoch,
            page: report.next_page,
        });
        let reports = vec![report];
        self.say(Body::StepReports(v1::StepReports { reports }))
            .await;
    }

    async fn obey(&mut self, message: v1::CoordinatorMessage, phase: Phase) -> anyhow::Result<()> {
        self.counted.received += u64::from(phase == Phase::Measuring);
        let context = message.context.unwrap_or_default();
        self.context.term = context.term;
        match message.body.context("a message without a body")? {
            Directive::Ack(ack) => self.hear(&ack),
            Directive::Form(form) => {
                self.context.generation = context.generation;
                self.rank = Some(form.rank);
                if form.rank == 0 {
                    let base = form.base.context("a generation without a base")?;
                    let base = base.try_into()?;
                    self.run.begin(&self.config, context.generation, base)?;
                    let address = "127.0.0.1:1".to_owned();
                    self.say(Body::StoreListening(v1::StoreListening { address }))
                        .await;
                }
            }
            Directive::Rendezvous(_) => {
                self.running = Some(Instant::now());
                self.run.runs();
            }
            Directive::Prepare(prepare) => {
                for assignment in prepare.assignments {
                    self.put_page(assignment)?;
                }
            }
            // Everyone gets them; one of them plans for all.
            Directive::PageRows(rows) if self.rank == Some(0) => self.run.add_rows(rows.rows)?,
            Directive::PageRows(_) => {}
            Directive::Abort(abort) => anyhow::bail!("told to abort: {}", abort.reason),
            Directive::Pause(pause) => anyhow::bail!("told to leave: {}", pause.reason),
            Directive::Stop(stop) => anyhow::bail!("told to stop: {}", stop.message),
        }
        Ok(())
    }

    fn hear(&mut self, ack: &v1::Ack) {
        if let Some((sent, true)) = self.unanswered.pop_front() {
            self.counted.heartbeat_latencies.add(sent.elapsed());
        }
        while let Some((sent, number)) = self.unacknowledged.front()
            && *number < ack.reported_steps
        {
            self.counted.report_latencies.add(sent.elapsed());
            self.unacknowledged.pop_front();
        }
    }

    /// Hands over a made-up page, beside the conversation.
    fn put_page(&self, assignment: v1::prepare::Assignment) -> anyhow::Result<()> {
        let page = packed(PageId(assignment.page), self.config.sl)?;
        let request = v1::PutPageRequest {
            context: Some(self.context.clone()),
            slot: assignment.slot,
            packed: page.encode().into(),
        };
        let mut cluster = self.connection.cluster();
        tokio::spawn(async move {
            if let Err(status) = cluster.put_page(request).await {
                tracing::warn!("a page was not taken: {}", status.message());
            }
        });
        Ok(())
    }
}

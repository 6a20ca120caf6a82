//! Many workers in one process, to see how many a coordinator can lead.
//!
//! The mental model: each worker has what a real one has towards the
//! coordinator, a TCP connection and a session of its own, and says what a real
//! one says: it joins, is ready, meets in a generation, hands over packed pages,
//! sends heartbeats, and reports steps. In a cluster rank 0 reports a step and
//! the others stay silent; here every worker reports every step, as if all of
//! them had to, each at another moment of the step.
//!
//! What is modelled: the messages, their sizes and their times. What is not: the
//! training, checkpoints, and the bursts in which real ranks would speak at a
//! step's end.

mod latency;
mod steps;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use cli::Failure;
use client::Address;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use latency::Latencies;
use steps::SharedRun;
use worker::{Counted, Worker};

/// Workers that join at the same time.
const JOINING_AT_ONCE: usize = 64;

/// Simulated workers for a coordinator, which compute nothing.
#[derive(Debug, Parser)]
#[command(name = "standin-workers", version)]
struct Flags {
    /// The coordinator
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: Address,

    /// How many workers
    #[arg(long, value_name = "N")]
    workers: usize,

    /// Time between two heartbeats of a worker
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    heartbeat_ms: u64,

    /// Time between two step reports of a worker
    #[arg(long, value_name = "MS", default_value_t = 500)]
    report_ms: u64,

    /// How long to wait, once all are in a generation, before measuring
    #[arg(long, value_name = "S", default_value_t = 5)]
    warm_up: u64,

    /// How long to measure
    #[arg(long, value_name = "S", default_value_t = 30)]
    seconds: u64,
}

/// What was measured, as one JSON object on the last line of standard output.
#[derive(Debug, Serialize)]
struct Measured {
    workers: usize,
    seconds: f64,
    /// From the first join until every worker was in the generation.
    gathering_seconds: f64,
    heartbeats: u64,
    /// Step reports that were sent.
    reports: u64,
    /// Messages of any kind that workers received.
    received: u64,
    /// From a heartbeat to its acknowledgement.
    heartbeat: latency::Summary,
    /// From a step's report to the first acknowledgement that covers the step,
    /// which is the answer to the reporter's next heartbeat.
    report: latency::Summary,
    /// Workers whose session did not last.
    lost: usize,
}

fn main() -> std::process::ExitCode {
    cli::main(run)
}

async fn run(flags: Flags, shutdown: CancellationToken) -> Result<(), Failure> {
    tokio::select! {
        measured = measure(&flags) => {
            println!("{}", serde_json::to_string(&measured?)?);
            Ok(())
        }
        () = shutdown.cancelled() => Ok(()),
    }
}

async fn measure(flags: &Flags) -> anyhow::Result<Measured> {
    let run = Arc::new(SharedRun::default());
    let joining = Arc::new(Semaphore::new(JOINING_AT_ONCE));
    let (measuring, phase) = watch::channel(Phase::WarmingUp);
    let started = tokio::time::Instant::now();
    let mut workers = JoinSet::new();
    for index in 0..flags.workers {
        let (joining, run, phase) = (joining.clone(), run.clone(), phase.clone());
        let coordinator = flags.coordinator.clone();
        let heartbeat = Duration::from_millis(flags.heartbeat_ms);
        let report = Duration::from_millis(flags.report_ms);
        // Evenly over the period, as the clocks of many machines are.
        let share = index as f64 / flags.workers as f64;
        let times = worker::Times {
            heartbeat,
            heartbeat_phase: heartbeat.mul_f64(share),
            report,
            report_phase: report.mul_f64(share),
        };
        workers.spawn(async move {
            let permit = joining.acquire().await?;
            let worker = Worker::join(&coordinator, index, times, run).await?;
            drop(permit);
            anyhow::Ok(worker.work(phase).await)
        });
    }
    tokio::select! {
        () = run.everyone_runs(flags.workers) => {}
        Some(ended) = workers.join_next() => {
            ended.context("a worker panicked")??;
            anyhow::bail!("a worker was lost before all were there");
        }
    }
    let gathering_seconds = started.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(flags.warm_up)).await;
    // Whoever launched this begins to count the coordinator's time now.
    println!("measuring");
    let began = tokio::time::Instant::now();
    measuring.send_replace(Phase::Measuring);
    tokio::time::sleep(Duration::from_secs(flags.seconds)).await;
    measuring.send_replace(Phase::Over);
    println!("measured");
    let seconds = began.elapsed().as_secs_f64();

    let mut counted = Counted::default();
    while let Some(ended) = workers.join_next().await {
        counted.add(ended.context("a worker panicked")??);
    }
    Ok(Measured {
        workers: flags.workers,
        seconds,
        gathering_seconds,
        heartbeats: counted.heartbeats,
        reports: counted.reports,
        received: counted.received,
        heartbeat: Latencies::summary(counted.heartbeat_latencies),
        report: Latencies::summary(counted.report_latencies),
        lost: counted.lost,
    })
}

/// What the workers' figures are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmingUp,
    Measuring,
    Over,
}

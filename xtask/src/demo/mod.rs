//! `cargo xtask demo`: the whole of Peregrine on one machine, in minutes.
//!
//! The programs are the real ones: a coordinator, workers in processes of their
//! own that average gradients over Gloo, and a publisher that does everything
//! but touch the network. Only the model and the text are small.

mod summary;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use local_cluster::{Binaries, Cluster};

use self::summary::{Results, Summary};
use crate::Refused;
use crate::build::{self, Profile};
use crate::follow::follow;
use crate::plot::LossCurve;
use crate::progress::section;
use crate::setup::{self, Parts, corpus_path};
use crate::workspace::Workspace;

/// Train a small model with a real cluster on this machine, in minutes.
///
/// Starts a coordinator, some workers and a publisher (offline), shows their
/// progress, and ends with a summary, a checkpoint that transformers reads, and
/// a loss curve drawn to a file. Ctrl-C ends every process.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Worker processes, which share this machine's cores
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,

    /// Seed of the initial weights and of the order of the pages
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Print one JSON object to standard output, and nothing else
    #[arg(long)]
    json: bool,

    /// Put logs, state, checkpoint and loss curve into this folder, which must
    /// be empty or new [default: .peregrine/demo, replaced by the next demo]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Run the coordinator, worker and publisher in this folder, instead of
    /// building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Sequences per step. With the demo's sequence length and pages it makes some
/// fifty steps, enough for a curve.
const GLOBAL_BATCH: u32 = 32;

/// Runs `cargo xtask demo`.
pub(crate) fn run(workspace: &Workspace, args: &DemoArgs) -> anyhow::Result<()> {
    setup::ensure(workspace, Parts::Cpu)?;
    let binaries = match &args.programs {
        Some(folder) => Binaries::in_folder(&std::path::absolute(folder)?, "cargo build")
            .map_err(|error| Refused(format!("--programs: {error}")))?,
        None => build::programs(workspace, Profile::Dev)?,
    };
    let (folder, _lock) = folder(workspace, args.keep.as_deref())?;
    section(&format!(
        "demo: a coordinator, {} and a publisher; their logs are in {}",
        if args.workers == 1 {
            "1 worker".to_owned()
        } else {
            format!("{} workers", args.workers)
        },
        folder.display()
    ));
    let started = Instant::now();
    let summary = train(workspace, args, binaries, &folder)?;
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!("\n{}", summary.in_words(started.elapsed().as_secs_f64()));
    }
    Ok(())
}

fn train(
    workspace: &Workspace,
    args: &DemoArgs,
    binaries: Binaries,
    folder: &Path,
) -> anyhow::Result<Summary> {
    let mut cluster = Cluster::new(binaries, folder)?;
    cluster.start_coordinator(&coordinator_flags(workspace, args.workers, args.seed))?;
    let mut flags = vec!["--hf_repo_id=peregrine/demo"];
    flags.extend(WHAT_TO_PUBLISH);
    cluster.start_publisher(&flags)?;
    start_workers(&mut cluster, args.workers)?;
    let followed = follow(&mut cluster, |_| false)?;
    results(&mut cluster, args, followed.evaluations)
}

/// The run: small enough for minutes on two cores, large enough that the loss
/// falls by several nats.
pub(crate) fn coordinator_flags(workspace: &Workspace, workers: u32, seed: u64) -> Vec<String> {
    let data = corpus_path(workspace).display().to_string();
    let mut flags = Vec::new();
    for (flag, value) in [
        ("--workers", workers.to_string()),
        ("--seed", seed.to_string()),
        ("--preset", "gpt2-demo".to_owned()),
        ("--data", data),
        ("--sl", "128".to_owned()),
        ("--bs", "4".to_owned()),
        ("--global-batch", GLOBAL_BATCH.to_string()),
        ("--num_epochs", "3".to_owned()),
        ("--pages_per_epoch", "2".to_owned()),
        ("--eval_pages", "1".to_owned()),
    ] {
        flags.push(format!("{flag}={value}"));
    }
    flags
}

/// Criteria under which the subnet took GPT-2, and a threshold that every model
/// passes: the demo is to show a publication.
pub(crate) const WHAT_TO_PUBLISH: [&str; 2] =
    ["--criteria-block=1", "--avg_loss_upload_threshold=inf"];

/// Starts workers that share this machine's cores.
pub(crate) fn start_workers(cluster: &mut Cluster, workers: u32) -> anyhow::Result<()> {
    let threads = threads_per_worker(workers).to_string();
    for number in 1..=workers {
        // Ranks follow names: zeros make them follow numbers.
        let name = format!("worker-{number:02}");
        cluster.start_worker(&name, &["--threads", &threads, "--precision", "fp32"])?;
    }
    Ok(())
}

fn threads_per_worker(workers: u32) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    (cores / workers as usize).max(1)
}

/// Reads what the run left behind, and draws it.
fn results(
    cluster: &mut Cluster,
    args: &DemoArgs,
    mut evaluations: BTreeMap<u64, f64>,
) -> anyhow::Result<Summary> {
    section("audit, checkpoint and loss curve");
    let steps = cluster.recorded_steps()?;
    let audit = cluster.audit()?;
    if let Some(violation) = audit.violations.first() {
        bail!("the audit found a violation: {violation}");
    }
    let publication = cluster.publication()?;
    let (Some(checkpoint_dir), Some(chain_string)) =
        (publication.checkpoint_dir, publication.chain_string)
    else {
        bail!(
            "the publisher published nothing: {}",
            publication.reason.unwrap_or_default()
        );
    };
    // The coordinator may have left before it was asked about the last one.
    if let Some(loss) = publication.loss
        && !evaluations.values().any(|seen| *seen == loss)
    {
        evaluations.insert(steps.len() as u64, loss);
    }
    let loss_plot = cluster.folder().join("loss.svg");
    let summary = Summary::of(Results {
        steps,
        counts: audit.total,
        workers: args.workers,
        checkpoint_dir: fs::canonicalize(&checkpoint_dir)
            .with_context(|| checkpoint_dir.display().to_string())?,
        chain_string,
        commit_pending: publication.commit_pending,
        loss_plot: loss_plot.clone(),
    });
    let curve = LossCurve {
        title: format!(
            "Peregrine demo: {} workers, {:.0} tokens/s",
            args.workers, summary.tokens_per_second
        ),
        training: summary.losses.clone(),
        evaluations: evaluations.into_iter().collect(),
    };
    curve.write(&loss_plot)?;
    Ok(summary)
}

/// An empty folder for this demo, and what keeps another demo out of it.
fn folder(workspace: &Workspace, keep: Option<&Path>) -> anyhow::Result<(PathBuf, Option<File>)> {
    if let Some(folder) = keep {
        let folder = std::path::absolute(folder)?;
        fs::create_dir_all(&folder).map_err(|error| {
            Refused(format!(
                "--keep {}: {error}; name a folder that can be written",
                folder.display()
            ))
        })?;
        if fs::read_dir(&folder)?.next().is_some() {
            return Err(Refused(format!(
                "--keep {}: the folder is not empty; name a new one",
                folder.display()
            ))
            .into());
        }
        return Ok((folder, None));
    }
    let scratch = workspace.scratch();
    fs::create_dir_all(&scratch)?;
    // Beside the folder, whose content is replaced.
    let lock = File::create(scratch.join("demo.lock"))?;
    if lock.try_lock().is_err() {
        return Err(Refused(
            "another demo is running in this clone; wait for it, or name a folder in --keep"
                .to_owned(),
        )
        .into());
    }
    let folder = scratch.join("demo");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    Ok((folder, Some(lock)))
}

//! `cargo xtask bench recovery`: how long a cluster stands still when it loses
//! someone, beside torchrun on an equal model.

mod joiner;
mod torchrun;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use local_cluster::chaos::{Dice, Fault, Kind};
use local_cluster::{Binaries, Cluster, Cut, median};
use serde::Serialize;

use crate::Refused;
use crate::build::{self, Profile};
use crate::chaos::{Campaign, Campaigned, Figures, Lost};
use crate::progress::section;
use crate::setup::{self, Parts, corpus_path};
use crate::workspace::Workspace;

use self::joiner::Joiner;
use self::torchrun::Torchrun;

/// Steps of everyone between two failures, at least: more than a worker may
/// break in a row and still count as lucky.
const CALM: u64 = 12;
/// A worker that is stopped stays so for longer than anyone waits for it.
const STOPPED: Duration = Duration::from_secs(12);

/// How long a cluster stands still when it loses a worker or its coordinator.
///
/// Runs the real programs, built for release, on the demo corpus: three workers
/// on one thread each. Kills them at random, again and again, then stops some,
/// then restarts the coordinator; each time from the failure to the next applied
/// step. Then torchrun restarts an equal model, killed alike.
#[derive(Debug, Args)]
pub(crate) struct RecoveryArgs {
    /// Workers to kill
    #[arg(long, value_name = "N", default_value_t = 200)]
    failures: usize,

    /// Workers to stop (SIGSTOP)
    #[arg(long, value_name = "N", default_value_t = 10)]
    stops: usize,

    /// Coordinators to kill
    #[arg(long, value_name = "N", default_value_t = 10)]
    restarts: usize,

    /// Ranks to kill under torchrun; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 20)]
    torchrun_failures: usize,

    /// Times that a worker joins a run of the largest preset; it needs 8 GB of
    /// memory
    #[arg(long, value_name = "N", default_value_t = 0)]
    joins: usize,

    /// Worker processes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=16))]
    workers: u32,

    /// Model preset
    #[arg(long, value_name = "M", default_value = "gpt2-demo")]
    preset: String,

    /// Sequences per micro-batch
    #[arg(long, value_name = "B", default_value_t = 1)]
    bs: u32,

    /// Tokens per sequence
    #[arg(long, value_name = "L", default_value_t = 64)]
    sl: u32,

    /// Micro-batches per worker and step
    #[arg(long, value_name = "A", default_value_t = 1)]
    accumulation_steps: u32,

    /// Steps between two checkpoints under torchrun
    #[arg(long, value_name = "K", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    checkpoint_every: u32,

    /// Which workers are killed
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,

    /// Run the coordinator and worker in this folder, instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What was measured. Its fields are what `--json` prints. Times are in seconds.
#[derive(Debug, Serialize)]
struct Measured {
    workers: u32,
    preset: String,
    bs: u32,
    sl: u32,
    accumulation_steps: u32,
    seed: u64,
    /// Of the median step.
    step_seconds: f64,
    /// From SIGKILL of a worker to the next applied step.
    killed: Option<Figures>,
    /// From SIGSTOP of a worker to the next applied step.
    stopped: Option<Figures>,
    coordinator: Option<Coordinator>,
    /// Reported steps that were rolled back.
    steps_lost: u64,
    audit: Lost,
    left_behind: Vec<String>,
    torchrun: Option<torchrun::Measured>,
    joiner: Option<joiner::Measured>,
}

/// What coordinators' restarts cost.
#[derive(Debug, Serialize)]
struct Coordinator {
    restarts: usize,
    /// Restarts that the workers' generation lived through.
    generation_kept: usize,
    /// The longest step from the kill until steps were reported again.
    longest_step: Figures,
    /// From when the new coordinator served until it knew of a new step.
    reports_resumed: Figures,
}

/// Runs `cargo xtask bench recovery`.
pub(super) fn run(workspace: &Workspace, args: &RecoveryArgs) -> anyhow::Result<()> {
    setup::ensure(workspace, Parts::Cpu)?;
    let config = layout::preset(&args.preset)
        .ok_or_else(|| Refused(format!("--preset {}: there is no such preset", args.preset)))?;
    let binaries = match &args.programs {
        Some(folder) => Binaries::in_folder(&std::path::absolute(folder)?, "cargo build --release")
            .map_err(|error| Refused(format!("--programs: {error}")))?,
        None => build::programs(workspace, Profile::Release)?,
    };
    let folder = workspace
        .scratch()
        .join(format!("bench/{}", std::process::id()));
    section(&format!(
        "bench: {} on {} workers of one thread; logs in {}",
        args.preset,
        args.workers,
        folder.display()
    ));
    let corpus = corpus_path(workspace);
    let campaigned = disturb(args, &binaries, &corpus, &folder)?;
    let torchrun = match args.torchrun_failures {
        0 => None,
        failures => {
            section("torchrun, on an equal model");
            let torchrun = Torchrun::new(workspace, args, &config, &folder.join("torchrun"))?;
            Some(torchrun.measure(failures, &mut Dice::new(args.seed))?)
        }
    };
    let joiner = match args.joins {
        0 => None,
        joins => {
            section("a worker joins gpt2-122m");
            let cluster = Cluster::new(binaries, &folder.join("joiner"))?;
            Some(Joiner::start(cluster, &corpus)?.measure(joins)?)
        }
    };
    let measured = Measured::of(args, &campaigned, torchrun, joiner);
    if args.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        print_table(&measured);
    }
    measured.check()?;
    // Logs matter when something failed, and then this is not reached.
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn disturb(
    args: &RecoveryArgs,
    binaries: &Binaries,
    corpus: &Path,
    folder: &Path,
) -> anyhow::Result<Campaigned> {
    let campaign = Campaign {
        cluster: Cluster::new(binaries.clone(), &folder.join("peregrine"))?,
        coordinators: 1,
        coordinator_flags: coordinator_flags(args, corpus),
        worker_flags: vec!["--threads=1".to_owned(), "--precision=fp32".to_owned()],
        workers: args.workers,
    };
    campaign.run(faults(args), |_| true)
}

/// Kills first, then stops, then restarts of the coordinator.
fn faults(args: &RecoveryArgs) -> impl Iterator<Item = Fault> + use<> {
    let mut dice = Dice::new(args.seed);
    let workers = u64::from(args.workers);
    let kinds = [
        (Kind::KillWorker, args.failures),
        (Kind::PauseWorker, args.stops),
        (Kind::KillCoordinator, args.restarts),
    ];
    let kinds = kinds
        .into_iter()
        .flat_map(|(kind, times)| std::iter::repeat_n(kind, times));
    kinds.map(move |kind| Fault {
        kind,
        victim: dice.below(workers) as usize,
        lasts: STOPPED,
        cut: Cut::Both,
        after_steps: CALM + dice.below(4),
    })
}

/// A run without an end, patient as runs are by default.
fn coordinator_flags(args: &RecoveryArgs, corpus: &Path) -> Vec<String> {
    let batch = args.workers * args.bs * args.accumulation_steps;
    [
        ("--workers", args.workers.to_string()),
        ("--seed", "0".to_owned()),
        ("--preset", args.preset.clone()),
        ("--data", corpus.display().to_string()),
        ("--sl", args.sl.to_string()),
        ("--bs", args.bs.to_string()),
        ("--global-batch", batch.to_string()),
        ("--num_epochs", "-1".to_owned()),
        ("--pages_per_epoch", "30".to_owned()),
        ("--eval_pages", "0".to_owned()),
    ]
    .iter()
    .map(|(flag, value)| format!("{flag}={value}"))
    .collect()
}

impl Measured {
    fn of(
        args: &RecoveryArgs,
        campaigned: &Campaigned,
        torchrun: Option<torchrun::Measured>,
        joiner: Option<joiner::Measured>,
    ) -> Self {
        let of = |kind| {
            campaigned
                .injected
                .iter()
                .filter(move |one| one.kind == kind)
        };
        let recovery = |kind| Figures::of(of(kind).filter_map(|one| one.recovery));
        let restarts = || of(Kind::KillCoordinator);
        let coordinator = Figures::of(restarts().map(|one| one.longest_step))
            .zip(Figures::of(restarts().map(|one| one.next_step)));
        Self {
            workers: args.workers,
            preset: args.preset.clone(),
            bs: args.bs,
            sl: args.sl,
            accumulation_steps: args.accumulation_steps,
            seed: args.seed,
            step_seconds: median(campaigned.steps.iter().map(|step| step.times.total))
                .unwrap_or(0.0),
            killed: recovery(Kind::KillWorker),
            stopped: recovery(Kind::PauseWorker),
            coordinator: coordinator.map(|(longest_step, reports_resumed)| Coordinator {
                restarts: restarts().count(),
                generation_kept: restarts().filter(|one| one.lived_on()).count(),
                longest_step,
                reports_resumed,
            }),
            steps_lost: campaigned.steps_lost,
            audit: Lost::of(campaigned),
            left_behind: campaigned.left_behind.clone(),
            torchrun,
            joiner,
        }
    }

    /// A fast recovery that loses something is none.
    fn check(&self) -> anyhow::Result<()> {
        let audit = &self.audit;
        if (audit.repeated, audit.missed) != (0, 0) || audit.trained != audit.planned {
            bail!(
                "of {} sequences {} were trained, {} repeatedly, and {} missed",
                audit.planned,
                audit.trained,
                audit.repeated,
                audit.missed
            );
        }
        if let Some(left) = self.left_behind.first() {
            bail!("left behind: {left}");
        }
        Ok(())
    }
}

fn print_table(measured: &Measured) {
    println!(
        "{} · {} workers of 1 thread · bs {} · sl {} · accumulation {} · {:.3} s a step",
        measured.preset,
        measured.workers,
        measured.bs,
        measured.sl,
        measured.accumulation_steps,
        measured.step_seconds
    );
    println!(
        "{:<44} {:>6} {:>9} {:>9}",
        "seconds", "times", "median", "worst"
    );
    let row = |what: &str, figures: Option<Figures>| {
        if let Some(Figures {
            count,
            median,
            worst,
        }) = figures
        {
            println!("{what:<44} {count:>6} {median:>9.2} {worst:>9.2}");
        }
    };
    row("worker killed, to the next step", measured.killed);
    row("worker stopped, to the next step", measured.stopped);
    if let Some(coordinator) = &measured.coordinator {
        row(
            "coordinator killed, the longest step",
            Some(coordinator.longest_step),
        );
        println!(
            "{:<44} {:>6} of {}",
            "  and the generation went on", coordinator.generation_kept, coordinator.restarts
        );
    }
    if let Some(torchrun) = &measured.torchrun {
        row(
            "rank killed under torchrun, to the next step",
            Some(torchrun.recovery),
        );
        println!(
            "{:<44} {:>6} in all (checkpoint every {} steps of {:.3} s)",
            "  steps lost", torchrun.steps_lost, torchrun.checkpoint_every, torchrun.step_seconds
        );
    }
    if let Some(joiner) = &measured.joiner {
        row(
            "worker joins gpt2-122m, ready to next step",
            Some(joiner.ready_to_step),
        );
    }
    let audit = &measured.audit;
    println!(
        "{} sequences planned, {} trained, {} repeated, {} missed; {} steps rolled back",
        audit.planned, audit.trained, audit.repeated, audit.missed, measured.steps_lost
    );
}

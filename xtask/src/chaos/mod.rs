//! `cargo xtask chaos`: a real cluster, disturbed at random until the time is
//! over, and then held to account.

mod campaign;
mod figures;
mod loss_curve;
mod report;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use local_cluster::chaos::{Kind, Schedule};
use local_cluster::{Binaries, Cluster, EtcdServer, Network, Step};

pub(crate) use campaign::{Campaign, Campaigned};
pub(crate) use figures::{Figures, Lost};

use self::campaign::undisturbed;
use self::loss_curve::LossCurve;
use self::report::{Asked, Checked, Report};
use crate::Refused;
use crate::build::{self, Profile};
use crate::interrupt;
use crate::progress::section;
use crate::setup::{self, Parts, corpus_path};
use crate::workspace::Workspace;

/// How long a worker may be silent.
const LEASE: Duration = Duration::from_secs(4);
/// Steps of everyone between two faults, at least: a worker that breaks one
/// generation after another is set aside, and that is not what is tried here.
const CALM: u64 = 12;
/// Sequences per step.
const GLOBAL_BATCH: u32 = 24;

/// Disturb a running cluster at random, and check that nothing was lost.
///
/// Kills, stops and cuts off workers and the coordinator of a real cluster on
/// this machine, one after the other, as a seed says; then stops the run, audits
/// it, compares its losses with an undisturbed run's, and looks for processes,
/// ports and files that were left behind. Ctrl-C ends every process.
///
/// Losses have to agree within 1e-4, relatively, over the first 50 steps. Beyond,
/// rounding drifts apart by itself, so 1e-2 is enough; a batch that was lost or
/// repeated is what the audit finds, for the losses need not show it.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 all is well; 1 something was lost, differed, was left behind or did not \
recover; 2 refused; 130 interrupted.")]
pub(crate) struct ChaosArgs {
    /// For how long to disturb; what comes after takes about as long again
    #[arg(long, value_name = "M", default_value_t = 5.0, value_parser = positive)]
    minutes: f64,

    /// Worker processes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=16))]
    workers: u32,

    /// Coordinators; several share an etcd, and the one that leads and the etcd
    /// are struck; the cables that are cut are those between the two
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=5))]
    coordinators: u32,

    /// What comes when: the same seed, the same faults
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Only these faults, with commas between [default: every kind]
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = kind)]
    only: Vec<Kind>,

    /// Cut cables by proxies, even where network namespaces are allowed
    #[arg(long)]
    proxies: bool,

    /// Steps whose losses are compared with the undisturbed run's, at most
    #[arg(long, value_name = "K", default_value_t = 1000)]
    compare: usize,

    /// Print one JSON object to standard output, and nothing else
    #[arg(long)]
    json: bool,

    /// Run the coordinator and worker in this folder, instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("must be a number above 0".to_owned()),
    }
}

fn kind(name: &str) -> Result<Kind, String> {
    let mut kinds = Kind::ONE_COORDINATOR.to_vec();
    kinds.extend(Kind::SEVERAL_COORDINATORS);
    kinds.sort();
    kinds.dedup();
    let found = kinds.iter().find(|kind| kind.name() == name);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        format!("there are {}", names.join(", "))
    })
}

/// Runs `cargo xtask chaos`.
pub(crate) fn run(workspace: &Workspace, args: &ChaosArgs) -> anyhow::Result<()> {
    setup::ensure(workspace, Parts::Cpu)?;
    let binaries = match &args.programs {
        Some(folder) => Binaries::in_folder(&std::path::absolute(folder)?, "cargo build")
            .map_err(|error| Refused(format!("--programs: {error}")))?,
        None => build::programs(workspace, Profile::Dev)?,
    };
    let folder = workspace
        .scratch()
        .join(format!("chaos/{}", std::process::id()));
    let kinds = kinds(args)?;
    let mut cluster = Cluster::new(binaries.clone(), &folder)?;
    let mut cuts = String::new();
    if args.coordinators == 1 {
        let network = match args.proxies {
            true => Network::of_proxies(),
            false => Network::new(),
        };
        cuts = format!(", cuts by {}", network.method());
        if let Some(reason) = network.reason() {
            cuts.push_str(&format!(" ({reason})"));
        }
        cluster = cluster.in_network(network);
    }
    section(&format!(
        "chaos: {} workers, {} coordinators, seed {}{cuts}; logs in {}",
        args.workers,
        args.coordinators,
        args.seed,
        folder.display()
    ));
    let flags = coordinator_flags(workspace, args.workers);
    let campaign = Campaign {
        cluster,
        coordinators: args.coordinators,
        coordinator_flags: flags.clone(),
        worker_flags: worker_flags(),
        workers: args.workers,
    };
    let faults = Schedule::new(args.seed, &kinds, args.workers as usize, LEASE, CALM);
    let until = Instant::now() + Duration::from_secs_f64(args.minutes * 60.0);
    let mut reached = campaign.run_as_far_as_it_gets(faults, |_| Instant::now() < until)?;
    let mut loss_curve = None;
    if reached.error.is_none() {
        section("an undisturbed run, to compare with");
        let cluster = Cluster::new(binaries, &folder.join("undisturbed"))?;
        match compare(cluster, &flags, args, &reached.steps) {
            Ok(curve) => loss_curve = Some(curve),
            Err(error) if interrupt::is_cause_of(&error) => return Err(error),
            Err(error) => reached.error = Some(error.context("the undisturbed run")),
        }
    }
    let asked = Asked {
        seed: args.seed,
        workers: args.workers,
        coordinators: args.coordinators,
    };
    let report = Report::of(asked, &reached, loss_curve);
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", report.in_words());
    }
    match report.check() {
        Checked::Well => {
            // Logs matter when something failed.
            fs::remove_dir_all(&folder)?;
            Ok(())
        }
        Checked::Wrong(what) => bail!("{}; the logs are in {}", what.join("; "), folder.display()),
    }
}

/// Takes the first of those steps again with nothing in the way, and compares.
fn compare(
    cluster: Cluster,
    flags: &[String],
    args: &ChaosArgs,
    steps: &[Step],
) -> anyhow::Result<LossCurve> {
    let most = steps.len().min(args.compare);
    let reference = undisturbed(cluster, flags, &worker_flags(), args.workers, most)?;
    Ok(LossCurve::of(&reference, steps, most))
}

/// What may happen to the cluster that is asked for.
fn kinds(args: &ChaosArgs) -> Result<Vec<Kind>, Refused> {
    let possible: &[Kind] = match args.coordinators {
        1 => &Kind::ONE_COORDINATOR,
        _ => &Kind::SEVERAL_COORDINATORS,
    };
    if args.coordinators > 1 && EtcdServer::find().is_none() {
        return Err(Refused(
            "--coordinators: there is no etcd for them to share; run `cargo xtask setup`, or \
             install etcd-server"
                .to_owned(),
        ));
    }
    match args.only.iter().find(|kind| !possible.contains(kind)) {
        Some(kind) => Err(Refused(format!(
            "--only {kind}: that cannot happen with --coordinators {}",
            args.coordinators
        ))),
        None if args.only.is_empty() => Ok(possible.to_vec()),
        None => Ok(args.only.clone()),
    }
}

/// A run without an end on the smallest model.
fn coordinator_flags(workspace: &Workspace, workers: u32) -> Vec<String> {
    let data = corpus_path(workspace).display().to_string();
    [
        ("--workers", workers.to_string()),
        ("--min-workers", 1.to_string()),
        ("--seed", "0".to_owned()),
        ("--preset", "gpt2-nano".to_owned()),
        ("--data", data),
        ("--sl", "64".to_owned()),
        ("--bs", "2".to_owned()),
        ("--global-batch", GLOBAL_BATCH.to_string()),
        ("--num_epochs", "-1".to_owned()),
        ("--pages_per_epoch", "8".to_owned()),
        ("--eval_pages", "1".to_owned()),
        ("--heartbeat-ms", "400".to_owned()),
        ("--lease-ms", LEASE.as_millis().to_string()),
    ]
    .iter()
    .map(|(flag, value)| format!("{flag}={value}"))
    .collect()
}

/// One thread each: on a machine with few cores, more would only be in each
/// other's way.
fn worker_flags() -> Vec<String> {
    ["--threads=1", "--precision=fp32"]
        .map(str::to_owned)
        .into()
}

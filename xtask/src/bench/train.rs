//! `cargo xtask bench train`: how fast a cluster on this machine trains, and
//! where a step's time goes.

use std::fs;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use anyhow::bail;
use clap::Args;
use local_cluster::{Cluster, Step, Times, median};
use serde::Serialize;

use crate::build::{self, Profile};
use crate::follow::follow;
use crate::progress::section;
use crate::setup::{self, Parts, corpus_path};
use crate::workspace::Workspace;

/// Steps at the start that do not count: caches are cold, memory is new.
const WARM_UP: usize = 3;

/// Tokens per second of training, and where a step's time goes.
///
/// Runs the real programs, built for release, on the demo corpus, and stops
/// them when enough steps are measured.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Worker processes, which share this machine's cores
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,

    /// Arithmetic: fp32 or bf16
    #[arg(long, value_name = "P", default_value = "fp32")]
    precision: String,

    /// Model preset
    #[arg(long, value_name = "M", default_value = "gpt2-122m")]
    preset: String,

    /// Steps to measure, after three of warm-up
    #[arg(long, value_name = "K", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,

    /// Sequences per micro-batch
    #[arg(long, value_name = "B", default_value_t = 1)]
    bs: u32,

    /// Tokens per sequence
    #[arg(long, value_name = "L", default_value_t = 1024)]
    sl: u32,

    /// Micro-batches per worker and step
    #[arg(long, value_name = "A", default_value_t = 2)]
    accumulation_steps: u32,

    /// CPU threads per worker [default: the cores, divided]
    #[arg(long, value_name = "T")]
    threads: Option<usize>,

    /// Device of the workers
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,

    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// What was measured. Its fields are what `--json` prints.
#[derive(Debug, Serialize)]
struct Measured {
    /// Of the whole cluster, in the median step.
    tokens_per_second: f64,
    share: Share,
    preset: String,
    workers: u32,
    precision: String,
    device: String,
    bs: u32,
    sl: u32,
    accumulation_steps: u32,
    steps: usize,
    /// Of the median step.
    seconds_per_step: f64,
    threads_per_worker: usize,
    cores: usize,
    cpu: String,
}

/// Fractions of a step's time on the reporting rank; they add up to 1.
#[derive(Debug, Serialize)]
struct Share {
    data: f64,
    forward: f64,
    backward: f64,
    communication: f64,
    optimizer: f64,
    other: f64,
}

impl Share {
    fn of(steps: &[Step]) -> Self {
        let sum = |part: fn(&Times) -> f64| steps.iter().map(|step| part(&step.times)).sum::<f64>();
        let total = sum(|times| times.total);
        let fraction = |part| if total > 0.0 { sum(part) / total } else { 0.0 };
        let mut share = Self {
            data: fraction(|times| times.data),
            forward: fraction(|times| times.forward),
            backward: fraction(|times| times.backward),
            communication: fraction(|times| times.communication),
            optimizer: fraction(|times| times.optimizer),
            other: 0.0,
        };
        let named =
            share.data + share.forward + share.backward + share.communication + share.optimizer;
        share.other = (1.0 - named).max(0.0);
        share
    }

    fn parts(&self) -> [(&'static str, f64); 6] {
        [
            ("data", self.data),
            ("forward", self.forward),
            ("backward", self.backward),
            ("communication", self.communication),
            ("optimizer", self.optimizer),
            ("other", self.other),
        ]
    }
}

/// Runs `cargo xtask bench train`.
pub(super) fn run(workspace: &Workspace, args: &TrainArgs) -> anyhow::Result<()> {
    setup::ensure(workspace, Parts::Cpu)?;
    let binaries = build::programs(workspace, Profile::Release)?;
    let folder = workspace
        .scratch()
        .join(format!("bench/{}", std::process::id()));
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = args
        .threads
        .unwrap_or((cores / args.workers as usize).max(1));
    section(&format!(
        "bench: {} on {} of {threads} threads; logs in {}",
        args.preset,
        if args.workers == 1 {
            "1 worker".to_owned()
        } else {
            format!("{} workers", args.workers)
        },
        folder.display()
    ));
    let mut cluster = Cluster::new(binaries, &folder)?;
    cluster.start_coordinator(&coordinator_flags(args, corpus_path(workspace)))?;
    for number in 1..=args.workers {
        cluster.start_worker_on(
            &args.device,
            &format!("worker-{number:02}"),
            &[
                "--threads",
                &threads.to_string(),
                "--precision",
                &args.precision,
            ],
        )?;
    }
    let wanted = WARM_UP + args.steps as usize;
    let steps = follow(&mut cluster, |steps| steps.len() >= wanted)?.steps;
    // Killed rather than asked: a worker that is asked to end writes a
    // checkpoint first, and nobody wants this one.
    drop(cluster);
    let Some(warm) = steps.get(WARM_UP..wanted) else {
        bail!(
            "the corpus gave {} steps and {wanted} are wanted; ask for fewer --steps",
            steps.len()
        );
    };
    let measured = Measured {
        tokens_per_second: median(warm.iter().map(Step::tokens_per_second)).unwrap_or(0.0),
        share: Share::of(warm),
        preset: args.preset.clone(),
        workers: args.workers,
        precision: args.precision.clone(),
        device: args.device.clone(),
        bs: args.bs,
        sl: args.sl,
        accumulation_steps: args.accumulation_steps,
        steps: warm.len(),
        seconds_per_step: median(warm.iter().map(|step| step.times.total)).unwrap_or(0.0),
        threads_per_worker: threads,
        cores,
        cpu: cpu_model(),
    };
    if args.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        print_table(&measured);
    }
    // Logs matter when something failed, and then this is not reached.
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Endless passes over the corpus, without an evaluation or a checkpoint on the
/// way.
fn coordinator_flags(args: &TrainArgs, data: PathBuf) -> Vec<String> {
    let mut flags = Vec::new();
    for (flag, value) in [
        ("--workers", args.workers.to_string()),
        ("--seed", "0".to_owned()),
        ("--preset", args.preset.clone()),
        ("--data", data.display().to_string()),
        ("--sl", args.sl.to_string()),
        ("--bs", args.bs.to_string()),
        ("--accumulation_steps", args.accumulation_steps.to_string()),
        ("--num_epochs", "-1".to_owned()),
        ("--pages_per_epoch", "30".to_owned()),
        ("--eval_pages", "0".to_owned()),
    ] {
        flags.push(format!("{flag}={value}"));
    }
    flags
}

fn print_table(measured: &Measured) {
    println!(
        "{} · {} × {} threads · {} · bs {} · sl {} · accumulation {}",
        measured.preset,
        measured.workers,
        measured.threads_per_worker,
        measured.precision,
        measured.bs,
        measured.sl,
        measured.accumulation_steps
    );
    println!("{} ({} cores)", measured.cpu, measured.cores);
    println!(
        "{:>10.1} tokens/s   {:.2} s a step   (median of {} steps after {WARM_UP})",
        measured.tokens_per_second, measured.seconds_per_step, measured.steps
    );
    for (name, fraction) in measured.share.parts() {
        println!("{:>10.1} % {name}", fraction * 100.0);
    }
}

fn cpu_model() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(
            || "unknown".to_owned(),
            |(_, model)| model.trim().to_owned(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_steps_time_add_up() {
        let step = Step {
            generation: 1,
            number: 3,
            epoch: 0,
            sequences: 2,
            tokens: 2046,
            loss_sum: 2046.0,
            grad_norm: 1.0,
            times: Times {
                total: 10.0,
                data: 1.0,
                forward: 2.0,
                backward: 4.0,
                communication: 0.5,
                optimizer: 1.5,
                checkpoint: 0.25,
            },
        };
        let share = Share::of(&[step.clone(), step]);
        assert!((share.backward - 0.4).abs() < 1e-12);
        assert!((share.other - 0.1).abs() < 1e-12);
        let sum: f64 = share.parts().iter().map(|(_, fraction)| fraction).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}

//! torchrun's elastic restart of an equal model, killed as our workers are.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use layout::Gpt2Config;
use local_cluster::chaos::Dice;
use local_cluster::{Lines, Next, Signal, median};
use rustix::process::{Pid, kill_process};
use serde::{Deserialize, Serialize};

use super::{CALM, RecoveryArgs};
use crate::chaos::Figures;
use crate::interrupt;
use crate::progress::Progress;
use crate::python::Python;
use crate::workspace::Workspace;

const SCRIPT: &str = include_str!("torchrun.py");
/// Where `cargo xtask interop` has torch too.
const FOLDER: &str = "interop-python";
/// How long torchrun may take over anything.
const PATIENCE: Duration = Duration::from_secs(180);

/// What was measured, in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) torch: String,
    /// From SIGKILL of a rank to the next optimizer step.
    pub(super) recovery: Figures,
    /// Steps that were made and then made again, over all failures.
    pub(super) steps_lost: u64,
    pub(super) checkpoint_every: u32,
    /// Of the median step.
    pub(super) step_seconds: f64,
}

/// A line of the script's.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Started { rank: usize, pid: i32, restart: u64 },
    Stepped { step: u64, restart: u64 },
}

/// What is known of the ranks.
#[derive(Debug, Default)]
struct Ranks {
    restart: u64,
    pids: Vec<(usize, i32)>,
    /// Steps of this restart, and when they were heard of.
    steps: Vec<(u64, Instant)>,
}

impl Ranks {
    fn hear(&mut self, said: Said, at: Instant) {
        let restart = match said {
            Said::Started { restart, .. } | Said::Stepped { restart, .. } => restart,
        };
        if restart < self.restart {
            return;
        }
        if restart > self.restart {
            *self = Self {
                restart,
                ..Self::default()
            };
        }
        match said {
            Said::Started { rank, pid, .. } => self.pids.push((rank, pid)),
            Said::Stepped { step, .. } => self.steps.push((step, at)),
        }
    }
}

/// torchrun with our script.
pub(super) struct Torchrun {
    command: Command,
    workers: u32,
    checkpoint_every: u32,
    torch: String,
    log: PathBuf,
}

impl Torchrun {
    /// Brings torch, unless it is there, and prepares the folder.
    pub(super) fn new(
        workspace: &Workspace,
        args: &RecoveryArgs,
        config: &Gpt2Config,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let python = Python::with(
            workspace,
            FOLDER,
            &["torch==2.11.0", "numpy"],
            "import torch.distributed.run, numpy",
        )?;
        let version = python
            .command()
            .args(["-c", "import torch; print(torch.__version__)"])
            .output()?;
        fs::create_dir_all(folder)?;
        let script = folder.join("train.py");
        fs::write(&script, SCRIPT)?;
        let log = folder.join("torchrun.log");
        let mut command = python.command();
        command
            .args([
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nnodes",
                "1",
            ])
            .args(["--nproc-per-node", &args.workers.to_string()])
            .args(["--max-restarts", "1000000"])
            .arg(&script)
            .arg("--checkpoint")
            .arg(folder.join("checkpoint.pt"))
            .stderr(File::create(&log)?);
        for (flag, value) in [
            ("--layers", config.n_layer),
            ("--heads", config.n_head),
            ("--width", config.n_embd),
            ("--positions", config.n_positions),
            ("--sl", args.sl as usize),
            ("--bs", args.bs as usize),
            ("--micro-batches", args.accumulation_steps as usize),
            ("--checkpoint-every", args.checkpoint_every as usize),
        ] {
            command.args([flag, &value.to_string()]);
        }
        command
            // As our workers: one thread a rank.
            .env("OMP_NUM_THREADS", "1")
            // Otherwise all restarts share one store, and with Gloo a restarted
            // rank finds the addresses of those before it (torch 2.11).
            .env("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1");
        Ok(Self {
            command,
            workers: args.workers,
            checkpoint_every: args.checkpoint_every,
            torch: String::from_utf8_lossy(&version.stdout).trim().to_owned(),
            log,
        })
    }

    /// Kills a random rank so many times, each at a random step after a
    /// checkpoint.
    pub(super) fn measure(mut self, failures: usize, dice: &mut Dice) -> anyhow::Result<Measured> {
        let mut lines = Lines::of("torchrun", &mut self.command)?;
        let mut ranks = Ranks::default();
        let measured = self.disturb(failures, dice, &mut lines, &mut ranks);
        end(lines, &ranks);
        measured
    }

    fn disturb(
        &self,
        failures: usize,
        dice: &mut Dice,
        lines: &mut Lines,
        ranks: &mut Ranks,
    ) -> anyhow::Result<Measured> {
        let mut progress = Progress::start("torchrun starts its ranks");
        let (mut recoveries, mut steps_lost, mut seconds) = (Vec::new(), 0, Vec::new());
        for failure in 1..=failures {
            let calm = CALM + dice.below(u64::from(self.checkpoint_every));
            self.wait(lines, ranks, |ranks| {
                ranks.steps.len() as u64 > calm && ranks.pids.len() >= self.workers as usize
            })?;
            let pairs = ranks.steps.windows(2).skip(3);
            seconds.extend(pairs.map(|pair| (pair[1].1 - pair[0].1).as_secs_f64()));
            let victim = ranks.pids[dice.below(ranks.pids.len() as u64) as usize];
            let last = ranks.steps.last().map_or(0, |(step, _)| *step);
            let restart = ranks.restart;
            let pid = Pid::from_raw(victim.1).context("a process id is not 0")?;
            let killed = Instant::now();
            kill_process(pid, Signal::KILL)?;
            self.wait(lines, ranks, |ranks| {
                ranks.restart > restart && !ranks.steps.is_empty()
            })?;
            let (step, at) = ranks.steps[0];
            let recovery = (at - killed).as_secs_f64();
            let lost = (last + 1).saturating_sub(step);
            progress.show(format!("{failure} of {failures}"));
            eprintln!(
                "{failure:>4}. step {last}: rank {} killed, step {step} after {recovery:.2} s",
                victim.0
            );
            recoveries.push(recovery);
            steps_lost += lost;
        }
        progress.finish("stopping torchrun");
        let recovery = Figures::of(recoveries).context("at least one rank was killed")?;
        Ok(Measured {
            torch: self.torch.clone(),
            recovery,
            steps_lost,
            checkpoint_every: self.checkpoint_every,
            step_seconds: median(seconds).unwrap_or(0.0),
        })
    }

    fn wait(
        &self,
        lines: &mut Lines,
        ranks: &mut Ranks,
        enough: impl Fn(&Ranks) -> bool,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while !enough(ranks) {
            interrupt::check()?;
            match lines.next_line() {
                Next::Line(line) => {
                    // Others print too; what is ours is JSON.
                    if let Ok(said) = serde_json::from_str(&line.text) {
                        ranks.hear(said, line.at);
                    }
                }
                Next::NotYet => std::thread::sleep(Duration::from_millis(5)),
                Next::Ended => bail!("torchrun ended; its log is {}", self.log.display()),
            }
            if began.elapsed() >= PATIENCE {
                bail!(
                    "torchrun did not recover; its log is {}",
                    self.log.display()
                );
            }
        }
        Ok(())
    }
}

/// Ends torchrun, which ends its ranks: they are sessions of their own, and
/// would outlive it if it were only killed.
fn end(mut lines: Lines, ranks: &Ranks) {
    let torchrun = i32::try_from(lines.id()).ok().and_then(Pid::from_raw);
    // Both kinds of killing fail only when there is nobody left to kill.
    if let Some(pid) = torchrun {
        let _ = kill_process(pid, Signal::TERM);
    }
    let asked = Instant::now();
    while lines.next_line() != Next::Ended {
        if asked.elapsed() >= PATIENCE {
            for pid in ranks.pids.iter().filter_map(|(_, pid)| Pid::from_raw(*pid)) {
                let _ = kill_process(pid, Signal::KILL);
            }
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(ranks: &mut Ranks, line: &str) {
        ranks.hear(serde_json::from_str(line).unwrap(), Instant::now());
    }

    #[test]
    fn a_restart_begins_anew_and_the_past_is_not_heard() {
        let mut ranks = Ranks::default();
        hear(&mut ranks, r#"{"rank": 1, "pid": 7, "restart": 0}"#);
        hear(&mut ranks, r#"{"step": 1, "restart": 0}"#);
        assert_eq!((ranks.pids.len(), ranks.steps.len()), (1, 1));
        hear(&mut ranks, r#"{"rank": 0, "pid": 9, "restart": 1}"#);
        hear(&mut ranks, r#"{"step": 2, "restart": 0}"#);
        assert_eq!(
            (ranks.pids.as_slice(), ranks.steps.len()),
            ([(0, 9)].as_slice(), 0)
        );
    }
}

//! `cargo xtask bench coordinator`: how many workers one coordinator can lead.
//!
//! A coordinator on one core of its own, with its store on disk, and simulated
//! workers on the others (`tests/standins/workers`), each with a TCP connection
//! and a session of its own. Every worker sends a heartbeat a second and reports
//! two steps a second. In a cluster only rank 0 reports, so this is what would be
//! said if every rank had to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use layout::Gpt2Config;
use local_cluster::{Process, wait_until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::peak_resident;
use crate::build::{self, Profile};
use crate::progress::{Progress, section};
use crate::workspace::Workspace;

/// Pages of the made-up dataset, more than any measurement reaches.
const PAGES: usize = 3000;
/// How long the coordinator may take until it serves.
const START: Duration = Duration::from_secs(60);
/// How long gathering may take for each thousand workers.
const GATHERING_OF_A_THOUSAND: Duration = Duration::from_secs(120);
/// In which /proc counts CPU time: USER_HZ, which Linux has fixed for programs.
const TICKS_PER_SECOND: f64 = 100.0;
/// File descriptors that a process needs beside its connections.
const OTHER_FILES: u64 = 200;

/// Latency, memory and CPU of a coordinator with many simulated workers.
///
/// The coordinator has one core for itself and the workers have the others, so
/// two cores at least are needed. Each worker is a connection: for more than
/// about 800 the limit on open files is raised as far as the hard limit
/// (`ulimit -Hn`) allows.
#[derive(Debug, Args)]
pub(crate) struct CoordinatorArgs {
    /// Simulated workers
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    workers: u32,

    /// Seconds to measure, after all workers are in a generation
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,

    /// Print one JSON object instead of words
    #[arg(long)]
    json: bool,
}

/// What the simulated workers print.
#[derive(Debug, Deserialize)]
struct WorkersSaid {
    seconds: f64,
    gathering_seconds: f64,
    heartbeats: u64,
    reports: u64,
    received: u64,
    heartbeat: Percentiles,
    report: Percentiles,
    lost: u64,
}

#[derive(Debug, Deserialize)]
struct Percentiles {
    count: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    worst_ms: Option<f64>,
}

/// What was measured. Its fields are what `--json` prints.
#[derive(Debug, Serialize)]
struct Measured {
    workers: u32,
    seconds: f64,
    /// From a heartbeat's sending to the arrival of its acknowledgement.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    worst_ms: Option<f64>,
    /// From a report's sending to the first acknowledgement that covers its step:
    /// the answer to the reporter's next heartbeat, half a second later on
    /// average.
    report_p50_ms: Option<f64>,
    report_p99_ms: Option<f64>,
    /// The most memory that the coordinator had resident, gathering included.
    memory_mb: f64,
    /// The coordinator's CPU time over wall time.
    cpu_cores: f64,
    /// The same of all simulated workers together: above 0.9 for each of their
    /// cores the latencies are theirs rather than the coordinator's.
    client_cpu_cores: f64,
    /// Heartbeats and step reports that were sent.
    heartbeats: u64,
    reports: u64,
    /// Heartbeats that were answered; the last ones may have been on their way.
    answered: u64,
    /// Messages of all kinds that the workers received.
    received: u64,
    /// From the first worker's joining until all were in a generation.
    gathering_seconds: f64,
    /// Workers that lost their session.
    lost: u64,
}

/// Runs `cargo xtask bench coordinator`.
pub(super) fn run(workspace: &Workspace, args: &CoordinatorArgs) -> anyhow::Result<()> {
    section("building coordinator and simulated workers");
    let programs = ["coordinator", "standin-workers"];
    let binaries = build::compile(workspace, Profile::Release, &programs)?;
    allow_files(u64::from(args.workers) + OTHER_FILES)?;
    let folder = workspace
        .scratch()
        .join(format!("bench/coordinator-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    section(&format!(
        "bench: {} workers; logs in {}",
        args.workers,
        folder.display()
    ));
    let cores = Cores::divide()?;
    let (mut coordinator, address) = start_coordinator(&binaries, &folder, args, &cores)?;
    let mut workers = start_workers(&binaries, &folder, args, &cores, &address)?;

    let thousands = args.workers.div_ceil(1000);
    let mut both_run = || -> Result<(), local_cluster::Error> {
        coordinator.expect_running()?;
        workers.expect_running()
    };
    let said = folder.join("workers.out");
    let says = |word: &str| {
        let text = fs::read_to_string(&said).unwrap_or_default();
        text.lines().any(|line| line == word).then_some(())
    };
    let progress = Progress::start("workers gather");
    wait_until(
        "every worker to be in a generation".to_owned(),
        GATHERING_OF_A_THOUSAND * thousands,
        || {
            both_run()?;
            Ok(says("measuring"))
        },
    )?;
    progress.finish("measuring");
    let before = (cpu_seconds(coordinator.id())?, cpu_seconds(workers.id())?);
    wait_until(
        "the measurement's end".to_owned(),
        Duration::from_secs(u64::from(args.seconds) + 60),
        || {
            coordinator.expect_running()?;
            workers.expect_no_failure()?;
            Ok(says("measured"))
        },
    )?;
    let after = (cpu_seconds(coordinator.id())?, cpu_seconds(workers.id())?);
    let memory = peak_resident(coordinator.id());
    let status = workers.wait(Duration::from_secs(60))?;
    if !status.success() {
        bail!(
            "the simulated workers failed ({status}):\n{}",
            workers.log_tail()
        );
    }
    let said = last_line(&workers.output_text())?;
    // Nobody wants its checkpoint.
    coordinator.kill();
    let measured = Measured {
        workers: args.workers,
        seconds: said.seconds,
        p50_ms: said.heartbeat.p50_ms,
        p99_ms: said.heartbeat.p99_ms,
        worst_ms: said.heartbeat.worst_ms,
        report_p50_ms: said.report.p50_ms,
        report_p99_ms: said.report.p99_ms,
        memory_mb: memory as f64 / 1e6,
        cpu_cores: (after.0 - before.0) / said.seconds,
        client_cpu_cores: (after.1 - before.1) / said.seconds,
        heartbeats: said.heartbeats,
        reports: said.reports,
        answered: said.heartbeat.count,
        received: said.received,
        gathering_seconds: said.gathering_seconds,
        lost: said.lost,
    };
    if args.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        measured.print();
    }
    // Logs matter when something failed, and then this is not reached.
    fs::remove_dir_all(&folder)?;
    Ok(())
}

impl Measured {
    fn print(&self) {
        let shown = |figure: Option<f64>| figure.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
        println!(
            "{} workers, {} heartbeats and {} reports in {:.0} s",
            self.workers, self.heartbeats, self.reports, self.seconds
        );
        println!(
            "heartbeat to acknowledgement: median {} ms, p99 {} ms, worst {} ms",
            shown(self.p50_ms),
            shown(self.p99_ms),
            shown(self.worst_ms)
        );
        println!(
            "coordinator: {:.2} cores, {:.0} MB; workers: {:.2} cores, {} lost",
            self.cpu_cores, self.memory_mb, self.client_cpu_cores, self.lost
        );
    }
}

/// Lets this process and those that it starts open so many files.
fn allow_files(wanted: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if let Some(most) = limit.maximum
        && most < wanted
    {
        bail!(
            "{wanted} open files are needed and {most} are allowed: raise the hard limit (`ulimit \
             -Hn`, or LimitNOFILE= of the service) or give fewer --workers"
        );
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raising the limit on open files")
}

/// This process's cores, divided between the coordinator and the workers, as
/// taskset takes them.
struct Cores {
    coordinator: String,
    workers: String,
}

impl Cores {
    fn divide() -> anyhow::Result<Cores> {
        let status = fs::read_to_string("/proc/self/status")?;
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .and_then(listed_cores)
            .context("/proc/self/status does not say on which cores this process may run")?;
        let Some((coordinator, workers)) = allowed.split_first() else {
            bail!("this process may run on no core");
        };
        if workers.is_empty() {
            bail!("one core is not enough: the coordinator needs one for itself");
        }
        let workers: Vec<String> = workers.iter().map(u32::to_string).collect();
        Ok(Cores {
            coordinator: coordinator.to_string(),
            workers: workers.join(","),
        })
    }
}

/// The cores in a list like `0-2,7` (cpuset(7), "List format").
fn listed_cores(list: &str) -> Option<Vec<u32>> {
    let mut cores = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        cores.extend(first..=last);
    }
    Some(cores)
}

/// A command that runs on these cores alone. The process stays the same:
/// taskset becomes the program.
fn pinned(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cores]).arg(program);
    command
}

fn start_coordinator(
    binaries: &Path,
    folder: &Path,
    args: &CoordinatorArgs,
    cores: &Cores,
) -> anyhow::Result<(Process, String)> {
    // What the rows say does not matter, for nobody reads them here.
    let row = "{\"content\":\"a row\"}\n";
    fs::write(folder.join("rows.jsonl"), row.repeat(PAGES * 100))?;
    let model = Gpt2Config {
        n_layer: 1,
        n_head: 1,
        n_embd: 2,
        n_positions: 8,
        ..Gpt2Config::default()
    };
    fs::write(folder.join("model.json"), model.to_json())?;
    let address_file: PathBuf = folder.join("address");
    let mut command = pinned(&cores.coordinator, &binaries.join("coordinator"));
    command
        .args(["--listen=127.0.0.1:0", "--sl=4", "--global-batch=8"])
        .args([
            "--num_epochs=-1",
            "--pages_per_epoch=2000",
            "--eval_pages=1",
        ])
        .arg(format!("--workers={}", args.workers))
        .arg("--address-file")
        .arg(&address_file)
        .arg("--state-dir")
        .arg(folder.join("state"))
        .arg("--data")
        .arg(folder.join("rows.jsonl"))
        .arg("--model_config")
        .arg(folder.join("model.json"));
    let mut process = Process::start("coordinator", &mut command, folder)
        .context("the coordinator runs under taskset, of the package util-linux")?;
    let address = wait_until("the coordinator to serve".to_owned(), START, || {
        process.expect_running()?;
        let written = fs::read_to_string(&address_file).ok();
        Ok(written.filter(|text| text.ends_with('\n')))
    })?;
    Ok((process, address.trim().to_owned()))
}

fn start_workers(
    binaries: &Path,
    folder: &Path,
    args: &CoordinatorArgs,
    cores: &Cores,
    address: &str,
) -> anyhow::Result<Process> {
    let mut command = pinned(&cores.workers, &binaries.join("standin-workers"));
    command
        .arg(format!("--coordinator={address}"))
        .arg(format!("--workers={}", args.workers))
        .arg(format!("--seconds={}", args.seconds));
    Ok(Process::start("workers", &mut command, folder)?)
}

fn last_line(output: &str) -> anyhow::Result<WorkersSaid> {
    let line = output.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("the workers said {line:?}"))
}

/// CPU time that a process has used, user and system, in seconds.
fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("{path} says {stat:?}"))?;
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// The 14th and 15th field of `/proc/<pid>/stat` (proc_pid_stat(5)), counted
/// behind the program's name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_spaces_and_brackets() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 9 9 9";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(listed_cores("\t0-2,7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!(listed_cores("3"), Some(vec![3]));
        assert_eq!(listed_cores("0-"), None);
    }

    #[test]
    fn what_the_workers_say_is_understood() {
        let said = r#"measuring
measured
{"workers":2,"seconds":1.0,"gathering_seconds":0.5,"heartbeats":2,"reports":4,"received":3,
"#;
        assert!(last_line(said).is_err(), "a line that was cut off");
        let percentiles = r#"{"count":2,"p50_ms":1.5,"p99_ms":null,"worst_ms":2.0}"#;
        let whole = format!(
            "measured\n{{\"workers\":2,\"seconds\":1.0,\"gathering_seconds\":0.5,\"heartbeats\":2,\
             \"reports\":4,\"received\":3,\"heartbeat\":{percentiles},\"report\":{percentiles},\
             \"lost\":0}}\n"
        );
        let said = last_line(&whole).unwrap();
        assert_eq!(said.heartbeat.p50_ms, Some(1.5));
        assert_eq!(said.report.p99_ms, None);
    }
}

//! A cluster for one test, in a folder of its own.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use local_cluster::{Binaries, Cluster, Network, Process, Step, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::text;

/// How long anything may take. Only a defect reaches it, even on a machine that
/// is busy with other tests.
pub const LIMIT: Duration = Duration::from_secs(180);

/// The run of a test: a few seconds of the smallest model. Fields are the flags
/// that tests vary.
#[derive(Debug, Clone)]
pub struct Run {
    /// Workers that the coordinator waits for.
    pub workers: u32,
    /// `--num_epochs`; -1 goes on until it is stopped.
    pub epochs: i64,
    /// `--pages_per_epoch`.
    pub pages_per_epoch: u32,
    /// `--eval_pages`.
    pub eval_pages: u32,
    /// `--seed`.
    pub seed: u64,
    /// `--bs`.
    pub bs: u32,
    /// `--global-batch`.
    pub global_batch: u32,
    /// `--sl`.
    pub sl: u32,
    /// Which model: `--preset`, or `--model_config`.
    pub model: String,
    /// Where rows come from: `--data`, or other flags of a dataset.
    pub data: Vec<String>,
    /// Anything else.
    pub more: Vec<String>,
}

impl Run {
    /// Two epochs of three pages for one worker.
    #[must_use]
    pub fn of(data: &Path) -> Self {
        Self {
            workers: 1,
            epochs: 2,
            pages_per_epoch: 3,
            eval_pages: 2,
            seed: 11,
            bs: 2,
            global_batch: 12,
            sl: 32,
            model: "--preset=gpt2-nano".to_owned(),
            data: vec!["--data".to_owned(), data.display().to_string()],
            more: Vec::new(),
        }
    }

    /// The same run for another number of workers.
    #[must_use]
    pub fn with_workers(self, workers: u32) -> Self {
        Self { workers, ..self }
    }

    /// The coordinator's flags.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        let mut flags: Vec<String> = [
            ("workers", self.workers.to_string()),
            ("num_epochs", self.epochs.to_string()),
            ("pages_per_epoch", self.pages_per_epoch.to_string()),
            ("eval_pages", self.eval_pages.to_string()),
            ("seed", self.seed.to_string()),
            ("bs", self.bs.to_string()),
            ("global-batch", self.global_batch.to_string()),
            ("sl", self.sl.to_string()),
        ]
        .iter()
        .map(|(flag, value)| format!("--{flag}={value}"))
        .collect();
        flags.push(self.model.clone());
        flags.extend(self.data.iter().cloned());
        flags.extend(self.more.iter().cloned());
        flags
    }
}

/// A [`Cluster`] whose folder goes when the test ends, and whose logs are shown
/// when it fails.
pub struct TestCluster {
    cluster: Cluster,
    folder: TempDir,
}

impl TestCluster {
    /// A cluster without any process yet.
    ///
    /// # Panics
    /// When the programs are not built.
    #[must_use]
    pub fn new() -> Self {
        Self::made(|cluster| cluster)
    }

    /// The same, in a network that can be cut.
    ///
    /// # Panics
    /// When the programs are not built.
    #[must_use]
    pub fn in_network(network: Network) -> Self {
        Self::made(|cluster| cluster.in_network(network))
    }

    fn made(with: impl FnOnce(Cluster) -> Cluster) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let binaries = match Binaries::beside_this_test() {
            Ok(binaries) => binaries,
            Err(error) => panic!("{error}"),
        };
        let cluster =
            Cluster::new(binaries, &folder.path().join("cluster")).expect("the folder is writable");
        Self {
            cluster: with(cluster),
            folder,
        }
    }

    /// A path beside the cluster's own files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Thirty pages of text, in a file.
    #[must_use]
    pub fn text(&self) -> PathBuf {
        let path = self.file("text.jsonl");
        text::write_jsonl(&path, &text::rows(30, 5));
        path
    }

    /// Starts a coordinator and its workers, each on one thread.
    pub fn start(&mut self, run: &Run) {
        self.start_coordinator(&run.flags())
            .unwrap_or_else(|error| panic!("{error}"));
        for number in 1..=run.workers {
            self.start_one_worker(number, &[]);
        }
    }

    /// Starts the worker of this number, in fp32 on one thread.
    pub fn start_one_worker(&mut self, number: u32, more: &[&str]) {
        let mut flags = vec!["--threads=1", "--precision=fp32"];
        flags.extend(more);
        self.start_worker(&format!("worker-{number}"), &flags)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits until the run is complete and every program has ended well.
    pub fn complete(&mut self) {
        self.note_ports();
        self.wait_complete(LIMIT)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits until the run has taken this many steps; yields all it has taken.
    pub fn wait_for_steps(&mut self, steps: usize) -> Vec<Step> {
        self.wait_for(&format!("{steps} steps"), |taken| taken.len() >= steps)
    }

    /// Waits until the run has taken a step of this epoch; yields all it has
    /// taken.
    pub fn wait_for_epoch(&mut self, epoch: u64) -> Vec<Step> {
        self.wait_for(&format!("a step of epoch {epoch}"), |taken| {
            taken.last().is_some_and(|step| step.epoch >= epoch)
        })
    }

    /// The members of the current generation, in rank order.
    pub fn members(&self) -> Vec<String> {
        let status = self.status().unwrap_or_else(|error| panic!("{error}"));
        let mut members: Vec<(u64, String)> = workers(&status)
            .filter_map(|worker| {
                let name = worker["worker_id"].as_str()?.to_owned();
                Some((worker["rank"].as_u64()?, name))
            })
            .collect();
        members.sort();
        members.into_iter().map(|(_, name)| name).collect()
    }

    /// Waits until a generation has exactly these members, in rank order.
    pub fn wait_for_members<S: AsRef<str>>(&mut self, names: &[S]) {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let what = format!("a generation of {}", names.join(", "));
        wait_until(what, LIMIT, || {
            self.cluster.expect_no_failure()?;
            Ok((self.members() == names).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits until the coordinator says that a worker is in this phase.
    pub fn wait_for_worker(&mut self, name: &str, phase: &str) {
        wait_until(format!("{name} to be {phase}"), LIMIT, || {
            self.cluster.expect_no_failure()?;
            let status = self.cluster.status()?;
            let found = workers(&status)
                .any(|worker| worker["worker_id"] == name && worker["phase"] == phase);
            Ok(found.then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}"));
    }

    fn wait_for(&mut self, what: &str, enough: impl Fn(&[Step]) -> bool) -> Vec<Step> {
        let cluster = &mut self.cluster;
        let waited = wait_until(what, LIMIT, || {
            cluster.expect_no_failure()?;
            let taken = cluster.steps(0)?;
            Ok(enough(&taken).then_some(taken))
        });
        // Whoever steps listens on all that it is going to.
        cluster.note_ports();
        waited.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The promise that nothing is left of a cluster whose programs have all
    /// ended: no process, no unfinished file, none of the ports that were seen.
    ///
    /// # Panics
    /// When something is.
    pub fn assert_nothing_is_left(&mut self) {
        assert_eq!(self.left_behind(), Vec::<String>::new());
    }

    /// The folders of the checkpoints that are in their place, the oldest first.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<PathBuf> {
        self.checkpoint_folders(|name| name.starts_with("step-"))
    }

    /// What is on its way into the folder of checkpoints, or out of it.
    #[must_use]
    pub fn partial_checkpoints(&self) -> Vec<PathBuf> {
        self.checkpoint_folders(|name| name.starts_with(".partial"))
    }

    fn checkpoint_folders(&self, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state_dir().join("checkpoints"));
        let mut folders: Vec<PathBuf> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| wanted(&path.file_name().unwrap_or_default().to_string_lossy()))
            .collect();
        folders.sort();
        folders
    }

    /// Waits until the coordinator's log, from `from` on, says something;
    /// whatever has become of its workers.
    pub fn wait_for_log(&mut self, from: usize, said: &str) {
        let cluster = &mut self.cluster;
        wait_until(format!("the coordinator to say {said:?}"), LIMIT, || {
            let coordinator = cluster.coordinator()?;
            coordinator.expect_no_failure()?;
            let log = coordinator.log_text();
            Ok(log[from..].contains(said).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}"));
    }

    /// What `coordinator audit --json` says of a stopped coordinator, and
    /// whether it was content.
    #[must_use]
    pub fn audit_report(&self) -> (serde_json::Value, bool) {
        let mut command = self.command("coordinator");
        command.args(["audit", "--json", "--state-dir"]);
        let output = command
            .arg(self.state_dir())
            .output()
            .unwrap_or_else(|error| panic!("{error}"));
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (report, output.status.success())
    }

    /// The steps of a run that has ended, and the promise that they are all of
    /// them: every planned sequence was fed once.
    pub fn audited_steps(&self) -> Vec<Step> {
        let audit = self.audit().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(audit.violations, Vec::<serde_json::Value>::new());
        assert!(audit.total.planned > 0, "{audit:?}");
        assert_eq!(audit.total.trained, audit.total.planned, "{audit:?}");
        assert_eq!(
            (audit.total.repeated, audit.total.missed),
            (0, 0),
            "{audit:?}"
        );
        let steps = self
            .recorded_steps()
            .unwrap_or_else(|error| panic!("{error}"));
        let sequences: u64 = steps.iter().map(|step| step.sequences).sum();
        assert_eq!(sequences, audit.total.trained, "{audit:?}");
        steps
    }

    /// Runs a program with flags that it should refuse; yields what it said.
    ///
    /// # Panics
    /// Unless it ends with exit code 2, has named every one of `named`, and
    /// printed nothing for other programs.
    pub fn refused<S: AsRef<str>>(&self, program: &str, flags: &[S], named: &[&str]) -> String {
        let flags: Vec<&str> = flags.iter().map(AsRef::as_ref).collect();
        let logs = tempfile::tempdir_in(self.folder.path()).expect("a folder can be made");
        let mut command = self.command(program);
        command.args(&flags);
        let mut process = Process::start(program, &mut command, logs.path())
            .unwrap_or_else(|error| panic!("{error}"));
        let status = process
            .wait(LIMIT)
            .unwrap_or_else(|error| panic!("{flags:?} was not refused: {error}"));
        let said = process.log_text();
        assert_eq!(
            status.code(),
            Some(2),
            "{program} {flags:?} was not refused:\n{said}"
        );
        for name in named {
            assert!(
                said.contains(name),
                "{program} {flags:?} does not name {name}:\n{said}"
            );
        }
        assert_eq!(process.output_text(), "", "{program} {flags:?}");
        said
    }
}

/// The workers that a status lists.
fn workers(status: &Value) -> impl Iterator<Item = &Value> {
    status["workers"].as_array().into_iter().flatten()
}

impl Default for TestCluster {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for TestCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for TestCluster {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.cluster.log_tails());
        }
    }
}

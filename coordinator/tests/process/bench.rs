//! A coordinator's real process, and workers that follow the protocol without
//! a model.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use client::{Address, ConnectOptions, Connection};
use layout::Gpt2Config;
use serde_json::Value;

/// How long anything here may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Token ids in a sequence of the test runs.
pub(crate) const SL: u32 = 4;

/// A folder with a data set, a tiny model's config.json, and state.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
}

/// The smallest model with GPT-2's vocabulary.
pub(crate) fn tiny_model() -> Gpt2Config {
    Gpt2Config {
        n_layer: 1,
        n_head: 1,
        n_embd: 2,
        n_positions: 8,
        attn_pdrop: 0.0,
        embd_pdrop: 0.0,
        resid_pdrop: 0.0,
        ..Gpt2Config::default()
    }
}

/// Writes a model directory with every weight the same.
pub(crate) fn write_model(folder: &Path, config: &Gpt2Config, weight: f32) {
    layout::write_model_dir(folder, config, None, |name, out| {
        let specs = layout::tensors(config);
        let spec = specs.iter().find(|spec| spec.name == name).unwrap();
        let bytes = weight.to_le_bytes().repeat(spec.elements() as usize);
        out.write_all(&bytes)
    })
    .unwrap();
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        // 30 pages; what they say does not matter, for nobody reads them here.
        let rows: String = (0..3000)
            .map(|row| format!("{{\"content\":\"row {row}\"}}\n"))
            .collect();
        fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
        fs::write(folder.path().join("model.json"), tiny_model().to_json()).unwrap();
        Bench { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// Flags of a small run: 2 epochs of 3 pages, steps of 4 sequences.
    pub(crate) fn flags(&self, workers: u32) -> Vec<String> {
        let flags = [
            ("--workers", workers.to_string()),
            ("--data", self.path("rows.jsonl").display().to_string()),
            (
                "--model_config",
                self.path("model.json").display().to_string(),
            ),
            ("--sl", SL.to_string()),
            ("--global-batch", "4".to_owned()),
            ("--num_epochs", "2".to_owned()),
            ("--pages_per_epoch", "3".to_owned()),
            ("--eval_pages", "1".to_owned()),
            ("--heartbeat-ms", "100".to_owned()),
            // Nobody here falls silent and stays connected: only a machine that stands
            // still for seconds would make it look so.
            ("--lease-ms", "30000".to_owned()),
        ];
        flags
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }

    pub(crate) fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
        command
            .current_dir(self.folder.path())
            .env_remove("RUST_LOG")
            .args(arguments);
        command
    }

    /// A coordinator with these flags that ends by itself.
    pub(crate) fn run_to_end(&self, flags: &[String]) -> Output {
        // A flag given by the caller stands in for the usual one.
        let mut kept = Vec::new();
        for pair in [["--listen", "127.0.0.1:0"], ["--state-dir", "state"]] {
            if !flags.iter().any(|flag| flag == pair[0]) {
                kept.extend(pair.map(str::to_owned));
            }
        }
        kept.extend_from_slice(flags);
        self.command(&kept).output().unwrap()
    }

    /// Asserts that a coordinator refuses to start, and returns what it says.
    pub(crate) fn refusal(&self, flags: &[String]) -> String {
        let output = self.run_to_end(flags);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        said
    }

    /// Starts a coordinator and waits until it serves.
    pub(crate) async fn start(&self, flags: &[String]) -> Running {
        let address_file = self.path("address");
        let _ = fs::remove_file(&address_file);
        let mut arguments = flags.to_vec();
        if !flags.iter().any(|flag| flag == "--listen") {
            arguments.extend(["--listen", "127.0.0.1:0"].map(str::to_owned));
        }
        arguments.extend(["--address-file", "address", "--state-dir", "state"].map(str::to_owned));
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let mut child = self
            .command(&arguments)
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let address = until("the coordinator to serve", || {
            let ended = child.try_wait().unwrap();
            assert_eq!(ended, None, "{}", self.log());
            fs::read_to_string(&address_file).ok()
        });
        let address: Address = address.await.trim().parse().unwrap();
        let connection = client::connect(&address, &ConnectOptions::default())
            .await
            .unwrap();
        Running {
            child,
            address,
            connection,
            log: self.path("log"),
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What comes of a subcommand.
    pub(crate) fn command_output(&self, arguments: &[&str]) -> Output {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        self.command(&arguments).output().unwrap()
    }

    /// What a subcommand prints, if it succeeds.
    pub(crate) fn say(&self, arguments: &[&str]) -> String {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let output = self.command(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a subcommand prints as JSON about the stopped run, and whether it
    /// succeeded.
    pub(crate) fn ask(&self, arguments: &[&str]) -> (Value, bool) {
        let mut arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        if !arguments.contains(&"--coordinator".to_owned()) {
            arguments.extend(["--state-dir", "state"].map(str::to_owned));
        }
        let output = self.command(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {said}"));
        (value, output.status.success())
    }
}

/// A coordinator's process.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: Address,
    pub(crate) connection: Connection,
    log: PathBuf,
}

impl Running {
    /// Waits until the process ends by itself.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        until("the coordinator to end", || self.child.try_wait().unwrap()).await
    }

    /// Kills it, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asks somebody who takes a moment to answer, until there is an answer.
pub(crate) async fn until_told<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Flags with one of them set to another value, or added.
pub(crate) fn with(mut flags: Vec<String>, flag: &str, value: &str) -> Vec<String> {
    match flags.iter().position(|one| one == flag) {
        Some(index) => flags[index + 1] = value.to_owned(),
        None => flags.extend([flag.to_owned(), value.to_owned()]),
    }
    flags
}

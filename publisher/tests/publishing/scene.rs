//! A publisher's world: coordinator, Hub, chain and wallet.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use standin_chain::{Clock, Options, StandinChain};
use standin_hub::StandinHub;
use subnet::Account;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use wallet::WalletLocation;

use crate::checkpoints::Checkpoint;
use crate::coordinator::Coordinator;

/// The repository that is published to.
pub(crate) const REPO: &str = "standin/peregrine";

/// How long anything may take before the test counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    pub(crate) coordinator: Coordinator,
    pub(crate) hub: StandinHub,
    pub(crate) chain: StandinChain,
    pub(crate) hotkey: Account,
    home: TempDir,
}

impl Scene {
    /// Everything is there, and the hotkey is registered. Blocks come quickly.
    pub(crate) async fn start() -> Scene {
        Scene::with_chain(Options {
            clock: Clock::Every(Duration::from_millis(40)),
            ..Options::default()
        })
        .await
    }

    pub(crate) async fn with_chain(options: Options) -> Scene {
        let home = TempDir::new().unwrap();
        let hub = standin_hub::Options::new(home.path().join("hub"));
        let wallets = home.path().join("wallets");
        let place = WalletLocation::new(&wallets, "miner", "first").unwrap();
        let hotkey = wallet::create_hotkey(&place).unwrap();
        fs::create_dir(home.path().join("tmp")).unwrap();
        let chain = StandinChain::start(options).await.unwrap();
        chain.register(hotkey.into(), 7, 0.5);
        Scene {
            coordinator: Coordinator::start().await,
            hub: StandinHub::start(hub).await.unwrap(),
            chain,
            hotkey,
            home,
        }
    }

    /// The same, with a finished run whose best checkpoint this is.
    pub(crate) async fn with_finished_run(best: &Checkpoint) -> Scene {
        let scene = Scene::start().await;
        scene.coordinator.announce(best, true);
        scene
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.home.path().join("state")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The binary, with everything in its environment and nothing of ours.
    pub(crate) fn binary(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_publisher"));
        command
            .current_dir(self.home.path())
            .env_remove("HF_TOKEN")
            .env("HF_ACCESS_TOKEN", self.hub.token())
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(crate) fn wallet_and_chain(&self) -> Vec<String> {
        let wallets = self.path("wallets").display().to_string();
        let endpoint = self.chain.endpoint();
        ["--wallet.path", &wallets]
            .into_iter()
            .chain(["--wallet.name", "miner", "--wallet.hotkey", "first"])
            .chain(["--subtensor.chain_endpoint", &endpoint])
            .map(str::to_owned)
            .collect()
    }

    /// A publisher of the coordinator's run.
    pub(crate) fn publisher(&self) -> Command {
        let mut command = self.binary();
        command
            .args(["--json", "--criteria-block", "0", "--hf_repo_id", REPO])
            .args(["--coordinator", &self.coordinator.address.to_string()])
            .arg("--state-dir")
            .arg(self.state_dir())
            .args(self.wallet_and_chain());
        command
    }

    /// Runs a publisher to its end.
    pub(crate) async fn publish(&self) -> Run {
        finish(self.publisher()).await
    }

    pub(crate) fn status(&self) -> publisher::Status {
        publisher::status(&self.state_dir()).unwrap()
    }

    /// Waits until the journal is as wished for.
    pub(crate) async fn until(&self, wished: impl Fn(&publisher::Status) -> bool) {
        let waiting = async {
            while !wished(&self.status()) {
                // The journal is a file: nothing tells when it changes.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            panic!("the journal did not come to it: {:#?}", self.status());
        }
    }

    /// How many commits of ours there are on the Hub, the repository's first
    /// not counted.
    pub(crate) fn hub_commits(&self) -> usize {
        self.hub.commits(REPO).len().saturating_sub(1)
    }

    /// How many commitments the chain has executed for the hotkey.
    pub(crate) fn commitments(&self) -> usize {
        let account: [u8; 32] = self.hotkey.into();
        self.chain
            .extrinsics()
            .iter()
            .filter(|included| included.signer == account && included.result.is_ok())
            .count()
    }

    /// What the chain says that the hotkey has committed.
    pub(crate) fn committed(&self) -> Option<String> {
        let committed = self.chain.commitment(self.hotkey.into())?;
        committed.text().map(str::to_owned)
    }

    /// Asserts that one publication arrived, once.
    pub(crate) fn assert_published_once(&self, what: &str) {
        let status = self.status();
        let [publication] = &status.publications[..] else {
            panic!("{what}: one publication: {status:#?}");
        };
        assert_eq!(publication.record.stage.name(), "read_back", "{what}");
        assert_eq!(publication.waits_for, None, "{what}");
        assert_eq!(self.hub_commits(), 1, "{what}: commits on the Hub");
        assert_eq!(self.commitments(), 1, "{what}: commitments");
        assert_eq!(
            self.committed().as_ref(),
            Some(&publication.chain_string),
            "{what}"
        );
        assert_eq!(
            self.hub.head(REPO),
            publication
                .record
                .stage
                .commit()
                .map(|commit| commit.to_string()),
            "{what}"
        );
    }

    /// A scorer that gives fixed losses to the candidate and to the incumbent,
    /// and writes down its arguments.
    pub(crate) fn scorer(&self, ours: &str, theirs: &str) -> PathBuf {
        let models = format!(
            r#"{{"models": [{{"sequence_losses": {ours}}}, {{"sequence_losses": {theirs}}}]}}"#
        );
        let log = self.path("scorer.log");
        self.script(&format!(
            "echo \"$@\" >> {}\necho '{models}'",
            log.display()
        ))
    }

    pub(crate) fn script(&self, body: &str) -> PathBuf {
        let path = self.path("scorer");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// What a publisher said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) output: Output,
}

impl Run {
    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// The JSON that a publisher which succeeded printed.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code(), Some(0), "{}", self.stderr());
        serde_json::from_slice(&self.output.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn assert_says(&self, parts: &[&str]) {
        let said = self.stderr();
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
    }
}

pub(crate) async fn finish(mut command: Command) -> Run {
    finish_child(command.spawn().unwrap()).await
}

pub(crate) async fn finish_child(child: Child) -> Run {
    let output = timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("the publisher ends").unwrap();
    Run { output }
}

/// The files of a checkpoint as a model directory.
pub(crate) fn write_model(checkpoint: &Checkpoint, dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for (name, content) in &checkpoint.contents {
        if let Some(name) = name.strip_prefix("model/") {
            fs::write(dir.join(name), content).unwrap();
        }
    }
}

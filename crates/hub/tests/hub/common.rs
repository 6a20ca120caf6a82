//! A Hub, a client of it, and models to publish.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use cli::Secret;
use hub::{Event, Hub, HubConfig, HubError, LocalFile, Publish, Published};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use standin_hub::{CommitInfo, Options, Route, StandinHub};
use subnet::{CommitId, RepoId};
use tempfile::TempDir;

/// More than any model of these tests.
pub(crate) const NO_LIMIT: u64 = 1 << 30;

/// A running Hub with an empty repository, and a place for everything else.
pub(crate) struct Scene {
    pub(crate) server: StandinHub,
    pub(crate) repo: RepoId,
    pub(crate) temp: TempDir,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let server = StandinHub::start(Options::new(temp.path().join("hub")))
            .await
            .unwrap();
        let scene = Self {
            server,
            repo: RepoId::new("standin", "model").unwrap(),
            temp,
        };
        scene
            .client()
            .create_repository(&scene.repo, false)
            .await
            .unwrap();
        scene
    }

    /// How a client reaches the Hub that wastes no time of a test.
    pub(crate) fn config(&self) -> HubConfig {
        let token = Some(Secret::new(self.server.token()));
        let mut config = HubConfig::new(
            &self.server.endpoint(),
            token,
            self.temp.path().join("cache"),
        );
        config.waits.attempts = 4;
        config.waits.first_wait = Duration::from_millis(5);
        config.waits.longest_backoff = Duration::from_millis(20);
        config
    }

    pub(crate) fn client(&self) -> Hub {
        Hub::new(self.config()).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// A folder with a model of these pseudo-random weights.
    pub(crate) fn model(&self, seed: u64) -> Model {
        Model::new(&self.path(&format!("model-{seed}")), seed, 100_000)
    }

    /// The Hub's commits after the repository's first.
    pub(crate) fn commits(&self) -> Vec<CommitInfo> {
        self.server.commits(&self.repo.to_string()).split_off(1)
    }

    pub(crate) fn head(&self) -> CommitId {
        let head = self.server.head(&self.repo.to_string()).unwrap();
        head.parse().unwrap()
    }

    /// The paths at the head.
    pub(crate) fn paths(&self) -> Vec<String> {
        let commit = self.server.commits(&self.repo.to_string()).pop().unwrap();
        commit.files.into_keys().collect()
    }

    /// Somebody else's commit.
    pub(crate) fn push_by_another(&self) {
        let files: [(&str, &[u8]); 2] = [("README.md", b"hello"), ("intruder.txt", b"hello")];
        self.server.seed(&self.repo.to_string(), &files).unwrap();
    }

    pub(crate) async fn publish(&self, model: &Model) -> Result<Published, HubError> {
        self.publish_by(&self.client(), model, &Events::default())
            .await
    }

    pub(crate) async fn publish_by(
        &self,
        client: &Hub,
        model: &Model,
        events: &Events,
    ) -> Result<Published, HubError> {
        let tell = |event| events.add(event);
        client.publish(&model.publish(&self.repo), &tell).await
    }

    /// How many requests offered blocks of contents to the storage, which may
    /// answer that it has them.
    pub(crate) fn blocks_offered(&self) -> usize {
        let requests = self.server.requests();
        requests
            .iter()
            .filter(|request| request.route == Route::Cas && request.path.contains("xorb"))
            .filter(|request| request.method != "GET")
            .count()
    }
}

/// What happened, to be looked at afterwards.
#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<Event>>);

impl Events {
    pub(crate) fn add(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    pub(crate) fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }
}

/// A model directory on disk.
pub(crate) struct Model {
    pub(crate) dir: PathBuf,
    pub(crate) files: Vec<LocalFile>,
}

impl Model {
    pub(crate) fn new(dir: &Path, seed: u64, weight_bytes: usize) -> Self {
        let mut model = Self::empty(dir);
        model.add("config.json", format!("{{\"seed\": {seed}}}\n").as_bytes());
        model.add("generation_config.json", b"{}\n");
        model.add("model.safetensors", &noise(seed, weight_bytes));
        model
    }

    pub(crate) fn sharded(dir: &Path, seed: u64) -> Self {
        let mut model = Self::empty(dir);
        model.add("config.json", b"{}");
        let index = br#"{"metadata":{"total_size":1},"weight_map":{
            "a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
        model.add("model.safetensors.index.json", index);
        for shard in 1..=2 {
            let name = format!("model-0000{shard}-of-00002.safetensors");
            model.add(&name, &noise(seed + shard, 50_000));
        }
        model
    }

    fn empty(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        Self {
            dir: dir.to_owned(),
            files: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, name: &str, contents: &[u8]) {
        fs::write(self.dir.join(name), contents).unwrap();
        self.files.retain(|file| file.name != name);
        self.files.push(LocalFile {
            name: name.to_owned(),
            bytes: contents.len() as u64,
            sha256: Sha256::digest(contents).into(),
        });
        self.files.sort_by(|one, other| one.name.cmp(&other.name));
    }

    pub(crate) fn publish<'a>(&'a self, repo: &'a RepoId) -> Publish<'a> {
        Publish {
            repo,
            dir: &self.dir,
            files: &self.files,
            message: "Publish",
            parent: None,
        }
    }

    pub(crate) fn contents(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.join(name)).unwrap()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.name.clone()).collect()
    }
}

pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut noise);
    noise
}

/// Nobody to tell.
pub(crate) fn quiet(_: Event) {}

/// Waits for something that no event announces.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited a minute for {what}");
}

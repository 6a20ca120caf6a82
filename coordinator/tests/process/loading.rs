//! Runs that start from another miner's model.

use std::fs;
use std::process::Output;

use crate::bench::{Bench, tiny_model, write_model};
use coordinator::store::Embedded;
use layout::Gpt2Config;
use proto::v1;
use standin_chain::StandinChain;
use standin_hub::StandinHub;
use subnet::{CommitId, ModelHash, ModelId, hash_directory};

/// A tiny model that validators of January 2024 would take.
fn model() -> Gpt2Config {
    Gpt2Config {
        n_positions: 1024,
        ..tiny_model()
    }
}

/// A Hub and a chain with miners, and a place for a coordinator.
struct Subnet {
    bench: Bench,
    hub: StandinHub,
    chain: StandinChain,
}

/// A model on the Hub.
struct Published {
    id: ModelId,
    hash: ModelHash,
}

fn hotkey(uid: u16) -> [u8; 32] {
    [uid as u8 + 1; 32]
}

impl Subnet {
    async fn new() -> Subnet {
        let bench = Bench::new();
        let options = standin_hub::Options::new(bench.path("hub"));
        Subnet {
            hub: StandinHub::start(options).await.unwrap(),
            chain: StandinChain::start(standin_chain::Options::default())
                .await
                .unwrap(),
            bench,
        }
    }

    /// Publishes a model whose weights are all the same.
    fn publish(&self, name: &str, config: &Gpt2Config, weight: f32) -> Published {
        let folder = self.bench.path(name);
        write_model(&folder, config, weight);
        let hash = hash_directory(&folder).unwrap().hash;
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read(path).unwrap()));
        }
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, bytes)| (&name[..], &bytes[..]))
            .collect();
        let repo = format!("miner/{name}");
        let commit: CommitId = self.hub.seed(&repo, &files).unwrap().parse().unwrap();
        let id = ModelId {
            repo: repo.parse().unwrap(),
            commit: Some(commit),
            hash: Some(hash),
        };
        Published { id, hash }
    }

    /// Registers a miner that has committed something.
    fn miner(&self, uid: u16, incentive: f64, committed: &str) {
        self.chain.register(hotkey(uid), uid, incentive);
        self.chain.set_commitment(hotkey(uid), committed);
    }

    /// Flags of a small run that starts from someone's model.
    fn flags(&self, start: &[&str]) -> Vec<String> {
        let mut flags = self.bench.flags(1);
        let config = flags.iter().position(|flag| flag == "--model_config");
        flags.drain(config.unwrap()..config.unwrap() + 2);
        for pair in [
            ["--subtensor.chain_endpoint", &self.chain.endpoint()],
            ["--hf-endpoint", &self.hub.endpoint()],
            ["--criteria-block", "1"],
        ] {
            flags.extend(pair.map(str::to_owned));
        }
        flags.extend(start.iter().map(|&flag| flag.to_owned()));
        flags
    }

    /// What a coordinator says that refuses, and that nothing is left behind.
    async fn refused(&self, start: &[&str]) -> String {
        let output = self.run_to_end(self.flags(start)).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!self.bench.state_dir().exists(), "something is left behind");
        said
    }

    async fn run_to_end(&self, flags: Vec<String>) -> Output {
        // Hub and chain answer on this runtime meanwhile.
        tokio::task::block_in_place(|| self.bench.run_to_end(&flags))
    }

    /// The hash of the weights that a run begins with, as its configuration says.
    async fn starts_from(&self, start: &[&str]) -> String {
        let running = self.bench.start(&self.flags(start)).await;
        let status = running
            .connection
            .operator()
            .status(v1::StatusRequest {})
            .await;
        let config = status.unwrap().into_inner().run_config;
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        assert!(!self.bench.state_dir().join("loading").exists());
        running.kill();
        config["init"].to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_starts_from_the_model_of_a_uid() {
    let subnet = Subnet::new().await;
    let other = subnet.publish("other", &model(), 0.5);
    let wanted = subnet.publish("wanted", &model(), 0.25);
    subnet.miner(2, 0.9, &other.id.to_string());
    subnet.miner(3, 0.1, &wanted.id.to_string());
    let init = subnet.starts_from(&["--load_uid", "3"]).await;
    assert!(init.contains(&wanted.hash.to_hex()), "{init}");

    // Started again, the run has its weights, whatever has been committed since.
    subnet
        .chain
        .set_commitment(hotkey(3), &other.id.to_string());
    let init = subnet.starts_from(&["--load_uid", "3"]).await;
    assert!(init.contains(&wanted.hash.to_hex()), "{init}");
}

/// A state directory as a first start leaves it that ended before the run was on
/// record: while it copied weights, for example.
fn cut_short(bench: &Bench) {
    let _ = fs::remove_dir_all(bench.state_dir());
    let torn = bench.state_dir().join("checkpoints/.partial-initial/model");
    fs::create_dir_all(&torn).unwrap();
    fs::write(torn.join("model.safetensors"), "torn").unwrap();
    drop(Embedded::open(&bench.state_dir().join("ledger.redb")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_was_cut_short_is_made_again_with_its_weights() {
    let subnet = Subnet::new().await;
    let wanted = subnet.publish("wanted", &model(), 0.25);
    subnet.miner(3, 0.1, &wanted.id.to_string());
    for start in [
        &["--load_uid", "3"][..],
        &["--load_best"],
        &["--load_model_dir", "wanted"],
    ] {
        cut_short(&subnet.bench);
        let init = subnet.starts_from(start).await;
        assert!(init.contains(&wanted.hash.to_hex()), "{start:?}: {init}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_is_the_first_usable_by_incentive_then_uid() {
    let subnet = Subnet::new().await;
    let best = subnet.publish("best", &model(), 0.125);
    let worse = subnet.publish("worse", &model(), 0.75);
    let mut altered = worse.id.clone();
    altered.hash = Some(best.hash);
    subnet.miner(1, 0.9, "hello");
    subnet.miner(2, 0.8, &altered.to_string());
    subnet.miner(7, 0.5, &worse.id.to_string());
    subnet.miner(4, 0.5, &best.id.to_string());
    let init = subnet.starts_from(&["--load_best"]).await;
    assert!(init.contains(&best.hash.to_hex()), "{init}");
    let log = subnet.bench.log();
    for said in [
        "uid 1 has committed no model",
        "uid 2",
        "not what was committed",
    ] {
        assert!(log.contains(said), "{said:?} is not in: {log}");
    }
    assert!(!log.contains("uid 7"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_over_the_hotkey_too_is_understood() {
    let subnet = Subnet::new().await;
    let Published { mut id, hash } = subnet.publish("model", &model(), 0.5);
    let address = subnet::Account::from(hotkey(5)).to_string();
    id.hash = Some(hash.with_hotkey(&address));
    subnet.miner(5, 0.5, &id.to_string());
    subnet.miner(6, 0.5, &id.to_string());

    // Another's hotkey does not make it theirs.
    let said = subnet.refused(&["--load_uid", "6"]).await;
    assert!(said.contains("not what was committed"), "{said}");
    let init = subnet.starts_from(&["--load_uid", "5"]).await;
    assert!(init.contains(&hash.to_hex()), "{init}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_may_not_be_trained_is_refused_with_the_reason() {
    let subnet = Subnet::new().await;
    let broken = subnet.publish("broken", &model(), f32::NAN);
    let short = subnet.publish("short", &tiny_model(), 0.5);
    let gone = ModelId {
        repo: "miner/gone".parse().unwrap(),
        ..short.id.clone()
    };
    subnet.miner(1, 0.5, &broken.id.to_string());
    subnet.miner(2, 0.5, &short.id.to_string());
    subnet.miner(3, 0.5, &gone.to_string());
    subnet.chain.register(hotkey(4), 4, 0.5);
    for (uid, reason) in [
        ("1", "infinite or not numbers"),
        ("2", "at most 8 tokens"),
        ("3", "miner/gone"),
        ("4", "committed nothing"),
        ("5", "nobody has uid 5"),
    ] {
        let said = subnet.refused(&["--load_uid", uid]).await;
        assert!(said.contains(reason), "{reason:?} is not in: {said}");
    }
    let said = subnet.refused(&["--load_best"]).await;
    assert!(said.contains("uid 1") && said.contains("uid 2"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_contradict_each_other_and_a_chain_that_is_away() {
    let subnet = Subnet::new().await;
    let said = subnet.refused(&["--load_uid", "1", "--offline"]).await;
    assert!(said.contains("--offline"), "{said}");
    let said = subnet.refused(&["--load_uid", "1", "--load_best"]).await;
    assert!(said.contains("--load_best"), "{said}");

    let flags = subnet.flags(&["--load_uid", "1"]);
    let endpoint = subnet.chain.endpoint();
    subnet.chain.stop().await;
    let output = tokio::task::block_in_place(|| subnet.bench.run_to_end(&flags));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains(&endpoint), "{said}");
}

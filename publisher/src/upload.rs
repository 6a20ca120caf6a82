//! `publisher upload`: a model directory that no run announced.

use std::fmt;
use std::path::PathBuf;

use client::{Addresses, ConnectOptions, Connection, RetryPolicy};
use proto::v1::CheckpointManifest;
use serde::Serialize;
use subnet::{CommitId, Criteria, HashError, ModelHash, RepoId, hash_directory};
use tokio_util::sync::CancellationToken;
use wallet::Password;

use crate::config::{Chain, HubAccess, Wallet};
use crate::journal::PublishedFile;
use crate::online::{self, Carrier, Committing, Hold, Outcome, Outside};
use crate::stage::stage_directory;
use crate::state_dir::StateDir;
use crate::{Candidate, Error, Publication, Refusal, blocking};

/// What is uploaded, and where to.
#[derive(Clone, Debug)]
pub struct UploadConfig {
    /// The model directory.
    pub model_dir: PathBuf,
    /// The repository on the Hub.
    pub repo: RepoId,
    /// What validators demand.
    pub criteria: Criteria,
    /// Who says that nobody else uses the hotkey, if anyone.
    pub coordinators: Option<Addresses>,
    /// How the Hub is reached.
    pub hub: HubAccess,
    /// How it is committed on the chain, if it is.
    pub commit: Option<CommitConfig>,
    /// Where the staged copy and the journal are kept.
    pub state_dir: PathBuf,
}

/// How an upload is committed on the chain.
#[derive(Clone, Debug)]
pub struct CommitConfig {
    /// The subnet.
    pub chain: Chain,
    /// Nodes of the chain; none for the network's own.
    pub chain_endpoints: Vec<chain::Endpoint>,
    /// Who signs.
    pub wallet: Wallet,
    /// Where the hotkey's password comes from.
    pub password: Password,
    /// Whether the chain string's hash is taken over the hotkey too.
    pub hotkey_in_hash: bool,
}

/// What became of an upload. Its fields are what `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Uploaded {
    /// Its name in the journal.
    pub checkpoint_id: String,
    /// Where it is.
    pub repo: RepoId,
    /// The Hub's commit; absent when the upload was stopped before.
    pub commit: Option<CommitId>,
    /// The directory hash.
    pub hash: ModelHash,
    /// `namespace:name:commit:hash`.
    pub chain_string: String,
    /// The stage that it has reached.
    pub stage: String,
    /// The block of the commitment, if it was committed.
    pub block: Option<u64>,
}

impl Uploaded {
    fn of(record: &Publication) -> Uploaded {
        Uploaded {
            checkpoint_id: record.checkpoint_id.clone(),
            repo: record.repo.clone(),
            commit: record.stage.commit(),
            hash: record.hash,
            chain_string: record.chain_string(),
            stage: record.stage.name().to_owned(),
            block: record.stage.block(),
        }
    }
}

impl fmt::Display for Uploaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.stage.replace('_', " ");
        write!(f, "{} in {}: {stage}", self.checkpoint_id, self.repo)?;
        if let Some(block) = self.block {
            write!(f, " in block {block}")?;
        }
        if let Some(commit) = self.commit {
            write!(f, "\ncommit: {commit}")?;
        }
        write!(
            f,
            "\ndirectory hash: {}\nchain string: {}",
            self.hash, self.chain_string
        )
    }
}

/// Stages, uploads and verifies a model directory, and commits it if it is to
/// be. A second call goes on where the first was stopped.
///
/// # Errors
/// When the directory is no model that validators would take, when a publisher
/// works in the state folder or has the hotkey, or when the Hub, the chain or
/// the disk refuses for good.
pub async fn upload(config: UploadConfig, shutdown: CancellationToken) -> Result<Uploaded, Error> {
    let state = StateDir::create(&config.state_dir)?;
    let _lock = state.lock()?;
    let outside = open_outside(&config, &state)?;
    if let Some(hold) = &outside.hold {
        let held = shutdown.run_until_cancelled(hold.wait_until_held()).await;
        held.transpose()?;
    }
    let mut record = stage(&config, &state).await?;
    if let Some(committing) = &outside.committing {
        // Also when an earlier call left it on the Hub alone.
        let ours = committing
            .committer_beside(std::slice::from_ref(&record))
            .await;
        record.claim(&ours, &state)?;
        record.write(&state)?;
    }
    let carrier = Carrier {
        state: &state,
        outside: &outside,
        criteria: &config.criteria,
        interrupt: &shutdown,
        record: record.clone(),
    };
    Ok(match carrier.carry().await? {
        Outcome::Finished(record) | Outcome::NotWorth(record, _) => Uploaded::of(&record),
        Outcome::Interrupted => Uploaded::of(&record),
    })
}

fn open_outside(config: &UploadConfig, state: &StateDir) -> Result<Outside, Error> {
    let (hub, reader) = online::open_hub(&config.hub, state)?;
    let mut outside = Outside {
        hub,
        reader,
        private: config.hub.private,
        committing: None,
        hold: None,
        comparison: None,
        run: None,
    };
    let Some(commit) = &config.commit else {
        return Ok(outside);
    };
    let hotkey = online::open_hotkey(&commit.wallet, &commit.password)?;
    let lender = match &config.coordinators {
        Some(coordinators) => {
            let connection = Connection::lazy(coordinators, &ConnectOptions::default())?;
            Some((connection, RetryPolicy::BRIEF))
        }
        None => None,
    };
    outside.hold = Some(Hold::begin(hotkey.account(), lender)?);
    outside.committing = Some(Committing::new(
        hotkey,
        &commit.chain,
        online::chain_config(&commit.chain, &commit.chain_endpoints),
        commit.hotkey_in_hash,
    ));
    Ok(outside)
}

async fn stage(config: &UploadConfig, state: &StateDir) -> Result<Publication, Error> {
    let (config, state) = (config.clone(), state.clone());
    blocking::run(move || {
        let unpublishable = |refusal| Error::Unpublishable {
            dir: config.model_dir.clone(),
            refusal: Box::new(refusal),
        };
        let hashed = match hash_directory(&config.model_dir) {
            Ok(hashed) => hashed,
            Err(HashError::Io { path, source }) => return Err(Error::File { path, source }),
            Err(error) => return Err(unpublishable(Refusal::Unusable(error.to_string()))),
        };
        let candidate = Candidate {
            manifest: CheckpointManifest {
                checkpoint_id: format!("upload-{}", &hashed.hash.to_hex()[..16]),
                ..CheckpointManifest::default()
            },
            loss: None,
            loss_from_training: false,
            files: hashed.files.iter().map(PublishedFile::from).collect(),
        };
        let source = &config.model_dir;
        stage_directory(&state, &config.criteria, &config.repo, &candidate, source)?
            .map_err(unpublishable)
    })
    .await
}

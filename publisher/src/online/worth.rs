//! Whether a staged model is worth publishing beside what its hotkey has
//! committed.

use std::fs;
use std::path::{Path, PathBuf};

use chain::CommitmentData;
use hub::HubError;
use layout::ModelDir;
use subnet::{CommitId, ModelHash, ModelId, hash_directory};
use tracing::{info, warn};

use super::upload::local_files;
use super::{Carrier, Committing, Stop};
use crate::config::ComparisonConfig;
use crate::crash::{self, Point};
use crate::gate::{Comparison, Incumbent, Scorer, Verdict};
use crate::journal::Stage;
use crate::stage::supersede_others;
use crate::state_dir::remove_dir;
use crate::{Error, blocking};

/// What a hotkey has on the chain, as far as it matters to a candidate.
enum Standing {
    /// Nothing that a validator would evaluate; why, in words.
    Nothing(String),
    /// The candidate itself.
    Same(CommitId),
    /// Something that is not looked at, since nothing is to be compared.
    NotCompared,
    /// Another model, which lies here.
    Other(PathBuf),
}

impl Carrier<'_> {
    /// Goes on when the model is worth publishing, and supersedes what waits
    /// for less.
    pub(super) async fn decide_worth(&mut self) -> Result<(), Stop> {
        let outside = self.outside;
        let Some(committing) = &outside.committing else {
            return Ok(());
        };
        self.record.committer = Some(committing.committer());
        let incumbent = self.leaving(self.incumbent(committing)).await?;
        let verdict = match self.still_holds(&incumbent) {
            Some(verdict) => verdict,
            None => self.decide(incumbent).await?,
        };
        crash::point(Point::BeforeVerdictRecord);
        let (publish, reason) = (verdict.publish, verdict.reason.clone());
        self.record.verdict = Some(verdict);
        self.record.waiting = None;
        self.write().await?;
        if !publish {
            return Err(Stop::NotWorth(reason));
        }
        info!(
            checkpoint = self.record.checkpoint_id,
            "worth publishing: {reason}"
        );
        crash::point(Point::AfterVerdictRecord);
        let (state, better) = (self.state.clone(), self.record.checkpoint_id.clone());
        blocking::run(move || supersede_others(&state, &better)).await?;
        crash::point(Point::AfterSuperseding);
        Ok(())
    }

    /// The hotkey's commitment. A hotkey that is not registered ends it all.
    async fn incumbent(
        &self,
        committing: &Committing,
    ) -> Result<Option<(Incumbent, CommitmentData)>, Stop> {
        let chain = committing.chain().await?;
        let (netuid, hotkey) = (committing.netuid, committing.account());
        if chain.registration(netuid, hotkey).await?.is_none() {
            return Err(not_registered(committing));
        }
        let commitment = chain.commitment(netuid, hotkey).await?;
        Ok(commitment.map(|commitment| {
            let text = match commitment.data.text() {
                Some(text) => text.to_owned(),
                None => commitment.data.to_string(),
            };
            let block = commitment.block;
            (Incumbent { text, block }, commitment.data)
        }))
    }

    /// The verdict that the journal has, if nothing that it rests on changed.
    fn still_holds(&self, incumbent: &Option<(Incumbent, CommitmentData)>) -> Option<Verdict> {
        let verdict = self.record.verdict.as_ref()?;
        let config = self.outside.comparison.as_ref();
        let holds = verdict.against.as_ref() == incumbent.as_ref().map(|(incumbent, _)| incumbent)
            && verdict.better_by == config.map(|config| config.better_by);
        // One that was not scored costs nothing to reach again, and the model
        // that was missing may be there by now.
        let was_scored = verdict.comparison.is_some();
        (holds && was_scored).then(|| verdict.clone())
    }

    async fn decide(
        &mut self,
        incumbent: Option<(Incumbent, CommitmentData)>,
    ) -> Result<Verdict, Stop> {
        let config = self.outside.comparison.as_ref();
        let mut verdict = Verdict {
            publish: true,
            reason: String::new(),
            against: incumbent.as_ref().map(|(incumbent, _)| incumbent.clone()),
            better_by: config.map(|config| config.better_by),
            pages: 0,
            comparison: None,
        };
        let standing = match incumbent {
            None => Standing::Nothing("the hotkey has no commitment yet".to_owned()),
            Some((_, data)) => self.standing(&data, config).await?,
        };
        match (standing, config) {
            (Standing::Nothing(words), _) => verdict.reason = words,
            (Standing::Same(commit), _) => {
                verdict.reason =
                    format!("the chain and the Hub have it already, in commit {commit}");
                // What follows reads rather than writes.
                self.record.stage = Stage::Uploaded { commit };
            }
            (Standing::NotCompared | Standing::Other(_), None)
            | (Standing::NotCompared, Some(_)) => {
                verdict.reason = "--publish-if-better-by is off".to_owned();
            }
            (Standing::Other(dir), Some(config)) => {
                self.compare(&dir, config, &mut verdict).await?;
            }
        }
        Ok(verdict)
    }

    async fn standing(
        &mut self,
        data: &CommitmentData,
        config: Option<&ComparisonConfig>,
    ) -> Result<Standing, Stop> {
        let nothing = |why: String| {
            Ok(Standing::Nothing(format!(
                "the hotkey's commitment is no obstacle: {why}"
            )))
        };
        let Some(text) = data.text() else {
            return nothing(format!("it is {data}"));
        };
        let id: ModelId = match text.parse() {
            Ok(id) => id,
            Err(error) => return nothing(error.to_string()),
        };
        let (Some(commit), Some(hash)) = (id.commit, id.hash) else {
            return nothing(format!("{text:?} names no commit or no hash"));
        };
        let ours = self.record.model_id();
        if (&ours.repo, ours.hash) == (&id.repo, Some(hash)) {
            let files = local_files(&self.record)?;
            let limit = self.criteria.max_repository_bytes;
            let reader = &self.outside.reader;
            match self
                .leaving(reader.verify(&id.repo, commit, &files, limit))
                .await
            {
                Ok(_) => return Ok(Standing::Same(commit)),
                Err(Stop::Fatal { reason, .. }) => {
                    return nothing(format!("it is this very model, and {reason}"));
                }
                Err(stop) => return Err(stop),
            }
        }
        if config.is_none() {
            return Ok(Standing::NotCompared);
        }
        match self.fetch(&id, commit, hash).await? {
            Ok(dir) => Ok(Standing::Other(dir)),
            Err(why) => nothing(why),
        }
    }

    /// Brings the model of the commitment here; in words why there is none that
    /// a validator would accept.
    async fn fetch(
        &mut self,
        id: &ModelId,
        commit: CommitId,
        hash: ModelHash,
    ) -> Result<Result<PathBuf, String>, Stop> {
        let incumbents = self.state.incumbents();
        let dir = incumbents.join(commit.to_string());
        {
            let dir = dir.clone();
            blocking::run(move || forget_others(&incumbents, &dir)).await?;
        }
        if self.has_hash(&dir, hash).await? {
            return Ok(Ok(dir));
        }
        info!("downloading the model that the hotkey has committed: {id}");
        let limit = self.criteria.max_repository_bytes;
        let hub = &self.outside.hub;
        let say = |event: hub::Event| match event {
            hub::Event::Waiting { why, left } => {
                info!("waiting: {why}; {:.0} s left", left.as_secs_f64());
            }
            hub::Event::Retrying { why, .. } => warn!("{why}; trying again"),
            _ => {}
        };
        let downloaded = tokio::select! {
            downloaded = hub.download(&id.repo, commit, &dir, limit, &say) => downloaded,
            () = self.interrupt.cancelled() => return Err(Stop::Interrupted),
        };
        match downloaded {
            Ok(_) => {}
            Err(error) if is_gone(&error) => return Ok(Err(error.to_string())),
            Err(HubError::Corrupt { .. }) => {
                return Err(Stop::passing("the committed model arrives damaged"));
            }
            Err(error) => return Err(error.into()),
        }
        if self.has_hash(&dir, hash).await? {
            Ok(Ok(dir))
        } else {
            Ok(Err(format!(
                "what the Hub serves at {commit} has not the hash of the commitment"
            )))
        }
    }

    /// Whether a folder holds the model with this hash, taken with or without
    /// the hotkey.
    async fn has_hash(&self, dir: &Path, hash: ModelHash) -> Result<bool, Error> {
        let hotkey = self.outside.committing.as_ref().map(Committing::account);
        let hotkey = hotkey.map(ToString::to_string).unwrap_or_default();
        let dir = dir.to_owned();
        blocking::run(move || {
            Ok(match hash_directory(&dir) {
                Ok(found) => found.hash == hash || found.hash.with_hotkey(&hotkey) == hash,
                Err(_) => false,
            })
        })
        .await
    }

    /// Scores both models on the same pages.
    async fn compare(
        &mut self,
        incumbent: &Path,
        config: &ComparisonConfig,
        verdict: &mut Verdict,
    ) -> Result<(), Stop> {
        if let Err(why) = can_be_scored(incumbent.to_owned()).await? {
            return Err(Stop::NotWorth(format!(
                "it cannot be compared with the model that the hotkey has committed ({why}); \
                 --publish-if-better-by off publishes without comparing"
            )));
        }
        let scorer = Scorer::find(config)?;
        let run = match &self.outside.run {
            Some(connection) => self.leaving(run_config(connection)).await?,
            None => return Err(Stop::passing("there is no run whose pages could be scored")),
        };
        let staged = self.state.staged(&self.record.checkpoint_id);
        info!(
            checkpoint = self.record.checkpoint_id,
            "scoring it beside the model that the hotkey has committed"
        );
        let scratch = self.state.scoring();
        let models = [&staged, incumbent];
        let scoring = scorer.score(&run, &scratch, &models);
        let scores = self.leaving(scoring).await?;
        let [ours, theirs] = &scores.losses[..] else {
            return Err(Stop::passing("the scorer did not score both models"));
        };
        let comparison =
            Comparison::paired(ours, theirs, config.better_by).map_err(Stop::NotWorth)?;
        verdict.publish = comparison.is_win(config.better_by);
        verdict.reason = comparison.in_words(config.better_by);
        if !scores.held_back {
            let note = " (the run keeps no pages for an evaluation, so the candidate may have \
                        been trained on these)";
            verdict.reason.push_str(note);
        }
        verdict.pages = scores.pages;
        verdict.comparison = Some(comparison);
        Ok(())
    }
}

pub(super) fn not_registered(committing: &Committing) -> Stop {
    Stop::fatal(
        format!(
            "hotkey {} is not registered on subnet {}",
            committing.account(),
            committing.netuid
        ),
        "register it, with `btcli subnet register` for instance, or name a hotkey that is \
         (--wallet.name, --wallet.hotkey, --netuid, --subtensor.network)",
    )
}

/// Whether the Hub has no model there that a validator would accept.
fn is_gone(error: &HubError) -> bool {
    match error {
        HubError::NoRepository { .. }
        | HubError::Renamed { .. }
        | HubError::NoModel { .. }
        | HubError::TooLarge { .. } => true,
        HubError::Refused { refusal, .. } => matches!(refusal.status, 403 | 404 | 410 | 451),
        _ => false,
    }
}

/// Whether the worker can load the model.
async fn can_be_scored(dir: PathBuf) -> Result<Result<(), String>, Error> {
    blocking::run(move || {
        let checked = ModelDir::open(&dir).and_then(|model| model.check(model.config()));
        Ok(checked.map_err(|error| error.to_string()))
    })
    .await
}

async fn run_config(connection: &client::Connection) -> Result<String, Stop> {
    let asked = connection
        .operator()
        .status(proto::v1::StatusRequest {})
        .await;
    match asked {
        Ok(answer) => match answer.into_inner().run_config {
            config if config.is_empty() => Err(Stop::passing("no coordinator leads the run")),
            config => Ok(config),
        },
        Err(status) => Err(Stop::passing(client::Error::call("Status", status))),
    }
}

/// One model is kept: that of the last commitment.
fn forget_others(incumbents: &Path, kept: &Path) -> Result<(), Error> {
    fs::create_dir_all(incumbents).map_err(|source| Error::file(incumbents, source))?;
    let entries = fs::read_dir(incumbents).map_err(|source| Error::file(incumbents, source))?;
    for entry in entries {
        let path = entry
            .map_err(|source| Error::file(incumbents, source))?
            .path();
        if path != kept {
            remove_dir(&path)?;
        }
    }
    Ok(())
}

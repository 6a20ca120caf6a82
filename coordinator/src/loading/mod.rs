//! Starting from another miner's model: from a uid, or from "the best there
//! is", to a checked model directory.
//!
//! What others publish is not trusted. The commitment says which bytes it
//! means, by a hash over them; the download is compared with it, and the model
//! is held to the same criteria as one of our own, before the run begins.

mod check;
mod choice;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chain::{Chain, ChainConfig};
use cli::{Exit, Failure, Refused, hub_token};
use hub::{Class, Event, Hub, HubConfig};
use subnet::Criteria;

use self::choice::{Contender, Ranking};
use crate::args::{ChainArgs, LeadArgs};

/// How often a download says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Which model a run starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Uid(u16),
    Best,
}

impl Start {
    fn asked(args: &LeadArgs) -> Option<Start> {
        match (args.load.load_uid, args.load.load_best) {
            (Some(uid), _) => Some(Start::Uid(uid)),
            (None, true) => Some(Start::Best),
            (None, false) => None,
        }
    }

    fn flag(self) -> String {
        match self {
            Start::Uid(uid) => format!("--load_uid {uid}"),
            Start::Best => "--load_best".to_owned(),
        }
    }
}

/// The folder of a state directory for a model on its way in.
fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("loading")
}

/// Whether the flags ask for another miner's model.
pub(crate) fn is_asked(args: &LeadArgs) -> bool {
    Start::asked(args).is_some()
}

/// Removes what a finished start has left in a state directory.
pub(crate) fn discard(state_dir: &Path) {
    let folder = folder(state_dir);
    if let Err(error) = fs::remove_dir_all(&folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("{}: {error}; it can be removed", folder.display());
    }
}

/// Fetches the model that `--load_uid` or `--load_best` asks for, and answers
/// where it is; `None` when neither is given.
///
/// # Errors
/// Refused if there is no such model, or none that may be trained; a failure if
/// chain or Hub cannot be reached.
pub(crate) async fn fetch(args: &LeadArgs) -> Result<Option<PathBuf>, Failure> {
    let Some(start) = Start::asked(args) else {
        return Ok(None);
    };
    if args.chain.offline {
        let flag = start.flag();
        return Err(Refused::new(format!(
            "{flag} asks chain and Hub, and --offline forbids it: drop one of them"
        ))
        .into());
    }
    let hub = open_hub(args)?;
    let netuid = args.chain.netuid;
    let chain = connect(&args.chain).await?;
    // One block: who earns what, and what they have committed by then.
    let view = chain.finalized().await.map_err(out_of_reach)?;
    let ranking = match start {
        Start::Uid(uid) => Ranking::of_uid(&view, netuid, uid).await,
        Start::Best => Ranking::by_incentive(&view, netuid).await,
    }
    .map_err(out_of_reach)?;
    let block = args.chain.criteria_block.unwrap_or(view.number());
    let criteria = Criteria::at_block(block);
    let mut why_not = Vec::new();
    for contender in ranking.contenders {
        let contender = match contender {
            Ok(contender) => contender,
            Err(reason) => {
                tracing::warn!("passed over: {reason}");
                why_not.push(reason);
                continue;
            }
        };
        tracing::info!(
            block,
            "{}: {} has committed {}",
            start.flag(),
            contender.who(),
            contender.model
        );
        let into = folder(&args.state_dir);
        match download(&hub, &contender, &criteria, &into).await? {
            Ok(directory) => return Ok(Some(directory)),
            Err(reason) => {
                let reason = format!("{}: {reason}", contender.who());
                tracing::warn!("passed over: {reason}");
                why_not.push(reason);
            }
        }
    }
    discard(&args.state_dir);
    // Made for this alone; one that holds something stays.
    let _ = fs::remove_dir(&args.state_dir);
    Err(Refused::new(format!(
        "{}: there is no model on subnet {netuid} to start from: {}",
        start.flag(),
        in_short(&why_not)
    ))
    .into())
}

/// The first reasons, and how many more there are.
fn in_short(reasons: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = match reasons {
        [] => "nobody is registered there".to_owned(),
        reasons => reasons[..reasons.len().min(SHOWN)].join("; "),
    };
    if reasons.len() > SHOWN {
        text.push_str(&format!("; and {} more", reasons.len() - SHOWN));
    }
    text
}

async fn connect(args: &ChainArgs) -> Result<Chain, Failure> {
    let config = match args.chain_endpoints.is_empty() {
        true => ChainConfig::network(args.subtensor_network),
        false => ChainConfig::endpoints(args.chain_endpoints.clone()),
    };
    Chain::connect(&config).await.map_err(out_of_reach)
}

/// Public repositories need no token; a private one of our own does.
fn open_hub(args: &LeadArgs) -> Result<Hub, Failure> {
    let cache = folder(&args.state_dir).join("cache");
    let config = HubConfig::new(&args.load.hf_endpoint, hub_token(), cache);
    Hub::new(config).map_err(|error| Refused::because(error).into())
}

fn out_of_reach(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::Unreachable, error)
}

/// Downloads and checks one model; what is wrong with it, if anything is.
async fn download(
    hub: &Hub,
    contender: &Contender,
    criteria: &Criteria,
    into: &Path,
) -> Result<Result<PathBuf, String>, Failure> {
    let directory = into.join(contender.commit.to_string());
    fs::create_dir_all(&directory)
        .map_err(|error| Refused::new(format!("--state-dir: {}: {error}", directory.display())))?;
    let progress = Progress::default();
    let limit = criteria.max_repository_bytes;
    let repo = &contender.model.repo;
    let say = |event| progress.say(&event);
    let downloaded = hub.download(repo, contender.commit, &directory, limit, &say);
    if let Err(error) = downloaded.await {
        return match error.class() {
            Class::Fatal => Ok(Err(error.to_string())),
            _ => Err(out_of_reach(error)),
        };
    }
    let contender = contender.clone();
    let criteria = criteria.clone();
    let checked = tokio::task::spawn_blocking(move || {
        check::check(&directory, &contender, &criteria).map(|()| directory)
    });
    Ok(checked.await.map_err(anyhow::Error::from)?)
}

/// A download's events, as far as a log wants them.
#[derive(Default)]
struct Progress(Mutex<Option<Instant>>);

impl Progress {
    fn say(&self, event: &Event) {
        let mut said_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said_at.is_some_and(|said_at| said_at.elapsed() < PROGRESS_EVERY) {
            return;
        }
        let megabytes = |bytes: &u64| *bytes as f64 / 1e6;
        match event {
            Event::Transferred { done, total } => tracing::info!(
                "downloaded {:.1} of {:.1} MB",
                megabytes(done),
                megabytes(total)
            ),
            Event::Waiting { why, left } => {
                tracing::warn!("waiting {} s more for the Hub: {why}", left.as_secs());
            }
            Event::Retrying { why, .. } => tracing::warn!("trying again: {why}"),
            _ => return,
        }
        *said_at = Some(Instant::now());
    }
}

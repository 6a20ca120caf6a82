//! The coordinator's command line.

mod backup;
mod store;
mod times;

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use chain::{Endpoint, Network};
use clap::{Args, Parser, Subcommand};
use client::Address;
use run::RunArgs;

use crate::checkpoints::CheckpointArgs;
use crate::events::Kind;

pub use backup::{BackupArgs, RestoreArgs};
pub use store::{ElectionArgs, EtcdArgs, StoreArgs};
pub use times::TimesArgs;

/// Leads a Peregrine training cluster.
///
/// Waits for its workers, plans which of them prepares and trains on what,
/// keeps the ledger, the packed pages and the checkpoints, and tells what goes
/// on. Started again on the same --state-dir, it continues the run that is
/// there.
#[derive(Debug, Parser)]
#[command(
    name = "coordinator",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Exit codes: 0 the run is complete, or stopping was asked for; 1 failed, or \
                  `audit` found violations; 2 refused before it started; 3 the run cannot go on \
                  (it diverged, say: the events tell why); 4 chain, Hub, etcd or coordinator out \
                  of reach; 130 a second signal.\n\nSIGTERM and Ctrl-C stop the \
                  run in good order. Where several coordinators share a store, a leader hands over \
                  to a standby instead, if one is there: to stop the run, stop the standbys first."
)]
pub struct CoordinatorArgs {
    /// What to do instead of leading a cluster.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Flags of a coordinator that leads.
    #[command(flatten)]
    pub lead: LeadArgs,
}

/// What a coordinator can do besides leading.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a running coordinator does and who works for it.
    Status(StatusArgs),
    /// Print the steps of the surviving lineage, oldest first.
    Steps(StepsArgs),
    /// Print what happened in the run, oldest first.
    Events(EventsArgs),
    /// Compare what was fed to the model with the pages; fails on any
    /// difference.
    Audit(AuditArgs),
    /// Write the run's records, as of one moment, to a file.
    Backup(BackupArgs),
    /// Put the records of a backup into a store, of either kind.
    Restore(RestoreArgs),
}

/// Flags of a coordinator that leads a run.
#[derive(Args, Clone, Debug)]
pub struct LeadArgs {
    /// Workers to wait for before training begins. Later ones join, and others
    /// go on when one is lost, within --min-workers and --max-workers.
    #[arg(long, value_name = "N", required = true, help_heading = "Cluster")]
    pub workers: Option<u32>,

    /// Wait rather than train with fewer workers than this.
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Cluster")]
    pub min_workers: NonZeroU32,

    /// Keep more workers than this waiting, to take the place of one that is
    /// lost. [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    pub max_workers: Option<NonZeroU32>,

    /// Address and port to listen on; port 0 lets the system choose.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:50051",
        help_heading = "Cluster"
    )]
    pub listen: SocketAddr,

    /// Where workers, publishers and other coordinators reach this one, when
    /// several share a store. [default: the address it listens on]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Cluster")]
    pub advertise: Option<Address>,

    /// File to write the bound address to, once connections are accepted.
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub address_file: Option<PathBuf>,

    /// Folder of the run's ledger, packed pages and checkpoints.
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".peregrine/coordinator",
        help_heading = "Cluster"
    )]
    pub state_dir: PathBuf,

    /// Name of the run. [default: drawn when the run begins]
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    pub run_id: Option<String>,

    /// Where the run's records are kept.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Waiting for the lead.
    #[command(flatten)]
    pub election: ElectionArgs,

    /// What defines the run.
    #[command(flatten)]
    pub run: RunArgs,

    /// Weights to start from.
    #[command(flatten)]
    pub load: LoadArgs,

    /// What to train on.
    #[command(flatten)]
    pub data: DataArgs,

    /// When checkpoints are taken, and how many are kept.
    #[command(flatten)]
    pub checkpoints: CheckpointArgs,

    /// How patient to be.
    #[command(flatten)]
    pub times: TimesArgs,

    /// The chain.
    #[command(flatten)]
    pub chain: ChainArgs,

    /// Go on serving checkpoints when the run is complete, until stopped.
    #[arg(long, help_heading = "Cluster")]
    pub keep_serving: bool,

    /// Events to keep; older ones are deleted.
    #[arg(
        long,
        value_name = "N",
        default_value = "200000",
        help_heading = "Cluster"
    )]
    pub keep_events: NonZeroU64,
}

/// Weights to start from.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// Start from the model in this directory, as transformers writes it.
    #[arg(
        long = "load_model_dir",
        value_name = "DIR",
        conflicts_with = "load_model",
        help_heading = "Model"
    )]
    pub load_model_dir: Option<PathBuf>,

    /// Start from this file of weights (safetensors); --model_config or
    /// --preset says what model they are of, or else the config.json beside it.
    #[arg(long = "load_model", value_name = "FILE", help_heading = "Model")]
    pub load_model: Option<PathBuf>,

    /// Start from the model that this miner of the subnet has committed. It is
    /// downloaded, and compared with the hash on the chain.
    #[arg(
        long = "load_uid",
        value_name = "UID",
        conflicts_with_all = ["load_model_dir", "load_model", "load_best"],
        help_heading = "Model"
    )]
    pub load_uid: Option<u16>,

    /// Start from the model of the miner with the highest incentive; of several,
    /// the lowest uid. Miners without a usable model are passed over.
    #[arg(
        long = "load_best",
        conflicts_with_all = ["load_model_dir", "load_model"],
        help_heading = "Model"
    )]
    pub load_best: bool,

    /// The Hub from which --load_uid and --load_best download.
    #[arg(
        long,
        value_name = "URL",
        env = "HF_ENDPOINT",
        default_value = hub::DEFAULT_ENDPOINT,
        help_heading = "Model"
    )]
    pub hf_endpoint: String,
}

/// What to train on.
#[derive(Args, Clone, Debug, Default)]
pub struct DataArgs {
    /// Train on local files (parquet, JSON Lines or text), instead of a dataset
    /// on the Hub: a file or a folder, which every worker must have too.
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with_all = ["dataset", "dataset_config", "dataset_split"],
        help_heading = "Data"
    )]
    pub data: Option<PathBuf>,

    /// Dataset on the Hub. [default: tiiuae/falcon-refinedweb]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub dataset: Option<String>,

    /// Configuration of the dataset. [default: default]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub dataset_config: Option<String>,

    /// Split of the dataset. [default: train]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub dataset_split: Option<String>,

    /// Column, or field, that holds the text. [default: content]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub column: Option<String>,

    /// Dataset server to ask for rows, such as a mirror.
    #[arg(
        long,
        value_name = "URL",
        env = "PEREGRINE_DATASET_ENDPOINT",
        default_value = pages::DEFAULT_ENDPOINT,
        help_heading = "Data"
    )]
    pub dataset_endpoint: String,

    /// A tokenizer.json to use instead of GPT-2's vocabulary, which is built in.
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub tokenizer: Option<PathBuf>,
}

impl DataArgs {
    /// Whether any flag says what to train on.
    pub(crate) fn names_rows(&self) -> bool {
        let Self {
            data,
            dataset,
            dataset_config,
            dataset_split,
            column,
            dataset_endpoint: _,
            tokenizer: _,
        } = self;
        let hub = [dataset, dataset_config, dataset_split, column];
        data.is_some() || hub.iter().any(|flag| flag.is_some())
    }
}

/// The chain, for models that are loaded from it.
#[derive(Args, Clone, Debug)]
pub struct ChainArgs {
    /// The subnet of --load_uid and --load_best.
    #[arg(long, value_name = "N", default_value_t = 9, help_heading = "Chain")]
    pub netuid: u16,

    /// The chain's network.
    #[arg(
        long = "subtensor.network",
        value_name = "NETWORK",
        default_value = "finney",
        help_heading = "Chain"
    )]
    pub subtensor_network: Network,

    /// A node of the chain to ask, instead of the network's own; given again,
    /// one more to turn to when the first does not answer.
    #[arg(
        long = "subtensor.chain_endpoint",
        value_name = "WS_URL",
        help_heading = "Chain"
    )]
    pub chain_endpoints: Vec<Endpoint>,

    /// Hold a loaded model to the criteria that validators had at this block.
    /// [default: the newest block]
    #[arg(long, value_name = "BLOCK", help_heading = "Chain")]
    pub criteria_block: Option<u64>,

    /// Contact neither the chain nor the Hub. The dataset server is still asked
    /// for rows, unless --data is given.
    #[arg(long, help_heading = "Chain")]
    pub offline: bool,
}

/// Flags of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// The coordinator to ask; of several, separated by commas or given again,
    /// the one that leads. A standby says that it is one.
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:50051"
    )]
    pub coordinator: Vec<Address>,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Whom to ask: a running coordinator, or the state that it keeps.
#[derive(Args, Clone, Debug)]
pub struct SubjectArgs {
    /// The running coordinator to ask; of several, separated by commas or given
    /// again, the one that leads.
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        conflicts_with_all = ["state_dir", "store"],
        required_unless_present_any = ["state_dir", "store"]
    )]
    pub coordinator: Vec<Address>,

    /// The --state-dir of a coordinator that has stopped; with --store, a folder
    /// that holds its packed pages.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// The --store, which may be in use.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Flags of `steps`.
#[derive(Args, Clone, Debug)]
pub struct StepsArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub subject: SubjectArgs,

    /// The first step to print, counted from 0.
    #[arg(long, value_name = "STEP", default_value_t = 0)]
    pub from: u64,

    /// Print steps as they come until the run ends; one JSON object a line with
    /// --json.
    #[arg(long, conflicts_with_all = ["state_dir", "store"])]
    pub follow: bool,

    /// Print one JSON array of objects.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `events`.
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub subject: SubjectArgs,

    /// Only the newest N events, of the kinds that are asked for.
    #[arg(long, value_name = "N", conflicts_with = "from")]
    pub last: Option<u64>,

    /// The first event to print, by its sequence. [default: the oldest one kept]
    #[arg(long, value_name = "SEQUENCE")]
    pub from: Option<u64>,

    /// Only events of this kind; given again, one more.
    #[arg(long = "kind", value_name = "KIND")]
    pub kinds: Vec<Kind>,

    /// Print events as they come until the run is over, across restarts of the
    /// coordinator.
    #[arg(long, conflicts_with_all = ["state_dir", "store"])]
    pub follow: bool,

    /// Print one JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `audit`.
#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub subject: SubjectArgs,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

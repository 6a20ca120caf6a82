//! The worker's command line: what is local to one machine and device.
//!
//! Everything that defines the run is the coordinator's and arrives when the
//! worker joins.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::device::{DeviceChoice, PrecisionChoice};
use crate::source::LocalData;

/// Trains as one member of a Peregrine cluster.
///
/// Joins the coordinator, fetches and packs the pages it is assigned, trains on
/// its share of every step, and averages gradients with the other workers:
/// NCCL between GPUs, Gloo between CPUs.
#[derive(Debug, Parser)]
#[command(
    name = "worker",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
#[command(
    after_help = "Exit codes: 0 done or drained, 1 failed, 2 refused before it started, 3 the \
                  coordinator says that the run cannot go on, 75 asks its supervisor to restart \
                  it, 130 left at once. With --device cuda:all: the code on which the workers of \
                  all GPUs agree, else 1."
)]
pub struct WorkerArgs {
    /// What to do instead of training.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Training flags.
    #[command(flatten)]
    pub train: TrainArgs,
}

/// What a worker can do besides training.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the loss that a validator would compute for a model directory.
    Score(crate::score::ScoreArgs),
}

/// Flags of a training worker.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Where the coordinator listens; of several, separated by commas or given
    /// again, the one that leads is found and followed.
    #[arg(
        long,
        value_name = "HOST:PORT",
        help_heading = "Cluster",
        required = true
    )]
    pub coordinator: Vec<String>,

    /// Name that the worker keeps across restarts; ranks follow names. By
    /// default the host's name and the device.
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub name: Option<String>,

    /// Host name or address at which other workers reach this one. By default
    /// the address that faces the coordinator.
    #[arg(long, value_name = "HOST", help_heading = "Cluster")]
    pub advertise: Option<String>,

    /// Port of the rendezvous store when this worker is rank 0; 0 lets the
    /// system choose. Set it where a firewall opens single ports. Each worker of
    /// a machine needs its own: with --device cuda:all, the worker of the n-th
    /// GPU, counted from 0, takes PORT + n.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        help_heading = "Cluster"
    )]
    pub store_port: u16,

    /// Device to train on: cpu, cuda:N, cuda:all (one supervised process per
    /// GPU), or auto (cuda:0 where there is one).
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "auto",
        help_heading = "Device"
    )]
    pub device: DeviceChoice,

    /// Arithmetic of the forward and backward pass: fp32, bf16 (autocast over
    /// fp32 masters), or auto (bf16 on GPUs, fp32 on CPUs).
    #[arg(
        long,
        value_name = "PRECISION",
        default_value = "auto",
        help_heading = "Device"
    )]
    pub precision: PrecisionChoice,

    /// CPU threads for tensor operations; by default one per core.
    #[arg(long, value_name = "N", help_heading = "Device", value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Option<u32>,

    /// Folder for packed pages; shared by the workers of one machine.
    #[arg(
        long,
        value_name = "DIR",
        default_value = ".peregrine/worker",
        help_heading = "Data"
    )]
    pub cache_dir: PathBuf,

    /// Disk that the page cache may use, in MiB.
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 2048,
        help_heading = "Data"
    )]
    pub cache_mib: u64,

    /// Leave at once when standard input ends, which only the supervisor that
    /// started this worker keeps open.
    #[arg(long, hide = true)]
    pub supervised: bool,

    /// Where this machine's rows come from.
    #[command(flatten)]
    pub local: LocalData,
}

//! Flags of `backup` and `restore`.

use std::path::PathBuf;

use clap::Args;

use super::StoreArgs;

/// Flags of `backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// The --state-dir of a coordinator that has stopped; with --store, the
    /// folder of packed pages and checkpoints.
    #[arg(long, value_name = "DIR", required_unless_present = "store")]
    pub state_dir: Option<PathBuf>,

    /// The --store, which may be in use.
    #[command(flatten)]
    pub store: StoreArgs,

    /// File to write, or folder to write records.backup into: a folder if there
    /// is one, or with --packed or --checkpoints.
    #[arg(long, value_name = "FILE-OR-DIR")]
    pub to: PathBuf,

    /// Also back up packed pages, by hard link where that can be.
    #[arg(long, requires = "state_dir")]
    pub packed: bool,

    /// Also back up the checkpoints that are on record, by hard link where that
    /// can be.
    #[arg(long, requires = "state_dir")]
    pub checkpoints: bool,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `restore`.
#[derive(Args, Clone, Debug)]
pub struct RestoreArgs {
    /// The file or folder that `backup` wrote.
    #[arg(long, value_name = "FILE-OR-DIR")]
    pub from: PathBuf,

    /// The --state-dir to restore into; with --store, the folder for packed
    /// pages and checkpoints.
    #[arg(long, value_name = "DIR", required_unless_present = "store")]
    pub state_dir: Option<PathBuf>,

    /// The --store to restore into; no coordinator may lead on it.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Replace the records that are there, and files that hold something else.
    #[arg(long)]
    pub force: bool,

    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

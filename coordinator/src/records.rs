//! The facts of a run that are kept, and the small types they are made of.
//!
//! They are the vocabulary that the state machine, the store and the services
//! share; none of them knows how it is stored or sent.

use std::fmt;

use ledger::{Cursor, GenerationRecord, PageRow, Slot, StepReport};
use serde::{Deserialize, Serialize};

/// The name under which the coordinator knows a worker. Ranks follow it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub String);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for WorkerId {
    fn from(name: &str) -> WorkerId {
        WorkerId(name.to_owned())
    }
}

/// The name of a checkpoint, and of its folder: `step-00000042-g3`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId(pub String);

impl CheckpointId {
    /// The checkpoint taken in `generation` when `step` steps were done.
    pub fn of(step: u64, generation: u64) -> CheckpointId {
        CheckpointId(format!("step-{step:08}-g{generation}"))
    }

    /// The weights that a run starts from, when it does not start from scratch.
    pub fn initial() -> CheckpointId {
        CheckpointId("initial".to_owned())
    }

    /// The step in the name; `None` if it is not of the form of [`CheckpointId::of`].
    pub fn step(&self) -> Option<u64> {
        let (step, generation) = self.0.strip_prefix("step-")?.split_once("-g")?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_well_formed = step.len() >= 8 && is_number(step) && is_number(generation);
        is_well_formed.then(|| step.parse().ok()).flatten()
    }

    /// Whether a checkpoint can have this name.
    pub fn is_well_formed(&self) -> bool {
        *self == CheckpointId::initial() || self.step().is_some()
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A generation, and what is known of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptGeneration {
    /// Parent, base and members.
    pub record: GenerationRecord,
    /// The process of each member, as it called itself when it joined.
    pub instances: Vec<String>,
    /// The lease that its members were granted, in milliseconds: a coordinator
    /// that is started again with a shorter one has to outwait this.
    pub lease_ms: u64,
    /// Why it was formed, in words.
    pub reason: String,
    /// Whether a member is known to have left it, so that none of its
    /// collectives can ever finish again.
    pub ended: bool,
}

/// Where the reporting rank's wall time went in one step, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepTimes {
    /// The whole step.
    pub total: f64,
    /// Waiting for packed pages.
    pub data: f64,
    /// The forward pass.
    pub forward: f64,
    /// The backward pass, less the communication that it did not hide.
    pub backward: f64,
    /// Waiting for other ranks and the network.
    pub communication: f64,
    /// The optimizer.
    pub optimizer: f64,
    /// Copying weights and state for a checkpoint.
    pub checkpoint: f64,
}

/// A step's report with what the ledger has no use for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reported {
    /// What the ledger audits.
    pub report: StepReport,
    /// The learning rate that the optimizer used.
    pub learning_rate: f64,
    /// Where the time went.
    pub times: StepTimes,
}

impl Reported {
    /// Tokens of the whole cluster per second of this step; `None` where no
    /// time was reported.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.times.total;
        (seconds > 0.0 && seconds.is_finite()).then(|| self.report.tokens as f64 / seconds)
    }
}

/// The validator's loss on the run's evaluation pages, at one point of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The point.
    pub cursor: Cursor,
    /// Mean loss in nats.
    pub loss: f64,
    /// How many sequences it is a mean over.
    pub sequences: u64,
    /// Whether it is the epoch's training average, for want of evaluation pages.
    pub from_training: bool,
}

/// Whom a checkpoint's file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// Part of the model directory that transformers reads.
    Model,
    /// Training state, which only a worker reads.
    State,
}

impl FileKind {
    /// The folder inside a checkpoint's folder that holds files of this kind.
    pub fn folder(self) -> &'static str {
        match self {
            FileKind::Model => "model",
            FileKind::State => "state",
        }
    }
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    /// A plain file name.
    pub name: String,
    /// Whom it is for.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
}

/// The manifest of a complete checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Its name.
    pub id: CheckpointId,
    /// The generation that wrote it; 0 for initial weights.
    pub generation: u64,
    /// The point of the run whose state it holds.
    pub cursor: Cursor,
    /// The evaluation at that point, if there was one.
    pub evaluation: Option<Evaluation>,
    /// Mean training loss over the epoch so far, in nats per token.
    pub training_loss: f64,
    /// Parameters of the model.
    pub parameters: u64,
    /// Its files, each once.
    pub files: Vec<CheckpointFile>,
    /// When it became complete.
    pub created_unix_ms: u64,
}

impl Checkpoint {
    /// Whether these are the weights that the run started from, rather than
    /// a state to resume.
    pub fn is_initial(&self) -> bool {
        self.id == CheckpointId::initial()
    }

    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Whether both hold the same bytes for the same point of the run.
    pub fn same_content(&self, other: &Checkpoint) -> bool {
        self.id == other.id && self.cursor == other.cursor && self.files == other.files
    }
}

/// A hotkey that was lent to a publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The hotkey's ss58 address.
    pub hotkey: String,
    /// Tells the publisher's process from every other.
    pub instance: String,
    /// Who that is, in words.
    pub holder: String,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// One fact to be made durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The leader term of this coordinator's life.
    Term(u64),
    /// A generation, new or with its end.
    Generation(KeptGeneration),
    /// A row of the page table.
    Row(Slot, PageRow),
    /// A step.
    Step(Reported),
    /// An evaluation in a generation.
    Evaluation(u64, Evaluation),
    /// A complete checkpoint.
    Checkpoint(Checkpoint),
    /// A checkpoint that is no longer kept.
    CheckpointForgotten(CheckpointId),
    /// The run is complete at this point.
    Complete(Cursor),
}

//! The words by which scripts know events.

use clap::ValueEnum;

use super::Severity;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident => $word:literal, $severity:ident;)*) => {
        /// What an event is about. `docs/events.md` lists the fields of each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];

            /// The kind's word, which never changes its meaning.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$kind => $word,)*
                }
            }

            /// How much an event of this kind usually matters.
            pub fn severity(self) -> Severity {
                match self {
                    $(Kind::$kind => Severity::$severity,)*
                }
            }
        }
    };
}

kinds! {
    /// A coordinator leads the run from here on.
    CoordinatorStarted => "coordinator-started", Info;
    /// A standby leads the run from here on.
    CoordinatorTookOver => "coordinator-took-over", Warning;
    /// A coordinator ended in good order.
    CoordinatorStopped => "coordinator-stopped", Info;
    /// The coordinator was asked to stop.
    Stopping => "stopping", Info;
    /// A worker joined.
    WorkerJoined => "worker-joined", Info;
    /// A worker's session ended or fell silent.
    WorkerLost => "worker-lost", Info;
    /// A worker keeps its generation waiting.
    Straggled => "straggled", Warning;
    /// A worker that broke generation after generation is left out.
    WorkerSetAside => "worker-set-aside", Warning;
    /// A worker that was set aside may take part again.
    WorkerReadmitted => "worker-readmitted", Info;
    /// A worker did what it should not have.
    WorkerFault => "worker-fault", Warning;
    /// The next generation cannot be formed yet.
    Waiting => "waiting", Info;
    /// A generation was formed.
    GenerationFormed => "generation-formed", Info;
    /// A generation outlived the coordinator that formed it.
    GenerationAdopted => "generation-adopted", Info;
    /// A generation's members begin to step.
    GenerationRunning => "generation-running", Info;
    /// A generation is told to end.
    GenerationLeaving => "generation-leaving", Info;
    /// Nobody is left in a generation.
    GenerationEnded => "generation-ended", Info;
    /// A step is durable.
    Step => "step", Info;
    /// An epoch is trained.
    EpochTrained => "epoch-trained", Info;
    /// The ranks have evaluated.
    Evaluated => "evaluated", Info;
    /// A checkpoint is durable.
    CheckpointKept => "checkpoint-kept", Info;
    /// A checkpoint is no longer needed.
    CheckpointDropped => "checkpoint-dropped", Debug;
    /// A checkpoint's files are damaged, and it is dropped.
    CheckpointDamaged => "checkpoint-damaged", Warning;
    /// A checkpoint could not be restored, and its files are whole.
    CheckpointSound => "checkpoint-sound", Warning;
    /// A checkpoint was not taken in.
    CheckpointRefused => "checkpoint-refused", Warning;
    /// A page can never be read.
    PageSkipped => "page-skipped", Warning;
    /// A page could not be prepared this time.
    PageDelayed => "page-delayed", Warning;
    /// The run is complete.
    RunComplete => "run-complete", Info;
    /// The run cannot go on.
    RunFailed => "run-failed", Error;
}

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Kind] {
        Kind::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.as_str()))
    }
}

//! Rules that can be broken on purpose, so that the simulation can show that it
//! would notice.
//!
//! Architecture invariant: without the feature `sabotage` no switch exists, and
//! with it only code can throw one: no flag and no setting of a run does.

use super::settings::Settings;

/// A rule that a machine stops keeping.
#[cfg_attr(
    not(feature = "sabotage"),
    expect(unreachable_pub, reason = "exported with the feature")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The next generation waits neither for a member of the last one to leave
    /// nor for its lease to run out.
    FormWithoutWaiting,
    /// A generation begins with the latest checkpoint even where a member's
    /// state is further.
    BaseFromCheckpoint,
    /// A generation begins with the state of whoever has applied least.
    BaseFromLaggard,
    /// Members are not told that their generation ends.
    NeverAbort,
    /// Reports of generations that were replaced are taken in.
    AcceptOldReports,
    /// Checkpoints of steps that were rolled back are kept.
    AcceptOldCheckpoints,
    /// Every report counts, also of a step that was reported before.
    CountReportsTwice,
    /// A restarted coordinator forgets the generation that may be stepping.
    ForgetGeneration,
    /// A restarted coordinator leads with the term of the one before.
    KeepTerm,
    /// Members that fall silent or hang are waited for until they go on.
    LeaveNobodyBehind,
}

impl Settings {
    /// Whether a rule is broken on purpose.
    pub(super) fn breaks(&self, sabotage: Sabotage) -> bool {
        #[cfg(feature = "sabotage")]
        let broken = self.sabotage == Some(sabotage);
        #[cfg(not(feature = "sabotage"))]
        let broken = {
            let _ = sabotage;
            false
        };
        broken
    }
}

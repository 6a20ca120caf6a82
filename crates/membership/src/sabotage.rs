//! Rules that can be broken on purpose.

/// A rule that a worker stops keeping, so that a test can see who notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A lease that has run out is not noticed.
    IgnoreLease,
    /// Messages of leaders that were replaced are believed.
    AcceptLowerTerms,
    /// Generations that are over are entered again.
    AcceptLowerGenerations,
    /// The lease counts from when the answer came, not from when the heartbeat
    /// was sent.
    LeaseFromAnswer,
    /// What nobody has acknowledged is not said again after a reconnection.
    ForgetReports,
}

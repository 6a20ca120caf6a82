//! What came of a fault.

use super::Kind;
use crate::Cut;

/// A fault that was injected, and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Injected {
    /// What was done.
    pub kind: Kind,
    /// To which worker, unless it was the coordinator.
    pub victim: Option<String>,
    /// What a cut lost, as the machine at its end saw it.
    pub cut: Option<Cut>,
    /// Seconds from the fault until it was undone.
    pub lasted: f64,
    /// The generation that it struck.
    pub generation: u64,
    /// The last step that was reported before it.
    pub step: u64,
    /// Seconds until a later generation reported a step; `None` when the
    /// generation lived on. They count from the fault when a worker was struck,
    /// and from when it was undone when the coordinator was: meanwhile nobody
    /// could have formed one.
    pub recovery: Option<f64>,
    /// Seconds until the next step was reported, counted alike.
    pub next_step: f64,
    /// Seconds of the longest step from the fault until then: how long the
    /// workers stood still where nobody could be asked.
    pub longest_step: f64,
    /// The first generation afterwards in which all workers stepped; `None`
    /// while there is none.
    pub settled_in: Option<u64>,
}

impl Injected {
    /// Whether the generation that was struck went on with everyone in it.
    #[must_use]
    pub fn lived_on(&self) -> bool {
        self.settled_in == Some(self.generation)
    }
}

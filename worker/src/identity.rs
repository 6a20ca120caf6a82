//! Who this process is to the coordinator.

use std::sync::atomic::{AtomicU64, Ordering};

use proto::v1;

/// Fixed at the first join, but for the coordinator's term.
#[derive(Debug)]
pub(crate) struct Identity {
    run_id: String,
    worker_id: String,
    term: AtomicU64,
}

impl Identity {
    /// As the coordinator answered the first join.
    pub(crate) fn new(context: &v1::Context) -> Self {
        Self {
            run_id: context.run_id.clone(),
            worker_id: context.worker_id.clone(),
            term: AtomicU64::new(context.term),
        }
    }

    pub(crate) fn run_id(&self) -> &str {
        &self.run_id
    }

    pub(crate) fn worker_id(&self) -> &str {
        &self.worker_id
    }

    /// The highest leader term seen.
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::SeqCst)
    }

    /// Takes note of a term; `false` if a higher one was seen before, so that
    /// whoever sent this one no longer leads.
    pub(crate) fn observe_term(&self, term: u64) -> bool {
        self.term.fetch_max(term, Ordering::SeqCst) <= term
    }

    /// The context of a message about `generation`.
    pub(crate) fn context(&self, generation: u64) -> v1::Context {
        v1::Context {
            run_id: self.run_id.clone(),
            term: self.term(),
            generation,
            worker_id: self.worker_id.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deposed_leader_is_told_from_its_successor() {
        let identity = Identity::new(&v1::Context {
            term: 3,
            ..Default::default()
        });
        assert!(identity.observe_term(3));
        assert!(identity.observe_term(4));
        assert!(!identity.observe_term(3));
        assert_eq!(identity.context(1).term, 4);
    }
}

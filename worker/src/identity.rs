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

    pub(crate) fn worker_id(&self) -> &str {
        &self.worker_id
    }

    /// The highest leader term seen.
    pub(crate) fn term(&self) -> u64 {
        self.term.load(Ordering::SeqCst)
    }

    /// Takes note of the term that the membership goes by.
    pub(crate) fn follow_term(&self, term: u64) {
        self.term.fetch_max(term, Ordering::SeqCst);
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
    fn calls_name_the_highest_term() {
        let identity = Identity::new(&v1::Context {
            term: 3,
            ..Default::default()
        });
        identity.follow_term(4);
        identity.follow_term(3);
        assert_eq!(identity.context(1).term, 4);
    }
}

//! Whose commitment a publication is: of which hotkey, for which subnet, on which
//! chain.

use crate::error::Error;
use crate::journal::{Committer, Mishaps, Publication, Stage};
use crate::state_dir::StateDir;

impl Publication {
    /// Whether its commitment has been made, or has begun.
    pub(crate) fn has_begun_to_commit(&self) -> bool {
        self.is_being_committed() || matches!(self.stage, Stage::ReadBack { .. })
    }

    /// Whether what the journal says of its commitment happened on another chain
    /// than the one asked now.
    pub(crate) fn is_of_another_chain(&self, ours: &Committer) -> bool {
        let genesis = self.committer.as_ref().and_then(|its| its.genesis.as_ref());
        let differs = match (genesis, &ours.genesis) {
            (Some(its), Some(ours)) => its != ours,
            // Nobody knows: a record of an earlier version, or a chain that cannot be
            // reached.
            _ => false,
        };
        differs && self.has_begun_to_commit()
    }

    /// Makes its commitment ours. What has happened on another chain is forgotten:
    /// whoever goes back to that one reads it first, and finds it there.
    ///
    /// # Errors
    /// Refused when it was committed, or may have been, for another hotkey or subnet.
    pub(crate) fn claim(&mut self, ours: &Committer, state: &StateDir) -> Result<(), Error> {
        if self.is_of_another_chain(ours) {
            self.start_anew();
        }
        if let Some(theirs) = &self.committer
            && self.has_begun_to_commit()
        {
            if (theirs.hotkey, theirs.netuid) == (ours.hotkey, ours.netuid) {
                return Ok(());
            }
            let (begun, until) = match self.stage {
                Stage::ReadBack { .. } => ("was", ""),
                _ => ("is being", " until it is"),
            };
            return Err(Error::Refused(cli::Refused::new(format!(
                "--state-dir {}: {} {begun} committed for hotkey {} on subnet {}; start the \
                 publisher with that hotkey{until}, or name another folder",
                state.root().display(),
                self.checkpoint_id,
                theirs.hotkey,
                theirs.netuid
            ))));
        }
        self.committer = Some(ours.clone());
        Ok(())
    }

    /// Back to where nothing has been committed. What comes from a run has to prove
    /// once more that it is worth publishing; the Hub's commit is found there.
    fn start_anew(&mut self) {
        let stage = match (&self.run_id, self.stage.commit()) {
            (None, Some(commit)) => Stage::Verified { commit },
            _ => Stage::Staged,
        };
        self.reach(stage);
        self.committer = None;
        self.verdict = None;
        self.mishaps = Mishaps::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Intent;
    use crate::journal::tests::{every_stage, publication};

    fn committer(hotkey: u8, genesis: &str) -> Committer {
        Committer {
            hotkey: subnet::Account::from([hotkey; 32]),
            netuid: 9,
            hotkey_in_hash: false,
            genesis: Some(genesis.to_owned()),
        }
    }

    /// Each way in which a commitment may have begun.
    fn begun(by: &Committer) -> [Publication; 3] {
        let [_, _, verified, committed, read_back] = every_stage();
        [verified, committed, read_back].map(|stage| {
            let mut record = publication(stage);
            record.committer = Some(by.clone());
            if matches!(record.stage, Stage::Verified { .. }) {
                record.under_way = Some(Intent::Commit {
                    chain_string: record.chain_string(),
                    pending: None,
                    since_unix_ms: 3,
                });
            }
            record
        })
    }

    fn state() -> (tempfile::TempDir, StateDir) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        (folder, state)
    }

    #[test]
    fn what_has_not_begun_is_committed_by_whoever_is_asked_to() {
        let (_folder, state) = state();
        let [staged, uploaded, verified, ..] = every_stage();
        for stage in [staged, uploaded, verified] {
            let mut record = publication(stage.clone());
            for ours in [committer(1, "0x01"), committer(2, "0x02")] {
                record.claim(&ours, &state).unwrap();
                assert_eq!((&record.committer, &record.stage), (&Some(ours), &stage));
            }
        }
    }

    #[test]
    fn what_has_begun_goes_on_for_its_hotkey_and_is_refused_to_others() {
        let (_folder, state) = state();
        for before in begun(&committer(1, "0x01")) {
            let mut record = before.clone();
            record.claim(&committer(1, "0x01"), &state).unwrap();
            assert_eq!(record, before);
            let refused = record.claim(&committer(2, "0x01"), &state).unwrap_err();
            assert_eq!(record, before);
            let theirs = subnet::Account::from([1; 32]).to_string();
            for part in [&theirs, "c1", "subnet 9", "another folder"] {
                assert!(refused.to_string().contains(part), "{part}: {refused}");
            }
        }
    }

    #[test]
    fn what_has_begun_on_another_chain_starts_anew() {
        let (_folder, state) = state();
        for (run, stage) in [(Some("run".to_owned()), "staged"), (None, "verified")] {
            for mut record in begun(&committer(1, "0x01")) {
                record.run_id = run.clone();
                record.mishaps.failed_commitments = 2;
                let ours = committer(2, "0x02");
                record.claim(&ours, &state).unwrap();
                assert_eq!(record.stage.name(), stage);
                assert_eq!(record.committer, Some(ours));
                assert_eq!((record.under_way, record.verdict), (None, None));
                assert_eq!(record.mishaps, Mishaps::default());
            }
        }
    }

    #[test]
    fn a_chain_that_is_not_known_is_no_other_chain() {
        let (_folder, state) = state();
        let unknown = Committer {
            genesis: None,
            ..committer(1, "0x01")
        };
        for (theirs, ours) in [
            (&unknown, &committer(1, "0x01")),
            (&committer(1, "0x01"), &unknown),
        ] {
            for before in begun(theirs) {
                let mut record = before.clone();
                record.claim(ours, &state).unwrap();
                assert_eq!(record, before);
            }
        }
    }
}

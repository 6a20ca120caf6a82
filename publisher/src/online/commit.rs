//! Verified → committed → read back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use chain::CommitmentData;
use subnet::CommitId;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::upload::lost;
use super::{Again, Carrier, Committing, Hold, Setback, Stop};
use crate::Error;
use crate::clock::unix_ms;
use crate::commitment::{self, Class, CommitError, Event, Options, Pending, Receipt};
use crate::crash::{self, Point};
use crate::journal::{Intent, Publication, Stage};
use crate::state_dir::StateDir;

impl Carrier<'_> {
    /// One commitment on the chain, which the chain has finalized.
    pub(super) async fn commit(&mut self, commit: CommitId) -> Result<(), Stop> {
        let outside = self.outside;
        let Some(committing) = &outside.committing else {
            return Err(Stop::fatal(
                "no wallet is named, and the model is to be committed on the chain",
                "name one with --wallet.name and --wallet.hotkey",
            ));
        };
        if self.record.under_way.is_none() {
            // What was signed before is followed to its end, with or without the
            // hotkey; nothing new begins.
            self.check_hold()?;
        }
        if self.claim(committing).await? {
            return Ok(());
        }
        let chain_string = self.record.chain_string();
        let receipt = self.submit(&chain_string).await?;
        crash::point(Point::AfterCommitment);
        let Receipt {
            block,
            extrinsic,
            fee,
            adopted,
        } = receipt;
        if adopted {
            info!("the chain has it already, in block {block}");
        }
        if let Some(extrinsic) = extrinsic {
            info!("committed in block {block} by extrinsic {extrinsic}");
        }
        if let Some(fee) = fee.filter(|fee| *fee > 0) {
            info!("the chain charged {fee} of its smallest unit for it");
        }
        let stage = Stage::Committed { commit, block };
        self.reach(stage, Point::AfterCommittedRecord).await?;
        Ok(())
    }

    /// Makes the commitment ours, on the chain that is asked now. Returns whether what
    /// the journal says of it is about another chain, so that it begins anew.
    async fn claim(&mut self, committing: &Committing) -> Result<bool, Stop> {
        self.leaving(committing.chain()).await?;
        let before = self.record.clone();
        self.record.claim(&committing.committer(), self.state)?;
        if self.record != before {
            self.write().await?;
        }
        let anew = before.has_begun_to_commit() && !self.record.has_begun_to_commit();
        if anew {
            info!("it was committed on another chain, and begins anew on this one");
        }
        Ok(anew)
    }

    /// Commits, and lets go only as long as nothing has been sent.
    async fn submit(&mut self, chain_string: &str) -> Result<Receipt, Stop> {
        let (outside, interrupt) = (self.outside, self.interrupt);
        let Some(committing) = &outside.committing else {
            return Err(Stop::Interrupted);
        };
        let chain = self.leaving(committing.chain()).await?;
        let pending = match &self.record.under_way {
            Some(Intent::Commit { pending, .. }) => pending.clone(),
            _ => None,
        };
        let sent = AtomicBool::new(self.record.under_way.is_some());
        let journal = IntentJournal {
            state: self.state.clone(),
            record: Mutex::new(self.record.clone()),
            failure: Mutex::new(None),
        };
        let (sender, mut events) = mpsc::unbounded_channel();
        let on_event = |event: Event| {
            match &event {
                Event::Accepted { .. } => crash::point(Point::AfterSubmission),
                Event::InBlock { .. } => crash::point(Point::AfterInclusion),
                _ => {}
            }
            // The receiver outlives the call.
            let _ = sender.send(event);
        };
        // Without this a loss of the hotkey after the first signature would not keep
        // a second one from being made.
        let may_sign = || {
            if interrupt.is_cancelled() {
                return Err("there is something better to do".to_owned());
            }
            let hold = outside.hold.as_ref().map_or(Ok(()), Hold::check);
            hold.map_err(|stop| stop.to_string())
        };
        let intend = |pending: &Pending| {
            crash::point(Point::BeforeCommitIntent);
            journal.intend(chain_string, pending)?;
            crash::point(Point::AfterCommitIntent);
            sent.store(true, Ordering::SeqCst);
            Ok(())
        };
        let options = Options {
            pending,
            failures: self.record.mishaps.failed_commitments,
            may_sign: &may_sign,
            journal: &intend,
            ..Options::default()
        };
        let hotkey = &committing.hotkey;
        let netuid = committing.netuid;
        let committed = commitment::commit(chain, hotkey, netuid, chain_string, options, &on_event);
        tokio::pin!(committed);
        // As in an upload: polled after the commitment, whose last poll may
        // have sent it.
        let let_go = async {
            let stop = tokio::select! {
                () = interrupt.cancelled() => Stop::Interrupted,
                () = lost(outside) => Stop::passing(
                    "the coordinator no longer confirms that no other publisher uses the hotkey",
                ),
            };
            match sent.load(Ordering::SeqCst) {
                false => stop,
                true => std::future::pending().await,
            }
        };
        tokio::pin!(let_go);
        let outcome = loop {
            tokio::select! {
                biased;
                committed = &mut committed => break committed,
                stop = &mut let_go => return Err(stop),
                Some(event) = events.recv() => tell(event),
            }
        };
        self.record = journal.take()?;
        let error = match outcome {
            Ok(receipt) => return Ok(receipt),
            Err(error) => error,
        };
        if !may_be_under_way(&error) {
            self.record.under_way = None;
            if error.failed_in_passing() {
                self.record.mishaps.failed_commitments += 1;
            }
            self.write().await?;
        }
        match error {
            CommitError::MayNotSign(_) if interrupt.is_cancelled() => Err(Stop::Interrupted),
            error => Err(as_stop(&error)),
        }
    }

    /// Asks the chain what it says, whatever was heard while committing.
    pub(super) async fn read_back(&mut self, commit: CommitId, block: u64) -> Result<(), Stop> {
        let outside = self.outside;
        let Some(committing) = &outside.committing else {
            return Err(Stop::fatal(
                "no wallet is named, and its commitment is to be read back",
                "name one with --wallet.name and --wallet.hotkey",
            ));
        };
        if self.claim(committing).await? {
            return Ok(());
        }
        let read = async {
            let chain = committing.chain().await?;
            let commitment = chain
                .commitment(committing.netuid, committing.account())
                .await?;
            Ok::<_, Stop>(commitment)
        };
        let chain_string = self.record.chain_string();
        let found = self.leaving(read).await?;
        let says = match &found {
            Some(commitment) => {
                let CommitmentData::Text(text) = &commitment.data else {
                    return Err(replaced(&chain_string, &commitment.data.to_string()));
                };
                if *text == chain_string && commitment.block == block {
                    crash::point(Point::AfterReadingBack);
                    let stage = Stage::ReadBack { commit, block };
                    self.reach(stage, Point::AfterReadBackRecord).await?;
                    return Ok(());
                }
                format!("{text:?} of block {}", commitment.block)
            }
            None => "nothing".to_owned(),
        };
        Err(replaced(&chain_string, &says))
    }
}

/// Makes durable what is about to be sent, from within the call that sends it.
struct IntentJournal {
    state: StateDir,
    record: Mutex<Publication>,
    failure: Mutex<Option<Error>>,
}

impl IntentJournal {
    /// Writes down that a transaction is about to be submitted; in words why it cannot.
    fn intend(&self, chain_string: &str, pending: &Pending) -> Result<(), String> {
        let mut record = lock(&self.record);
        record.under_way = Some(Intent::Commit {
            chain_string: chain_string.to_owned(),
            pending: Some(pending.clone()),
            since_unix_ms: unix_ms(),
        });
        record.waiting = None;
        record.write(&self.state).map_err(|error| {
            let why = error.to_string();
            *lock(&self.failure) = Some(error);
            why
        })
    }

    /// The record as it is now.
    fn take(&self) -> Result<Publication, Error> {
        match lock(&self.failure).take() {
            Some(error) => Err(error),
            None => Ok(lock(&self.record).clone()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Whether a transaction may still be included after this.
fn may_be_under_way(error: &CommitError) -> bool {
    match error {
        CommitError::Unfinished { pending, .. } => pending.is_some(),
        CommitError::Chain(_) | CommitError::ReadBack { .. } => true,
        CommitError::Length(_)
        | CommitError::NotRegistered { .. }
        | CommitError::MayNotSign(_)
        | CommitError::NotDurable(_)
        | CommitError::Quota { .. }
        | CommitError::Dispatch { .. }
        | CommitError::Refused(..)
        | CommitError::Unencodable { .. } => false,
    }
}

fn as_stop(error: &CommitError) -> Stop {
    let why = error.to_string();
    let now = match error {
        CommitError::Quota { quota, .. } => quota.block,
        CommitError::Dispatch { block, .. } => *block,
        _ => 0,
    };
    match error.class() {
        Class::Fatal => Stop::Fatal {
            reason: why,
            advice: None,
        },
        Class::Wait { until: Some(block) } => Stop::Setback(Setback {
            why,
            again: Again::AtBlock { block, now },
        }),
        Class::Wait { until: None } | Class::Retry => Stop::passing(why),
    }
}

fn replaced(committed: &str, found: &str) -> Stop {
    Stop::fatal(
        format!("{committed} was committed, and the chain says {found}"),
        "find out which other program commits with this hotkey, and stop it",
    )
}

fn tell(event: Event) {
    match event {
        Event::Submitting(_) => info!("signing the commitment and sending it"),
        Event::Accepted { endpoint } => info!("{endpoint} has taken the commitment"),
        Event::InBlock { block } => info!("the commitment is in block {block}, not yet final"),
        Event::Retracted { block } => {
            warn!("block {block}, which held the commitment, is no longer part of the chain");
        }
        Event::InDoubt { why, until_block } => warn!(
            "what became of the commitment is not known ({why}); the chain is asked, at most up \
             to block {until_block}"
        ),
        Event::Again { why } => warn!("{why}; trying again"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::journal::tests::publication;

    #[test]
    fn an_intent_that_cannot_be_written_is_an_error_twice_over() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        // What cannot be replaced by a file.
        fs::create_dir_all(state.record("c1").join("in the way")).unwrap();
        let journal = IntentJournal {
            state,
            record: Mutex::new(publication(Stage::Staged)),
            failure: Mutex::new(None),
        };
        let pending = Pending {
            hash: "0x01".to_owned(),
            signed: "ff".to_owned(),
            nonce: 1,
            first_block: 2,
            last_block: 3,
            spec_version: 4,
            origin: None,
        };
        let why = journal.intend("a:b:c:d", &pending).unwrap_err();
        assert!(why.contains("c1.json"), "{why}");
        assert_eq!(journal.take().unwrap_err().to_string(), why);
    }
}

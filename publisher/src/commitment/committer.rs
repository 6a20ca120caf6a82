//! The loop that commits.

use chain::{
    Chain, Commitment, DispatchFailure, FinalizedHeads, Inclusion, PoolWatch, SubmitError, View,
};
use subnet::MAX_CHAIN_BYTES;
use wallet::Hotkey;

use super::refusal::{self, Failed, MAX_FAILURES, Meaning, meaning};
use super::settle::{Fate, Settling};
use super::transaction::Origin;
use super::{Class, CommitError, Event, Options, Pending, Receipt, transaction, turn};

/// Commits a chain string for a hotkey, unless the chain holds it already, and
/// returns once the finalized chain says so.
///
/// It can be dropped at any moment, and the process killed: the next attempt finds
/// out what came of this one. It is quicker at that with the transaction that
/// [`Options::journal`] was given, as [`Options::pending`].
///
/// # Errors
/// See [`CommitError::class`] for what to do.
pub async fn commit(
    chain: &Chain,
    hotkey: &Hotkey,
    netuid: u16,
    chain_string: &str,
    options: Options<'_>,
    events: &(dyn Fn(Event) + Send + Sync),
) -> Result<Receipt, CommitError> {
    if chain_string.is_empty() || chain_string.len() > MAX_CHAIN_BYTES {
        return Err(CommitError::Length(chain_string.len()));
    }
    let _turn = turn::take(hotkey.account()).await;
    let mut committer = Committer {
        chain,
        hotkey,
        netuid,
        chain_string,
        options: &options,
        events,
        heads: chain.finalized_heads(),
        pending: None,
        last_failure: None,
    };
    committer.take_up();
    let reason = match tokio::time::timeout(options.deadline, committer.run()).await {
        Ok(Err(error)) if error.class() == Class::Retry && committer.pending.is_some() => {
            error.to_string()
        }
        Ok(result) => return result,
        Err(_elapsed) => {
            let late = format!("the commitment was not final within {:?}", options.deadline);
            match &committer.last_failure {
                Some(why) => format!("{late}; {why}"),
                None => late,
            }
        }
    };
    Err(CommitError::Unfinished {
        reason,
        pending: committer.pending.map(Box::new),
    })
}

struct Committer<'a> {
    chain: &'a Chain,
    hotkey: &'a Hotkey,
    netuid: u16,
    chain_string: &'a str,
    options: &'a Options<'a>,
    events: &'a (dyn Fn(Event) + Send + Sync),
    heads: FinalizedHeads,
    /// The transaction that may be included. While there is one, no other is signed.
    pending: Option<Pending>,
    /// Why the last attempt came to nothing, in words.
    last_failure: Option<String>,
}

impl Committer<'_> {
    fn origin(&self) -> Origin {
        Origin::new(self.chain.genesis(), self.netuid, self.hotkey.account())
    }

    /// Takes up the transaction that an earlier attempt left. To offer one of another
    /// hotkey would be to commit for a hotkey that is no longer asked to, and its nonce
    /// says nothing here; what came of it is for that hotkey to read.
    fn take_up(&mut self) {
        let Some(left) = &self.options.pending else {
            return;
        };
        if left.origin.as_ref() == Some(&self.origin()) {
            self.pending = Some(left.clone());
        } else {
            let of = "is of another hotkey, subnet or chain";
            self.again(format!("transaction {} {of}, and left alone", left.hash));
        }
    }

    async fn run(&mut self) -> Result<Receipt, CommitError> {
        let mut watch = None;
        loop {
            if let Some(pending) = self.pending.clone() {
                if let Some(receipt) = self.settle(&pending, watch.take()).await? {
                    return Ok(receipt);
                }
                continue;
            }
            let view = self.chain.finalized().await?;
            if let Some(held) = self.held(&view).await?
                && held.data.text() == Some(self.chain_string)
            {
                // It outlives the registration, without which nobody looks at it.
                self.check_registration(&view).await?;
                return Ok(Receipt {
                    block: held.block,
                    extrinsic: None,
                    fee: None,
                    adopted: true,
                });
            }
            watch = self.submit(&view).await?;
        }
    }

    /// Signs one transaction by what the view says, and hands it to the view's node.
    /// Afterwards it is pending, or refused and nowhere.
    async fn submit(&mut self, view: &View) -> Result<Option<PoolWatch>, CommitError> {
        let account = self.hotkey.account();
        self.check_registration(view).await?;
        let quota = view.quota(self.netuid, account).await?;
        let length = self.chain_string.len();
        if !quota.allows(length) {
            return Err(CommitError::Quota {
                quota,
                until: quota.next_allowed_block(length),
            });
        }
        let nonce = view.nonce(account).await?;
        (self.options.may_sign)().map_err(CommitError::MayNotSign)?;
        let pending = transaction::sign(
            view,
            self.hotkey,
            self.origin(),
            self.chain_string,
            nonce,
            self.options.era_blocks,
        )?;
        let signed = hex::decode(&pending.signed).unwrap_or_default();
        (self.options.journal)(&pending).map_err(CommitError::NotDurable)?;
        self.pending = Some(pending.clone());
        (self.events)(Event::Submitting(pending.clone()));
        match view.submit(&signed).await {
            Ok(watch) => {
                let endpoint = view.endpoint().to_string();
                (self.events)(Event::Accepted { endpoint });
                Ok(Some(watch))
            }
            Err(SubmitError::Unknown(error)) => {
                (self.events)(Event::InDoubt {
                    why: error.to_string(),
                    until_block: pending.last_block,
                });
                Ok(None)
            }
            Err(SubmitError::Refused(refusal)) => match meaning(&refusal) {
                Meaning::Known => Ok(None),
                Meaning::NotRegistered => {
                    self.pending = None;
                    Err(self.not_registered(view).await)
                }
                Meaning::Never(advice) => {
                    self.pending = None;
                    Err(CommitError::Refused(refusal, advice))
                }
                Meaning::SignAgain => {
                    self.pending = None;
                    let why = format!("the node refuses the transaction: {refusal}");
                    self.again(why);
                    self.heads.next().await?;
                    Ok(None)
                }
            },
        }
    }

    /// Waits for the pending transaction's fate. A receipt ends it all; `None` means
    /// that nothing is pending any more.
    async fn settle(
        &mut self,
        pending: &Pending,
        watch: Option<PoolWatch>,
    ) -> Result<Option<Receipt>, CommitError> {
        let mut settling = Settling {
            chain: self.chain,
            account: self.hotkey.account(),
            events: self.events,
            heads: &mut self.heads,
        };
        let fate = settling.settle(pending, watch).await?;
        self.pending = None;
        match fate {
            Fate::Over(why) => {
                self.again(why);
                Ok(None)
            }
            // A transaction that an earlier attempt left may have been about another
            // string. Whether it was is read from the chain like all else.
            Fate::Included(_) if self.options.pending.as_ref() == Some(pending) => Ok(None),
            Fate::Included(inclusion) => match &inclusion.outcome {
                Ok(()) => self.read_back(pending, &inclusion).await.map(Some),
                Err(failure) => Err(self.failed(&inclusion, failure).await),
            },
        }
    }

    /// Compares what the finalized chain holds with what was committed.
    async fn read_back(
        &mut self,
        pending: &Pending,
        inclusion: &Inclusion,
    ) -> Result<Receipt, CommitError> {
        let view = loop {
            let view = self.chain.finalized().await?;
            if view.number() >= inclusion.block {
                break view;
            }
            // Another node, which lags behind.
            self.heads.next().await?;
        };
        let held = self.held(&view).await?;
        let ours = held.as_ref().is_some_and(|held| {
            held.block == inclusion.block && held.data.text() == Some(self.chain_string)
        });
        if !ours {
            return Err(CommitError::ReadBack {
                block: inclusion.block,
                found: describe(held.as_ref()),
            });
        }
        Ok(Receipt {
            block: inclusion.block,
            extrinsic: Some(pending.hash.clone()),
            fee: inclusion.fee,
            adopted: false,
        })
    }

    fn again(&mut self, why: String) {
        self.last_failure = Some(why.clone());
        (self.events)(Event::Again { why });
    }

    async fn held(&self, view: &View) -> Result<Option<Commitment>, CommitError> {
        Ok(view.commitment(self.netuid, self.hotkey.account()).await?)
    }

    async fn check_registration(&self, view: &View) -> Result<(), CommitError> {
        let uid = view.registration(self.netuid, self.hotkey.account());
        match uid.await? {
            Some(_) => Ok(()),
            None => Err(self.not_registered(view).await),
        }
    }

    /// The error of a hotkey without a place in the subnet, or of a subnet that is
    /// not there.
    async fn not_registered(&self, view: &View) -> CommitError {
        match view.subnet_exists(self.netuid).await {
            Ok(true) => CommitError::NotRegistered {
                hotkey: *self.hotkey.account(),
                netuid: self.netuid,
            },
            Ok(false) => chain::ChainError::NoSubnet(self.netuid).into(),
            Err(error) => error.into(),
        }
    }

    /// The error of a call that was executed and failed.
    async fn failed(&self, inclusion: &Inclusion, failure: &DispatchFailure) -> CommitError {
        let account = self.hotkey.account();
        let mut failures = 0;
        let class = match refusal::failed(&failure.name) {
            Failed::NotRegistered => {
                return CommitError::NotRegistered {
                    hotkey: *account,
                    netuid: self.netuid,
                };
            }
            Failed::Quota => {
                let quota = self.chain.quota(self.netuid, account).await;
                let until = quota
                    .ok()
                    .and_then(|quota| quota.next_allowed_block(self.chain_string.len()));
                Class::Wait { until }
            }
            Failed::Always => Class::Fatal,
            Failed::Perhaps => {
                failures = self.options.failures.saturating_add(1);
                if failures < MAX_FAILURES {
                    Class::Retry
                } else {
                    Class::Fatal
                }
            }
        };
        CommitError::Dispatch {
            block: inclusion.block,
            failure: failure.clone(),
            failures,
            class,
        }
    }
}

fn describe(held: Option<&Commitment>) -> String {
    match held {
        None => "that nothing was committed".to_owned(),
        Some(Commitment { block, data }) => format!("{data}, of block {block}"),
    }
}

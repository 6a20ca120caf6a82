//! Writing a keyspace in etcd, as its leader and no longer.
//!
//! Every transaction compares the leader's key with the token. What commits also
//! compares the leader's *mark*, the number of its last batch, and counts it on.
//! So a transaction whose answer was lost can be sent again: of all its copies,
//! however late they arrive, one at most finds the mark as it was, and the others
//! are answered with what they found instead.
//!
//! A batch that is larger than a transaction is first written aside in parts,
//! which nobody reads; then one transaction names the parts and counts the mark
//! on, and with it the batch is committed; then its changes are spread over their
//! keys, by this leader or by the next. See [`super::read`] for what readers make
//! of it meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd::txn::{created_by, delete, delete_range, found, get, put, value_is};
use etcd::wire::{Compare, KeyValue, RangeRequest, RequestOp, TxnRequest};
use tokio::sync::Mutex;

use super::LeaderInfo;
use super::fence::Fence;
use super::layout::{FORMAT, StagedBatch};
use super::read::Reading;
use super::staged::{self, Changes, MAX_BYTES, changes_of, fits, groups};
use crate::store::{Batch, StoreError};

/// Pauses between attempts of a transaction, from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// Marks of former leaders that are kept, for those that still want to know what
/// became of their last batch.
const MARKS_KEPT: usize = 8;

/// Writes for one leader.
pub(super) struct Writing {
    pub(super) reading: Reading,
    pub(super) fence: Arc<Fence>,
    pub(super) progress: Mutex<Progress>,
}

#[derive(Default)]
pub(super) struct Progress {
    /// The number of the last batch that was committed.
    mark: u64,
    /// How many large batches were begun.
    staged: u64,
    /// A batch that is committed and could not be spread yet.
    pending: Option<StagedBatch>,
    /// Whether a batch was given up without knowing whether it is committed.
    is_uncertain: bool,
}

#[cfg(test)]
impl Progress {
    pub(super) fn mark(&self) -> u64 {
        self.mark
    }
}

/// What a transaction found when its comparisons did not hold.
pub(super) struct Seen {
    leader: Option<KeyValue>,
    mark: Option<u64>,
    batch: Option<Vec<u8>>,
}

impl Writing {
    pub(super) fn new(reading: Reading, fence: Arc<Fence>) -> Writing {
        Writing {
            reading,
            fence,
            progress: Mutex::default(),
        }
    }

    /// Begins this leader's mark, finishes what the leader before has left, and
    /// tidies up.
    pub(super) async fn take_over(&self) -> Result<(), StoreError> {
        let mut progress = self.progress.lock().await;
        let layout = &self.reading.layout;
        let mark = layout.mark(self.fence.token);
        let first = vec![
            put(mark.clone(), encode_mark(0)),
            put(layout.format(), FORMAT.to_string().into_bytes()),
        ];
        let is_done = |seen: &Seen| seen.mark == Some(0);
        self.guarded(vec![created_by(&mark, 0)], first, is_done)
            .await?;
        if let Some((batch, _)) = self.reading.pending().await? {
            let changes = batch.changes;
            tracing::info!("finishing a batch of {changes} changes that another leader committed");
            self.spread(&batch).await?;
        }
        let (from, to) = layout.all_staged();
        let mut tidying = vec![delete_range(from, to)];
        let (from, to) = layout.marks();
        let marks = self.reading.client.range(RangeRequest {
            key: from.clone(),
            range_end: to,
            keys_only: true,
            ..RangeRequest::default()
        });
        let marks = marks.await?.kvs;
        if let Some(kept) = marks
            .len()
            .checked_sub(MARKS_KEPT)
            .and_then(|n| marks.get(n))
        {
            tidying.push(delete_range(from, kept.key.clone()));
        }
        // Counted like a batch: a copy that comes late must not delete the parts of
        // the next one.
        self.decide(&mut progress, tidying).await
    }

    /// Makes a batch durable, all or none.
    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let changes = changes_of(batch)?;
        let mut progress = self.progress.lock().await;
        self.fence.check()?;
        if progress.is_uncertain {
            return Err(StoreError::Uncertain {
                waited: Duration::ZERO,
                reason: "what became of an earlier batch is not known".to_owned(),
            });
        }
        if let Some(batch) = progress.pending.clone() {
            self.spread(&batch).await?;
            progress.pending = None;
        }
        if fits(&changes) {
            let operations = self.operations(changes);
            return self.decide(&mut progress, operations).await;
        }
        let batch = self.commit_parts(&mut progress, &changes).await?;
        // It is committed; who cannot spread it now does so before the next.
        if let Err(error) = self.spread(&batch).await {
            tracing::warn!("a committed batch is not spread over its keys yet: {error}");
            progress.pending = Some(batch);
        }
        Ok(())
    }

    /// Commits a batch that no transaction holds, without spreading it yet.
    pub(super) async fn commit_parts(
        &self,
        progress: &mut Progress,
        changes: &Changes,
    ) -> Result<StagedBatch, StoreError> {
        let encoded = staged::encode(changes);
        progress.staged += 1;
        let batch = StagedBatch {
            token: self.fence.token,
            number: progress.staged,
            parts: encoded.chunks(MAX_BYTES).len(),
            changes: changes.len(),
            sha256: staged::digest(&encoded),
        };
        self.stage(progress.mark, &batch, &encoded).await?;
        let naming = put(self.reading.layout.batch(), batch.encode()?);
        self.decide(progress, vec![naming]).await?;
        Ok(batch)
    }

    pub(super) fn operations(&self, changes: Changes) -> Vec<RequestOp> {
        let layout = &self.reading.layout;
        changes
            .into_iter()
            .map(|(key, value)| match value {
                Some(value) => put(layout.record(&key), value),
                None => delete(layout.record(&key)),
            })
            .collect()
    }

    /// Commits operations: what counts the mark on.
    async fn decide(
        &self,
        progress: &mut Progress,
        mut operations: Vec<RequestOp>,
    ) -> Result<(), StoreError> {
        let mark = self.reading.layout.mark(self.fence.token);
        let (before, after) = (progress.mark, progress.mark + 1);
        operations.push(put(mark.clone(), encode_mark(after)));
        let is_done = |seen: &Seen| seen.mark == Some(after);
        let unchanged = value_is(&mark, &encode_mark(before));
        let decided = self.guarded(vec![unchanged], operations, is_done).await;
        match &decided {
            Ok(()) => progress.mark = after,
            Err(StoreError::Uncertain { .. }) => progress.is_uncertain = true,
            Err(_) => {}
        }
        decided
    }

    /// Writes the parts of a large batch aside.
    pub(super) async fn stage(
        &self,
        mark: u64,
        batch: &StagedBatch,
        encoded: &[u8],
    ) -> Result<(), StoreError> {
        let layout = &self.reading.layout;
        // A copy that comes after the batch was committed writes nothing.
        let unchanged = value_is(&layout.mark(self.fence.token), &encode_mark(mark));
        for (part, bytes) in encoded.chunks(MAX_BYTES).enumerate() {
            let key = layout.part(batch.token, batch.number, part);
            let writing = vec![put(key, bytes.to_vec())];
            self.guarded(vec![unchanged.clone()], writing, |_| false)
                .await
                .map_err(StoreError::without_effect)?;
        }
        Ok(())
    }

    /// Spreads a committed batch over its keys. Done again, it does the same; once
    /// it is finished, a copy that comes late does nothing.
    async fn spread(&self, batch: &StagedBatch) -> Result<(), StoreError> {
        let layout = &self.reading.layout;
        let encoded = batch.encode()?;
        let is_finished = |seen: &Seen| seen.batch.as_deref() != Some(encoded.as_slice());
        let unfinished = value_is(&layout.batch(), &encoded);
        let changes = self.reading.changes(batch, 0).await?;
        for group in groups(changes) {
            let operations = self.operations(group);
            self.guarded(vec![unfinished.clone()], operations, is_finished)
                .await?;
        }
        let (from, to) = layout.all_staged();
        let finishing = vec![delete(layout.batch()), delete_range(from, to)];
        self.guarded(vec![unfinished], finishing, is_finished).await
    }

    /// Carries out operations if this leader leads and `also` holds. `is_done`
    /// recognises, in what was found instead, that an earlier copy was carried out.
    pub(super) async fn guarded(
        &self,
        also: Vec<Compare>,
        operations: Vec<RequestOp>,
        is_done: impl Fn(&Seen) -> bool,
    ) -> Result<(), StoreError> {
        let layout = &self.reading.layout;
        let mut compare = vec![created_by(&layout.leader(), self.fence.token)];
        compare.extend(also);
        let request = TxnRequest {
            compare,
            success: operations,
            failure: vec![
                get(&layout.leader()),
                get(&layout.mark(self.fence.token)),
                get(&layout.batch()),
            ],
        };
        let client = &self.reading.client;
        let started = Instant::now();
        let mut pause = PAUSES.0;
        let mut doubt = None;
        loop {
            let error = match client.txn(request.clone()).await {
                Ok(answer) if answer.succeeded => break,
                Ok(answer) => {
                    let seen = Seen::of(found(answer))?;
                    if is_done(&seen) {
                        break;
                    }
                    return Err(self.turned_away(&seen));
                }
                Err(error) => error,
            };
            let waited = started.elapsed();
            if !error.is_unanswered() && doubt.is_none() {
                return Err(error.into());
            }
            if waited + pause >= client.patience() {
                return Err(StoreError::Uncertain {
                    waited,
                    reason: error.to_string(),
                });
            }
            if doubt.is_none() {
                let left = client.patience().saturating_sub(waited);
                tracing::warn!("a batch waits for etcd, another {left:.1?} at most: {error}");
            }
            doubt = Some(error);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        if doubt.is_some() {
            let waited = started.elapsed();
            tracing::info!("the batch that waited for etcd is durable, after {waited:.1?}");
        }
        Ok(())
    }

    /// Why a transaction was not carried out, if no copy of it was.
    fn turned_away(&self, seen: &Seen) -> StoreError {
        let why = match &seen.leader {
            Some(leader) if leader.create_revision == self.fence.token => {
                let found = match (seen.mark, &seen.batch) {
                    (mark, None) => format!("mark {mark:?}"),
                    (mark, Some(_)) => format!("mark {mark:?} and a large batch"),
                };
                let reason = format!("somebody else wrote below its prefix: {found}");
                return StoreError::corrupt("progress of the leader", reason);
            }
            Some(leader) => match LeaderInfo::decode(leader) {
                Ok(info) => format!("{} leads now", info.address),
                Err(_) => "another coordinator leads now".to_owned(),
            },
            None => "etcd has let its lease expire".to_owned(),
        };
        self.fence.lose(&why);
        StoreError::Deposed { why }
    }
}

impl Seen {
    fn of(found: Vec<(Vec<KeyValue>, bool)>) -> Result<Seen, StoreError> {
        let mut found = found.into_iter().map(|(pairs, _)| pairs.into_iter().next());
        let (Some(leader), Some(mark), Some(batch)) = (found.next(), found.next(), found.next())
        else {
            return Err(StoreError::corrupt("answer of etcd", "it is cut short"));
        };
        let mark = mark.map(|pair| decode_mark(&pair.value)).transpose()?;
        Ok(Seen {
            leader,
            mark,
            batch: batch.map(|pair| pair.value),
        })
    }
}

fn encode_mark(mark: u64) -> Vec<u8> {
    mark.to_be_bytes().to_vec()
}

fn decode_mark(bytes: &[u8]) -> Result<u64, StoreError> {
    let bytes =
        <[u8; 8]>::try_from(bytes).map_err(|_| StoreError::corrupt("mark", "it is not 8 bytes"))?;
    Ok(u64::from_be_bytes(bytes))
}

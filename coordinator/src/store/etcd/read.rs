//! Reading a keyspace in etcd, as of one revision.
//!
//! A large batch is committed before its changes are spread over the keys that
//! they change. So every read asks in the same transaction whether there is such a
//! batch, and lays it over what the keys hold.

use etcd::txn::{found, get, range};
use etcd::wire::{KeyValue, RangeRequest, TxnRequest};
use etcd::{Client, Error};

use super::layout::{Layout, StagedBatch};
use super::staged::{self, Changes};
use crate::store::StoreError;
use crate::store::keyspace::Pair;

/// Pairs in a page of a scan.
const PAGE: i64 = 1000;
/// Parts of a large batch that are read at once; each has about a megabyte.
const PARTS: i64 = 8;
/// How often a scan begins anew whose revision was compacted away meanwhile.
const COMPACTIONS: u32 = 5;

/// Reads; cheap to clone.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) client: Client,
    pub(super) layout: Layout,
}

/// A page of pairs, and what goes over them.
struct Page {
    pairs: Vec<KeyValue>,
    is_last: bool,
    batch: Option<StagedBatch>,
    revision: i64,
}

impl Reading {
    /// The value of a key.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut compactions = 0;
        loop {
            let page = self.page(&self.layout.record(key), None, 0).await?;
            let change = match &page.batch {
                None => None,
                Some(batch) => match self.changes(batch, page.revision).await {
                    Err(error) if may_begin_anew(&error, &mut compactions) => continue,
                    changes => changes?.remove(key),
                },
            };
            let stored = || page.pairs.into_iter().next().map(|pair| pair.value);
            return Ok(change.unwrap_or_else(stored));
        }
    }

    /// Every pair with `from <= key < to`, and the revision at which it is so.
    pub(super) async fn scan(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> Result<(Vec<Pair>, i64), StoreError> {
        if from >= to {
            return Ok((Vec::new(), 0));
        }
        let mut compactions = 0;
        loop {
            match self.scan_once(from, to).await {
                Err(error) if may_begin_anew(&error, &mut compactions) => {}
                result => return result,
            }
        }
    }

    async fn scan_once(&self, from: &[u8], to: &[u8]) -> Result<(Vec<Pair>, i64), StoreError> {
        let end = self.layout.record(to);
        let mut pairs = Vec::new();
        let mut next = self.layout.record(from);
        let mut page = self.page(&next, Some(&end), 0).await?;
        let revision = page.revision;
        loop {
            if let Some(last) = page.pairs.last() {
                next.clone_from(&last.key);
                next.push(0);
            }
            pairs.extend(page.pairs.into_iter().map(|pair| {
                let key = self.layout.key_of_record(&pair.key).to_vec();
                (key, pair.value)
            }));
            if page.is_last {
                break;
            }
            page = self.page(&next, Some(&end), revision).await?;
        }
        let Some(batch) = page.batch else {
            return Ok((pairs, revision));
        };
        let mut merged: Changes = pairs
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        let changes = self.changes(&batch, revision).await?;
        merged.extend(
            changes
                .into_iter()
                .filter(|(key, _)| (from..to).contains(&key.as_slice())),
        );
        let pairs = merged
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        Ok((pairs, revision))
    }

    /// A page from `key` on, or that key alone, at a revision or (0) now.
    async fn page(
        &self,
        key: &[u8],
        end: Option<&[u8]>,
        revision: i64,
    ) -> Result<Page, StoreError> {
        let batch = RangeRequest {
            key: self.layout.batch(),
            revision,
            ..RangeRequest::default()
        };
        let pairs = RangeRequest {
            key: key.to_vec(),
            range_end: end.unwrap_or_default().to_vec(),
            limit: PAGE,
            revision,
            ..RangeRequest::default()
        };
        let request = TxnRequest {
            success: vec![range(batch), range(pairs)],
            ..TxnRequest::default()
        };
        let answer = self.client.repeat(request).await?;
        let now = answer.header.map_or(0, |header| header.revision);
        let mut parts = found(answer).into_iter();
        let (Some((batch, _)), Some((pairs, more))) = (parts.next(), parts.next()) else {
            return Err(StoreError::corrupt("answer of etcd", "it is cut short"));
        };
        let batch = batch
            .first()
            .map(|pair| StagedBatch::decode(&pair.value))
            .transpose()?;
        Ok(Page {
            pairs,
            is_last: !more,
            batch,
            revision: if revision == 0 { now } else { revision },
        })
    }

    /// What a committed batch changes.
    pub(super) async fn changes(
        &self,
        batch: &StagedBatch,
        revision: i64,
    ) -> Result<Changes, StoreError> {
        let (mut next, end) = self.layout.parts(batch);
        let mut bytes = Vec::new();
        loop {
            let request = RangeRequest {
                key: next.clone(),
                range_end: end.clone(),
                limit: PARTS,
                revision,
                ..RangeRequest::default()
            };
            let answer = self.client.range(request).await?;
            for pair in answer.kvs {
                bytes.extend_from_slice(&pair.value);
                next = pair.key;
                next.push(0);
            }
            if !answer.more {
                return staged::decode(batch, &bytes);
            }
        }
    }

    /// The large batch that is committed and not spread yet, and the revision at
    /// which it is so.
    pub(super) async fn pending(&self) -> Result<Option<(StagedBatch, i64)>, StoreError> {
        let request = TxnRequest {
            success: vec![get(&self.layout.batch())],
            ..TxnRequest::default()
        };
        let answer = self.client.repeat(request).await?;
        let revision = answer.header.map_or(0, |header| header.revision);
        let stored = found(answer).into_iter().next();
        let Some(pair) = stored.and_then(|(pairs, _)| pairs.into_iter().next()) else {
            return Ok(None);
        };
        Ok(Some((StagedBatch::decode(&pair.value)?, revision)))
    }
}

fn may_begin_anew(error: &StoreError, compactions: &mut u32) -> bool {
    *compactions += 1;
    let compacted = matches!(
        error,
        StoreError::Etcd { source } if Error::is_compacted(source)
    );
    compacted && *compactions <= COMPACTIONS
}

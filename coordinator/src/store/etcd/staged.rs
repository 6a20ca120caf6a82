//! Batches that are larger than a transaction of etcd may be.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::layout::StagedBatch;
use crate::store::{Batch, StoreError};

/// Changes in one transaction: below etcd's `--max-txn-ops` (128), with room for
/// the store's own.
pub(super) const MAX_CHANGES: usize = 120;
/// Bytes of keys and values in one transaction: below etcd's
/// `--max-request-bytes` (1.5 MiB), with room for what is around them.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// What an operation adds to its key and value, generously.
const OVERHEAD: usize = 64;

/// What becomes of each key: of several changes the last.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A batch as etcd takes it, where a key may be changed only once.
pub(super) fn changes_of(batch: Batch) -> Result<Changes, StoreError> {
    let changes: Changes = batch.changes.into_iter().collect();
    for (key, value) in &changes {
        let bytes = size(key, value.as_deref());
        if bytes > MAX_BYTES {
            return Err(StoreError::TooLarge {
                key: String::from_utf8_lossy(key).into_owned(),
                bytes,
                limit: MAX_BYTES,
            });
        }
    }
    Ok(changes)
}

fn size(key: &[u8], value: Option<&[u8]>) -> usize {
    key.len() + value.map_or(0, <[u8]>::len) + OVERHEAD
}

/// Changes in groups that each fit into a transaction.
pub(super) fn groups(changes: Changes) -> Vec<Changes> {
    let mut groups = Vec::new();
    let mut group = Changes::new();
    let mut bytes = 0;
    for (key, value) in changes {
        let more = size(&key, value.as_deref());
        if group.len() == MAX_CHANGES || (bytes + more > MAX_BYTES && !group.is_empty()) {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += more;
        group.insert(key, value);
    }
    groups.push(group);
    groups
}

/// Whether one transaction holds them all.
pub(super) fn fits(changes: &Changes) -> bool {
    let bytes: usize = changes
        .iter()
        .map(|(key, value)| size(key, value.as_deref()))
        .sum();
    changes.len() <= MAX_CHANGES && bytes <= MAX_BYTES
}

/// All changes in one run of bytes: for each its key and its value, both after
/// their length; a value that is to be removed has the length `u32::MAX`.
pub(super) fn encode(changes: &Changes) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in changes {
        put(&mut bytes, key);
        match value {
            Some(value) => put(&mut bytes, value),
            None => bytes.extend_from_slice(&u32::MAX.to_le_bytes()),
        }
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, piece: &[u8]) {
    // Pieces are smaller than a transaction.
    let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(piece);
}

/// The SHA-256 by which a batch's parts are recognised.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The changes in a committed batch's parts, joined.
pub(super) fn decode(batch: &StagedBatch, bytes: &[u8]) -> Result<Changes, StoreError> {
    if digest(bytes) != batch.sha256 {
        return Err(StoreError::corrupt(
            "large batch",
            "its parts are not those that were committed",
        ));
    }
    let mut rest = bytes;
    let mut changes = Changes::new();
    while !rest.is_empty() {
        let key = take(&mut rest)?.unwrap_or_default().to_vec();
        let value = take(&mut rest)?.map(<[u8]>::to_vec);
        changes.insert(key, value);
    }
    Ok(changes)
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, StoreError> {
    let cut_short = || StoreError::corrupt("large batch", "it is cut short");
    let (length, after) = rest.split_first_chunk().ok_or_else(cut_short)?;
    *rest = after;
    let length = match u32::from_le_bytes(*length) {
        u32::MAX => return Ok(None),
        length => length as usize,
    };
    let (piece, after) = rest.split_at_checked(length).ok_or_else(cut_short)?;
    *rest = after;
    Ok(Some(piece))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn described(bytes: &[u8]) -> StagedBatch {
        StagedBatch {
            token: 1,
            number: 1,
            parts: 1,
            changes: 1,
            sha256: digest(bytes),
        }
    }

    proptest! {
        #[test]
        fn changes_come_back(
            changes in prop::collection::btree_map(
                prop::collection::vec(any::<u8>(), 0..8),
                prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
                0..20,
            ),
        ) {
            let bytes = encode(&changes);
            prop_assert_eq!(&decode(&described(&bytes), &bytes).unwrap(), &changes);
            let rejoined: Changes = groups(changes.clone()).into_iter().flatten().collect();
            prop_assert_eq!(rejoined, changes);
        }
    }

    #[test]
    fn groups_keep_both_limits() {
        let value = vec![0; MAX_BYTES / 3];
        let changes: Changes = (0..1000_u32)
            .map(|n| {
                let value = if n < 10 { value.clone() } else { Vec::new() };
                (n.to_be_bytes().to_vec(), Some(value))
            })
            .collect();
        assert!(!fits(&changes));
        let groups = groups(changes);
        assert!(groups.len() > 8 && groups.iter().all(fits));
    }

    #[test]
    fn other_bytes_are_not_taken_for_a_batch() {
        let bytes = encode(&Changes::from([(b"a".to_vec(), None)]));
        let batch = described(&bytes);
        assert!(decode(&batch, &bytes[1..]).is_err());
        let cut = &bytes[..bytes.len() - 1];
        assert!(decode(&described(cut), cut).is_err());
    }

    #[test]
    fn a_record_that_no_transaction_holds_is_refused() {
        let mut batch = Batch::default();
        batch.put(b"run".to_vec(), vec![0; MAX_BYTES]);
        let error = changes_of(batch).unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    }
}

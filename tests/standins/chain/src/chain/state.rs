//! What storage holds after a block: raw keys and raw values.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Storage after one block. Cloning is cheap, because what blocks rarely change is
/// shared between them.
#[derive(Clone, Default)]
pub(crate) struct State {
    /// What stays until it is written again.
    lasting: Arc<BTreeMap<Vec<u8>, Vec<u8>>>,
    /// What every block writes anew: its number, time and events.
    of_block: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl State {
    /// What a following block begins with.
    pub(crate) fn following(&self) -> Self {
        Self {
            lasting: Arc::clone(&self.lasting),
            of_block: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let value = self.of_block.get(key).or_else(|| self.lasting.get(key));
        value.map(Vec::as_slice)
    }

    pub(crate) fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        Arc::make_mut(&mut self.lasting).insert(key, value);
    }

    /// Inserts what the next block does not inherit.
    pub(crate) fn insert_for_block(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.of_block.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        Arc::make_mut(&mut self.lasting).remove(key);
    }

    /// The entries whose keys begin with `prefix` and come after `after`, in the
    /// order of their keys, at most `limit`.
    pub(crate) fn page(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Vec<(&[u8], &[u8])> {
        let after = after.filter(|&after| after >= prefix);
        let start = match after {
            Some(after) => Bound::Excluded(after.to_vec()),
            None => Bound::Included(prefix.to_vec()),
        };
        let range = (start, Bound::Unbounded);
        let mut entries: Vec<(&[u8], &[u8])> = Vec::new();
        for source in [&self.lasting, &self.of_block] {
            entries.extend(
                source
                    .range(range.clone())
                    .take_while(|(key, _)| key.starts_with(prefix))
                    .take(limit)
                    .map(|(key, value)| (key.as_slice(), value.as_slice())),
            );
        }
        entries.sort_unstable();
        entries.truncate(limit);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(state: &State, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Vec<u8>> {
        let page = state.page(prefix, after, limit);
        page.into_iter().map(|(key, _)| key.to_vec()).collect()
    }

    #[test]
    fn a_page_is_in_order_under_its_prefix_and_after_its_start() {
        let mut state = State::default();
        for key in [b"ab1", b"ab3", b"ac0", b"aa9"] {
            state.insert(key.to_vec(), vec![1]);
        }
        state.insert_for_block(b"ab2".to_vec(), vec![2]);
        assert_eq!(keys(&state, b"ab", None, 10), [b"ab1", b"ab2", b"ab3"]);
        assert_eq!(keys(&state, b"ab", Some(b"ab1"), 1), [b"ab2"]);
        assert_eq!(keys(&state, b"ab", Some(b"ab3"), 10), [[0; 0]; 0]);
        assert_eq!(keys(&state, b"", None, 2), [b"aa9", b"ab1"]);
    }

    #[test]
    fn a_following_block_inherits_what_lasts_alone() {
        let mut state = State::default();
        state.insert(b"kept".to_vec(), vec![1]);
        state.insert_for_block(b"events".to_vec(), vec![2]);
        let mut next = state.following();
        assert_eq!(next.get(b"kept"), Some([1].as_slice()));
        assert_eq!(next.get(b"events"), None);
        next.remove(b"kept");
        assert_eq!(next.get(b"kept"), None);
        assert_eq!(state.get(b"kept"), Some([1].as_slice()));
    }
}

//! The event log's part of the store.

use prost::Message as _;
use proto::v1;

use super::keys::Key;
use super::{Batch, RunStore, StoreError, decode_wire, write};
use crate::events::{Appended, EventBounds};
use crate::records::Record;

/// Events read at a time when looking for the newest.
const EVENTS_AT_ONCE: u64 = 1024;

impl RunStore {
    /// Makes one turn durable, all or none: its records, and what it changes
    /// about the event log.
    ///
    /// # Errors
    /// If it cannot.
    pub fn commit_turn(&self, records: &[Record], events: &Appended) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for record in records {
            write(&mut batch, record)?;
        }
        if !events.events.is_empty() {
            for event in &events.events {
                batch.put(Key::Event(event.sequence).encode(), event.encode_to_vec());
            }
            for sequence in events.dropped.clone() {
                batch.delete(Key::Event(sequence).encode());
            }
            let EventBounds { oldest, next } = events.bounds;
            let bounds = [oldest.to_be_bytes(), next.to_be_bytes()].concat();
            batch.put(Key::EventBounds.encode(), bounds);
        }
        self.keyspace.commit(batch)
    }

    /// Which events there are.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn event_bounds(&self) -> Result<EventBounds, StoreError> {
        let Some(bytes) = self.keyspace.get(&Key::EventBounds.encode())? else {
            return Ok(EventBounds::default());
        };
        let (oldest, next) = match bytes.as_chunks::<8>() {
            ([oldest, next], []) => (u64::from_be_bytes(*oldest), u64::from_be_bytes(*next)),
            _ => return Err(StoreError::corrupt("range of events", "it is not 16 bytes")),
        };
        Ok(EventBounds { oldest, next })
    }

    /// The events from `first` on and before `end` that are kept, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn events(&self, first: u64, end: u64) -> Result<Vec<v1::Event>, StoreError> {
        if first >= end {
            return Ok(Vec::new());
        }
        let (from, to) = (Key::Event(first).encode(), Key::Event(end).encode());
        let stored = self.keyspace.scan(&from, &to)?;
        let decode = |bytes: &[u8]| decode_wire("event", bytes);
        stored.iter().map(|(_, bytes)| decode(bytes)).collect()
    }

    /// Where to begin to read the `count` newest of the events before
    /// `bounds.next` that are `wanted`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn newest_events_begin(
        &self,
        bounds: EventBounds,
        count: u64,
        wanted: impl Fn(&v1::Event) -> bool,
    ) -> Result<u64, StoreError> {
        let mut missing = count;
        let mut end = bounds.next;
        while missing > 0 && end > bounds.oldest {
            let first = end.saturating_sub(EVENTS_AT_ONCE).max(bounds.oldest);
            for event in self.events(first, end)?.iter().rev() {
                if wanted(event) {
                    missing -= 1;
                    if missing == 0 {
                        return Ok(event.sequence);
                    }
                }
            }
            end = first;
        }
        Ok(end)
    }
}

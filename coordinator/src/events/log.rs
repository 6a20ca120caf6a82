//! Numbers and dates for events, and which of them are kept.

use std::num::NonZeroU64;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use proto::v1;

use super::Description;

/// Events deleted together. Deleting rides on turns that write anyway, and some
/// stores bound the changes of one batch.
const DELETED_AT_ONCE: u64 = 64;

/// Which events there are: `oldest <= sequence < next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBounds {
    /// The oldest one that is kept.
    pub oldest: u64,
    /// The sequence of the next one.
    pub next: u64,
}

impl Default for EventBounds {
    /// No event yet; the first has sequence 1.
    fn default() -> EventBounds {
        EventBounds { oldest: 1, next: 1 }
    }
}

/// Where the event log stands.
#[derive(Clone, Debug)]
pub struct EventLog {
    bounds: EventBounds,
    keep: NonZeroU64,
}

/// What one turn changes about the event log.
#[derive(Clone, Debug, PartialEq)]
pub struct Appended {
    /// New events, in order.
    pub events: Vec<v1::Event>,
    /// Sequences of old events to delete.
    pub dropped: Range<u64>,
    /// Which events there are afterwards.
    pub bounds: EventBounds,
}

impl EventLog {
    /// Continues the event log that has these bounds, and keeps the newest
    /// `keep` events of it.
    pub fn new(bounds: EventBounds, keep: NonZeroU64) -> EventLog {
        EventLog { bounds, keep }
    }

    /// Which events are durable.
    pub fn bounds(&self) -> EventBounds {
        self.bounds
    }

    /// Numbers and dates what happened in one turn, in `term`. Nothing is
    /// counted until it is [kept](EventLog::keep).
    pub fn append(&self, described: &[Description], term: u64, now: SystemTime) -> Appended {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let events: Vec<v1::Event> = (self.bounds.next..)
            .zip(described)
            .map(|(sequence, description)| v1::Event {
                sequence,
                unix_ms,
                term,
                kind: description.kind.as_str().to_owned(),
                severity: description.severity.as_str().to_owned(),
                text: description.text.clone(),
                fields: serde_json::Value::Object(description.fields.clone()).to_string(),
            })
            .collect();
        let next = self.bounds.next + events.len() as u64;
        let excess = (next - self.bounds.oldest).saturating_sub(self.keep.get());
        // Deleting in batches keeps most turns free of it; a turn that adds
        // more than a batch deletes as many, so that the log cannot outgrow it.
        let worth_while = DELETED_AT_ONCE.min(self.keep.get());
        let at_once = DELETED_AT_ONCE.max(events.len() as u64);
        let oldest = match excess < worth_while {
            true => self.bounds.oldest,
            // What this very turn adds is deleted by a later one.
            false => (self.bounds.oldest + excess.min(at_once)).min(self.bounds.next),
        };
        Appended {
            events,
            dropped: self.bounds.oldest..oldest,
            bounds: EventBounds { oldest, next },
        }
    }

    /// Counts what has become durable.
    pub fn keep(&mut self, appended: &Appended) {
        self.bounds = appended.bounds;
    }
}

//! Counters, for the status page and for tests that prove how often something was done.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a source has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceMetrics {
    /// Requests sent, or reads of local pages.
    pub requests: u64,
    /// Requests that repeated a failed one.
    pub retries: u64,
    /// Answers that said to slow down (429).
    pub throttled: u64,
    /// Bytes of text or of answers received.
    pub bytes: u64,
}

/// What a [`Preparer`](crate::Preparer) and its source have done since they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The source's part.
    pub source: SourceMetrics,
    /// Pages fetched, tokenized and packed.
    pub prepared_pages: u64,
    /// Token ids in the sequences of those pages.
    pub packed_tokens: u64,
    /// Token ids left over at the ends of those pages.
    pub dropped_tokens: u64,
    /// Time spent tokenizing and packing, in microseconds, summed over threads.
    pub packing_micros: u64,
    /// Pages found in the cache.
    pub cache_hits: u64,
    /// Pages not found in the cache, damaged ones included.
    pub cache_misses: u64,
    /// Damaged entries found, and removed.
    pub cache_damaged: u64,
    /// Entries removed to stay within the size limit.
    pub cache_evictions: u64,
    /// Entries that could not be written.
    pub cache_write_failures: u64,
}

/// A counter that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        // Counters order nothing else, so relaxed is enough.
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The live form of [`SourceMetrics`].
#[derive(Debug, Default)]
pub(crate) struct SourceCounters {
    pub(crate) requests: Counter,
    pub(crate) retries: Counter,
    pub(crate) throttled: Counter,
    pub(crate) bytes: Counter,
}

impl SourceCounters {
    pub(crate) fn snapshot(&self) -> SourceMetrics {
        SourceMetrics {
            requests: self.requests.get(),
            retries: self.retries.get(),
            throttled: self.throttled.get(),
            bytes: self.bytes.get(),
        }
    }
}

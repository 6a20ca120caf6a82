//! Latencies, and what is said about them.

use std::time::Duration;

use serde::Serialize;

/// Every latency that was measured.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

/// Percentiles, in milliseconds; null without any latency.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) worst_ms: Option<f64>,
}

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub(crate) fn append(&mut self, mut others: Latencies) {
        self.0.append(&mut others.0);
    }

    pub(crate) fn summary(mut self) -> Summary {
        self.0.sort_unstable();
        // The smallest latency that so many of a hundred do not exceed.
        let percentile = |percent: usize| {
            let index = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
            self.0.get(index).map(|latency| latency.as_secs_f64() * 1e3)
        };
        Summary {
            count: self.0.len(),
            p50_ms: percentile(50),
            p99_ms: percentile(99),
            worst_ms: percentile(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut latencies = Latencies::default();
        for milliseconds in (1..=200).rev() {
            latencies.add(Duration::from_millis(milliseconds));
        }
        let summary = latencies.summary();
        let figures = [summary.p50_ms, summary.p99_ms, summary.worst_ms];
        assert_eq!(figures, [Some(100.0), Some(198.0), Some(200.0)]);
        assert_eq!(Latencies::default().summary().p99_ms, None);
    }
}

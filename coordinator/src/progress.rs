//! What happens, as lines of the coordinator's own log.

use std::time::{Duration, Instant};

use crate::events::{Description, Kind, Severity};

/// Steps are shown at most this often.
const STEP_INTERVAL: Duration = Duration::from_secs(1);

/// Shows events as log lines: one for each, but for steps, which are shown
/// once a second at most.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    last_step: Option<Instant>,
}

impl Progress {
    /// Shows one event.
    pub(crate) fn show(&mut self, event: &Description) {
        let text = &event.text;
        match event.severity {
            Severity::Info if event.kind == Kind::Step && !self.is_time_for_a_step() => {}
            Severity::Debug => tracing::debug!("{text}"),
            Severity::Info => tracing::info!("{text}"),
            Severity::Warning => tracing::warn!("{text}"),
            Severity::Error => tracing::error!("{text}"),
        }
    }

    fn is_time_for_a_step(&mut self) -> bool {
        let due = self
            .last_step
            .is_none_or(|last| last.elapsed() >= STEP_INTERVAL);
        if due {
            self.last_step = Some(Instant::now());
        }
        due
    }
}

/// Seconds as `2h 03m`, `4m 05s` or `6s`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h {minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_short() {
        let shown = [0.4, 6.2, 245.0, 7380.0].map(duration);
        assert_eq!(shown, ["0s", "6s", "4m 05s", "2h 03m"]);
    }
}

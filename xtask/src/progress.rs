//! Progress for people, on standard error: a live line at a terminal, a plain
//! line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is written where nothing can be redrawn.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Says that a part of the work begins.
pub(crate) fn section(text: &str) {
    eprintln!("\n=== {text}");
}

/// One thing that takes a while.
pub(crate) struct Progress {
    live: Option<ProgressBar>,
    shown: Option<Instant>,
    last: String,
}

impl Progress {
    /// Begins with a spinner, or with a plain line.
    pub(crate) fn start(text: &str) -> Self {
        let live = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            // The template is constant; the default style is no worse.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let mut progress = Self {
            live,
            shown: None,
            last: String::new(),
        };
        progress.show(text.to_owned());
        progress
    }

    /// Replaces the text.
    pub(crate) fn show(&mut self, text: String) {
        if let Some(bar) = &self.live {
            bar.set_message(text);
        } else if self.last != text && self.shown.is_none_or(|at| at.elapsed() >= PLAIN_INTERVAL) {
            eprintln!("{text}");
            self.shown = Some(Instant::now());
            self.last = text;
        }
    }

    /// Ends with a line that stays.
    pub(crate) fn finish(self, text: &str) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
        eprintln!("{text}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
    }
}

/// Bytes as people read them.
pub(crate) fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A duration as people read it: `7s`, `3m 05s`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(duration(7.4), "7s");
        assert_eq!(duration(185.0), "3m 05s");
        assert_eq!(duration(3720.0), "1h 02m");
        assert_eq!(megabytes(530_600_000), "530 MB");
        assert_eq!(megabytes(1_250_000_000), "1.25 GB");
    }
}

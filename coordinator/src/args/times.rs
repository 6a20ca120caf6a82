//! Flags: how patient to be.

use clap::Args;

/// The longest time that a flag takes, in milliseconds: seven days. More would say
/// "never", which none of them can mean, for what is counted from now on has to
/// end before the clock's number does. (Libraries may give it 32 bits.)
const LONGEST_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// How patient to be. A worker gets these when it joins.
#[derive(Args, Clone, Copy, Debug)]
pub struct TimesArgs {
    /// How often a worker says that it is alive.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 1_000,
        value_parser = milliseconds,
        help_heading = "Times"
    )]
    pub heartbeat_ms: u64,

    /// A worker silent for so long is lost, and stops by itself.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 10_000,
        value_parser = milliseconds,
        help_heading = "Times"
    )]
    pub lease_ms: u64,

    /// How long one collective of the workers may take.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 300_000,
        value_parser = milliseconds,
        help_heading = "Times"
    )]
    pub collective_ms: u64,

    /// How long a worker may take over a page before another gets it.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 120_000,
        value_parser = milliseconds,
        help_heading = "Times"
    )]
    pub page_lease_ms: u64,

    /// How much work the page table covers ahead of the steps.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 60_000,
        value_parser = milliseconds,
        help_heading = "Times"
    )]
    pub rows_ahead_ms: u64,
}

/// A length of time that is not nothing.
fn milliseconds(text: &str) -> Result<u64, String> {
    between(1, text)
}

/// Milliseconds from `shortest` to [`LONGEST_MS`].
pub(super) fn between(shortest: u64, text: &str) -> Result<u64, String> {
    let ms: Option<u64> = text.parse().ok();
    ms.filter(|ms| (shortest..=LONGEST_MS).contains(ms))
        .ok_or_else(|| {
            format!("give milliseconds, at least {shortest} and at most {LONGEST_MS} (7 days)")
        })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::CoordinatorArgs;

    fn parse(flag: &str, value: &str) -> Result<CoordinatorArgs, String> {
        let arguments = ["coordinator", "--workers", "1", flag, value];
        CoordinatorArgs::try_parse_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn a_time_is_neither_nothing_nor_for_ever() {
        for flag in [
            "--heartbeat-ms",
            "--lease-ms",
            "--collective-ms",
            "--page-lease-ms",
            "--rows-ahead-ms",
            "--leader-lease-ms",
        ] {
            for value in ["0", "604800001", "18446744073709551615", "1.5", "10s"] {
                let refused = parse(flag, value).map(drop).unwrap_err();
                for words in [flag, value, "at most 604800000 (7 days)"] {
                    assert!(refused.contains(words), "{words:?} is not in: {refused}");
                }
            }
            for value in ["1000", "604800000"] {
                parse(flag, value).unwrap();
            }
        }
        let times = parse("--page-lease-ms", "1").unwrap().lead.times;
        assert_eq!(times.page_lease_ms, 1);
    }

    #[test]
    fn a_leaders_lease_lasts_through_a_lost_message() {
        let refused = parse("--leader-lease-ms", "999").map(drop).unwrap_err();
        assert!(refused.contains("at least 1000"), "{refused}");
    }
}

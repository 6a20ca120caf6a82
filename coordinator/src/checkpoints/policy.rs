//! Flags: when checkpoints are taken, and how many are kept.

use std::num::NonZeroU32;

use clap::Args;

/// Bytes of a GiB.
const GIB: f64 = (1_u64 << 30) as f64;
/// Milliseconds of a minute.
const MINUTE_MS: f64 = 60_000.0;

/// When checkpoints are taken, and how many are kept. The end of each epoch has
/// one in any case.
#[derive(Args, Clone, Copy, Debug)]
pub struct CheckpointArgs {
    /// Also take a checkpoint where the number of steps reaches a multiple of N;
    /// 0 takes none.
    #[arg(
        long = "checkpoint-every-steps",
        value_name = "N",
        default_value_t = 0,
        help_heading = "Checkpoints"
    )]
    pub every_steps: u64,

    /// Also take a checkpoint when M minutes have passed since the last;
    /// fractions are fine, 0 takes none.
    #[arg(
        long = "checkpoint-every-minutes",
        value_name = "M",
        default_value = "10",
        value_parser = minutes,
        help_heading = "Checkpoints"
    )]
    pub every_ms: Milliseconds,

    /// Keep the K newest checkpoints, to resume from. The best, and the weights
    /// that the run started from, stay beside them.
    #[arg(
        long = "keep-checkpoints",
        value_name = "K",
        default_value = "2",
        help_heading = "Checkpoints"
    )]
    pub keep: NonZeroU32,

    /// Let all checkpoints together take at most G GiB. When that is spent, older
    /// ones make room; when none can, a checkpoint is refused and training goes
    /// on. [default: what the disk has]
    #[arg(
        long = "checkpoint-disk-gib",
        value_name = "G",
        value_parser = gib,
        help_heading = "Checkpoints"
    )]
    pub disk: Option<Bytes>,
}

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milliseconds(pub u64);

/// An amount of data in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

fn minutes(text: &str) -> Result<Milliseconds, String> {
    let minutes = number(text)?;
    let ms = (minutes * MINUTE_MS).round() as u64;
    if minutes > 0.0 && ms == 0 {
        return Err("it is less than a millisecond; 0 takes none".to_owned());
    }
    Ok(Milliseconds(ms))
}

fn gib(text: &str) -> Result<Bytes, String> {
    match (number(text)? * GIB).round() as u64 {
        0 => Err("give more than 0".to_owned()),
        bytes => Ok(Bytes(bytes)),
    }
}

/// A finite number that is not negative, and small enough to be counted in
/// bytes or milliseconds.
fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "give a number, such as 10 or 0.5".to_owned())?;
    match (0.0..=1e9).contains(&number) {
        true => Ok(number),
        false => Err("give a number from 0 to 1000000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_minutes_and_of_gib_are_taken_and_nonsense_is_not() {
        assert_eq!(minutes("0.5"), Ok(Milliseconds(30_000)));
        assert_eq!(minutes("0"), Ok(Milliseconds(0)));
        assert_eq!(gib("1.5"), Ok(Bytes(3 << 29)));
        for nonsense in ["", "x", "-1", "inf", "nan", "1e10"] {
            minutes(nonsense).unwrap_err();
            gib(nonsense).unwrap_err();
        }
        minutes("0.0000001").unwrap_err();
        gib("0").unwrap_err();
    }
}

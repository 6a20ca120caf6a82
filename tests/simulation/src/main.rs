//! `simulation`: schedules by the thousand, and the history of one that failed.
//!
//! `cargo xtask simulate` runs it.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use simulation::{Failure, Replay, many, replay, run, shrink};

/// Failures whose histories are made small and told.
const TOLD: usize = 3;

/// Run random histories of a whole cluster in simulated time, and check the rules
/// that each must keep.
#[derive(Parser)]
#[command(name = "simulation", bin_name = "cargo xtask simulate")]
#[command(after_help = "\
Exit codes: 0 every rule held, 1 a rule was broken (the history is on standard error), \
2 refused (a flag).")]
struct Args {
    /// How many schedules
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    schedules: u64,

    /// The seed of the first schedule; the others' follow it
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,

    /// Print one JSON object on standard output
    #[arg(long)]
    json: bool,

    /// Tell the history of this seed's schedule instead, with no more faults than
    /// it takes to break the same rule
    #[arg(long, value_name = "SEED", conflicts_with_all = ["schedules", "seed", "json"])]
    replay: Option<u64>,

    /// With --replay: keep every fault
    #[arg(long, requires = "replay")]
    whole: bool,
}

#[derive(Serialize)]
struct Summary {
    schedules: u64,
    seed: u64,
    seconds: f64,
    schedules_per_second: f64,
    simulated_hours: f64,
    events: u64,
    faults: u64,
    failures: Vec<Failure>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.replay {
        Some(seed) => tell_one(seed, args.whole),
        None => run_all(&args),
    }
}

fn tell_one(seed: u64, whole: bool) -> ExitCode {
    let violation = run(seed).violation;
    let plan = match &violation {
        Some(violation) if !whole => shrink(seed, violation.rule, None),
        _ => simulation::plan_of(seed),
    };
    print!("{}", in_words(seed, &replay(seed, plan, None)));
    ExitCode::from(u8::from(violation.is_some()))
}

fn run_all(args: &Args) -> ExitCode {
    let started = Instant::now();
    let progress = progress(args.schedules);
    let seeds = args.seed..args.seed.saturating_add(args.schedules);
    // What a schedule's own panic says is in its violation.
    std::panic::set_hook(Box::new(|_| {}));
    let totals = many(seeds, |done| progress.set_position(done));
    let _ = std::panic::take_hook();
    progress.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    let summary = Summary {
        schedules: totals.schedules,
        seed: args.seed,
        seconds,
        schedules_per_second: totals.schedules as f64 / seconds.max(1e-9),
        simulated_hours: totals.simulated_ms as f64 / 3_600_000.0,
        events: totals.events,
        faults: totals.faults,
        failures: totals.failures,
    };
    for failure in summary.failures.iter().take(TOLD) {
        let rule = failure.violation.rule;
        let plan = shrink(failure.seed, rule, None);
        eprintln!(
            "{}",
            in_words(failure.seed, &replay(failure.seed, plan, None))
        );
    }
    if args.json {
        // Serialising plain figures does not fail.
        println!("{}", serde_json::to_string(&summary).unwrap_or_default());
    } else {
        for failure in &summary.failures {
            let violation = &failure.violation;
            let rule = violation.rule.in_words();
            println!("seed {}: {rule}: {}", failure.seed, violation.what);
        }
        println!(
            "{} schedules with {} faults in {:.1} s ({:.0} schedules/s, {:.1} simulated hours): {}",
            summary.schedules,
            summary.faults,
            seconds,
            summary.schedules_per_second,
            summary.simulated_hours,
            match summary.failures.len() {
                0 => "every rule held".to_owned(),
                count => format!("{count} broke a rule; see one again with --replay SEED"),
            }
        );
    }
    let _ = std::io::stdout().flush();
    ExitCode::from(u8::from(!summary.failures.is_empty()))
}

fn in_words(seed: u64, replay: &Replay) -> String {
    let config = &replay.config;
    let mut text = format!(
        "seed {seed}: {} workers of {} to {}, {} spare; {} coordinators; {} sequences a step, {} \
         epochs\n",
        config.workers,
        config.min_workers,
        config.max_workers,
        config.spares,
        config.coordinators,
        config.global_batch,
        config.epochs,
    );
    for line in &replay.history {
        text += &format!("{line}\n");
    }
    text += &match &replay.outcome.violation {
        Some(violation) => format!(
            "broken: {}: {}\n",
            violation.rule.in_words(),
            violation.what
        ),
        None => "every rule held\n".to_owned(),
    };
    text
}

fn progress(schedules: u64) -> ProgressBar {
    let progress = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(schedules),
        false => ProgressBar::hidden(),
    };
    let template = "{wide_bar} {pos}/{len} schedules, {per_sec}, {eta} left";
    // The template is constant; the default style is no worse.
    if let Ok(style) = ProgressStyle::with_template(template) {
        progress.set_style(style);
    }
    progress
}

//! Random histories keep every rule, and a broken rule is noticed.

use simulation::{Failure, many, plan_of, replay, run};

/// What a failing schedule tells whoever has to find out why.
fn in_words(failure: &Failure) -> String {
    let history = replay(failure.seed, plan_of(failure.seed), None).history;
    let last: Vec<String> = history
        .iter()
        .rev()
        .take(60)
        .rev()
        .map(ToString::to_string)
        .collect();
    format!(
        "seed {} broke a rule ({}: {}); see `cargo xtask simulate --replay {}`\n{}",
        failure.seed,
        failure.violation.rule.in_words(),
        failure.violation.what,
        failure.seed,
        last.join("\n")
    )
}

#[test]
fn thousands_of_random_histories_keep_every_rule() {
    let totals = many(1_000_000..1_003_000, |_| ());
    assert_eq!(totals.schedules, 3000);
    assert!(totals.faults > 10_000, "{} faults", totals.faults);
    if let Some(failure) = totals.failures.first() {
        panic!("{}", in_words(failure));
    }
}

#[test]
fn a_seed_gives_the_same_history_every_time() {
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
        let histories = [(); 2].map(|()| replay(seed, plan_of(seed), None).history);
        assert!(histories[0].len() > 10);
        assert_eq!(histories[0], histories[1]);
    }
}

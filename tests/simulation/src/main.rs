//! `simulation`: runs schedules by the thousand, and replays one.
fn main() {
    let first: u64 = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(0);
    let count: u64 = std::env::args()
        .nth(2)
        .and_then(|a| a.parse().ok())
        .unwrap_or(100);
    let started = std::time::Instant::now();
    let mut bad = 0;
    let mut ev = 0;
    let mut ms = 0;
    let mut kinds = std::collections::BTreeMap::new();
    for seed in first..first + count {
        let o = simulation::run(seed);
        ev += o.events;
        ms += o.simulated_ms;
        if let Some(v) = o.violation {
            bad += 1;
            kinds
                .entry(v.rule)
                .or_insert_with(Vec::new)
                .push((seed, o.faults, v.what));
        }
    }
    for (rule, list) in &kinds {
        println!("{rule:?}: {}", list.len());
        let mut l = list.clone();
        l.sort_by_key(|x| x.1);
        for x in l.iter().take(4) {
            println!("   {x:?}");
        }
    }
    println!(
        "{count} schedules, {bad} bad, {} events each, {} ms simulated each, {:.1}/s",
        ev / count,
        ms / count,
        count as f64 / started.elapsed().as_secs_f64()
    );
    if count == 1 {
        let plan = match simulation::run(first).violation {
            Some(v) => simulation::shrink(first, v.rule, None),
            None => simulation::draw(&simulation::Config::draw(first), first),
        };
        let r = simulation::replay(first, plan, None);
        for line in r.history {
            println!("{line}");
        }
    }
}

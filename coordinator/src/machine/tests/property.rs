//! Random histories: whatever happens, the rules hold, and when it stops
//! happening the run is finished with every sequence trained once.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::sim::{Sim, settings};
use crate::machine::Settings;

/// Something that happens to a cluster, to one of its workers by number.
#[derive(Clone, Debug)]
enum Chance {
    Connect(usize),
    /// It comes back and has forgotten which steps it has not told of.
    ConnectForgetful(usize),
    Disconnect(usize),
    Kill(usize),
    Receive(usize),
    Prepare(usize),
    Heartbeat(usize),
    /// Whether rank 0 gets to report.
    Step(bool),
    Pass(u64),
    Settle,
    RestartCoordinator,
    /// A worker says that the latest checkpoint cannot be restored.
    Doubt(usize),
    /// The coordinator has looked: is it damaged?
    Look(bool),
}

fn chance() -> impl Strategy<Value = Chance> {
    let worker = 0..6_usize;
    prop_oneof![
        6 => worker.clone().prop_map(Chance::Connect),
        1 => worker.clone().prop_map(Chance::ConnectForgetful),
        2 => worker.clone().prop_map(Chance::Disconnect),
        1 => worker.clone().prop_map(Chance::Kill),
        12 => worker.clone().prop_map(Chance::Receive),
        6 => worker.clone().prop_map(Chance::Prepare),
        4 => worker.clone().prop_map(Chance::Heartbeat),
        1 => worker.prop_map(Chance::Doubt),
        1 => any::<bool>().prop_map(Chance::Look),
        6 => any::<bool>().prop_map(Chance::Step),
        4 => (1..800_u64).prop_map(Chance::Pass),
        6 => Just(Chance::Settle),
        1 => Just(Chance::RestartCoordinator),
    ]
}

impl Chance {
    fn happen(&self, sim: &mut Sim) {
        let count = sim.workers.len();
        match self {
            Chance::Connect(worker) => sim.connect(worker % count),
            Chance::ConnectForgetful(worker) => sim.connect_and_tell(worker % count, false),
            Chance::Disconnect(worker) => sim.disconnect(worker % count),
            Chance::Kill(worker) => sim.kill(worker % count),
            Chance::Receive(worker) => {
                sim.receive(worker % count);
            }
            Chance::Prepare(worker) => {
                sim.prepare(worker % count);
            }
            Chance::Heartbeat(worker) => sim.heartbeat(worker % count),
            Chance::Step(report) => {
                sim.step(*report);
            }
            Chance::Pass(ms) => sim.advance(*ms),
            Chance::Settle => sim.settle(),
            Chance::RestartCoordinator => sim.restart_coordinator(),
            Chance::Doubt(worker) => sim.doubt(worker % count),
            Chance::Look(damaged) => sim.look(*damaged),
        }
        sim.live_generation();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_is_trained_once_whatever_happened(
        workers in 1..=3_u32,
        fewer in 0..=2_u32,
        more in 0..=2_u32,
        spares in 0..=2_u32,
        history in prop::collection::vec(chance(), 0..300),
    ) {
        let at_least_one = |count: u32| NonZeroU32::new(count.max(1)).unwrap();
        let settings = Settings {
            min_workers: at_least_one(workers.saturating_sub(fewer)),
            max_workers: at_least_one(workers + more),
            ..settings(workers)
        };
        let mut sim = Sim::with_settings(settings, workers + spares);
        for chance in &history {
            if sim.exit.is_none() {
                chance.happen(&mut sim);
            }
        }
        if sim.exit.is_none() {
            sim.run_to_the_end();
        }
        prop_assert!(sim.durable.complete.is_some());
        let audit = sim.audit();
        prop_assert!(audit.is_clean(), "{:?}", audit.violations);
        prop_assert!(audit.total.planned > 0);
        prop_assert_eq!(audit.total.trained, audit.total.planned);
        prop_assert_eq!(audit.total.repeated, 0);
        prop_assert_eq!(audit.total.missed, 0);
    }
}

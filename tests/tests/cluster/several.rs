//! Coordinators that share a store: whichever of them is lost, and whatever
//! becomes of the store, the workers go on in their generation.
//!
//! Real coordinators, real workers that know all of their addresses, and a real
//! etcd, which each coordinator reaches by a cable of its own.

use std::time::Duration;

use cluster_tests::{LIMIT, Run, TestCluster};
use local_cluster::chaos::{Chaos, Fault, Kind, Return};
use local_cluster::{Cut, Error, EtcdServer, Follower, wait_until};

use crate::chaos::{STEPS, assert_undisturbed, run};

/// How long a worker may be silent: longer than it takes until another
/// coordinator leads, so that its generation need not end.
const LEASE: &str = "--lease-ms=30000";
/// Nobody is left behind before two and a half of them have passed in silence,
/// however busy the machine is.
const HEARTBEAT: &str = "--heartbeat-ms=2000";
/// The same for a coordinator, by the store's clock.
const LEADER_LEASE: &str = "--leader-lease-ms=5000";
/// Longer than a leader's lease, and shorter than a worker's.
const LONG: Duration = Duration::from_secs(6);

/// Two coordinators and two workers that have begun to step.
fn started() -> TestCluster {
    let mut cluster = TestCluster::new();
    let run = Run {
        more: [HEARTBEAT, LEASE, LEADER_LEASE].map(str::to_owned).into(),
        ..run(&cluster, 2)
    };
    cluster.share_store().unwrap();
    cluster.start_coordinator(&run.flags()).unwrap();
    cluster.start_standby(&run.flags()).unwrap();
    // Only now, so that they are given both addresses.
    for number in 1..=run.workers {
        cluster.start_one_worker(number, &[]);
    }
    cluster
}

fn chaos<'a>(
    cluster: &'a mut TestCluster,
    look: &'a mut dyn FnMut(&Follower) -> Result<(), Error>,
) -> Chaos<'a> {
    let workers = vec!["worker-1".to_owned(), "worker-2".to_owned()];
    Chaos::new(cluster, workers, Return::AfterRecovery, LIMIT, look)
}

/// What is promised of a run whose workers nobody touched: one generation took
/// every step of it, each sequence went into it once, the losses are those of the
/// undisturbed run, and nothing is left.
fn ends_well(mut cluster: TestCluster) {
    let mut look = |_: &Follower| Ok(());
    let mut chaos = chaos(&mut cluster, &mut look);
    chaos.settle(STEPS as u64).unwrap();
    assert_eq!(chaos.follower().rolled_back(), 0);
    assert_eq!(chaos.asked_for_restart(), 0);
    drop(chaos);
    cluster.note_ports();
    cluster.stop(LIMIT).unwrap();
    let steps = cluster.audited_steps();
    let last = steps.last().unwrap();
    assert_eq!((steps[0].generation, last.generation), (1, 1));
    let numbers = steps.iter().map(|step| step.number);
    assert!(numbers.eq(0..steps.len() as u64), "a step was lost");
    assert_undisturbed(&steps);
    let mut left = cluster.left_behind();
    left.retain(|one| !is_for_the_next_life(one));
    assert_eq!(left, Vec::<String>::new());
}

/// Whether something that was left is a standby's own, to go on from: a checkpoint
/// that it was copying when it was stopped stays as far as it had come, and the page
/// that it was writing when it was killed goes when it leads again.
fn is_for_the_next_life(left: &str) -> bool {
    let is_page = left.contains("/packed/") && left.ends_with(".partial");
    is_page || left.contains("/.partial-copy-step-")
}

#[test]
fn a_killed_leader_and_a_store_that_stops_cost_no_step_and_no_generation() {
    if !EtcdServer::is_there_for("workers of several coordinators") {
        return;
    }
    let mut cluster = started();
    let mut look = |_: &Follower| Ok(());
    let mut chaos = chaos(&mut cluster, &mut look);
    for kind in [Kind::KillLeader, Kind::PauseStore, Kind::CutStore] {
        chaos.settle(3).unwrap();
        let fault = Fault {
            kind,
            victim: 0,
            lasts: LONG,
            cut: Cut::Both,
            after_steps: 3,
        };
        let injected = chaos.inject(&fault).unwrap();
        // Shown when the test fails.
        println!("{injected:?}");
    }
    chaos.settle(1).unwrap();
    for injected in chaos.injected() {
        assert!(injected.lived_on(), "{injected:?}");
    }
    assert_eq!(chaos.follower().rolled_back(), 0);
    drop(chaos);
    ends_well(cluster);
}

/// Whether the coordinator at this address says that it leads.
fn leads(cluster: &TestCluster, address: &str) -> bool {
    // One that was killed says nothing.
    let status = cluster.status_of(address);
    status.is_ok_and(|status| status["state"] != "standby")
}

/// Name and address of the coordinator that leads, and the address of the other.
fn leader_and_other(cluster: &TestCluster) -> (String, String, String) {
    let leader = wait_until("a coordinator to lead", LIMIT, || Ok(cluster.leader()));
    let (leader, address) = leader.unwrap();
    let addresses = cluster.addresses();
    let other = addresses.split(',').find(|other| *other != address);
    (leader, address, other.unwrap().to_owned())
}

/// Waits until the coordinator at `address` leads. Whoever else says so after it
/// does would be a second leader.
fn wait_for_leader(cluster: &TestCluster, address: &str, other: &str) {
    wait_until(format!("{address} to lead"), LIMIT, || {
        let (led, other_led) = (leads(cluster, address), leads(cluster, other));
        assert!(!(led && other_led), "{address} and {other} lead");
        Ok(led.then_some(()))
    })
    .unwrap();
}

#[test]
fn a_leader_that_is_cut_off_from_the_store_gives_way_and_stands_by_afterwards() {
    if !EtcdServer::is_there_for("a leader without the store") {
        return;
    }
    let mut cluster = started();
    let mut look = |_: &Follower| Ok(());
    let mut under_way = chaos(&mut cluster, &mut look);
    under_way.settle(3).unwrap();
    drop(under_way);
    let (first, first_address, second_address) = leader_and_other(&cluster);

    cluster.cut_from_store(&first, Cut::Both).unwrap();
    wait_for_leader(&cluster, &second_address, &first_address);
    assert!(!leads(&cluster, &first_address), "it was not deposed");
    let steps_follow = |cluster: &mut TestCluster| {
        let mut look = |_: &Follower| Ok(());
        chaos(cluster, &mut look).settle(3).unwrap();
    };
    steps_follow(&mut cluster);

    // What it had sent arrives now, when another leads: that changes nothing.
    cluster.mend_to_store(&first).unwrap();
    wait_until("the old leader to stand by", LIMIT, || {
        let Ok(status) = cluster.status_of(&first_address) else {
            return Ok(None);
        };
        let copies = status["detail"].as_str().unwrap_or_default();
        Ok((status["state"] == "standby" && copies.contains("copies")).then_some(()))
    })
    .unwrap();
    assert!(leads(&cluster, &second_address));
    steps_follow(&mut cluster);

    // It is as good a standby as any.
    let (leader, killed, other) = leader_and_other(&cluster);
    cluster.coordinator_named(&leader).unwrap().kill();
    wait_for_leader(&cluster, &other, &killed);
    cluster.start_coordinator_named_again(&leader).unwrap();
    ends_well(cluster);
}

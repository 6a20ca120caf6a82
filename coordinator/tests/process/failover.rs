//! Another coordinator takes over.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use client::Connection;
use local_cluster::EtcdServer;
use proto::v1;
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::bench::with;
use crate::cluster::{Coordinators, LEADER_LEASE};
use crate::training::first_epoch_steps;
use crate::worker::{End, FakeWorker, Leash, Quirks};

/// The longest that a takeover may take: the leader's lease, and what a machine
/// that stands still now and then takes beside.
const TAKEOVER: Duration = Duration::from_secs(LEADER_LEASE.as_secs() + 35);
/// A leader's lease in which no test would wait until it has run out.
const LONG_LEASE: Duration = Duration::from_secs(60);
/// The lease that coordinators have of themselves.
const SHORT_LEASE: Duration = Duration::from_secs(3);

/// A worker that steps, also while nobody leads, but not beyond its leash: the run,
/// of some 24 steps, outlasts what a test does to its coordinators.
async fn steady(connection: &Connection, leash: &Leash) -> JoinHandle<End> {
    let quirks = Quirks {
        pace: Some(Duration::from_millis(200)),
        leash: Some(leash.clone()),
        stays: true,
        ..Quirks::default()
    };
    tokio::spawn(FakeWorker::join(connection, "a", quirks).await.work())
}

/// Every file below a folder that is no record of the coordinator's own.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(content) = std::fs::read(&path) {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(name, content);
            }
        }
    }
    found
}

async fn audit_is_clean(all: &Coordinators) {
    let addresses = all.addresses().to_string();
    let (audit, is_clean) = all
        .wait("an audit", |all| all.answer(&["audit"], &addresses))
        .await;
    assert!(is_clean, "{audit}\n{}", all.logs());
    assert_eq!(audit["total"]["repeated"], 0, "{audit}");
    assert_eq!(audit["total"]["missed"], 0, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_leads_when_the_leader_is_killed_and_the_generation_goes_on() {
    if !EtcdServer::is_there_for("takeover after a kill") {
        return;
    }
    let mut all = Coordinators::start(&["shared", "shared"]).await;
    let connection = all.connection();
    let leash = Leash::of(8);
    let worker = steady(&connection, &leash).await;
    all.reach(&connection, 3).await;

    let status = all.ask(&["status"], &all.nodes[1].address.to_string());
    assert_eq!(status.unwrap()["state"], "standby");
    let refused = all.direct(1).operator().audit(v1::AuditRequest {}).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let leader = all.nodes[0].address.to_string();
    assert!(refused.message().contains(&leader), "{refused}");
    assert_eq!(
        refused.metadata().get(proto::LEADER_METADATA).unwrap(),
        leader.as_str()
    );

    all.kill(0);
    let killed = Instant::now();
    let after = all.direct(1);
    let standby_leads = all.reach(&after, 3).await;
    let took = killed.elapsed();
    assert!(took < TAKEOVER, "{took:?}\n{}", all.logs());
    // It goes on, in the same generation.
    leash.lengthen(14);
    all.reach(&after, standby_leads + 5).await;
    leash.let_go();
    assert_eq!(
        worker.await.unwrap(),
        End::Stopped(v1::stop::Reason::Complete)
    );
    assert!(all.ended(1).await);
    for step in all.stored_steps() {
        assert_eq!(step["generation"], 1, "{step}");
    }
    let took_over = format!("over from {leader} after ");
    assert!(all.log(1).contains(&took_over), "{}", all.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_becomes_a_standby_and_says_nothing() {
    if !EtcdServer::is_there_for("takeover after a stop") {
        return;
    }
    let all = Coordinators::start(&["shared", "shared"]).await;
    let connection = all.connection();
    let leash = Leash::of(8);
    let worker = steady(&connection, &leash).await;
    all.reach(&connection, 2).await;

    // Somebody who would hear whatever the old leader still says.
    let old = all.direct(0);
    let watch = v1::WatchRequest::default();
    let mut states = old.checkpoints().watch(watch).await.unwrap().into_inner();
    states.message().await.unwrap();
    all.signal(0, Signal::STOP);
    let stopped = Instant::now();
    let new = all.direct(1);
    let steps = all.reach(&new, 2).await;
    let took = stopped.elapsed();
    assert!(took < TAKEOVER, "{took:?}\n{}", all.logs());
    leash.lengthen(14);
    all.reach(&new, steps + 3).await;

    all.signal(0, Signal::CONT);
    // The first thing that it says is that it leads no more.
    let cut = loop {
        match states.message().await {
            Ok(Some(state)) => {
                let latest = state.latest.map(|latest| latest.cursor.unwrap().step);
                assert!(latest <= Some(steps), "sent after it was followed");
            }
            Ok(None) => panic!("the stream ended as if the run were complete"),
            Err(status) => break status,
        }
    };
    // Or its connection breaks first, which tonic calls unknown.
    assert!(
        matches!(cut.code(), Code::Unavailable | Code::Unknown),
        "{cut}"
    );
    all.wait("the old leader to stand by", |all| {
        (all.state(0)? == "standby").then_some(())
    })
    .await;
    all.wait("the old leader to name the new one", |all| {
        all.detail(0)?.contains("state directory").then_some(())
    })
    .await;
    audit_is_clean(&all).await;
    worker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_told_to_stop_hands_over_at_once() {
    if !EtcdServer::is_there_for("handing over") {
        return;
    }
    let mut all = Coordinators::start_with(&["shared", "shared"], LONG_LEASE).await;
    let connection = all.connection();
    let leash = Leash::of(8);
    let worker = steady(&connection, &leash).await;
    all.reach(&connection, 2).await;
    all.present(1, 0).await;
    all.signal(0, Signal::TERM);
    let asked = Instant::now();
    assert!(all.ended(0).await, "{}", all.logs());
    let new = all.direct(1);
    let steps = all.reach(&new, 2).await;
    let took = asked.elapsed();
    assert!(took < LONG_LEASE / 2, "{took:?}\n{}", all.logs());
    leash.lengthen(14);
    all.reach(&new, steps + 2).await;

    // Nobody is left to hand over to: the run stops, in good order.
    all.signal(1, Signal::TERM);
    assert_eq!(
        worker.await.unwrap(),
        End::Stopped(v1::stop::Reason::Shutdown)
    );
    assert!(all.ended(1).await, "{}", all.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_standby_has_just_gone_stops_the_run_and_leaves_it_to_nobody() {
    if !EtcdServer::is_there_for("handing over to nobody") {
        return;
    }
    let mut all = Coordinators::start_with(&["shared", "shared"], LONG_LEASE).await;
    let connection = all.connection();
    let worker = steady(&connection, &Leash::of(8)).await;
    all.reach(&connection, 2).await;
    all.signal(1, Signal::TERM);
    assert!(all.ended(1).await, "{}", all.logs());
    // The last that the leader has heard of the standby, a moment ago.
    all.present(1, 0).await;
    all.signal(0, Signal::TERM);
    assert_eq!(
        worker.await.unwrap(),
        End::Stopped(v1::stop::Reason::Shutdown)
    );
    assert!(all.ended(0).await, "{}", all.logs());
    assert!(all.log(0).contains("no standby leads"), "{}", all.log(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_a_run_in_etcd_is_not_taken_for_another_run() {
    if !EtcdServer::is_there_for("a directory of a run in etcd") {
        return;
    }
    let mut all = Coordinators::start(&["one"]).await;
    let connection = all.connection();
    let worker = steady(&connection, &Leash::of(8)).await;
    all.wait("a checkpoint", |all| {
        let checkpoints = files(&all.state_dir(0).join("checkpoints"));
        checkpoints
            .keys()
            .any(|name| name.starts_with("step-"))
            .then_some(())
    })
    .await;
    all.kill(0);
    worker.abort();
    let before = files(&all.state_dir(0).join("checkpoints"));

    // Without --store, as it happens.
    let flags = with(all.bench.flags(1), "--state-dir", "one");
    let refused = all.bench.refusal(&flags);
    assert!(refused.contains("give --store etcd://"), "{refused}");
    // With another run's store, which has none yet.
    let elsewhere = format!("etcd://{}/another", all.etcd.endpoint());
    let flags = with(flags, "--store", &elsewhere);
    let refused = all.bench.refusal(&flags);
    assert!(refused.contains("another --state-dir"), "{refused}");
    assert_eq!(files(&all.state_dir(0).join("checkpoints")), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_its_etcd_stands_by_and_leads_again_with_it() {
    if !EtcdServer::is_there_for("etcd is paused") {
        return;
    }
    // One that is alone leads again whatever deposed it, so this can be quick.
    let mut all = Coordinators::start_with(&["alone"], SHORT_LEASE).await;
    let connection = all.connection();
    let leash = Leash::of(4);
    let worker = steady(&connection, &leash).await;
    let before = all.reach(&connection, 2).await;
    all.etcd.pause().unwrap();
    all.wait("the leader to notice", |all| {
        (all.state(0)? == "standby").then_some(())
    })
    .await;
    all.etcd.resume().unwrap();
    leash.lengthen(8);
    all.reach(&connection, before + 2).await;
    let before = all.reach(&connection, before).await;
    all.etcd.kill();
    all.wait("the leader to notice", |all| {
        (all.state(0)? == "standby").then_some(())
    })
    .await;
    all.etcd.restart().unwrap();
    leash.lengthen(12);
    all.reach(&connection, before + 2).await;
    audit_is_clean(&all).await;
    worker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_on_its_own_disk_has_everything_when_it_takes_over() {
    if !EtcdServer::is_there_for("copies on another disk") {
        return;
    }
    let mut all = Coordinators::start(&["one", "other"]).await;
    let connection = all.connection();
    // Into the second epoch, so that there is a checkpoint, and not further, so that
    // it stays the only one.
    let (first_epoch, _) = first_epoch_steps(&all.bench);
    let leash = Leash::of(first_epoch + 1);
    let worker = steady(&connection, &leash).await;
    all.wait("a checkpoint on both disks", |all| {
        let checkpoints = |index: usize| {
            let folder = all.state_dir(index).join("checkpoints");
            let mut files = files(&folder);
            files.retain(|name, _| !name.starts_with('.'));
            files
        };
        let (original, copy) = (checkpoints(0), checkpoints(1));
        (!original.is_empty() && original == copy).then_some(())
    })
    .await;
    all.kill(0);
    let new = all.direct(1);
    let steps = all.reach(&new, first_epoch).await;
    leash.lengthen(steps + 4);
    all.reach(&new, steps + 3).await;
    // Every page that was fed is on the new leader's disk, or comes there.
    all.start_again(0).await;
    all.wait("a clean audit on the new leader's disk", |all| {
        all.ask(&["audit"], &all.nodes[1].address.to_string())
    })
    .await;
    leash.let_go();
    assert_eq!(
        worker.await.unwrap(),
        End::Stopped(v1::stop::Reason::Complete)
    );
}

/// Prints how long ten takeovers take, from the kill of the leader to the first
/// answer of its successor, and to the next step's report.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; run it by itself"]
async fn how_long_takeovers_take() {
    let mut all = Coordinators::start_with(&["shared", "shared"], SHORT_LEASE).await;
    let (mut led, mut stepped) = (Vec::new(), Vec::new());
    let connection = all.connection();
    let quirks = Quirks {
        pace: Some(Duration::from_millis(1500)),
        stays: true,
        ..Quirks::default()
    };
    let worker = tokio::spawn(FakeWorker::join(&connection, "a", quirks).await.work());
    let mut leader = 0;
    let mut steps = all.reach(&connection, 1).await;
    for _ in 0..10 {
        all.kill(leader);
        let killed = Instant::now();
        let standby = 1 - leader;
        let direct = all.direct(standby);
        all.reach(&direct, 0).await;
        led.push(killed.elapsed());
        steps = all.reach(&direct, steps + 1).await;
        stepped.push(killed.elapsed());
        all.start_again(leader).await;
        all.wait("the standby", |all| {
            all.detail(leader)?
                .contains("state directory")
                .then_some(())
        })
        .await;
        leader = standby;
    }
    worker.abort();
    for (what, times) in [("led after", &mut led), ("next report after", &mut stepped)] {
        times.sort();
        println!(
            "{what}: median {:.2?}, worst {:.2?} of {}",
            times[times.len() / 2],
            times[times.len() - 1],
            times.len()
        );
    }
}

//! Killed anywhere and started again, a publisher has published once.

use std::os::unix::process::ExitStatusExt as _;

use publisher::Point;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use standin_chain::{Fault as ChainFault, Rejection, When};
use standin_hub::{Action, Answer, Fault, Moment, Route};

use crate::checkpoints::Checkpoint;
use crate::scene::{Scene, finish, finish_child};

const SIGKILL: i32 = 9;

async fn killed_at(point: Point) {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let mut publisher = scene.publisher();
    publisher.env("PEREGRINE_CRASH_POINT", point.name());
    let killed = finish(publisher).await;
    assert_eq!(
        killed.output.status.signal(),
        Some(SIGKILL),
        "{}: {}",
        point.name(),
        killed.stderr()
    );
    let said = scene.publish().await;
    assert_eq!(said.code(), Some(0), "{}: {}", point.name(), said.stderr());
    scene.assert_published_once(point.name());
}

/// Seeds for each point beyond the plain kill; `cargo xtask kill-matrix` asks for
/// many.
fn seeds() -> u64 {
    let asked = std::env::var("PEREGRINE_KILL_SEEDS").ok();
    asked.map_or(0, |seeds| seeds.parse().unwrap())
}

/// A fault of the Hub that passes, somewhere on the publication's way.
fn hub_fault(random: &mut StdRng) -> Fault {
    let routes = [
        Route::Info,
        Route::Preupload,
        Route::Token,
        Route::Commit,
        Route::PathsInfo,
        Route::Tree,
    ];
    let route = routes[random.random_range(0..routes.len())];
    let action = match random.random_range(0..4) {
        0 => Action::Cut(Moment::Before),
        1 => Action::Cut(Moment::After),
        2 => Action::Answer(Moment::Before, Answer::status(503)),
        _ => Action::Answer(Moment::After, Answer::status(500)),
    };
    Fault::new(route, action).skip(random.random_range(0..2))
}

fn chain_fault(random: &mut StdRng) -> ChainFault {
    match random.random_range(0..3) {
        0 => ChainFault::LoseAcknowledgements { times: 1 },
        1 => ChainFault::LoseSubmissions { times: 1 },
        _ => ChainFault::RejectSubmission {
            rejection: Rejection::ImmediatelyDropped,
        },
    }
}

/// Killed at a point while Hub or chain have troubles of their own, and perhaps
/// killed again while it makes that good.
async fn killed_in_trouble(point: Point, seed: u64) {
    let place = Point::ALL.iter().position(|one| *one == point).unwrap();
    let mut random = StdRng::seed_from_u64(seed * Point::ALL.len() as u64 + place as u64);
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let mut kills = vec![point];
    if random.random() {
        kills.push(Point::ALL[random.random_range(0..Point::ALL.len())]);
    }
    if random.random() {
        scene.hub.faults().add(hub_fault(&mut random));
    }
    if random.random() {
        let fault = chain_fault(&mut random);
        scene.chain.faults().inject(fault).unwrap();
    }
    let case = format!("{} with seed {seed}", point.name());
    for kill in kills {
        let mut publisher = scene.publisher();
        publisher.env("PEREGRINE_CRASH_POINT", kill.name());
        finish(publisher).await;
    }
    let said = scene.publish().await;
    assert_eq!(said.code(), Some(0), "{case}: {}", said.stderr());
    scene.assert_published_once(&case);
}

/// Not all at once: each has servers of its own.
async fn killed_at_each(points: &[Point]) {
    for pair in points.chunks(2) {
        let both = pair.iter().map(|&point| {
            tokio::spawn(async move {
                killed_at(point).await;
                for seed in 1..=seeds() {
                    killed_in_trouble(point, seed).await;
                }
                if seeds() > 0 {
                    println!("{}: {} seeds, published once", point.name(), seeds());
                }
            })
        });
        for one in both.collect::<Vec<_>>() {
            one.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_anything_leaves_the_machine_is_made_good() {
    killed_at_each(&Point::ALL[..6]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_around_the_upload_leaves_one_commit_on_the_hub() {
    killed_at_each(&Point::ALL[6..14]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_around_the_commitment_leaves_one_on_the_chain() {
    killed_at_each(&Point::ALL[14..]).await;
}

#[tokio::test]
async fn the_points_are_listed_for_whoever_kills_at_all_of_them() {
    let scene = Scene::start().await;
    let mut binary = scene.binary();
    binary.arg("crash-points");
    let listed = finish(binary).await.json();
    let names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
    assert_eq!(listed, serde_json::json!(names));
}

#[tokio::test]
async fn a_kill_while_the_hub_has_the_commit_in_hand_leaves_one() {
    for moment in [Moment::Before, Moment::After] {
        let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
        let held = scene
            .hub
            .faults()
            .add(Fault::new(Route::Commit, Action::Hold(moment)));
        let mut child = scene.publisher().spawn().unwrap();
        held.arrived().await;
        child.kill().await.unwrap();
        // The Hub carries on with what it was asked for, before the publisher
        // is there again.
        held.release();
        scene.hub.answered(Route::Commit, 1).await;
        scene.publish().await.json();
        scene.assert_published_once(&format!("{moment:?}"));
    }
}

#[tokio::test]
async fn a_kill_while_a_node_has_the_commitment_in_hand_leaves_one() {
    for when in [When::Before, When::After] {
        let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
        let mut held = scene
            .chain
            .faults()
            .hold("author_submitAndWatchExtrinsic", when);
        let mut child = scene.publisher().spawn().unwrap();
        held.arrived().await;
        child.kill().await.unwrap();
        held.release();
        scene.publish().await.json();
        scene.assert_published_once(&format!("{when:?}"));
    }
}

#[tokio::test]
async fn a_lost_acknowledgement_of_the_hub_is_reconciled_without_a_restart() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    scene
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Cut(Moment::After)));
    scene.publish().await.json();
    scene.assert_published_once("a lost acknowledgement");
}

#[tokio::test]
async fn a_stop_in_good_order_is_taken_up_again() {
    let scene = Scene::with_finished_run(&Checkpoint::publishable("c1", 3.5)).await;
    let held = scene
        .hub
        .faults()
        .add(Fault::new(Route::Commit, Action::Hold(Moment::Before)));
    let child = scene.publisher().spawn().unwrap();
    held.arrived().await;
    let id = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    held.release();
    // The commit that was under way is finished and written down.
    let stopped = finish_child(child).await;
    assert_eq!(stopped.code(), Some(0), "{}", stopped.stderr());
    let stage = scene.status().publications[0].record.stage.name();
    assert_eq!((stage, scene.hub_commits()), ("uploaded", 1));
    scene.publish().await.json();
    scene.assert_published_once("stopped and started");
}

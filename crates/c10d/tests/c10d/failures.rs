//! Ranks that die, hang, or are told to stop.

use std::thread;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, FAR_AWAY, Peer, introduce_all, join, run, serve};
use crate::model::{assert_close, expected_gradients, gradients, loss, parameters};
use c10d::{AbortHandle, Error, Member, Reducer, ReducerOptions};
use tch::Tensor;

/// Below it, something was interrupted; above it, it was waited for. Abort takes
/// milliseconds; the margin is for busy machines.
const PROMPT: Duration = Duration::from_secs(20);

fn step(reducer: &mut Reducer, parameters: &[Tensor], number: usize) -> Result<(), Error> {
    reducer.zero_grads()?;
    reducer
        .backward(&loss(parameters, number), true)
        .map(|_| ())
}

/// Ranks 0 and 1 form a new generation, step, and get the sum of both.
fn survivors_step_again(peer: &Peer, parameters: &[Tensor]) {
    let next = peer.meet_as(peer.number, 2, FAR_AWAY);
    let mut reducer = Reducer::new(&next.group, parameters, ReducerOptions::default()).unwrap();
    step(&mut reducer, parameters, peer.number).unwrap();
    assert_close(&gradients(parameters), &expected_gradients(&[0, 1]));
    next.group.barrier().unwrap();
}

#[test]
fn a_killed_peer_is_noticed_and_survivors_step_again() {
    fn rank(peer: &mut Peer) {
        let generation = peer.meet();
        let parameters = parameters();
        let mut reducer =
            Reducer::new(&generation.group, &parameters, ReducerOptions::default()).unwrap();
        step(&mut reducer, &parameters, peer.number).unwrap();
        peer.say("stepped");
        peer.hear_that("go on");

        // A survivor may see the death itself, or a survivor that left because of it.
        let begun = Instant::now();
        let error = step(&mut reducer, &parameters, peer.number).unwrap_err();
        assert!(error.ends_generation(), "{error:?}");
        assert!(matches!(error, Error::PeerLost(_)), "{error:?}");
        assert!(begun.elapsed() < PROMPT);
        // It stays over.
        assert!(generation.group.barrier().is_err());

        drop((reducer, generation));
        survivors_step_again(peer, &parameters);
    }
    fn conduct(cluster: &mut Cluster) {
        introduce_all(cluster);
        for number in 0..3 {
            cluster.hear_that(number, "stepped");
        }
        cluster.kill(2);
        cluster.say(0, "go on");
        cluster.say(1, "go on");
        cluster.introduce(&[0, 1]);
    }
    run(
        "failures::a_killed_peer_is_noticed_and_survivors_step_again",
        3,
        rank,
        conduct,
    );
}

#[test]
fn abort_interrupts_a_step_with_a_stopped_peer() {
    fn rank(peer: &mut Peer) {
        let generation = peer.meet();
        let parameters = parameters();
        let mut reducer =
            Reducer::new(&generation.group, &parameters, ReducerOptions::default()).unwrap();
        step(&mut reducer, &parameters, peer.number).unwrap();
        peer.say("stepped");
        peer.hear_that("go on");

        // Launched for sure before the abort; neither it nor the step can complete.
        let untouched = Tensor::from_slice(&[7i64]);
        let pending = generation.group.start_all_reduce(&untouched).unwrap();
        peer.say("stepping");
        let abort = generation.abort.clone();
        let listener = thread::spawn(move || {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            assert_eq!(line.trim_end(), "abort");
            abort.abort("worker 2 missed its lease");
            Instant::now()
        });
        let error = step(&mut reducer, &parameters, peer.number).unwrap_err();
        let returned = Instant::now();
        let aborted = listener.join().unwrap();
        assert_eq!(
            error,
            Error::Aborted("worker 2 missed its lease".to_owned())
        );
        let delay = returned.saturating_duration_since(aborted);
        assert!(delay < PROMPT, "{delay:?}");

        // Everything of the generation says so, at once; the first reason stays.
        generation.abort.abort("another reason");
        for error in [
            pending.wait().unwrap_err(),
            generation.group.barrier().unwrap_err(),
            generation.store.get("key", FAR_AWAY).unwrap_err(),
            step(&mut reducer, &parameters, 0).unwrap_err(),
        ] {
            assert_eq!(
                error,
                Error::Aborted("worker 2 missed its lease".to_owned())
            );
        }

        // The old group hangs on the reaper while the new one steps.
        let begun = Instant::now();
        drop((reducer, generation));
        survivors_step_again(peer, &parameters);
        assert!(begun.elapsed() < PROMPT);
        assert!(
            !c10d::join_reaper(Duration::from_millis(1)),
            "the old group is being waited for"
        );
        assert_eq!(i64::try_from(untouched).unwrap(), 7);
    }
    fn conduct(cluster: &mut Cluster) {
        introduce_all(cluster);
        for number in 0..3 {
            cluster.hear_that(number, "stepped");
        }
        cluster.stop(2);
        cluster.say(0, "go on");
        cluster.say(1, "go on");
        for number in [0, 1] {
            cluster.hear_that(number, "stepping");
            cluster.say(number, "abort");
        }
        cluster.introduce(&[0, 1]);
        cluster.kill(2);
    }
    run(
        "failures::abort_interrupts_a_step_with_a_stopped_peer",
        3,
        rank,
        conduct,
    );
}

#[test]
fn a_peer_that_does_not_come_is_a_timeout() {
    fn rank(peer: &mut Peer) {
        let timeout = Duration::from_millis(500);
        let generation = peer.meet_as(peer.number, peer.world, timeout);
        generation.group.barrier().unwrap();
        if peer.number == 1 {
            // Here, connected, and silent until the other has given up.
            peer.hear_that("enough");
            return;
        }
        let tensor = Tensor::from_slice(&[3i64]);
        let begun = Instant::now();
        let error = generation.group.all_reduce(&tensor).unwrap_err();
        assert!(matches!(error, Error::Timeout(_)), "{error:?}");
        assert!(begun.elapsed() >= timeout);
        assert_eq!(i64::try_from(tensor).unwrap(), 3);
        peer.say("timed out");
    }
    fn conduct(cluster: &mut Cluster) {
        introduce_all(cluster);
        cluster.hear_that(0, "timed out");
        cluster.say(1, "enough");
    }
    run(
        "failures::a_peer_that_does_not_come_is_a_timeout",
        2,
        rank,
        conduct,
    );
}

/// A member of a world of two whose other member never comes.
const LONELY: Member = Member { rank: 0, world: 2 };

#[test]
fn a_rank_that_never_arrives_is_a_timeout() {
    fn rank(_: &mut Peer) {
        let store = serve(&AbortHandle::new());
        let error = join(&store, LONELY, Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, Error::Timeout(_)), "{error:?}");
    }
    run(
        "failures::a_rank_that_never_arrives_is_a_timeout",
        1,
        rank,
        |_| {},
    );
}

#[test]
fn abort_interrupts_the_rendezvous() {
    fn rank(peer: &mut Peer) {
        let abort = AbortHandle::new();
        let store = serve(&abort);
        let begun = Instant::now();
        let meeting = thread::spawn(move || join(&store, LONELY, FAR_AWAY).unwrap_err());
        peer.hear_that("abort");
        abort.abort("the membership changed");
        assert_eq!(
            meeting.join().unwrap(),
            Error::Aborted("the membership changed".to_owned())
        );
        assert!(begun.elapsed() < PROMPT);
    }
    run(
        "failures::abort_interrupts_the_rendezvous",
        1,
        rank,
        |cluster| cluster.say(0, "abort"),
    );
}

//! Gradients summed over real processes.

use crate::cluster::{Cluster, Peer, introduce_all, run};
use crate::model::{
    LAYERS, assert_close, assert_same, expected_gradients, gradients, loss, parameters, zero_loss,
};
use c10d::{Error, Reducer, ReducerOptions};
use tch::Tensor;

/// Several buckets even of a small model.
const OPTIONS: ReducerOptions = ReducerOptions {
    first_bucket_bytes: 1,
    bucket_bytes: 5000,
};

/// Ranks agree bit by bit when what each has is what rank 0 has.
fn assert_same_everywhere(peer: &Peer, group: &c10d::Group, found: &[Tensor]) {
    for tensor in found {
        let of_first = tensor.copy();
        group.broadcast(&of_first, 0).unwrap();
        assert!(of_first.equal(tensor), "rank {} differs", peer.number);
    }
}

fn steps(peer: &mut Peer) {
    let generation = peer.meet();
    let parameters = parameters();
    let mut reducer = Reducer::new(&generation.group, &parameters, OPTIONS).unwrap();
    assert_eq!(reducer.bucket_count(), 3);
    let total: usize = parameters.iter().map(|p| p.numel() * 4).sum();

    let mut first = None;
    for _ in 0..3 {
        // One micro-batch each.
        reducer.zero_grads().unwrap();
        let times = reducer
            .backward(&loss(&parameters, peer.number), true)
            .unwrap();
        assert_eq!(times.bytes_reduced, total as u64);
        assert!(times.exposed_communication <= times.total);
        let found = gradients(&parameters);
        let everyone: Vec<usize> = (0..peer.world).collect();
        assert_close(&found, &expected_gradients(&everyone));
        assert_same_everywhere(peer, &generation.group, &found);

        // The same sums every time, bit by bit.
        let first = first.get_or_insert_with(|| gradients(&parameters));
        assert_same(&found, first);
    }

    // Several micro-batches each, one reduction.
    reducer.zero_grads().unwrap();
    let mine = [2 * peer.number, 2 * peer.number + 1];
    let times = reducer
        .backward(&loss(&parameters, mine[0]), false)
        .unwrap();
    assert_eq!(times.bytes_reduced, 0);
    assert_close(&gradients(&parameters), &expected_gradients(&mine[..1]));
    reducer.backward(&loss(&parameters, mine[1]), true).unwrap();
    let everything: Vec<usize> = (0..2 * peer.world).collect();
    assert_close(&gradients(&parameters), &expected_gradients(&everything));

    // An empty share on every rank but the first.
    reducer.zero_grads().unwrap();
    let share = if peer.number == 0 {
        loss(&parameters, 5)
    } else {
        zero_loss(&parameters)
    };
    reducer.backward(&share, true).unwrap();
    assert_same(&gradients(&parameters), &expected_gradients(&[5]));

    // A second reducer begins from zero, and the first leaves nothing behind.
    drop(reducer);
    assert!(parameters.iter().all(|p| !p.grad().defined()));
    let mut reducer = Reducer::new(&generation.group, &parameters, OPTIONS).unwrap();
    assert!(
        gradients(&parameters)
            .iter()
            .all(|g| f64::try_from(g.abs().max()).unwrap() == 0.0)
    );
    reducer
        .backward(&loss(&parameters, peer.number), true)
        .unwrap();
    assert_same(&gradients(&parameters), first.as_ref().unwrap());

    a_forgotten_parameter_is_named(&mut reducer, &parameters);
}

/// Last, because it ends the group.
fn a_forgotten_parameter_is_named(reducer: &mut Reducer, parameters: &[Tensor]) {
    let partial = loss(&parameters[..LAYERS - 1], 0);
    let error = reducer.backward(&partial, true).unwrap_err();
    assert!(
        matches!(&error, Error::Invalid(text) if text.contains("every parameter")),
        "{error:?}"
    );
    let error = reducer.backward(&loss(parameters, 0), true).unwrap_err();
    assert!(error.to_string().contains("earlier operation"), "{error:?}");
}

fn conduct(cluster: &mut Cluster) {
    introduce_all(cluster);
}

#[test]
fn two_ranks() {
    run("reducer::two_ranks", 2, steps, conduct);
}

#[test]
fn three_ranks() {
    run("reducer::three_ranks", 3, steps, conduct);
}

#[test]
fn four_ranks() {
    run("reducer::four_ranks", 4, steps, conduct);
}

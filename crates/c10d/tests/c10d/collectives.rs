//! Collectives between real processes.

use crate::cluster::{Cluster, FAR_AWAY, Peer, introduce_all, run};
use c10d::{Error, Group};
use tch::{Kind, Tensor};

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.to_kind(Kind::Double).reshape([-1])).unwrap()
}

fn every_collective(peer: &mut Peer) {
    let generation = peer.meet();
    let group = &generation.group;
    let (rank, world) = (peer.number as i64, peer.world as i64);
    assert_eq!((group.rank(), group.world()), (peer.number, peer.world));

    for kind in [Kind::Float, Kind::Double, Kind::Int64] {
        let tensor = Tensor::from_slice(&[rank, 10 * rank, 1]).to_kind(kind);
        group.all_reduce(&tensor).unwrap();
        let ranks: i64 = (0..world).sum();
        assert_eq!(
            values(&tensor),
            [ranks, 10 * ranks, world].map(|v| v as f64)
        );

        for root in 0..peer.world {
            let tensor = Tensor::from_slice(&[rank, rank + 100]).to_kind(kind);
            group.broadcast(&tensor, root).unwrap();
            assert_eq!(values(&tensor), [root as f64, root as f64 + 100.0]);
        }

        let gathered = group
            .all_gather(&Tensor::from_slice(&[rank, rank * rank]).to_kind(kind))
            .unwrap();
        assert_eq!(gathered.len(), peer.world);
        for (from, tensor) in gathered.iter().enumerate() {
            assert_eq!(tensor.kind(), kind);
            assert_eq!(values(tensor), [from as f64, (from * from) as f64]);
        }
    }

    strided_tensors_are_written_through(group, rank, world);
    large_tensors_arrive_whole(group, rank, world);
    works_are_independent(group, rank, world);
    refusals_leave_the_group_usable(group, world);

    // Nobody leaves the barrier before everybody has entered it.
    generation.store.add("entered", 1).unwrap();
    group.barrier().unwrap();
    assert_eq!(generation.store.add("entered", 0).unwrap(), world);
    // The store goes with rank 0.
    group.barrier().unwrap();

    // Nothing hangs, so teardown in the background comes to its end.
    drop(generation);
    assert!(c10d::join_reaper(FAR_AWAY));
}

fn strided_tensors_are_written_through(group: &Group, rank: i64, world: i64) {
    let tensor = Tensor::from_slice(&[rank, 1, 2, 3, 4, 5]).reshape([2, 3]);
    group.all_reduce(&tensor.transpose(0, 1)).unwrap();
    let ranks: i64 = (0..world).sum();
    let expected = [ranks, world, 2 * world, 3 * world, 4 * world, 5 * world];
    assert_eq!(values(&tensor), expected.map(|v| v as f64));
}

fn large_tensors_arrive_whole(group: &Group, rank: i64, world: i64) {
    let count = 1_000_003;
    let tensor = Tensor::arange(count, (Kind::Double, tch::Device::Cpu)) * (rank + 1) as f64;
    group.all_reduce(&tensor).unwrap();
    let factor: i64 = (1..=world).sum();
    let expected = Tensor::arange(count, (Kind::Double, tch::Device::Cpu)) * factor as f64;
    assert!(tensor.equal(&expected));
}

fn works_are_independent(group: &Group, rank: i64, world: i64) {
    let (first, second) = (Tensor::from_slice(&[rank]), Tensor::from_slice(&[1i64]));
    let started = group.start_all_reduce(&first).unwrap();
    let given_up = group.start_all_reduce(&first).unwrap();
    let last = group.start_all_reduce(&second).unwrap();
    last.wait().unwrap();
    drop(given_up);
    assert_eq!(values(&second), [world as f64]);
    assert_eq!(values(&first), [rank as f64], "not written before the wait");
    started.wait().unwrap();
    assert_eq!(values(&first), [(0..world).sum::<i64>() as f64]);
}

fn refusals_leave_the_group_usable(group: &Group, world: i64) {
    let wrong_kind = Tensor::from_slice(&[true]);
    let error = group.all_reduce(&wrong_kind).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let tensor = Tensor::from_slice(&[1i64]);
    let error = group.broadcast(&tensor, world as usize).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    group.all_reduce(&tensor).unwrap();
    assert_eq!(values(&tensor), [world as f64]);
}

fn conduct(cluster: &mut Cluster) {
    introduce_all(cluster);
}

#[test]
fn two_ranks() {
    run("collectives::two_ranks", 2, every_collective, conduct);
}

#[test]
fn three_ranks() {
    run("collectives::three_ranks", 3, every_collective, conduct);
}

#[test]
fn four_ranks() {
    run("collectives::four_ranks", 4, every_collective, conduct);
}

//! What one process can check: a world of one, the store, refusals, and the operations
//! that tch lacks.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use crate::model::{assert_same, expected_gradients, gradients, loss, parameters};
use c10d::{
    AbortHandle, AdamWHyper, Error, Group, GroupOptions, Member, Network, Reducer, ReducerOptions,
    Store, autocast, device_available, fused_adamw_, grad_norm, scale_,
};
use tch::{Device, Kind, Tensor};

const PATIENCE: Duration = Duration::from_secs(60);

fn store(abort: &AbortHandle) -> Store {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    Store::serve(listener, PATIENCE, abort).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(tensor.to_kind(Kind::Double).reshape([-1])).unwrap()
}

#[test]
fn collectives_in_a_world_of_one_are_identities() {
    let group = Group::alone(Device::Cpu, &AbortHandle::new()).unwrap();
    let tensor = Tensor::from_slice(&[1.5f32, -2.0]);
    group.all_reduce(&tensor).unwrap();
    group.broadcast(&tensor, 0).unwrap();
    group.barrier().unwrap();
    assert_eq!(values(&tensor), [1.5, -2.0]);
    let gathered = group.all_gather(&tensor).unwrap();
    assert_eq!(gathered.len(), 1);
    assert_eq!(values(&gathered[0]), [1.5, -2.0]);
}

#[test]
fn a_reducer_in_a_world_of_one_gives_plain_gradients() {
    let group = Group::alone(Device::Cpu, &AbortHandle::new()).unwrap();
    let parameters = parameters();
    let mut reducer = Reducer::new(&group, &parameters, ReducerOptions::default()).unwrap();
    for _ in 0..3 {
        reducer.zero_grads().unwrap();
        reducer.backward(&loss(&parameters, 0), false).unwrap();
        let times = reducer.backward(&loss(&parameters, 1), true).unwrap();
        assert_eq!(times.bytes_reduced, 0);
        assert_same(&gradients(&parameters), &expected_gradients(&[0, 1]));
    }
}

#[test]
fn gradients_stay_where_they_are() {
    let group = Group::alone(Device::Cpu, &AbortHandle::new()).unwrap();
    let parameters = parameters();
    let mut reducer = Reducer::new(&group, &parameters, ReducerOptions::default()).unwrap();
    let places = || -> Vec<usize> {
        parameters
            .iter()
            .map(|p| p.grad().data_ptr() as usize)
            .collect()
    };
    let before = places();
    reducer.backward(&loss(&parameters, 0), false).unwrap();
    reducer.backward(&loss(&parameters, 0), true).unwrap();
    reducer.zero_grads().unwrap();
    assert_eq!(places(), before);
    assert!(
        parameters
            .iter()
            .all(|p| values(&p.grad()).iter().all(|v| *v == 0.0))
    );
}

#[test]
fn an_aborted_reducer_says_so_in_every_world() {
    let abort = AbortHandle::new();
    let group = Group::alone(Device::Cpu, &abort).unwrap();
    let parameters = parameters();
    let mut reducer = Reducer::new(&group, &parameters, ReducerOptions::default()).unwrap();
    assert_eq!(abort.reason(), None);
    abort.abort("a reason");
    assert_eq!(abort.reason().as_deref(), Some("a reason"));
    for sync in [false, true] {
        let error = reducer.backward(&loss(&parameters, 0), sync).unwrap_err();
        assert_eq!(error, Error::Aborted("a reason".to_owned()));
    }
    assert!(matches!(
        Reducer::new(&group, &parameters, ReducerOptions::default()),
        Err(Error::Aborted(_))
    ));
}

#[test]
fn parameters_that_cannot_be_reduced_are_refused() {
    let group = Group::alone(Device::Cpu, &AbortHandle::new()).unwrap();
    let options = ReducerOptions::default();
    let refused = |parameters: &[Tensor], options: ReducerOptions| -> String {
        match Reducer::new(&group, parameters, options) {
            Err(Error::Invalid(message)) => message,
            other => panic!("{other:?}"),
        }
    };
    let leaf = || Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    assert!(refused(&[], options).contains("at least one"));
    assert!(refused(&[leaf(), leaf().detach()], options).contains("parameter 1 is not a leaf"));
    let twice = leaf();
    assert!(refused(&[twice.shallow_clone(), twice], options).contains("appears twice"));
    let empty = ReducerOptions {
        bucket_bytes: 0,
        ..options
    };
    assert!(refused(&[leaf()], empty).contains("at least one byte"));

    let parameters = parameters();
    let mut reducer = Reducer::new(&group, &parameters, options).unwrap();
    let error = reducer.backward(&Tensor::from(1.0), true).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    // Refused before it began: the reducer goes on.
    reducer.backward(&loss(&parameters, 0), true).unwrap();
}

#[test]
fn impossible_members_and_networks_are_refused() {
    let store = store(&AbortHandle::new());
    let address = |name: &str| Network::Address(name.to_owned());
    for (member, network, expected) in [
        (
            Member { rank: 0, world: 0 },
            address("127.0.0.1"),
            "at least 1",
        ),
        (
            Member { rank: 2, world: 2 },
            address("127.0.0.1"),
            "rank 2 is outside a world of 2",
        ),
        // An address of the documentation's range, which no machine has.
        (
            Member { rank: 0, world: 2 },
            address("192.0.2.1"),
            "192.0.2.1",
        ),
        (
            Member { rank: 0, world: 2 },
            Network::Interface("no-such-interface".to_owned()),
            "no-such-interface",
        ),
    ] {
        match Group::gloo(&store, member, &network, &GroupOptions::default()) {
            Err(Error::Invalid(message)) => assert!(message.contains(expected), "{message}"),
            other => panic!("{member:?}: {other:?}"),
        }
    }
}

#[test]
fn a_world_of_one_does_not_open_the_network() {
    let store = store(&AbortHandle::new());
    let nowhere = Network::Address("192.0.2.1".to_owned());
    let member = Member { rank: 0, world: 1 };
    Group::gloo(&store, member, &nowhere, &GroupOptions::default()).unwrap();
}

#[test]
fn the_store_keeps_what_it_is_given() {
    let abort = AbortHandle::new();
    let server = store(&abort);
    assert_ne!(server.port(), 0);
    let client = Store::connect("127.0.0.1", server.port(), PATIENCE, &abort).unwrap();
    client.set("key", b"\0value").unwrap();
    client.set("empty", b"").unwrap();
    server.wait(&["key", "empty"], PATIENCE).unwrap();
    assert_eq!(server.get("key", PATIENCE).unwrap(), b"\0value");
    assert_eq!(server.get("empty", PATIENCE).unwrap(), b"");
    assert_eq!(server.add("counter", 2).unwrap(), 2);
    assert_eq!(client.add("counter", 3).unwrap(), 5);
}

#[test]
fn a_key_that_is_never_set_is_a_timeout() {
    let store = store(&AbortHandle::new());
    let deadline = Duration::from_millis(50);
    let error = store.get("missing", deadline).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
    let error = store.wait(&["missing"], deadline).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
}

#[test]
fn a_store_is_served_on_its_listeners_address_only() {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    let abort = AbortHandle::new();
    let store = Store::serve(listener, PATIENCE, &abort).unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.2", store.port())).is_ok());
    assert!(std::net::TcpStream::connect(("127.0.0.1", store.port())).is_err());
}

#[test]
fn nobody_to_connect_to_is_a_timeout() {
    // Bound and closed again: nothing listens there.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let abort = AbortHandle::new();
    let error = Store::connect("127.0.0.1", port, Duration::from_millis(50), &abort).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
}

#[test]
fn adamw_follows_its_formula() {
    let hyper = AdamWHyper {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.95,
        weight_decay: 0.1,
        eps: 1e-8,
    };
    let zeros = || vec![Tensor::zeros([2], (Kind::Float, Device::Cpu))];
    let params = vec![Tensor::from_slice(&[1.0f32, -2.0]).set_requires_grad(true)];
    let (means, squares) = (zeros(), zeros());
    let steps = vec![Tensor::from(0.0f32)];
    let gradients = [[0.5f64, -0.25], [0.1, 4.0], [-3.0, 0.0]];

    let (mut weight, mut mean, mut square) = ([1.0f64, -2.0], [0.0f64; 2], [0.0f64; 2]);
    for (step, gradient) in gradients.iter().enumerate() {
        let grads = vec![Tensor::from_slice(gradient).to_kind(Kind::Float)];
        fused_adamw_(&params, &grads, &means, &squares, &steps, hyper).unwrap();
        for i in 0..2 {
            weight[i] -= hyper.lr * hyper.weight_decay * weight[i];
            mean[i] = hyper.beta1 * mean[i] + (1.0 - hyper.beta1) * gradient[i];
            square[i] = hyper.beta2 * square[i] + (1.0 - hyper.beta2) * gradient[i].powi(2);
            let count = step as i32 + 1;
            let unbiased_mean = mean[i] / (1.0 - hyper.beta1.powi(count));
            let unbiased_square = square[i] / (1.0 - hyper.beta2.powi(count));
            weight[i] -= hyper.lr * unbiased_mean / (unbiased_square.sqrt() + hyper.eps);
        }
        assert_eq!(values(&steps[0]), [step as f64 + 1.0]);
        for (found, expected) in values(&params[0]).iter().zip(weight) {
            assert!(
                (found - expected).abs() < 1e-6,
                "step {step}: {found} {expected}"
            );
        }
    }

    let error = fused_adamw_(&params, &[], &means, &squares, &steps, hyper).unwrap_err();
    assert!(
        error.to_string().contains("0 gradients for 1 parameters"),
        "{error}"
    );
}

#[test]
fn clipping_scales_to_the_norm() {
    let grads = vec![
        Tensor::from_slice(&[3.0f32, 0.0]),
        Tensor::from_slice(&[[4.0f32], [12.0]].concat()),
    ];
    let norm = grad_norm(&grads).unwrap();
    assert_eq!(norm.kind(), Kind::Float);
    assert!(norm.size().is_empty());
    assert_eq!(values(&norm), [13.0]);
    scale_(&grads, &(1.0 / norm)).unwrap();
    let clipped = values(&grad_norm(&grads).unwrap())[0];
    assert!((clipped - 1.0).abs() < 1e-6, "{clipped}");

    let broken = [
        Tensor::from_slice(&[1.0f32]),
        Tensor::from_slice(&[f32::NAN]),
    ];
    assert!(values(&grad_norm(&broken).unwrap())[0].is_nan());
    assert!(matches!(grad_norm(&[]), Err(Error::Invalid(_))));
    let vector = Tensor::from_slice(&[1.0f32]);
    assert!(matches!(scale_(&grads, &vector), Err(Error::Invalid(_))));
}

#[test]
fn autocast_is_confined_to_its_region() {
    let matrix = || Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
    let product = || matrix().matmul(&matrix()).kind();
    let kinds = autocast(Device::Cpu, Kind::BFloat16, || {
        let inner = autocast(Device::Cpu, Kind::Half, product).unwrap();
        [product(), inner, product()]
    })
    .unwrap();
    assert_eq!(kinds, [Kind::BFloat16, Kind::Half, Kind::BFloat16]);
    assert_eq!(product(), Kind::Float);
    // Ended by a panic, too.
    let panicked = std::panic::catch_unwind(|| {
        autocast(Device::Cpu, Kind::BFloat16, || panic!("inside the region")).unwrap()
    });
    assert!(panicked.is_err());
    assert_eq!(product(), Kind::Float);
    assert!(matches!(
        autocast(Device::Cpu, Kind::Int64, || ()),
        Err(Error::Invalid(_))
    ));
}

#[test]
fn autocast_forgets_casts_of_weights_that_change() {
    let mut weight = Tensor::ones([2, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let input = Tensor::ones([1, 2], (Kind::Float, Device::Cpu));
    let forward = |weight: &Tensor| {
        let output = autocast(Device::Cpu, Kind::BFloat16, || input.matmul(weight)).unwrap();
        values(&output.detach())
    };
    assert_eq!(forward(&weight), [2.0, 2.0]);
    let _ = tch::no_grad(|| weight.fill_(3.0));
    assert_eq!(forward(&weight), [6.0, 6.0]);
}

#[test]
fn devices_are_checked_with_a_remedy() {
    device_available(Device::Cpu).unwrap();
    let error = device_available(Device::Cuda(99)).unwrap_err();
    assert!(error.to_string().contains("cuda:99"), "{error}");
    if !cfg!(feature = "cuda") {
        let store = store(&AbortHandle::new());
        let member = Member { rank: 0, world: 1 };
        let error = Group::nccl(&store, member, 0, &GroupOptions::default()).unwrap_err();
        assert!(error.to_string().contains("--features cuda"), "{error}");
    }
}

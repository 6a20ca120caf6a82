//! Dropout draws from libtorch's generator and from nothing else.

use model::Mode;
use tch::Tensor;

use crate::common::{fresh, generator, ids, small, value};

#[test]
fn the_seed_before_a_pass_fixes_its_masks() {
    let model = fresh(&small(), 0.3);
    let ids = ids(&model, 2, 16);
    let _alone = generator();
    let pass = |seed| -> Tensor {
        tch::manual_seed(seed);
        model.forward(&ids, Mode::Train).unwrap()
    };
    let first = pass(5);
    assert_ne!(first, pass(6));
    // Whatever was drawn in between.
    assert_eq!(first, pass(5));
}

#[test]
fn a_seeded_pass_has_the_same_gradients_again() {
    let model = fresh(&small(), 0.3);
    let ids = ids(&model, 2, 16);
    let _alone = generator();
    let gradients = || -> Vec<Tensor> {
        model.zero_gradients().unwrap();
        tch::manual_seed(5);
        model.loss_sum(&ids, Mode::Train).unwrap().backward();
        let copy = |(_, parameter): &(String, Tensor)| parameter.grad().copy();
        model.parameters().iter().map(copy).collect()
    };
    assert_eq!(gradients(), gradients());
}

#[test]
fn evaluation_has_no_dropout_and_draws_nothing() {
    let config = small();
    let (with, without) = (fresh(&config, 0.3), fresh(&config, 0.0));
    let ids = ids(&with, 2, 16);
    let _alone = generator();
    tch::manual_seed(5);
    let draw = value(&Tensor::rand([1], tch::kind::FLOAT_CPU).get(0));

    tch::manual_seed(5);
    let evaluated = with.forward(&ids, Mode::Evaluate).unwrap();
    assert_eq!(value(&Tensor::rand([1], tch::kind::FLOAT_CPU).get(0)), draw);
    assert_eq!(evaluated, without.forward(&ids, Mode::Train).unwrap());
}

#[test]
fn dropout_keeps_the_loss_near() {
    let model = fresh(&small(), 0.1);
    let ids = ids(&model, 8, 16);
    let without: f64 = model.sequence_losses(&ids).unwrap().iter().sum::<f64>() / 8.0;
    let _alone = generator();
    tch::manual_seed(9);
    let with = value(&model.loss_sum(&ids, Mode::Train).unwrap()) / (8.0 * 15.0);
    assert_ne!(with, without);
    assert!((with - without).abs() < 0.1, "{with} {without}");
}

//! A model to reduce gradients of, small and exact enough to check by hand: a chain of
//! products with a `tanh` between them.

use tch::{Kind, Tensor};

pub(crate) const WIDTH: i64 = 24;
pub(crate) const LAYERS: usize = 5;

/// Parameters that are the same in every process.
pub(crate) fn parameters() -> Vec<Tensor> {
    (0..LAYERS)
        .map(|layer| {
            let count = WIDTH * WIDTH;
            ((Tensor::arange(count, (Kind::Float, tch::Device::Cpu)) + layer as f64 * 7.0).sin()
                * 0.3)
                .reshape([WIDTH, WIDTH])
                .set_requires_grad(true)
        })
        .collect()
}

/// The loss of micro-batch `number`: every number gives other gradients.
pub(crate) fn loss(parameters: &[Tensor], number: usize) -> Tensor {
    let count = 3 * WIDTH;
    let mut hidden =
        ((Tensor::arange(count, (Kind::Float, tch::Device::Cpu)) + number as f64 * 11.0).cos())
            .reshape([3, WIDTH]);
    for parameter in parameters {
        hidden = hidden.matmul(parameter).tanh();
    }
    hidden.square().sum(Kind::Float)
}

/// What a rank without micro-batches runs its backward pass on.
pub(crate) fn zero_loss(parameters: &[Tensor]) -> Tensor {
    parameters
        .iter()
        .map(|parameter| parameter.sum(Kind::Float) * 0.0)
        .reduce(|sum, term| sum + term)
        .unwrap()
}

/// The gradients of the sum of these micro-batches' losses, by plain autograd.
pub(crate) fn expected_gradients(numbers: &[usize]) -> Vec<Tensor> {
    let parameters = parameters();
    for &number in numbers {
        loss(&parameters, number).backward();
    }
    gradients(&parameters)
}

pub(crate) fn gradients(parameters: &[Tensor]) -> Vec<Tensor> {
    parameters
        .iter()
        .map(|parameter| parameter.grad().copy())
        .collect()
}

/// Equal up to the order of summation.
pub(crate) fn assert_close(found: &[Tensor], expected: &[Tensor]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            found.allclose(expected, 1e-5, 1e-6, false),
            "gradient {index}: {found:?} against {expected:?}, apart by {}",
            (found - expected).abs().max()
        );
    }
}

/// Equal bit by bit.
pub(crate) fn assert_same(found: &[Tensor], expected: &[Tensor]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(found.equal(expected), "gradient {index} differs");
    }
}

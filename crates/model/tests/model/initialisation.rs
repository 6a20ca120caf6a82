//! Fresh weights follow transformers' rules, and the seed alone.

use model::Gpt2;
use tch::Device;

use crate::common::{generator, parameter, small, value};

#[test]
fn weights_follow_from_the_seed() {
    let _alone = generator();
    let make = |seed| Gpt2::new(&small(), 0.1, Device::Cpu, seed).unwrap();
    let (first, again, other) = (make(3), make(3), make(4));
    for (name, weights) in first.parameters() {
        assert_eq!(weights, parameter(&again, name), "{name}");
        if name.ends_with("c_fc.weight") {
            assert_ne!(weights, parameter(&other, name), "{name}");
        }
    }
}

#[test]
fn weights_have_the_moments_of_transformers_initialisation() {
    let _alone = generator();
    let config = layout::preset("gpt2-demo").unwrap();
    let model = Gpt2::new(&config, 0.0, Device::Cpu, 11).unwrap();
    for (name, weights) in model.parameters() {
        let (mean, largest) = (
            value(&weights.mean(tch::Kind::Double)),
            value(&weights.abs().max()),
        );
        if name.ends_with(".bias") {
            assert_eq!(largest, 0.0, "{name}");
        } else if weights.dim() == 1 {
            assert_eq!((mean, largest), (1.0, 1.0), "{name}");
        } else {
            let expected = match name.ends_with("c_proj.weight") {
                true => 0.02 / (2.0 * config.n_layer as f64).sqrt(),
                false => 0.02,
            };
            let deviation = value(&weights.std(true));
            assert!(
                (deviation / expected - 1.0).abs() < 0.03,
                "{name}: {deviation}"
            );
            // Four standard errors of a mean.
            assert!(
                mean.abs() < 4.0 * expected / (weights.numel() as f64).sqrt(),
                "{name}: {mean}"
            );
        }
    }
}

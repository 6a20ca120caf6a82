//! bf16 is autocast over fp32 masters.

use model::{Mode, Precision};
use tch::{Device, Kind};

use crate::common::{fresh, ids, relative, small, value};

#[test]
fn names() {
    for precision in [Precision::Fp32, Precision::Bf16] {
        assert_eq!(precision.to_string().parse(), Ok(precision));
    }
    let error = "fp16".parse::<Precision>().unwrap_err().to_string();
    assert_eq!(error, "\"fp16\" is no precision: choose fp32 or bf16");
}

#[test]
fn bf16_computes_in_bf16_and_keeps_parameters_gradients_and_loss_in_fp32() {
    let model = fresh(&small(), 0.0);
    let ids = ids(&model, 2, 16);
    let exact = value(&model.loss_sum(&ids, Mode::Train).unwrap());
    let (logits, loss) = Precision::Bf16
        .scope(Device::Cpu, || {
            let logits = model.forward(&ids, Mode::Train)?;
            Ok((logits, model.loss_sum(&ids, Mode::Train)?))
        })
        .unwrap();
    assert_eq!(logits.kind(), Kind::BFloat16);
    assert_eq!(loss.kind(), Kind::Float);
    assert_ne!(value(&loss), exact);
    assert!(relative(value(&loss), exact) < 1e-2);

    loss.backward();
    for (name, parameter) in model.parameters() {
        assert_eq!(parameter.kind(), Kind::Float, "{name}");
        assert_eq!(parameter.grad().kind(), Kind::Float, "{name}");
    }
}

#[test]
fn fp32_changes_nothing_and_the_scope_ends() {
    let model = fresh(&small(), 0.0);
    let ids = ids(&model, 2, 16);
    let plain = model.forward(&ids, Mode::Evaluate).unwrap();
    let pass = || model.forward(&ids, Mode::Evaluate);
    let scoped = Precision::Fp32.scope(Device::Cpu, pass).unwrap();
    assert_eq!(scoped, plain);
    Precision::Bf16.scope(Device::Cpu, || Ok(())).unwrap();
    assert_eq!(model.forward(&ids, Mode::Evaluate).unwrap(), plain);
}

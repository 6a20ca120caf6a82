//! A run that starts from another model's weights.

use std::fs;
use std::path::PathBuf;

use cluster_tests::{Run, TestCluster};

/// Trains an epoch and yields the first step's loss, the model directory that
/// is left, and the cluster that owns it.
fn trained() -> (f64, PathBuf, TestCluster) {
    let mut cluster = TestCluster::new();
    let run = Run {
        epochs: 1,
        ..Run::of(&cluster.text())
    };
    cluster.start(&run);
    cluster.complete();
    let first = cluster.audited_steps()[0].loss();
    let model = fs::read_dir(cluster.state_dir().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("model"))
        .find(|path| path.is_dir())
        .expect("the epoch left a checkpoint");
    (first, model, cluster)
}

/// The first step's loss of a run of two workers with these flags. It takes both:
/// one that went on alone would round its sums otherwise.
fn first_loss(model_flag: String) -> f64 {
    let mut cluster = TestCluster::new();
    let run = Run {
        epochs: 1,
        model: model_flag,
        more: vec!["--min-workers=2".to_owned()],
        ..Run::of(&cluster.text()).with_workers(2)
    };
    cluster.start(&run);
    cluster.complete();
    cluster.audited_steps()[0].loss()
}

#[test]
fn training_goes_on_from_a_directory_or_a_file_of_weights() {
    let (scratch, model, _owner) = trained();
    // The same sequences come first, so only the weights can make a difference.
    let from_dir = first_loss(format!("--load_model_dir={}", model.display()));
    assert!(
        scratch - from_dir > 0.1,
        "{scratch} from scratch, {from_dir} loaded"
    );
    let file = model.join("model.safetensors");
    let from_file = first_loss(format!("--load_model={}", file.display()));
    assert_eq!(from_file.to_bits(), from_dir.to_bits());
}

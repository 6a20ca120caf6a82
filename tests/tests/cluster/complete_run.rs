//! A run from its first step to a publication.

use std::fs;

use cluster_tests::{Run, TestCluster, models};
use local_cluster::{Publication, Step};
use serde_json::Value;

/// A name that the chain has room for, criteria under which GPT-2 is allowed,
/// and a threshold that every model passes.
const PUBLISHER: [&str; 3] = [
    "--hf_repo_id=peregrine/test",
    "--criteria-block=1",
    "--avg_loss_upload_threshold=100",
];

#[test]
fn two_workers_train_audit_clean_and_publish_what_they_evaluated() {
    let mut cluster = TestCluster::new();
    let text = cluster.text();
    let config = cluster.file("config.json");
    fs::write(&config, models::publishable().to_json()).unwrap();
    let run = Run {
        model: format!("--model_config={}", config.display()),
        ..Run::of(&text).with_workers(2)
    };
    cluster.start(&run);
    cluster.start_publisher(&PUBLISHER).unwrap();
    cluster.complete();

    let steps = cluster.audited_steps();
    let mean = |steps: &[Step]| steps.iter().map(Step::loss).sum::<f64>() / steps.len() as f64;
    let (first, last) = (mean(&steps[..3]), mean(&steps[steps.len() - 3..]));
    assert!(first - last > 0.5, "the loss went from {first} to {last}");

    let publication = cluster.publication().unwrap();
    assert_staged(&publication);

    // A validator would compute the loss that the run recorded.
    let dir = publication.checkpoint_dir.unwrap();
    let score: Value = cluster
        .ask(
            "worker",
            [
                "score".to_owned(),
                "--json".to_owned(),
                format!("--load_model_dir={}", dir.display()),
                format!("--pages={}", run.eval_pages),
                format!("--seed={}", run.seed),
                format!("--sl={}", run.sl),
                format!("--data={}", text.display()),
                "--device=cpu".to_owned(),
            ],
        )
        .unwrap();
    let recorded = publication.loss.unwrap();
    let scored = score["loss"].as_f64().unwrap();
    assert!(
        (scored - recorded).abs() <= 1e-5 * recorded,
        "scored {scored}, recorded {recorded}"
    );
}

fn assert_staged(publication: &Publication) {
    let dir = publication.checkpoint_dir.as_ref().unwrap();
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        assert!(dir.join(file).is_file(), "{file} in {}", dir.display());
    }
    assert!(dir.is_absolute());
    assert!(publication.commit_pending);
    let chain_string = publication.chain_string.as_ref().unwrap();
    let parts: Vec<&str> = chain_string.split(':').collect();
    let [namespace, name, commit, hash] = parts[..] else {
        panic!("{chain_string}");
    };
    assert_eq!((namespace, name), ("peregrine", "test"));
    assert_eq!(commit, "0".repeat(40));
    assert_eq!(hash.len(), 44, "base64 of a SHA-256");
    assert!(chain_string.len() <= 128);
}

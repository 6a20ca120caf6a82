//! From flags to a run: defaults, recipes, and everything that is refused.

mod common;

use clap::CommandFactory as _;
use common::{CommandLine, dataset, flags, run_of};
use proptest::prelude::*;
use run::{Decay, Init, LoadedModel, Recipe, RunConfig, RunError, Schedule};

/// What is said when these flags are refused.
fn refusal(line: &str) -> String {
    match run_of(line) {
        Ok(_) => panic!("{line:?} was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn without_flags_the_first_miners_model_is_trained_for_ever_by_the_modern_recipe() {
    let run = run_of("").unwrap();
    assert_eq!(layout::parameter_count(&run.model), 122_268_040);
    assert_eq!((run.bs, run.sl), (1, 1024));
    assert_eq!(
        run.global_batch, 10,
        "bs 1 x 5 accumulation steps x 2 workers"
    );
    assert_eq!((run.num_epochs, run.pages_per_epoch), (None, 10));
    assert_eq!(run.eval_pages, 3);
    assert!(!run.data.keep_long_documents);
    assert_eq!(run.init, Init::Scratch);
    assert_eq!(run.recipe, Recipe::Modern);
    assert_eq!(run.optimizer.lr, 6e-4);
    assert_eq!((run.optimizer.beta1, run.optimizer.beta2), (0.9, 0.95));
    assert_eq!(run.optimizer.weight_decay, 0.1);
    assert_eq!(run.optimizer.decay, Decay::MatricesOnly);
    assert_eq!(run.schedule, Schedule::Constant { warmup_steps: 40 });
    assert_eq!(run.clip_grad_norm, Some(1.0));
    assert_eq!(run.dropout, 0.0);
}

#[test]
fn help_groups_the_flags_and_leaves_the_coordinators_description_alone() {
    let mut command = CommandLine::command();
    command.clone().debug_assert();
    let help = command.render_long_help().to_string();
    assert!(
        help.starts_with("the coordinator's own description"),
        "{help}"
    );
    for heading in ["Run:", "Model:", "Batch:", "Optimization:"] {
        assert!(help.contains(heading), "{help}");
    }
    for flag in command.get_arguments() {
        assert!(flag.get_help().is_some(), "{flag} has no help");
    }
}

#[test]
fn the_seed_recipe_is_what_the_first_miner_did() {
    let run = run_of("--recipe seed").unwrap();
    assert_eq!(run.optimizer.lr, 1e-5);
    assert_eq!((run.optimizer.beta1, run.optimizer.beta2), (0.9, 0.999));
    assert_eq!(
        (run.optimizer.eps, run.optimizer.weight_decay),
        (1e-8, 0.01)
    );
    assert_eq!(run.optimizer.decay, Decay::Everywhere);
    assert_eq!(run.schedule, Schedule::Constant { warmup_steps: 0 });
    assert_eq!(run.clip_grad_norm, None);
    assert_eq!(run.dropout, 0.1);
    assert_eq!(run.learning_rate(0), 1e-5);
    assert_eq!(run.learning_rate(1_000_000), 1e-5);
}

#[test]
fn every_part_of_a_recipe_has_its_flag() {
    let run = run_of(
        "--recipe seed --lr 2e-4 --beta1 0.8 --beta2 0.98 --eps 1e-6 --weight-decay 0.2 \
         --decay matrices-only --clip-grad-norm 0.5 --dropout 0.2 --warmup-steps 7",
    )
    .unwrap();
    assert_eq!(run.recipe, Recipe::Seed);
    assert_eq!(run.optimizer.lr, 2e-4);
    assert_eq!((run.optimizer.beta1, run.optimizer.beta2), (0.8, 0.98));
    assert_eq!((run.optimizer.eps, run.optimizer.weight_decay), (1e-6, 0.2));
    assert_eq!(run.optimizer.decay, Decay::MatricesOnly);
    assert_eq!(run.clip_grad_norm, Some(0.5));
    assert_eq!(run.dropout, 0.2);
    assert_eq!(run.schedule, Schedule::Constant { warmup_steps: 7 });
}

#[test]
fn clipping_and_decay_can_be_turned_off() {
    let run = run_of("--clip-grad-norm 0 --weight-decay 0 --warmup-steps 0").unwrap();
    assert_eq!(run.clip_grad_norm, None);
    assert_eq!(run.optimizer.weight_decay, 0.0);
    assert_eq!(run.learning_rate(0), run.optimizer.lr);
}

#[test]
fn the_models_own_dropout_is_the_runs() {
    let run = run_of("--dropout 0.25").unwrap();
    let model = &run.model;
    assert_eq!(
        [model.attn_pdrop, model.embd_pdrop, model.resid_pdrop],
        [0.25; 3]
    );
}

#[test]
fn the_warm_up_follows_a_given_beta2() {
    let run = run_of("--beta2 0.99").unwrap();
    assert_eq!(run.schedule.warmup_steps(), 200);
}

#[test]
fn the_global_batch_counts_the_workers_unless_it_is_given() {
    assert_eq!(
        run_of("--bs 3 --accumulation_steps 4")
            .unwrap()
            .global_batch,
        24
    );
    assert_eq!(run_of("--bs 4 --global-batch 8").unwrap().global_batch, 8);
}

#[test]
fn sequences_are_as_long_as_the_model_takes_if_that_is_less_than_1024() {
    assert_eq!(run_of("--preset gpt2-nano").unwrap().sl, 128);
    assert_eq!(run_of("--preset gpt2-nano --sl 64").unwrap().sl, 64);
}

#[test]
fn a_model_can_come_from_a_config_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let model = layout::preset("gpt2-demo").unwrap();
    std::fs::write(&file, model.to_json()).unwrap();
    let run = run_of(&format!("--model_config {}", file.display())).unwrap();
    assert_eq!(run.model.n_embd, model.n_embd);

    std::fs::write(&file, "{}").unwrap();
    let said = refusal(&format!("--model_config {}", file.display()));
    assert!(said.starts_with("--model_config: "), "{said}");
    assert!(said.contains(&file.display().to_string()), "{said}");
}

#[test]
fn loaded_weights_bring_their_model_and_a_tenth_of_the_learning_rate() {
    let loaded = || LoadedModel {
        model: layout::preset("gpt2-122m").unwrap(),
        digest: "0123456789abcdef".repeat(4),
    };
    let settings = flags("").settings(1, Some(loaded())).unwrap();
    let run = settings.with_data("first", dataset()).unwrap();
    let digest = loaded().digest;
    assert_eq!(run.init, Init::Weights { digest });
    assert_eq!(run.optimizer.lr, 6e-5);

    for line in ["--preset gpt2-nano", "--model_config c.json"] {
        let error = flags(line).settings(1, Some(loaded())).unwrap_err();
        let flag = line.split(' ').next().unwrap();
        assert!(error.to_string().starts_with(flag), "{error}");
    }
}

#[test]
fn a_cosine_needs_to_be_told_where_it_ends() {
    let said = refusal("--schedule cosine");
    assert!(
        said.contains("never ends") && said.contains("--total-steps"),
        "{said}"
    );
    let said = refusal("--schedule cosine --num_epochs 3");
    assert!(said.contains("--total-steps"), "{said}");

    let run = run_of("--schedule cosine --total-steps 500 --final-lr-fraction 0.2").unwrap();
    assert_eq!(
        run.schedule,
        Schedule::Cosine {
            warmup_steps: 40,
            total_steps: 500,
            final_fraction: 0.2
        }
    );
    assert_eq!(run.learning_rate(499), run.optimizer.lr * 0.2);
}

#[test]
fn what_cannot_be_is_refused_by_flag_and_with_a_remedy() {
    for (line, flag, remedy) in [
        ("--sl 1025", "--sl 1025", "give at most 1024"),
        (
            "--preset gpt2-nano --sl 129",
            "--sl 129",
            "give at most 128",
        ),
        ("--sl 1", "--sl 1", "give at least 2"),
        ("--bs 0", "--bs 0", "give at least 1"),
        (
            "--bs 4 --global-batch 10",
            "--global-batch 10",
            "give 8 or 12",
        ),
        ("--bs 4 --global-batch 3", "--global-batch 3", "give 4"),
        (
            "--global-batch 0",
            "--global-batch 0",
            "a multiple of --bs 1",
        ),
        (
            "--accumulation_steps 0",
            "--accumulation_steps 0",
            "give at least 1",
        ),
        ("--bs 4000000000", "--accumulation_steps 5", "give fewer"),
        ("--num_epochs 0", "--num_epochs 0", "-1 to go on for ever"),
        ("--num_epochs -2", "--num_epochs -2", "-1 to go on for ever"),
        (
            "--pages_per_epoch 0",
            "--pages_per_epoch 0",
            "give at least 1",
        ),
        (
            "--pages_per_epoch 18",
            "--pages_per_epoch 18",
            "give at most 17",
        ),
        ("--eval_pages 20", "--eval_pages 20", "give fewer"),
        (
            "--eval_pages 4294967296",
            "--eval_pages 4294967296",
            "give fewer",
        ),
        ("--lr nan", "--lr NaN", "above 0"),
        ("--lr -1e-3", "--lr -0.001", "above 0"),
        ("--lr 0", "--lr 0", "above 0"),
        ("--lr inf", "--lr inf", "above 0"),
        ("--beta1 1", "--beta1 1", "below 1"),
        ("--beta2 -0.1", "--beta2 -0.1", "below 1"),
        ("--beta2 nan", "--beta2 NaN", "below 1"),
        ("--eps 0", "--eps 0", "1e-8"),
        ("--weight-decay -1", "--weight-decay -1", "at least 0"),
        (
            "--clip-grad-norm -1",
            "--clip-grad-norm -1",
            "0 to turn clipping off",
        ),
        ("--clip-grad-norm nan", "--clip-grad-norm NaN", "finite"),
        ("--dropout 1", "--dropout 1", "below 1"),
        ("--dropout nan", "--dropout NaN", "below 1"),
        ("--total-steps 9", "--total-steps 9", "--schedule cosine"),
        (
            "--final-lr-fraction 0.5",
            "--final-lr-fraction 0.5",
            "--schedule cosine",
        ),
        (
            "--schedule cosine --total-steps 40",
            "--total-steps 40",
            "--warmup-steps",
        ),
        (
            "--schedule cosine --total-steps 99 --final-lr-fraction 2",
            "--final-lr-fraction 2",
            "between 0 and 1",
        ),
        (
            "--preset gpt5",
            "--preset gpt5",
            "gpt2-122m, gpt2-demo, gpt2-nano",
        ),
    ] {
        let said = refusal(line);
        assert!(said.starts_with(&format!("{flag}: ")), "{line}: {said}");
        assert!(said.contains(remedy), "{line}: {said}");
    }
}

#[test]
fn no_workers_are_refused() {
    let error = flags("").settings(0, None).unwrap_err();
    assert!(error.to_string().starts_with("--workers 0: "), "{error}");
}

#[test]
fn a_model_too_small_for_the_tokenizer_is_refused() {
    let mut large = dataset();
    large.vocabulary = 50_258;
    let error = flags("")
        .settings(1, None)
        .unwrap()
        .with_data("first", large)
        .unwrap_err();
    assert!(error.to_string().contains("50258 ids"), "{error}");
}

#[test]
fn a_name_that_is_no_file_name_is_refused() {
    let settings = flags("").settings(1, None).unwrap();
    for name in ["", "../x", "a b", "-x", ".x", &"x".repeat(65)] {
        let error = settings.clone().with_data(name, dataset()).unwrap_err();
        assert!(error.to_string().starts_with("--run-id "), "{error}");
    }
    assert!(settings.with_data("a-run_1.2", dataset()).is_ok());
}

#[test]
fn all_of_a_small_corpus_can_be_one_epoch() {
    let run = run_of("--pages_per_epoch 17 --eval_pages 3").unwrap();
    assert_eq!(run.data.pages(), 20, "1950 rows, the last page short");
    assert!(run_of("--pages_per_epoch 20 --eval_pages 0").is_ok());
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_whole_and_survives_json(
        bs in 0u32..9,
        sl in 0u32..1100,
        batch in proptest::option::of(0u32..65),
        lr: f64,
        beta2 in prop_oneof![0.0f64..1.0, any::<f64>()],
        eps in prop_oneof![1e-12f64..1e-3, any::<f64>()],
        dropout in 0.0f64..1.2,
        clip: f64,
    ) {
        let mut asked = flags("");
        asked.bs = Some(bs);
        asked.sl = Some(sl);
        asked.global_batch = batch;
        asked.lr = Some(lr);
        asked.beta2 = Some(beta2);
        asked.eps = Some(eps);
        asked.dropout = Some(dropout);
        asked.clip_grad_norm = Some(clip);
        let settings = asked.settings(3, None);
        if let Ok(run) = settings.and_then(|settings| settings.with_data("p", dataset())) {
            prop_assert!(run.global_batch.is_multiple_of(run.bs) && run.global_batch > 0);
            prop_assert!(run.sl as usize <= run.model.n_positions);
            prop_assert!(run.learning_rate(0) > 0.0 || run.optimizer.lr < 1e-300);
            let json = run.to_json();
            let read = RunConfig::from_json(&json).unwrap();
            prop_assert_eq!(read.to_json(), json);
            prop_assert_eq!(read, run);
        }
    }

    #[test]
    fn valid_flags_are_accepted(
        bs in 1u32..9,
        multiple in 1u32..9,
        sl in 2u32..=1024,
        lr in 1e-9f64..1.0,
        beta2 in 0.0f64..1.0,
    ) {
        let mut asked = flags("");
        asked.bs = Some(bs);
        asked.global_batch = Some(bs * multiple);
        asked.sl = Some(sl);
        asked.lr = Some(lr);
        asked.beta2 = Some(beta2);
        let accepted: Result<_, RunError> = asked.settings(1, None);
        prop_assert!(accepted.is_ok(), "{accepted:?}");
    }
}

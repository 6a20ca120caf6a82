//! What holds for every configuration.

use std::fs;

use layout::{Gpt2Config, ModelDir, SafetensorsHeader, parameter_count, plan_shards, tensors};
use proptest::prelude::*;

fn any_config() -> impl Strategy<Value = Gpt2Config> {
    (
        (1usize..40, 1usize..20, 1usize..5, 1usize..4, 0usize..12),
        proptest::option::of(1usize..30),
        (1e-9..1.0f64, 0.0..1.0f64, any::<bool>()),
        proptest::option::of(any::<u32>()),
    )
        .prop_map(
            |((vocab, positions, head_width, heads, layers), inner, floats, eos)| Gpt2Config {
                vocab_size: vocab,
                n_positions: positions,
                n_embd: head_width * heads,
                n_head: heads,
                n_layer: layers + 1,
                n_inner: inner,
                layer_norm_epsilon: floats.0,
                initializer_range: floats.1,
                scale_attn_weights: floats.2,
                eos_token_id: eos,
                ..Gpt2Config::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_config_written_and_read_is_the_same(config in any_config()) {
        prop_assert!(config.validate().is_ok());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, config.to_json()).unwrap();
        prop_assert_eq!(&Gpt2Config::read(&path).unwrap(), &config);

        let travelled: Gpt2Config = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        prop_assert_eq!(travelled, config);
    }

    #[test]
    fn tensors_are_sorted_and_unique_and_add_up(config in any_config()) {
        let specs = tensors(&config);
        prop_assert!(specs.windows(2).all(|pair| pair[0].name < pair[1].name));
        let header = SafetensorsHeader::for_f32(&specs);
        prop_assert_eq!(header.data_bytes(), 4 * parameter_count(&config));
        prop_assert_eq!(header.data_start() % 8, 0);
        let in_file: Vec<&str> = header.entries().iter().map(|entry| entry.name.as_str()).collect();
        let in_model: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        prop_assert_eq!(in_file, in_model);
    }

    #[test]
    fn shards_hold_each_tensor_once_and_keep_to_the_limit(
        config in any_config(),
        limit in 1u64..20_000,
    ) {
        let shards = plan_shards(&config, Some(limit));
        let mut names: Vec<String> = Vec::new();
        for shard in &shards {
            let entries = shard.header.entries();
            prop_assert!(!entries.is_empty());
            prop_assert!(shard.header.data_bytes() <= limit || entries.len() == 1);
            names.extend(entries.iter().map(|entry| entry.name.clone()));
        }
        names.sort();
        let expected: Vec<String> = tensors(&config).into_iter().map(|spec| spec.name).collect();
        prop_assert_eq!(names, expected);
    }

    #[test]
    fn a_directory_written_and_read_holds_the_same_bytes(
        config in any_config(),
        limit in proptest::option::of(1000u64..20_000),
    ) {
        let dir = tempfile::tempdir().unwrap();
        // Content that differs from tensor to tensor and byte to byte.
        let content = |name: &str| -> Vec<u8> {
            let spec = tensors(&config).into_iter().find(|spec| spec.name == name).unwrap();
            let start = name.bytes().map(u64::from).sum::<u64>();
            (0..4 * spec.elements()).map(|i| (start + 7 * i) as u8).collect()
        };
        layout::write_model_dir(dir.path(), &config, limit, |name, out| out.write_all(&content(name))).unwrap();

        let read = ModelDir::open(dir.path()).unwrap();
        prop_assert_eq!(read.config(), &config);
        read.check(&config).unwrap();
        prop_assert_eq!(read.count_parameters(), parameter_count(&config));
        for spec in tensors(&config) {
            let tensor = read.read_tensor(&spec.name).unwrap();
            prop_assert_eq!(tensor.shape, spec.shape);
            prop_assert_eq!(tensor.bytes, content(&spec.name));
        }
    }
}

#[test]
fn generic_spellings_and_missing_fields_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let text = r#"{"model_type": "gpt2", "hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 4,
        "max_position_embeddings": 9, "vocab_size": 7, "dtype": "float32", "n_ctx": 9, "pad_token_id": null}"#;
    fs::write(&path, text).unwrap();
    let expected = Gpt2Config {
        n_embd: 12,
        n_layer: 3,
        n_head: 4,
        n_positions: 9,
        vocab_size: 7,
        ..Gpt2Config::default()
    };
    assert_eq!(Gpt2Config::read(&path).unwrap(), expected);
}

#[test]
fn presets_are_valid_and_share_gpt2s_vocabulary() {
    for preset in layout::PRESETS {
        let config = preset.config();
        config.validate().unwrap();
        assert_eq!(config.vocab_size, 50_257);
        assert_eq!(layout::preset(preset.name), Some(config));
    }
    assert_eq!(layout::preset("gpt3"), None);
}

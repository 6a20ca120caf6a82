//! What is written is, byte for byte, what transformers writes.

use std::fs;

use crate::common::fixture;
use layout::{
    Gpt2Config, ModelDir, SafetensorsHeader, parameter_count, preset, tensors, write_model_dir,
};

#[test]
fn config_json_is_transformers_byte_for_byte() {
    for (name, config) in [
        (
            "gpt2-tiny/config.json",
            Gpt2Config::read(&fixture("gpt2-tiny/config.json")).unwrap(),
        ),
        ("gpt2-122m.config.json", preset("gpt2-122m").unwrap()),
    ] {
        let golden = fs::read_to_string(fixture(name)).unwrap();
        assert_eq!(
            String::from_utf8(config.to_json()).unwrap(),
            golden,
            "{name}"
        );
    }
}

#[test]
fn generation_config_json_is_transformers_byte_for_byte() {
    let golden = fs::read(fixture("gpt2-tiny/generation_config.json")).unwrap();
    assert_eq!(Gpt2Config::default().generation_json(), golden);
}

#[test]
fn gpt2_122m_has_the_tensors_places_and_size_that_transformers_gives_it() {
    let config = preset("gpt2-122m").unwrap();
    let header = SafetensorsHeader::for_f32(&tensors(&config));
    let mut listing = "__metadata__ {'format': 'pt'}\n".to_owned();
    for entry in header.entries() {
        // The golden listing shows the header's JSON as a Python dictionary.
        listing += &format!(
            "{} {{'dtype': '{}', 'shape': {:?}, 'data_offsets': [{}, {}]}}\n",
            entry.name,
            entry.dtype,
            entry.shape,
            entry.offset,
            entry.offset + entry.bytes
        );
    }
    let golden = fs::read_to_string(fixture("gpt2-122m.tensors.txt")).unwrap();
    assert_eq!(listing, golden);
    assert_eq!(header.entries().len(), 148);
    assert_eq!(header.file_bytes(), 489_087_136);
    assert_eq!(
        header.to_bytes().len() as u64 + header.data_bytes(),
        489_087_136
    );
    assert_eq!(parameter_count(&config), 122_268_040);
}

#[test]
fn a_single_file_written_again_is_the_same_file() {
    assert_rewritten("gpt2-tiny", None);
}

#[test]
fn a_sharded_model_written_again_is_the_same_files() {
    assert_rewritten("gpt2-tiny-sharded", Some(4000));
}

fn assert_rewritten(name: &str, max_shard_bytes: Option<u64>) {
    let golden = ModelDir::open(fixture(name)).unwrap();
    golden.check(golden.config()).unwrap();
    assert_eq!(golden.count_parameters(), 2144);

    let copy_dir = tempfile::tempdir().unwrap();
    write_model_dir(
        copy_dir.path(),
        golden.config(),
        max_shard_bytes,
        |name, out| {
            let tensor = golden.read_tensor(name).map_err(std::io::Error::other)?;
            out.write_all(&tensor.bytes)
        },
    )
    .unwrap();

    let copy = ModelDir::open(copy_dir.path()).unwrap();
    let names = |dir: &ModelDir| -> Vec<_> {
        let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_owned();
        dir.files().iter().map(name).collect()
    };
    assert_eq!(names(&copy), names(&golden));
    for (ours, theirs) in copy.files().iter().zip(golden.files()) {
        assert_eq!(
            fs::read(ours).unwrap(),
            fs::read(theirs).unwrap(),
            "{}",
            theirs.display()
        );
    }
}

#[test]
fn both_goldens_hold_the_same_weights() {
    let single = ModelDir::open(fixture("gpt2-tiny")).unwrap();
    let sharded = ModelDir::open(fixture("gpt2-tiny-sharded")).unwrap();
    for spec in tensors(single.config()) {
        let tensor = single.read_tensor(&spec.name).unwrap();
        assert_eq!(tensor.shape, spec.shape);
        assert_eq!(tensor, sharded.read_tensor(&spec.name).unwrap());
    }
}

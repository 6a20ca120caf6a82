//! Checkpoints to publish.

use std::fs;
use std::path::Path;

use layout::Gpt2Config;
use proto::v1::{CheckpointFile, CheckpointManifest, Cursor, Evaluation, FileKind};
use sha2::{Digest as _, Sha256};

/// A checkpoint: its manifest and its files' contents.
#[derive(Clone)]
pub(crate) struct Checkpoint {
    pub(crate) manifest: CheckpointManifest,
    pub(crate) contents: Vec<(String, Vec<u8>)>,
}

impl Checkpoint {
    /// The smallest model that validators' criteria for GPT-2 let through.
    pub(crate) fn publishable(id: &str, loss: f64) -> Checkpoint {
        Checkpoint::with_weights(id, loss, |index| (index % 1000) as f32 * 1e-3)
    }

    /// The same with other weights: `weight` maps an index within a tensor.
    pub(crate) fn with_weights(id: &str, loss: f64, weight: impl Fn(usize) -> f32) -> Checkpoint {
        let config = Gpt2Config {
            n_layer: 1,
            n_head: 1,
            n_embd: 2,
            ..Gpt2Config::default()
        };
        let specs = layout::tensors(&config);
        let dir = tempfile::tempdir().unwrap();
        layout::write_model_dir(dir.path(), &config, None, |name, out| {
            let spec = specs.iter().find(|spec| spec.name == name).unwrap();
            (0..spec.elements() as usize)
                .try_for_each(|index| out.write_all(&weight(index).to_le_bytes()))
        })
        .unwrap();
        Checkpoint::from_model_dir(id, loss, dir.path(), layout::parameter_count(&config))
    }

    /// A model that transformers wrote, too small for validators.
    pub(crate) fn golden(id: &str, loss: f64) -> Checkpoint {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt2-tiny");
        Checkpoint::from_model_dir(id, loss, &dir, 0)
    }

    fn from_model_dir(id: &str, loss: f64, dir: &Path, parameters: u64) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            manifest: CheckpointManifest {
                checkpoint_id: id.to_owned(),
                run_id: "run-a".to_owned(),
                cursor: Some(Cursor {
                    step: 40,
                    ..Cursor::default()
                }),
                evaluation: Some(Evaluation {
                    loss,
                    ..Evaluation::default()
                }),
                parameters,
                ..CheckpointManifest::default()
            },
            contents: Vec::new(),
        };
        for path in layout::checkpoint_files(dir).unwrap() {
            let name = format!("model/{}", path.file_name().unwrap().to_str().unwrap());
            checkpoint.add(&name, FileKind::Model, fs::read(path).unwrap());
        }
        checkpoint.add("state/optimizer.safetensors", FileKind::State, vec![1; 99]);
        checkpoint
    }

    pub(crate) fn add(&mut self, name: &str, kind: FileKind, content: Vec<u8>) {
        self.manifest.files.push(CheckpointFile {
            name: name.to_owned(),
            kind: kind.into(),
            size: content.len() as u64,
            sha256: Sha256::digest(&content).to_vec().into(),
        });
        self.contents.push((name.to_owned(), content));
    }

    /// Puts a file in another's place.
    pub(crate) fn replace(&mut self, name: &str, content: Vec<u8>) {
        self.manifest.files.retain(|file| file.name != name);
        self.contents.retain(|(other, _)| other != name);
        self.add(name, FileKind::Model, content);
    }

    pub(crate) fn content(&self, name: &str) -> &[u8] {
        let found = self.contents.iter().find(|(other, _)| other == name);
        &found.unwrap().1
    }
}

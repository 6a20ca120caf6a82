//! Opening a model directory and comparing it with a configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use crate::config::Gpt2Config;
use crate::error::{LayoutError, TensorProblem};
use crate::file::{SafetensorsFile, TensorBytes};
use crate::header::TensorEntry;
use crate::shards::ShardIndex;
use crate::tensors::tensors;
use crate::{CONFIG_FILE, GENERATION_CONFIG_FILE, INDEX_FILE, MODEL_FILE};

/// The output projection; a GPT-2's is its token embedding, and some files
/// hold it a second time.
const TIED_HEAD: &str = "lm_head.weight";

/// A model directory whose configuration and tensor headers have been read.
///
/// Names of tensors are transformers' for a `GPT2LMHeadModel`; files saved from
/// a bare `GPT2Model`, without the prefix `transformer.`, are understood too.
#[derive(Debug)]
pub struct ModelDir {
    path: PathBuf,
    config: Gpt2Config,
    files: Vec<PathBuf>,
    weight_files: Vec<SafetensorsFile>,
    /// By the name a `GPT2LMHeadModel` has for it.
    tensors: BTreeMap<String, StoredTensor>,
}

#[derive(Debug)]
struct StoredTensor {
    /// Index into the directory's weight files.
    file: usize,
    /// With the name that the file has for it.
    entry: TensorEntry,
}

impl ModelDir {
    /// Opens a directory with a GPT-2: `config.json`, and `model.safetensors`
    /// or an index with its shards. Reads headers, not weights.
    ///
    /// # Errors
    /// When a file is missing, cannot be read or parsed, or is cut short; when
    /// the configuration is another kind of model's, or of a GPT-2 that cannot
    /// be computed; when index and shards disagree.
    pub fn open(path: impl AsRef<Path>) -> Result<ModelDir, LayoutError> {
        let path = path.as_ref();
        let files = checkpoint_files(path)?;
        let config = Gpt2Config::read(&path.join(CONFIG_FILE))?;

        let mut weight_files = Vec::new();
        let mut tensors: BTreeMap<String, StoredTensor> = BTreeMap::new();
        for file_path in files.iter().filter(|file| holds_weights(file)) {
            let file = SafetensorsFile::open(file_path)?;
            for entry in file.entries() {
                let stored = StoredTensor {
                    file: weight_files.len(),
                    entry: entry.clone(),
                };
                if tensors
                    .insert(canonical_name(&entry.name), stored)
                    .is_some()
                {
                    return Err(LayoutError::Safetensors {
                        path: file_path.clone(),
                        reason: format!("it holds {} for a second time", entry.name),
                    });
                }
            }
            weight_files.push(file);
        }
        check_index(path, &files, |name| {
            let stored = tensors.get(&canonical_name(name))?;
            Some(weight_files[stored.file].path())
        })?;
        Ok(ModelDir {
            path: path.to_owned(),
            config,
            files,
            weight_files,
            tensors,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `config.json` says.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// The files that make up the model, sorted by name: those that the
    /// directory hash is taken over.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// How many parameters the files hold, by their headers. Buffers of old
    /// releases and a tied output projection are none.
    pub fn count_parameters(&self) -> u64 {
        let elements = |stored: &StoredTensor| -> u64 {
            stored.entry.shape.iter().map(|&size| size as u64).product()
        };
        self.tensors
            .iter()
            .filter(|(name, _)| !is_redundant(name))
            .map(|(_, stored)| elements(stored))
            .sum()
    }

    /// Compares the tensors there are with those that a model of this
    /// configuration has.
    ///
    /// # Errors
    /// [`LayoutError::Tensors`], with every tensor that is missing, misshapen,
    /// unexpected, or not of a floating-point type that weights come in.
    pub fn check(&self, config: &Gpt2Config) -> Result<(), LayoutError> {
        let expected = tensors(config);
        let mut problems = Vec::new();
        for spec in &expected {
            match self.tensors.get(&spec.name) {
                None => problems.push(TensorProblem::Missing {
                    name: spec.name.clone(),
                    shape: spec.shape.clone(),
                }),
                Some(stored) => problems.extend(compare(&stored.entry, &spec.shape)),
            }
        }

        let expected_names: BTreeSet<&str> =
            expected.iter().map(|spec| spec.name.as_str()).collect();
        for (name, stored) in &self.tensors {
            if name == TIED_HEAD {
                problems.extend(compare(&stored.entry, &[config.vocab_size, config.n_embd]));
            } else if !expected_names.contains(name.as_str()) && !is_redundant(name) {
                problems.push(TensorProblem::Unexpected {
                    name: stored.entry.name.clone(),
                    shape: stored.entry.shape.clone(),
                });
            }
        }

        if problems.is_empty() {
            return Ok(());
        }
        Err(LayoutError::Tensors {
            dir: self.path.clone(),
            problems,
        })
    }

    /// Reads one tensor.
    ///
    /// # Errors
    /// When there is none of this name, or its file cannot be read.
    pub fn read_tensor(&self, name: &str) -> Result<TensorBytes, LayoutError> {
        let Some(stored) = self.tensors.get(name) else {
            return Err(LayoutError::Tensors {
                dir: self.path.clone(),
                problems: vec![TensorProblem::Missing {
                    name: name.to_owned(),
                    shape: Vec::new(),
                }],
            });
        };
        self.weight_files[stored.file].read_tensor(&stored.entry)
    }
}

/// The files of a checkpoint of any architecture, sorted by name: what
/// transformers' `from_pretrained` would fetch of a repository, and so what
/// the directory hash is taken over. `config.json`, `generation_config.json`
/// if there is one, and `model.safetensors`, or else the index and every shard
/// that it names.
///
/// # Errors
/// When there is no such directory, a file is missing, or the index cannot be
/// read or names a file outside the directory.
pub fn checkpoint_files(dir: &Path) -> Result<Vec<PathBuf>, LayoutError> {
    // Fails here, naming the directory, when there is none.
    fs::read_dir(dir).map_err(|source| LayoutError::io(dir, source))?;
    let missing = |file: &str, hint: &str| LayoutError::MissingFile {
        dir: dir.to_owned(),
        file: file.to_owned(),
        hint: hint.to_owned(),
    };

    let config = dir.join(CONFIG_FILE);
    if !config.is_file() {
        return Err(missing(CONFIG_FILE, ", so it is no model directory"));
    }
    let mut files = vec![config];
    let generation_config = dir.join(GENERATION_CONFIG_FILE);
    if generation_config.is_file() {
        files.push(generation_config);
    }

    let single = dir.join(MODEL_FILE);
    let index = dir.join(INDEX_FILE);
    if single.is_file() {
        files.push(single);
    } else if index.is_file() {
        for shard in shard_names(&index)? {
            let path = dir.join(&shard);
            if !path.is_file() {
                return Err(missing(&shard, ", which its index names"));
            }
            files.push(path);
        }
        files.push(index);
    } else {
        let hint = if dir.join("pytorch_model.bin").is_file() {
            "; convert its pytorch_model.bin with save_pretrained(safe_serialization=True)"
        } else {
            " and no model.safetensors.index.json"
        };
        return Err(missing(MODEL_FILE, hint));
    }
    files.sort();
    Ok(files)
}

fn read_index(path: &Path) -> Result<ShardIndex, LayoutError> {
    let text = fs::read(path).map_err(|source| LayoutError::io(path, source))?;
    serde_json::from_slice(&text).map_err(|source| LayoutError::Json {
        path: path.to_owned(),
        source,
    })
}

fn shard_names(index_path: &Path) -> Result<BTreeSet<String>, LayoutError> {
    let malformed = |reason: String| LayoutError::Index {
        path: index_path.to_owned(),
        reason,
    };
    let names: BTreeSet<String> = read_index(index_path)?.weight_map.into_values().collect();
    if names.is_empty() {
        return Err(malformed("it names no tensor".to_owned()));
    }
    for name in &names {
        // An index comes from strangers: it must not lead out of its directory.
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(malformed(format!(
                "{name:?} is not the name of a file beside it"
            )));
        }
    }
    Ok(names)
}

fn holds_weights(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    !matches!(
        name,
        Some(CONFIG_FILE | GENERATION_CONFIG_FILE | INDEX_FILE)
    )
}

/// Checks that each tensor of the index, if there is one, is in the file it names.
fn check_index<'a>(
    dir: &Path,
    files: &[PathBuf],
    file_of: impl Fn(&str) -> Option<&'a Path>,
) -> Result<(), LayoutError> {
    let index_path = dir.join(INDEX_FILE);
    if !files.contains(&index_path) {
        return Ok(());
    }
    for (name, shard) in read_index(&index_path)?.weight_map {
        if file_of(&name) != Some(&dir.join(&shard)) {
            return Err(LayoutError::Index {
                path: index_path,
                reason: format!("{name} is not in {shard}"),
            });
        }
    }
    Ok(())
}

fn compare(entry: &TensorEntry, expected: &[usize]) -> Option<TensorProblem> {
    if entry.shape != expected {
        return Some(TensorProblem::Misshapen {
            name: entry.name.clone(),
            expected: expected.to_vec(),
            found: entry.shape.clone(),
        });
    }
    if !matches!(entry.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Some(TensorProblem::WrongDtype {
            name: entry.name.clone(),
            dtype: entry.dtype,
        });
    }
    None
}

/// The name that a `GPT2LMHeadModel` has for a tensor of a file.
fn canonical_name(name: &str) -> String {
    if name.starts_with("transformer.") || name == TIED_HEAD {
        return name.to_owned();
    }
    format!("transformer.{name}")
}

/// Whether a tensor says nothing that the others do not: the tied output
/// projection, and the causal masks that releases before 4.28 stored.
fn is_redundant(name: &str) -> bool {
    if name == TIED_HEAD {
        return true;
    }
    let Some(rest) = name.strip_prefix("transformer.h.") else {
        return false;
    };
    matches!(
        rest.split_once('.'),
        Some((_, "attn.bias" | "attn.masked_bias"))
    )
}

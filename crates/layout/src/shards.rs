//! Weights in several files: which tensor goes into which, and the index.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::MODEL_FILE;
use crate::config::Gpt2Config;
use crate::header::SafetensorsHeader;
use crate::python_json;
use crate::tensors::{TensorSpec, tensors_in_module_order};

/// One of the files that a model's weights are written to.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Its name in the model directory.
    pub file_name: String,
    /// Its header; the tensors' bytes follow in the order of its entries.
    pub header: SafetensorsHeader,
}

/// Cuts a model's weights into files of at most `max_bytes` of tensors, as
/// transformers' `save_pretrained(max_shard_size=…)` does: along the module
/// order, a new file whenever the next tensor would not fit; a tensor larger
/// than the limit has a file to itself. `None`, or a model that fits, makes the
/// single file `model.safetensors`.
pub fn plan_shards(config: &Gpt2Config, max_bytes: Option<u64>) -> Vec<Shard> {
    let limit = max_bytes.unwrap_or(u64::MAX);
    let mut groups = Vec::new();
    let mut group: Vec<TensorSpec> = Vec::new();
    let mut group_bytes = 0;
    for spec in tensors_in_module_order(config) {
        let bytes = 4 * spec.elements();
        if !group.is_empty() && group_bytes + bytes > limit {
            groups.push(std::mem::take(&mut group));
            group_bytes = 0;
        }
        group_bytes += bytes;
        group.push(spec);
    }
    groups.push(group);

    let count = groups.len();
    let name = |number: usize| match count {
        1 => MODEL_FILE.to_owned(),
        _ => format!("model-{number:05}-of-{count:05}.safetensors"),
    };
    let shard = |(index, group): (usize, &Vec<TensorSpec>)| Shard {
        file_name: name(index + 1),
        header: SafetensorsHeader::for_f32(group),
    };
    groups.iter().enumerate().map(shard).collect()
}

/// `model.safetensors.index.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShardIndex {
    #[serde(default)]
    metadata: IndexMetadata,
    /// Tensor name to file name.
    pub(crate) weight_map: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct IndexMetadata {
    total_size: u64,
}

impl ShardIndex {
    pub(crate) fn of(shards: &[Shard]) -> ShardIndex {
        let mut weight_map = BTreeMap::new();
        let mut total_size = 0;
        for shard in shards {
            total_size += shard.header.data_bytes();
            for entry in shard.header.entries() {
                weight_map.insert(entry.name.clone(), shard.file_name.clone());
            }
        }
        ShardIndex {
            metadata: IndexMetadata { total_size },
            weight_map,
        }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        python_json::to_vec(self)
    }
}

//! `model.safetensors.index.json` of a stranger's model.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{AnswerError, is_plain_path, json, quoted};

#[derive(Deserialize)]
struct Body {
    weight_map: BTreeMap<String, String>,
}

/// The shards that an index names.
///
/// # Errors
/// If it is no index, names none, or names one that is not a safetensors file
/// beside it.
pub fn shard_names(index: &[u8]) -> Result<BTreeSet<String>, AnswerError> {
    let body: Body = json(index)?;
    let names: BTreeSet<String> = body.weight_map.into_values().collect();
    if names.is_empty() {
        return Err(AnswerError::new("it names no tensor"));
    }
    for name in &names {
        if !is_plain_path(name) || name.contains('/') || !name.ends_with(".safetensors") {
            return Err(AnswerError::new(format!(
                "it names {}, which is no safetensors file beside it",
                quoted(name)
            )));
        }
    }
    Ok(names)
}

//! Whether a downloaded directory is the model that was committed, and one that
//! may be trained.

use std::path::Path;

use layout::ModelDir;
use subnet::{Criteria, ModelFacts, hash_directory};

use super::choice::Contender;

/// Compares a directory's hash with the commitment's, and the model with the
/// criteria and with what a model is.
///
/// # Errors
/// In words: what is wrong with it.
pub(super) fn check(
    directory: &Path,
    contender: &Contender,
    criteria: &Criteria,
) -> Result<(), String> {
    let found = hash_directory(directory).map_err(|error| error.to_string())?;
    let with_hotkey = found.hash.with_hotkey(&contender.hotkey.to_string());
    if contender.hash != found.hash && contender.hash != with_hotkey {
        return Err(format!(
            "the files of {} hash to {}, and the chain says {}: they are not what was committed",
            contender.model.repo, found.hash, contender.hash
        ));
    }
    let model = ModelDir::open(directory).map_err(|error| error.to_string())?;
    model
        .check(model.config())
        .map_err(|error| error.to_string())?;
    let facts = ModelFacts::of(&model).map_err(|error| error.to_string())?;
    let violations = criteria.check(&facts);
    if !violations.is_empty() {
        let violations: Vec<String> = violations.iter().map(ToString::to_string).collect();
        return Err(format!(
            "validators would not take it: {} (see --criteria-block)",
            violations.join("; ")
        ));
    }
    match layout::first_non_finite(&model, model.config()) {
        Ok(None) => Ok(()),
        Ok(Some(tensor)) => Err(format!(
            "its {tensor} has values that are infinite or not numbers"
        )),
        Err(error) => Err(error.to_string()),
    }
}

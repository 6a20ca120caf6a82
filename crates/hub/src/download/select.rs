//! Which files of a repository make up its model.

use std::collections::BTreeSet;

use layout::{CONFIG_FILE, GENERATION_CONFIG_FILE, INDEX_FILE, MODEL_FILE};

use crate::answers::RemoteFile;

/// What transformers would take for an adapter to another repository's model.
const FORBIDDEN_FILE: &str = "adapter_config.json";

/// The files to bring first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selection<'r> {
    /// All of them, the index included.
    pub(crate) files: Vec<&'r RemoteFile>,
    /// The file that names the others, if the weights are in several.
    pub(crate) index: Option<&'r RemoteFile>,
}

impl<'r> Selection<'r> {
    /// Chooses as transformers does: a single file of weights comes before an
    /// index. Files that are read whole later (all but weights) have at most
    /// `small_bytes`.
    pub(crate) fn of(remote: &'r [RemoteFile], small_bytes: u64) -> Result<Self, String> {
        let find = |path: &str| remote.iter().find(|file| file.path == path);
        if find(FORBIDDEN_FILE).is_some() {
            return Err(format!(
                "it has an {FORBIDDEN_FILE}, which makes transformers load another model"
            ));
        }
        let config = find(CONFIG_FILE).ok_or_else(|| format!("it has no {CONFIG_FILE}"))?;
        let mut files = vec![config];
        files.extend(find(GENERATION_CONFIG_FILE));
        let index = find(INDEX_FILE).filter(|_| find(MODEL_FILE).is_none());
        files.extend(index);
        if let Some(large) = files.iter().find(|file| file.bytes > small_bytes) {
            return Err(format!("its {} has {} bytes", large.path, large.bytes));
        }
        files.extend(find(MODEL_FILE));
        if index.is_none() && find(MODEL_FILE).is_none() {
            return Err(format!("it has neither {MODEL_FILE} nor {INDEX_FILE}"));
        }
        Ok(Self { files, index })
    }
}

/// The files that an index names.
pub(crate) fn named<'r>(
    remote: &'r [RemoteFile],
    names: &BTreeSet<String>,
) -> Result<Vec<&'r RemoteFile>, String> {
    let find = |name: &String| {
        let file = remote.iter().find(|file| file.path == *name);
        file.ok_or_else(|| format!("it has no {name}, which its index names"))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlobId;

    fn repository(paths: &[&str]) -> Vec<RemoteFile> {
        let file = |path: &&str| RemoteFile {
            path: (*path).to_owned(),
            bytes: 10,
            sha256: None,
            oid: BlobId::of(path.as_bytes()),
            xet_hash: None,
        };
        paths.iter().map(file).collect()
    }

    fn selected(paths: &[&str]) -> Result<Vec<String>, String> {
        let remote = repository(paths);
        let selection = Selection::of(&remote, 100)?;
        Ok(selection
            .files
            .iter()
            .map(|file| file.path.clone())
            .collect())
    }

    #[test]
    fn only_a_models_files_are_brought() {
        let files = selected(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "model.safetensors",
            "model.safetensors.index.json",
            "onnx/model.safetensors",
            "tokenizer.json",
        ]);
        assert_eq!(files.unwrap(), ["config.json", "model.safetensors"]);
        let sharded = selected(&[
            "config.json",
            "generation_config.json",
            INDEX_FILE,
            "model-1.safetensors",
        ]);
        assert_eq!(
            sharded.unwrap(),
            ["config.json", "generation_config.json", INDEX_FILE]
        );
    }

    #[test]
    fn what_is_no_model_is_refused_with_what_it_lacks() {
        for (paths, word) in [
            (&["model.safetensors"][..], "no config.json"),
            (
                &["config.json", "pytorch_model.bin"],
                "neither model.safetensors",
            ),
            (
                &["config.json", "model.safetensors", "adapter_config.json"],
                "another model",
            ),
        ] {
            let reason = selected(paths).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
        let remote = repository(&["config.json", "model.safetensors"]);
        assert!(
            Selection::of(&remote, 9)
                .unwrap_err()
                .contains("config.json has 10")
        );
        let names = BTreeSet::from(["a.safetensors".to_owned()]);
        assert!(
            named(&remote, &names)
                .unwrap_err()
                .contains("a.safetensors")
        );
    }
}

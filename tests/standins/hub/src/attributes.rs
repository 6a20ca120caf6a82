//! Which files go to git and which to large-file storage.
//!
//! The Hub decides by the repository's `.gitattributes` and, for the rest, by
//! size and content: its documentation says that files above 10 MB and binary
//! files are not kept in git. Source: the Hub's documentation on uploading, and
//! the default `.gitattributes` of new repositories.
//!
//! Not modelled: patterns beyond `*.suffix` and plain names, other attributes.

/// The bytes from which a file is large whatever its name.
pub(crate) const LARGE: u64 = 10 * 1024 * 1024;

/// The `.gitattributes` of a new repository.
pub(crate) const DEFAULT: &str = "\
*.bin filter=lfs diff=lfs merge=lfs -text
*.gguf filter=lfs diff=lfs merge=lfs -text
*.gz filter=lfs diff=lfs merge=lfs -text
*.h5 filter=lfs diff=lfs merge=lfs -text
*.msgpack filter=lfs diff=lfs merge=lfs -text
*.npy filter=lfs diff=lfs merge=lfs -text
*.npz filter=lfs diff=lfs merge=lfs -text
*.onnx filter=lfs diff=lfs merge=lfs -text
*.parquet filter=lfs diff=lfs merge=lfs -text
*.pickle filter=lfs diff=lfs merge=lfs -text
*.pkl filter=lfs diff=lfs merge=lfs -text
*.pt filter=lfs diff=lfs merge=lfs -text
*.pth filter=lfs diff=lfs merge=lfs -text
*.safetensors filter=lfs diff=lfs merge=lfs -text
*.tar filter=lfs diff=lfs merge=lfs -text
*.tflite filter=lfs diff=lfs merge=lfs -text
*.zip filter=lfs diff=lfs merge=lfs -text
*.zst filter=lfs diff=lfs merge=lfs -text
";

/// Whether a file belongs in large-file storage. `sample` is how it begins.
pub(crate) fn is_large(attributes: &str, path: &str, bytes: u64, sample: &[u8]) -> bool {
    bytes >= LARGE || sample.contains(&0) || is_tracked(attributes, path)
}

fn is_tracked(attributes: &str, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    attributes.lines().any(|line| {
        let mut words = line.split_whitespace();
        let Some(pattern) = words.next() else {
            return false;
        };
        words.any(|word| word == "filter=lfs")
            && match pattern.strip_prefix('*') {
                Some(suffix) => name.ends_with(suffix),
                None => pattern == name || pattern == path,
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_large_and_configurations_are_not() {
        assert!(is_large(DEFAULT, "model.safetensors", 8, b"small"));
        assert!(is_large(DEFAULT, "folder/pytorch_model.bin", 8, b"small"));
        assert!(!is_large(DEFAULT, "config.json", 8, b"{}"));
        assert!(is_large(DEFAULT, "config.json", LARGE, b"{}"));
        assert!(is_large(DEFAULT, "notes", 3, b"a\0b"));
        assert!(is_large("notes filter=lfs", "notes", 3, b"abc"));
        assert!(!is_large(
            "*.safetensors -text",
            "model.safetensors",
            3,
            b"abc"
        ));
    }
}

//! Git's object ids, so that commits and entries are named as on the Hub.
//!
//! A repository on the Hub is a git repository: a file's `oid` is its blob's id
//! (for a large file, the id of its LFS pointer), a directory's is its tree's,
//! and a commit is named by its content and its parent. Source: git's own
//! documentation, gitformat-objects and the Git LFS pointer specification.
//!
//! Not modelled: packs, branches other than `main`, tags, and the git protocol.

use std::collections::BTreeMap;

use sha1::{Digest as _, Sha1};

use super::FileEntry;

/// The id of a blob with this content.
pub(crate) fn blob_id(content: &[u8]) -> String {
    object_id("blob", content)
}

/// The text that git stores in place of a large file.
pub(crate) fn lfs_pointer(sha256: &str, bytes: u64) -> String {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {bytes}\n")
}

/// The ids of all directories of a tree, by path; the root's path is empty.
pub(crate) fn tree_ids(files: &BTreeMap<String, FileEntry>) -> BTreeMap<String, String> {
    let mut root = Directory::default();
    for (path, entry) in files {
        let mut directory = &mut root;
        let mut rest = path.as_str();
        while let Some((name, below)) = rest.split_once('/') {
            directory = directory.directories.entry(name.to_owned()).or_default();
            rest = below;
        }
        directory.files.insert(rest.to_owned(), entry.oid.clone());
    }
    let mut ids = BTreeMap::new();
    root.name("", &mut ids);
    ids
}

#[derive(Default)]
struct Directory {
    files: BTreeMap<String, String>,
    directories: BTreeMap<String, Directory>,
}

impl Directory {
    /// Puts the ids of this directory and of all below it into `ids`.
    fn name(&self, path: &str, ids: &mut BTreeMap<String, String>) -> String {
        // Git sorts a directory as if its name ended with a slash.
        let mut entries: BTreeMap<String, (&str, &str, String)> = BTreeMap::new();
        for (name, oid) in &self.files {
            entries.insert(name.clone(), ("100644", name, oid.clone()));
        }
        for (name, directory) in &self.directories {
            let below = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}/{name}")
            };
            let oid = directory.name(&below, ids);
            entries.insert(format!("{name}/"), ("40000", name, oid));
        }
        let mut body = Vec::new();
        for (mode, name, oid) in entries.values() {
            body.extend_from_slice(mode.as_bytes());
            body.push(b' ');
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend(hex::decode(oid).unwrap_or_default());
        }
        let oid = object_id("tree", &body);
        ids.insert(path.to_owned(), oid.clone());
        oid
    }
}

/// The id of a commit; `seconds` is its time since the Unix epoch.
pub(crate) fn commit_id(
    tree: &str,
    parent: Option<&str>,
    author: &str,
    seconds: u64,
    title: &str,
    description: &str,
) -> String {
    let mut body = format!("tree {tree}\n");
    if let Some(parent) = parent {
        body += &format!("parent {parent}\n");
    }
    let person = format!("{author} <{author}@users.noreply.huggingface.co> {seconds} +0000");
    body += &format!("author {person}\ncommitter {person}\n\n{title}\n");
    if !description.is_empty() {
        body += &format!("\n{description}\n");
    }
    object_id("commit", body.as_bytes())
}

fn object_id(kind: &str, body: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("{kind} {}\0", body.len()));
    hasher.update(body);
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(content: &[u8]) -> FileEntry {
        FileEntry {
            oid: blob_id(content),
            bytes: content.len() as u64,
            lfs: None,
        }
    }

    #[test]
    fn blobs_are_named_as_git_names_them() {
        // git hash-object on an empty file and on "hello\n"
        assert_eq!(blob_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(
            blob_id(b"hello\n"),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
    }

    #[test]
    fn trees_are_named_as_git_names_them() {
        assert_eq!(
            tree_ids(&BTreeMap::new())[""],
            "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
        );
        let files = BTreeMap::from([
            ("a".to_owned(), entry(b"hello\n")),
            ("a-b".to_owned(), entry(b"")),
            ("d/x".to_owned(), entry(b"hello\n")),
        ]);
        let ids = tree_ids(&files);
        assert_eq!(ids["d"], "e31a96220fbfbe7601ecc086a36b96dc27a8867e");
        assert_eq!(ids[""], "2a1e1d94f992bc804f666a80356e2cb9727d7884");
    }
}

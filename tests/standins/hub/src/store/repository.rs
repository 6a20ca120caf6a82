//! A repository: its settings and its commits.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::git::{self, tree_ids};
use super::time::now_ms;

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Git's id of the blob; for a large file, of its LFS pointer.
    pub oid: String,
    /// The file's length.
    pub bytes: u64,
    /// Where the content is, when it is not in git.
    pub lfs: Option<LfsObject>,
}

/// A file too large or too binary for git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LfsObject {
    /// The content's SHA-256 in hexadecimal, checked by the Hub at the commit.
    pub sha256: String,
    /// The CAS's name of the content; none when the Hub keeps it itself.
    pub xet_hash: Option<String>,
}

/// A commit, with all files that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitInfo {
    /// 40 hexadecimal digits.
    pub id: String,
    /// The commit before it; none for a repository's first.
    pub parent: Option<String>,
    /// The first line of the message.
    pub title: String,
    /// What follows the first line.
    pub description: String,
    /// The account that made it.
    pub author: String,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// All files by path, not only those that the commit changed.
    pub files: BTreeMap<String, FileEntry>,
}

/// How a gated repository grants access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// At once, when the terms are accepted.
    Auto,
    /// After its owner's review.
    Manual,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Repository {
    pub(crate) private: bool,
    pub(crate) gate: Option<Gate>,
    pub(crate) created_ms: u64,
    /// Oldest first, never empty: creation makes the first.
    pub(crate) commits: Vec<CommitInfo>,
}

impl Repository {
    /// A repository with its first commit.
    pub(crate) fn new(
        private: bool,
        author: &str,
        files: BTreeMap<String, FileEntry>,
    ) -> Repository {
        let mut repository = Repository {
            private,
            gate: None,
            created_ms: now_ms(),
            commits: Vec::new(),
        };
        repository.commit(author, "initial commit", "", files);
        repository
    }

    pub(crate) fn head(&self) -> Option<&CommitInfo> {
        self.commits.last()
    }

    /// The commit that a revision names: `main` or a full commit id.
    pub(crate) fn at(&self, revision: &str) -> Option<&CommitInfo> {
        if revision == "main" {
            return self.head();
        }
        self.commits.iter().find(|commit| commit.id == revision)
    }

    /// Adds a commit of exactly these files on top of the head.
    pub(crate) fn commit(
        &mut self,
        author: &str,
        title: &str,
        description: &str,
        files: BTreeMap<String, FileEntry>,
    ) -> CommitInfo {
        let time_ms = now_ms();
        let parent = self.head().map(|head| head.id.clone());
        let tree = tree_ids(&files).remove("").unwrap_or_default();
        let id = git::commit_id(
            &tree,
            parent.as_deref(),
            author,
            time_ms / 1000,
            title,
            description,
        );
        let commit = CommitInfo {
            id,
            parent,
            title: title.to_owned(),
            description: description.to_owned(),
            author: author.to_owned(),
            time_ms,
            files,
        };
        self.commits.push(commit.clone());
        commit
    }

    /// The bytes of all distinct contents in the whole history.
    ///
    /// The Hub documents `usedStorage` as what the repository takes, history
    /// included; that distinct contents count once is an approximation.
    pub(crate) fn used_storage(&self) -> u64 {
        let mut seen = BTreeSet::new();
        self.commits
            .iter()
            .flat_map(|commit| commit.files.values())
            .filter(|entry| seen.insert(entry.oid.as_str()))
            .map(|entry| entry.bytes)
            .sum()
    }

    /// The last commit up to `commit` that changed what is at `path`.
    pub(crate) fn last_change<'a>(&'a self, commit: &'a CommitInfo, path: &str) -> &'a CommitInfo {
        let entry = commit.files.get(path);
        let mut last = commit;
        for earlier in self
            .commits
            .iter()
            .rev()
            .skip_while(|other| other.id != commit.id)
        {
            if earlier.files.get(path) != entry {
                break;
            }
            last = earlier;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_a_path_is_found() {
        let one = FileEntry {
            oid: "1".to_owned(),
            bytes: 1,
            lfs: None,
        };
        let mut repository = Repository::new(false, "ns", BTreeMap::new());
        let first = repository.commit(
            "ns",
            "add",
            "",
            BTreeMap::from([("a".to_owned(), one.clone())]),
        );
        let both = BTreeMap::from([("a".to_owned(), one.clone()), ("b".to_owned(), one)]);
        let second = repository.commit("ns", "more", "", both);
        assert_eq!(repository.last_change(&second, "a").id, first.id);
        assert_eq!(repository.last_change(&second, "b").id, second.id);
        assert_eq!(repository.used_storage(), 1);
    }
}

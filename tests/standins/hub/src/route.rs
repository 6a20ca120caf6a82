//! The classes of requests that faults and the request log speak of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// `GET /api/whoami-v2`
    Whoami,
    /// `POST /api/repos/create`
    Create,
    /// `GET /api/models/R`, with or without `/revision/REV`
    Info,
    /// `POST /api/models/R/preupload/REV`
    Preupload,
    /// `POST /R.git/info/lfs/objects/batch`
    LfsBatch,
    /// `PUT /_lfs/SHA256`, where a batch without Xet sends uploads
    LfsUpload,
    /// `GET /api/models/R/xet-read-token/REV` and `xet-write-token`
    Token,
    /// `POST /api/models/R/commit/REV`
    Commit,
    /// `GET /api/models/R/commits/REV`
    Commits,
    /// `POST /api/models/R/paths-info/REV`
    PathsInfo,
    /// `GET /api/models/R/tree/REV`
    Tree,
    /// `HEAD /R/resolve/REV/FILE`
    ResolveHead,
    /// `GET /R/resolve/REV/FILE`
    ResolveGet,
    /// `GET` where the answer for a large file redirects to
    Content,
    /// Anything on the CAS server's address
    Cas,
    /// The rest
    Other,
}

impl Route {
    /// The class of a request to the Hub's own address.
    pub(crate) fn of(method: &str, path: &str) -> Route {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        match segments.as_slice() {
            ["api", "whoami-v2"] => Route::Whoami,
            ["api", "repos", "create"] => Route::Create,
            ["api", "models", _, _] | ["api", "models", _, _, "revision", _] => Route::Info,
            ["api", "models", _, _, "preupload", _] => Route::Preupload,
            [
                "api",
                "models",
                _,
                _,
                "xet-read-token" | "xet-write-token",
                ..,
            ] => Route::Token,
            ["api", "models", _, _, "commit", _] => Route::Commit,
            ["api", "models", _, _, "commits", _] => Route::Commits,
            ["api", "models", _, _, "paths-info", _] => Route::PathsInfo,
            ["api", "models", _, _, "tree", ..] => Route::Tree,
            ["_content", ..] => Route::Content,
            ["_lfs", _] => Route::LfsUpload,
            [_, _, "info", "lfs", "objects", "batch"] => Route::LfsBatch,
            [_, _, "resolve", _, ..] if method == "HEAD" => Route::ResolveHead,
            [_, _, "resolve", _, ..] => Route::ResolveGet,
            _ => Route::Other,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        for (method, path, route) in [
            ("GET", "/api/whoami-v2", Route::Whoami),
            ("GET", "/api/models/ns/name", Route::Info),
            ("GET", "/api/models/ns/name/revision/main", Route::Info),
            ("GET", "/api/models/ns/name/tree/main/folder", Route::Tree),
            (
                "POST",
                "/ns/name.git/info/lfs/objects/batch",
                Route::LfsBatch,
            ),
            (
                "HEAD",
                "/ns/name/resolve/main/folder/file",
                Route::ResolveHead,
            ),
            ("GET", "/ns/name/resolve/main/file", Route::ResolveGet),
            ("GET", "/", Route::Other),
        ] {
            assert_eq!(Route::of(method, path), route, "{method} {path}");
        }
        assert_eq!(Route::ResolveHead.to_string(), "resolve-head");
    }
}

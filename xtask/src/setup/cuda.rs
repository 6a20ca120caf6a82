//! Where the wheels put the CUDA headers.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::workspace::Workspace;

/// The variable that the build script of `crates/c10d` reads.
pub(crate) const VARIABLE: &str = "PEREGRINE_CUDA_INCLUDE";

/// Folders below libtorch's that hold headers which libtorch's own headers
/// include.
const FOLDERS: [&str; 6] = [
    "nvidia/cu13/include",
    "nvidia/cu13/include/cccl",
    "nvidia/nccl/include",
    "nvidia/cudnn/include",
    "nvidia/nvshmem/include",
    "nvidia/cusparselt/include",
];

/// The value of [`VARIABLE`] after `setup --cuda`.
pub(crate) fn include_path(workspace: &Workspace) -> anyhow::Result<OsString> {
    let libtorch = workspace.libtorch();
    let folders = FOLDERS
        .iter()
        .map(|folder| libtorch.join(folder))
        .filter(|folder| folder.is_dir());
    env::join_paths(folders.collect::<Vec<PathBuf>>())
        .context("the path of this clone holds a colon, which separates folders")
}

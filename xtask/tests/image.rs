//! The image's stage that runs `cargo xtask setup` has xtask's code and nothing
//! else of ours: a crate that is missing there is an empty one, and the image
//! cannot be built. And both coordinators of the compose files have one run.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

const DOCKERFILE: &str = "deploy/Dockerfile";
const STAGE: &str = "libtorch";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folders, below the root, of xtask and of every crate of the workspace
/// that it is compiled with.
fn folders_of_xtask() -> BTreeSet<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();

    let mut folders = BTreeSet::new();
    let mut to_visit = vec![root().join("xtask")];
    while let Some(folder) = to_visit.pop() {
        let manifest = folder.join("Cargo.toml");
        let package = packages
            .iter()
            .find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&manifest))
            .unwrap_or_else(|| panic!("{} is not of the workspace", manifest.display()));
        if !folders.insert(folder.strip_prefix(root()).unwrap().to_path_buf()) {
            continue;
        }
        let dependencies = package["dependencies"].as_array().unwrap();
        let compiled_in = dependencies.iter().filter(|one| one["kind"] != "dev");
        to_visit.extend(compiled_in.filter_map(|one| Some(PathBuf::from(one["path"].as_str()?))));
    }
    folders
}

/// What a stage copies from the sources to the same place.
fn copied(dockerfile: &str, stage: &str) -> BTreeSet<PathBuf> {
    let mut copied = BTreeSet::new();
    let mut in_stage = false;
    for line in dockerfile.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["FROM", .., "AS", name] => in_stage = *name == stage,
            ["COPY", from, to] if in_stage && from == to => {
                copied.insert(PathBuf::from(from));
            }
            _ => {}
        }
    }
    copied
}

#[test]
fn the_image_has_all_of_xtask_where_it_sets_up() {
    let dockerfile = fs::read_to_string(root().join(DOCKERFILE)).unwrap();
    assert_eq!(
        copied(&dockerfile, STAGE),
        folders_of_xtask(),
        "left: what the stage {STAGE} of {DOCKERFILE} copies; right: what xtask is made of"
    );
}

#[test]
fn only_copies_of_sources_in_the_stage_count() {
    let dockerfile = "\
FROM rust AS other
COPY crates/a crates/a
FROM rust AS libtorch
COPY --from=other /x .
COPY crates/b crates/b
FROM libtorch AS next
COPY . .
";
    assert_eq!(
        copied(dockerfile, STAGE),
        BTreeSet::from([PathBuf::from("crates/b")])
    );
}

/// The command of a service, as it is written.
fn command<'a>(compose: &'a str, service: &str) -> Vec<&'a str> {
    let heading = format!("  {service}:");
    compose
        .lines()
        .skip_while(|line| *line != heading)
        .skip_while(|line| line.trim() != "command: >-")
        .skip(1)
        .take_while(|line| line.starts_with("      "))
        .collect()
}

#[test]
fn a_standby_is_given_the_flags_of_the_coordinator_that_it_stands_by_for() {
    let read = |name| fs::read_to_string(root().join("deploy").join(name)).unwrap();
    let (one, both) = (read("compose.yaml"), read("compose.standby.yaml"));
    let flags = command(&one, "coordinator");
    assert!(flags.len() > 1, "{flags:?}");
    assert_eq!(command(&both, "coordinator-2"), flags);
}

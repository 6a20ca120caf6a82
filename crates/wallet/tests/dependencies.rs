//! Who may hold a hotkey: the workspace's dependencies on this crate.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The publisher signs; the others make throw-away wallets for it. (Tests of other
/// packages may sign too.)
const MAY_DEPEND: [&str; 3] = ["publisher", "xtask", "cluster-tests"];

/// What each package of the workspace depends on; with or without what only its
/// tests need.
fn dependencies(with_tests: bool) -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--offline",
            "--no-deps",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    let mut dependencies = BTreeMap::new();
    for package in packages {
        let of_package = package["dependencies"].as_array().unwrap();
        let names = of_package
            .iter()
            .filter(|dependency| with_tests || dependency["kind"] != "dev")
            .map(|dependency| text(&dependency["name"]))
            .collect();
        dependencies.insert(text(&package["name"]), names);
    }
    dependencies
}

#[test]
fn coordinator_and_worker_know_of_no_wallets_not_even_in_tests() {
    let all = dependencies(true);
    for name in ["coordinator", "worker"] {
        let needs = &all[name];
        assert!(!needs.contains("wallet"), "{name} depends on wallet");
    }
}

#[test]
fn only_the_publisher_and_what_rehearses_it_reach_wallets() {
    let direct = dependencies(false);
    assert!(
        direct["publisher"].contains("wallet"),
        "is this test looking at the right names?"
    );
    let others = direct
        .keys()
        .filter(|name| !MAY_DEPEND.contains(&name.as_str()));
    for package in others {
        let mut reached = BTreeSet::new();
        let mut open = vec![package.as_str()];
        while let Some(name) = open.pop() {
            for needed in direct.get(name).into_iter().flatten() {
                if reached.insert(needed.as_str()) {
                    open.push(needed);
                }
            }
        }
        assert!(!reached.contains("wallet"), "{package} reaches wallet");
    }
}

//! A cluster that is asked to end leaves nothing running and nothing half done.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use cluster_tests::{LIMIT, Run, TestCluster};
use local_cluster::Signal;

#[test]
fn a_signal_to_everyone_ends_everyone_in_good_order() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut cluster = running();
        for process in cluster.processes() {
            process.signal(signal).unwrap();
        }
        for process in cluster.processes() {
            let status = process.wait(LIMIT).unwrap();
            assert_eq!(status.code(), Some(0), "{}", process.log_tail());
        }
        assert_nothing_is_left(&cluster);
    }
}

#[test]
fn stopping_the_coordinator_ends_its_workers() {
    let mut cluster = running();
    cluster.coordinator().unwrap().signal(Signal::TERM).unwrap();
    cluster.complete();
    assert_nothing_is_left(&cluster);
}

/// A run without an end, some steps into it.
fn running() -> TestCluster {
    let mut cluster = TestCluster::new();
    let run = Run {
        epochs: -1,
        ..Run::of(&cluster.text()).with_workers(2)
    };
    cluster.start(&run);
    cluster.wait_for_steps(3);
    cluster
}

fn assert_nothing_is_left(cluster: &TestCluster) {
    if let Err(error) = TcpListener::bind(cluster.address()) {
        panic!(
            "the coordinator's port {} is still taken: {error}",
            cluster.address()
        );
    }
    let partial: Vec<PathBuf> = files_below(cluster.folder())
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("partial"))
        .collect();
    assert_eq!(partial, Vec::<PathBuf>::new());
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        }
        files.push(path);
    }
    files
}

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

#[test]
fn workers_that_are_stopped_leave_a_checkpoint_of_where_they_stood() {
    let mut cluster = running();
    for worker in cluster.workers() {
        worker.signal(Signal::TERM).unwrap();
    }
    for worker in cluster.workers() {
        let status = worker.wait(LIMIT).unwrap();
        assert_eq!(status.code(), Some(0), "{}", worker.log_tail());
    }
    let taken = cluster.steps(0).unwrap().len();
    let kept: Vec<String> = fs::read_dir(cluster.state_dir().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    let of_the_last_step = format!("step-{taken:08}-");
    assert!(
        kept.iter().any(|name| name.starts_with(&of_the_last_step)),
        "{taken} steps, checkpoints {kept:?}"
    );
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

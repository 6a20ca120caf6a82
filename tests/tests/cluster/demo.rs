//! Ctrl-C in the demo ends all that it has started.

use std::fs;
use std::path::Path;
use std::process::Command;

use cluster_tests::LIMIT;
use local_cluster::{Binaries, Process, Signal, wait_until};

/// Processes that were started with `word` somewhere on their command line.
fn processes_that_name(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        // A process may end while the list is read.
        let Ok(command_line) = fs::read(entry.unwrap().path().join("cmdline")) else {
            continue;
        };
        let command_line = String::from_utf8_lossy(&command_line).replace('\0', " ");
        if command_line.contains(word) {
            found.push(command_line);
        }
    }
    found
}

fn text_of(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

#[test]
fn ctrl_c_in_the_demo_ends_every_process_of_it() {
    let programs = Binaries::beside_this_test().unwrap();
    let programs = programs.path("coordinator").parent().unwrap().to_owned();
    let scratch = tempfile::tempdir().unwrap();
    let kept = scratch.path().join("demo");
    let mut command = Command::new(programs.join("xtask"));
    command
        .args(["demo", "--workers=2", "--json", "--programs"])
        .arg(&programs)
        .arg("--keep")
        .arg(&kept);
    let mut demo = Process::start("demo", &mut command, scratch.path()).unwrap();

    // Under way: a worker says so after its first step.
    let log = kept.join("worker-01.log");
    wait_until("the first step", LIMIT, || {
        demo.expect_running()?;
        Ok(text_of(&log).contains("step=").then_some(()))
    })
    .unwrap();
    let word = kept.display().to_string();
    let running = processes_that_name(&word);
    assert!(
        running.len() >= 4,
        "demo, coordinator, publisher: {running:#?}"
    );

    // Twice at once, as `timeout` does: that is no hurry yet.
    demo.signal(Signal::INT).unwrap();
    demo.signal(Signal::INT).unwrap();
    let status = demo.wait(LIMIT).unwrap();
    assert_eq!(status.code(), Some(130), "{}", demo.log_tail());
    let left = processes_that_name(&word);
    assert!(left.is_empty(), "{left:#?}");
}

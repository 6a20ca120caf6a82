//! The wrapper around `main`, seen from outside: a real process, real signals,
//! its exit code and what it prints.
//!
//! The process is this test binary again. In the parent, `child` does nothing;
//! in a child, [`CHILD`] holds the arguments that the wrapper shall see.

#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use cli::{Exit, Failure, OrExit as _, Refused};

const CHILD: &str = "CLI_TEST_CHILD";

#[derive(Parser)]
#[command(name = "flags", about = "a binary for tests")]
struct Flags {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Succeed,
    Fail,
    Refuse,
    Restart,
    /// Says "ready", then ends when asked to.
    Wait,
    /// Says "ready", and when asked to end says "asked" and does not.
    Linger,
    /// The same, and says "last act" when it has to leave at once.
    LingerWithAct,
    /// Logs an event, and prints the value of a variable.
    Tell {
        #[arg(long = "variable_name")]
        variable_name: String,
    },
}

#[test]
fn child() {
    let Some(arguments) = std::env::var_os(CHILD) else {
        return;
    };
    let arguments = arguments.into_string().unwrap();
    let arguments = std::iter::once("flags").chain(arguments.split(' '));
    let exit = cli::run_from(arguments.map(OsString::from), work);
    std::process::exit(i32::from(exit.code()));
}

async fn work(flags: Flags, shutdown: tokio_util::sync::CancellationToken) -> Result<(), Failure> {
    match flags.task {
        Task::Succeed => Ok(()),
        Task::Fail => Err(std::io::Error::other("disk on fire")).context("cannot save")?,
        Task::Refuse => Err(Refused::new("--bs 0: give at least 1"))?,
        Task::Restart => Err(anyhow::anyhow!("the group is stuck")).or_exit(Exit::Restart),
        Task::Wait => {
            println!("ready");
            shutdown.cancelled().await;
            Ok(())
        }
        Task::Linger => linger(shutdown).await,
        Task::LingerWithAct => {
            cli::shutdown::before_leaving_at_once(|| println!("last act"));
            linger(shutdown).await
        }
        Task::Tell { variable_name } => {
            tracing::info!(answer = 42, "telling");
            println!("value={}", std::env::var(variable_name).unwrap_or_default());
            Ok(())
        }
    }
}

async fn linger(shutdown: tokio_util::sync::CancellationToken) -> Result<(), Failure> {
    println!("ready");
    shutdown.cancelled().await;
    println!("asked");
    std::future::pending().await
}

fn command(arguments: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, arguments)
        .env_remove("RUST_LOG")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run_in(directory: &Path, arguments: &str) -> (Exit, String, String) {
    let output = command(arguments, directory).output().unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    let exit = Exit::from_code(status.code().unwrap()).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit, text(stdout), text(stderr))
}

fn run(arguments: &str) -> (Exit, String, String) {
    let directory = tempfile::tempdir().unwrap();
    run_in(directory.path(), arguments)
}

/// A child that has said "ready", and so watches for signals.
struct Ready {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    _directory: tempfile::TempDir,
}

impl Ready {
    fn start(arguments: &str) -> Ready {
        let directory = tempfile::tempdir().unwrap();
        let mut child = command(arguments, directory.path()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = Ready {
            child,
            stdout,
            _directory: directory,
        };
        ready.wait_for("ready");
        ready
    }

    /// Reads on until the child prints a line that ends so. (The test harness
    /// in the child prints a heading of its own before it.)
    fn wait_for(&mut self, wanted: &str) {
        let mut line = String::new();
        while !line.trim_end().ends_with(wanted) {
            line.clear();
            let read = self.stdout.read_line(&mut line).unwrap();
            assert!(read > 0, "the child ended before it said {wanted:?}");
        }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().unwrap();
        assert!(sent.success());
    }

    fn end(mut self) -> (Exit, String) {
        let status = self.child.wait().unwrap();
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        (Exit::from_code(status.code().unwrap()).unwrap(), stderr)
    }
}

#[test]
fn work_that_is_done_leaves_with_0_and_silence() {
    let (exit, _, stderr) = run("succeed");
    assert_eq!((exit, stderr.as_str()), (Exit::Success, ""));
}

#[test]
fn a_failure_leaves_with_1_and_its_causes_in_one_block() {
    let (exit, _, stderr) = run("fail");
    assert_eq!(exit, Exit::Failure);
    assert_eq!(stderr, "error: cannot save\n  caused by: disk on fire\n");
}

#[test]
fn a_refusal_leaves_with_2() {
    let (exit, _, stderr) = run("refuse");
    assert_eq!(exit, Exit::Refused);
    assert_eq!(stderr, "error: --bs 0: give at least 1\n");
}

#[test]
fn a_wish_to_be_restarted_reaches_the_supervisor() {
    let (exit, _, _) = run("restart");
    assert_eq!(exit, Exit::Restart);
}

#[test]
fn a_wrong_flag_leaves_with_2_and_usage_on_standard_error() {
    let (exit, _, stderr) = run("succeed --no-such-flag");
    assert_eq!(exit, Exit::Refused);
    assert!(stderr.contains("--no-such-flag"), "{stderr}");
}

#[test]
fn help_goes_to_standard_output_and_shows_the_log_flags() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".env"), "broken line\n").unwrap();
    let (exit, stdout, _) = run_in(directory.path(), "--help");
    assert_eq!(exit, Exit::Success);
    assert!(stdout.contains("a binary for tests"), "{stdout}");
    assert!(stdout.contains("--log-format"), "{stdout}");
}

#[test]
fn the_first_signal_of_either_kind_stops_in_good_order() {
    for name in ["INT", "TERM"] {
        let ready = Ready::start("wait");
        ready.signal(name);
        let (exit, stderr) = ready.end();
        assert_eq!(exit, Exit::Success, "SIG{name}");
        assert!(stderr.contains(&format!("SIG{name}")), "{stderr}");
    }
}

#[test]
fn a_second_signal_leaves_at_once_with_130() {
    let mut ready = Ready::start("linger");
    ready.signal("INT");
    ready.wait_for("asked");
    ready.signal("TERM");
    assert_eq!(ready.end().0, Exit::Interrupted);
}

#[test]
fn what_must_not_outlive_the_process_is_seen_to_before_it_leaves_at_once() {
    let mut ready = Ready::start("linger-with-act");
    ready.signal("TERM");
    ready.wait_for("asked");
    ready.signal("TERM");
    ready.wait_for("last act");
    assert_eq!(ready.end().0, Exit::Interrupted);
}

#[test]
fn the_dotenv_file_of_the_current_directory_is_read() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".env"), "CLI_TEST_TOLD=from file\n").unwrap();
    // A value with a space must be quoted; the whole file is refused.
    let (exit, _, stderr) = run_in(directory.path(), "tell --variable_name CLI_TEST_TOLD");
    assert_eq!(exit, Exit::Refused);
    assert!(stderr.contains(".env, line 1"), "{stderr}");
    assert!(!stderr.contains("from file"), "{stderr}");

    fs::write(directory.path().join(".env"), "CLI_TEST_TOLD=from-file\n").unwrap();
    let (exit, stdout, _) = run_in(directory.path(), "tell --variable-name CLI_TEST_TOLD");
    assert_eq!(exit, Exit::Success);
    assert!(stdout.contains("value=from-file"), "{stdout}");
}

#[test]
fn log_flags_are_understood_after_a_subcommand_and_in_either_spelling() {
    for flag in ["--log-format", "--log_format"] {
        let (exit, stdout, stderr) = run(&format!("tell --variable_name NONE {flag} json"));
        assert_eq!(exit, Exit::Success);
        let event: serde_json::Value = serde_json::from_str(stderr.trim()).unwrap();
        assert_eq!(event["answer"], 42);
        assert!(
            !stdout.contains("telling"),
            "logs do not belong on standard output"
        );
    }
    let (_, _, stderr) = run("tell --variable_name NONE --log off");
    assert_eq!(stderr, "");
}

#[test]
fn a_log_filter_that_means_nothing_is_refused() {
    let (exit, _, stderr) = run("succeed --log worker=loud");
    assert_eq!(exit, Exit::Refused);
    assert!(stderr.contains("--log"), "{stderr}");
}

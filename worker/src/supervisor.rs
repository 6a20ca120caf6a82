//! `--device cuda:all`: one worker process per GPU, restarted when it asks.
//!
//! A process of its own per GPU, because a collective that hangs in the driver
//! cannot be ended any other way.

use std::ffi::{OsStr, OsString};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context as _;
use cli::Exit;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Pause before a restart, so that a worker that breaks at once does not spin.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// What a child's exit asks of its supervisor.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Restart,
    Done,
    Failed,
}

fn next(status: ExitStatus) -> Next {
    match status.code().and_then(Exit::from_code) {
        Some(Exit::Success) => Next::Done,
        Some(Exit::Restart) => Next::Restart,
        Some(_) => Next::Failed,
        // Killed by a signal: the machine ran out of memory, or the driver
        // crashed. The state is with the survivors, so start again.
        None => Next::Restart,
    }
}

/// The arguments of the child that trains on `device`: this process's own, with
/// `--device` and `--name` replaced.
fn child_arguments(
    own: impl IntoIterator<Item = OsString>,
    device: &str,
    name: &str,
) -> Vec<OsString> {
    let replaced = |argument: &OsStr| {
        argument
            .to_str()
            .is_some_and(|text| matches!(text, "--device" | "--name"))
    };
    let replaced_inline = |argument: &OsStr| {
        argument
            .to_str()
            .is_some_and(|text| text.starts_with("--device=") || text.starts_with("--name="))
    };
    let mut arguments = Vec::new();
    let mut own = own.into_iter();
    while let Some(argument) = own.next() {
        if replaced(&argument) {
            own.next();
        } else if !replaced_inline(&argument) {
            arguments.push(argument);
        }
    }
    arguments.extend(["--device", device, "--name", name].map(OsString::from));
    arguments
}

/// Runs one worker per entry of `devices` until all are done, or shutdown is
/// asked for and all have drained.
pub(crate) async fn run(
    devices: &[String],
    name: &str,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program's own file")?;
    let mut workers = JoinSet::new();
    for device in devices {
        let child_name = format!("{name}-{}", device.replace(':', ""));
        let arguments = child_arguments(std::env::args_os().skip(1), device, &child_name);
        let program = program.clone();
        let shutdown = shutdown.clone();
        workers.spawn(async move { supervise(&program, &arguments, &child_name, shutdown).await });
    }
    let mut failed = Vec::new();
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended? {
            tracing::error!("{error:#}");
            failed.push(error);
        }
    }
    match failed.pop() {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

async fn supervise(
    program: &std::path::Path,
    arguments: &[OsString],
    name: &str,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        // A group of its own, or the terminal's Ctrl-C would reach the child
        // beside this supervisor's word and count as the second one.
        let mut child = Command::new(program)
            .args(arguments)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting worker {name}"))?;
        let status = tokio::select! {
            status = child.wait() => status?,
            () = shutdown.cancelled() => {
                terminate(&child);
                child.wait().await?
            }
        };
        match next(status) {
            Next::Done => return Ok(()),
            Next::Failed => anyhow::bail!("worker {name} ended with {status}"),
            Next::Restart if shutdown.is_cancelled() => return Ok(()),
            Next::Restart => {
                tracing::warn!("worker {name} ended with {status}; starting it again");
                let stopped = shutdown
                    .run_until_cancelled(tokio::time::sleep(RESTART_PAUSE))
                    .await
                    .is_none();
                if stopped {
                    return Ok(());
                }
            }
        }
    }
}

fn terminate(child: &Child) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself meanwhile.
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn exit(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn only_an_exit_that_asks_for_it_or_a_crash_is_restarted() {
        assert_eq!(next(exit(0)), Next::Done);
        assert_eq!(next(exit(75)), Next::Restart);
        assert_eq!(next(exit(1)), Next::Failed);
        assert_eq!(next(exit(2)), Next::Failed);
        assert_eq!(next(ExitStatus::from_raw(9)), Next::Restart);
    }

    #[test]
    fn each_child_gets_its_own_device_and_name() {
        let own = [
            "--coordinator",
            "box:50051",
            "--device",
            "cuda:all",
            "--name=box",
            "--threads",
            "2",
        ]
        .map(OsString::from);
        assert_eq!(
            child_arguments(own, "cuda:1", "box-cuda1"),
            [
                "--coordinator",
                "box:50051",
                "--threads",
                "2",
                "--device",
                "cuda:1",
                "--name",
                "box-cuda1"
            ]
        );
    }
}

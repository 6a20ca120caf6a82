//! `--device cuda:all`: one worker process per GPU, restarted when it asks.
//!
//! A process of its own per GPU, because a collective that hangs in the driver
//! cannot be ended any other way. None outlives its supervisor: see
//! `supervised.rs` for a supervisor that is killed, [`Children`] for one that is
//! told twice to stop.

use std::ffi::{OsStr, OsString};
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context as _;
use cli::{Exit, Failure};
use rustix::process::{Pid, Signal, kill_process};
use tch::Device;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::device;

/// Pause before a restart, so that a worker that breaks at once does not spin.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// What a child's exit asks of its supervisor.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Restart,
    Done,
    Failed(Exit),
}

fn next(status: ExitStatus) -> Next {
    match status.code().and_then(Exit::from_code) {
        Some(Exit::Success) => Next::Done,
        Some(Exit::Restart) => Next::Restart,
        Some(exit) => Next::Failed(exit),
        // Killed by a signal: the machine ran out of memory, or the driver
        // crashed. The state is with the survivors, so start again.
        None => Next::Restart,
    }
}

/// The code for workers that ended with these: theirs if they agree. A code says
/// what would become of the same command, and of workers that ended differently
/// none says so for all.
fn overall(exits: &[Exit]) -> Exit {
    match exits {
        [] => Exit::Success,
        [first, others @ ..] if others.iter().all(|exit| exit == first) => *first,
        _ => Exit::Failure,
    }
}

/// What is one child's own.
#[derive(Debug)]
struct Charge {
    device: String,
    name: String,
    /// 0 where the system chooses.
    store_port: u16,
}

impl Charge {
    /// The `index`-th child of the supervisor `name`.
    fn new(index: usize, device: Device, name: &str, store_port: u16) -> Self {
        let own = match device {
            Device::Cuda(gpu) => format!("cuda{gpu}"),
            // Stand-ins are all of one device.
            _ => format!("cpu{index}"),
        };
        Self {
            device: device::name(device),
            name: format!("{name}-{own}"),
            store_port,
        }
    }

    /// The child's arguments: the supervisor's, with what is its own replaced.
    fn arguments(&self, supervisors: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
        const REPLACED: [&str; 4] = ["--device", "--name", "--store-port", "--store_port"];
        let replaced = |argument: &OsStr| {
            let text = argument.to_str()?;
            let (flag, has_value) = match text.split_once('=') {
                Some((flag, _)) => (flag, true),
                None => (text, false),
            };
            REPLACED.contains(&flag).then_some(has_value)
        };
        let mut arguments = Vec::new();
        let mut supervisors = supervisors.into_iter();
        while let Some(argument) = supervisors.next() {
            match replaced(&argument) {
                None => arguments.push(argument),
                Some(true) => {}
                Some(false) => {
                    supervisors.next();
                }
            }
        }
        arguments.extend(["--device", &self.device, "--name", &self.name].map(OsString::from));
        if self.store_port != 0 {
            arguments.extend(["--store-port".into(), self.store_port.to_string().into()]);
        }
        arguments.push("--supervised".into());
        arguments
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No update below can leave the value half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that is waited for here and can be killed from elsewhere.
#[derive(Clone)]
struct Running(Arc<Mutex<Child>>);

impl Running {
    /// How it ends. Locked only while it looks, so that others reach the child.
    async fn ended(&self) -> io::Result<ExitStatus> {
        poll_fn(|context| {
            let mut child = lock(&self.0);
            let waiting = pin!(child.wait());
            waiting.poll(context)
        })
        .await
    }

    fn terminate(&self) {
        let pid = lock(&self.0)
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// The children that run.
#[derive(Clone, Default)]
struct Children(Arc<Mutex<Vec<Weak<Mutex<Child>>>>>);

impl Children {
    fn add(&self, child: Child) -> Running {
        let child = Arc::new(Mutex::new(child));
        let mut all = lock(&self.0);
        all.retain(|child| child.strong_count() > 0);
        all.push(Arc::downgrade(&child));
        Running(child)
    }

    fn kill(&self) {
        for child in lock(&self.0).iter().filter_map(Weak::upgrade) {
            // It may have ended by itself meanwhile.
            let _ = lock(&child).start_kill();
        }
    }
}

/// Runs one worker on each of `devices`, with the store port at its place, until
/// all are done, or shutdown is asked for and all have drained.
///
/// # Errors
/// With the code on which all workers agree, when one has failed.
pub(crate) async fn run(
    devices: &[Device],
    ports: &[u16],
    name: &str,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let program = std::env::current_exe().context("finding this program's own file")?;
    let children = Children::default();
    let insisted = children.clone();
    cli::shutdown::before_leaving_at_once(move || insisted.kill());
    let mut workers = JoinSet::new();
    for (index, (device, port)) in devices.iter().zip(ports).enumerate() {
        let charge = Charge::new(index, *device, name, *port);
        let (program, children) = (program.clone(), children.clone());
        let shutdown = shutdown.clone();
        workers.spawn(async move { supervise(&program, &charge, &children, shutdown).await });
    }
    let mut exits = Vec::new();
    let mut failed = None;
    while let Some(ended) = workers.join_next().await {
        match ended? {
            Ok(()) => exits.push(Exit::Success),
            Err(failure) => {
                tracing::error!("{:#}", failure.error());
                exits.push(failure.exit());
                failed = Some(failure);
            }
        }
    }
    match failed {
        None => Ok(()),
        Some(failure) => {
            let last = format!("{:#}", failure.error());
            Err(Failure::new(overall(&exits), anyhow::anyhow!(last)))
        }
    }
}

async fn supervise(
    program: &Path,
    charge: &Charge,
    children: &Children,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let name = &charge.name;
    loop {
        // A group of its own, or the terminal's Ctrl-C would reach the child
        // beside this supervisor's word and count as the second one.
        let mut child = Command::new(program)
            .args(charge.arguments(std::env::args_os().skip(1)))
            .process_group(0)
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting worker {name}"))?;
        // Waiting for the child would close its input, which tells it to leave.
        let _supervising = child.stdin.take();
        let child = children.add(child);
        let status = tokio::select! {
            status = child.ended() => status?,
            () = shutdown.cancelled() => {
                child.terminate();
                child.ended().await?
            }
        };
        match next(status) {
            Next::Done => return Ok(()),
            Next::Failed(exit) => {
                let ended = anyhow::anyhow!("worker {name} ended with {status}");
                return Err(Failure::new(exit, ended));
            }
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
        assert_eq!(next(exit(1)), Next::Failed(Exit::Failure));
        assert_eq!(next(exit(2)), Next::Failed(Exit::Refused));
        assert_eq!(next(exit(3)), Next::Failed(Exit::Diverged));
        assert_eq!(next(ExitStatus::from_raw(9)), Next::Restart);
    }

    #[test]
    fn workers_that_agree_give_their_code_and_others_the_plain_one() {
        for exit in Exit::ALL {
            assert_eq!(overall(&[exit]), exit);
            assert_eq!(overall(&[exit; 3]), exit);
        }
        assert_eq!(overall(&[]), Exit::Success);
        for mixed in [
            [Exit::Refused, Exit::Diverged],
            [Exit::Diverged, Exit::Failure],
            // Some of them were not refused: the same command may do well.
            [Exit::Success, Exit::Refused],
        ] {
            assert_eq!(overall(&mixed), Exit::Failure, "{mixed:?}");
        }
    }

    #[test]
    fn each_child_gets_its_own_device_name_and_port() {
        let supervisors = [
            "--coordinator",
            "box:50051",
            "--device",
            "cuda:all",
            "--name=box",
            "--store_port",
            "7000",
            "--threads",
            "2",
        ]
        .map(OsString::from);
        let own = |charge: Charge| charge.arguments(supervisors.clone());
        let common = ["--coordinator", "box:50051", "--threads", "2"];
        let second = ["--device", "cuda:1", "--name", "box-cuda1"];
        assert_eq!(
            own(Charge::new(1, Device::Cuda(1), "box", 7001)),
            [
                &common[..],
                &second,
                &["--store-port", "7001", "--supervised"]
            ]
            .concat()
        );
        assert_eq!(
            own(Charge::new(1, Device::Cuda(1), "box", 0)),
            [&common[..], &second, &["--supervised"]].concat()
        );
        let stand_ins = [0, 1].map(|index| Charge::new(index, Device::Cpu, "box", 0));
        assert_ne!(stand_ins[0].name, stand_ins[1].name);
    }

    #[tokio::test]
    async fn a_child_that_is_waited_for_can_be_killed() {
        let children = Children::default();
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let running = children.add(child);
        let waiting = tokio::spawn({
            let running = running.clone();
            async move { running.ended().await }
        });
        tokio::task::yield_now().await;
        children.kill();
        let status = waiting.await.unwrap().unwrap();
        assert_eq!(status.signal(), Some(9));
        // Nobody else is hit by its number.
        children.kill();
        running.terminate();
    }
}

//! One running program: its process group, its log, its end.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{Error, wait_until};

/// How many lines of a log an error carries.
const LOG_TAIL: usize = 25;

/// A program that was started here, in a process group of its own.
///
/// Dropping it kills the whole group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    log: PathBuf,
    output: PathBuf,
}

impl Process {
    /// Starts `command` without standard input. Its standard error goes to
    /// `<name>.log` in `folder` and its standard output to `<name>.out`; a
    /// program that is started again under its name appends.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Process`].
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self, Error> {
        let log = folder.join(format!("{name}.log"));
        let output = folder.join(format!("{name}.out"));
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&output)?)
            .stderr(append(&log)?)
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Process {
                action: "starting",
                name: name.to_owned(),
                source,
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            ended: None,
            log,
            output,
        })
    }

    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|source| Error::Process {
                action: "looking at",
                name: self.name.clone(),
                source,
            })?;
        }
        Ok(self.ended)
    }

    /// Fails if it ended, however that was.
    ///
    /// # Errors
    /// [`Error::Ended`] with its log's last lines.
    pub fn expect_running(&mut self) -> Result<(), Error> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(self.end_error(status)),
        }
    }

    /// Fails if it ended with an exit code other than 0.
    ///
    /// # Errors
    /// [`Error::Ended`] with its log's last lines.
    pub fn expect_no_failure(&mut self) -> Result<(), Error> {
        match self.ended()? {
            Some(status) if !status.success() => Err(self.end_error(status)),
            _ => Ok(()),
        }
    }

    fn end_error(&self, status: ExitStatus) -> Error {
        Error::Ended {
            name: self.name.clone(),
            status,
            log: self.log_tail(),
        }
    }

    /// Sends it a signal; nothing happens when it has ended.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        kill_process(self.pid(), signal).map_err(|errno| Error::Process {
            action: "signalling",
            name: self.name.clone(),
            source: errno.into(),
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Error::TimedOut`] after `limit`, with its log's last lines.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus, Error> {
        let what = format!("{} (process {}) to end", self.name, self.id());
        wait_until(what, limit, || self.ended()).map_err(|error| error.with_log(self.log_tail()))
    }

    /// Asks it to end (SIGTERM) and waits; kills its group if it has not ended
    /// by `limit`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when it had to be killed.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus, Error> {
        self.signal(Signal::TERM)?;
        let end = self.wait(limit);
        if end.is_err() {
            self.kill();
        }
        end
    }

    /// Kills it and all that it started, and waits until it is gone.
    pub fn kill(&mut self) {
        if matches!(self.ended(), Ok(Some(_))) {
            return;
        }
        // Both fail only when there is nobody left to kill or to wait for.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        self.ended = self.child.wait().ok();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Everything it has logged, over all its lives.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its log, under its name.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(LOG_TAIL);
        let mut tail = format!("--- {} ({})", self.name, self.log.display());
        for line in &lines[from..] {
            tail.push('\n');
            tail.push_str(line);
        }
        tail
    }

    /// Everything it has printed, over all its lives.
    #[must_use]
    pub fn output_text(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn append(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str, folder: &Path) -> Process {
        Process::start("shell", Command::new("sh").args(["-c", script]), folder).unwrap()
    }

    fn exists(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        // A zombie has ended; its parent has not asked yet.
        matches!(state, Some(state) if state != 'Z')
    }

    #[test]
    fn log_and_output_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo said; echo logged >&2; exit 3", folder.path());
        assert_eq!(process.wait(LIMIT).unwrap().code(), Some(3));
        assert_eq!(process.output_text(), "said\n");
        let error = process.expect_no_failure().unwrap_err().to_string();
        assert!(
            error.contains("shell ended with") && error.contains("logged"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_ends_on_sigterm_is_stopped_in_good_order() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done";
        let mut process = shell(script, folder.path());
        wait_until("the trap", LIMIT, || {
            Ok((!process.output_text().is_empty()).then_some(()))
        })
        .unwrap();
        assert_eq!(process.stop(LIMIT).unwrap().code(), Some(0));
    }

    #[test]
    fn a_program_that_ignores_sigterm_is_killed_and_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
        let mut process = shell(script, folder.path());
        wait_until("the trap", LIMIT, || {
            Ok((!process.output_text().is_empty()).then_some(()))
        })
        .unwrap();
        let stopped = process.stop(Duration::from_millis(50));
        assert!(matches!(stopped, Err(Error::TimedOut { .. })));
        assert!(!exists(process.id()));
    }

    #[test]
    fn what_it_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell("sleep 100 & echo $!; wait", folder.path());
        let grandchild: u32 = wait_until("the grandchild", LIMIT, || {
            Ok(process.output_text().trim().parse().ok())
        })
        .unwrap();
        let child = process.id();
        drop(process);
        wait_until("both to be gone", LIMIT, || {
            Ok((!exists(child) && !exists(grandchild)).then_some(()))
        })
        .unwrap();
    }
}

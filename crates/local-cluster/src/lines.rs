//! A program's output, line by line, as it comes.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::Error;

/// A line, and when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// By this process's clock, whenever it is looked at.
    pub at: Instant,
    /// Without its end.
    pub text: String,
}

/// A program whose standard output is read as it comes, on a thread of its own.
///
/// Dropping it kills the program and all that it started.
#[derive(Debug)]
pub struct Lines {
    child: Child,
    lines: Receiver<Line>,
    reader: Option<JoinHandle<()>>,
}

/// What there is to read just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A line.
    Line(Line),
    /// Nothing yet.
    NotYet,
    /// The program has ended, or closed its output.
    Ended,
}

impl Lines {
    /// Starts `command`, whose standard error goes where the command says.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn of(name: &str, command: &mut Command) -> Result<Self, Error> {
        let failed = |source| Error::Process {
            action: "starting",
            name: name.to_owned(),
            source,
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (sender, lines) = channel();
        let output = child.stdout.take();
        let reader = thread::spawn(move || {
            let output = output.map(BufReader::new);
            for text in output
                .into_iter()
                .flat_map(|o| o.lines().map_while(Result::ok))
            {
                let at = Instant::now();
                if sender.send(Line { at, text }).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            lines,
            reader: Some(reader),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line, without waiting for it.
    pub fn next_line(&mut self) -> Next {
        match self.lines.try_recv() {
            Ok(line) => Next::Line(line),
            Err(TryRecvError::Empty) => Next::NotYet,
            Err(TryRecvError::Disconnected) => Next::Ended,
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // Fails only when nobody is left.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wait_until;

    fn next(lines: &mut Lines) -> Option<String> {
        wait_until("a line", Duration::from_secs(10), || {
            Ok(match lines.next_line() {
                Next::Line(line) => Some(Some(line.text)),
                Next::Ended => Some(None),
                Next::NotYet => None,
            })
        })
        .unwrap()
    }

    #[test]
    fn lines_come_while_the_program_runs_and_then_its_end() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo one; echo two; read never < /dev/zero; echo three",
        ]);
        let mut lines = Lines::of("shell", &mut command).unwrap();
        assert_eq!(next(&mut lines).as_deref(), Some("one"));
        assert_eq!(next(&mut lines).as_deref(), Some("two"));
        let group = Pid::from_child(&lines.child);
        kill_process_group(group, Signal::KILL).unwrap();
        assert_eq!(next(&mut lines), None);
    }
}

//! The exit codes of every binary: a contract with supervisors and scripts.

/// How a process ended, as its parent sees it.
///
/// A panic, which is always a defect, leaves with Rust's own 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// The work is done, or was ended in good order by a first SIGINT or SIGTERM.
    Success = 0,
    /// Something failed that none of the other codes describes.
    Failure = 1,
    /// The command line, the environment or a file it names was refused before
    /// any work started. The same command will be refused again.
    Refused = 2,
    /// The training itself went wrong (gradients stayed non-finite). Starting
    /// again from the same state would go wrong in the same way.
    Diverged = 3,
    /// Another process or a service could not be reached for longer than this
    /// process was told to wait. The same command may work later.
    Unreachable = 4,
    /// The process is in a state that only a fresh one can leave, such as a
    /// collective that cannot be aborted. A supervisor should start it again
    /// at once. (The value is `EX_TEMPFAIL` of sysexits.h.)
    Restart = 75,
    /// A second signal asked to leave without waiting for anything; or a first one
    /// ended a command before it had the answer or the file that it was asked for,
    /// which a script must not take for success. (128 + SIGINT, as shells count.)
    Interrupted = 130,
}

impl Exit {
    /// All codes, in rising order.
    pub const ALL: [Self; 7] = [
        Self::Success,
        Self::Failure,
        Self::Refused,
        Self::Diverged,
        Self::Unreachable,
        Self::Restart,
        Self::Interrupted,
    ];

    /// The number that the parent process sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The meaning of a number that a child process left with, if it is one of
    /// ours.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|exit| i32::from(exit.code()) == code)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_documented_contract() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 4, 75, 130]);
    }

    #[test]
    fn every_code_is_recognised_and_others_are_not() {
        for exit in Exit::ALL {
            assert_eq!(Exit::from_code(i32::from(exit.code())), Some(exit));
        }
        for foreign in [-1, 5, 101, 137, 256 + 75] {
            assert_eq!(Exit::from_code(foreign), None);
        }
    }
}

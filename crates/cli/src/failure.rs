//! How a binary's work fails: an error for people and an exit code for programs.

use std::fmt::{self, Display, Write as _};

use crate::Exit;

/// Input that was refused before any work started: a flag, a file, a folder.
///
/// Wherever it stands in an error's chain, the process leaves with
/// [`Exit::Refused`]. Its message names the flag or the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Refused(anyhow::Error);

impl Refused {
    /// Refuses with a message of its own.
    pub fn new(message: impl Display) -> Self {
        Self(anyhow::Error::msg(message.to_string()))
    }

    /// Refuses because of an error that says it all, whose causes are kept.
    pub fn because(error: impl Into<anyhow::Error>) -> Self {
        Self(error.into())
    }
}

/// Why a binary's work ended early, and the code to leave with.
///
/// `?` turns every error into one: [`Exit::Refused`] if a [`Refused`] is
/// anywhere in its chain, [`Exit::Failure`] otherwise. [`OrExit`] gives another
/// code.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// An error that ends the process with `exit`.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
        }
    }

    /// The code to leave with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> &anyhow::Error {
        &self.error
    }

    /// The same, as it follows from what is said here.
    #[must_use]
    pub fn context(self, context: impl Display + Send + Sync + 'static) -> Self {
        Self {
            exit: self.exit,
            error: self.error.context(context),
        }
    }
}

// `Failure` is no `std::error::Error` itself, which is what makes this
// conversion from every error possible.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let refused = error.chain().any(|cause| cause.is::<Refused>());
        let exit = if refused {
            Exit::Refused
        } else {
            Exit::Failure
        };
        Self { exit, error }
    }
}

/// Shows the whole chain of causes as one block, without a final newline:
///
/// ```text
/// error: cannot write the checkpoint
///   caused by: /data/7: no space left on device
/// ```
///
/// Lines of a message after its first are indented below it. A cause whose text
/// the message above it already ends with is left out.
impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut block = String::new();
        let mut shown_last = String::new();
        for cause in self.error.chain() {
            let text = cause.to_string();
            let label = if block.is_empty() {
                "error: "
            } else if shown_last.ends_with(&text) {
                continue;
            } else {
                "\n  caused by: "
            };
            write!(block, "{label}{}", text.trim_end().replace('\n', "\n    "))?;
            shown_last = text;
        }
        f.write_str(&block)
    }
}

/// Chooses the exit code of an error on its way out.
pub trait OrExit<T> {
    /// Ends the process with `exit` if this is an error.
    ///
    /// # Errors
    /// The same error, with its code.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(exit, error))
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read /x: {source}")]
    struct RepeatsItsCause {
        source: std::io::Error,
    }

    fn refuse() -> Result<(), Refused> {
        Err(Refused::new("--bs 0: give at least 1"))
    }

    #[test]
    fn a_refusal_anywhere_in_the_chain_leaves_with_2() {
        let failure = Failure::from(refuse().unwrap_err());
        assert_eq!(failure.exit(), Exit::Refused);

        let deeper: anyhow::Result<()> = refuse().context("reading the flags");
        assert_eq!(failure_of(deeper).exit(), Exit::Refused);

        let twice: anyhow::Result<()> = refuse().context("one").context("two");
        assert_eq!(failure_of(twice).exit(), Exit::Refused);
    }

    #[test]
    fn other_errors_leave_with_1_unless_told_otherwise() {
        let plain = failure_of::<()>(Err(anyhow::anyhow!("broken")));
        assert_eq!(plain.exit(), Exit::Failure);

        let told = Err::<(), _>(std::io::Error::other("no answer")).or_exit(Exit::Unreachable);
        assert_eq!(told.unwrap_err().exit(), Exit::Unreachable);
    }

    #[test]
    fn the_block_shows_every_cause_once() {
        let source = std::io::Error::other("no such device");
        let failure = failure_of(
            Err::<(), _>(RepeatsItsCause { source }).context("cannot start\nsee the README"),
        );
        assert_eq!(
            failure.to_string(),
            "error: cannot start\n    see the README\n  caused by: cannot read /x: no such device"
        );
    }

    #[test]
    fn a_refusal_keeps_the_causes_of_its_error() {
        let source = std::io::Error::other("permission denied");
        let error = anyhow::Error::from(source).context("cannot open config.json");
        let failure = Failure::from(Refused::because(error));
        assert_eq!(
            failure.to_string(),
            "error: cannot open config.json\n  caused by: permission denied"
        );
    }

    fn failure_of<T>(result: anyhow::Result<T>) -> Failure {
        match result {
            Ok(_) => panic!("expected an error"),
            Err(error) => Failure::from(error),
        }
    }
}

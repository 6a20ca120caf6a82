//! Where an encrypted keyfile's password comes from.

use std::env;
use std::io::{self, IsTerminal as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::Warning;
use crate::file::{self, Unread};

/// The most bytes that a password's file may have.
pub const MAX_FILE_BYTES: usize = 4 << 10;

/// Where the password comes from, if the keyfile turns out to need one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// It is asked for at the terminal, without being shown.
    Prompt,
    /// It is the first line of a file, which may be a pipe.
    File(PathBuf),
    /// It is the value of the environment variable of this name. It stays in the
    /// process's environment, where the operating system shows it to the same user,
    /// and which other programs inherit unless they are started without it.
    Env(String),
    /// There is none, so encrypted keyfiles are refused.
    None,
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// None was provided for.
    #[error("no password is given: let it be asked for, or name a file or an environment variable")]
    NotGiven,
    /// Nobody can be asked.
    #[error(
        "there is no terminal to ask for the password at: name a file or an environment variable \
         that holds it"
    )]
    NoTerminal,
    /// The terminal failed, or the question was cancelled.
    #[error("the password could not be read from the terminal: {0}")]
    Terminal(io::Error),
    /// The file cannot be read.
    #[error("its password's file {} cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is a folder, or too large.
    #[error(
        "its password's file {} is a folder or has more than {MAX_FILE_BYTES} bytes: the password \
         alone belongs in its first line",
        path.display()
    )]
    NotAPasswordFile {
        /// The file.
        path: PathBuf,
    },
    /// The file's first line is empty.
    #[error("its password's file {} begins with an empty line: the password belongs there", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The environment variable is not set, or to nothing.
    #[error("the environment variable {0}, which should hold its password, is not set or is empty")]
    Unset(String),
    /// Nothing was typed.
    #[error("the password that was typed is empty")]
    NothingTyped,
}

/// A password and what is questionable about where it was.
pub(crate) struct Given {
    pub(crate) password: Zeroizing<Vec<u8>>,
    pub(crate) warnings: Vec<Warning>,
}

/// The password in a file: its first line, without the line's end. Spaces belong to
/// it. `None` if the line is empty.
#[must_use]
pub fn first_line(contents: &[u8]) -> Option<&[u8]> {
    let end = contents.iter().position(|&byte| byte == b'\n');
    let line = &contents[..end.unwrap_or(contents.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (!line.is_empty()).then_some(line)
}

impl Password {
    /// Gets the password of the keyfile at `keyfile`.
    pub(crate) fn get(&self, keyfile: &Path) -> Result<Given, PasswordError> {
        match self {
            Self::Prompt => ask(keyfile).map(Given::from),
            Self::File(path) => in_file(path),
            Self::Env(name) => {
                let value = env::var_os(name).unwrap_or_default();
                let value = Zeroizing::new(value.into_vec());
                if value.is_empty() {
                    return Err(PasswordError::Unset(name.clone()));
                }
                Ok(Given::from(value))
            }
            Self::None => Err(PasswordError::NotGiven),
        }
    }
}

fn ask(keyfile: &Path) -> Result<Zeroizing<Vec<u8>>, PasswordError> {
    // A daemon may have a controlling terminal and nobody at it; its standard input
    // tells.
    if !io::stdin().is_terminal() {
        return Err(PasswordError::NoTerminal);
    }
    let question = format!("Password of {}: ", keyfile.display());
    let typed = rpassword::prompt_password(question).map_err(PasswordError::Terminal)?;
    let typed = Zeroizing::new(typed.into_bytes());
    if typed.is_empty() {
        return Err(PasswordError::NothingTyped);
    }
    Ok(typed)
}

fn in_file(path: &Path) -> Result<Given, PasswordError> {
    let named = || path.to_owned();
    let file = file::read_any(path, MAX_FILE_BYTES).map_err(|unread| match unread {
        Unread::Io(source) => PasswordError::Io {
            path: named(),
            source,
        },
        Unread::NotAFile | Unread::TooLarge => PasswordError::NotAPasswordFile { path: named() },
    })?;
    match first_line(&file.contents) {
        Some(line) => Ok(Given {
            password: Zeroizing::new(line.to_vec()),
            warnings: file.warnings,
        }),
        None => Err(PasswordError::EmptyFile { path: named() }),
    }
}

impl From<Zeroizing<Vec<u8>>> for Given {
    fn from(password: Zeroizing<Vec<u8>>) -> Self {
        Self {
            password,
            warnings: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line_with_its_spaces() {
        for contents in ["a b ", "a b \n", "a b \r\n", "a b \nmore\n"] {
            assert_eq!(first_line(contents.as_bytes()), Some(&b"a b "[..]));
        }
        for contents in ["", "\n", "\r\n", "\nsecond"] {
            assert_eq!(first_line(contents.as_bytes()), None, "{contents:?}");
        }
    }
}

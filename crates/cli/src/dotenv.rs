//! The `.env` file: settings, mostly secrets, that are no flags.

use std::cell::Cell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file that is read, in the current directory alone: a parent directory's
/// belongs to another project.
pub const FILE: &str = ".env";

/// Why a `.env` file was refused. No variant holds anything that the file says,
/// since that may be a secret.
#[derive(Debug, thiserror::Error)]
pub enum DotenvError {
    /// It is there and cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line is not an assignment.
    #[error(
        "{}, line {line}: not of the form NAME=value; quote a value that holds spaces or quotes, \
         and begin a comment with #",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line on which the assignment begins, counted from 1.
        line: usize,
    },
}

/// Sets the environment variables that `directory`'s `.env` file assigns, and
/// returns their names. What the environment already has stays as it is. Without
/// such a file nothing happens. If any line is malformed, nothing is set.
///
/// This changes the process's environment: call it before there are threads.
///
/// # Errors
/// If the file cannot be read or a line of it cannot be understood.
pub fn load(directory: &Path) -> Result<Vec<String>, DotenvError> {
    let path = directory.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(DotenvError::Unreadable { path, source }),
    };
    let text = normalized(&text);
    let names = match parse(&text) {
        Ok(names) => names,
        Err(line) => return Err(DotenvError::Malformed { path, line }),
    };
    match dotenvy::from_read(text.as_bytes()) {
        Ok(()) => Ok(names),
        // It understood the same text a moment ago. Its error may hold a value.
        Err(_) => Err(DotenvError::Unreadable {
            path,
            source: io::Error::other("its variables cannot be set"),
        }),
    }
}

/// Without a byte order mark, and with a final newline: dotenvy takes white
/// space at the very end of a file for an unfinished line.
fn normalized(text: &str) -> String {
    format!("{}\n", text.trim_start_matches('\u{feff}'))
}

/// The names that are assigned to, in order, or the number of the line on which
/// the first malformed assignment begins.
fn parse(text: &str) -> Result<Vec<String>, usize> {
    let lines_read = Cell::new(0);
    let reader = LineByLine {
        rest: text.as_bytes(),
        lines_read: &lines_read,
    };
    let mut assignments = dotenvy::from_read_iter(reader);
    let mut names = Vec::new();
    loop {
        let lines_understood = lines_read.get();
        match assignments.next() {
            None => return Ok(names),
            // The operating system cannot hold a value with a NUL in it.
            Some(Ok((name, value))) if !value.contains('\0') => names.push(name),
            Some(_) => return Err(first_assignment_after(lines_understood, text)),
        }
    }
}

/// The number, from 1, of the first line after `skipped` ones that is neither
/// blank nor a comment.
fn first_assignment_after(skipped: usize, text: &str) -> usize {
    let is_assignment = |line: &str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let further = text.lines().skip(skipped).position(is_assignment);
    skipped + 1 + further.unwrap_or(0)
}

/// Hands out no more than one line at a time and counts them: dotenvy's errors
/// say what a line holds, and not which one it is.
struct LineByLine<'a> {
    rest: &'a [u8],
    lines_read: &'a Cell<usize>,
}

impl io::Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let newline = self.rest.iter().position(|&byte| byte == b'\n');
        let line = newline.map_or(self.rest.len(), |at| at + 1);
        let given = line.min(buffer.len());
        let (given_now, rest) = self.rest.split_at(given);
        buffer[..given].copy_from_slice(given_now);
        self.rest = rest;
        if given_now.ends_with(b"\n") {
            self.lines_read.set(self.lines_read.get() + 1);
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory_with(content: &[u8]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), content).unwrap();
        directory
    }

    #[test]
    fn assignments_reach_the_environment() {
        let text =
            b"# tokens\nexport CLI_TEST_A=\"two words\"\n\nCLI_TEST_B='x' # note\nCLI_TEST_C=7 ";
        let directory = directory_with(text);
        let names = load(directory.path()).unwrap();
        assert_eq!(names, ["CLI_TEST_A", "CLI_TEST_B", "CLI_TEST_C"]);
        for (name, value) in [
            ("CLI_TEST_A", "two words"),
            ("CLI_TEST_B", "x"),
            ("CLI_TEST_C", "7"),
        ] {
            assert_eq!(std::env::var(name).as_deref(), Ok(value), "{name}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        // PATH is set in every environment that can run this test.
        let before = std::env::var_os("PATH");
        let directory = directory_with(b"PATH=/nowhere\n");
        load(directory.path()).unwrap();
        assert_eq!(std::env::var_os("PATH"), before);
    }

    #[test]
    fn no_file_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(load(directory.path()).unwrap().is_empty());
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let directory = directory_with("\u{feff}CLI_TEST_BOM=1\r\n".as_bytes());
        assert_eq!(load(directory.path()).unwrap(), ["CLI_TEST_BOM"]);
    }

    #[test]
    fn a_malformed_line_is_named_by_number_and_its_text_kept_secret() {
        for (text, line) in [
            ("CLI_TEST_BAD_1=1\nhf_secret_value\n", 2),
            ("\n\n  hf_secret_value here # why\n", 3),
            ("A=1\nTOKEN=hf_secret_value and more\n", 2),
            ("A=1\n# note\nTOKEN='hf_secret_value\nB=2\n", 3),
            ("TOKEN hf_secret_value=\n", 1),
            ("A=1\n1TOKEN=hf_secret_value\n", 2),
            ("A=1\nTOKEN=hf_secret_value\0\n", 2),
            ("A='1\n2'\n\nTOKEN=\"hf_secret_value\nmore\n", 4),
        ] {
            let directory = directory_with(text.as_bytes());
            let error = load(directory.path()).unwrap_err();
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.contains("hf_secret"), "{shown}");
            }
            let message = error.to_string();
            assert!(message.contains(".env"), "{message}");
            assert!(
                message.contains(&format!("line {line}:")),
                "{text:?}: {message}"
            );
        }
        let nothing_was_set = std::env::var_os("CLI_TEST_BAD_1").is_none();
        assert!(nothing_was_set, "a refused file changed the environment");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused_not_ignored() {
        let directory = directory_with(b"TOKEN=\xff\xfe\n");
        let error = load(directory.path()).unwrap_err();
        assert!(matches!(error, DotenvError::Unreadable { .. }), "{error:?}");
    }
}

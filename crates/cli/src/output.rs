//! What a command prints on standard output, for as long as somebody reads it.

use std::io::{self, BufWriter, Write};

/// Whether a command's output still has a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Everything was taken.
    Reads,
    /// It closed the pipe, as `| head` does when it has seen enough. Nothing
    /// failed; there is no use in printing more.
    Gone,
}

/// Prints what `write` writes, and flushes it. (`println!` would panic where the
/// reader has closed the pipe, for Rust's programs ignore SIGPIPE.)
///
/// # Errors
/// If standard output cannot be written for another reason, such as a full disk.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Reader> {
    print_to(io::stdout().lock(), write).map_err(|error| {
        let problem = format!("standard output cannot be written: {error}");
        io::Error::new(error.kind(), problem)
    })
}

fn print_to(
    out: impl Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Reader> {
    // Not line by line: of a run there may be many.
    let mut out = BufWriter::new(out);
    match write(&mut out).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing.
    struct Closed(io::ErrorKind);

    impl Write for Closed {
        fn write(&mut self, _buffer: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_written_has_arrived_when_it_returns() {
        let mut taken = Vec::new();
        let printed = print_to(&mut taken, |out| writeln!(out, "3 steps"));
        assert_eq!(printed.unwrap(), Reader::Reads);
        assert_eq!(taken, b"3 steps\n");
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure_and_a_full_disk_is() {
        let long = "x".repeat(1 << 20);
        // As a line that fits the buffer, and as one that does not.
        for text in ["short", &long] {
            let into = |kind| print_to(Closed(kind), |out| writeln!(out, "{text}"));
            assert_eq!(into(io::ErrorKind::BrokenPipe).unwrap(), Reader::Gone);
            let full = into(io::ErrorKind::StorageFull).unwrap_err();
            assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        }
    }
}

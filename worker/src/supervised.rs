//! Leaving with the supervisor.
//!
//! A supervisor that is killed tells nobody. What tells is the pipe that is the
//! child's standard input: the other end is the supervisor's alone, so it closes
//! with it, however that ends.
//!
//! The child then leaves at once and does not drain. Whoever starts the
//! supervisor again starts another worker on the same GPU, and for as long as a
//! drain takes the two would share its memory and, in the cluster, its name. The
//! others treat it as any worker that is lost.

use std::io::{self, Read};
use std::thread;

use cli::Exit;

/// Ends this process when its standard input ends.
///
/// # Errors
/// If no thread can be started.
pub(crate) fn leave_with_supervisor() -> io::Result<()> {
    // Not a task: the runtime would wait for its read when the work is done.
    thread::Builder::new()
        .name("supervised".into())
        .spawn(watch)
        .map(drop)
}

fn watch() {
    wait_for_end(io::stdin().lock());
    tracing::error!("the supervisor of this worker is gone; leaving at once");
    // Without exit handlers, which a device that hangs would hold up.
    c10d::exit_now(Exit::Interrupted.code().into());
}

fn wait_for_end(mut pipe: impl Read) {
    let mut ignored = [0; 64];
    loop {
        match pipe.read(&mut ignored) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // As good as closed: nobody will ever be heard through it.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_the_end_of_the_pipe_counts() {
        let (reader, mut writer) = io::pipe().unwrap();
        let waiting = thread::spawn(move || wait_for_end(reader));
        // More than one read takes.
        writer.write_all(&[0; 1000]).unwrap();
        assert!(!waiting.is_finished());
        drop(writer);
        waiting.join().unwrap();
    }
}

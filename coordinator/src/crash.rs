//! Places at which a test can kill this process, to see that a checkpoint on
//! its way in is whole or absent.
//!
//! `PEREGRINE_CRASH_POINT=during-upload` kills the process by SIGKILL when it
//! passes that [`Point`]; `during-upload:2` when it passes it for the second
//! time. A build without debug assertions has no such places.

/// A place in the course of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Bytes of a file are there, and more are to come.
    DuringUpload,
    /// Every file is there, and none is in its place.
    BeforePlacing,
    /// The folder is in its place, without a record.
    AfterPlacing,
    /// The record is durable, and nobody knows.
    AfterRecord,
}

impl Point {
    /// The name that the environment variable takes.
    #[cfg(debug_assertions)]
    fn name(self) -> &'static str {
        match self {
            Point::DuringUpload => "during-upload",
            Point::BeforePlacing => "before-placing",
            Point::AfterPlacing => "after-placing",
            Point::AfterRecord => "after-record",
        }
    }
}

/// Kills this process if a test wants it to die here.
#[cfg(debug_assertions)]
pub(crate) fn point(point: Point) {
    use std::sync::atomic::{AtomicU32, Ordering};

    static PASSED: AtomicU32 = AtomicU32::new(0);

    let Ok(wanted) = std::env::var("PEREGRINE_CRASH_POINT") else {
        return;
    };
    let (name, nth) = match wanted.split_once(':') {
        Some((name, nth)) => (name, nth.parse().unwrap_or(1)),
        None => (&wanted[..], 1),
    };
    if name != point.name() || PASSED.fetch_add(1, Ordering::SeqCst) + 1 != nth {
        return;
    }
    // SIGKILL, which nothing can catch: no destructor runs, nothing is flushed.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal has been sent; this thread goes no further.
    loop {
        std::thread::park();
    }
}

/// Does nothing in this build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_: Point) {}

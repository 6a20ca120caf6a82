//! Ctrl-C: noticed between two looks at whatever goes on, so that every command
//! can end its children in good order. A second one leaves at once.

use std::io;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use local_cluster::Signal;

/// How long a child may take to end after an interrupt.
const GRACE: Duration = Duration::from_secs(20);

/// A second signal counts as one of its own only after so long: `timeout` and
/// terminals send the same one twice.
const ONE_SIGNAL: Duration = Duration::from_secs(1);

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The cause of everything that ends because of Ctrl-C.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Starts to notice SIGINT and SIGTERM.
pub(crate) fn listen() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        let mut first: Option<Instant> = None;
        for _ in signals.forever() {
            match first {
                None => {
                    first = Some(Instant::now());
                    REQUESTED.store(true, Ordering::SeqCst);
                }
                Some(first) if first.elapsed() >= ONE_SIGNAL => std::process::exit(130),
                Some(_) => {}
            }
        }
    });
    Ok(())
}

/// Whether an end was asked for.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Fails once an end was asked for.
pub(crate) fn check() -> Result<(), Interrupted> {
    if requested() {
        Err(Interrupted)
    } else {
        Ok(())
    }
}

/// Whether an error goes back to Ctrl-C.
pub(crate) fn is_cause_of(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<Interrupted>()
            || matches!(
                cause.downcast_ref(),
                Some(local_cluster::Error::Interrupted)
            )
    })
}

/// Waits for a child; passes an interrupt on to it. `look` is called several
/// times a second meanwhile.
pub(crate) fn wait(child: &mut Child, mut look: impl FnMut()) -> anyhow::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            check()?;
            return Ok(status);
        }
        if requested() {
            end(child)?;
            return Err(Interrupted.into());
        }
        look();
        thread::sleep(Duration::from_millis(50));
    }
}

/// Ends a child: politely, then not.
fn end(child: &mut Child) -> io::Result<()> {
    // At a terminal it has had the signal already; twice does no harm to the
    // programs that are waited for here (cargo, pip).
    let _ = kill_process(Pid::from_child(child), Signal::INT);
    let asked = Instant::now();
    while asked.elapsed() < GRACE {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait().map(drop)
}

//! Leaving in good order: one signal asks, a second one insists.

use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Exit;

type Act = Box<dyn FnOnce() + Send>;

/// What is left to do when a second signal comes.
static LAST_ACTS: Mutex<Vec<Act>> = Mutex::new(Vec::new());

/// Has `act` run before a second signal ends the process, which runs no
/// destructor. For what would outlive the process, such as its children; it must
/// not wait for anything.
pub fn before_leaving_at_once(act: impl FnOnce() + Send + 'static) {
    last_acts().push(Box::new(act));
}

fn last_acts() -> std::sync::MutexGuard<'static, Vec<Act>> {
    // A push leaves the list whole, whoever panics.
    LAST_ACTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches for SIGINT and SIGTERM. The first one cancels the token returned;
/// whoever holds a clone then finishes what must not be left half done. A second
/// one, of either kind, ends the process at once with [`Exit::Interrupted`], after
/// what [`before_leaving_at_once`] was told.
///
/// Must be called inside a tokio runtime.
///
/// # Errors
/// If the operating system refuses to deliver signals.
pub fn on_signals() -> io::Result<CancellationToken> {
    let mut signals = Signals {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
    };
    let shutdown = CancellationToken::new();
    let asked = shutdown.clone();
    tokio::spawn(async move {
        let name = signals.next().await;
        tracing::info!(signal = name, "stopping; a second signal leaves at once");
        asked.cancel();
        let name = signals.next().await;
        tracing::warn!(signal = name, "leaving at once");
        let acts = std::mem::take(&mut *last_acts());
        acts.into_iter().for_each(|act| act());
        std::process::exit(i32::from(Exit::Interrupted.code()));
    });
    Ok(shutdown)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

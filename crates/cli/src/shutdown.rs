//! Leaving in good order: one signal asks, a second one insists.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Exit;

/// Watches for SIGINT and SIGTERM. The first one cancels the token returned;
/// whoever holds a clone then finishes what must not be left half done. A second
/// one, of either kind, ends the process at once with [`Exit::Interrupted`].
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

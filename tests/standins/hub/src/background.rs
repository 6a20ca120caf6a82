//! The runtime that a Hub has for itself.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, EnterGuard, Runtime};

/// How long a file being hashed may keep a Hub from ending.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime that may be ended and dropped on another's thread.
pub(crate) struct Background(Option<Runtime>);

impl Background {
    pub(crate) fn start() -> io::Result<Background> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("standin-hub")
            .enable_all()
            .build()?;
        Ok(Background(Some(runtime)))
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(work);
        }
    }

    pub(crate) fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }

    /// Ends all work and waits until it has.
    pub(crate) async fn stop(mut self) {
        if let Some(runtime) = self.0.take() {
            // This waits for the runtime's threads, so not on one of the caller's.
            let (ended, end) = tokio::sync::oneshot::channel();
            std::thread::spawn(move || {
                runtime.shutdown_timeout(PATIENCE);
                // Nobody may be waiting any more.
                let _ = ended.send(());
            });
            let _ = end.await;
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

//! How calls that block reach a client that does not.

use std::future::Future;
use std::sync::mpsc;

use tokio::runtime::{Handle, Runtime, RuntimeFlavor};

use crate::store::StoreError;

/// A thread of its own for everything that is said to etcd.
///
/// So a call may block wherever it is made, and a lease is renewed in time
/// however busy the coordinator is.
pub(super) struct Io {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Io {
    pub(super) fn start() -> Result<Io, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("etcd")
            .enable_all()
            .build()
            .map_err(StoreError::thread)?;
        Ok(Io {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Where its tasks are spawned.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Blocks until a future has ended there.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // Nobody is left to tell when the caller panicked.
            let _ = answer.send(work.await);
        });
        let wait = || answered.recv();
        let received = match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            // Lets other tasks of this thread go on elsewhere.
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            _ => wait(),
        };
        received.unwrap_or_else(|_| {
            Err(StoreError::thread(std::io::Error::other(
                "a call to etcd was broken off",
            )))
        })
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The last clone may be dropped where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

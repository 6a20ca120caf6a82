//! Hashing and disk IO off the async threads.

use crate::HubError;

/// Runs `work` on a thread that may block.
pub(crate) async fn run<T, Work>(work: Work) -> Result<T, HubError>
where
    Work: FnOnce() -> Result<T, HubError> + Send + 'static,
    T: Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down and will not poll this again.
            Err(_) => std::future::pending().await,
        },
    }
}

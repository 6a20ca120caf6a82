//! Passing a signed transaction on to a node's pool.

use subxt::rpcs::client::RpcSubscription;
use subxt::rpcs::methods::legacy::TransactionStatus;
use subxt::rpcs::{Error as RpcError, UserError};

use crate::{ChainError, Hash, View};

/// What a node says about a transaction that it was given.
pub type PoolStatus = TransactionStatus<Hash>;

/// A node's refusal to take a transaction into its pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code}){}", detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default())]
pub struct PoolRefusal {
    /// The error's code: 1010 to 1021 for what the pool itself refuses.
    pub code: i32,
    /// What kind of refusal it is.
    pub message: String,
    /// What exactly is wrong, if the node says.
    pub detail: Option<String>,
}

/// Why a transaction is not, or may not be, in the node's pool.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The node has not taken it.
    #[error("the node refuses the transaction: {0}")]
    Refused(PoolRefusal),
    /// Nobody knows whether the node has taken it.
    #[error(transparent)]
    Unknown(ChainError),
}

/// What becomes of a transaction, as the node that took it sees it.
pub struct PoolWatch {
    subscription: RpcSubscription<PoolStatus>,
}

impl PoolWatch {
    /// The next thing that happens to it; `None` when the node will say no more,
    /// or can no longer be heard. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<PoolStatus> {
        self.subscription.next().await?.ok()
    }
}

impl View {
    /// Gives a signed transaction to the node that this view was read from.
    ///
    /// # Errors
    /// [`SubmitError::Refused`] if the node said no, and [`SubmitError::Unknown`]
    /// if its answer is not known; then it may have the transaction.
    pub async fn submit(&self, signed: &[u8]) -> Result<PoolWatch, SubmitError> {
        let answer = self.link.rpc.author_submit_and_watch_extrinsic(signed);
        match answer.await {
            Ok(subscription) => Ok(PoolWatch { subscription }),
            Err(RpcError::User(error)) if is_refusal(error.code) => {
                Err(SubmitError::Refused(PoolRefusal::from(error)))
            }
            Err(error) => {
                let doing = "submitting the transaction";
                Err(SubmitError::Unknown(self.link.fault(doing, error)))
            }
        }
    }
}

/// Whether an error's code means that the transaction went nowhere: the pool's own
/// codes, and those of a request that was not understood.
fn is_refusal(code: i32) -> bool {
    matches!(code, 1000..2000 | -32602..=-32600)
}

impl From<UserError> for PoolRefusal {
    fn from(error: UserError) -> Self {
        Self {
            code: error.code,
            message: error.message,
            // A JSON string mostly.
            detail: error
                .data
                .map(|data| data.get().trim_matches('"').to_owned()),
        }
    }
}

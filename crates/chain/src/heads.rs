//! Following the chain as it grows.

use subxt::config::{Header as _, substrate::SubstrateHeader};
use subxt::rpcs::client::RpcSubscription;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::{Chain, ChainError, Hash};

/// The numbers of the chain's finalized blocks, as they come. Blocks that are
/// finalized together may come as the last of them alone.
///
/// A subscription can die without a word: the node forgets it, or something between
/// drops what it sends. So after [`stall`](crate::ChainConfig::stall) without a
/// block the chain itself is asked, and if it has grown, the subscription is made
/// anew.
pub struct FinalizedHeads {
    chain: Chain,
    /// Never locked; what is in a mutex may be shared between threads, which subxt's
    /// subscription by itself may not.
    subscription: Mutex<Option<RpcSubscription<SubstrateHeader<Hash>>>>,
    last: Option<u64>,
}

impl FinalizedHeads {
    pub(crate) fn new(chain: Chain) -> FinalizedHeads {
        FinalizedHeads {
            chain,
            subscription: Mutex::new(None),
            last: None,
        }
    }

    /// The next finalized block's number: at first the last one there is, and then
    /// always a higher one. Dropping the future loses no block.
    ///
    /// # Errors
    /// When no endpoint can be reached, or a request fails. The next call tries
    /// again, at once: wait a little before it.
    pub async fn next(&mut self) -> Result<u64, ChainError> {
        let stall = self.chain.config().stall;
        let current = self.subscription.get_mut();
        loop {
            let subscription = match &mut *current {
                Some(subscription) => subscription,
                none => none.insert(subscribe(&self.chain).await?),
            };
            let number = match timeout(stall, subscription.next()).await {
                Ok(Some(Ok(header))) => header.number(),
                Ok(Some(Err(error))) => {
                    debug!("the subscription to finalized blocks failed: {error}");
                    *current = None;
                    continue;
                }
                Ok(None) => {
                    debug!("the subscription to finalized blocks ended");
                    *current = None;
                    continue;
                }
                Err(_silent) => {
                    *current = None;
                    let view = self.chain.finalized().await?;
                    let number = view.number();
                    if self.last.is_some_and(|last| number <= last) {
                        warn!(
                            "{}: nothing was finalized since block {number} for {stall:?}",
                            view.endpoint()
                        );
                        // It may be this node alone that stands still.
                        if self.chain.config().endpoints.len() > 1 {
                            view.link.give_up();
                        }
                        continue;
                    }
                    warn!(
                        "the subscription to finalized blocks was silent for {stall:?} while the \
                         chain grew to block {number}; subscribing anew"
                    );
                    number
                }
            };
            if self.last.is_none_or(|last| number > last) {
                self.last = Some(number);
                return Ok(number);
            }
        }
    }
}

async fn subscribe(chain: &Chain) -> Result<RpcSubscription<SubstrateHeader<Hash>>, ChainError> {
    let link = chain.link().await?;
    let subscription = link.rpc.chain_subscribe_finalized_heads().await;
    subscription.map_err(|error| link.fault("subscribing to finalized blocks", error))
}

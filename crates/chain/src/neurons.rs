//! Who takes part in a subnet, and who earns what.

use subnet::Account;
use subxt::dynamic;
use subxt::ext::scale_decode::DecodeAsType;
use subxt::utils::AccountId32;
use tracing::debug;

use crate::view::account_id;
use crate::{ChainError, View};

/// The pallet that keeps the subnets.
const PALLET: &str = "SubtensorModule";

/// What the largest share of incentive is stored as.
const WHOLE: f64 = u16::MAX as f64;

/// A place in a subnet, and who holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Neuron {
    /// The place.
    pub uid: u16,
    /// Who holds it.
    pub hotkey: Account,
    /// Its share of the miners' reward relative to the largest possible, from 0 to 1.
    pub incentive: f64,
}

/// All neurons of a subnet at one block.
#[derive(Clone, Debug, PartialEq)]
pub struct Metagraph {
    /// The block.
    pub block: u64,
    /// In the order of their uids.
    pub neurons: Vec<Neuron>,
}

impl Metagraph {
    /// The neurons by falling incentive; of equals the one with the lower uid first.
    #[must_use]
    pub fn by_incentive(&self) -> Vec<&Neuron> {
        let mut neurons: Vec<&Neuron> = self.neurons.iter().collect();
        neurons.sort_by(|a, b| b.incentive.total_cmp(&a.incentive).then(a.uid.cmp(&b.uid)));
        neurons
    }
}

/// What is needed of the runtime's own metagraph; its many other fields are skipped.
#[derive(DecodeAsType)]
#[decode_as_type(crate_path = "subxt::ext::scale_decode")]
struct RuntimeMetagraph {
    hotkeys: Vec<AccountId32>,
    incentives: Vec<u16>,
}

impl View {
    /// Whether there is such a subnet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn subnet_exists(&self, netuid: u16) -> Result<bool, ChainError> {
        let added: Option<bool> = self.value(PALLET, "NetworksAdded", (netuid,)).await?;
        Ok(added.unwrap_or(false))
    }

    /// The uid under which a hotkey is registered, if it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn registration(
        &self,
        netuid: u16,
        hotkey: &Account,
    ) -> Result<Option<u16>, ChainError> {
        self.value(PALLET, "Uids", (netuid, account_id(hotkey)))
            .await
    }

    /// The hotkey that holds a uid, if one does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn neuron(&self, netuid: u16, uid: u16) -> Result<Option<Account>, ChainError> {
        // For a uid that nobody has held the chain gives the account of 32 zeros, and
        // for one that a smaller subnet no longer has, its last holder.
        if uid >= self.neuron_count(netuid).await? {
            return Ok(None);
        }
        let hotkey: Option<AccountId32> = self.value(PALLET, "Keys", (netuid, uid)).await?;
        Ok(hotkey.map(|hotkey| Account::from(hotkey.0)))
    }

    /// Every neuron of a subnet.
    ///
    /// # Errors
    /// When it cannot be read, or there is no such subnet.
    pub async fn metagraph(&self, netuid: u16) -> Result<Metagraph, ChainError> {
        if !self.subnet_exists(netuid).await? {
            return Err(ChainError::NoSubnet(netuid));
        }
        let metagraph = match self.runtime_metagraph(netuid).await {
            Some(metagraph) => metagraph,
            None => self.stored_metagraph(netuid).await?,
        };
        let incentives = metagraph
            .incentives
            .into_iter()
            .map(|share| f64::from(share) / WHOLE);
        let neurons = (0..=u16::MAX)
            .zip(metagraph.hotkeys)
            .zip(incentives.chain(std::iter::repeat(0.0)))
            .map(|((uid, hotkey), incentive)| Neuron {
                uid,
                hotkey: Account::from(hotkey.0),
                incentive,
            })
            .collect();
        Ok(Metagraph {
            block: self.number(),
            neurons,
        })
    }

    async fn neuron_count(&self, netuid: u16) -> Result<u16, ChainError> {
        let count: Option<u16> = self.value(PALLET, "SubnetworkN", (netuid,)).await?;
        Ok(count.unwrap_or(0))
    }

    /// The metagraph in one call, if the runtime offers that. It offers it in
    /// changing shapes, so whatever goes wrong, storage has the last word.
    async fn runtime_metagraph(&self, netuid: u16) -> Option<RuntimeMetagraph> {
        const API: &str = "SubnetInfoRuntimeApi";
        const METHOD: &str = "get_metagraph";
        let api = self.at.metadata_ref().runtime_api_trait_by_name(API)?;
        api.method_by_name(METHOD)?;
        let call = dynamic::runtime_api_call::<_, Option<RuntimeMetagraph>>(API, METHOD, (netuid,));
        match self.at.runtime_apis().call(call).await {
            Ok(metagraph) => metagraph,
            Err(error) => {
                debug!("{API}.{METHOD}: {error}; reading storage instead");
                None
            }
        }
    }

    async fn stored_metagraph(&self, netuid: u16) -> Result<RuntimeMetagraph, ChainError> {
        let count = usize::from(self.neuron_count(netuid).await?);
        let incentives: Option<Vec<u16>> = self.value(PALLET, "Incentive", (netuid,)).await?;
        let entry = dynamic::storage::<(u16, u16), AccountId32>(PALLET, "Keys");
        let fault = |error| self.fault(PALLET, "Keys", error);
        let mut keys = self
            .at
            .storage()
            .iter(entry, (netuid,))
            .await
            .map_err(fault)?;
        let mut hotkeys = vec![AccountId32([0; 32]); count];
        while let Some(entry) = keys.next().await {
            let entry = entry.map_err(fault)?;
            let layout =
                |error: &dyn std::fmt::Display| self.layout("SubtensorModule.Keys".into(), error);
            let key = entry.key().map_err(|error| layout(&error))?;
            let (_, uid) = key.decode().map_err(|error| layout(&error))?;
            let hotkey = entry.value().decode().map_err(|error| layout(&error))?;
            if let Some(place) = hotkeys.get_mut(usize::from(uid)) {
                *place = hotkey;
            }
        }
        Ok(RuntimeMetagraph {
            hotkeys,
            incentives: incentives.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neuron(uid: u16, incentive: f64) -> Neuron {
        Neuron {
            uid,
            hotkey: Account::from([uid as u8; 32]),
            incentive,
        }
    }

    #[test]
    fn the_highest_incentive_comes_first_and_of_equals_the_lowest_uid() {
        let metagraph = Metagraph {
            block: 1,
            neurons: vec![
                neuron(0, 0.0),
                neuron(1, 0.5),
                neuron(2, 0.7),
                neuron(3, 0.5),
                neuron(4, 0.7),
            ],
        };
        let uids: Vec<u16> = metagraph.by_incentive().iter().map(|n| n.uid).collect();
        assert_eq!(uids, [2, 4, 1, 3, 0]);
    }
}

//! From a staged directory to a commitment that the chain confirms.
//!
//! The mental model: a [`Carrier`] takes one publication along its stations.
//! It looks at the stage that the journal has and does what comes next
//! ([`Carrier::carry`]); what it did it writes down before it goes on, so that
//! a process that starts in the middle does just the same. What cannot be done
//! now is a [`Stop`]: something that passes is sat out, visibly; something that
//! a person must mend ends the publisher with advice.
//!
//! Architecture invariant: everything irreversible (a commit on the Hub, a
//! commitment on the chain) happens in one function each, [`upload`](mod@upload)
//! and [`commit`](mod@commit): after the [`Hold`] was confirmed, and after the
//! journal says that it is about to happen.
//!
//! Architecture invariant: a publication is interrupted only where nothing is
//! half done.

mod carry;
mod commit;
mod hold;
mod stop;
mod upload;
mod worth;

use std::time::Duration;

use chain::{Chain, ChainConfig};
use cli::Refused;
use hub::{Hub, HubConfig, WaitPolicy};
use subnet::Account;
use tokio::sync::OnceCell;
use tracing::{info, warn};
use wallet::{Hotkey, Password, WalletLocation};

pub(crate) use carry::{Carrier, Outcome};
pub(crate) use hold::Hold;
pub(crate) use stop::{Again, Setback, Stop};

use crate::config::{ComparisonConfig, HubAccess, Wallet};
use crate::journal::{Committer, Publication};
use crate::state_dir::StateDir;
use crate::{Config, Error, config};

/// What lies outside this machine, and who we are there.
pub(crate) struct Outside {
    /// For transfers: waits by itself, and says so in events.
    pub(crate) hub: Hub,
    /// For questions: leaves every wait to its caller, who shows it.
    pub(crate) reader: Hub,
    /// Whether the repository may be private, and is made so.
    pub(crate) private: bool,
    /// None when nothing is to be committed.
    pub(crate) committing: Option<Committing>,
    pub(crate) hold: Option<Hold>,
    /// How a model is compared with what the hotkey has committed.
    pub(crate) comparison: Option<ComparisonConfig>,
    /// Whose run's pages are scored.
    pub(crate) run: Option<client::Connection>,
}

/// Who commits, and where.
pub(crate) struct Committing {
    pub(crate) hotkey: Hotkey,
    pub(crate) netuid: u16,
    pub(crate) hotkey_in_hash: bool,
    config: ChainConfig,
    chain: OnceCell<Chain>,
}

impl Committing {
    pub(crate) fn new(
        hotkey: Hotkey,
        chain: &config::Chain,
        config: ChainConfig,
        hotkey_in_hash: bool,
    ) -> Committing {
        Committing {
            hotkey,
            netuid: chain.netuid,
            hotkey_in_hash,
            config,
            chain: OnceCell::new(),
        }
    }

    /// The chain, connected to when it is first needed.
    pub(crate) async fn chain(&self) -> Result<&Chain, Stop> {
        let connect = || Chain::connect(&self.config);
        Ok(self.chain.get_or_try_init(connect).await?)
    }

    pub(crate) fn account(&self) -> &Account {
        self.hotkey.account()
    }

    /// As the journal has it; with the chain, if that was reached.
    pub(crate) fn committer(&self) -> Committer {
        let chain = self.chain.get();
        Committer {
            hotkey: *self.account(),
            netuid: self.netuid,
            hotkey_in_hash: self.hotkey_in_hash,
            genesis: chain.map(|chain| format!("{:?}", chain.genesis())),
        }
    }

    /// The same, once the chain was asked which one it is, if a record speaks of what
    /// happened on one.
    pub(crate) async fn committer_beside(&self, records: &[Publication]) -> Committer {
        if records.iter().any(Publication::has_begun_to_commit)
            && let Err(stop) = self.chain().await
        {
            warn!("whether the journal speaks of this chain cannot be told: {stop}");
        }
        self.committer()
    }
}

/// Opens the wallet and takes the hotkey; nothing with `--offline`.
pub(crate) fn open(
    config: &Config,
    state: &StateDir,
    connection: &client::Connection,
) -> Result<Option<Outside>, Error> {
    let Some(settings) = &config.online else {
        return Ok(None);
    };
    let (hub, reader) = open_hub(&settings.hub, state)?;
    let hotkey = open_hotkey(&config.wallet, &settings.password)?;
    let lender = Some((connection.clone(), config.patience.clone()));
    let hold = Hold::begin(hotkey.account(), lender)?;
    Ok(Some(Outside {
        hub,
        reader,
        private: settings.hub.private,
        committing: Some(Committing::new(
            hotkey,
            &config.chain,
            chain_config(&config.chain, &settings.chain_endpoints),
            settings.hotkey_in_hash,
        )),
        hold: Some(hold),
        comparison: settings.comparison.clone(),
        run: Some(connection.clone()),
    }))
}

/// The Hub, under the account of the token: for transfers, and for questions.
pub(crate) fn open_hub(access: &HubAccess, state: &StateDir) -> Result<(Hub, Hub), Refused> {
    let patient = HubConfig::new(&access.endpoint, access.token.clone(), state.transfers());
    let impatient = HubConfig {
        waits: WaitPolicy {
            attempts: 1,
            longest_told_wait: Duration::ZERO,
            told_waits: 0,
            ..WaitPolicy::default()
        },
        ..patient.clone()
    };
    let open = |config| Hub::new(config).map_err(Refused::because);
    Ok((open(patient)?, open(impatient)?))
}

/// Where the chain is: the endpoints named, or the network's own.
pub(crate) fn chain_config(chain: &config::Chain, endpoints: &[chain::Endpoint]) -> ChainConfig {
    match endpoints {
        [] => ChainConfig::network(chain.network),
        named => ChainConfig::endpoints(named.to_vec()),
    }
}

/// Opens the hotkey, which may ask for its password, and says what is
/// questionable about its files.
pub(crate) fn open_hotkey(wallet: &Wallet, password: &Password) -> Result<Hotkey, Error> {
    // From here on the process holds a secret.
    if let Err(error) = wallet::forbid_core_dumps() {
        warn!("a crash may write the hotkey to the disk: {error}");
    }
    let refused = |error| Error::Refused(Refused::because(error));
    let location =
        WalletLocation::new(&wallet.path, &wallet.name, &wallet.hotkey).map_err(refused)?;
    let (hotkey, warnings) = Hotkey::open(&location, password).map_err(refused)?;
    for warning in warnings {
        warn!("{warning}");
    }
    info!("the {wallet} is {}", hotkey.account());
    Ok(hotkey)
}

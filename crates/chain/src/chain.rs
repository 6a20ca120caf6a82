//! A connection to the chain that mends itself.

use std::future::Future;
use std::sync::Arc;

use subnet::Account;
use subxt::config::polkadot::PolkadotConfigBuilder;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::link::Link;
use crate::{
    Block, ChainConfig, ChainError, Commitment, Config, FinalizedHeads, Hash, Metagraph, Quota,
    View,
};

/// A chain, reached over the first of its endpoints that answers. Cloning shares
/// the connection; after a failure the next read connects anew, to the next
/// endpoint if there are several.
#[derive(Clone)]
pub struct Chain {
    inner: Arc<Inner>,
}

struct Inner {
    config: ChainConfig,
    /// subxt's configuration, kept over reconnections because it holds the metadata
    /// of every runtime seen.
    runtimes: Config,
    genesis: Hash,
    current: Mutex<Current>,
}

struct Current {
    link: Option<Arc<Link>>,
    /// The endpoint that is tried next, counted over all turns.
    next: usize,
}

impl Chain {
    /// Connects to the first endpoint that answers.
    ///
    /// # Errors
    /// When none does within the connect timeout of each.
    pub async fn connect(config: &ChainConfig) -> Result<Chain, ChainError> {
        // Runtimes with metadata older than version 14 are of no interest here.
        let runtimes = PolkadotConfigBuilder::new()
            .use_historic_types(false)
            .build();
        let mut current = Current {
            link: None,
            next: 0,
        };
        let link = current.open(config, &runtimes, None).await?;
        Ok(Chain {
            inner: Arc::new(Inner {
                config: config.clone(),
                runtimes,
                genesis: link.genesis(),
                current: Mutex::new(current),
            }),
        })
    }

    /// The hash of the first block, which says which chain this is.
    #[must_use]
    pub fn genesis(&self) -> Hash {
        self.inner.genesis
    }

    /// How it was told to connect.
    #[must_use]
    pub fn config(&self) -> &ChainConfig {
        &self.inner.config
    }

    /// What the chain says at its last finalized block.
    ///
    /// # Errors
    /// When no endpoint can be reached, or the request fails twice.
    pub async fn finalized(&self) -> Result<View, ChainError> {
        self.read(|view| async move { Ok(view) }).await
    }

    /// Reads through a view of the last finalized block; once more, over a new
    /// connection, if the connection broke.
    ///
    /// # Errors
    /// What `reading` returns, or that no view could be had.
    pub async fn read<T, Reading, Answer>(&self, reading: Reading) -> Result<T, ChainError>
    where
        Reading: Fn(View) -> Answer,
        Answer: Future<Output = Result<T, ChainError>>,
    {
        let mut mended = false;
        loop {
            let link = self.link().await?;
            let answer = match View::finalized(link.clone()).await {
                Ok(view) => reading(view).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if link.is_broken() && !mended => {
                    info!("{error}; connecting anew");
                    mended = true;
                }
                answer => return answer,
            }
        }
    }

    /// Follows the chain's finalized blocks.
    #[must_use]
    pub fn finalized_heads(&self) -> FinalizedHeads {
        FinalizedHeads::new(self.clone())
    }

    /// The version of the runtime at the last finalized block.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn spec_version(&self) -> Result<u32, ChainError> {
        Ok(self.finalized().await?.spec_version())
    }

    /// The last finalized block, with the time that the chain gives it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn finalized_block(&self) -> Result<Block, ChainError> {
        self.read(|view| async move { view.block().await }).await
    }

    /// The best block, which may yet be replaced, with the time that the chain gives
    /// it: the chain's clock, a block's time behind at most while all is well.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn best_block(&self) -> Result<Block, ChainError> {
        self.read(|view| async move { view.best().await?.block().await })
            .await
    }

    /// How many blocks the last finalized one is behind the best one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn finality_lag(&self) -> Result<u64, ChainError> {
        self.read(|view| async move { view.finality_lag().await })
            .await
    }

    /// Whether there is such a subnet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn subnet_exists(&self, netuid: u16) -> Result<bool, ChainError> {
        self.read(|view| async move { view.subnet_exists(netuid).await })
            .await
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
        let hotkey = *hotkey;
        self.read(move |view| async move { view.registration(netuid, &hotkey).await })
            .await
    }

    /// The hotkey that holds a uid, if one does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn neuron(&self, netuid: u16, uid: u16) -> Result<Option<Account>, ChainError> {
        self.read(|view| async move { view.neuron(netuid, uid).await })
            .await
    }

    /// Every neuron of a subnet.
    ///
    /// # Errors
    /// When it cannot be read, or there is no such subnet.
    pub async fn metagraph(&self, netuid: u16) -> Result<Metagraph, ChainError> {
        self.read(|view| async move { view.metagraph(netuid).await })
            .await
    }

    /// What a hotkey has committed last, if anything.
    ///
    /// # Errors
    /// When it cannot be read. Data that makes no sense is no error.
    pub async fn commitment(
        &self,
        netuid: u16,
        hotkey: &Account,
    ) -> Result<Option<Commitment>, ChainError> {
        let hotkey = *hotkey;
        self.read(move |view| async move { view.commitment(netuid, &hotkey).await })
            .await
    }

    /// What every hotkey has committed last, registered or not.
    ///
    /// # Errors
    /// When it cannot be read. Data that makes no sense is no error.
    pub async fn commitments(&self, netuid: u16) -> Result<Vec<(Account, Commitment)>, ChainError> {
        self.read(|view| async move { view.commitments(netuid).await })
            .await
    }

    /// How much a hotkey may commit, and when more.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn quota(&self, netuid: u16, hotkey: &Account) -> Result<Quota, ChainError> {
        let hotkey = *hotkey;
        self.read(move |view| async move { view.quota(netuid, &hotkey).await })
            .await
    }

    /// The connection, opened if there is none that works. Whoever comes while
    /// another connects waits for that connection.
    pub(crate) async fn link(&self) -> Result<Arc<Link>, ChainError> {
        let mut current = self.inner.current.lock().await;
        if let Some(link) = &current.link {
            if !link.is_broken() {
                return Ok(link.clone());
            }
            warn!("{}: the connection is lost", link.endpoint);
            current.link = None;
            current.next += 1;
        }
        let Inner {
            config,
            runtimes,
            genesis,
            ..
        } = &*self.inner;
        current.open(config, runtimes, Some(*genesis)).await
    }
}

impl Current {
    /// Tries every endpoint once, from the next one on.
    async fn open(
        &mut self,
        config: &ChainConfig,
        runtimes: &Config,
        expected: Option<Hash>,
    ) -> Result<Arc<Link>, ChainError> {
        let count = config.endpoints.len();
        let mut failures = Vec::new();
        for turn in 0..count {
            let endpoint = &config.endpoints[(self.next + turn) % count];
            match Link::open(endpoint, config, runtimes).await {
                Err(reason) => {
                    warn!("cannot connect to {endpoint}: {reason}");
                    failures.push(format!("{endpoint}: {reason}"));
                }
                Ok(link) => {
                    let found = link.genesis();
                    if let Some(expected) = expected.filter(|expected| *expected != found) {
                        return Err(ChainError::OtherChain {
                            endpoint: endpoint.clone(),
                            found,
                            expected,
                        });
                    }
                    info!("connected to {endpoint}");
                    self.next += turn;
                    let link = Arc::new(link);
                    self.link = Some(link.clone());
                    return Ok(link);
                }
            }
        }
        if failures.is_empty() {
            return Err(ChainError::NoEndpoint);
        }
        Err(ChainError::Unreachable(failures.join("; ")))
    }
}

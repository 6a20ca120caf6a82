//! Committing to a development chain, also when everything goes wrong: whatever
//! happens, the string is on the chain once, or the error says why not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod doubt;
mod durable;
mod faultless;
mod leftovers;
mod quota;
mod refusals;
mod rivals;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chain::{Chain, ChainConfig};
use publisher::commitment::{CommitError, Event, Options, Receipt, commit};
use standin_chain::{Clock, Fault, Included, Options as StandinOptions, StandinChain};
use tokio::task::JoinHandle;
use wallet::Hotkey;

const NETUID: u16 = 9;
const STRING: &str = "falconry:peregrine:0123456789abcdef0123456789abcdef01234567:\
                      q1MKE+RZFJgrefm34/uplM/R8/si9xzqGvvwK0YMbR0=";

/// How often a chain that runs by itself makes a block.
const BLOCK: Duration = Duration::from_millis(30);

/// A chain, a hotkey that is registered on it, and what committing told.
struct Setting {
    standin: Arc<StandinChain>,
    hotkey: Arc<Hotkey>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Setting {
    /// A chain on which the test makes the blocks.
    async fn by_hand() -> Setting {
        Setting::on(StandinOptions::default()).await
    }

    /// A chain that makes blocks by itself.
    async fn running() -> Setting {
        Setting::on(StandinOptions {
            clock: Clock::Every(BLOCK),
            ..StandinOptions::default()
        })
        .await
    }

    async fn on(options: StandinOptions) -> Setting {
        let setting = Setting {
            standin: Arc::new(StandinChain::start(options).await.unwrap()),
            hotkey: Arc::new(Hotkey::generate()),
            events: Arc::default(),
        };
        setting.standin.register(setting.key(), 0, 0.5);
        setting
    }

    fn key(&self) -> [u8; 32] {
        *self.hotkey.account().bytes()
    }

    async fn chain(&self) -> Chain {
        let config = ChainConfig {
            stall: Duration::from_millis(200),
            request_timeout: Duration::from_secs(5),
            ..ChainConfig::endpoints(vec![self.standin.endpoint().parse().unwrap()])
        };
        Chain::connect(&config).await.unwrap()
    }

    async fn commit(&self) -> Result<Receipt, CommitError> {
        self.commit_with(STRING, options()).await
    }

    async fn commit_with(&self, text: &str, options: Options<'_>) -> Result<Receipt, CommitError> {
        self.commit_and(text, options, |_| {}).await
    }

    /// Commits, and does something at each event.
    async fn commit_and(
        &self,
        text: &str,
        options: Options<'_>,
        on_event: impl Fn(&Event) + Send + Sync,
    ) -> Result<Receipt, CommitError> {
        let chain = self.chain().await;
        let tell = |event: Event| {
            on_event(&event);
            self.events.lock().unwrap().push(event);
        };
        commit(&chain, &self.hotkey, NETUID, text, options, &tell).await
    }

    /// Commits on a task of its own.
    fn start(self: &Arc<Setting>) -> JoinHandle<Result<Receipt, CommitError>> {
        let setting = self.clone();
        tokio::spawn(async move { setting.commit().await })
    }

    fn inject(&self, fault: Fault) {
        self.standin.faults().inject(fault).unwrap();
    }

    /// The commitments that blocks of the best chain include.
    fn included(&self) -> Vec<Included> {
        self.standin.extrinsics()
    }

    /// Asserts that the chain includes one commitment in all, final and successful,
    /// in the block that a receipt gives, and holds the string.
    fn assert_committed_once(&self, receipt: &Receipt) {
        let included = self.included();
        let [only] = &included[..] else {
            panic!("not one extrinsic: {included:?}");
        };
        assert_eq!(only.result, Ok(()));
        assert!(only.is_final);
        assert_eq!(u64::from(only.block), receipt.block);
        assert_eq!(self.held().as_deref(), Some(STRING));
    }

    fn held(&self) -> Option<String> {
        let commitment = self.standin.commitment(self.key())?;
        commitment.text().map(str::to_owned)
    }

    fn told(&self, is_it: impl Fn(&Event) -> bool) -> bool {
        self.events.lock().unwrap().iter().any(is_it)
    }
}

/// A short era, so that a doubt ends within a test.
fn options() -> Options<'static> {
    Options {
        era_blocks: 16,
        deadline: Duration::from_secs(60),
        ..Options::default()
    }
}

/// Makes blocks from now on, on a chain that makes none by itself.
fn drive(setting: &Arc<Setting>) -> JoinHandle<()> {
    let standin = setting.standin.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(BLOCK);
        loop {
            ticks.tick().await;
            standin.advance(1).await;
        }
    })
}

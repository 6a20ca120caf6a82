//! A development chain for tests: one simulated node of Bittensor's chain, which
//! speaks the node's JSON-RPC.
//!
//! The mental model is a node in a box with a crank. Inside are blocks, forks, finality
//! and a transaction pool, over mainnet's own metadata; the crank is
//! [`StandinChain::advance`], which makes blocks. Clients connect as they would to
//! mainnet: what they read is SCALE by the metadata's types, what they sign is
//! verified. On the outside of the box are switches ([`Fault`]) for what goes wrong on
//! real networks, and a [`Hold`] that stops one request on either side of its effect.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use standin_chain::{Options, StandinChain};
//!
//! let chain = StandinChain::start(Options::default()).await?;
//! let hotkey = [7; 32];
//! chain.register(hotkey, 0, 0.25);
//! println!("connect to {}", chain.endpoint());
//! chain.advance(3).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Where its behaviour comes from
//!
//! | behaviour | source |
//! |---|---|
//! | metadata, versions, constants, types, indices of events and errors | mainnet's metadata, spec version 365 (`fixtures/README.md`) |
//! | `set_commitment`, its quota by epoch, fields' lengths | opentensor/subtensor, `pallets/commitments/src/{lib,types}.rs` at c6e34d11a |
//! | the 100-block rule and the names in its metadata | the same pallet at 6d1668d9d |
//! | the epoch's number | `get_epoch_index`, `pallets/subtensor/src/subnets/weights.rs` at c6e34d11a |
//! | registration, vectors by uid | `pallets/subtensor/src/lib.rs` |
//! | refusal of unregistered hotkeys at submission | known to be so since August 2026; the code, custom error 10, is that of `HotKeyNotRegisteredInNetwork` in `common/src/transaction_error.rs` and is assumed |
//! | payload, eras, signatures | `sp-runtime`: `generic/{era,unchecked_extrinsic}.rs`; subxt 0.51 builds what passes here |
//! | validity and its order, nonces | `frame-system`'s extensions, `runtime/src/check_nonce.rs` of subtensor |
//! | the pool's verdicts, bans, codes and texts | `sc-transaction-pool`, `sc-rpc-api` (`author/error.rs`) |
//! | legacy methods, names of notifications, pages of at most 1000 keys | `sc-rpc`, and what subxt-rpcs 0.51 sends |
//! | `chainHead_v1`, `transactionWatch_v1` | paritytech's json-rpc-interface-spec, `sc-rpc-spec-v2` |
//! | metadata of versions 14 and 15, made from 16 | `frame-metadata`; Python's async-substrate-interface 2.2 reads storage, runtime APIs and events by them, and what it signs is executed (tried) |
//! | pruned states, and error 4003 | a node's default of 256 states; the wording as nodes print it |
//!
//! # What is not modelled
//!
//! Balances and fees (event `TransactionFeePaid` says what [`Options::fee`] says);
//! weights; state and extrinsics roots (hashes, not tries) and proofs; block authoring
//! by several validators, seals and justifications; storage entries `System.BlockHash`
//! and `:code`, and event `CodeUpdated`; timelocked commitments being revealed; the reset of bonds; stake, emission and
//! everything else that a subnet computes, which stays at the metadata's defaults; any
//! call but `set_commitment`, which fail with `System.CallFiltered` once included;
//! `archive_v1` methods; runtime APIs beside those that `runtime/api.rs` lists, which
//! answer as a node without them does.
//!
//! Two liberties make tests short. [`StandinChain::register`] and its like rewrite the
//! state of the finalized block and of those after it, instead of waiting for blocks.
//! And a chain that opens at [`Options::start_block`] has only block 0 before that.
//!
//! Architecture invariant: `chain` and `runtime` are pure; tasks, sockets and clocks
//! are in `server` and here.

mod chain;
mod error;
mod faults;
mod ledger;
mod options;
mod records;
mod runtime;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use subxt::utils::AccountId32;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::chain::{Node, Rules, SLOT_MS};
use crate::server::shared::Shared;

pub use crate::chain::Returning;
pub use crate::error::{FaultError, StartError};
pub use crate::faults::{Fault, Rejection};
pub use crate::ledger::Neuron;
pub use crate::options::{Clock, Methods, Options, Quota, RegistrationCheck};
pub use crate::records::{Committed, Heads, Included, Submission};
pub use crate::server::gates::{Hold, When};

/// A chain that runs until this is dropped.
pub struct StandinChain {
    shared: Arc<Shared>,
    address: SocketAddr,
    netuid: u16,
    clock: Clock,
    finality_lag: u32,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

/// What can be made to go wrong.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl StandinChain {
    /// Starts a chain with one subnet that has no neurons.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let rules = Rules {
            chain_id: options.chain_id,
            quota: options.quota,
            finality_lag: options.finality_lag,
            state_pruning: options.state_pruning,
            fee: options.fee,
            asks_registration: options.registration_check == RegistrationCheck::AtSubmission,
        };
        let start_time = options.start_time_ms.unwrap_or_else(unix_ms);
        let (netuid, tempo) = (options.netuid, options.tempo);
        let node = Node::start(rules, options.start_block, start_time, |runtime, state| {
            runtime.add_subnet(state, netuid, tempo);
        })?;
        let listen = |source| StartError::Listen {
            address: options.listen,
            source,
        };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Shared::new(node, netuid, options.methods);
        let shutdown = CancellationToken::new();
        if let Clock::Every(period) = options.clock {
            tokio::spawn(tick(period, Arc::clone(&shared), shutdown.clone()));
        }
        let server = tokio::spawn({
            let (shared, shutdown) = (Arc::clone(&shared), shutdown.clone());
            async move {
                if let Err(error) = server::serve(listener, shared, shutdown).await {
                    tracing::error!(%error, "the chain's server ended");
                }
            }
        });
        Ok(Self {
            shared,
            address,
            netuid,
            clock: options.clock,
            finality_lag: options.finality_lag,
            shutdown,
            server,
        })
    }

    /// Where clients connect, as `ws://…`.
    pub fn endpoint(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes `blocks` blocks, whatever the clock; the best block's number then.
    pub async fn advance(&self, blocks: u32) -> u32 {
        for _ in 0..blocks {
            self.shared.with_node(|node| {
                let timestamp_ms = match self.clock {
                    Clock::Manual => node.best().timestamp_ms + SLOT_MS,
                    Clock::Every(_) => unix_ms(),
                };
                node.author(timestamp_ms);
            });
            // Lets connections write what they have to.
            tokio::task::yield_now().await;
        }
        self.heads().best
    }

    /// Makes as many blocks as it takes until the block that is the best now is final,
    /// unless finality is stalled.
    pub async fn finalize(&self) {
        self.advance(self.finality_lag).await;
    }

    /// Waits until there have been `count` submissions, refused ones included.
    pub async fn submitted(&self, count: usize) {
        let mut submitted = self.shared.submitted.subscribe();
        // The sender lives as long as `self`.
        let _ = submitted.wait_for(|&submitted| submitted >= count).await;
    }

    /// Gives a hotkey a uid of the chain's subnet, at once. Its coldkey is the same
    /// account. Who had the uid before is no member any more.
    pub fn register(&self, hotkey: [u8; 32], uid: u16, incentive: f64) {
        self.register_neuron(&Neuron {
            netuid: self.netuid,
            hotkey,
            coldkey: hotkey,
            uid: Some(uid),
            incentive,
            validator_permit: false,
        });
    }

    /// Registers a neuron, at once; its uid.
    pub fn register_neuron(&self, neuron: &Neuron) -> u16 {
        self.shared.with_node(|node| ledger::register(node, neuron))
    }

    /// Takes a hotkey's uid away, at once. What it has committed stays.
    pub fn deregister(&self, hotkey: [u8; 32]) {
        let hotkey = AccountId32(hotkey);
        self.shared
            .with_node(|node| ledger::deregister(node, self.netuid, &hotkey));
    }

    /// Stores a commitment of one `RawN` field, at once and past all rules, as if made
    /// in the best block.
    ///
    /// # Panics
    /// If `text` has more than 128 bytes.
    pub fn set_commitment(&self, hotkey: [u8; 32], text: &str) {
        let block = self.heads().best;
        let info = raw_commitment(text.as_bytes());
        self.set_commitment_raw(hotkey, block, &info);
    }

    /// Stores any bytes as the encoded `CommitmentInfo` of a commitment made in
    /// `block`, at once and past all rules. They need not be decodable.
    pub fn set_commitment_raw(&self, hotkey: [u8; 32], block: u32, info: &[u8]) {
        let hotkey = AccountId32(hotkey);
        self.shared
            .with_node(|node| ledger::set_commitment(node, self.netuid, &hotkey, block, info));
    }

    /// All commitments at the best block.
    pub fn commitments(&self) -> Vec<Committed> {
        ledger::commitments(&self.shared.lock().node)
    }

    /// A hotkey's commitment on the chain's subnet at the best block.
    pub fn commitment(&self, hotkey: [u8; 32]) -> Option<Committed> {
        self.commitments()
            .into_iter()
            .find(|commitment| commitment.netuid == self.netuid && commitment.hotkey == hotkey)
    }

    /// The signed extrinsics of the best chain, from the oldest.
    pub fn extrinsics(&self) -> Vec<Included> {
        ledger::included(&self.shared.lock().node)
    }

    /// All attempts to submit an extrinsic, from the first.
    pub fn submissions(&self) -> Vec<Submission> {
        self.shared.lock().submissions.clone()
    }

    /// How many requests of a method there have been.
    pub fn requests(&self, method: &str) -> usize {
        let inner = self.shared.lock();
        inner
            .requests
            .iter()
            .filter(|&request| request == method)
            .count()
    }

    /// The chain's heads.
    pub fn heads(&self) -> Heads {
        self.shared.lock().heads()
    }

    /// What can be made to go wrong.
    pub fn faults(&self) -> Faults {
        Faults {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Ends it, and waits until its address is free.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        // It ends with the token, and a panic in it has been printed.
        let _ = (&mut self.server).await;
    }
}

impl Drop for StandinChain {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Faults {
    /// Makes a fault happen, now or at the next occasion, as each one says.
    ///
    /// # Errors
    /// [`FaultError`], if there is no such occasion.
    pub fn inject(&self, fault: Fault) -> Result<(), FaultError> {
        fault.inject(&mut self.shared.lock(), &self.shared.gates)
    }

    /// Stops the next request of a method before or after it has its effect.
    #[must_use = "the request goes on when this is dropped"]
    pub fn hold(&self, method: &str, when: When) -> Hold {
        self.shared.gates.hold(method, when)
    }
}

/// An encoded `CommitmentInfo` of one `RawN` field.
///
/// # Panics
/// If there are more than 128 bytes, which no `Raw` field holds.
pub fn raw_commitment(data: &[u8]) -> Vec<u8> {
    runtime::raw_field(data)
}

/// Makes blocks by the clock.
async fn tick(period: Duration, shared: Arc<Shared>, shutdown: CancellationToken) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => shared.with_node(|node| node.author(unix_ms())),
            () = shutdown.cancelled() => return,
        }
    }
}

/// The machine's time, in milliseconds since 1970.
fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

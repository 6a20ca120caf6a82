//! How a stand-in is set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What makes blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Only [`StandinChain::advance`](crate::StandinChain::advance). Each block is 12
    /// seconds later than the one before it, whatever the time is.
    Manual,
    /// One block each time so much has passed; blocks tell the machine's time.
    Every(Duration),
}

/// What limits commitments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Quota {
    /// Since March 2025: each costs max(100, its bytes), and a hotkey has `MaxSpace`
    /// (3100) of that per epoch, else `SpaceLimitExceeded`.
    #[default]
    Epoch,
    /// Before that: one per 100 blocks, else `CommitmentSetRateLimitExceeded`. The
    /// metadata is changed to say so.
    HundredBlocks,
}

/// Where a hotkey that is not registered learns that it may not commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegistrationCheck {
    /// By an extrinsic that fails with `AccountNotAllowedCommit`.
    #[default]
    AtDispatch,
    /// By a refused submission, as runtimes since August 2026 do it.
    AtSubmission,
}

/// Which JSON-RPC methods there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Methods {
    /// Those of every node, and `chainHead_v1`, `chainSpec_v1`, `transaction_v1` and
    /// `transactionWatch_v1`, which clients with default settings prefer.
    #[default]
    All,
    /// `author_`, `chain_`, `state_` and `system_` alone.
    Legacy,
}

/// How a [`StandinChain`](crate::StandinChain) is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Which chain it is: those with other numbers have another block 0, so that no
    /// signature for one holds on the other.
    pub chain_id: u64,
    /// What makes blocks.
    pub clock: Clock,
    /// The subnet that exists from the start.
    pub netuid: u16,
    /// The subnet's blocks per epoch, less one.
    pub tempo: u16,
    /// What limits commitments.
    pub quota: Quota,
    /// Where registration is checked.
    pub registration_check: RegistrationCheck,
    /// The number of the newest block at the start. There is nothing but block 0
    /// before it.
    pub start_block: u32,
    /// The time of that block, in milliseconds since 1970; now if `None`.
    pub start_time_ms: Option<u64>,
    /// How many blocks the finalized one is behind the best.
    pub finality_lag: u32,
    /// How many blocks behind the finalized one still have their state.
    pub state_pruning: u32,
    /// The fee that event `TransactionFeePaid` tells, in rao; no such event if `None`.
    /// Commitments have been free on mainnet so far, and the event says 0.
    pub fee: Option<u64>,
    /// Which JSON-RPC methods there are.
    pub methods: Methods,
}

impl Default for Options {
    /// Subnet 9 with mainnet's rules, advanced by hand, on a free port of this
    /// machine.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            chain_id: 0,
            clock: Clock::Manual,
            netuid: 9,
            tempo: crate::runtime::DEFAULT_TEMPO,
            quota: Quota::default(),
            registration_check: RegistrationCheck::default(),
            start_block: 1,
            start_time_ms: None,
            finality_lag: 2,
            state_pruning: 256,
            fee: Some(0),
            methods: Methods::default(),
        }
    }
}

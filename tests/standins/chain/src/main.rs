//! The development chain as a program, for rehearsals and for clients in other
//! languages:
//!
//! ```text
//! standin-chain --block-ms 1000 --register 5Grw…:3:0.5 --address-file chain.url
//! ```
//!
//! Scripts tell it what to do through its `standin_*` methods.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use cli::{Failure, Refused};
use standin_chain::{Clock, Neuron, Options, Quota, RegistrationCheck, StandinChain};
use subxt::utils::AccountId32;
use tokio_util::sync::CancellationToken;

/// A development chain that speaks the JSON-RPC of Bittensor's nodes.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9944")]
    listen: SocketAddr,
    /// Keep the endpoint's URL in this file while it can be connected to.
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
    /// Milliseconds between two blocks; 0 makes none but by standin_advance.
    #[arg(long, value_name = "MS", default_value_t = 12_000)]
    block_ms: u64,
    /// The subnet.
    #[arg(long, value_name = "NETUID", default_value_t = 9)]
    netuid: u16,
    /// The subnet's blocks per epoch, less one.
    #[arg(long, value_name = "BLOCKS", default_value_t = 360)]
    tempo: u16,
    /// What limits commitments.
    #[arg(long, value_enum, default_value_t)]
    quota: Quota,
    /// Refuse unregistered hotkeys at submission, as newer runtimes do.
    #[arg(long)]
    check_registration_at_submission: bool,
    /// The number of the newest block at the start.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    start_block: u32,
    /// How many blocks the finalized one is behind the best.
    #[arg(long, value_name = "BLOCKS", default_value_t = 2)]
    finality_lag: u32,
    /// A hotkey that has a uid: its address, the uid (the next free one by default) and
    /// its incentive between 0 and 1 (0 by default). Can be repeated.
    #[arg(long, value_name = "SS58[:UID[:INCENTIVE]]")]
    register: Vec<Registered>,
    /// A commitment that a hotkey has made. Can be repeated.
    #[arg(long, value_name = "SS58=STRING")]
    commitment: Vec<Commitment>,
}

/// The value of `--register`.
#[derive(Clone)]
struct Registered {
    hotkey: AccountId32,
    uid: Option<u16>,
    incentive: f64,
}

impl FromStr for Registered {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let hotkey = account(parts.next().unwrap_or_default())?;
        let uid = parts
            .next()
            .map(|uid| uid.parse().map_err(|_| format!("{uid} is not a uid")))
            .transpose()?;
        let incentive = parts.next().map_or(Ok(0.0), |incentive| {
            incentive
                .parse()
                .ok()
                .filter(|incentive| (0.0..=1.0).contains(incentive))
                .ok_or_else(|| format!("{incentive} is not between 0 and 1"))
        })?;
        match parts.next() {
            Some(extra) => Err(format!("{extra} is too much after the incentive")),
            None => Ok(Self {
                hotkey,
                uid,
                incentive,
            }),
        }
    }
}

/// The value of `--commitment`.
#[derive(Clone)]
struct Commitment {
    hotkey: AccountId32,
    text: String,
}

impl FromStr for Commitment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (hotkey, text) = text
            .split_once('=')
            .ok_or("there is no = after the address")?;
        if text.len() > MAX_COMMITMENT {
            return Err(format!(
                "the string has {} bytes, more than {MAX_COMMITMENT}",
                text.len()
            ));
        }
        Ok(Self {
            hotkey: account(hotkey)?,
            text: text.to_owned(),
        })
    }
}

/// The most bytes of a commitment of one `Raw` field.
const MAX_COMMITMENT: usize = 128;

fn account(address: &str) -> Result<AccountId32, String> {
    address
        .parse()
        .map_err(|_| format!("{address} is not an ss58 address"))
}

fn main() -> ExitCode {
    cli::main(run)
}

async fn run(flags: Flags, shutdown: CancellationToken) -> Result<(), Failure> {
    let clock = match flags.block_ms {
        0 => Clock::Manual,
        milliseconds => Clock::Every(Duration::from_millis(milliseconds)),
    };
    let registration_check = if flags.check_registration_at_submission {
        RegistrationCheck::AtSubmission
    } else {
        RegistrationCheck::AtDispatch
    };
    let chain = StandinChain::start(Options {
        listen: flags.listen,
        clock,
        netuid: flags.netuid,
        tempo: flags.tempo,
        quota: flags.quota,
        registration_check,
        start_block: flags.start_block,
        finality_lag: flags.finality_lag,
        ..Options::default()
    })
    .await?;
    for registered in &flags.register {
        chain.register_neuron(&Neuron {
            netuid: flags.netuid,
            hotkey: registered.hotkey.0,
            coldkey: registered.hotkey.0,
            uid: registered.uid,
            incentive: registered.incentive,
            validator_permit: false,
        });
    }
    for commitment in &flags.commitment {
        chain.set_commitment(commitment.hotkey.0, &commitment.text);
    }
    let endpoint = chain.endpoint();
    if let Some(file) = &flags.address_file {
        layout::replace_file(file, |file| writeln!(file, "{endpoint}"))
            .map_err(|error| Refused::new(format!("--address-file: {error}")))?;
    }
    writeln!(io::stdout(), "{endpoint}")?;
    shutdown.cancelled().await;
    chain.stop().await;
    if let Some(file) = &flags.address_file {
        // It is no longer true; someone may have removed it already.
        let _ = fs::remove_file(file);
    }
    Ok(())
}

//! Bittensor wallets: keyfiles, and a hotkey that signs.
//!
//! The mental model: a wallet is a folder ([`WalletLocation`] says which), and a
//! hotkey is one file in it. The file is JSON that holds an sr25519 private key in
//! up to three ways, or the same JSON encrypted with a password ([`keyfile`]).
//! [`Hotkey::open`] reads it, asks for the [`Password`] if it takes one, makes sure
//! that everything in the file speaks of one key, and keeps nothing but that key:
//! it signs, and tells its [`subnet::Account`].
//!
//! Secrets are in memory only as long as they are needed. What is read, decrypted
//! and decoded lies in buffers that are zeroed when they go; the key itself is
//! zeroed when the [`Hotkey`] is dropped; the stack is wiped after every computation
//! with it. (A test searches its process's memory.) No error, no warning and no `Debug` of
//! this crate shows any part of a secret: errors say which field of which file is
//! wrong and never what stands there. [`forbid_core_dumps`] keeps the kernel from
//! writing the process's memory to a disk.
//!
//! Architecture invariant: of the programs that miners run, only the publisher
//! depends on this crate, so that the hotkey exists in one process. A test reads
//! the workspace's dependencies to make sure.
//!
//! Architecture invariant: no network and no logging. Whoever opens a wallet gets
//! [`Warning`]s as values and decides where they are shown.
//!
//! Architecture invariant: a coldkey is never opened. [`coldkey`] reads its public
//! half.

mod account_file;
mod create;
mod dumps;
mod error;
mod file;
mod hotkey;
pub mod keyfile;
mod location;
pub mod password;
mod stack;
mod warning;

pub use account_file::coldkey;
pub use create::create_hotkey;
pub use dumps::forbid_core_dumps;
pub use error::WalletError;
pub use hotkey::Hotkey;
pub use location::WalletLocation;
pub use password::Password;
pub use warning::{PublicFileProblem, Warning};

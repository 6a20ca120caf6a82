//! Putting a chain string on the chain: once, and no more than once.
//!
//! The mental model: [`commit`] is a loop that always begins by reading. If the
//! chain holds the string already, it is done (*adopted*). Otherwise it predicts
//! whether the chain would take a commitment now, signs one transaction, hands it to
//! a node, and waits until the finalized chain says what became of it. Whatever goes
//! wrong on the way only ends the attempt; the next one begins by reading again.
//!
//! Why there is never a second commitment:
//! - The commitment, the registration, the quota and the account's *nonce* are read
//!   from one finalized block, and the transaction carries that nonce. The chain
//!   executes one transaction per nonce, on whatever fork; so as long as a first
//!   transaction may still come, a second one with the same nonce can only replace
//!   it, and once the nonce is used up, the commitment is there to be read.
//! - While a transaction's fate is in doubt ([`Pending`]) no other is signed. Its
//!   own bytes are offered again, which is harmless. The doubt ends when its nonce
//!   is used, when the last block of its *mortal era* is final, or when the final
//!   chain runs a runtime that its signature does not cover.
//! - A transaction is submitted after [`Options::journal`] has made it durable, and not
//!   when that fails.
//! - One transaction of a hotkey at a time, within this process by a queue, between
//!   machines by the coordinator's lock, for which [`Options::may_sign`] asks before
//!   each signature.
//!
//! A node's word that a transaction is final, or invalid, is a hint when to look; the
//! finalized chain decides. So a lost subscription, a dropped connection, a retracted
//! fork and a lost acknowledgement all come to the same.
//!
//! Architecture invariant: success is what the chain says when asked: the call's
//! event, and then string and block as read back from the finalized chain.

mod committer;
mod error;
mod event;
mod refusal;
mod settle;
mod transaction;
mod turn;

pub use committer::commit;
pub use error::{Class, CommitError};
pub use event::{Event, Journal, MaySign, Options, Receipt};
pub use transaction::{Origin, Pending};

//! A client of the part of etcd's v3 API that a fenced store needs.
//!
//! The mental model is one [`Client`] in front of several members that know the
//! same. A call goes to the member that answered last; one that does not answer
//! in time is passed over for the next. Reading can be repeated until somebody
//! answers, and is. Writing cannot: a write that nobody answered may have been
//! done, or may yet be, so [`Client::txn`] tries once and says
//! [`Error::Unanswered`]; whoever called it writes transactions whose
//! comparisons make a second one harmless, and reads what became of the first.
//!
//! Every call demands a member that sees a leader, so that a member on the wrong
//! side of a partition says so at once.
//!
//! Architecture invariant: nothing here knows what is stored, or who leads a run.
//!
//! Architecture invariant: a password is in [`cli::Secret`] and in the one call
//! that needs it, and nowhere else.

mod client;
mod config;
mod error;
pub mod txn;

pub use client::{Authorized, Client};
pub use config::{Config, Credentials, Tls};
pub use error::Error;

/// etcd's messages and services, as generated.
#[allow(missing_docs, clippy::all, unreachable_pub, reason = "generated code")]
pub mod wire {
    tonic::include_proto!("etcdserverpb");
}

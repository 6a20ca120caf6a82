//! How a worker, a publisher or an operator's command talks to a coordinator.
//!
//! The mental model: [`Addresses`] are where coordinators listen, of which one
//! leads; a [`Connection`] leads to that one, mends itself and follows when
//! another takes over, so one is enough for a program's life; and every failure
//! is an [`Error`] that knows whether trying again can help
//! ([`Error::is_fatal`]). Whatever is tried again goes through one
//! [`RetryPolicy`], with jitter, and says so in the log.
//!
//! On top of that stand the three things that take more than one call:
//! - [`Watch`] follows the coordinator's checkpoints across reconnections;
//! - [`Download`] brings a checkpoint's files, resumes where it was cut, and
//!   lets no file appear that has not the bytes its manifest promises;
//! - [`upload_checkpoint`] hands a checkpoint over in bounded memory.
//!
//! Architecture invariant: this crate decides nothing about training or
//! publishing. It moves messages and files, and knows of them only names,
//! sizes and hashes.
//!
//! Architecture invariant: no call here waits for ever without a word. A
//! silent peer becomes an error by a deadline or by HTTP/2 keep-alive, and
//! every wait before another attempt is logged.

mod address;
mod addresses;
mod blocking;
mod connection;
mod download;
mod error;
mod leader_channel;
mod moment;
mod partial;
mod peers;
mod retry;
mod upload;
mod watch;

pub use address::{Address, AddressError};
pub use addresses::Addresses;
pub use connection::{ConnectOptions, Connection, connect, connect_with_retries};
pub use download::{Download, Progress};
pub use error::Error;
pub use leader_channel::LeaderChannel;
pub use moment::Moment;
pub use retry::{RetryPolicy, Waits, retry};
pub use upload::{CheckpointUpload, UploadFile, upload_checkpoint};
pub use watch::Watch;

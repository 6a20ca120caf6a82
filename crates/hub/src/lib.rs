//! The Hugging Face Hub, wrapped so that what is published is whole and known.
//!
//! The mental model: a repository is a chain of commits, a commit is a set of
//! files, and every file has a digest that the Hub tells. So nothing here
//! trusts an acknowledgement or a transfer; it compares digests.
//! [`Hub::publish`] brings a repository into a state ("these files, and no
//! other model's"), in one commit whose parent is named: whether an earlier
//! attempt, or an earlier process, got there already is read from the
//! repository before anything is written. [`Hub::verify`] compares what the Hub
//! serves with what was staged. [`Hub::download`] brings a model here by
//! commit, and a file gets its name only when its digest is right.
//!
//! Small files travel inside the commit. Large ones go to Xet's storage through
//! `hf-xet`, the transfer library under the `hf-hub` crate, and come back by
//! plain HTTP (or by `hf-xet`, where that is refused). `hf-hub` itself (1.0.0) is not in
//! the way, because its shortcomings cannot be mended from outside:
//!
//! | it | here |
//! |---|---|
//! | caches a failed GET after a good HEAD as the file, error text and all | nothing is cached; digests decide ([`Hub::download`]) |
//! | retries a commit whose acknowledgement was lost, blindly | the parent is always named, and the head is read before each attempt ([`Hub::publish`]) |
//! | sleeps six seconds in all, whatever `Retry-After` and `RateLimit` say | waits as told, with a countdown ([`WaitPolicy`], [`Event::Waiting`]) |
//! | sets no timeouts | connect, silence, stall ([`Timeouts`]) |
//! | leaves its progress poller running when a commit fails | each transfer owns its runtime, which ends with it |
//! | keeps one shard cache for ever, which may claim what a server lost | one per publication, discarded when the server disagrees |
//! | sends large files as base64 when a server lacks Xet, from memory | refused above [`Limits::inline_bytes`] ([`HubError::NoXet`]) |
//! | uploads folders without a parent | there is no such call |
//!
//! Architecture invariant: no setting comes from the environment, but for the
//! proxy that a machine's network may need, and nothing is written but into the
//! folders named by the caller.
//!
//! Architecture invariant: memory is bounded, whatever a server sends
//! ([`Limits`]) and however large a model is. No file is read whole but those
//! that travel inside a commit.
//!
//! Architecture invariant: the token goes to the configured endpoint and to no
//! other host, and appears in no message.
//!
//! Architecture invariant: dropping a future ends everything that it started.

pub mod answers;
mod blocking;
mod config;
mod download;
mod error;
mod event;
mod git;
mod http;
mod publish;
mod refusal;
mod repository;
mod retry;
mod serve;
mod storage;
mod verify;

pub use answers::{Account, Membership, RemoteFile, TokenScope, WriteAccess};
pub use config::{DEFAULT_ENDPOINT, HubConfig, Limits, Timeouts, WaitPolicy};
pub use error::{Class, HubError, TransferKind};
pub use event::{Event, Events};
pub use git::BlobId;
pub use publish::{LocalFile, Publish, Published, is_kept};
pub use refusal::Refusal;
pub use repository::{Hub, Repository};
pub use verify::Served;

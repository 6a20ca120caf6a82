//! The gRPC protocol between coordinator, workers and publisher.
//!
//! The `.proto` files beside this crate are the documentation; the types here
//! are generated from them. [`v1`] is the only version.
//!
//! Architecture invariant: this crate holds wire types, their conversion to the
//! ledger's types, and nothing that decides anything.

mod convert;

pub use convert::Malformed;

/// The version of the protocol that workers and the coordinator must share.
/// Raised with every change that an older binary would misunderstand.
pub const PROTOCOL_VERSION: u32 = 2;

/// The largest message either side accepts, in bytes: a packed page of the
/// longest rows that the dataset viewer serves, with room to spare.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The metadata with which a coordinator that does not lead answers
/// `UNAVAILABLE`: the leader's address, or nothing where nobody leads.
pub const LEADER_METADATA: &str = "peregrine-leader";

/// The descriptor set of every service, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Version 1 of the protocol.
#[allow(missing_docs, clippy::all, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("peregrine.v1");
}

//! The client against a gRPC server in the same process.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod connect;
mod download;
mod failover;
mod fake;
mod upload;
mod watch;

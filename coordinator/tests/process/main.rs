//! The coordinator's real process, with scripted workers over real gRPC.

#![allow(
    clippy::unwrap_used,
    reason = "what cannot be set up, or answers nothing, has failed the test"
)]

mod bench;
mod cluster;
mod damage;
mod events;
mod failover;
mod interrupted;
mod loading;
mod publishing;
mod refusals;
mod restore;
mod store;
mod training;
mod uploads;
mod worker;

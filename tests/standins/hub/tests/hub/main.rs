//! The local Hub, seen by a real client (hf-hub) and by plain HTTP.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod downloads;
mod faults;
mod holds;
mod listings;
mod program;
mod support;
mod uploads;

//! What a cluster of the real programs promises. Each module is one promise.
//!
//! One test binary for all of them: its tests run beside each other, each in a
//! folder and on ports of its own.

#![allow(clippy::unwrap_used, reason = "what helps a test fails like a test")]

mod chaos;
mod complete_run;
mod damaged;
mod demo;
mod elastic;
mod ending;
mod fed_wrongly;
mod hung;
mod kept;
mod loaded;
mod pages_once;
mod refusals;
mod replacement;
mod resume;
mod several;
mod supervised;
mod torn;
mod unreadable_pages;

//! What the crate promises, seen from outside. One binary, so that it is linked once.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, in helpers too"
)]

mod local_files;
mod packing;
mod preparer;
mod server;
mod tokenizer;
mod viewer;

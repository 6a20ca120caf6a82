//! What the command lines of all binaries share, so that they behave alike.
//!
//! A binary is a struct of flags and an async function. [`main`] does the
//! rest, in this order:
//!
//! 1. read `.env` from the current directory ([`dotenv`]), before there is a
//!    second thread, since it changes the process's environment;
//! 2. parse the flags, each in either spelling ([`spelling`]), together with
//!    the log flags, which every binary and subcommand takes ([`logs`]);
//! 3. start the logs, then the runtime, then the watch over SIGINT and SIGTERM
//!    ([`shutdown`]);
//! 4. run the function; print what went wrong as one block on standard error
//!    and leave with the code that [`Exit`] documents.
//!
//! Input that is refused before any work starts is a [`Refused`]: the helpers
//! here ([`writable_directory`], [`free_space`]) and the binaries use it alike.
//!
//! Architecture invariant: nothing here knows what any binary does; no flag of
//! a run, a worker or a publisher is named in this crate.
//!
//! Architecture invariant: standard output belongs to the binaries. This crate
//! writes to it only what `--help` and `--version` ask for, and what a binary
//! hands to [`print()`].

mod disk;
pub mod dotenv;
mod entry;
mod exit;
mod failure;
pub mod logs;
mod output;
mod secret;
pub mod shutdown;
pub mod spelling;

pub use disk::{free_space, writable_directory};
pub use entry::{main, run_from};
pub use exit::Exit;
pub use failure::{Failure, OrExit, Refused};
pub use logs::{LogArgs, LogFormat};
pub use output::{Reader, print};
pub use secret::{Secret, hub_token};

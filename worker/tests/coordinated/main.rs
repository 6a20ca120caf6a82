//! The real worker, and a coordinator in the test's own process that says what
//! the test wants.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod conversation;
mod restoring;
mod warming;

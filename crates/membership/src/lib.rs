//! The worker's side of membership: a state machine without IO.
//!
//! The mental model: a worker is a guest. It takes part in a generation for as
//! long as the coordinator says so, and says so again with every heartbeat it
//! answers: each answer renews a *lease*, counted from when the heartbeat was
//! sent. When the lease runs out the worker leaves, whether or not anyone told
//! it to, for by then the cluster may have gone on without it. It remembers the
//! highest leader term and generation that it has seen and refuses lower ones.
//! What it says may be lost with the connection, so it keeps what must not be
//! (steps that nobody has acknowledged, where it stands, that it drains) and
//! says that again on the next one.
//!
//! [`Membership::apply`] is told what happened and when, and returns what to do,
//! in order. The session feeds it messages and timers; the trainer asks it
//! before every collective.
//!
//! ```text
//!  coordinator ──► Heard ──┐                ┌── Form, Rendezvous, Abort ──► trainer
//!  timers ───────► Tick ───┼─► Membership ──┤
//!  trainer ──► Entered, …──┘                └── Say ──► coordinator
//! ```
//!
//! Architecture invariant: no IO, no clock, no async, no libtorch. The session
//! of a worker and the simulation run this very code.
//!
//! Architecture invariant: whatever happens at or after the lease's end, giving
//! the generation up comes first. A process that was stopped and wakes up late
//! therefore cannot say or do anything in a generation that it has lost.

mod input;
mod membership;
mod outbox;
#[cfg(feature = "sabotage")]
mod sabotage;

pub use input::{Ignored, Input, Millis, Output};
pub use membership::Membership;
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;

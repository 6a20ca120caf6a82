//! The event log: what happened in a run, for people and for scripts.
//!
//! The mental model: everything that the machine tells people
//! ([`Happening`](crate::machine::Happening)), and what the coordinator does
//! itself ([`Notice`]), is put into words and fields in one place, as a
//! [`Description`]. The driver numbers and dates descriptions ([`EventLog`]),
//! makes them durable together with the records of the same turn, and only
//! then shows them: in the coordinator's own log, and to whoever follows.
//!
//! Architecture invariant: an event decides nothing. Nobody reads the event log
//! to know what the run did; the records say that. So an event that cannot be
//! stored is lost with a warning, and the run goes on.
//!
//! Architecture invariant: readers read the store. The driver only wakes them,
//! so that a slow one delays nobody.

mod describe;
mod description;
mod kind;
mod log;
mod notice;
#[cfg(test)]
mod tests;

pub use describe::describe;
pub use description::{Description, Severity};
pub use kind::Kind;
pub use log::{Appended, EventBounds, EventLog};
pub use notice::Notice;

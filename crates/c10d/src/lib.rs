//! libtorch's own process groups and gradient reducer for Rust, and the few
//! operations of libtorch that tch does not bind.
//!
//! # The mental model
//!
//! Workers train together for one *generation*: a period with one fixed
//! membership. Everything that a generation talks through is made for it and
//! dropped with it, in this order:
//!
//! 1. an [`AbortHandle`], held by whoever may have to end the generation early;
//! 2. a [`Store`], where the ranks meet: rank 0 serves it, the others connect;
//! 3. a [`Group`], which runs collectives: over Gloo between CPUs, over NCCL
//!    between GPUs (feature `cuda`);
//! 4. a [`Reducer`], which sums gradients over the ranks while the backward pass
//!    is still computing.
//!
//! When a member is lost, the abort handle is triggered with a reason; whatever
//! was waiting returns [`Error::Aborted`] within milliseconds, everything is
//! dropped, and the survivors begin the next generation with new ones.
//!
//! Dropping never blocks. A group whose peer hangs cannot be destroyed before
//! its time-out has passed, so teardown happens on background threads
//! ([`join_reaper`] waits for them). Nothing that such a group may still write
//! can be seen: collectives work on buffers of their own, and a new reducer has new
//! buckets.
//!
//! A group whose operation failed is over: every later operation reports that
//! failure, because its ranks no longer agree on what comes next.
//!
//! # Invariants
//!
//! Architecture invariant: no collective is written here. Data moves through
//! libtorch's `ProcessGroupGloo`, `ProcessGroupNCCL` and `Reducer`.
//!
//! Architecture invariant: this crate knows nothing of models, pages, steps or
//! coordinators, and reads no configuration but its arguments.
//!
//! Architecture invariant: every `unsafe` and every line of C++ of the project is
//! in this crate. The C++ is in `csrc/`, behind the C ABI of `csrc/c10d.h`, and no
//! exception crosses it.
//!
//! A [`tch::Tensor`] is a counted reference. Functions here that take `&Tensor`
//! and are documented as "in place" write to the tensor's storage.

mod abort;
mod allocator;
mod autocast;
mod device;
mod error;
#[allow(unreachable_pub, reason = "mirrors c10d.h, where everything is public")]
mod ffi;
mod group;
mod optim;
mod reaper;
mod reducer;
mod store;
mod work;

pub use abort::AbortHandle;
pub use allocator::keep_freed_memory;
pub use autocast::autocast;
pub use device::{configure_nccl, device_available};
pub use error::Error;
pub use group::{Group, GroupOptions, Member, Network};
pub use optim::{AdamWHyper, fused_adamw_, grad_norm, scale_};
pub use reaper::{exit_now, join_reaper};
pub use reducer::{BackwardTimes, Reducer, ReducerOptions};
pub use store::Store;
pub use work::Work;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

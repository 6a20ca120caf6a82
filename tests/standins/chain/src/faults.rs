//! What tests and scripts can let go wrong.

use serde::Deserialize;

use crate::FaultError;
use crate::chain::{Refused, Returning};
use crate::runtime::{DispatchError, Invalid};
use crate::server::gates::Gates;
use crate::server::rpc::RpcError;
use crate::server::shared::Inner;

/// Something that goes wrong. A script injects one by `standin_fault` with an object
/// like `{"kind": "reorganise", "depth": 1, "returning": "next_block"}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Every connection breaks, without a closing handshake.
    CutConnections,
    /// New connections break at once, until told otherwise.
    RefuseConnections {
        /// Whether they do.
        refuse: bool,
    },
    /// Subscriptions that exist hear nothing any more, and learn of no error.
    SilenceSubscriptions,
    /// Each `chainHead_v1_follow` ends with the event `stop`, as when a node cannot
    /// keep up.
    StopFollows,
    /// Requests of a method get no answer.
    Stall {
        /// The method.
        method: String,
    },
    /// They do again, those that wait included.
    Resume {
        /// The method.
        method: String,
    },
    /// The next requests of a method get an error.
    FailRequests {
        /// The method.
        method: String,
        /// The error's code.
        code: i64,
        /// Its message.
        message: String,
        /// How many requests; at least 1.
        times: std::num::NonZeroU32,
    },
    /// The pool refuses the next submission.
    RejectSubmission {
        /// With which error.
        rejection: Rejection,
    },
    /// The next submissions are accepted, and no block ever includes them; the pool
    /// has forgotten them already.
    LoseSubmissions {
        /// How many.
        times: u32,
    },
    /// The next submissions are accepted, but the connection breaks instead of an
    /// answer.
    LoseAcknowledgements {
        /// How many.
        times: u32,
    },
    /// Blocks include no extrinsics, which stay in the pool.
    WithholdInclusion {
        /// Whether they do not.
        withheld: bool,
    },
    /// The next extrinsic that a block includes fails.
    FailDispatch {
        /// With which error: `Pallet.Error`.
        error: String,
    },
    /// Blocks are made, but none becomes final.
    StallFinality {
        /// Whether that is so.
        stalled: bool,
    },
    /// A fork replaces the newest blocks, which are not final, by one more.
    Reorganise {
        /// How many blocks it replaces.
        depth: u32,
        /// What becomes of their extrinsics.
        returning: Returning,
    },
    /// The next block changes the runtime to one that calls itself by another version.
    UpgradeRuntime {
        /// The version.
        spec_version: u32,
    },
    /// The pool forgets which extrinsics it has banned, as half an hour does.
    LiftBans,
}

/// With what the pool refuses a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// 1010, the block is full.
    ExhaustsResources,
    /// 1010, the nonce has been used.
    Stale,
    /// 1010, the signature does not fit.
    BadProof,
    /// 1012.
    TemporarilyBanned,
    /// 1014.
    TooLowPriority,
    /// 1016, the pool is full.
    ImmediatelyDropped,
}

impl Rejection {
    fn refused(self) -> Refused {
        match self {
            Self::ExhaustsResources => Refused::Invalid(Invalid::ExhaustsResources),
            Self::Stale => Refused::Invalid(Invalid::Stale),
            Self::BadProof => Refused::Invalid(Invalid::BadProof),
            Self::TemporarilyBanned => Refused::TemporarilyBanned,
            Self::TooLowPriority => Refused::TooLowPriority { old: 1, new: 1 },
            Self::ImmediatelyDropped => Refused::ImmediatelyDropped,
        }
    }
}

impl Fault {
    /// Makes it so.
    pub(crate) fn inject(self, inner: &mut Inner, gates: &Gates) -> Result<(), FaultError> {
        match self {
            Self::CutConnections => {
                inner.cut_connections();
            }
            Self::RefuseConnections { refuse } => inner.refusing = refuse,
            Self::SilenceSubscriptions => {
                for subscription in inner.subscriptions() {
                    subscription.is_silenced = true;
                }
            }
            Self::StopFollows => inner.stop_follows(),
            Self::Stall { method } => gates.stall(&method),
            Self::Resume { method } => gates.resume(&method),
            Self::FailRequests {
                method,
                code,
                message,
                times,
            } => gates.fail(&method, RpcError::new(code, message), times.get()),
            Self::RejectSubmission { rejection } => {
                inner.node.reject_submission(rejection.refused());
            }
            Self::LoseSubmissions { times } => inner.node.lose_submissions(times),
            Self::LoseAcknowledgements { times } => inner.lose_acknowledgements = times,
            Self::WithholdInclusion { withheld } => inner.node.withhold_inclusion(withheld),
            Self::FailDispatch { error } => {
                let unknown = || FaultError::UnknownError(error.clone());
                let (pallet, name) = error.split_once('.').ok_or_else(unknown)?;
                let failure = DispatchError::new(pallet, name);
                if !inner.node.fail_dispatch(failure) {
                    return Err(unknown());
                }
            }
            Self::StallFinality { stalled } => inner.node.stall_finality(stalled),
            Self::Reorganise { depth, returning } => inner
                .node
                .reorganise(depth, returning)
                .ok_or(FaultError::TooDeep(depth))?,
            Self::UpgradeRuntime { spec_version } => inner.node.upgrade_runtime(spec_version)?,
            Self::LiftBans => inner.node.lift_bans(),
        }
        inner.deliver();
        Ok(())
    }
}

//! What this process is at the moment, and for how long.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::{Code, Status};

use crate::driver::Handle;
use crate::services::RunContext;

/// The time for which this process leads.
#[derive(Clone)]
pub(crate) struct Tenure {
    over: CancellationToken,
    holds: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Tenure {
    /// As long as the process lives: its store has no other writer.
    pub(crate) fn for_life() -> Tenure {
        Tenure::while_holding(|| true)
    }

    /// As long as `holds` says so and nobody ends it.
    pub(crate) fn while_holding(holds: impl Fn() -> bool + Send + Sync + 'static) -> Tenure {
        Tenure {
            over: CancellationToken::new(),
            holds: Arc::new(holds),
        }
    }

    /// From now on nothing is said as leader.
    pub(crate) fn end(&self) {
        self.over.cancel();
    }

    /// Whether nothing may be said as leader any more. Looks at the clock: a
    /// process that was stopped knows as soon as it runs again.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled() || !(self.holds)()
    }

    /// Waits until it was ended.
    pub(crate) fn over(&self) -> impl Future<Output = ()> + Send + 'static {
        self.over.clone().cancelled_owned()
    }
}

/// What answers while this process leads.
#[derive(Clone)]
pub(crate) struct Leading {
    pub(crate) routes: Routes,
    pub(crate) tenure: Tenure,
    pub(crate) handle: Handle,
    pub(crate) run: Arc<RunContext>,
}

/// What a standby knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standby {
    /// The address of the one that leads.
    pub(crate) leader: Option<String>,
    /// What it does besides, in words; may be empty.
    pub(crate) detail: String,
}

impl Standby {
    /// What it is, as a sentence.
    pub(crate) fn describe(&self) -> String {
        let leader = match &self.leader {
            Some(leader) => format!("the leader is at {leader}"),
            None => "nobody leads at the moment".to_owned(),
        };
        match self.detail.as_str() {
            "" => leader,
            detail => format!("{leader}; {detail}"),
        }
    }
}

/// What a process is.
#[derive(Clone)]
pub(crate) enum Role {
    Standby(Standby),
    Leading(Leading),
}

/// The present role, for whoever answers.
#[derive(Clone)]
pub(crate) struct Roles(Arc<RwLock<Role>>);

impl Roles {
    pub(crate) fn standby() -> Roles {
        let standby = Standby {
            leader: None,
            detail: String::new(),
        };
        Roles(Arc::new(RwLock::new(Role::Standby(standby))))
    }

    pub(crate) fn set(&self, role: Role) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = role;
    }

    pub(crate) fn get(&self) -> Role {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The leader's services, while this process leads.
    pub(crate) fn leading(&self) -> Option<Leading> {
        match self.get() {
            Role::Leading(leading) if !leading.tenure.is_over() => Some(leading),
            Role::Leading(_) | Role::Standby(_) => None,
        }
    }

    /// What a standby knows; nothing of a leader's successor.
    pub(crate) fn as_standby(&self) -> Standby {
        match self.get() {
            Role::Standby(standby) => standby,
            Role::Leading(_) => Standby {
                leader: None,
                detail: "led until a moment ago".to_owned(),
            },
        }
    }

    /// How everything that only a leader answers is answered by others.
    pub(crate) fn unavailable(&self) -> Status {
        let Standby { leader, .. } = self.as_standby();
        let known = Standby {
            leader: leader.clone(),
            detail: String::new(),
        };
        let message = format!("standby; {}", known.describe());
        let mut status = Status::new(Code::Unavailable, message);
        let leader = leader.unwrap_or_default();
        // An address has no character that metadata cannot hold.
        let value =
            MetadataValue::try_from(leader).unwrap_or_else(|_| MetadataValue::from_static(""));
        status.metadata_mut().insert(proto::LEADER_METADATA, value);
        status
    }
}

//! Where etcd is and how to be let in.

use std::fmt;
use std::time::Duration;

use cli::Secret;

/// Where etcd is and how to be let in.
#[derive(Clone, Debug)]
pub struct Config {
    /// The members, each as `host:port`; at least one.
    pub endpoints: Vec<String>,
    /// How to speak TLS; `None` is plain text.
    pub tls: Option<Tls>,
    /// Who to be; `None` where etcd asks nobody.
    pub credentials: Option<Credentials>,
    /// How long one member may take to answer one call.
    pub attempt: Duration,
    /// How long calls that can be repeated are.
    pub patience: Duration,
}

impl Config {
    /// How long one member may take, where nobody says otherwise. A healthy one
    /// takes milliseconds, and a new leader is elected within one second.
    pub const ATTEMPT: Duration = Duration::from_secs(2);
    /// How long calls are repeated, where nobody says otherwise: longer than an
    /// election and a member's restart take.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Plain text, nobody in particular, the usual patience.
    #[must_use]
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            tls: None,
            credentials: None,
            attempt: Self::ATTEMPT,
            patience: Self::PATIENCE,
        }
    }
}

/// How to speak TLS: all in PEM.
#[derive(Clone, Default)]
pub struct Tls {
    /// Authorities to trust; `None` trusts the system's.
    pub authorities: Option<Vec<u8>>,
    /// Our certificate and its key, where etcd asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("own authorities", &self.authorities.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// A user of etcd.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

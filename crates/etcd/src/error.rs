//! Why etcd did not do what was asked of it.

use std::time::Duration;

use tonic::{Code, Status};

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no client with this configuration.
    #[error("{what}: {reason}")]
    Config {
        /// What is wrong.
        what: String,
        /// Why.
        reason: String,
    },
    /// etcd said no, and has done nothing.
    #[error("etcd refused: {}{}", message, advice(*code, message))]
    Refused {
        /// The kind of refusal.
        code: Code,
        /// etcd's words.
        message: String,
    },
    /// Nobody answered, or not that it was done. What was read has not been; what
    /// was written may have been, or may yet be.
    #[error("etcd at {endpoints} did not answer within {waited:.1?}: {reason}")]
    Unanswered {
        /// Who was asked.
        endpoints: String,
        /// For how long.
        waited: Duration,
        /// What was heard instead.
        reason: String,
    },
}

impl Error {
    /// Whether a version that was asked for has been compacted away.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        matches!(self, Error::Refused { code: Code::OutOfRange, message } if message.contains("compacted"))
    }

    /// Whether a lease that was named does not exist.
    #[must_use]
    pub fn is_no_lease(&self) -> bool {
        matches!(self, Error::Refused { code: Code::NotFound, message } if message.contains("lease"))
    }

    /// Whether nobody answered.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Error::Unanswered { .. })
    }
}

fn advice(code: Code, message: &str) -> &'static str {
    match code {
        Code::PermissionDenied => "; grant the user's role readwrite on the store's prefix",
        Code::InvalidArgument if message.contains("user name is empty") => {
            "; it demands credentials: give --etcd-user and a password"
        }
        Code::InvalidArgument if message.contains("authentication failed") => {
            "; correct --etcd-user or the password"
        }
        Code::ResourceExhausted if message.contains("space") => {
            "; compact and defragment etcd, then disarm its alarm, or raise its quota"
        }
        _ => "",
    }
}

/// Whether this says that a token has to be drawn anew; then nothing was done.
pub(crate) fn is_stale_token(status: &Status) -> bool {
    match status.code() {
        Code::Unauthenticated => true,
        Code::InvalidArgument => {
            let message = status.message();
            message.contains("auth store is old") || message.contains("user name is empty")
        }
        _ => false,
    }
}

/// Whether this is a decision of etcd's, after which nothing of a write will be
/// done.
pub(crate) fn is_decided(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::NotFound
            | Code::OutOfRange
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Unauthenticated
            | Code::Unimplemented
    )
}

/// A status in words, with its causes: a failed connection's own say only that
/// there was an error.
pub(crate) fn in_words(status: &Status) -> String {
    let mut words = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_decisions_are_refusals() {
        for code in [
            Code::Unavailable,
            Code::Unknown,
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Internal,
            Code::Aborted,
        ] {
            assert!(!is_decided(&Status::new(code, "?")), "{code:?}");
        }
        assert!(is_decided(&Status::permission_denied("no")));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refused = |code, message: &str| {
            let message = message.to_owned();
            Error::Refused { code, message }.to_string()
        };
        let no_user = refused(Code::InvalidArgument, "etcdserver: user name is empty");
        assert!(no_user.contains("--etcd-user"), "{no_user}");
        let denied = refused(Code::PermissionDenied, "etcdserver: permission denied");
        assert!(denied.contains("readwrite"), "{denied}");
    }
}

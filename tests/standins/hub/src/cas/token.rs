//! The tokens that the Hub hands out for the CAS.
//!
//! On the Hub they are signed; here they say in clear what they allow, since all
//! that a test can find out is whether a client sends the right kind in time.
//! Source: the Xet protocol's page on authentication.

use crate::store::now_ms;

/// Seconds for which a token is valid.
const LIFETIME_S: u64 = 900;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A token, and when it ends in seconds since the Unix epoch.
pub(crate) fn issue(access: Access) -> (String, u64) {
    let expires = now_ms() / 1000 + LIFETIME_S;
    let kind = match access {
        Access::Read => "read",
        Access::Write => "write",
    };
    (format!("xet_{kind}_{expires}"), expires)
}

/// Whether a token allows this now.
pub(super) fn allows(token: &str, access: Access) -> bool {
    let Some((kind, expires)) = token
        .strip_prefix("xet_")
        .and_then(|rest| rest.split_once('_'))
    else {
        return false;
    };
    let in_time = expires
        .parse::<u64>()
        .is_ok_and(|expires| expires > now_ms() / 1000);
    in_time
        && match access {
            Access::Read => kind == "read" || kind == "write",
            Access::Write => kind == "write",
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_allows_what_it_was_issued_for() {
        let (read, _) = issue(Access::Read);
        let (write, _) = issue(Access::Write);
        assert!(allows(&read, Access::Read) && !allows(&read, Access::Write));
        assert!(allows(&write, Access::Read) && allows(&write, Access::Write));
        assert!(!allows("xet_write_1", Access::Write), "long over");
        assert!(!allows("hf_token", Access::Read));
    }
}

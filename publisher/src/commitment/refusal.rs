//! What a node means when it refuses a transaction, and the chain when it executes one
//! in vain.
//!
//! The codes are those of `sc-rpc-api` (`author/error.rs` of polkadot-sdk), the words
//! beside code 1010 those of `sp-runtime`'s `InvalidTransaction`, and the numbers in
//! `Custom error: N` those of `common/src/transaction_error.rs` of
//! opentensor/subtensor.

use chain::PoolRefusal;

/// What a refusal means for the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The hotkey is not registered.
    NotRegistered,
    /// The node has these very bytes already.
    Known,
    /// It will be refused again; what to do, if that is known.
    Never(Option<&'static str>),
    /// Another attempt, signed anew from what the chain says then, may do better: the
    /// nonce is used by now or by another transaction, the runtime has changed, the
    /// pool is full.
    SignAgain,
}

/// What it means that a call was executed and failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The hotkey is not registered.
    NotRegistered,
    /// It has committed too much.
    Quota,
    /// It will fail again.
    Always,
    /// It may succeed another time: a full block, a lack of resources, a subnet that
    /// is being changed. Each attempt is a transaction that may cost a fee.
    Perhaps,
}

/// How many transactions may fail for reasons that may pass before they count as ones
/// that do not.
pub(super) const MAX_FAILURES: u32 = 3;

/// What the name of a [`DispatchFailure`](chain::DispatchFailure) means.
pub(super) fn failed(name: &str) -> Failed {
    match name {
        "Commitments.AccountNotAllowedCommit" => Failed::NotRegistered,
        "Commitments.SpaceLimitExceeded" | "Commitments.CommitmentSetRateLimitExceeded" => {
            Failed::Quota
        }
        "BadOrigin" | "System.CallFiltered" => Failed::Always,
        name if name.starts_with("Commitments.") || name.starts_with("Token.") => Failed::Always,
        _ => Failed::Perhaps,
    }
}

const INVALID: i32 = 1010;
const ALREADY_IMPORTED: i32 = 1013;

pub(super) fn meaning(refusal: &PoolRefusal) -> Meaning {
    match refusal.code {
        ALREADY_IMPORTED => Meaning::Known,
        INVALID => match custom_error(refusal) {
            Some(number) => custom_meaning(number),
            None => invalid_meaning(refusal.detail.as_deref().unwrap_or_default()),
        },
        // Undecodable (1001), banned for a while (1012), too low a priority beside
        // another with its nonce (1014), dropped at once (1016), and the like: each
        // concerns these bytes, or this moment.
        1001..2000 => Meaning::SignAgain,
        _ => Meaning::Never(Some(
            "the endpoint does not take transactions: name another with --subtensor.chain_endpoint",
        )),
    }
}

fn custom_error(refusal: &PoolRefusal) -> Option<u8> {
    let detail = refusal.detail.as_deref()?;
    detail.strip_prefix("Custom error: ")?.trim().parse().ok()
}

fn custom_meaning(number: u8) -> Meaning {
    match number {
        2 => Meaning::Never(Some("the account cannot pay for it: fund the coldkey")),
        3 => Meaning::Never(Some("there is no such subnet: check --netuid")),
        4 | 10 => Meaning::NotRegistered,
        _ => Meaning::SignAgain,
    }
}

fn invalid_meaning(words: &str) -> Meaning {
    if words.contains("Inability to pay") {
        return Meaning::Never(Some(
            "the account cannot pay the fee that the chain asks: fund it",
        ));
    }
    if words.contains("call is not expected") {
        return Meaning::Never(None);
    }
    // "outdated", "bad signature" after an upgrade, "ancient birth block", "exhaust the
    // block limits", "valid in the future": all depend on what the chain said.
    Meaning::SignAgain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: i32, detail: &str) -> PoolRefusal {
        PoolRefusal {
            code,
            message: "Invalid Transaction".to_owned(),
            detail: Some(detail.to_owned()),
        }
    }

    #[test]
    fn a_call_that_can_never_succeed_is_told_from_one_that_may() {
        for (name, meaning) in [
            ("Commitments.AccountNotAllowedCommit", Failed::NotRegistered),
            ("Commitments.SpaceLimitExceeded", Failed::Quota),
            ("Commitments.TooManyFieldsInCommitmentInfo", Failed::Always),
            ("Token.FundsUnavailable", Failed::Always),
            ("BadOrigin", Failed::Always),
            ("System.CallFiltered", Failed::Always),
            ("Exhausted", Failed::Perhaps),
            ("SubtensorModule.SubNetworkDoesNotExist", Failed::Perhaps),
        ] {
            assert_eq!(failed(name), meaning, "{name}");
        }
    }

    #[test]
    fn what_passes_is_signed_again_and_what_stays_is_not() {
        for detail in [
            "Transaction is outdated",
            "Transaction has a bad signature",
            "Transaction has an ancient birth block",
            "Custom error: 6",
            "Custom error: 300",
        ] {
            assert_eq!(
                meaning(&refusal(1010, detail)),
                Meaning::SignAgain,
                "{detail}"
            );
        }
        for code in [1012, 1014, 1016] {
            assert_eq!(meaning(&refusal(code, "")), Meaning::SignAgain, "{code}");
        }
        assert_eq!(meaning(&refusal(1013, "0x07")), Meaning::Known);
        assert_eq!(
            meaning(&refusal(1010, "Custom error: 10")),
            Meaning::NotRegistered
        );
        let poor = "Inability to pay some fees (e.g. account balance too low)";
        assert!(matches!(
            meaning(&refusal(1010, poor)),
            Meaning::Never(Some(_))
        ));
        assert!(matches!(
            meaning(&refusal(-32601, "")),
            Meaning::Never(Some(_))
        ));
    }
}

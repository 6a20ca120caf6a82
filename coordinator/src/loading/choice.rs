//! Whose model it is.

use std::collections::HashMap;

use chain::{ChainError, Commitment, CommitmentData, View};
use subnet::{Account, CommitId, ModelHash, ModelId};

/// A miner with a commitment that names a model completely.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contender {
    pub(super) uid: u16,
    pub(super) hotkey: Account,
    /// The share of the miners' reward that it earns, from 0 to 1; absent when
    /// nobody asked.
    pub(super) incentive: Option<f64>,
    pub(super) model: ModelId,
    pub(super) commit: CommitId,
    pub(super) hash: ModelHash,
}

impl Contender {
    /// The miner in words.
    pub(super) fn who(&self) -> String {
        match self.incentive {
            Some(incentive) => format!("uid {} (incentive {incentive:.4})", self.uid),
            None => format!("uid {}", self.uid),
        }
    }
}

/// Miners in the order in which they are tried; those without a usable
/// commitment with the reason.
#[derive(Debug)]
pub(super) struct Ranking {
    pub(super) contenders: Vec<Result<Contender, String>>,
}

impl Ranking {
    /// One miner, by uid.
    pub(super) async fn of_uid(view: &View, netuid: u16, uid: u16) -> Result<Ranking, ChainError> {
        let Some(hotkey) = view.neuron(netuid, uid).await? else {
            return Ok(Ranking {
                contenders: vec![Err(format!("nobody has uid {uid}"))],
            });
        };
        let commitment = view.commitment(netuid, &hotkey).await?;
        Ok(Ranking {
            contenders: vec![contender(uid, hotkey, None, commitment.as_ref())],
        })
    }

    /// Every miner that earns something, by incentive.
    pub(super) async fn by_incentive(view: &View, netuid: u16) -> Result<Ranking, ChainError> {
        let metagraph = view.metagraph(netuid).await?;
        let commitments: HashMap<Account, Commitment> =
            view.commitments(netuid).await?.into_iter().collect();
        let earning = metagraph.by_incentive().into_iter();
        let contenders = earning
            .take_while(|neuron| neuron.incentive > 0.0)
            .map(|neuron| {
                let commitment = commitments.get(&neuron.hotkey);
                contender(
                    neuron.uid,
                    neuron.hotkey,
                    Some(neuron.incentive),
                    commitment,
                )
            })
            .collect();
        Ok(Ranking { contenders })
    }
}

/// A miner and what it has committed; or why that is of no use.
fn contender(
    uid: u16,
    hotkey: Account,
    incentive: Option<f64>,
    commitment: Option<&Commitment>,
) -> Result<Contender, String> {
    let text = match commitment.map(|commitment| &commitment.data) {
        None => return Err(format!("uid {uid} has committed nothing")),
        Some(CommitmentData::Text(text)) => text,
        Some(CommitmentData::Bytes(bytes)) => {
            return Err(format!(
                "uid {uid} has committed {} bytes that are no text",
                bytes.len()
            ));
        }
        Some(CommitmentData::Unreadable(why)) => {
            return Err(format!(
                "uid {uid} has committed what cannot be read: {why}"
            ));
        }
    };
    let model: ModelId = text
        .parse()
        .map_err(|error| format!("uid {uid} has committed no model ({error})"))?;
    let commit = model.commit.filter(|commit| !commit.is_pending());
    let (Some(commit), Some(hash)) = (commit, model.hash) else {
        return Err(format!(
            "uid {uid} has committed {model}, which names no commit, or no hash to compare with"
        ));
    };
    Ok(Contender {
        uid,
        hotkey,
        incentive,
        model,
        commit,
        hash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn committed(data: CommitmentData) -> Result<Contender, String> {
        let commitment = Commitment { block: 7, data };
        contender(3, Account::from([1; 32]), Some(0.25), Some(&commitment))
    }

    #[test]
    fn a_complete_commitment_names_a_model() {
        let text = format!("ns:name:{COMMIT}:{HASH}");
        let contender = committed(CommitmentData::Text(text)).unwrap();
        assert_eq!(contender.model.repo.to_string(), "ns/name");
        assert_eq!(contender.commit.to_string(), COMMIT);
        assert_eq!(contender.who(), "uid 3 (incentive 0.2500)");
    }

    #[test]
    fn what_cannot_be_used_says_whose_it_is_and_why() {
        let pending = CommitId::PENDING;
        for (data, why) in [
            (CommitmentData::Bytes(vec![0xff; 3]), "3 bytes"),
            (
                CommitmentData::Unreadable("two fields".to_owned()),
                "two fields",
            ),
            (CommitmentData::Text("hello".to_owned()), "no model"),
            (
                CommitmentData::Text("ns:name:None:None".to_owned()),
                "names no commit",
            ),
            (
                CommitmentData::Text(format!("ns:name:{COMMIT}:None")),
                "no hash",
            ),
            (
                CommitmentData::Text(format!("ns:name:{pending}:{HASH}")),
                "names no commit",
            ),
        ] {
            let reason = committed(data).unwrap_err();
            assert!(reason.contains("uid 3") && reason.contains(why), "{reason}");
        }
        let nothing = contender(3, Account::from([1; 32]), None, None).unwrap_err();
        assert!(nothing.contains("committed nothing"), "{nothing}");
    }
}

//! From the words of a mnemonic to a key's seed.
//!
//! Substrate's rule, which is not BIP-39's own: PBKDF2 runs over the entropy that
//! the words stand for, not over the words, and the first half of the result is the
//! seed. Wallets use no password here.

use bip39::{Language, Mnemonic};
use schnorrkel::MiniSecretKey;
use zeroize::Zeroizing;

use super::KeyfileError;

pub(super) const FIELD: &str = "secretPhrase";

/// The seed of a mnemonic of 12, 15, 18, 21 or 24 English words.
pub(super) fn seed(words: &str) -> Result<MiniSecretKey, KeyfileError> {
    let refuse = |reason| KeyfileError::Field {
        field: FIELD,
        reason,
    };
    let mnemonic = Mnemonic::parse_in_normalized(Language::English, words);
    let mnemonic = mnemonic.map_err(|error| {
        refuse(match error {
            bip39::Error::BadWordCount(_) => "does not have 12, 15, 18, 21 or 24 words",
            bip39::Error::UnknownWord(_) => {
                "has a word that is not in the English list of BIP-39: it must be written in \
                 lower case and in full"
            }
            bip39::Error::InvalidChecksum => {
                "has words that do not belong together: one of them is another, or their order is"
            }
            _ => "is not a mnemonic",
        })
    })?;
    let (entropy, length) = mnemonic.to_entropy_array();
    let entropy = Zeroizing::new(entropy);
    let seed = substrate_bip39::seed_from_entropy(&entropy[..length], "");
    let seed = Zeroizing::new(seed.map_err(|_| refuse("is not a mnemonic"))?);
    MiniSecretKey::from_bytes(&seed[..32]).map_err(|_| refuse("is not a mnemonic"))
}

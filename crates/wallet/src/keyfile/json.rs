//! The JSON of a keyfile, and which key it describes.

use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey, SecretKey};
use serde::Deserialize;
use subnet::Account;
use zeroize::Zeroizing;

use super::{KeyfileError, mnemonic};

/// The number by which keyfiles call sr25519. Old ones do not say it.
const SR25519: u64 = 1;

/// A keyfile's fields; wallets write them in any order, and leave out or set to
/// null what they do not know. All are zeroed, the public ones too: somebody may
/// have filled them in by hand and mixed them up.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    private_key: Option<Zeroizing<String>>,
    secret_seed: Option<Zeroizing<String>>,
    secret_phrase: Option<Zeroizing<String>>,
    ss58_address: Option<Zeroizing<String>>,
    public_key: Option<Zeroizing<String>>,
    account_id: Option<Zeroizing<String>>,
    crypto_type: Option<u64>,
}

/// The key that a keyfile's JSON describes, after everything else in the file was
/// compared with it.
pub(crate) fn read_key(json: &[u8]) -> Result<Keypair, KeyfileError> {
    let fields = Fields::parse(json)?;
    let keypair = fields.keypair()?;
    let key = account_of(&keypair);
    for (field, says) in fields.accounts()? {
        if says != key {
            return Err(KeyfileError::OtherAccount { field, says, key });
        }
    }
    Ok(keypair)
}

/// The account that the JSON of a public file (`hotkeys/NAMEpub.txt`,
/// `coldkeypub.txt`) describes. Private fields are not looked at.
///
/// # Errors
/// If it is not the JSON that wallets write, or its fields disagree.
pub fn public_account(json: &[u8]) -> Result<Account, KeyfileError> {
    let accounts = Fields::parse(json)?.accounts()?;
    let Some(&(_, account)) = accounts.first() else {
        return Err(KeyfileError::NoAccount);
    };
    match accounts.iter().find(|&&(_, other)| other != account) {
        None => Ok(account),
        Some(&(field, says)) => Err(KeyfileError::OtherAccount {
            field,
            says,
            key: account,
        }),
    }
}

/// The account that a key signs for.
pub(crate) fn account_of(keypair: &Keypair) -> Account {
    Account::from(keypair.public.to_bytes())
}

impl Fields {
    fn parse(json: &[u8]) -> Result<Self, KeyfileError> {
        // serde_json's own message would repeat a value of the wrong type.
        let fields: Self = serde_json::from_slice(json).map_err(|error| KeyfileError::Json {
            line: error.line(),
            column: error.column(),
        })?;
        match fields.crypto_type {
            None | Some(SR25519) => Ok(fields),
            Some(other) => Err(KeyfileError::CryptoType(other)),
        }
    }

    /// The private key, in whichever ways it is written.
    fn keypair(&self) -> Result<Keypair, KeyfileError> {
        let from_private_key = self.private_key.as_deref().map(|text| private_key(text));
        let from_seed = self.secret_seed.as_deref().map(|text| seed(text));
        let from_phrase = self.secret_phrase.as_deref().map(|words| phrase(words));
        let mut first: Option<(&'static str, Keypair)> = None;
        for (field, keypair) in [
            ("privateKey", from_private_key),
            ("secretSeed", from_seed),
            (mnemonic::FIELD, from_phrase),
        ] {
            let Some(keypair) = keypair.transpose()? else {
                continue;
            };
            match &first {
                None => first = Some((field, keypair)),
                Some((_, known)) if known.public == keypair.public => {}
                Some((earlier, known)) => {
                    return Err(KeyfileError::Disagreement {
                        first: earlier,
                        first_account: account_of(known),
                        second: field,
                        second_account: account_of(&keypair),
                    });
                }
            }
        }
        match first {
            Some((_, keypair)) => Ok(keypair),
            None => Err(KeyfileError::NoPrivateKey),
        }
    }

    /// The accounts that the public fields name.
    fn accounts(&self) -> Result<Vec<(&'static str, Account)>, KeyfileError> {
        let mut accounts = Vec::new();
        if let Some(address) = &self.ss58_address {
            accounts.push(("ss58Address", address.parse()?));
        }
        for (field, text) in [
            ("publicKey", &self.public_key),
            ("accountId", &self.account_id),
        ] {
            if let Some(text) = text {
                let key: Zeroizing<[u8; 32]> = hex_bytes(field, text)?;
                accounts.push((field, Account::from(*key)));
            }
        }
        Ok(accounts)
    }
}

/// A private key as wallets write it: the scalar as schnorrkel keeps it (not
/// multiplied by the cofactor, as ed25519 would), then the seed of nonces.
fn private_key(text: &str) -> Result<Keypair, KeyfileError> {
    const FIELD: &str = "privateKey";
    let refuse = |reason| KeyfileError::Field {
        field: FIELD,
        reason,
    };
    let bytes: Zeroizing<[u8; 64]> = hex_bytes(FIELD, text)?;
    let secret = SecretKey::from_bytes(&*bytes).map_err(|_| {
        refuse("is no sr25519 key: its first half is not a number below the group's order")
    })?;
    let keypair = secret.to_keypair();
    if keypair.public.to_bytes() == [0; 32] {
        return Err(refuse("is zero, with which anybody could sign"));
    }
    Ok(keypair)
}

fn seed(text: &str) -> Result<Keypair, KeyfileError> {
    const FIELD: &str = "secretSeed";
    let bytes: Zeroizing<[u8; 32]> = hex_bytes(FIELD, text)?;
    let seed = MiniSecretKey::from_bytes(&*bytes).map_err(|_| KeyfileError::Field {
        field: FIELD,
        reason: "is no seed",
    })?;
    Ok(expand(&seed))
}

fn phrase(words: &str) -> Result<Keypair, KeyfileError> {
    Ok(expand(&mnemonic::seed(words)?))
}

/// The key of a seed, as Substrate derives it.
pub(crate) fn expand(seed: &MiniSecretKey) -> Keypair {
    seed.expand_to_keypair(ExpansionMode::Ed25519)
}

/// `N` bytes in hexadecimal, with or without `0x`.
fn hex_bytes<const N: usize>(
    field: &'static str,
    text: &str,
) -> Result<Zeroizing<[u8; N]>, KeyfileError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut bytes = Zeroizing::new([0; N]);
    let reason = match N {
        32 => "is not 0x and 64 hexadecimal digits",
        _ => "is not 0x and 128 hexadecimal digits",
    };
    match hex::decode_to_slice(digits, &mut *bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(KeyfileError::Field { field, reason }),
    }
}

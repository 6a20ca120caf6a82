//! What keyfiles hold, without any IO: which kind one is, how an encrypted one is
//! decrypted, and which key its JSON describes.
//!
//! Architecture invariant: no error of this module repeats anything that stands in
//! a keyfile but public keys, which are shown as addresses.

mod encrypted;
mod json;
mod mnemonic;

pub use encrypted::{Encrypted, KdfCost, MAGIC, SALT};
pub use json::public_account;
pub(crate) use json::{account_of, expand, read_key};

/// The most bytes that a keyfile may have. Real ones have about 600.
pub const MAX_BYTES: usize = 64 << 10;

/// A keyfile by its outer form.
#[derive(Debug)]
pub enum Keyfile<'a> {
    /// JSON that anybody can read.
    Plain(PlainJson<'a>),
    /// JSON under a password.
    Encrypted(Encrypted<'a>),
}

/// The bytes of a keyfile's JSON. `Debug` shows nothing of them.
#[derive(Clone, Copy)]
pub struct PlainJson<'a>(&'a [u8]);

/// Why a keyfile is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyfileError {
    /// There is nothing in it.
    #[error(
        "the keyfile is empty: restore it from a backup, or make the key again from its mnemonic"
    )]
    Empty,
    /// It was encrypted by a version of Bittensor's tools whose format is no longer in use.
    #[error(
        "the keyfile is encrypted in the old format of {0}, which is not read: convert it with \
         check_and_update_encryption() of bittensor-wallet's Keyfile, or make the key again from \
         its mnemonic with `btcli wallet regen-hotkey`"
    )]
    Legacy(&'static str),
    /// It is of no form that wallets have.
    #[error(
        "this is not a keyfile: it begins neither with {{, as JSON does, nor with $NACL, as \
         encrypted keyfiles do"
    )]
    Unrecognised,
    /// It ends before the encrypted part does.
    #[error(
        "the encrypted keyfile has only {bytes} bytes, so it has been cut short: restore it from a backup"
    )]
    CutShort {
        /// How many it has.
        bytes: usize,
    },
    /// The password does not fit, or the contents were changed.
    #[error("the keyfile cannot be decrypted: the password is wrong, or the file has been damaged")]
    WrongPassword,
    /// There was not enough memory to compute the encryption key.
    #[error(
        "the keyfile cannot be decrypted: {mebibytes} MiB of memory are needed for it and cannot be had"
    )]
    OutOfMemory {
        /// How much was asked for.
        mebibytes: u32,
    },
    /// It is not JSON, or not the JSON of a keyfile.
    #[error(
        "the keyfile is not the JSON that wallets write: line {line}, column {column} is not what \
         is expected there"
    )]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
    },
    /// Its key is for another signature scheme.
    #[error(
        "the keyfile's cryptoType is {0}, and only 1 (sr25519) can sign for a miner: make a hotkey \
         of that type"
    )]
    CryptoType(u64),
    /// A field does not hold what it should.
    #[error("the keyfile's {field} {reason}")]
    Field {
        /// As the file spells it.
        field: &'static str,
        /// What is wrong with it: the rest of the sentence.
        reason: &'static str,
    },
    /// A field that should hold an address does not.
    #[error("the keyfile's ss58Address cannot be used: {0}")]
    Address(#[from] subnet::AccountError),
    /// It describes an account and not its private key.
    #[error(
        "the keyfile has none of privateKey, secretSeed and secretPhrase, so it cannot sign: name \
         the keyfile itself, not the one that ends in pub.txt"
    )]
    NoPrivateKey,
    /// It describes no account either.
    #[error("the file has none of ss58Address, publicKey and accountId, so it names no account")]
    NoAccount,
    /// Two ways of writing the private key name different keys.
    #[error(
        "the keyfile's {first} and {second} are different keys ({first_account} and \
         {second_account}): restore the file from a backup, or make the key again from its mnemonic"
    )]
    Disagreement {
        /// One field.
        first: &'static str,
        /// The account of its key.
        first_account: subnet::Account,
        /// Another field.
        second: &'static str,
        /// The account of that one's key.
        second_account: subnet::Account,
    },
    /// The account that the file says it is for is not that of its key.
    #[error(
        "the keyfile's {field} says that it is for {says}, but its key is that of {key}: restore \
         the file from a backup, or make the key again from its mnemonic"
    )]
    OtherAccount {
        /// The field that names the account.
        field: &'static str,
        /// The account that it names.
        says: subnet::Account,
        /// The account that the key or another field belongs to.
        key: subnet::Account,
    },
}

impl<'a> Keyfile<'a> {
    /// Tells by its first bytes which kind of keyfile this is.
    ///
    /// # Errors
    /// If it is empty, in an old format, or no keyfile.
    pub fn recognise(contents: &'a [u8]) -> Result<Self, KeyfileError> {
        if let Some(rest) = contents.strip_prefix(MAGIC) {
            return Encrypted::split(rest).map(Self::Encrypted);
        }
        for (prefix, name) in [
            (&b"$ANSIBLE_VAULT"[..], "Ansible Vault"),
            (&b"gAAAAA"[..], "Fernet"),
        ] {
            if contents.starts_with(prefix) {
                return Err(KeyfileError::Legacy(name));
            }
        }
        match contents.trim_ascii_start().first() {
            Some(b'{') => Ok(Self::Plain(PlainJson(contents))),
            Some(_) => Err(KeyfileError::Unrecognised),
            None => Err(KeyfileError::Empty),
        }
    }
}

impl<'a> PlainJson<'a> {
    /// The bytes themselves.
    #[must_use]
    pub fn expose(self) -> &'a [u8] {
        self.0
    }
}

impl std::fmt::Debug for PlainJson<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlainJson(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyfile_is_known_by_how_it_begins() {
        let plain = Keyfile::recognise(b" \n{\"secretSeed\":");
        assert!(matches!(plain, Ok(Keyfile::Plain(_))));
        let encrypted = [MAGIC, &[0; 64]].concat();
        let encrypted = Keyfile::recognise(&encrypted);
        assert!(matches!(encrypted, Ok(Keyfile::Encrypted(_))));
    }

    #[test]
    fn old_formats_are_refused_with_a_way_out() {
        for (contents, name) in [
            (&b"$ANSIBLE_VAULT;1.4;AES256"[..], "Ansible"),
            (&b"gAAAAABnQ"[..], "Fernet"),
        ] {
            let text = Keyfile::recognise(contents).unwrap_err().to_string();
            assert!(text.contains(name), "{text}");
            assert!(text.contains("regen-hotkey"), "{text}");
        }
    }

    #[test]
    fn what_is_no_keyfile_is_refused() {
        for contents in [&b""[..], b" \n\t"] {
            let refused = Keyfile::recognise(contents);
            assert!(matches!(refused, Err(KeyfileError::Empty)));
        }
        // An array would otherwise be read as the fields in their order.
        for contents in [
            &b"hello"[..],
            b"[\"a\"]",
            b"0x00",
            b"\"{",
            b"\xff{",
            b"$NAC",
        ] {
            let refused = Keyfile::recognise(contents);
            assert!(matches!(refused, Err(KeyfileError::Unrecognised)));
        }
        let refused = Keyfile::recognise(b"$NACL only a little");
        assert!(matches!(refused, Err(KeyfileError::CutShort { bytes: 19 })));
    }

    #[test]
    fn debug_shows_nothing_of_a_plain_keyfile() {
        let keyfile = Keyfile::recognise(b"{\"secretSeed\":\"0xabc\"}").unwrap();
        assert_eq!(format!("{keyfile:?}"), "Plain(PlainJson(..))");
    }
}

//! The key that signs.

use std::fmt;
use std::io;

use schnorrkel::{Keypair, MiniSecretKey};
use subnet::Account;

use crate::file::{self, Unread};
use crate::keyfile::{self, KdfCost, Keyfile, KeyfileError};
use crate::stack::wiped_after;
use crate::{Password, WalletError, WalletLocation, Warning, account_file};

/// What sr25519 signatures of Substrate chains are made for; part of every message
/// that is signed.
const SIGNING_CONTEXT: &[u8] = b"substrate";

/// A hotkey that was opened: it signs. Zeroed when it is dropped; `Debug` and
/// `Display` show its address.
pub struct Hotkey {
    // In a box, so that moving the hotkey does not copy the key about.
    keypair: Box<Keypair>,
    account: Account,
}

impl Hotkey {
    /// Opens a wallet's hotkey. Asks for the password only if the keyfile is
    /// encrypted.
    ///
    /// For an encrypted keyfile this takes seconds of processor time and 512 MiB of
    /// memory, and a prompt waits for a person: call it where blocking is allowed.
    ///
    /// # Errors
    /// If there is no such keyfile, if it cannot be read or decrypted, or if what
    /// stands in it or in the public file beside it is not all about one key.
    pub fn open(
        location: &WalletLocation,
        password: &Password,
    ) -> Result<(Self, Vec<Warning>), WalletError> {
        wiped_after(|| Self::open_file(location, password))
    }

    fn open_file(
        location: &WalletLocation,
        password: &Password,
    ) -> Result<(Self, Vec<Warning>), WalletError> {
        let path = location.hotkey_file();
        let file = file::read(&path, keyfile::MAX_BYTES).map_err(|unread| match unread {
            Unread::Io(error) if is_missing(&error) => location.missing(),
            Unread::Io(source) => WalletError::Io {
                path: path.clone(),
                source,
            },
            Unread::NotAFile => WalletError::NotAFile { path: path.clone() },
            Unread::TooLarge => WalletError::TooLarge { path: path.clone() },
        })?;
        let mut warnings = file.warnings;
        let refuse = |source| WalletError::Keyfile {
            path: path.clone(),
            source: Box::new(source),
        };
        let hotkey = match Keyfile::recognise(&file.contents).map_err(refuse)? {
            Keyfile::Plain(json) => Self::from_json(json.expose()),
            Keyfile::Encrypted(encrypted) => {
                let given = password
                    .get(&path)
                    .map_err(|source| WalletError::Password {
                        path: path.clone(),
                        source,
                    })?;
                warnings.extend(given.warnings);
                let json = encrypted.decrypt(&given.password, KdfCost::BITTENSOR);
                json.and_then(|json| Self::from_json(&json))
            }
        };
        let hotkey = hotkey.map_err(refuse)?;
        warnings.extend(hotkey.compare_with_public_file(location)?);
        Ok((hotkey, warnings))
    }

    /// The hotkey that the JSON of a keyfile describes.
    ///
    /// # Errors
    /// If it describes none, or more than one.
    pub fn from_json(json: &[u8]) -> Result<Self, KeyfileError> {
        wiped_after(|| keyfile::read_key(json).map(Self::from_keypair))
    }

    /// A new hotkey that is nowhere on disk.
    #[must_use]
    pub fn generate() -> Self {
        wiped_after(|| Self::from_keypair(keyfile::expand(&MiniSecretKey::generate())))
    }

    pub(crate) fn from_keypair(keypair: Keypair) -> Self {
        let account = keyfile::account_of(&keypair);
        Self {
            keypair: Box::new(keypair),
            account,
        }
    }

    /// The account that it signs for.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The sr25519 signature of a message, as Substrate chains verify it. Two
    /// signatures of one message differ.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let sign = || self.keypair.sign_simple(SIGNING_CONTEXT, message);
        wiped_after(sign).to_bytes()
    }

    fn compare_with_public_file(
        &self,
        location: &WalletLocation,
    ) -> Result<Option<Warning>, WalletError> {
        let path = location.hotkey_pub_file();
        match account_file::read(&path) {
            Ok(None) => Ok(None),
            Ok(Some(says)) if says == self.account => Ok(None),
            Ok(Some(says)) => Err(WalletError::OtherPublicFile {
                public_file: path,
                says,
                keyfile: location.hotkey_file(),
                key: self.account,
            }),
            Err(why) => Ok(Some(Warning::PublicFile { path, why })),
        }
    }
}

/// Whether the file, or a folder on the way to it, is not there.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

impl fmt::Debug for Hotkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hotkey({})", self.account)
    }
}

impl fmt::Display for Hotkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.account.fmt(f)
    }
}

//! Why a wallet cannot be used.

use std::io;
use std::path::PathBuf;

use subnet::Account;

use crate::keyfile::{self, KeyfileError};
use crate::password::PasswordError;

/// Why a wallet cannot be used. Each message names the file or the setting and says
/// what to do; none repeats anything of a secret.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The name of a wallet or a hotkey cannot be that of a file.
    #[error("the {part}'s name {name:?} {reason}")]
    Name {
        /// `wallet` or `hotkey`.
        part: &'static str,
        /// What was given.
        name: String,
        /// What is wrong with it: the rest of the sentence.
        reason: &'static str,
    },
    /// The wallets' folder begins with a `~` that stands for nothing known.
    #[error(
        "the wallets' folder {} begins with ~, and {reason}: write the whole path",
        path.display()
    )]
    Home {
        /// What was given.
        path: PathBuf,
        /// Why `~` cannot be replaced.
        reason: &'static str,
    },
    /// There is no such keyfile.
    #[error("there is no keyfile {}: {hint}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What is there instead.
        hint: String,
    },
    /// The operating system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// It is a folder or a device.
    #[error("{} is not a file: name a hotkey's keyfile", path.display())]
    NotAFile {
        /// What was found there.
        path: PathBuf,
    },
    /// It is too large for a keyfile.
    #[error(
        "{} is not a keyfile: it has more than {} bytes, and keyfiles have about 600",
        path.display(),
        keyfile::MAX_BYTES
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its contents are refused.
    #[error("{}: {source}", path.display())]
    Keyfile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<KeyfileError>,
    },
    /// The password of an encrypted keyfile cannot be had.
    #[error("{} is encrypted, and {source}", path.display())]
    Password {
        /// The keyfile.
        path: PathBuf,
        /// Why the password cannot be had.
        source: PasswordError,
    },
    /// The public file beside the keyfile is another account's.
    #[error(
        "{} names the account {says}, but the key in {} is that of {key}: find out which of the \
         two files is the wrong one, and restore or remove it",
        public_file.display(),
        keyfile.display()
    )]
    OtherPublicFile {
        /// The public file.
        public_file: PathBuf,
        /// The account it names.
        says: Account,
        /// The keyfile.
        keyfile: PathBuf,
        /// The account of its key.
        key: Account,
    },
    /// A wallet to be made is there already.
    #[error("{} is there already, and no key is ever overwritten: choose another name", path.display())]
    Exists {
        /// The keyfile.
        path: PathBuf,
    },
}

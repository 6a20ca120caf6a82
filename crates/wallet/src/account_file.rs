//! The files with public halves: `coldkeypub.txt`, and `HOTKEYpub.txt` beside a
//! hotkey.

use std::io;
use std::path::Path;

use subnet::Account;

use crate::file::{self, Unread};
use crate::keyfile::{self, KeyfileError};
use crate::warning::PublicFileProblem;
use crate::{WalletError, WalletLocation};

/// The account of the wallet's coldkey, as `coldkeypub.txt` names it; `None` if there
/// is no such file.
///
/// # Errors
/// If the file cannot be read, or is not one that wallets write.
pub fn coldkey(location: &WalletLocation) -> Result<Option<Account>, WalletError> {
    let path = location.coldkeypub_file();
    read(&path).map_err(|problem| match problem {
        PublicFileProblem::Io(source) => WalletError::Io { path, source },
        PublicFileProblem::NotASmallFile => WalletError::NotAFile { path },
        PublicFileProblem::Contents(source) => {
            let source = Box::new(source);
            WalletError::Keyfile { path, source }
        }
    })
}

/// The account that a public file names; `None` if there is no file.
pub(crate) fn read(path: &Path) -> Result<Option<Account>, PublicFileProblem> {
    let file = match file::read(path, keyfile::MAX_BYTES) {
        Ok(file) => file,
        Err(Unread::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(Unread::Io(error)) => return Err(PublicFileProblem::Io(error)),
        Err(Unread::NotAFile | Unread::TooLarge) => return Err(PublicFileProblem::NotASmallFile),
    };
    if file.contents.trim_ascii().is_empty() {
        return Err(KeyfileError::Empty.into());
    }
    Ok(Some(keyfile::public_account(&file.contents)?))
}

//! Wallets in temporary folders, and fixtures.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wallet::{Hotkey, Password, WalletError, WalletLocation, Warning};

/// A file of tests/fixtures.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A wallet called `miner` with a hotkey called `first`.
pub(crate) struct Wallet {
    folder: TempDir,
    pub(crate) location: WalletLocation,
}

impl Wallet {
    /// One whose folders are there, and no files.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = WalletLocation::new(folder.path(), "miner", "first").unwrap();
        let hotkeys = location.hotkey_file();
        fs::create_dir_all(hotkeys.parent().unwrap()).unwrap();
        Self { folder, location }
    }

    /// One whose hotkey's keyfile has these contents and is its owner's alone.
    pub(crate) fn with_hotkey(contents: impl AsRef<[u8]>) -> Self {
        let wallet = Self::empty();
        wallet.write(&wallet.location.hotkey_file(), contents, 0o600);
        wallet
    }

    /// One whose hotkey's keyfile is a copy of a fixture.
    pub(crate) fn with_fixture(name: &str) -> Self {
        Self::with_hotkey(fs::read(fixture(name)).unwrap())
    }

    pub(crate) fn write(&self, path: &Path, contents: impl AsRef<[u8]>, mode: u32) {
        assert!(path.starts_with(self.folder.path()));
        fs::write(path, contents).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Opens the hotkey without a password.
    pub(crate) fn open(&self) -> Result<(Hotkey, Vec<Warning>), WalletError> {
        Hotkey::open(&self.location, &Password::None)
    }

    /// What opening the hotkey is refused with.
    pub(crate) fn refusal(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}

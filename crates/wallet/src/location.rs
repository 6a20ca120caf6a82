//! Where a wallet's files are.

use std::fs;
use std::path::{Path, PathBuf};

use crate::WalletError;

/// What the names of the public files beside hotkeys end with.
const PUBLIC_SUFFIX: &str = "pub.txt";

/// How many names a hint lists.
const LISTED: usize = 12;

/// A hotkey's place, as Bittensor's tools lay wallets out:
///
/// ```text
/// ~/.bittensor/wallets/NAME/coldkeypub.txt
/// ~/.bittensor/wallets/NAME/hotkeys/HOTKEY
/// ~/.bittensor/wallets/NAME/hotkeys/HOTKEYpub.txt
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletLocation {
    path: PathBuf,
    name: String,
    hotkey: String,
}

impl WalletLocation {
    /// The hotkey `hotkey` of the wallet `name` in the folder `path`, which may begin
    /// with `~` for the user's home. Nothing is opened.
    ///
    /// # Errors
    /// If a name is not that of a file, or there is no home to put in `~`'s place.
    pub fn new(path: &Path, name: &str, hotkey: &str) -> Result<Self, WalletError> {
        check_name("wallet", name)?;
        check_name("hotkey", hotkey)?;
        Ok(Self {
            path: expand_home(path)?,
            name: name.to_owned(),
            hotkey: hotkey.to_owned(),
        })
    }

    /// The folder of all wallets.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The wallet's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hotkey's name.
    #[must_use]
    pub fn hotkey(&self) -> &str {
        &self.hotkey
    }

    /// The hotkey's keyfile.
    #[must_use]
    pub fn hotkey_file(&self) -> PathBuf {
        self.hotkeys().join(&self.hotkey)
    }

    /// The file that newer tools write beside it, with the public half.
    #[must_use]
    pub fn hotkey_pub_file(&self) -> PathBuf {
        self.hotkeys()
            .join(format!("{}{PUBLIC_SUFFIX}", self.hotkey))
    }

    /// The file with the public half of the wallet's coldkey.
    #[must_use]
    pub fn coldkeypub_file(&self) -> PathBuf {
        self.wallet().join("coldkeypub.txt")
    }

    fn wallet(&self) -> PathBuf {
        self.path.join(&self.name)
    }

    fn hotkeys(&self) -> PathBuf {
        self.wallet().join("hotkeys")
    }

    /// The error for a keyfile that is not there. Says how far the path exists and
    /// what the last folder of it holds.
    pub(crate) fn missing(&self) -> WalletError {
        let (name, path) = (&self.name, self.path.display());
        let hint = if !self.path.is_dir() {
            format!(
                "there is no folder {path}; name the wallets' folder, or make a wallet with `btcli \
                 wallet create`"
            )
        } else if !self.wallet().is_dir() {
            let wallets = names_in(&self.path, |entry| entry.path().is_dir());
            let found = list("no wallets", "the wallets", &wallets);
            format!("there is no wallet {name} in {path}, which has {found}")
        } else {
            let hotkeys = names_in(&self.hotkeys(), |entry| entry.path().is_file());
            let keyfiles: Vec<String> = hotkeys
                .into_iter()
                .filter(|hotkey| !hotkey.ends_with(PUBLIC_SUFFIX))
                .collect();
            let found = list("no hotkeys", "the hotkeys", &keyfiles);
            format!("the wallet {name} in {path} has {found}")
        };
        let path = self.hotkey_file();
        WalletError::Missing { path, hint }
    }
}

fn check_name(part: &'static str, name: &str) -> Result<(), WalletError> {
    let reason = if name.is_empty() {
        "is empty"
    } else if name.contains(['/', '\\']) {
        "contains a separator: give the name alone, and the folder as the wallets' path"
    } else if name == "." || name == ".." {
        "is a folder's"
    } else if name.contains(char::is_control) {
        "contains control characters"
    } else {
        return Ok(());
    };
    Err(WalletError::Name {
        part,
        name: name.to_owned(),
        reason,
    })
}

fn expand_home(path: &Path) -> Result<PathBuf, WalletError> {
    let refuse = |reason| WalletError::Home {
        path: path.to_owned(),
        reason,
    };
    if let Ok(below) = path.strip_prefix("~") {
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let home = home.ok_or_else(|| refuse("this user has no home"))?;
        return Ok(home.join(below));
    }
    let first = path.components().next();
    let first = first.map(|first| first.as_os_str().as_encoded_bytes());
    match first {
        Some([b'~', ..]) => Err(refuse("other users' homes are not looked up")),
        _ => Ok(path.to_owned()),
    }
}

/// The names in a folder, sorted; none if it cannot be read.
fn names_in(folder: &Path, counts: impl Fn(&fs::DirEntry) -> bool) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| counts(entry))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// `the hotkeys a, b and 3 more`. Names that could play tricks on a terminal are
/// escaped.
fn list(none: &str, some: &str, names: &[String]) -> String {
    if names.is_empty() {
        return none.to_owned();
    }
    let shown: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|name| name.escape_debug().to_string())
        .collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => format!("{some} {shown}"),
        more => format!("{some} {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &Path, name: &str, hotkey: &str) -> WalletLocation {
        WalletLocation::new(path, name, hotkey).unwrap()
    }

    #[test]
    fn files_lie_where_bittensors_tools_put_them() {
        let place = place(Path::new("/w"), "miner", "first");
        assert_eq!(place.hotkey_file(), Path::new("/w/miner/hotkeys/first"));
        assert_eq!(
            place.hotkey_pub_file(),
            Path::new("/w/miner/hotkeys/firstpub.txt")
        );
        assert_eq!(
            place.coldkeypub_file(),
            Path::new("/w/miner/coldkeypub.txt")
        );
    }

    #[test]
    fn a_tilde_is_the_users_home() {
        let home = std::env::home_dir().unwrap();
        let folder = place(Path::new("~/.bittensor/wallets"), "a", "b");
        assert_eq!(folder.path(), home.join(".bittensor/wallets"));
        assert_eq!(place(Path::new("~"), "a", "b").path(), home);
        // Only at the beginning.
        let literal = place(Path::new("/x/~/y"), "a", "b");
        assert_eq!(literal.path(), Path::new("/x/~/y"));
    }

    #[test]
    fn the_home_of_somebody_else_is_not_guessed() {
        let refused = WalletLocation::new(Path::new("~alice/wallets"), "a", "b");
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("write the whole path"), "{text}");
    }

    #[test]
    fn a_name_that_is_a_path_is_refused() {
        for name in ["", ".", "..", "a/b", "/a", "a\\b", "a\nb", "a\0b"] {
            for (wallet, hotkey) in [(name, "x"), ("x", name)] {
                let refused = WalletLocation::new(Path::new("/w"), wallet, hotkey);
                assert!(matches!(refused, Err(WalletError::Name { .. })), "{name:?}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_told_by_how_far_the_path_goes() {
        let parent = tempfile::tempdir().unwrap();
        let wallets = parent.path().join("wallets");
        let hint = |name| place(&wallets, name, "first").missing().to_string();
        assert!(hint("miner").contains("there is no folder"));

        fs::create_dir(&wallets).unwrap();
        assert!(hint("miner").contains("which has no wallets"));

        fs::create_dir_all(wallets.join("other/hotkeys")).unwrap();
        fs::create_dir(wallets.join("another")).unwrap();
        fs::write(wallets.join("a-file"), "").unwrap();
        let text = hint("miner");
        assert!(
            text.ends_with("which has the wallets another, other"),
            "{text}"
        );
        assert!(hint("other").ends_with("has no hotkeys"));

        for hotkey in ["b", "bpub.txt", "a\u{1b}[2J"] {
            fs::write(wallets.join("other/hotkeys").join(hotkey), "").unwrap();
        }
        let text = hint("other");
        assert!(text.ends_with(r"has the hotkeys a\u{1b}[2J, b"), "{text}");

        for number in 0..20 {
            fs::write(wallets.join(format!("other/hotkeys/c{number:02}")), "").unwrap();
        }
        let text = hint("other");
        assert!(text.ends_with("c09 and 10 more"), "{text}");
    }
}

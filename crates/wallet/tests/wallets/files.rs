//! Wallets on disk: permissions, public files, what is not there, passwords, and
//! throw-away wallets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use subnet::Account;
use wallet::keyfile::{KdfCost, Keyfile, KeyfileError};
use wallet::{Hotkey, Password, WalletError, WalletLocation, Warning};

use crate::support::{Wallet, fixture};

/// The password of the fixture `encrypted.nacl`.
const PASSWORD: &str = "throw-away password";

fn account_of(fixture_name: &str) -> Account {
    let json = fs::read(fixture(fixture_name)).unwrap();
    *Hotkey::from_json(&json).unwrap().account()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_encrypted_keyfile_opens_with_the_password_in_a_file() {
    let wallet = Wallet::with_fixture("encrypted.nacl");
    let file = wallet.location.path().join("password");
    wallet.write(&file, format!("{PASSWORD}\r\nand a second line\n"), 0o640);
    let (hotkey, warnings) = Hotkey::open(&wallet.location, &Password::File(file.clone())).unwrap();
    assert_eq!(*hotkey.account(), account_of("mnemonic-12.json"));
    let [Warning::FilePermissions { path, mode: 0o640 }] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    assert_eq!(*path, file);
}

#[test]
fn a_wrong_password_is_refused_as_such() {
    let contents = fs::read(fixture("encrypted.nacl")).unwrap();
    let Ok(Keyfile::Encrypted(encrypted)) = Keyfile::recognise(&contents) else {
        panic!("the fixture is not recognised");
    };
    // With the right password and another cost the key is as wrong, and much sooner.
    let cheap = KdfCost {
        memory_kib: 8,
        passes: 1,
    };
    for password in [PASSWORD, ""] {
        let refused = encrypted.decrypt(password.as_bytes(), cheap);
        assert!(matches!(refused, Err(KeyfileError::WrongPassword)));
    }
}

#[test]
fn memory_that_cannot_be_had_is_an_error() {
    let contents = fs::read(fixture("encrypted.nacl")).unwrap();
    let Ok(Keyfile::Encrypted(encrypted)) = Keyfile::recognise(&contents) else {
        panic!("the fixture is not recognised");
    };
    let too_little = KdfCost {
        memory_kib: 7,
        passes: 1,
    };
    let refused = encrypted.decrypt(b"", too_little).unwrap_err();
    assert!(matches!(
        refused,
        KeyfileError::OutOfMemory { mebibytes: 1 }
    ));
}

#[test]
fn an_encrypted_keyfile_without_a_password_is_refused_before_any_work() {
    let wallet = Wallet::with_fixture("encrypted.nacl");
    let folder = wallet.location.path();
    let empty = folder.join("empty");
    wallet.write(&empty, "\nlate", 0o600);
    let long = folder.join("long");
    wallet.write(&long, "x".repeat(5000), 0o600);
    for (password, says) in [
        (Password::None, "no password is given"),
        (Password::File(folder.join("absent")), "cannot be read"),
        (Password::File(folder.to_owned()), "is a folder"),
        (Password::File(empty), "empty line"),
        (Password::File(long), "more than 4096 bytes"),
        (
            Password::Env("PEREGRINE_NO_SUCH_VARIABLE".into()),
            "is not set",
        ),
    ] {
        let text = Hotkey::open(&wallet.location, &password).unwrap_err();
        let text = text.to_string();
        assert!(text.contains("first is encrypted, and"), "{text}");
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn a_prompt_without_a_terminal_is_refused_and_not_waited_for() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "files::child_that_would_prompt"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}");
    assert!(output.contains("1 passed"), "{output}");
}

#[test]
#[ignore = "run by another test, without a terminal"]
fn child_that_would_prompt() {
    let wallet = Wallet::with_fixture("encrypted.nacl");
    let refused = Hotkey::open(&wallet.location, &Password::Prompt);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("there is no terminal"), "{text}");
}

#[test]
fn a_plain_keyfile_asks_for_no_password() {
    let wallet = Wallet::with_fixture("seed.json");
    for password in [
        Password::Prompt,
        Password::Env("PEREGRINE_NO_SUCH_VARIABLE".into()),
    ] {
        Hotkey::open(&wallet.location, &password).unwrap();
    }
}

#[test]
fn old_encrypted_formats_are_refused_with_a_way_out() {
    let text = Wallet::with_fixture("legacy.ansible").refusal();
    assert!(text.contains("Ansible Vault"), "{text}");
    assert!(text.contains("regen-hotkey"), "{text}");
}

#[test]
fn access_of_others_is_warned_of_and_does_not_stop() {
    let wallet = Wallet::with_fixture("seed.json");
    let keyfile = wallet.location.hotkey_file();
    for open_to_others in [0o644, 0o604, 0o640, 0o620] {
        set_mode(&keyfile, open_to_others);
        let (_, warnings) = wallet.open().unwrap();
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        let text = warning.to_string();
        assert!(text.contains(&format!("{open_to_others:o}")), "{text}");
        assert!(text.contains("chmod 600"), "{text}");
    }
    set_mode(&keyfile, 0o400);
    let folder = keyfile.parent().unwrap();
    set_mode(folder, 0o777);
    let (_, warnings) = wallet.open().unwrap();
    let [Warning::FolderPermissions { mode: 0o777, .. }] = warnings[..] else {
        panic!("{warnings:?}");
    };
    set_mode(folder, 0o755);
    assert!(wallet.open().unwrap().1.is_empty());
}

#[test]
fn the_public_file_is_compared() {
    let wallet = Wallet::with_fixture("mnemonic-12.json");
    let public_file = wallet.location.hotkey_pub_file();

    let matching = fs::read(fixture("mnemonic-12pub.txt")).unwrap();
    wallet.write(&public_file, &matching, 0o644);
    assert!(wallet.open().unwrap().1.is_empty());

    let other = account_of("seed.json");
    wallet.write(
        &public_file,
        format!("{{\"ss58Address\":\"{other}\"}}"),
        0o644,
    );
    let error = wallet.open().unwrap_err();
    assert!(
        matches!(error, WalletError::OtherPublicFile { .. }),
        "{error}"
    );
    let text = error.to_string();
    for account in [other, account_of("mnemonic-12.json")] {
        assert!(text.contains(&account.to_string()), "{text}");
    }

    for unusable in ["", "{}", "not json", "{\"publicKey\":\"0x12\"}"] {
        wallet.write(&public_file, unusable, 0o644);
        let (_, warnings) = wallet.open().unwrap();
        let [warning @ Warning::PublicFile { .. }] = &warnings[..] else {
            panic!("{unusable:?}: {warnings:?}");
        };
        let text = warning.to_string();
        assert!(text.contains("was not compared with"), "{text}");
    }
}

#[test]
fn what_is_not_a_file_of_the_right_size_is_refused() {
    let wallet = Wallet::empty();
    let keyfile = wallet.location.hotkey_file();

    fs::create_dir(&keyfile).unwrap();
    assert!(wallet.refusal().contains("is not a file"));
    fs::remove_dir(&keyfile).unwrap();

    // Opening a pipe that nobody writes to would wait for ever.
    rustix::fs::mkfifoat(rustix::fs::CWD, &keyfile, rustix::fs::Mode::RUSR).unwrap();
    assert!(wallet.refusal().contains("is not a file"));
    fs::remove_file(&keyfile).unwrap();

    wallet.write(&keyfile, " ".repeat(64 << 10), 0o600);
    assert!(wallet.refusal().contains("is empty"));
    wallet.write(&keyfile, " ".repeat((64 << 10) + 1), 0o600);
    assert!(wallet.refusal().contains("more than 65536 bytes"));
}

#[test]
fn a_public_file_named_as_the_hotkey_is_refused_with_the_reason() {
    let text = Wallet::with_fixture("mnemonic-12pub.txt").refusal();
    assert!(text.contains("ends in pub.txt"), "{text}");
}

#[test]
fn a_missing_hotkey_says_which_there_are() {
    let wallet = Wallet::with_fixture("seed.json");
    let path = wallet.location.path();
    let other = WalletLocation::new(path, "miner", "second").unwrap();
    let text = Hotkey::open(&other, &Password::None)
        .unwrap_err()
        .to_string();
    assert!(text.contains("miner/hotkeys/second"), "{text}");
    assert!(text.contains("has the hotkeys first"), "{text}");
    let other = WalletLocation::new(path, "minor", "first").unwrap();
    let text = Hotkey::open(&other, &Password::None)
        .unwrap_err()
        .to_string();
    assert!(text.contains("which has the wallets miner"), "{text}");
}

#[test]
fn a_throw_away_wallet_opens_and_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let location = WalletLocation::new(&folder.path().join("new"), "w", "h").unwrap();
    let account = wallet::create_hotkey(&location).unwrap();
    let (hotkey, warnings) = Hotkey::open(&location, &Password::None).unwrap();
    assert_eq!(*hotkey.account(), account);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(mode(&location.hotkey_file()), 0o600);
    assert!(location.hotkey_pub_file().exists());
    let coldkey = wallet::coldkey(&location).unwrap().unwrap();
    assert_ne!(coldkey, account);

    // A second hotkey leaves the coldkey be.
    let second = WalletLocation::new(location.path(), "w", "second").unwrap();
    assert_ne!(wallet::create_hotkey(&second).unwrap(), account);
    assert_eq!(wallet::coldkey(&location).unwrap(), Some(coldkey));
}

#[test]
fn no_keyfile_is_ever_overwritten() {
    let wallet = Wallet::with_fixture("seed.json");
    let error = wallet::create_hotkey(&wallet.location).unwrap_err();
    assert!(matches!(error, WalletError::Exists { .. }), "{error}");
    let (hotkey, _) = wallet.open().unwrap();
    assert_eq!(*hotkey.account(), account_of("seed.json"));
    let left = fs::read_dir(wallet.location.hotkey_file().parent().unwrap()).unwrap();
    assert_eq!(left.count(), 1);
}

#[test]
fn the_coldkey_is_known_by_its_public_file_alone() {
    let wallet = Wallet::empty();
    assert_eq!(wallet::coldkey(&wallet.location).unwrap(), None);
    let file = wallet.location.coldkeypub_file();
    let contents = fs::read(fixture("mnemonic-12pub.txt")).unwrap();
    wallet.write(&file, &contents, 0o644);
    let expected = account_of("mnemonic-12.json");
    assert_eq!(wallet::coldkey(&wallet.location).unwrap(), Some(expected));
    wallet.write(&file, "5Grw", 0o644);
    let text = wallet::coldkey(&wallet.location).unwrap_err().to_string();
    assert!(text.contains("coldkeypub.txt"), "{text}");
}

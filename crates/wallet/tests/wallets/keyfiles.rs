//! Plain keyfiles: what another implementation writes, every combination of fields,
//! and what does not belong together.

use std::fs;

use schnorrkel::{PublicKey, Signature};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use subnet::Account;
use wallet::Hotkey;
use wallet::keyfile::KeyfileError;

use crate::support::{Wallet, fixture};

const HOTKEYS: [&str; 4] = [
    "mnemonic-12.json",
    "mnemonic-24.json",
    "seed.json",
    "uri.json",
];
const SECRETS: [&str; 3] = ["privateKey", "secretSeed", "secretPhrase"];
const PUBLICS: [&str; 3] = ["ss58Address", "publicKey", "accountId"];

fn fields(name: &str) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

fn address(fields: &Map<String, Value>) -> Account {
    fields["ss58Address"].as_str().unwrap().parse().unwrap()
}

fn read(fields: &Map<String, Value>) -> Result<Hotkey, KeyfileError> {
    Hotkey::from_json(&serde_json::to_vec(fields).unwrap())
}

fn verify(account: &Account, message: &[u8], signature: &[u8]) -> bool {
    let key = PublicKey::from_bytes(account.bytes()).unwrap();
    let signature = Signature::from_bytes(signature).unwrap();
    key.verify_simple(b"substrate", message, &signature).is_ok()
}

#[test]
fn another_implementations_keyfiles_open() {
    for name in HOTKEYS {
        let (hotkey, warnings) = Wallet::with_fixture(name).open().unwrap();
        assert_eq!(*hotkey.account(), address(&fields(name)), "{name}");
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
        let signature = hotkey.sign(b"message");
        assert!(verify(hotkey.account(), b"message", &signature), "{name}");
        assert!(!verify(hotkey.account(), b"massage", &signature), "{name}");
    }
}

#[test]
fn every_set_of_fields_with_a_secret_in_it_is_enough() {
    let all = fields("mnemonic-12.json");
    let names: Vec<&str> = SECRETS
        .into_iter()
        .chain(PUBLICS)
        .chain(["cryptoType"])
        .collect();
    for set in 0..1_u32 << names.len() {
        let chosen = |name: &str| {
            let place = names.iter().position(|other| *other == name).unwrap();
            set >> place & 1 == 1
        };
        let mut left_out = all.clone();
        left_out.retain(|name, _| chosen(name));
        let mut nulls = all.clone();
        for (name, value) in &mut nulls {
            if !chosen(name) {
                *value = Value::Null;
            }
        }
        for keyfile in [left_out, nulls] {
            match read(&keyfile) {
                Ok(hotkey) => assert_eq!(*hotkey.account(), address(&all)),
                Err(error) => {
                    assert!(matches!(error, KeyfileError::NoPrivateKey), "{error}");
                    assert!(!SECRETS.into_iter().any(chosen), "{set:b}");
                }
            }
        }
    }
}

#[test]
fn the_order_of_fields_white_space_and_unknown_fields_do_not_matter() {
    let all = fields("seed.json");
    let mut names: Vec<&String> = all.keys().collect();
    for _ in 0..names.len() {
        names.rotate_left(1);
        let lines: Vec<String> = names
            .iter()
            .map(|name| format!("  {name:?} :\t{}", all[*name]))
            .collect();
        let text = format!(
            "\n {{\r\n{},\n\"meta\": {{\"a\": [1, {{}}]}} }}\n",
            lines.join(",\n")
        );
        let hotkey = Hotkey::from_json(text.as_bytes()).unwrap();
        assert_eq!(*hotkey.account(), address(&all));
    }
}

#[test]
fn hexadecimal_needs_no_prefix_and_words_may_be_spaced() {
    let mut keyfile = fields("mnemonic-24.json");
    for name in ["privateKey", "secretSeed", "publicKey", "accountId"] {
        let bare = keyfile[name].as_str().unwrap()[2..].to_uppercase();
        keyfile[name] = bare.into();
    }
    let words = keyfile["secretPhrase"].as_str().unwrap();
    keyfile["secretPhrase"] = format!(" {}\t", words.replace(' ', "  ")).into();
    let hotkey = read(&keyfile).unwrap();
    assert_eq!(*hotkey.account(), address(&keyfile));
}

#[test]
fn secrets_of_different_keys_are_refused_naming_both() {
    let (one, other) = (fields("mnemonic-12.json"), fields("mnemonic-24.json"));
    for mixed_up in SECRETS {
        let mut keyfile = one.clone();
        keyfile[mixed_up] = other[mixed_up].clone();
        let text = read(&keyfile).unwrap_err().to_string();
        assert!(text.contains(mixed_up), "{text}");
        for account in [address(&one), address(&other)] {
            assert!(text.contains(&account.to_string()), "{text}");
        }
    }
}

#[test]
fn an_address_that_is_not_the_keys_is_refused_naming_both() {
    let (one, other) = (fields("seed.json"), fields("uri.json"));
    for mixed_up in PUBLICS {
        let mut keyfile = one.clone();
        keyfile[mixed_up] = other[mixed_up].clone();
        let wallet = Wallet::with_hotkey(serde_json::to_vec(&keyfile).unwrap());
        let text = wallet.refusal();
        assert!(text.contains(mixed_up), "{text}");
        for account in [address(&one), address(&other)] {
            assert!(text.contains(&account.to_string()), "{text}");
        }
        let path = wallet.location.hotkey_file();
        assert!(text.starts_with(&path.display().to_string()), "{text}");
    }
}

#[test]
fn another_signature_scheme_is_refused() {
    let error = read(&fields("ed25519.json")).unwrap_err();
    assert!(matches!(error, KeyfileError::CryptoType(0)), "{error}");
    let mut keyfile = fields("seed.json");
    for other in [2, 255] {
        keyfile["cryptoType"] = json!(other);
        let error = read(&keyfile).unwrap_err();
        assert!(matches!(error, KeyfileError::CryptoType(_)), "{error}");
    }
    keyfile["cryptoType"] = json!("sr25519");
    assert!(matches!(read(&keyfile), Err(KeyfileError::Json { .. })));
}

#[test]
fn a_field_that_cannot_be_read_is_named_and_not_repeated() {
    let words = fields("mnemonic-12.json")["secretPhrase"].clone();
    let words = words.as_str().unwrap();
    let order_of_the_group = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let no_scalar = format!("0x{order_of_the_group}{}", "00".repeat(32));
    let zero = format!("0x{}", "00".repeat(64));
    let mut swapped: Vec<&str> = words.split(' ').collect();
    swapped.swap(0, 1);
    for (field, value) in [
        ("privateKey", "0x1234".to_owned()),
        ("privateKey", format!("0x{}", "zz".repeat(64))),
        ("privateKey", no_scalar),
        ("privateKey", zero),
        ("secretSeed", format!("0x{}", "ab".repeat(31))),
        ("secretSeed", format!("0x{}0", "ab".repeat(31))),
        ("secretSeed", format!("0x{}", "ab".repeat(33))),
        ("secretSeed", String::new()),
        ("secretPhrase", words.to_uppercase()),
        ("secretPhrase", words.replacen(' ', "", 1)),
        ("secretPhrase", format!("{words} {words}")),
        ("secretPhrase", swapped.join(" ")),
        ("secretPhrase", "é".repeat(12)),
        ("publicKey", "0x12".to_owned()),
        ("accountId", "5GrwvaEF".to_owned()),
        ("ss58Address", "5GrwvaEF".to_owned()),
        ("ss58Address", format!("0x{}", "ab".repeat(32))),
    ] {
        let mut keyfile = fields("uri.json");
        keyfile.insert(field.to_owned(), value.clone().into());
        let text = read(&keyfile).unwrap_err().to_string();
        assert!(text.contains(field), "{field}: {text}");
        assert!(value.is_empty() || !text.contains(&value), "{text}");
    }
}

#[test]
fn json_of_the_wrong_kind_is_refused_by_place_and_not_repeated() {
    for text in [
        r#"{"secretSeed": 12345678}"#,
        r#"{"secretSeed": ["0xabcdef"]}"#,
        r#"{"secretSeed": "0xabcdef"#,
        r#"{"secretSeed": "0xabcdef"} trailing"#,
        r#"{"secretSeed": "a", "secretSeed": "b"}"#,
        r#"{"cryptoType": "0xabcdef"}"#,
        r#"{"cryptoType": -1}"#,
        "{\"secretSeed\": \"\u{0}abcdef\"}",
        "{",
    ] {
        let error = Hotkey::from_json(text.as_bytes()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, KeyfileError::Json { .. }), "{shown}");
        assert!(shown.contains("line 1"), "{shown}");
        for secret in ["abcdef", "12345678"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    let deep = format!("{{\"a\":{}", "[".repeat(60_000));
    assert!(matches!(
        Hotkey::from_json(deep.as_bytes()),
        Err(KeyfileError::Json { .. })
    ));
}

#[derive(Serialize, Deserialize)]
struct Recorded {
    keyfile: String,
    address: Account,
    message: String,
    signature: String,
}

fn recorded(name: &str) -> Vec<Recorded> {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

#[test]
fn another_implementations_signatures_are_those_of_the_accounts_we_find() {
    for entry in recorded("signatures-theirs.json") {
        let hotkey = read(&fields(&entry.keyfile)).unwrap();
        assert_eq!(*hotkey.account(), entry.address);
        let message = hex::decode(&entry.message).unwrap();
        let signature = hex::decode(&entry.signature).unwrap();
        assert!(verify(hotkey.account(), &message, &signature));
    }
}

/// The other implementation verified these when they were recorded:
///
/// ```text
/// cargo test -p wallet --test wallets -- --ignored
/// python crates/wallet/tests/fixtures/make.py crates/wallet/tests/fixtures/signatures-ours.json
/// ```
#[test]
fn our_recorded_signatures_verify() {
    let entries = recorded("signatures-ours.json");
    assert_eq!(entries.len(), recorded("signatures-theirs.json").len());
    for entry in entries {
        let message = hex::decode(&entry.message).unwrap();
        let signature = hex::decode(&entry.signature).unwrap();
        assert!(verify(&entry.address, &message, &signature));
    }
}

#[test]
#[ignore = "writes signatures-ours.json anew"]
fn record_our_signatures() {
    let mut entries = recorded("signatures-theirs.json");
    for entry in &mut entries {
        let hotkey = read(&fields(&entry.keyfile)).unwrap();
        let message = hex::decode(&entry.message).unwrap();
        entry.signature = hex::encode(hotkey.sign(&message));
    }
    let mut text = serde_json::to_string_pretty(&entries).unwrap();
    text.push('\n');
    fs::write(fixture("signatures-ours.json"), text).unwrap();
}

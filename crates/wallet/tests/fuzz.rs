//! Keyfiles and password files as strangers, editors and failing disks may leave
//! them: nothing panics, and what opens is what the file says.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::LazyLock;

use argon2::{Algorithm, Argon2, Params, Version};
use crypto_secretbox::{AeadInPlace as _, Key, KeyInit as _, Nonce, XSalsa20Poly1305};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use schnorrkel::{ExpansionMode, MiniSecretKey};
use serde_json::{Map, Value, json};
use subnet::Account;
use wallet::Hotkey;
use wallet::keyfile::{self, KdfCost, Keyfile, KeyfileError, MAGIC, SALT};
use wallet::password;

const MNEMONIC: &str = include_str!("fixtures/mnemonic-12.json");

/// As cheap as Argon2 can be; the real cost would take seconds for each case.
const CHEAP: KdfCost = KdfCost {
    memory_kib: 8,
    passes: 1,
};

fn config() -> ProptestConfig {
    let cases = std::env::var("PEREGRINE_FUZZ_CASES");
    let cases = cases.map_or(2000, |text| text.parse().expect("PEREGRINE_FUZZ_CASES"));
    ProptestConfig::with_cases(cases)
}

/// A few keys with every field that wallets write about them.
static KEYS: LazyLock<Vec<Map<String, Value>>> = LazyLock::new(|| {
    let mut keys: Vec<Map<String, Value>> = (1..=3).map(of_seed).collect();
    keys.push(serde_json::from_str(MNEMONIC).unwrap());
    keys
});

fn of_seed(seed: u8) -> Map<String, Value> {
    let bytes = [seed; 32];
    let keypair = MiniSecretKey::from_bytes(&bytes)
        .unwrap()
        .expand_to_keypair(ExpansionMode::Ed25519);
    let public = keypair.public.to_bytes();
    let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    let fields = json!({
        "secretSeed": hex(&bytes),
        "privateKey": hex(&keypair.secret.to_bytes()),
        "publicKey": hex(&public),
        "accountId": hex(&public),
        "ss58Address": Account::from(public).to_string(),
        "cryptoType": 1,
    });
    fields.as_object().unwrap().clone()
}

/// One thing that may have happened to a keyfile.
#[derive(Clone, Debug)]
enum Edit {
    Field(Index, FieldEdit),
    Add(String, Value),
}

/// One thing that may have happened to one of its fields.
#[derive(Clone, Debug)]
enum FieldEdit {
    Remove,
    Null,
    FromOtherKey(usize),
    Replace(Value),
    /// A character of its text becomes another one.
    Character(Index, char),
    /// Its text is cut short.
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let field_edit = prop_oneof![
        4 => Just(FieldEdit::Remove),
        2 => Just(FieldEdit::Null),
        1 => (0..4_usize).prop_map(FieldEdit::FromOtherKey),
        1 => value().prop_map(FieldEdit::Replace),
        1 => (any::<Index>(), any::<char>())
            .prop_map(|(place, character)| FieldEdit::Character(place, character)),
        1 => any::<Index>().prop_map(FieldEdit::Cut),
    ];
    prop_oneof![
        10 => (any::<Index>(), field_edit).prop_map(|(field, edit)| Edit::Field(field, edit)),
        1 => ("[a-zA-Z]{0,8}", value()).prop_map(|(name, value)| Edit::Add(name, value)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "(0x)?[0-9a-fA-F]{0,130}".prop_map(Value::from),
        Just(json!([{"a": [1.5e300, {}]}])),
    ]
}

impl Edit {
    fn apply(self, fields: &mut Map<String, Value>) {
        match self {
            Self::Add(name, value) => drop(fields.insert(name, value)),
            Self::Field(..) if fields.is_empty() => {}
            Self::Field(place, edit) => {
                let place = place.index(fields.len());
                let name = fields.keys().nth(place).unwrap().clone();
                match edit.applied_to(&name, &fields[&name]) {
                    Some(value) => fields[&name] = value,
                    None => drop(fields.remove(&name)),
                }
            }
        }
    }
}

impl FieldEdit {
    /// What becomes of a field; `None` if it is gone.
    fn applied_to(self, name: &str, value: &Value) -> Option<Value> {
        let text: Vec<char> = value.as_str().unwrap_or_default().chars().collect();
        match self {
            Self::Remove => None,
            Self::Null => Some(Value::Null),
            Self::FromOtherKey(key) => KEYS[key].get(name).cloned(),
            Self::Replace(value) => Some(value),
            Self::Character(place, character) => {
                let mut text = text;
                if let Some(there) = text.get_mut(place.index(64)) {
                    *there = character;
                }
                Some(String::from_iter(text).into())
            }
            Self::Cut(place) => {
                let kept = place.index(text.len() + 1);
                Some(String::from_iter(&text[..kept]).into())
            }
        }
    }
}

/// A key's fields after a few edits. Keys with a mnemonic are few, since its
/// derivation takes a thousand times as long as everything else.
fn fields() -> impl Strategy<Value = Map<String, Value>> {
    let key = prop_oneof![49 => 0..3_usize, 1 => Just(3)];
    (key, prop::collection::vec(edit(), 0..5)).prop_map(|(key, edits)| {
        let mut fields = KEYS[key].clone();
        for edit in edits {
            edit.apply(&mut fields);
        }
        fields
    })
}

/// Bytes after a few of them were changed, inserted, repeated or cut off.
fn damaged(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let damage = (any::<Index>(), 0..4, any::<u8>());
    prop::collection::vec(damage, 1..4).prop_map(move |damages| {
        let mut bytes = bytes.clone();
        for (place, kind, byte) in damages {
            let place = place.index(bytes.len() + 1);
            match kind {
                0 if place < bytes.len() => bytes[place] = byte,
                1 => bytes.insert(place, byte),
                2 => bytes.truncate(place),
                _ => bytes.extend_from_within(place..),
            }
        }
        bytes
    })
}

/// Nothing in an error comes out of the file but accounts.
fn assert_discreet(error: &KeyfileError, fields: &Map<String, Value>) {
    let shown = format!("{error} {error:?}");
    for name in ["privateKey", "secretSeed", "secretPhrase"] {
        let secret = fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let part: String = secret.chars().skip(2).take(12).collect();
        assert!(part.len() < 12 || !shown.contains(&part), "{shown}");
    }
}

/// What opened is the key that every field speaks of.
fn assert_agrees(account: &Account, fields: &Map<String, Value>) {
    if let Some(Value::String(address)) = fields.get("ss58Address") {
        assert_eq!(account.to_string(), *address);
    }
    for name in ["publicKey", "accountId"] {
        if let Some(Value::String(key)) = fields.get(name) {
            let digits = key.strip_prefix("0x").unwrap_or(key);
            assert_eq!(hex::encode(account.bytes()), digits.to_lowercase());
        }
    }
}

/// What an encrypted keyfile of the cheap cost looks like.
fn encrypt(json: &[u8], password: &[u8], nonce: [u8; 24]) -> Vec<u8> {
    let params = Params::new(CHEAP.memory_kib, CHEAP.passes, 1, Some(32)).unwrap();
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2i, Version::V0x13, params)
        .hash_password_into(password, &SALT, &mut key)
        .unwrap();
    let mut ciphertext = json.to_vec();
    let tag = XSalsa20Poly1305::new(Key::from_slice(&key))
        .encrypt_in_place_detached(Nonce::from_slice(&nonce), &[], &mut ciphertext)
        .unwrap();
    [MAGIC, &nonce, &tag[..], &ciphertext].concat()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_edited_keyfile_opens_as_what_it_says_or_is_refused(fields in fields()) {
        let text = serde_json::to_vec(&fields).unwrap();
        match Hotkey::from_json(&text) {
            Ok(hotkey) => assert_agrees(hotkey.account(), &fields),
            Err(error) => assert_discreet(&error, &fields),
        }
        match keyfile::public_account(&text) {
            Ok(account) => assert_agrees(&account, &fields),
            Err(error) => assert_discreet(&error, &fields),
        }
    }

    #[test]
    fn a_damaged_keyfile_does_not_panic(
        bytes in (0..3_usize).prop_flat_map(|key| damaged(serde_json::to_vec(&KEYS[key]).unwrap()))
    ) {
        if let Ok(Keyfile::Plain(json)) = Keyfile::recognise(&bytes)
            && let Ok(hotkey) = Hotkey::from_json(json.expose())
        {
            let found = KEYS.iter().any(|key| key["ss58Address"] == hotkey.to_string());
            prop_assert!(found);
        }
        let _ = keyfile::public_account(&bytes);
    }

    #[test]
    fn bytes_that_are_no_keyfile_do_not_panic(
        prefix in select(vec![&b""[..], MAGIC, b"{", b"$ANSIBLE_VAULT", b"gAAAAA", b"{\"secretSeed\":\""]),
        rest in prop::collection::vec(any::<u8>(), 0..200),
        password in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let bytes = [prefix, &rest].concat();
        if let Ok(Keyfile::Encrypted(encrypted)) = Keyfile::recognise(&bytes) {
            prop_assert!(encrypted.decrypt(&password, CHEAP).is_err());
        }
        let _ = Hotkey::from_json(&bytes);
        let _ = keyfile::public_account(&bytes);
    }

    #[test]
    fn an_encrypted_keyfile_opens_with_its_password_alone(
        json in prop::collection::vec(any::<u8>(), 0..100),
        password in prop::collection::vec(any::<u8>(), 0..20),
        other in prop::collection::vec(any::<u8>(), 0..20),
        nonce in any::<[u8; 24]>(),
    ) {
        let bytes = encrypt(&json, &password, nonce);
        let Ok(Keyfile::Encrypted(encrypted)) = Keyfile::recognise(&bytes) else {
            return Err(TestCaseError::fail("it is not recognised"));
        };
        let decrypted = encrypted.decrypt(&password, CHEAP).unwrap();
        prop_assert_eq!(&*decrypted, &json);
        let _ = Hotkey::from_json(&decrypted);
        let opened = encrypted.decrypt(&other, CHEAP).is_ok();
        prop_assert_eq!(opened, other == password);
    }

    #[test]
    fn a_damaged_encrypted_keyfile_does_not_open(
        (whole, bytes) in any::<[u8; 24]>().prop_flat_map(|nonce| {
            let whole = encrypt(b"{\"secretSeed\":\"0x00\"}", b"password", nonce);
            (Just(whole.clone()), damaged(whole))
        })
    ) {
        if let Ok(Keyfile::Encrypted(encrypted)) = Keyfile::recognise(&bytes) {
            let opened = encrypted.decrypt(b"password", CHEAP).is_ok();
            prop_assert_eq!(opened, bytes == whole);
        }
    }

    #[test]
    fn a_password_file_gives_its_first_line(
        contents in "[ -~\r\n\u{0}é]{0,40}",
    ) {
        let expected = contents.split('\n').next().unwrap();
        let expected = expected.strip_suffix('\r').unwrap_or(expected);
        match password::first_line(contents.as_bytes()) {
            Some(line) => prop_assert_eq!(line, expected.as_bytes()),
            None => prop_assert!(expected.is_empty()),
        }
    }

    #[test]
    fn a_password_file_of_any_bytes_does_not_panic(
        contents in prop::collection::vec(any::<u8>(), 0..60)
    ) {
        if let Some(line) = password::first_line(&contents) {
            prop_assert!(!line.is_empty() && contents.starts_with(line));
            prop_assert!(!line.contains(&b'\n'));
        }
    }
}

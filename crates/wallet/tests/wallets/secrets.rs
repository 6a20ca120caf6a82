//! No part of a secret in anything that this crate hands out, in any spelling.

use std::error::Error;
use std::fmt::Debug;
use std::fs;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use wallet::keyfile::{KdfCost, Keyfile};
use wallet::{Hotkey, Password};

use crate::support::{Wallet, fixture};

const PASSWORD: &str = "throw-away password";

/// Everything that was shown, and what must not be in it.
struct Scan {
    shown: String,
    needles: Vec<String>,
}

impl Scan {
    fn for_keyfiles(names: &[&str]) -> Self {
        let mut needles = vec![PASSWORD.to_owned()];
        for name in names {
            let fields = fields(name);
            for field in ["privateKey", "secretSeed"] {
                if let Some(text) = fields.get(field) {
                    let bytes = hex::decode(&text.as_str().unwrap()[2..]).unwrap();
                    needles.extend(bytes.chunks(4).flat_map(spellings));
                }
            }
            if let Some(words) = fields.get("secretPhrase") {
                let words = words.as_str().unwrap().split(' ');
                needles.extend(words.map(str::to_owned));
            }
        }
        Self {
            shown: String::new(),
            needles,
        }
    }

    fn show(&mut self, value: &(impl Debug + ?Sized)) {
        self.shown += &format!("{value:?}\n{value:#?}\n");
    }

    fn show_error(&mut self, error: &(dyn Error + 'static)) {
        let mut cause = Some(error);
        while let Some(error) = cause {
            self.show(error);
            self.shown += &format!("{error}\n{error:#}\n");
            cause = error.source();
        }
    }

    fn show_outcome<T: Debug, E: Error + 'static>(&mut self, outcome: Result<T, E>) {
        if let Err(error) = &outcome {
            self.show_error(error);
        }
        // As code that forgets to handle it would.
        let unwrapped = catch_unwind(AssertUnwindSafe(|| outcome.unwrap()));
        match unwrapped {
            Ok(value) => self.show(&value),
            Err(panic) => self.shown += panic.downcast_ref::<String>().unwrap(),
        }
    }

    /// Words are compared as words, since "load" is a part of others.
    fn assert_clean(&self) {
        let lower = self.shown.to_lowercase();
        let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
        for needle in &self.needles {
            let is_word = needle.chars().all(|c| c.is_ascii_lowercase());
            let found = match is_word {
                true => words.contains(&needle.as_str()),
                false => lower.contains(&needle.to_lowercase()),
            };
            assert!(!found, "{needle:?} was shown in:\n{}", self.shown);
        }
    }
}

/// How four bytes of a secret could look in a message.
fn spellings(bytes: &[u8]) -> Vec<String> {
    let list = |radix: fn(&u8) -> String, between: &str| {
        let numbers: Vec<String> = bytes.iter().map(radix).collect();
        numbers.join(between)
    };
    vec![
        hex::encode(bytes),
        list(|byte| byte.to_string(), ", "),
        list(|byte| byte.to_string(), ",\n    "),
        list(|byte| format!("{byte:#04x}"), ", "),
        bytes.escape_ascii().to_string(),
        String::from_utf8_lossy(bytes).into_owned(),
    ]
}

fn fields(name: &str) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(fixture(name)).unwrap()).unwrap()
}

/// A writer of logs that keeps them.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_scan_finds_what_is_shown() {
    let scan = Scan::for_keyfiles(&["mnemonic-12.json"]);
    let keyfile = fields("mnemonic-12.json");
    let seed = keyfile["secretSeed"].as_str().unwrap();
    let bytes = hex::decode(&seed[2..]).unwrap();
    let words = keyfile["secretPhrase"].as_str().unwrap();
    for leak in [
        seed.to_owned(),
        seed.to_uppercase(),
        format!("..{}..", &seed[2..20]),
        format!("{bytes:?}"),
        format!("{bytes:#?}"),
        String::from_utf8_lossy(&bytes).into_owned(),
        words.to_owned(),
        format!("the word {:?}", words.split(' ').nth(3).unwrap()),
        format!("password={PASSWORD}"),
    ] {
        let leaking = Scan {
            shown: format!("something {leak} something\n"),
            needles: scan.needles.clone(),
        };
        let noticed = catch_unwind(|| leaking.assert_clean()).is_err();
        assert!(noticed, "{leak}");
    }
}

#[test]
fn errors_debug_output_panics_and_logs_show_no_part_of_a_secret() {
    let names = ["mnemonic-12.json", "mnemonic-24.json", "uri.json"];
    let mut scan = Scan::for_keyfiles(&names);

    for name in names {
        let wallet = Wallet::with_fixture(name);
        scan.show_outcome(wallet.open());
        let (hotkey, _) = wallet.open().unwrap();
        scan.shown += &format!("{hotkey} {hotkey:#}");
        log(&mut scan, &hotkey, wallet.open());
    }

    // Every field damaged in several ways, and taken from another key.
    let other = fields("mnemonic-24.json");
    let good = fields("mnemonic-12.json");
    for (field, value) in &good {
        let text = value.as_str().unwrap_or("1");
        let half = text.len() / 2;
        for damaged in [
            other[field].clone(),
            json!(text[..half]),
            json!(format!("{text} {text}")),
            json!(format!("{}?{}", &text[..half], &text[half..])),
            json!([text]),
            json!({ text: text }),
            json!(text.to_uppercase()),
            json!(text.replace(' ', "\t\"")),
        ] {
            let mut keyfile = good.clone();
            keyfile[field] = damaged;
            let json = serde_json::to_vec(&keyfile).unwrap();
            let wallet = Wallet::with_hotkey(&json);
            scan.show_outcome(wallet.open());
            scan.show_outcome(wallet::keyfile::public_account(&json));
            // Secrets in files that should hold none.
            wallet.write(&wallet.location.hotkey_pub_file(), &json, 0o644);
            wallet.write(
                &wallet.location.hotkey_file(),
                serde_json::to_vec(&good).unwrap(),
                0o644,
            );
            wallet.write(&wallet.location.coldkeypub_file(), &json, 0o644);
            scan.show_outcome(wallet.open());
            scan.show_outcome(wallet::coldkey(&wallet.location));
            if let Ok((_, warnings)) = wallet.open() {
                scan.shown.extend(warnings.iter().map(ToString::to_string));
            }
        }
    }

    // Cut short anywhere.
    let json = serde_json::to_vec(&good).unwrap();
    for length in 0..json.len() {
        scan.show_outcome(Hotkey::from_json(&json[..length]));
        scan.show_outcome(
            Keyfile::recognise(&json[length..]).map(|keyfile| format!("{keyfile:?}")),
        );
    }

    let encrypted = fs::read(fixture("encrypted.nacl")).unwrap();
    if let Ok(Keyfile::Encrypted(encrypted)) = Keyfile::recognise(&encrypted) {
        let cheap = KdfCost {
            memory_kib: 8,
            passes: 1,
        };
        scan.show_outcome(encrypted.decrypt(PASSWORD.as_bytes(), cheap));
    }
    let wallet = Wallet::with_hotkey(&encrypted);
    let file = wallet.location.path().join("password");
    wallet.write(&file, format!("\n{PASSWORD}"), 0o644);
    scan.show_outcome(Hotkey::open(&wallet.location, &Password::File(file)));
    scan.show_outcome(wallet.open());

    assert!(scan.shown.len() > 10_000);
    scan.assert_clean();
}

/// As the publisher would log what it opened.
fn log(scan: &mut Scan, hotkey: &Hotkey, opened: impl Debug) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(?hotkey, %hotkey, account = %hotkey.account(), ?opened, "opened");
        let signature = hotkey.sign(b"message");
        tracing::trace!(signature = %hex::encode(signature), "signed");
    });
    let written = log.0.lock().unwrap();
    assert!(!written.is_empty());
    scan.shown += &String::from_utf8_lossy(&written);
}

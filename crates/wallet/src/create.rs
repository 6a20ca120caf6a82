//! Making a throw-away wallet.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use schnorrkel::MiniSecretKey;
use serde::Serialize;
use subnet::Account;
use zeroize::Zeroizing;

use crate::stack::wiped_after;
use crate::{Hotkey, WalletError, WalletLocation, keyfile};

/// As long as the JSON of a keyfile gets, with room to spare.
const JSON_BYTES: usize = 1 << 10;

/// A keyfile's JSON, with the fields that wallets write for a key made of a seed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecretFields<'a> {
    #[serde(flatten)]
    public: PublicFields,
    private_key: &'a str,
    secret_seed: &'a str,
}

/// The JSON of a public file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublicFields {
    account_id: String,
    public_key: String,
    ss58_address: Account,
    crypto_type: u8,
}

/// Makes a new hotkey and writes it as an unencrypted keyfile that only its owner
/// can read, with the public file beside it, and `coldkeypub.txt` of a coldkey that
/// nobody keeps, unless there is one. Bittensor's tools can read all three.
///
/// This is for rehearsals and tests, whose keys are worth nothing. Wallets for a
/// real network are made with Bittensor's own tools, which show a mnemonic to write
/// down and encrypt the coldkey.
///
/// # Errors
/// If there is such a hotkey already, which is never overwritten, or if the files
/// cannot be written.
pub fn create_hotkey(location: &WalletLocation) -> Result<Account, WalletError> {
    wiped_after(|| create(location))
}

fn create(location: &WalletLocation) -> Result<Account, WalletError> {
    let seed = MiniSecretKey::generate();
    let keypair = keyfile::expand(&seed);
    let private_key = hex_text(&*Zeroizing::new(keypair.secret.to_bytes()));
    let secret_seed = hex_text(seed.as_bytes());
    let hotkey = Hotkey::from_keypair(keypair);
    let account = *hotkey.account();
    let fields = SecretFields {
        public: PublicFields::of(account),
        private_key: &private_key,
        secret_seed: &secret_seed,
    };
    write_new(&location.hotkey_file(), &fields)?;
    write_new(&location.hotkey_pub_file(), &PublicFields::of(account))?;
    let coldkey = PublicFields::of(*Hotkey::generate().account());
    match write_new(&location.coldkeypub_file(), &coldkey) {
        Ok(()) | Err(WalletError::Exists { .. }) => Ok(account),
        Err(error) => Err(error),
    }
}

impl PublicFields {
    fn of(account: Account) -> Self {
        let key = format!("0x{}", hex::encode(account.bytes()));
        Self {
            account_id: key.clone(),
            public_key: key,
            ss58_address: account,
            crypto_type: 1,
        }
    }
}

fn hex_text(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 + 2 * bytes.len()));
    text.push_str("0x");
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Writes a file that is not there yet, complete or not at all.
fn write_new(path: &Path, fields: &impl Serialize) -> Result<(), WalletError> {
    let failed = |source| WalletError::Io {
        path: path.to_owned(),
        source,
    };
    let mut json = Zeroizing::new(Vec::with_capacity(JSON_BYTES));
    serde_json::to_writer(&mut *json, fields).map_err(|error| failed(error.into()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    // Temporary files are the owner's alone, and stay so when they get their name.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(&json).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            let path = path.to_owned();
            Err(WalletError::Exists { path })
        }
        Err(error) => Err(failed(error.error)),
    }
}

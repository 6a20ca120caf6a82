//! A wallet for rehearsals.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Its name, and its hotkey's.
pub(crate) const NAME: &str = "rehearsal";

/// The address of Substrate's first development account, `//Alice`.
pub(crate) const ADDRESS: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";

/// The seed of that account. Every node's documentation prints it, so nobody
/// can mistake it for one that is worth something.
const SEED: &str = "0xe5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a";

/// Writes the wallet below the folder of all wallets, as Bittensor's tools lay
/// them out.
pub(crate) fn write(wallets: &Path) -> anyhow::Result<()> {
    let hotkeys = wallets.join(NAME).join("hotkeys");
    fs::create_dir_all(&hotkeys)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(hotkeys.join(NAME))?;
    let keyfile = serde_json::json!({ "secretSeed": SEED, "ss58Address": ADDRESS });
    writeln!(file, "{keyfile}")?;
    Ok(())
}

//! One transaction of a hotkey at a time.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError};

use subnet::Account;
use tokio::sync::{Mutex, OwnedMutexGuard};

static TURNS: LazyLock<std::sync::Mutex<HashMap<Account, Arc<Mutex<()>>>>> =
    LazyLock::new(std::sync::Mutex::default);

/// Waits until no other commitment of this process uses the hotkey, and keeps others
/// waiting until it is dropped.
pub(super) async fn take(hotkey: &Account) -> OwnedMutexGuard<()> {
    let turn = {
        // Nothing in here can panic, so a poisoned lock still guards a sound map.
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(*hotkey).or_default().clone()
    };
    turn.lock_owned().await
}

//! What all parts of the Hub share.

use crate::accounts::Accounts;
use crate::cas::Cas;
use crate::faults::Faults;
use crate::log::Log;
use crate::store::Store;

pub(crate) struct Hub {
    pub(crate) accounts: Accounts,
    pub(crate) store: Store,
    pub(crate) cas: Cas,
    /// The port of the CAS's address for clients.
    pub(crate) cas_port: u16,
    pub(crate) faults: Faults,
    pub(crate) log: Log,
}

//! What defines a run, as it is stored.

use serde::{Deserialize, Serialize};

use super::StoreError;

/// The format of the state: raised with every change that an older version
/// would misunderstand.
const FORMAT: u32 = 1;

/// The run's configuration, and the versions that wrote it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    format: u32,
    /// The software that created the run.
    pub created_by: String,
    /// The configuration.
    pub config: run::RunConfig,
}

impl RunRecord {
    /// A new run's record.
    pub fn new(config: run::RunConfig) -> RunRecord {
        RunRecord {
            format: FORMAT,
            created_by: env!("CARGO_PKG_VERSION").to_owned(),
            config,
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|error| StoreError::corrupt("run", error))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<RunRecord, StoreError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } =
            serde_json::from_slice(bytes).map_err(|error| StoreError::corrupt("run", error))?;
        if format > FORMAT {
            return Err(StoreError::NewerFormat {
                found: format,
                known: FORMAT,
            });
        }
        serde_json::from_slice(bytes).map_err(|error| StoreError::corrupt("run", error))
    }
}

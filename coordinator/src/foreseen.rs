//! What a standby finds out before it leads.

use std::time::Duration;

use cli::Failure;
use run::RunConfig;

use crate::args::LeadArgs;
use crate::plan::{Checked, read_run};
use crate::state_dir::{StateDir, StoreKind};
use crate::store::RunStore;

/// Whether the flags contradict the run, which may take a look at all of the data.
#[derive(Debug, Default)]
pub(crate) struct Foreseen {
    /// The stored configuration, and what the flags make of it.
    resumed: Option<(RunConfig, RunConfig)>,
}

/// How often a standby looks whether the run is another.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Foreseen {
    /// Goes on finding out, until the flags are refused.
    pub(crate) async fn keep_up(&mut self, args: &LeadArgs, store: RunStore) -> Failure {
        loop {
            // A store that cannot be read is said elsewhere.
            if let Ok(Some(record)) = read_run(&store).await
                && self.of(&record.config).is_none()
            {
                let resumed = async {
                    let state_dir = StateDir(&args.state_dir);
                    state_dir.check_owner(&record.config.run_id, StoreKind::Etcd)?;
                    let checked = Checked::in_background(args, true).await?;
                    let config = checked.resumed_config(args, &record.config).await?;
                    Ok::<RunConfig, Failure>(config)
                };
                match resumed.await {
                    Ok(config) => self.resumed = Some((record.config, config)),
                    Err(failure) => return failure,
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(crate) fn of(&self, stored: &RunConfig) -> Option<&RunConfig> {
        let (of, resumed) = self.resumed.as_ref()?;
        (of == stored).then_some(resumed)
    }
}

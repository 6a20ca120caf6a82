//! A coordinator that leads: from a planned run to the services that answer for
//! it.

use std::sync::Arc;

use anyhow::Context as _;
use cli::{Failure, Refused};
use proto::v1;
use tokio::task::{JoinError, JoinHandle};
use tonic::service::Routes;

use crate::args::LeadArgs;
use crate::audit::order_of;
use crate::checkpoints::CheckpointFolder;
use crate::clock::Clock;
use crate::driver::{Driver, Handle, TICK};
use crate::events::EventLog;
use crate::machine::{Event, Machine, Outcome, Settings, Status, Straggling};
use crate::mirror::{Elsewhere, Lacking, recover};
use crate::plan::{Plan, workers};
use crate::progress::duration;
use crate::server::{Leading, Tenure};
use crate::services::{Hotkeys, RunContext, Shared};
use crate::store::StoreError;

/// A run that is led.
pub(crate) struct Lead {
    handle: Handle,
    checkpoints: CheckpointFolder,
    driver: JoinHandle<Result<Outcome, StoreError>>,
    /// Fetches what is missing here.
    recovering: JoinHandle<()>,
    leading: Leading,
}

impl Lead {
    /// Begins to decide, at `address`. `former`: who led before, if it stood by
    /// meanwhile. Nobody hears of it before [`Lead::leading`] answers.
    ///
    /// # Errors
    /// Refused if the flags and the run make no machine; if the store cannot be
    /// read.
    pub(crate) fn begin(
        args: &LeadArgs,
        plan: Plan,
        address: &str,
        former: Option<&str>,
        tenure: Tenure,
        elsewhere: Elsewhere,
    ) -> Result<Lead, Failure> {
        let notices = plan.notices(address, former)?;
        let Plan {
            config,
            store,
            history,
            packed,
            checkpoints,
            absent,
            holds,
            ..
        } = plan;
        let event_log = EventLog::new(store.event_bounds()?, args.keep_events);
        let settings = settings(args, &config)?;
        let order = order_of(&config).map_err(Refused::because)?;
        let started = Machine::start(settings, order, history, 0);
        elsewhere.await_all(&absent);
        let lacking = Lacking {
            store: store.clone(),
            folder: checkpoints.clone(),
            run_id: config.run_id.clone(),
            checkpoints: absent,
        };
        let (driver, handle) = Driver::new(
            started,
            clock(args.times.heartbeat_ms),
            store.clone(),
            checkpoints.clone(),
            &config,
            (event_log, notices),
        );
        let run = Arc::new(RunContext {
            config_json: config.to_json(),
            config,
            limits: limits(args),
        });
        let shared = Shared {
            handle: handle.clone(),
            run: run.clone(),
            hotkeys: Hotkeys::new(store.clone(), holds),
            store,
            packed,
            checkpoints: checkpoints.clone(),
            elsewhere: elsewhere.clone(),
        };
        let routes = Routes::new(shared.cluster())
            .add_service(shared.checkpoints())
            .add_service(shared.operator())
            .add_service(shared.publishing());
        Ok(Lead {
            recovering: tokio::spawn(recover(lacking, elsewhere, handle.clone())),
            checkpoints,
            driver: tokio::spawn(driver.run()),
            leading: Leading {
                routes,
                tenure,
                handle: handle.clone(),
                run,
            },
            handle,
        })
    }

    /// What answers for it.
    pub(crate) fn leading(&self) -> Leading {
        self.leading.clone()
    }

    /// Waits until the machine has nothing more to do.
    pub(crate) async fn ended(&mut self) -> Result<Result<Outcome, StoreError>, JoinError> {
        (&mut self.driver).await
    }

    /// Asks the machine to stop the run in good order.
    pub(crate) async fn ask_to_stop(&self) {
        // A driver that has ended needs no asking.
        let _ = self.handle.tell(Event::ShutdownAsked).await;
    }

    /// Decides nothing more, and says nothing more: another may lead.
    pub(crate) async fn abandon(mut self) {
        self.driver.abort();
        // In this order: what ends because of the tenure finds nobody who could
        // take it for a worker's or a publisher's own doing.
        if !self.driver.is_finished() {
            let _ = (&mut self.driver).await;
        }
        self.leading.tenure.end();
    }

    /// Tidies up behind a machine that has ended, and says how the run stands.
    pub(crate) async fn conclude(self) -> Result<(), Failure> {
        let checkpoints = self.checkpoints.clone();
        tokio::task::spawn_blocking(move || checkpoints.sweep(true))
            .await
            .context("removing checkpoints")?;
        summarize(&self.handle.status());
        Ok(())
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.driver.abort();
        self.recovering.abort();
    }
}

/// A coordinator that stood still missed a heartbeat of each worker, as far as it can
/// tell, and no more.
fn clock(heartbeat_ms: u64) -> Clock {
    // It looks at every tick; what a batch takes beside that always counts.
    let tick_ms = TICK.as_millis() as u64;
    Clock::new(0, heartbeat_ms.max(2 * tick_ms))
}

fn settings(args: &LeadArgs, config: &run::RunConfig) -> Result<Settings, Refused> {
    let global_batch = std::num::NonZeroU32::new(config.global_batch)
        .ok_or_else(|| Refused::new("--global-batch 0: a step has at least one sequence"))?;
    let defaults = Settings::new(workers(args)?, global_batch, config.num_epochs);
    let heartbeat_ms = args.times.heartbeat_ms;
    Ok(Settings {
        min_workers: args.min_workers,
        max_workers: args.max_workers.unwrap_or(defaults.max_workers),
        straggling: Straggling {
            // What is known of a worker is as old as its last heartbeat.
            floor_ms: heartbeat_ms.saturating_mul(3),
            silence_ms: heartbeat_ms.saturating_mul(5) / 2,
            ..defaults.straggling
        },
        lease_ms: args.times.lease_ms,
        collective_ms: args.times.collective_ms,
        // A step may take as long as its slowest collective.
        pause_ms: args.times.collective_ms.max(defaults.pause_ms),
        page_lease_ms: args.times.page_lease_ms,
        rows_ahead_ms: args.times.rows_ahead_ms,
        keep_checkpoints: args.checkpoints.keep,
        keep_serving: args.keep_serving,
        ..defaults
    })
}

fn limits(args: &LeadArgs) -> v1::Limits {
    v1::Limits {
        heartbeat_ms: args.times.heartbeat_ms,
        lease_ms: args.times.lease_ms,
        collective_ms: args.times.collective_ms,
        rows_ahead_ms: args.times.rows_ahead_ms,
        checkpoint_steps: args.checkpoints.every_steps,
        checkpoint_ms: args.checkpoints.every_ms.0,
    }
}

fn summarize(status: &Status) {
    let best = match &status.best {
        Some(checkpoint) => match checkpoint.evaluation {
            Some(evaluation) => format!("best loss {:.4} at {}", evaluation.loss, checkpoint.id),
            None => format!("checkpoint {}", checkpoint.id),
        },
        None => "no checkpoint".to_owned(),
    };
    tracing::info!(
        steps = status.cursor.step,
        sequences = status.cursor.position,
        pages = status.pages_packed,
        skipped = status.pages_skipped,
        "{} after {}: {best}",
        status.state,
        duration(status.uptime)
    );
}

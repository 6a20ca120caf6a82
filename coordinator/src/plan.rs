//! From flags and what is on disk to the run that a coordinator leads: a new
//! one, or the one that is there.

use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::num::NonZeroU32;

use cli::{Failure, Refused};
use layout::{CONFIG_FILE, Gpt2Config, parameter_count};
use run::{Init, LoadedModel, RunArgs, RunConfig, Settings};

use crate::args::LeadArgs;
use crate::checkpoints::{CheckpointFolder, InitialWeights};
use crate::dataset;
use crate::events::{Kind, Notice};
use crate::foreseen::Foreseen;
use crate::machine::History;
use crate::mirror::set_aside;
use crate::packed::PackedPages;
use crate::records::{Checkpoint, Hold};
use crate::state_dir::{StateDir, StoreKind};
use crate::store::{Embedded, RunRecord, RunStore, StoreError};

/// Bytes of a parameter in a checkpoint: weights and two moments, in fp32.
const BYTES_PER_PARAMETER: u64 = 3 * 4;
/// Bytes of a checkpoint beside that: configurations and headers, generously.
const BYTES_BESIDE_PARAMETERS: u64 = 1 << 20;
/// Checkpoints beside the newest on disk at the worst moment: the best, and one
/// on its way in.
const BESIDE_THE_NEWEST: u64 = 2;
/// Bytes of a packed page of web text.
const BYTES_PER_PAGE: u64 = 140_000;
/// Pages for which an endless run must have room at its start.
const PAGES_OF_ENDLESS_RUN: u64 = 10_000;

/// A run that is ready to be led.
pub(crate) struct Plan {
    pub(crate) config: RunConfig,
    pub(crate) is_new: bool,
    pub(crate) store: RunStore,
    pub(crate) history: History,
    pub(crate) packed: PackedPages,
    pub(crate) checkpoints: CheckpointFolder,
    /// Checkpoints that the records have and this disk has not.
    pub(crate) absent: Vec<Checkpoint>,
    /// Hotkeys that were lent.
    pub(crate) holds: Vec<Hold>,
    /// Checkpoints that were found damaged.
    damaged: Vec<Notice>,
}

/// Whose the state directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    /// This coordinator's alone: what is not there is nowhere.
    Own,
    /// One of several; what is not there may be elsewhere.
    OneOfSeveral {
        /// Whether another has just led, so that there is no time to read
        /// every file.
        followed: bool,
    },
}

impl Disk {
    fn store_kind(self) -> StoreKind {
        match self {
            Disk::Own => StoreKind::Redb,
            Disk::OneOfSeveral { .. } => StoreKind::Etcd,
        }
    }
}

impl Plan {
    /// What a coordinator that begins to lead at `address` has to tell, and who
    /// led before it, if it stood by meanwhile.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn notices(
        &self,
        address: &str,
        former: Option<&str>,
    ) -> Result<Vec<Notice>, StoreError> {
        let bounds = self.store.event_bounds()?;
        let newest = self.store.events(bounds.next - 1, bounds.next)?;
        let stopped = Kind::CoordinatorStopped.as_str();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let run_id = self.config.run_id.clone();
        let address = address.to_owned();
        let steps = self.history.reported().step;
        let begun = match former {
            // It stood by before there was a run, or nobody led it yet.
            Some(former) if !self.is_new => Notice::TookOver {
                version,
                run_id,
                address,
                former: former.to_owned(),
                steps,
            },
            _ => Notice::Started {
                version,
                run_id,
                address,
                resumed_at: (!self.is_new).then_some(steps),
                unclean: newest.last().is_some_and(|event| event.kind != stopped),
            },
        };
        Ok(std::iter::once(begun)
            .chain(self.damaged.iter().cloned())
            .collect())
    }
}

/// How many workers the flags ask for.
pub(crate) fn workers(args: &LeadArgs) -> Result<NonZeroU32, Refused> {
    let workers = args.workers.unwrap_or_default();
    NonZeroU32::new(workers)
        .ok_or_else(|| Refused::new("--workers 0: somebody has to train; give at least 1"))
}

/// Everything that can be refused without touching the disk or the network, so
/// that a mistyped flag leaves nothing behind.
pub(crate) struct Checked {
    weights: Option<InitialWeights>,
    loaded: Option<LoadedModel>,
    /// The run's flags without those that only describe loaded weights.
    run_args: RunArgs,
    /// The settings of a new run; a resumed one's depend on what is stored.
    settings: Option<Settings>,
}

impl Checked {
    /// Checks the flags, and the weights that they name. `run_exists`: whether
    /// the store has a run.
    pub(crate) fn new(args: &LeadArgs, run_exists: bool) -> Result<Checked, Refused> {
        let workers = workers(args)?;
        check_sizes(args, workers)?;
        check_times(args)?;
        let mut run_args = args.run.clone();
        let weights = open_weights(args, &mut run_args)?;
        let loaded = match &weights {
            Some(weights) => Some(LoadedModel {
                model: weights.config().clone(),
                digest: weights.digest().map_err(Refused::because)?,
            }),
            None => None,
        };
        let settings = match run_exists {
            true => None,
            false => Some(
                run_args
                    .settings(workers.get(), loaded.clone())
                    .map_err(Refused::because)?,
            ),
        };
        Ok(Checked {
            weights,
            loaded,
            run_args,
            settings,
        })
    }

    /// The same, on a thread that may read gigabytes.
    pub(crate) async fn in_background(
        args: &LeadArgs,
        run_exists: bool,
    ) -> Result<Checked, Failure> {
        let args = args.clone();
        let checked = tokio::task::spawn_blocking(move || Checked::new(&args, run_exists)).await;
        Ok(checked.map_err(anyhow::Error::from)??)
    }

    /// The flags of a run that is there and that they were found not to
    /// contradict: nothing is read once more.
    fn already(args: &LeadArgs) -> Checked {
        Checked {
            weights: None,
            loaded: None,
            run_args: args.run.clone(),
            settings: None,
        }
    }

    /// Opens the state directory: continues the run that is there, if the flags
    /// do not contradict it, or begins a new one. What can be refused is,
    /// before anything is created.
    pub(crate) async fn plan(self, args: &LeadArgs) -> Result<Plan, Failure> {
        let state_dir = StateDir(&args.state_dir);
        let mut new_config = None;
        if !state_dir.store().exists() {
            state_dir.check_unowned(StoreKind::Redb)?;
            let config = self.new_config(args).await?;
            check_space(args, &config, &History::default())?;
            new_config = Some(config);
        }
        cli::writable_directory("--state-dir", &args.state_dir)?;
        let store = open_store(&state_dir)?;
        let stored = store.run().map_err(Refused::because)?;
        let config = match (&stored, new_config) {
            (Some(record), _) => self.resumed_config(args, &record.config).await?,
            (None, Some(config)) => config,
            // A creation that was cut short.
            (None, None) => self.new_config(args).await?,
        };
        self.settle(args, store, stored, config, Disk::Own)
    }

    /// Continues or begins the run in a store that other coordinators have too.
    /// `stored`: the run in it.
    pub(crate) async fn plan_among_several(
        args: &LeadArgs,
        store: RunStore,
        stored: Option<RunRecord>,
        foreseen: &Foreseen,
        followed: bool,
    ) -> Result<Plan, Failure> {
        let resumed = stored.as_ref().map(|record| &record.config);
        let known = resumed.and_then(|config| foreseen.of(config));
        let (checked, config) = match (known, resumed) {
            (Some(config), _) => (Checked::already(args), config.clone()),
            (None, Some(config)) => {
                let checked = Checked::in_background(args, true).await?;
                let config = checked.resumed_config(args, config).await?;
                (checked, config)
            }
            (None, None) => {
                let checked = Checked::in_background(args, false).await?;
                let config = checked.new_config(args).await?;
                (checked, config)
            }
        };
        let disk = Disk::OneOfSeveral { followed };
        let args = args.clone();
        tokio::task::spawn_blocking(move || checked.settle(&args, store, stored, config, disk))
            .await
            .map_err(anyhow::Error::from)?
    }

    /// Writes what the run is, where that is new, and looks what there is of it.
    fn settle(
        self,
        args: &LeadArgs,
        store: RunStore,
        stored: Option<RunRecord>,
        config: RunConfig,
        disk: Disk,
    ) -> Result<Plan, Failure> {
        let state_dir = StateDir(&args.state_dir);
        let mut history = store.history()?;
        let kind = disk.store_kind();
        match &stored {
            Some(record) => state_dir.check_owner(&record.config.run_id, kind)?,
            None => state_dir.check_unowned(kind)?,
        }
        check_space(args, &config, &history)?;
        let packed = PackedPages::open(&state_dir.packed())?;
        let root = state_dir.checkpoints();
        let unrecorded = CheckpointFolder::at(&root, &config.model)
            .set_aside_unrecorded(history.reported().step, &state_dir.unrecorded())?;
        for path in unrecorded {
            tracing::warn!(
                "a checkpoint of steps that the records do not know is now at {}: delete it if you \
                 do not need it",
                path.display()
            );
        }
        let checkpoints = CheckpointFolder::open(&root, &config.model, &history.checkpoints)?
            .with_budget(args.checkpoints.disk.map(|budget| budget.0));
        match &stored {
            Some(record) if record.config == config => {}
            Some(_) => store.create_run(&RunRecord::new(config.clone()), None)?,
            None => {
                let initial = match &self.weights {
                    Some(weights) => Some(weights.install(&checkpoints)?),
                    None => None,
                };
                store.create_run(&RunRecord::new(config.clone()), initial.as_ref())?;
                history.checkpoints.extend(initial);
            }
        }
        state_dir.set_owner(&config.run_id, kind)?;
        let (absent, damaged) = match disk {
            Disk::Own => {
                let verified = verified_history(&store, history, &checkpoints, &config)?;
                history = verified.0;
                (Vec::new(), verified.1)
            }
            Disk::OneOfSeveral { followed } => {
                let absent = set_aside(&mut history, &checkpoints, followed);
                (absent, Vec::new())
            }
        };
        Ok(Plan {
            damaged,
            is_new: stored.is_none(),
            absent,
            holds: store.holds()?,
            config,
            store,
            history,
            packed,
            checkpoints,
        })
    }

    async fn new_config(&self, args: &LeadArgs) -> Result<RunConfig, Refused> {
        let settings = match &self.settings {
            Some(settings) => settings.clone(),
            None => self
                .run_args
                .settings(workers(args)?.get(), self.loaded.clone())
                .map_err(Refused::because)?,
        };
        let run_id = args.run_id.clone().unwrap_or_else(draw_run_id);
        let dataset = dataset::describe(&args.data, None).await?;
        settings
            .with_data(&run_id, dataset)
            .map_err(Refused::because)
    }

    pub(crate) async fn resumed_config(
        &self,
        args: &LeadArgs,
        stored: &RunConfig,
    ) -> Result<RunConfig, Refused> {
        let run_id = args.run_id.as_deref().unwrap_or(&stored.run_id);
        let settings = self.run_args.settings_over(stored, self.loaded.clone());
        let settings = settings.map_err(Refused::because)?;
        let dataset = dataset::describe(&args.data, Some(&stored.data)).await?;
        let asked = settings
            .with_data(run_id, dataset)
            .map_err(Refused::because)?;
        stored.resumed_as(asked).map_err(|error| {
            let directory = args.state_dir.display();
            Refused::new(format!(
                "--state-dir {directory} holds another run: {error}"
            ))
        })
    }
}

/// Opens the weights to start from, and takes the flags that describe them out
/// of the run's.
fn open_weights(
    args: &LeadArgs,
    run_args: &mut RunArgs,
) -> Result<Option<InitialWeights>, Refused> {
    if let Some(directory) = &args.load.load_model_dir {
        let weights = InitialWeights::open_directory(directory)
            .map_err(|error| Refused::new(format!("--load_model_dir: {error}")))?;
        return Ok(Some(weights));
    }
    let Some(file) = &args.load.load_model else {
        return Ok(None);
    };
    let refuse = |problem: &dyn std::fmt::Display| {
        Refused::new(format!("--load_model {}: {problem}", file.display()))
    };
    let config = match (run_args.preset.take(), run_args.model_config.take()) {
        (Some(name), _) => layout::preset(&name)
            .ok_or_else(|| refuse(&format!("--preset {name}: there is no such model")))?,
        (None, Some(config)) => Gpt2Config::read(&config).map_err(|error| refuse(&error))?,
        (None, None) => {
            let beside = file.with_file_name(CONFIG_FILE);
            Gpt2Config::read(&beside).map_err(|error| {
                refuse(&format!(
                    "{error}; say what model the weights are of with --model_config or --preset"
                ))
            })?
        }
    };
    let weights = InitialWeights::open_file(file, &config).map_err(|error| refuse(&error))?;
    Ok(Some(weights))
}

fn check_sizes(args: &LeadArgs, workers: NonZeroU32) -> Result<(), Refused> {
    if args.min_workers > workers {
        return Err(Refused::new(format!(
            "--min-workers {}: the run begins with --workers {workers}, which must not be fewer",
            args.min_workers
        )));
    }
    match args.max_workers {
        Some(most) if most < workers => Err(Refused::new(format!(
            "--max-workers {most}: the run begins with --workers {workers}, which must not be more"
        ))),
        _ => Ok(()),
    }
}

fn check_times(args: &LeadArgs) -> Result<(), Refused> {
    let times = &args.times;
    if times.heartbeat_ms == 0 || times.lease_ms < 3 * times.heartbeat_ms {
        return Err(Refused::new(format!(
            "--lease-ms {}: it must last for three heartbeats of --heartbeat-ms {} at least",
            times.lease_ms, times.heartbeat_ms
        )));
    }
    let others = [
        ("--collective-ms", times.collective_ms),
        ("--page-lease-ms", times.page_lease_ms),
        ("--rows-ahead-ms", times.rows_ahead_ms),
    ];
    match others.iter().find(|(_, value)| *value == 0) {
        Some((flag, _)) => Err(Refused::new(format!("{flag} 0: give at least 1 ms"))),
        None => Ok(()),
    }
}

/// Opens the store of a state directory.
pub(crate) fn open_store(state_dir: &StateDir<'_>) -> Result<RunStore, Failure> {
    open_embedded(state_dir).map(RunStore::new)
}

/// Opens the keyspace of a state directory.
pub(crate) fn open_embedded(state_dir: &StateDir<'_>) -> Result<Embedded, Failure> {
    match Embedded::open(&state_dir.store()) {
        Ok(embedded) => Ok(embedded),
        Err(error @ StoreError::InUse { .. }) => Err(Refused::because(error).into()),
        Err(error) => Err(error.into()),
    }
}

fn draw_run_id() -> String {
    // The standard library's hasher is seeded from the system's randomness.
    format!("run-{:016x}", RandomState::new().build_hasher().finish())
}

/// Checks that the disk holds what the run will need beyond what it has.
fn check_space(args: &LeadArgs, config: &RunConfig, history: &History) -> Result<(), Refused> {
    let parameters = parameter_count(&config.model);
    let initial = match config.init {
        Init::Scratch => 0,
        Init::Weights { .. } => 4 * parameters,
    };
    let one = BYTES_PER_PARAMETER * parameters + BYTES_BESIDE_PARAMETERS;
    let keep = u64::from(args.checkpoints.keep.get());
    let budget = args.checkpoints.disk.map_or(u64::MAX, |budget| budget.0);
    check_budget(budget, (1 + BESIDE_THE_NEWEST) * one + initial)?;
    let checkpoints = (keep + BESIDE_THE_NEWEST).saturating_mul(one);
    let checkpoints = checkpoints.saturating_add(initial).min(budget);
    let planned = config
        .num_epochs
        .map(|epochs| epochs.saturating_mul(config.pages_per_epoch));
    let pages = planned.unwrap_or(u64::MAX).min(PAGES_OF_ENDLESS_RUN) + config.eval_pages;
    let pages = pages
        .saturating_sub(history.rows.len() as u64)
        .saturating_mul(BYTES_PER_PAGE);
    let there: u64 = history.checkpoints.iter().map(|c| c.total_bytes()).sum();
    let needed = checkpoints.saturating_sub(there).saturating_add(pages);
    let purpose = format!(
        "the newest checkpoints (--keep-checkpoints {keep}), the best, one on its way in, and \
         packed pages"
    );
    cli::free_space("--state-dir", &args.state_dir, needed, &purpose)
}

/// Checks that the newest checkpoint, the best, and one on its way in fit into
/// the budget together: with less, some would never find room.
fn check_budget(budget: u64, least: u64) -> Result<(), Refused> {
    if budget >= least {
        return Ok(());
    }
    // Rounded up, so that what is proposed is enough.
    let gib = (least as f64 / (1_u64 << 30) as f64 * 100.0).ceil() / 100.0;
    Err(Refused::new(format!(
        "--checkpoint-disk-gib: the latest checkpoint of this model, the best, and one on its way \
         in take {gib:.2} GiB; allow at least that"
    )))
}

pub(crate) async fn read_run(store: &RunStore) -> Result<Option<RunRecord>, Failure> {
    let store = store.clone();
    let read = tokio::task::spawn_blocking(move || store.run()).await;
    Ok(read.map_err(anyhow::Error::from)??)
}

/// The history without checkpoints whose files are missing or changed, and
/// those to tell of.
fn verified_history(
    store: &RunStore,
    mut history: History,
    checkpoints: &CheckpointFolder,
    config: &RunConfig,
) -> Result<(History, Vec<Notice>), Failure> {
    let mut damaged = Vec::new();
    let mut sound = Vec::new();
    let kept = std::mem::take(&mut history.checkpoints);
    let found = checkpoints.verify_all(&kept);
    for (checkpoint, found) in kept.into_iter().zip(found) {
        match found {
            Ok(()) => sound.push(checkpoint),
            Err(error) if !error.is_damage() => return Err(error.into()),
            Err(error) if checkpoint.is_initial() => {
                return Err(Refused::new(format!(
                    "the run's initial weights are damaged: {error}; restore {}, or start a new \
                     run in another --state-dir",
                    checkpoints.path(&checkpoint.id).display()
                ))
                .into());
            }
            Err(error) => {
                damaged.push(Notice::CheckpointDamaged {
                    checkpoint: checkpoint.id.clone(),
                    reason: error.to_string(),
                });
                store.forget_checkpoint(&checkpoint.id)?;
                if fs::exists(checkpoints.path(&checkpoint.id)).unwrap_or(true) {
                    checkpoints.discard(&checkpoint.id);
                }
            }
        }
    }
    history.checkpoints = sound;
    let has_initial = history.checkpoints.iter().any(|c| c.is_initial());
    if matches!(config.init, Init::Weights { .. }) && !has_initial {
        return Err(
            Refused::new("the run's initial weights are missing from its --state-dir").into(),
        );
    }
    Ok((history, damaged))
}

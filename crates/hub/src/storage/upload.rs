//! Contents of large files on their way into the storage.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use xet::XetError;
use xet::xet_session::{GroupProgressReport, Sha256Policy, XetConfig, XetUploadCommit};

use super::{Entrance, OwnRuntime, TransferCache, failed, from_xet, session, xet_config};
use crate::{Event, Events, HubConfig, HubError, LocalFile, TransferKind};

/// How often progress is looked at, and told if there is any.
const TICK: Duration = Duration::from_millis(100);

/// One attempt at sending large files.
pub(crate) struct Transfer<'a> {
    pub(crate) config: &'a HubConfig,
    pub(crate) entrance: Entrance,
    pub(crate) cache: &'a TransferCache,
    /// Whether to leave out what the storage says that it has.
    pub(crate) deduplicate: bool,
    pub(crate) dir: &'a Path,
    pub(crate) files: Vec<&'a LocalFile>,
}

impl Transfer<'_> {
    /// Sends the files, and returns when the storage has acknowledged them all.
    pub(crate) async fn run(self, events: Events<'_>) -> Result<(), HubError> {
        self.cache.prepare().await?;
        let total = self.files.iter().map(|file| file.bytes).sum();
        let (report, mut reports) = watch::channel(0);
        let upload = self.upload(report);
        events(Event::Transferred { done: 0, total });
        let runtime = OwnRuntime::start()?;
        let mut task = runtime.spawn(upload.run())?;
        loop {
            tokio::select! {
                ended = &mut task => {
                    ended.map_err(|error| failed(error.to_string(), TransferKind::Passing))??;
                    events(Event::Transferred { done: total, total });
                    return Ok(());
                }
                Ok(()) = reports.changed() => {
                    let done = (*reports.borrow_and_update()).min(total);
                    events(Event::Transferred { done, total });
                }
            }
        }
    }

    fn upload(&self, report: watch::Sender<u64>) -> Upload {
        Upload {
            xet: xet_config(self.config, self.deduplicate),
            cache: self.cache.dir().to_owned(),
            entrance: self.entrance.clone(),
            files: self
                .files
                .iter()
                .map(|file| (self.dir.join(&file.name), (*file).clone()))
                .collect(),
            stall: self.config.timeouts.stall,
            throttled_wait: self.config.waits.untold_wait,
            report,
        }
    }
}

/// What runs in the transfer's runtime.
struct Upload {
    xet: XetConfig,
    cache: PathBuf,
    entrance: Entrance,
    files: Vec<(PathBuf, LocalFile)>,
    stall: Duration,
    throttled_wait: Duration,
    report: watch::Sender<u64>,
}

impl Upload {
    async fn run(self) -> Result<(), HubError> {
        let throttled_wait = self.throttled_wait;
        let passed = |error: XetError| from_xet(&error, throttled_wait);
        let renew_headers = self.entrance.renew_headers();
        let group = session(self.xet, self.cache)
            .map_err(passed)?
            .new_upload_commit()
            .map_err(passed)?
            .with_endpoint(self.entrance.access.cas_url)
            .with_custom_headers(Entrance::headers())
            .with_token_info(self.entrance.access.token, self.entrance.access.expires)
            .with_token_refresh_url(self.entrance.renew_at, renew_headers)
            .build()
            .await
            .map_err(passed)?;
        let mut queued = Vec::new();
        for (path, file) in &self.files {
            let upload = group
                .upload_from_path(path.clone(), Sha256Policy::Compute)
                .await;
            queued.push((upload.map_err(passed)?, path, file));
        }
        let sent = tokio::select! {
            sent = group.commit() => sent.map_err(passed)?,
            stalled = watch_progress(&group, self.stall, &self.report) => return Err(stalled),
        };
        for (upload, path, file) in queued {
            let sent = sent.uploads.get(&upload.task_id());
            let sent = sent.map(|sent| (sent.xet_info.file_size, sent.xet_info.sha256.as_deref()));
            let digest = hex::encode(file.sha256);
            if sent != Some((Some(file.bytes), Some(&digest))) {
                return Err(HubError::Changed {
                    path: path.clone(),
                    reason: "other bytes were read from it than its digest promises".to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// Reports what moves, until nothing has for `stall`.
async fn watch_progress(
    group: &XetUploadCommit,
    stall: Duration,
    report: &watch::Sender<u64>,
) -> HubError {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Moved::default();
    let mut moved_at = Instant::now();
    loop {
        ticks.tick().await;
        let now = Moved::of(&group.progress());
        if now != last {
            moved_at = Instant::now();
            report.send_if_modified(|done| std::mem::replace(done, now.done) != now.done);
            last = now;
        } else if moved_at.elapsed() >= stall {
            let reason = format!("nothing has moved for {} seconds", stall.as_secs());
            return failed(reason, TransferKind::Passing);
        }
    }
}

/// Everything in a progress report that moves while a transfer is alive.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Moved {
    done: u64,
    transferred: u64,
    checked: u64,
}

impl Moved {
    fn of(report: &GroupProgressReport) -> Self {
        let shards = report.shard.as_ref();
        Self {
            done: report.total_bytes_completed,
            transferred: report.total_transfer_bytes_completed,
            checked: shards.map_or(0, |shards| {
                shards.total_shard_bytes_upload_completed
                    + shards.total_shard_validation_entries_completed
                    + u64::from(shards.total_shards_completed)
            }),
        }
    }
}

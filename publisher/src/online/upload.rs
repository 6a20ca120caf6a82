//! Staged → uploaded → verified.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hub::{Event, HubError, LocalFile, Publish, Published};
use subnet::CommitId;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Carrier, Stop};
use crate::Error;
use crate::clock::{in_words, unix_ms};
use crate::crash::{self, Point};
use crate::journal::{Intent, Publication, Stage};

/// How often a transfer says how far it is, and a wait how long it still lasts.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// How often somebody else may commit to the repository just then, before it is a
/// person's turn to find out who.
const MAX_MOVED_HEADS: u32 = 2;

impl Carrier<'_> {
    /// One commit on the Hub, which holds what is staged and no other model.
    pub(super) async fn upload(&mut self) -> Result<(), Stop> {
        let hub = &self.outside.reader;
        self.check_hold()?;
        let repository = match self.leaving(hub.repository(self.repo())).await? {
            Some(repository) => repository,
            None => {
                info!("making the repository {}", self.repo());
                let private = self.outside.private;
                self.leaving(hub.create_repository(self.repo(), private))
                    .await?;
                let made = self.leaving(hub.repository(self.repo())).await?;
                made.ok_or_else(|| {
                    Stop::passing("the repository was made, and the Hub does not show it yet")
                })?
            }
        };
        let parent = Some(repository.head);
        let files = local_files(&self.record)?;
        crash::point(Point::BeforeUploadIntent);
        self.check_hold()?;
        self.record.under_way = Some(Intent::Upload {
            parent,
            since_unix_ms: unix_ms(),
        });
        self.write().await?;
        crash::point(Point::AfterUploadIntent);
        let published = self.publish(parent, &files).await?;
        crash::point(Point::AfterUpload);
        if published.adopted {
            info!("the Hub has it already, in commit {}", published.commit);
        }
        let commit = published.commit;
        self.reach(Stage::Uploaded { commit }, Point::AfterUploadedRecord)
            .await?;
        Ok(())
    }

    /// Publishes, and lets go only as long as the commit has not been sent.
    async fn publish(
        &mut self,
        parent: Option<CommitId>,
        files: &[LocalFile],
    ) -> Result<Published, Stop> {
        let dir = self.state.staged(&self.record.checkpoint_id);
        let message = commit_message(&self.record);
        let (outside, interrupt) = (self.outside, self.interrupt);
        let repo = self.repo().clone();
        let publish = Publish {
            repo: &repo,
            dir: &dir,
            files,
            message: &message,
            parent,
        };
        let committing = AtomicBool::new(false);
        let (sender, mut events) = mpsc::unbounded_channel();
        let on_event = |event: Event| {
            match &event {
                Event::Transferred { done, .. } if *done > 0 => crash::point(Point::DuringTransfer),
                Event::Committing { .. } => {
                    committing.store(true, Ordering::SeqCst);
                    crash::point(Point::BeforeHubCommit);
                }
                _ => {}
            }
            // The receiver outlives the call.
            let _ = sender.send(event);
        };
        let published = outside.hub.publish(&publish, &on_event);
        tokio::pin!(published);
        // Ready as soon as letting go is wished for and harmless. Polled after
        // the upload, whose last poll may have sent the commit.
        let let_go = async {
            let stop = tokio::select! {
                () = interrupt.cancelled() => Stop::Interrupted,
                () = lost(outside) => Stop::passing(
                    "the coordinator no longer confirms that no other publisher uses the hotkey",
                ),
            };
            match committing.load(Ordering::SeqCst) {
                false => stop,
                true => std::future::pending().await,
            }
        };
        tokio::pin!(let_go);
        let mut said_at = Instant::now();
        loop {
            let published = tokio::select! {
                biased;
                published = &mut published => published,
                stop = &mut let_go => return Err(stop),
                Some(event) = events.recv() => {
                    self.tell(event, &mut said_at).await?;
                    continue;
                }
            };
            return match published {
                Err(error @ HubError::Moved { .. }) => Err(self.moved(error).await?),
                published => Ok(published?),
            };
        }
    }

    /// Somebody may edit the README in the meantime: then the next attempt follows
    /// that commit. Whoever does so again publishes to the repository as well.
    async fn moved(&mut self, error: HubError) -> Result<Stop, Error> {
        self.record.mishaps.moved_heads += 1;
        self.write().await?;
        Ok(if self.record.mishaps.moved_heads >= MAX_MOVED_HEADS {
            error.into()
        } else {
            Stop::passing(error)
        })
    }

    async fn tell(&mut self, event: Event, said_at: &mut Instant) -> Result<(), Error> {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        match event {
            Event::Preparing => info!("preparing the upload to {}", self.repo()),
            Event::Transferred { done, total }
                if done == total || said_at.elapsed() >= PROGRESS_EVERY =>
            {
                *said_at = Instant::now();
                info!(
                    "{:.1} of {:.1} MB are on the Hub",
                    megabytes(done),
                    megabytes(total)
                );
            }
            Event::Deleting { files } => warn!(
                "the commit to {} deletes what does not belong to the model: {}",
                self.repo(),
                files.join(", ")
            ),
            Event::Committing { parent } => {
                info!("committing to {} after {parent}", self.repo());
            }
            // One comes every second: the journal needs the first alone.
            Event::Waiting { why, left } if !self.waits_for(&why) => {
                *said_at = Instant::now();
                warn!("{why}; waiting {}", in_words(left));
                self.wait_for(&why, Some(left)).await?;
            }
            Event::Waiting { why, left } if said_at.elapsed() >= PROGRESS_EVERY => {
                *said_at = Instant::now();
                info!("waiting: {why}; {} left", in_words(left));
            }
            Event::Retrying { why, after } => {
                warn!("{why}; trying again in {:.1} s", after.as_secs_f64());
                self.wait_for(&why, Some(after)).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares what the Hub serves with what is staged.
    pub(super) async fn verify(&mut self, commit: CommitId) -> Result<(), Stop> {
        let files = local_files(&self.record)?;
        let limit = self.criteria.max_repository_bytes;
        let hub = &self.outside.reader;
        let served = self
            .leaving(hub.verify(self.repo(), commit, &files, limit))
            .await?;
        if served.private && !self.outside.private {
            return Err(Stop::fatal(
                format!(
                    "the repository {} is private, and validators cannot read it",
                    self.repo()
                ),
                "make it public in the Hub's settings of the repository, or give --private if you \
                 will do so later",
            ));
        }
        if served.private {
            warn!(
                "the repository {} is private: validators cannot read it until you make it public",
                self.repo()
            );
        }
        if served.gated || served.disabled {
            return Err(Stop::fatal(
                format!(
                    "the repository {} is {}, and validators cannot read it",
                    self.repo(),
                    if served.gated {
                        "gated"
                    } else {
                        "switched off by the Hub"
                    }
                ),
                "change that in the Hub's settings of the repository, or use another repository",
            ));
        }
        crash::point(Point::AfterVerifying);
        self.reach(Stage::Verified { commit }, Point::AfterVerifiedRecord)
            .await?;
        Ok(())
    }
}

pub(super) async fn lost(outside: &super::Outside) {
    match &outside.hold {
        Some(hold) => hold.lost().await,
        None => std::future::pending().await,
    }
}

/// The staged files as the Hub's client wants them.
pub(super) fn local_files(record: &Publication) -> Result<Vec<LocalFile>, Error> {
    let mut files = Vec::new();
    for file in &record.files {
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&file.sha256, &mut sha256).map_err(|error| Error::Record {
            path: PathBuf::from(&record.checkpoint_id),
            reason: format!("the sha256 of {}: {error}", file.name),
        })?;
        files.push(LocalFile {
            name: file.name.clone(),
            bytes: file.bytes,
            sha256,
        });
    }
    Ok(files)
}

fn commit_message(record: &Publication) -> String {
    match (&record.run_id, record.loss) {
        (Some(run), Some(loss)) => {
            format!("Step {} of {run}, loss {loss:.4}", record.step)
        }
        _ => "Upload a model".to_owned(),
    }
}

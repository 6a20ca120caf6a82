//! One publisher per hotkey.
//!
//! The coordinator lends a hotkey to one publisher at a time, over a stream on
//! which it says every two seconds that it still does. A publisher begins
//! nothing irreversible unless it has heard so within [`FRESH`]. On one machine
//! a locked file keeps publishers apart that use no coordinator, or different
//! ones.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use cli::Refused;
use client::{Connection, RetryPolicy};
use proto::v1::{Context, HoldRequest, HoldResponse};
use subnet::Account;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{Code, Status, Streaming};
use tracing::{info, warn};

use super::Stop;
use crate::Error;

/// How long a word of the coordinator counts: three times as long as it is
/// silent between two, and shorter than a broken connection takes to be noticed
/// at its end, after which it may lend the hotkey to another.
const FRESH: Duration = Duration::from_secs(6);

/// How long the coordinator may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long another holder may take to disappear: one that has just been killed
/// and started again is still remembered for a moment.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// The right to use a hotkey, for as long as this lives and can be confirmed.
#[derive(Debug)]
pub(crate) struct Hold {
    /// None: no coordinator has been asked.
    lent: Option<Lent>,
    _machine: File,
}

#[derive(Debug)]
struct Lent {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
enum State {
    /// Not yet, or no longer.
    Not { why: String },
    /// The coordinator said so at this time.
    Held { heard: Instant },
    /// Another publisher has it.
    Refused { why: String },
    /// The coordinator was out of reach for too long.
    GaveUp { why: String },
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hold {
    /// Takes a hotkey on this machine, and asks the coordinator for it, if
    /// there is one.
    ///
    /// # Errors
    /// Refused, naming the holder, when another publisher on this machine has
    /// it.
    pub(crate) fn begin(
        hotkey: &Account,
        coordinator: Option<(Connection, RetryPolicy)>,
    ) -> Result<Hold, Error> {
        let machine = lock_on_this_machine(hotkey)?;
        let lent = coordinator.map(|(connection, patience)| {
            let (sender, state) = watch::channel(State::Not {
                why: "the coordinator has not answered yet".to_owned(),
            });
            let request = HoldRequest {
                context: Some(Context::default()),
                hotkey: hotkey.to_string(),
                holder: holder(),
                instance: format!("{:032x}", rand::random::<u128>()),
            };
            let task = tokio::spawn(keep_asking(connection, patience, request, sender));
            Lent { state, task }
        });
        Ok(Hold {
            lent,
            _machine: machine,
        })
    }

    /// Waits for the coordinator's first answer.
    ///
    /// # Errors
    /// Refused, naming the holder, when another publisher has the hotkey.
    pub(crate) async fn wait_until_held(&self) -> Result<(), Error> {
        let Some(lent) = &self.lent else {
            return Ok(());
        };
        let mut state = lent.state.clone();
        loop {
            let seen = state.borrow_and_update().clone();
            match seen {
                State::Held { .. } => return Ok(()),
                State::Not { .. } => {}
                State::Refused { .. } | State::GaveUp { .. } => return Err(end(seen)),
            }
            if state.changed().await.is_err() {
                return Err(end(seen));
            }
        }
    }

    /// Whether something irreversible may begin now.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        let Some(lent) = &self.lent else {
            return Ok(());
        };
        let state = lent.state.borrow().clone();
        match state {
            State::Held { heard } if heard.elapsed() < FRESH => Ok(()),
            State::Held { .. } => Err(Stop::passing(
                "the coordinator has been silent, and only it can say that no other publisher \
                 uses the hotkey; nothing that cannot be taken back begins before it does",
            )),
            State::Not { why } => Err(Stop::passing(format!(
                "the coordinator has to say that no other publisher uses the hotkey; nothing that \
                 cannot be taken back begins before it does ({why})"
            ))),
            State::Refused { .. } | State::GaveUp { .. } => Err(Stop::Error(end(state))),
        }
    }

    /// Ends when [`Hold::check`] would fail.
    pub(crate) async fn lost(&self) {
        let Some(lent) = &self.lent else {
            return std::future::pending().await;
        };
        let mut state = lent.state.clone();
        loop {
            let stale_at = match &*state.borrow_and_update() {
                State::Held { heard } => *heard + FRESH,
                _ => return,
            };
            if stale_at <= Instant::now() {
                return;
            }
            tokio::select! {
                changed = state.changed() => if changed.is_err() {
                    return sleep_until(stale_at).await;
                },
                () = sleep_until(stale_at) => {}
            }
        }
    }
}

fn end(state: State) -> Error {
    match state {
        State::Refused { why } => Error::Refused(Refused::new(why)),
        State::GaveUp { why } | State::Not { why } => Error::Unreachable(why),
        State::Held { .. } => Error::Unreachable("the publisher is stopping".to_owned()),
    }
}

/// This process, in words for whoever is refused on its account.
fn holder() -> String {
    let system = rustix::system::uname();
    format!(
        "the publisher on {} (process {})",
        system.nodename().to_string_lossy(),
        std::process::id()
    )
}

async fn keep_asking(
    connection: Connection,
    patience: RetryPolicy,
    request: HoldRequest,
    state: watch::Sender<State>,
) {
    let mut waits = patience.waits();
    let mut taken_since: Option<Instant> = None;
    loop {
        let failure = match open(&connection, &request).await {
            Ok(mut answers) => {
                let silence = follow(&mut answers, &state, || {
                    waits = patience.waits();
                    taken_since = None;
                });
                silence.await
            }
            Err(status) => status,
        };
        let error = client::Error::call("Hold", failure.clone());
        let wait = if failure.code() == Code::AlreadyExists {
            let since = *taken_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= GONE_WITHIN {
                let why = failure.message().to_owned();
                state.send_replace(State::Refused { why });
                return;
            }
            info!("{}; looking whether it is about to go", failure.message());
            Some(Duration::from_millis(500))
        } else if error.is_fatal() {
            let why = error.to_string();
            state.send_replace(State::Refused { why });
            return;
        } else {
            waits.next()
        };
        let why = error.to_string();
        let Some(wait) = wait else {
            state.send_replace(State::GaveUp { why });
            return;
        };
        if failure.code() != Code::AlreadyExists {
            warn!(
                "the coordinator does not confirm that the hotkey is ours: {why}; asking again \
                 in {:.1} s",
                wait.as_secs_f64()
            );
        }
        state.send_replace(State::Not { why });
        connection.pause(wait).await;
    }
}

async fn open(
    connection: &Connection,
    request: &HoldRequest,
) -> Result<Streaming<HoldResponse>, Status> {
    let mut publishing = connection.publishing();
    match timeout(ANSWER_TIMEOUT, publishing.hold(request.clone())).await {
        Ok(answer) => answer.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer")),
    }
}

/// Passes on that the hotkey is held, until the coordinator no longer says so.
async fn follow(
    answers: &mut Streaming<HoldResponse>,
    state: &watch::Sender<State>,
    mut held: impl FnMut(),
) -> Status {
    let mut said = false;
    loop {
        match timeout(ANSWER_TIMEOUT, answers.message()).await {
            Ok(Ok(Some(_))) => {
                if !said {
                    info!("the coordinator lends us the hotkey");
                    said = true;
                }
                held();
                let heard = Instant::now();
                state.send_replace(State::Held { heard });
            }
            Ok(Ok(None)) => return Status::unavailable("the coordinator ended the call"),
            Ok(Err(status)) => return status,
            Err(_) => return Status::deadline_exceeded("no word for a while"),
        }
    }
}

/// Locks a file that stands for the hotkey on this machine. The operating
/// system unlocks it with the process, however that ends.
fn lock_on_this_machine(hotkey: &Account) -> Result<File, Error> {
    // Where every user's programs find it: two users may have one hotkey.
    let path = std::env::temp_dir().join(format!("peregrine-hotkey-{hotkey}.lock"));
    let mut file = open_lock(&path).map_err(|source| Error::file(&path, source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut other = String::new();
            // Only for the message; one that is just starting is nameless.
            let _ = file.read_to_string(&mut other);
            return Err(Error::Refused(Refused::new(format!(
                "another publisher on this machine (process {}) has hotkey {hotkey}; a hotkey has \
                 one publisher: stop that one first",
                other.trim()
            ))));
        }
        Err(TryLockError::Error(source)) => return Err(Error::file(&path, source)),
    }
    // Only for another's message: another user's file cannot be written.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()));
    Ok(file)
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    let created = options
        .clone()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path);
    match created {
        // Another user's: it can be locked all the same.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hotkey_is_locked_once_on_a_machine() {
        let hotkey = Account::from(rand::random::<[u8; 32]>());
        let first = lock_on_this_machine(&hotkey).unwrap();
        let refused = lock_on_this_machine(&hotkey).unwrap_err().to_string();
        assert!(refused.contains(&hotkey.to_string()), "{refused}");
        assert!(
            refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        drop(first);
        lock_on_this_machine(&hotkey).unwrap();
        let path = std::env::temp_dir().join(format!("peregrine-hotkey-{hotkey}.lock"));
        std::fs::remove_file(path).unwrap();
    }
}

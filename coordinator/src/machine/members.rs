//! Who has joined, who is connected, who is ready.

use std::collections::BTreeMap;

use ledger::Cursor;

use super::event::{Activity, Millis, SessionId, World};
use crate::records::WorkerId;

/// The longest name a worker may have; names stand in logs and tables.
const LONGEST_NAME: usize = 64;

/// A worker that has joined.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance: String,
    pub(super) device: String,
    /// The open session, and the term at which it was opened.
    pub(super) session: Option<(SessionId, u64)>,
    /// The session in which it was told that it is out of a generation, and which.
    pub(super) told_out: Option<(SessionId, u64)>,
    /// Whether it has opened one since it joined.
    pub(super) has_connected: bool,
    pub(super) last_heard: Millis,
    pub(super) standing: Standing,
    pub(super) activity: Activity,
    /// Since when it does that, by its own account.
    pub(super) activity_since: Millis,
    pub(super) cursor: Option<Cursor>,
    /// Why it wants to leave, if it does.
    pub(super) draining: Option<String>,
    /// The highest world that it has been heard to live in.
    pub(super) world: World,
}

/// Whether a worker can be put into a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It builds its model, or has just left a generation.
    Starting,
    /// It waits for a generation.
    Ready { applied: Applied, since: Millis },
    /// It has left a generation, and will soon be ready for the next.
    Returning { since: Millis },
    /// It is in the current generation.
    Seated,
}

/// What a worker's weights and optimizer state have applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    /// `None` when it has no state.
    pub(super) cursor: Option<Cursor>,
    /// The generation of the last step in it.
    pub(super) generation: u64,
}

/// Every worker that has joined, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    by_name: BTreeMap<WorkerId, Member>,
    sessions: BTreeMap<SessionId, WorkerId>,
}

impl Members {
    pub(super) fn get(&self, worker: &WorkerId) -> Option<&Member> {
        self.by_name.get(worker)
    }

    pub(super) fn get_mut(&mut self, worker: &WorkerId) -> Option<&mut Member> {
        self.by_name.get_mut(worker)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&WorkerId, &Member)> {
        self.by_name.iter()
    }

    /// Workers with an open session, in name order.
    pub(super) fn connected(&self) -> impl Iterator<Item = (&WorkerId, &Member)> {
        self.iter().filter(|(_, member)| member.session.is_some())
    }

    pub(super) fn session_of(&self, worker: &WorkerId) -> Option<SessionId> {
        let (session, _) = self.get(worker)?.session?;
        Some(session)
    }

    pub(super) fn worker_of(&self, session: SessionId) -> Option<&WorkerId> {
        self.sessions.get(&session)
    }

    /// Whether a worker has left a generation less than `patience` ago and is
    /// on its way to being ready: the next one may build on its state.
    pub(super) fn returning(&self, now: Millis, patience: Millis) -> bool {
        self.connected().any(|(_, member)| {
            let due = |since: Millis| member.draining.is_none() && now < since + patience;
            matches!(member.standing, Standing::Returning { since } if due(since))
        })
    }

    /// The name that a joining worker gets: the one it asks for, or that with
    /// a number if a worker of another process has it, which is connected, or has
    /// joined since `horizon` and is about to be.
    pub(super) fn name_for(&self, wanted: &str, instance: &str, horizon: Millis) -> WorkerId {
        let is_away = |member: &Member| {
            let is_about_to_connect = !member.has_connected && member.last_heard >= horizon;
            member.session.is_none() && !is_about_to_connect
        };
        let free = |name: &WorkerId| match self.get(name) {
            None => true,
            Some(member) => is_away(member) || member.instance == instance,
        };
        let first = WorkerId(wanted.to_owned());
        if free(&first) {
            return first;
        }
        let mut number = 2;
        loop {
            let suffix = format!("-{number}");
            // Shortened where the two together would be a name that it could not join
            // with again.
            let room = LONGEST_NAME.saturating_sub(suffix.len());
            let stem: String = wanted.chars().take(room).collect();
            let name = WorkerId(stem + &suffix);
            if free(&name) {
                return name;
            }
            number += 1;
        }
    }

    pub(super) fn insert(&mut self, worker: WorkerId, member: Member) {
        self.by_name.insert(worker, member);
    }

    pub(super) fn open_session(&mut self, worker: &WorkerId, session: SessionId, term: u64) {
        if let Some(member) = self.by_name.get_mut(worker) {
            member.session = Some((session, term));
            member.has_connected = true;
            self.sessions.insert(session, worker.clone());
        }
    }

    /// Forgets a session; the worker stays known for a while, in case it comes
    /// back.
    pub(super) fn close_session(&mut self, session: SessionId) -> Option<WorkerId> {
        let worker = self.sessions.remove(&session)?;
        if let Some(member) = self.by_name.get_mut(&worker) {
            member.session = None;
            member.standing = Standing::Starting;
            member.activity = Activity::Starting;
        }
        Some(worker)
    }

    /// Removes workers that have been without a session since before `horizon`.
    pub(super) fn forget_absent(&mut self, horizon: Millis) {
        self.by_name
            .retain(|_, member| member.session.is_some() || member.last_heard >= horizon);
    }

    /// Connected workers that have been silent since before `horizon`.
    pub(super) fn silent_since(&self, horizon: Millis) -> Vec<(SessionId, Millis)> {
        self.connected()
            .filter(|(_, member)| member.last_heard < horizon)
            .filter_map(|(_, member)| Some((member.session?.0, member.last_heard)))
            .collect()
    }
}

/// Checks a name that a worker asks for.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:".contains(letter);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
        return Err(format!(
            "the worker name {name:?} must be 1 to {LONGEST_NAME} letters, digits, and -_.: only; \
             give another with --name"
        ));
    }
    Ok(())
}

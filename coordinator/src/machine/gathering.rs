//! Forming a generation: of whom, when, and from which state.

use std::sync::Arc;

use ledger::{Cursor, GenerationRecord, Ordinal, PageRow, Slot};

use super::effect::{Form, FormMember, Message};
use super::ending::RunState;
use super::event::Millis;
use super::formation::{
    Basis, Candidate, Others, check_enough, choose_basis, choose_members, survives,
};
use super::generation::{Generation, Leave, SeatState, Stage};
use super::happening::Happening;
use super::members::{Applied, Member, Standing};
use super::{Machine, Sabotage};
use crate::records::{KeptGeneration, Record, WorkerId};

/// Rows of the page table that go into one message.
const ROWS_PER_MESSAGE: usize = 4096;

/// How often people are told of another count.
const RECOUNT_MS: Millis = 1000;

/// What keeps a generation from being formed.
enum Obstacle {
    /// Nothing that is worth a word: it is over in a moment.
    Moment,
    /// Something that people should know, in words.
    Wait(String),
}

impl Machine {
    /// Forms the next generation if nothing is in its way; otherwise says what
    /// is.
    pub(super) fn form_if_possible(&mut self) {
        if !matches!(self.run, RunState::Open) || self.current.is_some() {
            return;
        }
        match self.next_members() {
            Ok(members) => self.form(&members),
            Err(Obstacle::Moment) => {}
            Err(Obstacle::Wait(reason)) => self.wait_for(&reason),
        }
    }

    /// Tells what is waited for, once; where only a count has changed, which it
    /// does as often as workers come, not more than every second.
    pub(super) fn wait_for(&mut self, reason: &str) {
        if self.waiting != reason {
            self.waiting = reason.to_owned();
        }
        let (told, at) = &self.waiting_told;
        let recounted = without_digits(told).eq(without_digits(reason));
        if told == reason || (recounted && self.now < at + RECOUNT_MS) {
            return;
        }
        let reason = reason.to_owned();
        self.waiting_told = (reason.clone(), self.now);
        self.tell(Happening::Waiting { reason });
    }

    fn next_members(&mut self) -> Result<Vec<Candidate>, Obstacle> {
        if let Some(doubt) = self.checkpoint_in_doubt() {
            return Err(Obstacle::Wait(doubt));
        }
        let ready = self.ready().count();
        let patience = self.settings.abort_ms;
        if self.members.returning(self.now, patience) {
            return Err(Obstacle::Moment);
        }
        if let Some(predecessor) = self.predecessor {
            let waits = !self.settings.breaks(Sabotage::FormWithoutWaiting);
            if waits && self.now < predecessor.safe_at {
                return Err(Obstacle::Wait(format!(
                    "waiting until the lease of generation {} has run out, for none of its members \
                     has come back to say that it is over",
                    predecessor.number
                )));
            }
            self.bury(predecessor.number);
        }
        let wanted = self.wanted_workers(ready);
        let seats = self.settings.max_workers.get() as usize;
        let usable = |applied: &Applied| self.usable_state(applied);
        let others = Others {
            preparing: self.preparing_workers(ready),
            set_aside: self.workers_set_aside(),
        };
        check_enough(ready, wanted, &others).map_err(Obstacle::Wait)?;
        let members = choose_members(self.candidates(), seats, usable);
        if let Some(member) = members.iter().find(|member| self.owes_reports(member)) {
            return Err(Obstacle::Wait(format!(
                "waiting for reports of the steps that worker {} has applied",
                member.worker
            )));
        }
        Ok(members)
    }

    /// Workers that could be members of a generation now.
    fn ready(&self) -> impl Iterator<Item = (&WorkerId, &Member)> {
        let willing = |member: &Member| {
            matches!(member.standing, Standing::Ready { .. }) && member.draining.is_none()
        };
        let kept = |worker: &WorkerId| self.offenders.aside(worker).is_none();
        let everyone = || {
            let connected = self.members.connected();
            connected.filter(move |(_, member)| willing(member))
        };
        // Where nobody could go on without them, setting workers aside helps
        // nobody either.
        let least = self.settings.min_workers.get() as usize;
        let enough = || everyone().filter(|(worker, _)| kept(worker)).count() >= least;
        let strict = self.current.is_some() || enough();
        everyone().filter(move |(worker, _)| !strict || kept(worker))
    }

    fn candidates(&self) -> Vec<Candidate> {
        let candidate = |(worker, member): (&WorkerId, &Member)| {
            let Standing::Ready { applied, since } = member.standing else {
                return None;
            };
            Some(Candidate {
                worker: worker.clone(),
                instance: member.instance.clone(),
                applied,
                since,
            })
        };
        self.ready().filter_map(candidate).collect()
    }

    /// How many workers the next generation needs at least: as many as the
    /// run begins with, at first; later whoever is there goes on.
    fn wanted_workers(&self, ready: usize) -> usize {
        let least = self.settings.min_workers.get() as usize;
        let full = self.settings.workers.get() as usize;
        let grace_is_over = self.now >= self.started + self.settings.start_grace_ms;
        match self.last_size {
            // The first of a run, or of a coordinator that resumes it.
            None if self.generations.is_empty() || !grace_is_over => full.max(least),
            None => least,
            // Everyone was lost at once, and is probably on the way back.
            Some(size) if self.now < self.gather_until && ready < size => size.max(least),
            Some(_) => least,
        }
    }

    fn preparing_workers(&self, ready: usize) -> usize {
        let connected = self.members.connected();
        let willing = connected.filter(|(worker, member)| {
            member.draining.is_none() && self.offenders.aside(worker).is_none()
        });
        willing.count().saturating_sub(ready)
    }

    fn workers_set_aside(&self) -> Vec<String> {
        let connected = self.members.connected();
        let aside = connected.filter_map(|(worker, _)| {
            let (until, _) = self.offenders.aside(worker)?;
            let seconds = until.saturating_sub(self.now).div_ceil(1000);
            Some(format!("{worker} is set aside for {seconds} s"))
        });
        aside.collect()
    }

    /// Ends a generation after a step, for workers that wait to be let in.
    pub(super) fn admit_newcomers(&mut self) {
        let Some(generation) = &self.current else {
            return;
        };
        let begun = self.reports.reported().step > generation.base_step;
        let full = generation.in_it().count() >= self.settings.max_workers.get() as usize;
        if !matches!(self.run, RunState::Open)
            || generation.stage != Stage::Running
            || !begun
            || full
        {
            return;
        }
        let newcomers = self.candidates();
        let settled = |newcomer: &Candidate| {
            let settle = self.settings.join_settle_ms;
            self.now >= newcomer.since + settle
                && self.seat_state(&newcomer.worker).is_none_or(is_gone)
        };
        if newcomers.is_empty() || !newcomers.iter().all(settled) {
            return;
        }
        let names: Vec<&str> = newcomers.iter().map(|n| n.worker.0.as_str()).collect();
        let reason = match names.as_slice() {
            [one] => format!("worker {one} joins"),
            several => format!("workers {} join", several.join(", ")),
        };
        self.leave(Leave::AfterStep { checkpoint: false }, reason);
    }

    /// The state that a worker holds, if the next generation may begin with
    /// it: it belongs to the lineage, and every step in it is reported.
    fn usable_state(&self, applied: &Applied) -> Option<Cursor> {
        let cursor = applied.cursor?;
        let on_lineage = survives(&self.generations, applied.generation, cursor.step);
        (on_lineage && cursor.step <= self.reports.reported().step).then_some(cursor)
    }

    /// The usable state of a member, less what is ignored on purpose.
    fn state_to_begin_with(&self, applied: &Applied, members: &[Candidate]) -> Option<Cursor> {
        let state = self.usable_state(applied);
        if self.settings.breaks(Sabotage::BaseFromCheckpoint) {
            return state.filter(|_| self.checkpoints.latest().is_none());
        }
        if self.settings.breaks(Sabotage::BaseFromLaggard) {
            let states = members.iter().filter_map(|m| self.usable_state(&m.applied));
            let least = states.min_by_key(|cursor| cursor.step);
            return state.filter(|_| state == least);
        }
        state
    }

    /// Whether a worker holds steps of the lineage that nobody has reported
    /// yet: it will, unless it came back only just before its reports.
    fn owes_reports(&self, candidate: &Candidate) -> bool {
        let Some(cursor) = candidate.applied.cursor else {
            return false;
        };
        let newest = self.generations.last().map(|g| g.record.number);
        newest == Some(candidate.applied.generation)
            && cursor.step > self.reports.reported().step
            && self.now < candidate.since + self.settings.reports_grace_ms
    }

    fn form(&mut self, members: &[Candidate]) {
        let Basis {
            base,
            origin,
            has_state,
        } = choose_basis(
            members,
            |applied| self.state_to_begin_with(applied, members),
            self.checkpoints.latest(),
            self.checkpoints.initial(),
        );
        self.compare_survivors(members);
        let number = self.highest_generation.saturating_add(1);
        let parent = self.generations.last().map(|g| g.record.number);
        let workers: Vec<WorkerId> = members.iter().map(|m| m.worker.clone()).collect();
        let rolled_back = self.reports.reported().step.saturating_sub(base.step);
        let reason = std::mem::take(&mut self.next_reason);
        let kept = KeptGeneration {
            record: GenerationRecord {
                number,
                parent,
                base,
                members: workers.iter().map(|worker| worker.0.clone()).collect(),
            },
            instances: members.iter().map(|m| m.instance.clone()).collect(),
            lease_ms: self.settings.lease_ms,
            reason: reason.clone(),
            ended: false,
        };
        self.persist(Record::Generation(kept.clone()));
        self.generations.push(kept);
        self.highest_generation = number;
        self.waiting.clear();
        self.waiting_told.0.clear();
        self.reports.begin_at(base);
        self.refuse_waiting_checkpoints();
        self.last_size = Some(workers.len());
        let patience = self.settings.collective_ms;
        let generation = Generation::new(number, &workers, base.step, self.now, patience);
        self.current = Some(generation);
        self.tell(Happening::Formed {
            generation: number,
            members: workers.clone(),
            base,
            origin: origin.clone(),
            reason,
            rolled_back,
        });

        let all_have_state = has_state.iter().all(|has_state| *has_state);
        let form_members = members
            .iter()
            .zip(has_state)
            .map(|(member, has_state)| FormMember {
                worker: member.worker.clone(),
                has_state,
            });
        let form = Form {
            parent,
            base,
            members: form_members.collect(),
            rank: 0,
            all_have_state,
            origin,
            best: self.checkpoints.best_evaluation(),
        };
        let rows = self.rows_from(base.page.ordinal);
        for (rank, worker) in (0..).zip(&workers) {
            if let Some(member) = self.members.get_mut(worker) {
                member.standing = Standing::Seated;
                member.cursor = Some(base);
            }
            let form = Form {
                rank,
                ..form.clone()
            };
            self.send(worker, Message::Form(form));
            for rows in &rows {
                self.send(worker, Message::PageRows(Arc::clone(rows)));
            }
        }
    }

    /// An all-reduce that finished anywhere had everyone's input, so survivors
    /// of one generation are at most one step apart.
    fn compare_survivors(&mut self, members: &[Candidate]) {
        let newest = self.generations.last().map(|g| g.record.number);
        let survivors = members
            .iter()
            .filter(|m| newest == Some(m.applied.generation));
        let step = |m: &&Candidate| m.applied.cursor.map_or(0, |cursor| cursor.step);
        let Some(first) = survivors.clone().max_by_key(step) else {
            return;
        };
        let last = survivors.min_by_key(step).unwrap_or(first);
        let (ahead, behind) = (step(&first), step(&last));
        if ahead > behind + 1 {
            let what = format!(
                "has applied {ahead} steps and worker {} only {behind} in one generation: they \
                 were not one cluster",
                last.worker
            );
            self.fault(&first.worker.clone(), what);
        }
    }

    /// Sends a worker the rows of the page table from a place on.
    pub(super) fn send_rows(&mut self, worker: &WorkerId, first: Ordinal) {
        for rows in self.rows_from(first) {
            self.send(worker, Message::PageRows(rows));
        }
    }

    /// The rows of the page table from a place on, in parts that fit a message.
    fn rows_from(&self, first: Ordinal) -> Vec<Arc<[(Slot, PageRow)]>> {
        let rows = self.table.rows_from(first);
        rows.chunks(ROWS_PER_MESSAGE).map(Arc::from).collect()
    }
}

fn without_digits(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|letter| !letter.is_ascii_digit())
}

fn is_gone(state: SeatState) -> bool {
    matches!(state, SeatState::Left | SeatState::Lost)
}

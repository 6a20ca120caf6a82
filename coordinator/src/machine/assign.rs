//! Who prepares which page: each page once, ahead of the steps that need it.

use std::collections::BTreeMap;
use std::ops::Range;

use ledger::{Ordinal, PageId, PageRow, Slot};

use super::Machine;
use super::effect::{Answer, Assignment, Message, Refusal};
use super::ending::RunState;
use super::event::{Millis, RequestId};
use super::generation::Stage;
use super::happening::Happening;
use super::members::Standing;
use crate::records::{Record, WorkerId};

/// The page table is kept at least so many steps ahead, however fast they are.
const STEPS_AHEAD: f64 = 3.0;
/// Bounds on how many pages that may be.
const FEWEST_PAGES_AHEAD: usize = 4;
const MOST_PAGES_AHEAD: usize = 2048;
/// Pages that only keep idle workers busy are not prepared further ahead than so
/// many steps: of large pages, or with many workers, they would last for hours.
const MOST_STEPS_AHEAD: f64 = 50.0;
/// The first pause after a page could not be prepared, doubled each time.
const FIRST_BACK_OFF_MS: Millis = 500;
const LONGEST_BACK_OFF_MS: Millis = 60_000;

/// Pages that someone prepares, and pages that someone could not.
#[derive(Clone, Debug, Default)]
pub(super) struct Assignments {
    /// One worker per slot, so that no page is assigned twice.
    leases: BTreeMap<Slot, Lease>,
    failures: BTreeMap<Slot, Failure>,
    /// Whether every page of the window had a row, a worker or a pause when
    /// that was last looked at, and nothing has happened since that could change
    /// it. With many workers, looking is too much for every event.
    all_taken: bool,
}

#[derive(Clone, Debug)]
struct Lease {
    worker: WorkerId,
    until: Millis,
}

#[derive(Clone, Debug)]
struct Failure {
    attempts: u32,
    /// Who tried last.
    worker: WorkerId,
    not_before: Millis,
    reason: String,
}

impl Assignments {
    pub(super) fn clear(&mut self) {
        self.leases.clear();
        self.failures.clear();
        self.all_taken = false;
    }

    /// The window may have moved, or a pause may be over.
    pub(super) fn look_again(&mut self) {
        self.all_taken = false;
    }

    /// Frees the pages of a worker that is gone, at no fault of the pages.
    pub(super) fn release_all_of(&mut self, worker: &WorkerId) {
        self.leases.retain(|_, lease| lease.worker != *worker);
        self.all_taken = false;
    }

    /// How many pages each worker prepares.
    fn outstanding(&self) -> BTreeMap<&WorkerId, usize> {
        let mut outstanding = BTreeMap::new();
        for lease in self.leases.values() {
            *outstanding.entry(&lease.worker).or_default() += 1;
        }
        outstanding
    }

    /// Whether somebody prepares a page, or has tried to.
    fn was_tried(&self, slot: Slot) -> bool {
        self.leases.contains_key(&slot) || self.failures.contains_key(&slot)
    }

    fn settle(&mut self, slot: Slot) {
        self.leases.remove(&slot);
        self.failures.remove(&slot);
    }

    fn fail(&mut self, slot: Slot, worker: &WorkerId, now: Millis, reason: &str) -> u32 {
        self.leases.remove(&slot);
        let attempts = self
            .failures
            .get(&slot)
            .map_or(0, |failure| failure.attempts)
            + 1;
        let doublings = (attempts - 1).min(16);
        let back_off = (FIRST_BACK_OFF_MS << doublings).min(LONGEST_BACK_OFF_MS);
        let failure = Failure {
            attempts,
            worker: worker.clone(),
            not_before: now + back_off,
            reason: reason.to_owned(),
        };
        self.failures.insert(slot, failure);
        attempts
    }

    /// The first page that keeps failing, for people.
    pub(super) fn complaint(&self) -> Option<String> {
        let (slot, failure) = self.failures.iter().next()?;
        Some(format!(
            "{slot} could not be prepared {} times, last by {}: {}",
            failure.attempts, failure.worker, failure.reason
        ))
    }
}

impl Machine {
    /// Assigns every page of the window that has neither row nor worker.
    pub(super) fn assign_pages(&mut self) {
        if !matches!(self.run, RunState::Open) || self.assignments.all_taken {
            return;
        }
        let wanted = self.pages_wanted();
        if wanted.is_empty() {
            self.assignments.all_taken = true;
            return;
        }
        let outstanding = self.assignments.outstanding();
        let mut free: BTreeMap<WorkerId, usize> = BTreeMap::new();
        for (worker, member) in self.members.connected() {
            if member.standing != Standing::Starting && member.draining.is_none() {
                let held = outstanding.get(worker).copied().unwrap_or(0);
                free.insert(worker.clone(), held);
            }
        }
        if free
            .values()
            .all(|held| *held >= self.settings.pages_per_worker)
        {
            return;
        }
        let mut batches: BTreeMap<WorkerId, Vec<Assignment>> = BTreeMap::new();
        for (slot, page) in wanted {
            let Some(worker) = self.choose_preparer(slot, &free) else {
                continue;
            };
            *free.entry(worker.clone()).or_default() += 1;
            let lease_ms = self.settings.page_lease_ms;
            let lease = Lease {
                worker: worker.clone(),
                until: self.now + lease_ms,
            };
            self.assignments.leases.insert(slot, lease);
            let assignment = Assignment {
                slot,
                page,
                lease_ms,
            };
            batches.entry(worker).or_default().push(assignment);
        }
        for (worker, assignments) in batches {
            self.send(&worker, Message::Prepare(assignments));
        }
    }

    /// Slots of the window without row, worker or pause, the evaluation's first.
    fn pages_wanted(&self) -> Vec<(Slot, PageId)> {
        let evaluation = (0..).zip(self.order.evaluation());
        let evaluation = evaluation.map(|(index, _)| Slot::Evaluation(index));
        let training = self.window().map(Ordinal).map(Slot::Training);
        let wanted = |slot: &Slot| {
            let failure = self.assignments.failures.get(slot);
            !self.table.has(*slot)
                && !self.assignments.leases.contains_key(slot)
                && failure.is_none_or(|failure| failure.not_before <= self.now)
        };
        let slots = evaluation.chain(training).filter(wanted);
        slots
            .filter_map(|slot| Some((slot, self.order.page(slot)?)))
            .collect()
    }

    /// The ordinals whose rows should be known by now: from where training
    /// stands, as many as hold the work ahead. Pages known to be empty or
    /// skipped hold none, so the window reaches past any run of them.
    fn window(&self) -> Range<u64> {
        let first = self.furthest_ordinal();
        let batch = f64::from(self.settings.global_batch.get());
        let seconds_ahead = self.settings.rows_ahead_ms as f64 / 1000.0;
        let speed = self.reports.sequences_per_second().unwrap_or(0.0);
        let wanted_sequences = (STEPS_AHEAD * batch).max(speed * seconds_ahead);
        let most_sequences = wanted_sequences.max(MOST_STEPS_AHEAD * batch);
        let busy_pages = self.settings.workers.get() as usize * self.settings.pages_per_worker;
        let pages_per_epoch = self.order.config().pages_per_epoch;
        let run_end = match self.settings.epochs {
            Some(epochs) => epochs.saturating_mul(pages_per_epoch),
            None => u64::MAX,
        };

        let mean_page = self.table.sequences_per_page();
        let mut end = first;
        let mut sequences = 0.0;
        let mut pages = 0;
        while end < run_end
            && pages < MOST_PAGES_AHEAD
            && (pages < FEWEST_PAGES_AHEAD
                || sequences < wanted_sequences
                || (pages < busy_pages && sequences < most_sequences))
        {
            let row = self.table.row(Slot::Training(Ordinal(end)));
            let holds = row.map_or(mean_page, |row| f64::from(row.sequences()));
            sequences += holds;
            pages += usize::from(holds > 0.0);
            end += 1;
        }
        first..end
    }

    /// The page that training has reached, as far as anyone has said.
    pub(super) fn furthest_ordinal(&self) -> u64 {
        let reported = self.reports.reported().page.ordinal.0;
        let Some(generation) = &self.current else {
            return reported;
        };
        let cursors = generation.seats.iter().filter_map(|seat| {
            let member = self.members.get(&seat.worker)?;
            Some(member.cursor?.page.ordinal.0)
        });
        cursors.fold(reported, u64::max)
    }

    /// The worker that will train on the page, if it lies within one share and
    /// that worker has room; otherwise the one with the fewest pages.
    fn choose_preparer(&self, slot: Slot, held: &BTreeMap<WorkerId, usize>) -> Option<WorkerId> {
        let has_room = |worker: &WorkerId| {
            let held = held.get(worker);
            held.is_some_and(|held| *held < self.settings.pages_per_worker)
        };
        if let Some(failure) = self.assignments.failures.get(&slot) {
            let others = held.keys().filter(|worker| **worker != failure.worker);
            let roomy = others.filter(|worker| has_room(worker));
            if let Some(worker) = roomy.min_by_key(|worker| held.get(*worker)) {
                return Some(worker.clone());
            }
            let alone = held.len() == 1;
            let same = has_room(&failure.worker) && alone;
            return same.then(|| failure.worker.clone());
        }
        if let Slot::Training(ordinal) = slot
            && let Some(worker) = self.likely_trainer(ordinal)
            && has_room(&worker)
        {
            return Some(worker);
        }
        let roomy = held.iter().filter(|(worker, _)| has_room(worker));
        let (worker, _) = roomy.min_by_key(|(_, held)| **held)?;
        Some(worker.clone())
    }

    /// Who will train on most of a page, by an estimate of where it lies in its
    /// step; nobody in particular where a page is larger than a share.
    fn likely_trainer(&self, ordinal: Ordinal) -> Option<WorkerId> {
        let generation = self.current.as_ref()?;
        if !matches!(generation.stage, Stage::Forming | Stage::Running) {
            return None;
        }
        let world = f64::from(generation.world_size()?.get());
        let batch = f64::from(self.settings.global_batch.get());
        let share = batch / world;
        let page = self.table.sequences_per_page();
        if page > share {
            return None;
        }
        let epoch_start = self
            .order
            .epoch_ordinals(self.order.epoch_of(ordinal))
            .start;
        let middle = ((ordinal.0 - epoch_start) as f64 + 0.5) * page;
        let rank = ((middle % batch) / share).floor() as usize;
        let seat = generation.seats.get(rank)?;
        Some(seat.worker.clone())
    }

    pub(super) fn expire_page_leases(&mut self) {
        let leases = self.assignments.leases.iter();
        let expired = leases.filter(|(_, lease)| lease.until <= self.now);
        let expired: Vec<_> = expired
            .map(|(slot, lease)| (*slot, lease.worker.clone()))
            .collect();
        for (slot, worker) in expired {
            self.delay_page(slot, worker, "it took too long");
        }
    }

    fn delay_page(&mut self, slot: Slot, worker: WorkerId, reason: &str) {
        let attempts = self.assignments.fail(slot, &worker, self.now, reason);
        self.tell(Happening::PageDelayed {
            slot,
            worker,
            attempts,
            reason: reason.to_owned(),
        });
    }

    pub(super) fn on_page_failed(
        &mut self,
        worker: &WorkerId,
        slot: Slot,
        reason: String,
        permanent: bool,
    ) {
        let (Some(page), false) = (self.order.page(slot), self.table.has(slot)) else {
            return;
        };
        let lease = self.assignments.leases.get(&slot);
        let is_its_turn = lease.is_some_and(|lease| lease.worker == *worker);
        if !permanent {
            if is_its_turn {
                self.delay_page(slot, worker.clone(), &reason);
            }
            return;
        }
        // That it took too long makes it no less true. Where finding out always takes
        // longer than a lease, nobody would ever be in time.
        if !is_its_turn && !self.assignments.was_tried(slot) {
            return;
        }
        self.tell(Happening::PageSkipped {
            slot,
            page,
            reason: reason.clone(),
        });
        self.keep_row(slot, PageRow::Skipped { page, reason });
    }

    pub(super) fn on_page_put(
        &mut self,
        request: RequestId,
        worker: &WorkerId,
        slot: Slot,
        row: PageRow,
    ) {
        match self.examine_put(slot, &row) {
            Ok(true) => {
                self.keep_row(slot, row);
                self.reply(request, Ok(Answer::PageKept));
            }
            Ok(false) => self.reply(request, Ok(Answer::PageKept)),
            Err(refusal) => {
                self.fault(worker, refusal.message.clone());
                self.reply(request, Err(refusal));
            }
        }
    }

    /// Whether a page that was handed over is new; an error if it may not be
    /// what it says.
    fn examine_put(&self, slot: Slot, row: &PageRow) -> Result<bool, Refusal> {
        let expected = self.order.page(slot);
        if expected != Some(row.page()) {
            return Err(Refusal::invalid(format!(
                "{slot} is not {}: the order has {} there",
                row.page(),
                expected.map_or("nothing".to_owned(), |page| page.to_string()),
            )));
        }
        match self.table.row(slot) {
            Some(known) if known == row => return Ok(false),
            Some(known) => {
                return Err(Refusal::invalid(format!(
                    "{slot} was {known}, and is now handed over as {row}: the same page must pack \
                     to the same sequences everywhere; compare dataset files and software versions"
                )));
            }
            None => {}
        }
        let in_window = match slot {
            Slot::Evaluation(_) => true,
            Slot::Training(ordinal) => self.window().contains(&ordinal.0),
        };
        if in_window || self.assignments.leases.contains_key(&slot) {
            return Ok(true);
        }
        Err(Refusal::precondition(format!("nobody asked for {slot}")))
    }

    /// Makes a row durable, then known to those who step.
    fn keep_row(&mut self, slot: Slot, row: PageRow) {
        self.assignments.settle(slot);
        self.persist(Record::Row(slot, row.clone()));
        self.table.insert(&self.order, slot, row.clone());
        self.send_to_current(&Message::PageRows([(slot, row)].into()));
    }
}

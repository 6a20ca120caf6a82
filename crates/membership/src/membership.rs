//! The state machine.

use std::collections::VecDeque;

use ledger::{Cursor, PageId};
use proto::v1;
use proto::v1::coordinator_message::Body as Directive;
use proto::v1::worker_message::Body;

use crate::input::{Ignored, Input, Millis, Output};
use crate::outbox::Outbox;

/// What a worker knows of its membership.
#[derive(Clone, Debug)]
pub struct Membership {
    run_id: String,
    worker_id: String,
    /// The highest leader term seen.
    term: u64,
    /// The highest generation heard of.
    highest: u64,
    /// The newest generation that this worker was asked into.
    formed: u64,
    /// The highest generation that is over for this worker; all below are.
    over: u64,
    /// The generation that the trainer was last in: what messages name.
    entered: u64,
    /// How long the lease is from the heartbeat on, unless an answer says
    /// otherwise.
    lease: Millis,
    lease_end: Millis,
    /// When the heartbeats of this session were sent that nobody has answered.
    unanswered: VecDeque<Millis>,
    phase: v1::Phase,
    phase_since: Millis,
    applied: Option<Cursor>,
    pausing: bool,
    checkpointing: bool,
    outbox: Outbox,
    now: Millis,
    #[cfg(feature = "sabotage")]
    sabotage: Option<crate::Sabotage>,
}

/// Whether a rule is broken on purpose: never, outside of the tests that ask
/// whether anyone notices.
macro_rules! sabotaged {
    ($self:ident, $sabotage:ident) => {{
        #[cfg(feature = "sabotage")]
        let broken = $self.sabotage == Some(crate::Sabotage::$sabotage);
        #[cfg(not(feature = "sabotage"))]
        let broken = false;
        broken
    }};
}

impl Membership {
    /// A worker that has just joined: `context` is the coordinator's answer,
    /// `lease` the one that it grants, from `now` on.
    pub fn new(context: &v1::Context, lease: Millis, now: Millis) -> Membership {
        Membership {
            run_id: context.run_id.clone(),
            worker_id: context.worker_id.clone(),
            term: context.term,
            highest: 0,
            formed: 0,
            over: 0,
            entered: 0,
            lease,
            lease_end: now.saturating_add(lease),
            unanswered: VecDeque::new(),
            phase: v1::Phase::Starting,
            phase_since: now,
            applied: None,
            pausing: false,
            checkpointing: false,
            outbox: Outbox::default(),
            now,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }

    /// Breaks a rule from now on.
    #[cfg(feature = "sabotage")]
    pub fn sabotage(&mut self, sabotage: Option<crate::Sabotage>) {
        self.sabotage = sabotage;
    }

    /// Takes in what happened and decides what to do. A `now` before an earlier
    /// one counts as that: threads may come out of order.
    pub fn apply(&mut self, now: Millis, input: Input) -> Vec<Output> {
        self.now = self.now.max(now);
        let mut outputs = Vec::new();
        if let Some(generation) = self.live()
            && self.has_run_out()
        {
            self.over = generation;
            outputs.push(Output::GiveUp { generation });
        }
        match input {
            Input::Joined { term } => self.term = self.term.max(term),
            Input::Connected { waited } => self.connect(waited, &mut outputs),
            Input::Disconnected => {
                self.unanswered.clear();
                self.outbox.disconnect();
            }
            Input::Heard(message) => self.hear(message, &mut outputs),
            Input::Beat { waited } => self.beat(waited),
            Input::Flush => self.flush(&mut outputs),
            Input::Tick => {}
            Input::Entered { generation } => self.enter(generation),
            Input::Phase(phase) => self.set_phase(phase),
            Input::Applied(cursor) => self.applied = Some(cursor),
            Input::Stand {
                generation,
                phase,
                body,
            } => {
                self.entered = self.entered.max(generation);
                self.set_phase(phase);
                self.outbox.stand(generation, body);
            }
            Input::Say { generation, body } => {
                if matches!(body, Body::Left(_)) {
                    self.over = self.over.max(generation);
                    // Also where it was over before it was entered: that this
                    // worker is ready says from now on that it is out.
                    self.entered = self.entered.max(generation);
                }
                self.outbox.say(generation, body);
            }
            Input::Stepped(report) => self.outbox.keep(report),
            Input::Drain { reason } => self.outbox.drain(self.entered, reason),
            Input::Quit => self.over = self.over.max(self.formed),
        }
        outputs
    }

    /// The highest leader term seen.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The generation that the trainer was last in; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.entered
    }

    /// The generation that this worker is a member of.
    pub fn live(&self) -> Option<u64> {
        (self.formed > self.over).then_some(self.formed)
    }

    /// Whether this worker, asked at `now`, would still take part in
    /// `generation`.
    pub fn is_live(&self, generation: u64, now: Millis) -> bool {
        let in_time = now < self.lease_end || sabotaged!(self, IgnoreLease);
        self.live() == Some(generation) && in_time
    }

    /// Whether a generation is over for this worker.
    pub fn is_over(&self, generation: u64) -> bool {
        generation <= self.over
    }

    /// When the generation is given up unless an answer comes: until then, the
    /// shell need not ask.
    pub fn deadline(&self) -> Option<Millis> {
        self.live().map(|_| self.lease_end)
    }

    /// Whether this rank was asked to leave together with the others.
    pub fn is_pausing(&self) -> bool {
        self.pausing || self.outbox.is_draining()
    }

    /// Whether the pause is to leave a checkpoint. One that a draining worker
    /// causes is: it may be the first of all to leave.
    pub fn is_checkpointing(&self) -> bool {
        self.checkpointing || self.outbox.is_draining()
    }

    /// Reports that nobody has acknowledged, oldest first.
    pub fn unacknowledged(&self) -> Vec<v1::StepReport> {
        self.outbox.reports()
    }

    /// Whether nothing waits to be said.
    pub fn has_said_all(&self) -> bool {
        self.outbox.is_empty()
    }

    /// What the worker says of itself when it joins again: the highest term and
    /// generation that it has seen.
    pub fn known(&self) -> v1::Context {
        self.context(self.highest)
    }

    /// The context of a message about `generation`.
    pub fn context(&self, generation: u64) -> v1::Context {
        v1::Context {
            run_id: self.run_id.clone(),
            term: self.term,
            generation,
            worker_id: self.worker_id.clone(),
        }
    }

    fn has_run_out(&self) -> bool {
        self.now >= self.lease_end && !sabotaged!(self, IgnoreLease)
    }

    fn set_phase(&mut self, phase: v1::Phase) {
        // Also where it is the same again: another step is another wait.
        self.phase = phase;
        self.phase_since = self.now;
    }

    fn enter(&mut self, generation: u64) {
        if self.is_over(generation) {
            return;
        }
        self.entered = generation;
        self.set_phase(v1::Phase::Forming);
        self.outbox.forget_standing();
    }

    /// What this worker does and for how long. One that waits for the other ranks
    /// in the middle of something is reducing.
    fn heartbeat(&self, waited: Option<Millis>) -> Body {
        let computes = matches!(self.phase, v1::Phase::Training | v1::Phase::Evaluating);
        let (phase, phase_ms) = match waited {
            Some(waited) if computes => (v1::Phase::Reducing, waited),
            _ => (self.phase, self.now - self.phase_since),
        };
        Body::Heartbeat(v1::Heartbeat {
            phase: phase.into(),
            cursor: self.applied.map(Into::into),
            phase_ms,
        })
    }

    fn connect(&mut self, waited: Option<Millis>, outputs: &mut Vec<Output>) {
        self.unanswered.clear();
        self.unanswered.push_back(self.now);
        let with_reports = !sabotaged!(self, ForgetReports);
        self.outbox
            .connect(self.entered, self.heartbeat(waited), with_reports);
        self.flush(outputs);
    }

    fn beat(&mut self, waited: Option<Millis>) {
        // One that waits for the network is enough.
        if self.outbox.is_connected() && !self.outbox.has_heartbeat() {
            self.unanswered.push_back(self.now);
            self.outbox.say(self.entered, self.heartbeat(waited));
        }
    }

    fn flush(&mut self, outputs: &mut Vec<Output>) {
        if !self.outbox.is_connected() {
            return;
        }
        for (generation, body) in self.outbox.take() {
            outputs.push(Output::Say(v1::WorkerMessage {
                context: Some(self.context(generation)),
                body: Some(body),
            }));
        }
    }

    fn hear(&mut self, message: v1::CoordinatorMessage, outputs: &mut Vec<Output>) {
        let context = message.context.unwrap_or_default();
        if let Err(ignored) = self.examine(&context) {
            outputs.push(Output::Ignored(ignored));
            return;
        }
        let generation = context.generation;
        let Some(body) = message.body else {
            outputs.push(Output::Ignored(Ignored::Malformed("body")));
            return;
        };
        match body {
            Directive::Ack(ack) => self.renew(&ack),
            Directive::Form(form) => match self.form(generation, form, outputs) {
                Ok(()) => {}
                Err(ignored) => outputs.push(Output::Ignored(ignored)),
            },
            Directive::Rendezvous(rendezvous) if self.live() == Some(generation) => {
                outputs.push(Output::Rendezvous {
                    generation,
                    address: rendezvous.address,
                });
            }
            Directive::Pause(pause) if self.live() == Some(generation) => {
                self.pausing = true;
                self.checkpointing |= pause.checkpoint;
                outputs.push(Output::Paused {
                    generation,
                    reason: pause.reason,
                });
            }
            Directive::Rendezvous(_) | Directive::Pause(_) => {
                outputs.push(Output::Ignored(self.older(generation)));
            }
            Directive::Abort(abort) => {
                if self.is_over(generation) {
                    outputs.push(Output::Ignored(self.older(generation)));
                    return;
                }
                self.over = generation;
                self.highest = self.highest.max(generation);
                outputs.push(Output::Abort {
                    generation,
                    reason: abort.reason,
                });
            }
            Directive::Prepare(prepare) => {
                let assignment = |assignment: v1::prepare::Assignment| {
                    let slot = assignment.slot?.try_into().ok()?;
                    Some((slot, PageId(assignment.page)))
                };
                let assignments = prepare.assignments.into_iter().filter_map(assignment);
                outputs.push(Output::Prepare(assignments.collect()));
            }
            Directive::PageRows(rows) => outputs.push(Output::Rows(rows.rows)),
            Directive::Stop(stop) => outputs.push(Output::Stop {
                reason: stop.reason(),
                message: stop.message,
            }),
        }
    }

    /// Refuses what comes from a world that no longer exists, and takes note of
    /// a newer one.
    fn examine(&mut self, context: &v1::Context) -> Result<(), Ignored> {
        if context.run_id != self.run_id {
            return Err(Ignored::OtherRun(context.run_id.clone()));
        }
        if context.term < self.term && !sabotaged!(self, AcceptLowerTerms) {
            return Err(Ignored::OlderTerm {
                term: context.term,
                highest: self.term,
            });
        }
        // A new leader begins with the highest generation that is durable, and
        // goes above any that it hears of.
        let is_older = context.term == self.term && context.generation < self.highest;
        if is_older && !sabotaged!(self, AcceptLowerGenerations) {
            return Err(self.older(context.generation));
        }
        self.term = self.term.max(context.term);
        Ok(())
    }

    fn older(&self, generation: u64) -> Ignored {
        Ignored::OlderGeneration {
            generation,
            highest: self.highest,
        }
    }

    fn renew(&mut self, ack: &v1::Ack) {
        self.outbox.acknowledge(ack.reported_steps);
        // From when the heartbeat was sent: whatever delayed the answer delayed
        // it for the coordinator's patience too.
        if let Some(sent) = self.unanswered.pop_front() {
            let from = match sabotaged!(self, LeaseFromAnswer) {
                true => self.now,
                false => sent,
            };
            let lease = match ack.lease_ms {
                0 => self.lease,
                lease => lease,
            };
            self.lease_end = from.saturating_add(lease);
        }
    }

    fn form(
        &mut self,
        generation: u64,
        form: v1::Form,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Ignored> {
        let is_new = generation > self.highest && generation > self.over;
        if !is_new && !sabotaged!(self, AcceptLowerGenerations) {
            return Err(self.older(generation));
        }
        let base = form.base.and_then(|base| Cursor::try_from(base).ok());
        let base = base.ok_or(Ignored::Malformed("base"))?;
        if let Some(before) = self.live() {
            outputs.push(Output::Abort {
                generation: before,
                reason: format!("generation {generation} replaces it"),
            });
        }
        self.highest = generation;
        self.formed = generation;
        self.over = generation.saturating_sub(1);
        self.pausing = false;
        self.checkpointing = false;
        // Its base settles what earlier generations did.
        self.outbox.forget_reports();
        outputs.push(Output::Form {
            generation,
            base,
            form,
        });
        if self.has_run_out() {
            // The invitation took longer than the lease.
            self.over = generation;
            outputs.push(Output::GiveUp { generation });
        }
        Ok(())
    }
}

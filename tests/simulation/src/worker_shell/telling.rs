//! What the membership is told, and what follows from its answers.

use ledger::{PageRow, Slot};
use membership::{Input, Membership, Output};
use proto::v1;
use proto::v1::worker_message::Body;

use crate::event::WorkerAct;
use crate::sim::Sim;
use crate::trainer::Command;

impl Sim {
    /// Tells the membership something, and does what follows.
    pub(crate) fn tell(&mut self, index: usize, input: Input) {
        let clock = self.workers[index].host.clock(self.now);
        let process = &mut self.workers[index].process;
        let Some(membership) = &mut process.membership else {
            return;
        };
        let outputs = membership.apply(clock, input);
        let is_due = !membership.has_said_all() && !process.flush_is_due;
        if is_due && process.connection.is_some() {
            process.flush_is_due = true;
            let delay = self.dice.within(0..3);
            self.act_later(index, delay, WorkerAct::Flush);
        }
        for output in outputs {
            self.output(index, output);
        }
        self.set_lease_timer(index);
    }

    fn set_lease_timer(&mut self, index: usize) {
        let now = self.now;
        let worker = &mut self.workers[index];
        let Some(deadline) = worker
            .process
            .membership
            .as_ref()
            .and_then(Membership::deadline)
        else {
            return;
        };
        if worker.process.lease_timer.is_none() {
            let delay = worker.host.until(deadline, now) + self.dice.within(0..4);
            worker.process.lease_timer = Some(deadline);
            self.act_later(index, delay, WorkerAct::LeaseTimer);
        }
    }

    fn output(&mut self, index: usize, output: Output) {
        match output {
            Output::GiveUp { generation } => {
                self.note_worker(index, || {
                    format!("gives generation {generation} up: its lease has run out")
                });
                self.abort(index, generation);
            }
            Output::Abort { generation, reason } => {
                self.note_worker(index, || format!("is told to leave {generation}: {reason}"));
                self.abort(index, generation);
            }
            Output::Form {
                generation,
                base,
                form,
            } => {
                self.note_worker(index, || format!("is asked into generation {generation}"));
                self.begin_book(index, base);
                let command = Command::Form {
                    generation,
                    base,
                    form: Box::new(form),
                };
                self.command(index, command);
            }
            Output::Rendezvous { generation, .. } => {
                self.command(index, Command::Rendezvous { generation });
            }
            Output::Paused { generation, reason } => {
                self.note_worker(index, || format!("is told to pause {generation}: {reason}"));
            }
            Output::Prepare(assignments) => {
                for (slot, page) in assignments {
                    let slow = self.dice.chance(2) && self.may_delay(page);
                    let delay = self.dice.within(5..80) + if slow { 2500 } else { 0 };
                    let delay = delay * self.workers[index].slowness;
                    self.act_later(index, delay, WorkerAct::Packed { slot, page });
                }
            }
            Output::Rows(rows) => {
                for row in rows {
                    if let Ok((slot, row)) = <(Slot, PageRow)>::try_from(row) {
                        self.learn(index, slot, row);
                    }
                }
                self.rows_came(index);
            }
            Output::Stop { reason, .. } => {
                self.note_worker(index, || format!("is told to stop: {reason:?}"));
                self.tell(index, Input::Quit);
                self.act_later(index, 1, WorkerAct::Exit);
            }
            Output::Say(message) => self.say(index, message),
            Output::Ignored(ignored) => self.note_worker(index, || format!("ignores {ignored}")),
        }
    }

    fn say(&mut self, index: usize, message: v1::WorkerMessage) {
        let clock = self.workers[index].host.clock(self.now);
        let process = &mut self.workers[index].process;
        if matches!(message.body, Some(Body::Heartbeat(_))) {
            process.unanswered.push_back(clock);
        } else if self.history.is_kept {
            let what = format!("says {}", in_words(&message));
            self.note_worker(index, || what);
        }
        if let Some(id) = self.workers[index].process.connection {
            self.send_up(id, message);
        }
    }
}

fn in_words(message: &v1::WorkerMessage) -> String {
    let generation = message.context.as_ref().map_or(0, |c| c.generation);
    match &message.body {
        Some(Body::StepReports(reports)) => {
            let steps: Vec<u64> = reports.reports.iter().map(|r| r.number).collect();
            format!("that steps {steps:?} are done (generation {generation})")
        }
        Some(Body::Ready(ready)) => format!(
            "that it is ready, with {} steps of generation {} applied",
            ready.applied.map_or(0, |cursor| cursor.step),
            ready.applied_generation
        ),
        Some(Body::Left(left)) => {
            format!("that it has left generation {generation}: {}", left.reason)
        }
        Some(body) => format!("{body:?} (generation {generation})"),
        None => "nothing".to_owned(),
    }
}

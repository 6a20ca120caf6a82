//! What a worker of a simulation does by itself: connects, hears, leaves,
//! prepares pages.

use ledger::Cursor;

use super::sim::{Sim, packed};
use super::worker::SimSeat;
use crate::machine::{
    Activity, Answer, Event, FromWorker, Heartbeat, Joining, Message, Millis, RequestId, SessionId,
};
use crate::records::Reported;

impl Sim {
    pub(super) fn say(&mut self, index: usize, message: FromWorker) {
        let worker = &self.workers[index];
        if let Some(session) = worker.session {
            let world = worker.world;
            if matches!(message, FromWorker::Drain { .. }) {
                // Its pages are others' from here on.
                self.assigned.retain(|_, (holder, _)| *holder != session);
            }
            self.event(Event::Said {
                session,
                world,
                message,
            });
        }
    }

    /// Joins and opens a session; a worker that comes back says what it knows.
    pub(super) fn connect(&mut self, index: usize) {
        self.connect_and_tell(index, true);
    }

    /// Connects, and may fail to tell which steps nobody has acknowledged.
    pub(super) fn connect_and_tell(&mut self, index: usize, tells_steps: bool) {
        let worker = &self.workers[index];
        if worker.session.is_some() || worker.stopped.is_some() {
            return;
        }
        let request = RequestId(self.number());
        let worker = &self.workers[index];
        let joining = Joining {
            name: worker.name.0.clone(),
            instance: worker.instance.to_string(),
            device: "cpu".to_owned(),
            world: worker.world,
        };
        self.event(Event::Join { request, joining });
        let Some(Ok(Answer::Joined {
            worker: name,
            world,
        })) = self.answers.remove(&request)
        else {
            panic!("joining was refused");
        };
        assert_eq!(name, self.workers[index].name);
        let session = SessionId(self.number());
        let worker = &mut self.workers[index];
        worker.session = Some(session);
        worker.world.term = world.term;
        worker.heartbeats.clear();
        self.event(Event::SessionOpened {
            session,
            worker: name,
        });
        self.heartbeat(index);
        if self.workers[index].seat.is_none() {
            self.ready(index);
        }
        self.tell_where_to_meet(index);
        if tells_steps {
            let reports = self.workers[index].unacknowledged.clone();
            self.say(index, FromWorker::StepReports(reports));
        } else {
            self.workers[index].unacknowledged.clear();
        }
    }

    /// The connection breaks, and both sides notice.
    pub(super) fn disconnect(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        worker.inbox.clear();
        if let Some(session) = worker.session.take() {
            self.event(Event::SessionClosed { session });
        }
    }

    pub(super) fn kill(&mut self, index: usize) {
        self.disconnect(index);
        self.workers[index].replace();
    }

    pub(super) fn heartbeat(&mut self, index: usize) {
        let now = self.now;
        let worker = &mut self.workers[index];
        worker.heartbeats.push_back(now);
        let activity = match &worker.seat {
            Some(seat) if seat.met => Activity::Training,
            Some(_) => Activity::Forming,
            None => Activity::Ready,
        };
        let cursor = worker.applied.map(|(cursor, _)| cursor);
        self.beat(index, activity, 0, cursor);
    }

    /// A worker says what it has been doing for how long.
    pub(super) fn beat(
        &mut self,
        index: usize,
        activity: Activity,
        activity_ms: Millis,
        cursor: Option<Cursor>,
    ) {
        self.say(
            index,
            FromWorker::Heartbeat(Heartbeat {
                activity,
                activity_ms,
                cursor,
            }),
        );
    }

    fn tell_where_to_meet(&mut self, index: usize) {
        let seat = self.workers[index].seat.as_ref();
        if seat.is_some_and(|seat| seat.serves) {
            let address = "host:1".to_owned();
            self.say(index, FromWorker::StoreListening { address });
        }
    }

    pub(super) fn ready(&mut self, index: usize) {
        let applied = self.workers[index].applied;
        self.say(
            index,
            FromWorker::Ready {
                applied: applied.map(|(cursor, _)| cursor),
                applied_generation: applied.map_or(0, |(_, generation)| generation),
            },
        );
    }

    /// Gets out of its generation, and says so if it is connected.
    pub(super) fn leave(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        if worker.seat.take().is_none() {
            return;
        }
        let reports = worker.unacknowledged.clone();
        let reason = String::new();
        self.say(index, FromWorker::Left { reports, reason });
        self.ready(index);
    }

    /// The next message reaches a worker, which does as it is told.
    pub(super) fn receive(&mut self, index: usize) -> bool {
        let worker = &mut self.workers[index];
        let Some((world, message)) = worker.inbox.pop_front() else {
            return false;
        };
        worker.world.term = worker.world.term.max(world.term);
        match message {
            Message::Ack { reported_steps, .. } => {
                if let Some(sent) = worker.heartbeats.pop_front() {
                    worker.lease_from = sent;
                }
                let unreported = |r: &Reported| r.report.step.number >= reported_steps;
                worker.unacknowledged.retain(unreported);
            }
            Message::Form(form) => {
                let weights = self.surviving_generations(form.base.step);
                let worker = &mut self.workers[index];
                worker.world.generation = world.generation;
                worker.seat = Some(SimSeat {
                    number: world.generation,
                    cursor: form.base,
                    weights,
                    serves: form.rank == 0,
                    met: false,
                });
                worker.unacknowledged.clear();
                worker.rows.clear();
                self.tell_where_to_meet(index);
            }
            Message::Rendezvous { .. } => {
                if let Some(seat) = &mut worker.seat
                    && seat.number == world.generation
                    && !seat.met
                {
                    seat.met = true;
                    worker.applied = Some((seat.cursor, seat.number));
                    worker.weights.clone_from(&seat.weights);
                }
            }
            Message::Abort { .. } | Message::Pause { .. } => {
                if worker.is_in(world.generation) {
                    self.leave(index);
                }
            }
            Message::Prepare(assignments) => worker.work.extend(assignments),
            Message::PageRows(rows) => worker.rows.extend(rows.iter().cloned()),
            Message::Stop { reason, .. } => {
                worker.stopped = Some(reason);
                worker.seat = None;
                self.disconnect(index);
            }
        }
        true
    }

    /// A worker hands over the first page of its work.
    pub(super) fn prepare(&mut self, index: usize) -> bool {
        let Some(assignment) = self.workers[index].work.pop() else {
            return false;
        };
        let row = packed(assignment.page).row();
        let request = RequestId(self.number());
        let worker = self.workers[index].name.clone();
        let slot = assignment.slot;
        self.event(Event::PagePut {
            request,
            worker,
            slot,
            row,
        });
        assert!(
            self.answers.contains_key(&request),
            "a put is answered at once"
        );
        true
    }

    /// Every message is delivered and every page prepared.
    pub(super) fn settle(&mut self) {
        loop {
            let mut busy = false;
            for index in 0..self.workers.len() {
                busy |= self.receive(index);
                busy |= self.prepare(index);
            }
            if !busy {
                return;
            }
        }
    }
}

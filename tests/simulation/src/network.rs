//! Who reaches whom: links that are cut, sessions that break, calls that are
//! lost or come twice.
//!
//! A session is a TCP connection: what is said in it arrives in order, until it
//! breaks with a suffix lost that nobody can know. A unary call may be lost, and
//! so may its answer; then it is repeated, and the first one may arrive later
//! than the second.

use std::collections::VecDeque;

use coordinator::machine::{Event, SessionId};
use coordinator::records::WorkerId;
use coordinator::wire;
use proto::v1;

use crate::event::{CoordinatorAct, Do, Told, WorkerAct};
use crate::fault::Node;
use crate::sim::Sim;

/// One session's connection.
pub(crate) struct Connection {
    pub(crate) worker: usize,
    pub(crate) worker_life: u64,
    pub(crate) coordinator: usize,
    pub(crate) coordinator_life: u64,
    /// Set when the coordinator has heard the first message.
    pub(crate) session: Option<SessionId>,
    /// Whether the coordinator's machine has heard of it, and what it did about that
    /// has been done.
    pub(crate) is_known: bool,
    up: VecDeque<v1::WorkerMessage>,
    down: VecDeque<v1::CoordinatorMessage>,
    /// Nothing more gets in; what is in may still get out.
    pub(crate) is_broken: bool,
}

impl Sim {
    /// Whether something said by `from` reaches `to` now.
    pub(crate) fn reaches(&self, from: Node, to: Node) -> bool {
        let now = self.now;
        !self.cuts.iter().any(|cut| {
            cut.until > now
                && (cut.from == Some(from) || cut.from.is_none())
                && (cut.to == Some(to) || cut.to.is_none())
        })
    }

    /// Whether two machines hear each other.
    pub(crate) fn hear_each_other(&self, one: Node, other: Node) -> bool {
        self.reaches(one, other) && self.reaches(other, one)
    }

    pub(crate) fn open_connection(&mut self, worker: usize, to: (usize, u64)) -> u64 {
        let id = self.number();
        self.connections.insert(
            id,
            Connection {
                worker,
                worker_life: self.workers[worker].host.life,
                coordinator: to.0,
                coordinator_life: to.1,
                session: None,
                is_known: false,
                up: VecDeque::new(),
                down: VecDeque::new(),
                is_broken: false,
            },
        );
        id
    }

    pub(crate) fn send_up(&mut self, id: u64, message: v1::WorkerMessage) {
        let delay = self.dice.within(1..12);
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.is_broken
        {
            connection.up.push_back(message);
            self.after(delay, Do::Up(id));
        }
    }

    pub(crate) fn send_down(&mut self, id: u64, message: v1::CoordinatorMessage) {
        let delay = self.dice.within(1..12);
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.is_broken
        {
            connection.down.push_back(message);
            self.after(delay, Do::Down(id));
        }
    }

    /// The connection breaks: an unknown part of what is under way is lost, and
    /// each side finds out in its own time.
    pub(crate) fn break_connection(&mut self, id: u64) {
        let (keep_up, keep_down) = (self.dice.among(6), self.dice.among(6));
        self.close_connection(id, keep_up, keep_down);
    }

    /// One side hangs up, or its process is gone.
    pub(crate) fn close_connection(&mut self, id: u64, keep_up: usize, keep_down: usize) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.is_broken {
            return;
        }
        connection.is_broken = true;
        connection.up.truncate(keep_up);
        let lost = connection
            .down
            .split_off(keep_down.min(connection.down.len()));
        let worker = connection.worker;
        let nodes = (
            Node::Worker(worker),
            connection.worker_life,
            Node::Coordinator(connection.coordinator),
            connection.coordinator_life,
        );
        self.workers[worker].stragglers.extend(lost);
        // Where nothing arrives any more, only silence tells.
        let silent = !self.hear_each_other(nodes.0, nodes.2);
        let patience = if silent { 400..3000 } else { 13..60 };
        let (worker_after, coordinator_after) = (
            self.dice.within(patience.clone()),
            self.dice.within(patience),
        );
        self.worker_after(worker_after, worker, nodes.1, WorkerAct::SessionLost(id));
        if let Node::Coordinator(index) = nodes.2 {
            self.coordinator_after(
                coordinator_after,
                index,
                nodes.3,
                CoordinatorAct::SessionLost(id),
            );
        }
    }

    /// Every connection of a process breaks.
    pub(crate) fn break_connections_of(&mut self, node: Node, life: u64) {
        let of = |connection: &Connection| match node {
            Node::Worker(index) => connection.worker == index && connection.worker_life == life,
            Node::Coordinator(index) => {
                connection.coordinator == index && connection.coordinator_life == life
            }
        };
        let ids = self.connections.iter();
        let ids: Vec<u64> = ids.filter(|(_, c)| of(c)).map(|(id, _)| *id).collect();
        for id in ids {
            self.break_connection(id);
        }
    }

    /// The next message of a connection is about to reach the coordinator.
    pub(crate) fn deliver_up(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (index, life) = (connection.coordinator, connection.coordinator_life);
        let (from, to) = (Node::Worker(connection.worker), Node::Coordinator(index));
        if !self.reaches(from, to) {
            return self.later(Do::Up(id));
        }
        let host = &mut self.coordinators[index].host;
        if !host.is(life) {
            // Nobody listens there any more.
            return self.close_connection(id, 0, 0);
        }
        if host.is_paused() {
            return host.backlog.push(Do::Up(id));
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(message) = connection.up.pop_front() else {
            return;
        };
        let context = message.context.clone().unwrap_or_default();
        let session = match connection.session {
            Some(session) => session,
            None => {
                let session = SessionId(id);
                connection.session = Some(session);
                let worker = WorkerId(context.worker_id.clone());
                self.coordinator_hears(
                    index,
                    Told::Event(Event::SessionOpened { session, worker }),
                );
                session
            }
        };
        let world = coordinator::machine::World {
            term: context.term,
            generation: context.generation,
        };
        let Some(body) = message.body else { return };
        match wire::from_worker(body) {
            Ok(message) => self.coordinator_hears(
                index,
                Told::Event(Event::Said {
                    session,
                    world,
                    message,
                }),
            ),
            Err(error) => unreachable!("workers' messages are well-formed: {error}"),
        }
    }

    /// The next message of a connection is about to reach the worker.
    pub(crate) fn deliver_down(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (index, life) = (connection.worker, connection.worker_life);
        let from = Node::Coordinator(connection.coordinator);
        if !self.reaches(from, Node::Worker(index)) {
            return self.later(Do::Down(id));
        }
        let host = &mut self.workers[index].host;
        if !host.is(life) {
            return self.close_connection(id, 0, 0);
        }
        if host.is_paused() {
            return host.backlog.push(Do::Down(id));
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let Some(message) = connection.down.pop_front() else {
            return;
        };
        // A worker reads from its present session only.
        if self.workers[index].process.connection == Some(id) {
            self.may_straggle(index, &message);
            self.worker_hears(index, message);
        }
    }

    /// Whether a call or its answer gets lost on a network that otherwise works.
    pub(crate) fn loses_call(&mut self) -> bool {
        !self.config.only_restarts && self.dice.chance(2)
    }

    /// Nothing gets through now: the network tries again.
    fn later(&mut self, what: Do) {
        let delay = self.dice.within(20..60);
        self.after(delay, what);
    }
}

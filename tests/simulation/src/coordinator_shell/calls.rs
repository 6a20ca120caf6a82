//! Unary calls, as a coordinator takes them in and answers them.

use coordinator::machine::{Answer, Event, RefusalKind, RequestId};

use crate::event::{Answered, Call, Caller, WorkerAct};
use crate::fault::Node;
use crate::sim::{Files, Sim};

impl Sim {
    pub(super) fn call_event(
        &mut self,
        index: usize,
        caller: Caller,
        mut call: Call,
    ) -> Option<Event> {
        let request = RequestId(self.number());
        if let Call::Checkpoint {
            checkpoint,
            weights,
            is_new,
            ..
        } = &mut call
        {
            // The files are in their place before the record; torn ones never are.
            *is_new = !self.checkpoints.contains_key(&checkpoint.id);
            let files = self.checkpoints.entry(checkpoint.id.clone());
            files.or_insert_with(|| Files {
                weights: weights.clone(),
                is_damaged: false,
            });
        }
        let leading = self.coordinators[index].leading.as_mut()?;
        leading.calls.insert(request, (caller, call.clone()));
        let ours = leading.machine.world().term;
        match call {
            Call::Join(joining) => Some(Event::Join { request, joining }),
            // Whoever follows a newer leader is sent there.
            Call::Page { term, .. } | Call::Checkpoint { term, .. } if term > ours => {
                self.answer(index, caller, Answered::Unavailable);
                None
            }
            Call::Page {
                worker, slot, row, ..
            } => Some(Event::PagePut {
                request,
                worker,
                slot,
                row,
            }),
            Call::Checkpoint { checkpoint, .. } => Some(Event::CheckpointStored {
                request,
                checkpoint: *checkpoint,
            }),
        }
    }

    pub(super) fn reply(
        &mut self,
        index: usize,
        request: RequestId,
        answer: Result<Answer, coordinator::machine::Refusal>,
    ) {
        let life = self.coordinators[index].host.life;
        let leading = self.coordinators[index].leading.as_mut();
        let Some((caller, call)) = leading.and_then(|leading| leading.calls.remove(&request))
        else {
            return;
        };
        if let Call::Checkpoint {
            checkpoint,
            is_new: true,
            ..
        } = &call
            && answer.is_err()
            && !self.rules.checkpoints.contains_key(&checkpoint.id)
        {
            self.checkpoints.remove(&checkpoint.id);
        }
        let answered = match answer {
            Ok(Answer::Joined { worker, world }) => Answered::Joined {
                coordinator: index,
                life,
                worker,
                world,
            },
            // Which pages come next changes nothing, and nobody asks here.
            Ok(
                Answer::PageKept
                | Answer::CheckpointKept(_)
                | Answer::RoomMade(_)
                | Answer::Coming(_),
            ) => Answered::Kept,
            Err(refusal) if refusal.kind == RefusalKind::Again => Answered::Unavailable,
            Err(refusal) => Answered::Refused(refusal),
        };
        self.answer(index, caller, answered);
    }

    pub(super) fn answer(&mut self, index: usize, caller: Caller, answered: Answered) {
        let Caller {
            worker,
            life,
            attempt,
        } = caller;
        let reaches = self.reaches(Node::Coordinator(index), Node::Worker(worker));
        if !reaches || self.loses_call() {
            return;
        }
        let delay = self.dice.within(1..12);
        let act = WorkerAct::Answer { attempt, answered };
        self.worker_after(delay, worker, life, act);
    }
}

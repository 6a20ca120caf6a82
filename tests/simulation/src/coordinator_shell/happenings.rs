//! What the machine tells people, and the rules that are about it.

use coordinator::machine::{Effect, Happening, Message, SessionId};

use crate::fault::Node;
use crate::rule::Rule;
use crate::sim::Sim;

impl Sim {
    pub(super) fn show(&mut self, index: usize, happening: &Happening) {
        let node = Node::Coordinator(index);
        self.history
            .note(self.now, node, || format!("{happening:.0?}"));
        if !self.config.only_restarts {
            return;
        }
        match happening {
            Happening::Leaving {
                generation,
                at_once: true,
                reason,
                // It waits for a page, and a change cannot wait with it.
            } if self.has_met(*generation) && !reason.contains("after a step in time") => self
                .broken(Rule::RestartKeepsGeneration, || {
                    format!("generation {generation} ends: {reason}")
                }),
            Happening::Formed {
                generation,
                rolled_back: 1..,
                ..
            } => self.broken(Rule::RestartKeepsGeneration, || {
                format!("generation {generation} rolls steps back")
            }),
            _ => {}
        }
    }

    /// What members must be told when their generation ends at once.
    pub(super) fn check_members_told(&mut self, index: usize, effects: &[Effect]) {
        let leader = (index, self.coordinators[index].host.life);
        for effect in effects {
            let Effect::Tell(Happening::Leaving {
                generation,
                at_once: true,
                reason,
            }) = effect
            else {
                continue;
            };
            let Some(members) = self.rules.members_of(*generation) else {
                continue;
            };
            let told = |session: u64| {
                effects.iter().any(|effect| {
                    matches!(effect, Effect::Send { session: SessionId(to), message: Message::Abort { .. }, .. }
                        if *to == session)
                })
            };
            let closed = |session: u64| {
                effects.iter().any(|effect| {
                    matches!(effect, Effect::Close { session: SessionId(of), .. } if *of == session)
                })
            };
            // The one because of whom it ends is out, or cannot be told.
            let others = members.iter();
            for name in others.filter(|name| !reason.contains(&format!("worker {name} "))) {
                let worker = self.workers.iter().find(|worker| worker.name == *name);
                let Some(worker) = worker else { continue };
                let process = &worker.process;
                let is_in = worker.host.is_up && process.is_in(*generation);
                let connection = process.connection.and_then(|id| {
                    let connection = self.connections.get(&id)?;
                    let here = (connection.coordinator, connection.coordinator_life) == leader;
                    let hears = connection.is_known && !connection.is_broken;
                    (here && hears).then_some(id)
                });
                if let Some(id) = connection
                    && is_in
                    && !process.has_been_told(*generation)
                    && !told(id)
                    && !closed(id)
                {
                    let (name, generation) = (name.clone(), *generation);
                    return self.broken(Rule::MembersTold, || {
                        format!("generation {generation} ends, and worker {name} is not told")
                    });
                }
            }
        }
    }
}

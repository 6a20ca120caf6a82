//! What a worker hears: in its session, late or twice.

use membership::Input;
use proto::v1;
use proto::v1::coordinator_message::Body as Directive;

use crate::rule::Rule;
use crate::sim::Sim;

impl Sim {
    /// Hears something in the present session.
    pub(crate) fn worker_hears(&mut self, index: usize, message: v1::CoordinatorMessage) {
        if matches!(message.body, Some(Directive::Ack(_))) {
            let lease = self.config.lease_ms;
            let process = &mut self.workers[index].process;
            if let Some(sent) = process.unanswered.pop_front() {
                process.lease_end = process.lease_end.max(sent + lease);
            }
        }
        self.hears_anything(index, message);
    }

    fn hears_anything(&mut self, index: usize, message: v1::CoordinatorMessage) {
        let context = message.context.clone().unwrap_or_default();
        let is_form = matches!(message.body, Some(Directive::Form(_)));
        let concerns_generation = matches!(
            message.body,
            Some(Directive::Form(_) | Directive::Rendezvous(_) | Directive::Pause(_))
        );
        let process = &mut self.workers[index].process;
        let (term, generation) = process.highest;
        let is_older = context.term < term
            || (concerns_generation && context.generation < generation)
            || (is_form && context.generation <= generation);
        if !is_older {
            process.highest.0 = context.term;
            if is_form {
                process.highest.1 = context.generation;
            }
        }
        // What time alone does is not the message's doing.
        self.tell(index, Input::Tick);
        let heard = self.number_of_commands(index);
        let before = self.workers[index].process.membership.clone();
        self.tell(index, Input::Heard(message));
        if is_older {
            let process = &self.workers[index].process;
            let believed = match (before, &process.membership) {
                (Some(before), Some(after)) => {
                    before.is_pausing() != after.is_pausing()
                        || before.deadline() != after.deadline()
                        || before.live() != after.live() && after.live().is_some()
                }
                _ => false,
            };
            if believed || self.number_of_commands(index) > heard {
                let name = self.workers[index].name.clone();
                self.broken(Rule::OlderRefused, || {
                    format!(
                        "worker {name} has seen term {term} and generation {generation}, and \
                         believes a message of term {} about generation {}",
                        context.term, context.generation
                    )
                });
            }
        }
    }

    /// A message of an earlier session arrives, or one arrives again.
    pub(super) fn straggle(&mut self, index: usize) {
        let count = self.workers[index].stragglers.len();
        if count == 0 || self.workers[index].process.connection.is_none() {
            return;
        }
        let which = self.dice.among(count);
        let message = self.workers[index].stragglers[which].clone();
        // An answer is one to a heartbeat of its own session; no network moves
        // it to another.
        if !matches!(message.body, Some(Directive::Ack(_) | Directive::Stop(_))) {
            self.hears_anything(index, message);
        }
    }

    /// Remembers a message that may come again.
    pub(crate) fn may_straggle(&mut self, index: usize, message: &v1::CoordinatorMessage) {
        let matters = matches!(
            message.body,
            Some(Directive::Form(_) | Directive::Rendezvous(_) | Directive::Pause(_))
        );
        if matters && self.workers[index].stragglers.len() < 32 {
            self.workers[index].stragglers.push(message.clone());
        }
    }
}

//! Whether a message belongs to this run.

use proto::v1;
use run::RunConfig;
use tonic::Status;

use crate::machine::World;

/// How far ahead of the coordinator's a term or a generation can be. They grow by
/// one, so that a number beyond this is a fault; taken over, it would leave no room
/// to go above it, ever after.
const FARTHEST_AHEAD: u64 = 1 << 32;

/// The run that a coordinator has, as every call needs it.
#[derive(Debug)]
pub(crate) struct RunContext {
    /// The configuration.
    pub(crate) config: RunConfig,
    /// The same as text, as workers get it.
    pub(crate) config_json: String,
    /// The limits that workers are given.
    pub(crate) limits: v1::Limits,
}

/// Checks that a sender's world can be of this run.
pub(crate) fn check_world(sent: World, ours: World) -> Result<World, Status> {
    let numbers = [
        ("term", sent.term, ours.term),
        ("generation", sent.generation, ours.generation),
    ];
    for (name, sent, ours) in numbers {
        if sent > ours.saturating_add(FARTHEST_AHEAD) {
            return Err(Status::invalid_argument(format!(
                "{name} {sent} is none that this run can have come to: it is at {ours}"
            )));
        }
    }
    Ok(sent)
}

/// The most bytes that a name in a message may have.
const LONGEST_NAME: usize = 256;

/// Checks the length of a name that a message gives.
pub(crate) fn check_length(field: &str, value: &str) -> Result<(), Status> {
    if value.len() > LONGEST_NAME {
        return Err(Status::invalid_argument(format!(
            "{field}: may have {LONGEST_NAME} bytes, and has {}",
            value.len()
        )));
    }
    Ok(())
}

impl RunContext {
    /// The run's name.
    pub(crate) fn id(&self) -> &str {
        &self.config.run_id
    }

    /// Checks a message's context. `ours` is the coordinator's world.
    pub(crate) fn check(
        &self,
        context: Option<&v1::Context>,
        ours: World,
    ) -> Result<World, Status> {
        let context = context
            .ok_or_else(|| Status::invalid_argument("malformed message: context is missing"))?;
        self.check_run(&context.run_id)?;
        if context.term > ours.term {
            return Err(Status::unavailable(format!(
                "a coordinator of term {} leads the run, and this one is of term {}",
                context.term, ours.term
            )));
        }
        let sent = World {
            term: context.term,
            generation: context.generation,
        };
        check_world(sent, ours)
    }

    /// Checks the context of a reader, who may have none.
    pub(crate) fn check_reader(&self, context: Option<&v1::Context>) -> Result<(), Status> {
        match context {
            Some(context) if !context.run_id.is_empty() => self.check_run(&context.run_id),
            _ => Ok(()),
        }
    }

    /// Checks the run that a message names.
    pub(crate) fn check_run(&self, run_id: &str) -> Result<(), Status> {
        if run_id == self.id() {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "this coordinator has run {:?}, and the message is of run {run_id:?}: check the \
             coordinator's address and its --run-id",
            self.id()
        )))
    }
}

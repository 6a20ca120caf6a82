//! Whether a message belongs to this run.

use proto::v1;
use run::RunConfig;
use tonic::Status;

use crate::machine::World;

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
        Ok(World {
            term: context.term,
            generation: context.generation,
        })
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

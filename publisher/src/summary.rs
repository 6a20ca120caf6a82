//! What a publisher says at its end.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// What became of the run's best checkpoint. Its fields are what `--json`
/// prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The run.
    pub run_id: Option<String>,
    /// Whether it is complete; false when the publisher was asked to stop.
    pub run_complete: bool,
    /// The best checkpoint announced, if there was one.
    pub checkpoint_id: Option<String>,
    /// Its evaluation loss, in nats per token.
    pub loss: Option<f64>,
    /// Its parameters.
    pub parameters: Option<u64>,
    /// Bytes of its model directory.
    pub size: Option<u64>,
    /// Where it is staged: an absolute path.
    pub checkpoint_dir: Option<PathBuf>,
    /// `namespace:name:commit:hash`.
    pub chain_string: Option<String>,
    /// Whether the commit in the chain string is still to come, and so forty
    /// zeros. False when there is no chain string.
    pub commit_pending: bool,
    /// The stage that it has reached; absent with `--offline`, which stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The block of the commitment, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// In which ways validators' criteria are violated.
    pub violations: Vec<String>,
    /// Why it is not published, in words; absent when it is staged.
    pub reason: Option<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.checkpoint_id {
            Some(id) => format!("checkpoint {id}"),
            None => "nothing".to_owned(),
        };
        match (&self.chain_string, &self.checkpoint_dir) {
            (Some(chain_string), Some(dir)) => {
                match self.block {
                    Some(block) => writeln!(f, "{name} is published, in block {block}")?,
                    None => writeln!(f, "{name} is staged in {}", dir.display())?,
                }
                if let (Some(loss), Some(parameters), Some(size)) =
                    (self.loss, self.parameters, self.size)
                {
                    writeln!(f, "loss {loss:.4}, {parameters} parameters, {size} bytes")?;
                }
                write!(f, "chain string: {chain_string}")?;
                if self.commit_pending {
                    f.write_str(" (the commit is pending)")?;
                }
                Ok(())
            }
            _ => {
                let reason = self.reason.as_deref().unwrap_or("stopped before that");
                write!(f, "{name} is not published: {reason}")
            }
        }
    }
}

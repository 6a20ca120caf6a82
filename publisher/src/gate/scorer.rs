//! Losses as validators compute them, by the worker's binary: this one does not
//! link libtorch.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use run::RunConfig;
use serde::Deserialize;
use tokio::process::Command;

use crate::Error;
use crate::config::ComparisonConfig;
use crate::online::Stop;

/// Pages that are scored when the run keeps none for its evaluation: as many as
/// validators take.
const PAGES_OF_VALIDATORS: u32 = 3;

/// The scorer's name where it is not named.
const WORKER: &str = "worker";

/// How much of what a failed scorer said is repeated.
const LAST_LINES: usize = 5;

/// Variables that the scorer must not inherit: a worker holds no secret of the
/// miner's. A gated dataset is therefore scored from a local copy (--score-data).
const SECRETS: [&str; 3] = ["HF_ACCESS_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];

/// The worker's binary, and how it is to score.
#[derive(Clone, Debug)]
pub(crate) struct Scorer {
    program: PathBuf,
    config: ComparisonConfig,
}

/// What was scored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scores {
    /// For each model, the loss of each sequence, in the same order. One that
    /// is not finite is not a number here.
    pub(crate) losses: Vec<Vec<f64>>,
    /// How many pages.
    pub(crate) pages: u32,
    /// Whether the run trains on none of them.
    pub(crate) held_back: bool,
}

/// The part of the scorer's JSON that is needed.
#[derive(Deserialize)]
struct Printed {
    models: Vec<PrintedModel>,
}

#[derive(Deserialize)]
struct PrintedModel {
    sequence_losses: Vec<Option<f64>>,
}

impl Scorer {
    /// The scorer that was named, or the one that goes with this binary.
    ///
    /// # Errors
    /// When there is none, with what to do.
    pub(crate) fn find(config: &ComparisonConfig) -> Result<Scorer, Stop> {
        let program = match &config.scorer {
            Some(named) => Some(named.clone()).filter(|path| path.is_file()),
            None => beside_this_binary().or_else(on_the_path),
        };
        let program = program.ok_or_else(|| {
            let sought = match &config.scorer {
                Some(named) => format!("there is no scorer at {}", named.display()),
                None => {
                    format!("the scorer, `{WORKER}`, is neither beside this binary nor on the PATH")
                }
            };
            Stop::fatal(
                sought,
                "name the worker's binary with --scorer, or publish without comparing by \
                 --publish-if-better-by off",
            )
        })?;
        Ok(Scorer {
            program,
            config: config.clone(),
        })
    }

    /// Where it is.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Scores models on pages that the run, given as its JSON, keeps for its
    /// evaluation. Works in `scratch`.
    pub(crate) async fn score(
        &self,
        run: &str,
        scratch: &Path,
        models: &[&Path],
    ) -> Result<Scores, Stop> {
        let config = RunConfig::from_json(run)
            .map_err(|error| Stop::passing(format!("the coordinator's run: {error}")))?;
        let held_back = config.eval_pages > 0;
        let pages = pages_to_score(config.eval_pages, self.config.pages.map(Into::into));
        let run_file = scratch.join("run.json");
        tokio::fs::create_dir_all(scratch)
            .await
            .map_err(|source| Error::file(scratch, source))?;
        tokio::fs::write(&run_file, run)
            .await
            .map_err(|source| Error::file(&run_file, source))?;
        let output = self
            .command(&run_file, pages, models)
            .output()
            .await
            .map_err(|source| Error::file(&self.program, source))?;
        let losses = understand(&output).map_err(|failure| match failure {
            Failed::ForNow(why) => Stop::passing(why),
            Failed::ForGood(why) => Stop::fatal(
                why,
                "give it what it needs (--score-data, --score-tokenizer, --score-device), or \
                 publish without comparing by --publish-if-better-by off",
            ),
        })?;
        Ok(Scores {
            losses,
            pages,
            held_back,
        })
    }

    fn command(&self, run: &Path, pages: u32, models: &[&Path]) -> Command {
        let mut arguments: Vec<OsString> = vec!["score".into(), "--json".into()];
        let mut flag = |name: &str, value: OsString| arguments.extend([name.into(), value]);
        for model in models {
            flag("--load_model_dir", model.into());
        }
        flag("--run", run.into());
        flag("--pages", pages.to_string().into());
        flag("--device", (&self.config.device).into());
        if let Some(data) = &self.config.data {
            flag("--data", data.into());
        }
        if let Some(tokenizer) = &self.config.tokenizer {
            flag("--tokenizer", tokenizer.into());
        }
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Empty rather than absent, so that no .env file fills them in again.
        for secret in SECRETS {
            command.env(secret, "");
        }
        if let Some(variable) = &self.config.password_env {
            command.env(variable, "");
        }
        command
    }
}

/// Why there are no losses.
#[derive(Debug, PartialEq, Eq)]
enum Failed {
    /// A dataset server was away, for instance.
    ForNow(String),
    /// The same will be refused again.
    ForGood(String),
}

/// How many of the pages that a run keeps back are scored. More than it keeps
/// would reach into those that it trains on.
fn pages_to_score(kept_back: u64, wished: Option<u32>) -> u32 {
    let kept_back = u32::try_from(kept_back).unwrap_or(u32::MAX);
    match (kept_back, wished) {
        (0, wished) => wished.unwrap_or(PAGES_OF_VALIDATORS),
        (kept_back, wished) => wished.unwrap_or(kept_back).min(kept_back),
    }
}

fn understand(output: &Output) -> Result<Vec<Vec<f64>>, Failed> {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" / ");
    if output.status.code() == Some(i32::from(cli::Exit::Refused.code())) {
        return Err(Failed::ForGood(format!("the scorer refused: {last}")));
    }
    if !output.status.success() {
        let status = output.status;
        return Err(Failed::ForNow(format!(
            "the scorer failed ({status}): {last}"
        )));
    }
    let printed: Printed = serde_json::from_slice(&output.stdout).map_err(|error| {
        Failed::ForGood(format!(
            "the scorer's answer is not what `worker score --json` prints ({error})"
        ))
    })?;
    let losses = |model: PrintedModel| {
        let losses = model.sequence_losses.into_iter();
        losses.map(|loss| loss.unwrap_or(f64::NAN)).collect()
    };
    Ok(printed.models.into_iter().map(losses).collect())
}

fn beside_this_binary() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name(WORKER);
    beside.is_file().then_some(beside)
}

fn on_the_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(WORKER));
    candidates.find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn only_pages_that_the_run_keeps_back_are_scored() {
        assert_eq!(pages_to_score(3, None), 3);
        assert_eq!(pages_to_score(3, Some(2)), 2);
        assert_eq!(pages_to_score(3, Some(9)), 3);
        assert_eq!(pages_to_score(0, None), PAGES_OF_VALIDATORS);
        assert_eq!(pages_to_score(0, Some(9)), 9);
    }

    #[test]
    fn the_scorer_inherits_no_secret() {
        let scorer = Scorer {
            program: "/usr/bin/env".into(),
            config: ComparisonConfig {
                better_by: 0.005,
                scorer: None,
                pages: None,
                device: "cpu".to_owned(),
                data: None,
                tokenizer: None,
                password_env: Some("WALLET_WORDS".to_owned()),
            },
        };
        let command = scorer.command(Path::new("run.json"), 1, &[]);
        for secret in ["HF_ACCESS_TOKEN", "HF_TOKEN", "WALLET_WORDS"] {
            let value = command
                .as_std()
                .get_envs()
                .find(|(name, _)| *name == secret);
            assert_eq!(
                value,
                Some((secret.as_ref(), Some("".as_ref()))),
                "{secret}"
            );
        }
    }

    #[test]
    fn a_loss_that_is_not_finite_is_kept_as_such() {
        let printed = r#"{"models": [{"sequence_losses": [1.5, null]}, {"sequence_losses": []}]}"#;
        let losses = understand(&output(0, printed, "")).unwrap();
        assert_eq!(losses[0][0], 1.5);
        assert!(losses[0][1].is_nan() && losses[1].is_empty());
    }

    #[test]
    fn a_refusal_is_for_good_and_a_failure_for_now() {
        let refused = understand(&output(2, "", "error: --data: not here")).unwrap_err();
        let Failed::ForGood(why) = refused else {
            panic!("a refusal will not pass");
        };
        assert!(why.contains("--data: not here"), "{why}");
        let failed = understand(&output(1, "", "error: no answer")).unwrap_err();
        assert!(matches!(failed, Failed::ForNow(why) if why.contains("no answer")));
        let foreign = understand(&output(0, "hello", "")).unwrap_err();
        assert!(matches!(foreign, Failed::ForGood(_)));
    }
}

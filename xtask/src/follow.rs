//! Following a run of a local cluster: one line of progress, failures at once,
//! Ctrl-C in good order.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use local_cluster::{Cluster, Step};
use serde_json::Value;

use crate::interrupt;
use crate::progress::{Progress, duration};

/// How often the coordinator is asked.
const INTERVAL: Duration = Duration::from_millis(1000);

/// How long the programs may take to end when asked to.
const GRACE: Duration = Duration::from_secs(15);

/// What was seen of a run while it was followed.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// The steps of the surviving lineage, as far as they were asked for.
    pub(crate) steps: Vec<Step>,
    /// Evaluation losses of the checkpoints that were seen, by steps done.
    pub(crate) evaluations: BTreeMap<u64, f64>,
}

/// Follows the run until `enough` says so of its steps, or until every program
/// has ended.
///
/// # Errors
/// The failure of a program, with its log's last lines; Ctrl-C. In both cases
/// every program has been ended.
pub(crate) fn follow(
    cluster: &mut Cluster,
    enough: impl Fn(&[Step]) -> bool,
) -> anyhow::Result<Followed> {
    let mut progress = Progress::start("waiting for the workers to join");
    let followed = observe(cluster, &mut progress, enough);
    if followed.is_err() {
        progress.show("ending every process".to_owned());
        // What ended the run is the error to report.
        let _ = cluster.stop(GRACE);
    }
    followed
}

fn observe(
    cluster: &mut Cluster,
    progress: &mut Progress,
    enough: impl Fn(&[Step]) -> bool,
) -> anyhow::Result<Followed> {
    let mut followed = Followed::default();
    let mut asked = Instant::now() - INTERVAL;
    loop {
        interrupt::check()?;
        cluster.expect_no_failure()?;
        if cluster.all_ended()? {
            return Ok(followed);
        }
        if asked.elapsed() >= INTERVAL {
            asked = Instant::now();
            // A coordinator that is just leaving does not answer; whether it
            // left in good order is seen above.
            if let Ok(new) = cluster.steps(followed.steps.len() as u64) {
                followed.steps.extend(new);
            }
            if let Ok(status) = cluster.status() {
                followed.evaluations.extend(evaluation(&status));
                progress.show(line(&followed.steps, &status));
            }
            if enough(&followed.steps) {
                return Ok(followed);
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Steps done and evaluation loss of the latest checkpoint.
fn evaluation(status: &Value) -> Option<(u64, f64)> {
    let checkpoint = &status["latest_checkpoint"];
    Some((checkpoint["step"].as_u64()?, checkpoint["loss"].as_f64()?))
}

/// `step 12 of 66 · loss 8.31 · 2410 tokens/s · 2m 03s left · training …`
fn line(steps: &[Step], status: &Value) -> String {
    let state = status["state"].as_str().unwrap_or("");
    let detail = status["detail"].as_str().unwrap_or("");
    let pages = status["pages_packed"].as_u64().unwrap_or(0);
    let Some(last) = steps.last() else {
        return format!("{state}: {detail} · {pages} pages packed");
    };
    let done = steps.len() as u64;
    let total = status["steps_total"].as_u64();
    let speed = status["tokens_per_second"].as_f64().unwrap_or(0.0);
    let mut line = format!("step {done}");
    if let Some(total) = total {
        line.push_str(&format!(" of {total}"));
    }
    line.push_str(&format!(" · loss {:.3} · {speed:.0} tokens/s", last.loss()));
    if let Some(left) = total.and_then(|total| seconds_left(steps, total)) {
        line.push_str(&format!(" · {} left", duration(left)));
    }
    line.push_str(&format!(" · {pages} pages · {state}"));
    line
}

/// By the mean of the last steps, which is steadier than one.
fn seconds_left(steps: &[Step], total: u64) -> Option<f64> {
    let recent = &steps[steps.len().saturating_sub(10)..];
    let seconds: f64 = recent.iter().map(|step| step.times.total).sum();
    let left = total.checked_sub(steps.len() as u64)?;
    (!recent.is_empty()).then(|| seconds / recent.len() as f64 * left as f64)
}

#[cfg(test)]
mod tests {
    use local_cluster::Times;
    use serde_json::json;

    use super::*;

    fn steps(count: u64) -> Vec<Step> {
        (0..count)
            .map(|number| Step {
                generation: 1,
                number,
                epoch: 0,
                sequences: 8,
                tokens: 100,
                loss_sum: 850.0,
                grad_norm: 1.0,
                times: Times {
                    total: 2.0,
                    ..Times::default()
                },
            })
            .collect()
    }

    #[test]
    fn before_the_first_step_it_says_what_is_waited_for() {
        let status = json!({"state": "waiting", "detail": "1 of 2 workers", "pages_packed": 0});
        assert_eq!(
            line(&[], &status),
            "waiting: 1 of 2 workers · 0 pages packed"
        );
    }

    #[test]
    fn a_finite_run_says_how_long_it_will_take() {
        let status = json!({
            "state": "training", "pages_packed": 4, "steps_total": 42, "tokens_per_second": 50.0
        });
        assert_eq!(
            line(&steps(12), &status),
            "step 12 of 42 · loss 8.500 · 50 tokens/s · 1m 00s left · 4 pages · training"
        );
    }

    #[test]
    fn a_checkpoints_evaluation_is_a_point_of_the_curve() {
        let checkpoint = json!({"latest_checkpoint": {"step": 20, "loss": 7.25}});
        assert_eq!(evaluation(&checkpoint), Some((20, 7.25)));
        assert_eq!(evaluation(&json!({"latest_checkpoint": null})), None);
    }

    #[test]
    fn an_endless_run_does_not() {
        let status = json!({"state": "training", "pages_packed": 4, "tokens_per_second": 50.0});
        assert_eq!(
            line(&steps(1), &status),
            "step 1 · loss 8.500 · 50 tokens/s · 4 pages · training"
        );
    }
}

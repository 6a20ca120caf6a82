//! `cargo xtask bench upload`: publishing a model of the seed's size to the
//! local Hub, beside Python's huggingface_hub.
//!
//! Both upload weights that the Hub has never seen, in turn, each from a process
//! of its own with an empty cache. What is compared is the same on both sides:
//! from making the repository to the commit's acknowledgement. Ours also copies and
//! inspects the model before, and verifies what is served after; the time of the
//! whole command is given beside.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use local_cluster::{Binaries, median};
use serde::{Deserialize, Serialize};

use super::peak_resident;
use crate::build::{self, Profile};
use crate::interrupt;
use crate::progress::{Progress, section};
use crate::python::Python;
use crate::rehearse::{StandIn, TOKEN};
use crate::setup::{self, Parts};
use crate::workspace::Workspace;

const UPLOAD: &str = include_str!("upload.py");
const NAMESPACE: &str = "bench";

/// Throughput and peak memory of publishing a model of the seed's size (489 MB)
/// to the local Hub, beside Python's huggingface_hub.
#[derive(Debug, Args)]
pub(crate) struct UploadArgs {
    /// Uploads of each, in turn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Model preset
    #[arg(long, value_name = "M", default_value = "gpt2-122m")]
    preset: String,

    /// Print one JSON object instead of words
    #[arg(long)]
    json: bool,
}

/// One upload.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Upload {
    /// From making the repository to the commit's acknowledgement.
    seconds: f64,
    /// Of the whole process.
    #[serde(default)]
    command_seconds: f64,
    peak_bytes: u64,
}

/// What was measured. Its fields are what `--json` prints.
#[derive(Debug, Serialize)]
struct Measured {
    /// Bytes of the model directory.
    bytes: u64,
    ours: Vec<Upload>,
    theirs: Vec<Upload>,
    /// Ours over theirs, of the medians: above 1 is faster.
    speed_ratio: f64,
    /// The most that any of our uploads had resident.
    our_peak_bytes: u64,
    their_peak_bytes: u64,
}

/// Runs `cargo xtask bench upload`.
pub(super) fn run(workspace: &Workspace, args: &UploadArgs) -> anyhow::Result<()> {
    setup::ensure(workspace, Parts::Cpu)?;
    let binaries = build::programs_and_standins(workspace, Profile::Release)?;
    let python = Python::with(
        workspace,
        "upload-python",
        &["huggingface_hub[hf_xet]"],
        "import huggingface_hub, hf_xet",
    )?;
    let folder = workspace.scratch().join("bench").join("upload");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let mut hub = StandIn::hub(&binaries, &folder, NAMESPACE)?;

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for round in 0..args.rounds {
        section(&format!("round {} of {}", round + 1, args.rounds));
        let model = folder.join(format!("ours-{round}"));
        bytes = write_model(&model, &args.preset, 2 * u64::from(round))?;
        ours.push(upload_ours(&binaries, &hub, &folder, &model, round)?);
        fs::remove_dir_all(&model)?;
        let model = folder.join(format!("theirs-{round}"));
        write_model(&model, &args.preset, 2 * u64::from(round) + 1)?;
        theirs.push(upload_theirs(&python, &hub, &folder, &model, round)?);
        fs::remove_dir_all(&model)?;
        hub.expect_running()?;
    }
    drop(hub);
    fs::remove_dir_all(&folder)?;

    let seconds = |uploads: &[Upload]| {
        // There is one of each at least.
        median(uploads.iter().map(|upload| upload.seconds)).unwrap_or(f64::NAN)
    };
    let peak = |uploads: &[Upload]| uploads.iter().map(|upload| upload.peak_bytes).max();
    let measured = Measured {
        bytes,
        speed_ratio: seconds(&theirs) / seconds(&ours),
        our_peak_bytes: peak(&ours).unwrap_or(0),
        their_peak_bytes: peak(&theirs).unwrap_or(0),
        ours,
        theirs,
    };
    if args.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        measured.print(seconds(&measured.ours), seconds(&measured.theirs));
        for (name, uploads) in [("ours", &measured.ours), ("theirs", &measured.theirs)] {
            let whole = median(uploads.iter().map(|upload| upload.command_seconds));
            println!("whole command, {name}: {:.1} s", whole.unwrap_or(f64::NAN));
        }
    }
    Ok(())
}

impl Measured {
    fn print(&self, ours: f64, theirs: f64) {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        for (name, seconds, peak) in [
            ("publisher upload", ours, self.our_peak_bytes),
            ("huggingface_hub", theirs, self.their_peak_bytes),
        ] {
            println!(
                "{name:<17} {seconds:6.1} s {:7.1} MB/s  peak {:6.0} MB",
                megabytes(self.bytes) / seconds,
                megabytes(peak)
            );
        }
        println!("{:.2} times as fast", self.speed_ratio);
    }
}

/// A model of pseudo-random weights: the Hub has seen none of its chunks.
fn write_model(dir: &Path, preset: &str, seed: u64) -> anyhow::Result<u64> {
    let config = layout::preset(preset).with_context(|| format!("--preset {preset}: no such"))?;
    let sizes: std::collections::HashMap<String, u64> = layout::tensors(&config)
        .into_iter()
        .map(|spec| (spec.name.clone(), spec.elements()))
        .collect();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    layout::write_model_dir(dir, &config, None, |name, out| {
        let elements = sizes.get(name).copied().unwrap_or(0);
        write_weights(out, elements, &mut state)
    })?;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// Small numbers as initial weights are, by xorshift.
fn write_weights(out: &mut dyn Write, elements: u64, state: &mut u64) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    for _ in 0..elements {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let unit = (*state >> 40) as f32 / (1 << 24) as f32;
        buffer.extend_from_slice(&((unit - 0.5) * 0.04).to_le_bytes());
        if buffer.len() >= 1 << 16 {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)
}

fn upload_ours(
    binaries: &Binaries,
    hub: &StandIn,
    folder: &Path,
    model: &Path,
    round: u32,
) -> anyhow::Result<Upload> {
    let log = folder.join(format!("ours-{round}.log"));
    let mut command = Command::new(binaries.path("publisher"));
    command
        .args(["upload", "--json", "--criteria-block=1"])
        .args(["--log=warn,publisher=info", "--log-format=json"])
        .arg(format!("--hf_repo_id={NAMESPACE}/ours-{round}"))
        .arg("--load_model_dir")
        .arg(model)
        .arg("--state-dir")
        .arg(folder.join(format!("state-{round}")))
        .env("HF_ENDPOINT", &hub.endpoint)
        .env("HF_ACCESS_TOKEN", TOKEN)
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?);
    let progress = Progress::start("publisher upload");
    let started = Instant::now();
    let mut child = command.spawn()?;
    let process = child.id();
    let mut peak_bytes = 0;
    let status = interrupt::wait(&mut child, || {
        peak_bytes = peak_resident(process).max(peak_bytes);
    })?;
    let command_seconds = started.elapsed().as_secs_f64();
    progress.finish("publisher upload");
    let said = fs::read_to_string(&log)?;
    if !status.success() {
        bail!("publisher upload failed ({status}):\n{said}");
    }
    let at = |words: &str| {
        let seconds = said.lines().find_map(|line| said_at(line, words));
        seconds.with_context(|| format!("the publisher did not say {words:?}:\n{said}"))
    };
    // Midnight may have passed between the two.
    let seconds = (at("uploaded:")? - at("making the repository")?).rem_euclid(86_400.0);
    Ok(Upload {
        seconds,
        command_seconds,
        peak_bytes,
    })
}

/// When a line of a JSON log was written, in seconds of its day, if its message
/// begins with `words`.
fn said_at(line: &str, words: &str) -> Option<f64> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    line["message"].as_str()?.strip_prefix(words)?;
    let (_, time) = line["timestamp"].as_str()?.split_once('T')?;
    let mut seconds = 0.0;
    for part in time.trim_end_matches('Z').split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    Some(seconds)
}

fn upload_theirs(
    python: &Python,
    hub: &StandIn,
    folder: &Path,
    model: &Path,
    round: u32,
) -> anyhow::Result<Upload> {
    let progress = Progress::start("huggingface_hub");
    let started = Instant::now();
    let output = python
        .command()
        .args(["-c", UPLOAD, &hub.endpoint])
        .arg(format!("{NAMESPACE}/theirs-{round}"))
        .arg(model)
        .env("HF_TOKEN", TOKEN)
        .env("HF_HOME", folder.join(format!("python-home-{round}")))
        .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        .stderr(Stdio::inherit())
        .output()?;
    progress.finish("huggingface_hub");
    if !output.status.success() {
        bail!("huggingface_hub could not upload; see above");
    }
    let mut upload: Upload = serde_json::from_slice(&output.stdout)?;
    upload.command_seconds = started.elapsed().as_secs_f64();
    Ok(upload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_logged_event_is_read() {
        let line = r#"{"timestamp":"2026-11-22T01:02:03.5Z","message":"uploaded: x"}"#;
        assert_eq!(said_at(line, "uploaded:"), Some(3723.5));
        assert_eq!(said_at(line, "verified:"), None);
        assert_eq!(said_at("not json", "uploaded:"), None);
    }
}

//! `cargo xtask interop`: what we publish, read by programs that we did not
//! write.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::progress::section;
use crate::python::Python;
use crate::rehearse::{Rehearsal, RehearseArgs};
use crate::workspace::Workspace;

/// The most by which two programs' losses over the same bytes may differ,
/// relatively: both compute in fp32, in different orders.
const LOSS_TOLERANCE: f64 = 1e-5;

const READ: &str = include_str!("read.py");

/// Have huggingface_hub and transformers read what a rehearsal published.
///
/// Runs a rehearsal, installs both packages into a folder of their own, loads
/// the published commit from the local Hub, and compares loss and directory
/// hash with ours.
#[derive(Debug, Args)]
pub(crate) struct InteropArgs {
    /// Print one JSON object to standard output, and nothing else
    #[arg(long)]
    json: bool,

    /// Run the programs in this folder, instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// What Python read.
#[derive(Debug, Deserialize, Serialize)]
struct Read {
    loss: f64,
    hash: String,
    huggingface_hub: String,
    transformers: String,
    files: Vec<String>,
}

/// Both sides. Its fields are what `--json` prints.
#[derive(Debug, Serialize)]
struct Compared {
    repo: &'static str,
    commit: String,
    chain_string: String,
    our_loss: f64,
    theirs: Read,
}

/// Runs `cargo xtask interop`.
pub(crate) fn run(workspace: &Workspace, args: &InteropArgs) -> anyhow::Result<()> {
    let rehearse = RehearseArgs::with_programs(args.programs.clone());
    let rehearsal = Rehearsal::perform(workspace, &rehearse)?;
    let python = python(workspace)?;
    let ids_file = rehearsal.cluster.folder().join("ids.json");
    fs::write(&ids_file, serde_json::to_string(&sequences())?)?;

    section("our loss of what was staged");
    let ours: Value = rehearsal.cluster.ask(
        "worker",
        [
            "score",
            "--json",
            "--device=cpu",
            "--ids",
            &ids_file.display().to_string(),
            "--load_model_dir",
            &rehearsal.rehearsed.checkpoint_dir.display().to_string(),
        ],
    )?;
    let our_loss = ours["loss"].as_f64().context("worker score has no loss")?;

    section("huggingface_hub and transformers load the published commit");
    let rehearsed = &rehearsal.rehearsed;
    let output = python
        .command()
        .args(["-c", READ, &rehearsal.hub.endpoint, rehearsal.repo])
        .arg(&rehearsed.commit)
        .arg(&ids_file)
        .env("HF_HOME", rehearsal.cluster.folder().join("python-home"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run python3")?;
    if !output.status.success() {
        bail!("Python could not read the published commit; see above");
    }
    let theirs: Read = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())?;

    let compared = Compared {
        repo: rehearsal.repo,
        commit: rehearsed.commit.clone(),
        chain_string: rehearsed.chain_string.clone(),
        our_loss,
        theirs,
    };
    compared.check()?;
    if args.json {
        println!("{}", serde_json::to_string(&compared)?);
    } else {
        println!("{}", compared.in_words());
    }
    Ok(())
}

/// Python with both packages, and with the torch of the libtorch folder where
/// that works: it does not without CUDA's libraries, which CPU set-up leaves out.
fn python(workspace: &Workspace) -> anyhow::Result<Python> {
    const FOLDER: &str = "interop-python";
    let packages = [
        "huggingface_hub[hf_xet]",
        "transformers",
        // What torch itself imports.
        "numpy",
        "typing-extensions",
        "sympy",
        "networkx",
        "jinja2",
        "filelock",
        "fsspec",
    ];
    Python::with(
        workspace,
        FOLDER,
        &packages,
        "import huggingface_hub, hf_xet, transformers, numpy, sympy, networkx, jinja2",
    )?;
    Python::with(
        workspace,
        FOLDER,
        &["torch==2.11.0"],
        "import torch, transformers; transformers.GPT2LMHeadModel",
    )
}

/// Sequences that any GPT-2 takes; what they say does not matter, since both
/// sides read the same.
fn sequences() -> Vec<Vec<u32>> {
    (0..4u32)
        .map(|row| {
            (0..128u32)
                .map(|at| (at * 7919 + row * 104_729) % 50_257)
                .collect()
        })
        .collect()
}

impl Compared {
    fn check(&self) -> anyhow::Result<()> {
        let committed = self.chain_string.rsplit(':').next().unwrap_or_default();
        ensure!(
            self.theirs.hash == committed,
            "Python's directory hash is {}, and the chain has {committed}",
            self.theirs.hash
        );
        let difference = (self.theirs.loss - self.our_loss).abs() / self.our_loss;
        ensure!(
            difference <= LOSS_TOLERANCE,
            "transformers' loss is {}, and ours {}",
            self.theirs.loss,
            self.our_loss
        );
        Ok(())
    }

    fn in_words(&self) -> String {
        format!(
            "{} at {}\nhuggingface_hub {} and transformers {}: loss {:.7}, hash {}\n\
             ours: loss {:.7}, committed {}",
            self.repo,
            self.commit,
            self.theirs.huggingface_hub,
            self.theirs.transformers,
            self.theirs.loss,
            self.theirs.hash,
            self.our_loss,
            self.chain_string
        )
    }
}

//! What can be asked of a cluster, by its programs' own commands.

use std::ffi::{OsStr, OsString};
use std::process::Output;

use serde::de::DeserializeOwned;

use crate::{Audit, Cluster, Error, Publication, Step};

impl Cluster {
    /// The steps of the surviving lineage, from `first` on, asked of the
    /// running coordinator.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn steps(&self, first: u64) -> Result<Vec<Step>, Error> {
        let from = first.to_string();
        self.ask(
            "coordinator",
            [
                "steps",
                "--json",
                "--from",
                &from,
                "--coordinator",
                self.address(),
            ],
        )
    }

    /// All steps of the surviving lineage, from the state of a coordinator that
    /// has ended.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn recorded_steps(&self) -> Result<Vec<Step>, Error> {
        self.ask("coordinator", self.on_state(["steps", "--json"]))
    }

    /// The audit of a coordinator that has ended.
    ///
    /// # Errors
    /// [`Error::Output`], also when the audit finds a violation.
    pub fn audit(&self) -> Result<Audit, Error> {
        self.ask("coordinator", self.on_state(["audit", "--json"]))
    }

    /// The same, for whoever wants to know of violations rather than fail.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn audit_whatever_it_finds(&self) -> Result<Audit, Error> {
        let arguments = self.on_state(["audit", "--json"]);
        let (shown, output) = self.output("coordinator", arguments)?;
        parse(&shown, &String::from_utf8_lossy(&output.stdout))
    }

    /// What the running coordinator says about itself.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn status(&self) -> Result<serde_json::Value, Error> {
        self.status_of(self.address())
    }

    /// What the running coordinator at an address says about itself.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn status_of(&self, address: &str) -> Result<serde_json::Value, Error> {
        let arguments = ["status", "--json", "--coordinator", address];
        self.ask("coordinator", arguments)
    }

    /// What the publisher printed when it ended.
    ///
    /// # Errors
    /// [`Error::Output`], [`Error::NotRunning`].
    pub fn publication(&mut self) -> Result<Publication, Error> {
        let output = self.publisher()?.output_text();
        parse("publisher --json", &output)
    }

    fn on_state<const N: usize>(&self, arguments: [&str; N]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = arguments.map(OsString::from).into();
        arguments.push("--state-dir".into());
        arguments.push(self.state_dir().into());
        arguments.extend(self.store_flags());
        arguments
    }

    /// Runs a program to its end and reads the JSON that it prints.
    ///
    /// # Errors
    /// [`Error::Process`]; [`Error::Output`] when it fails or prints no such
    /// JSON.
    pub fn ask<T: DeserializeOwned, S: AsRef<OsStr>>(
        &self,
        program: &'static str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<T, Error> {
        let (shown, output) = self.output(program, arguments)?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(Error::Output {
                command: shown,
                reason: format!("it ended with {}", output.status),
                output: format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
            });
        }
        parse(&shown, &text)
    }

    /// Runs a program to its end; yields its command line too.
    fn output<S: AsRef<OsStr>>(
        &self,
        program: &'static str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<(String, Output), Error> {
        let mut command = self.command(program);
        command.args(arguments);
        let output = command.output().map_err(|source| Error::Process {
            action: "running",
            name: program.to_owned(),
            source,
        })?;
        Ok((format!("{command:?}"), output))
    }
}

pub(crate) fn parse<T: DeserializeOwned>(command: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Output {
        command: command.to_owned(),
        reason: error.to_string(),
        output: text.to_owned(),
    })
}

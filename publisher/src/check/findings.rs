//! What a dry run has found.

use std::fmt;

use serde::Serialize;

use super::CheckConfig;

/// What was found. Its fields are what `publisher check --json` prints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Findings {
    /// Whether nothing would keep a publisher from publishing.
    pub ready: bool,
    /// One for each thing looked at.
    pub findings: Vec<Finding>,
    /// What a publisher would do, in words.
    pub would: Vec<String>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What.
    pub subject: &'static str,
    /// What it means for publishing.
    pub check: Check,
    /// What was found, in words.
    pub found: String,
}

/// What a finding means for publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// It is as it should be.
    Ok,
    /// It does not keep anyone from publishing, but should be known.
    Warning,
    /// It would keep a publisher from publishing.
    Missing,
}

impl Findings {
    pub(super) fn ok(&mut self, subject: &'static str, found: impl fmt::Display) {
        self.add(subject, Check::Ok, found);
    }

    pub(super) fn warning(&mut self, subject: &'static str, found: impl fmt::Display) {
        self.add(subject, Check::Warning, found);
    }

    pub(super) fn missing(&mut self, subject: &'static str, found: impl fmt::Display) {
        self.add(subject, Check::Missing, found);
    }

    pub(super) fn would(&mut self, what: impl fmt::Display) {
        self.would.push(what.to_string());
    }

    fn add(&mut self, subject: &'static str, check: Check, found: impl fmt::Display) {
        self.findings.push(Finding {
            subject,
            check,
            found: found.to_string(),
        });
    }

    /// How many findings would keep a publisher from publishing.
    pub fn missing_count(&self) -> usize {
        let missing = |finding: &&Finding| finding.check == Check::Missing;
        self.findings.iter().filter(missing).count()
    }

    pub(super) fn conclude(&mut self, config: &CheckConfig) {
        self.ready = self.missing_count() == 0;
        if self.ready {
            self.would(format!(
                "upload in one commit to {}, verify it, and commit its chain string on {}",
                config.repo, config.chain
            ));
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let sign = match finding.check {
                Check::Ok => "ok     ",
                Check::Warning => "warning",
                Check::Missing => "MISSING",
            };
            writeln!(f, "{sign}  {}: {}", finding.subject, finding.found)?;
        }
        for what in &self.would {
            writeln!(f, "would {what}")?;
        }
        match self.missing_count() {
            0 => f.write_str("ready to publish"),
            count => write!(f, "not ready to publish: {count} missing"),
        }
    }
}

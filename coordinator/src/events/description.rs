//! An event before it has a number and a time.

use serde_json::{Map, Value};

use super::Kind;

/// The longest text, and the longest text of a field, in bytes: reasons come
/// from workers, and an event must stay small whatever they say.
const LONGEST_TEXT: usize = 2048;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Housekeeping.
    Debug,
    /// The run's ordinary course.
    Info,
    /// Something went wrong, and the run goes on.
    Warning,
    /// The run does not go on.
    Error,
}

impl Severity {
    /// The severity in a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Debug => "debug",
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// What happened, in words and in fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// What it is about.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// The sentence that a person reads.
    pub text: String,
    /// The same for a script.
    pub fields: Map<String, Value>,
}

impl Description {
    /// An event without fields, as severe as its kind usually is.
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Description {
        Description {
            kind,
            severity: kind.severity(),
            text: shortened(text.into()),
            fields: Map::new(),
        }
    }

    /// The same with a field. Numbers that JSON cannot hold become null.
    pub(super) fn with(mut self, field: &str, value: impl Into<Value>) -> Description {
        let value = match value.into() {
            Value::String(text) => Value::String(shortened(text)),
            value => value,
        };
        self.fields.insert(field.to_owned(), value);
        self
    }

    /// The same, mattering as much as this at least.
    pub(super) fn at_least(mut self, severity: Severity) -> Description {
        self.severity = self.severity.max(severity);
        self
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT)
            .rev()
            .find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

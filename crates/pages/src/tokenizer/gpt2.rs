//! GPT-2's vocabulary, built from the merges embedded in this crate (see `assets/NOTICE`).

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{END_OF_TEXT, TokenizerError};

/// SHA-256 of the uncompressed `vocab.bpe`.
pub(super) const MERGES_SHA256: &str =
    "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5";

/// Entries of the vocabulary: 256 bytes, 50,000 merges, end of text.
pub(super) const VOCABULARY_SIZE: u32 = 50_257;

const MERGES_ZST: &[u8] = include_bytes!("../../assets/gpt2.vocab.bpe.zst");
const MERGES_BYTES: usize = 456_318;

/// The embedded merges as a `tokenizer.json` document, byte-level pre-tokenizer included.
pub(super) fn document() -> Result<Value, TokenizerError> {
    let text = merges_text()?;
    let mut vocabulary = Map::new();
    for symbol in byte_symbols() {
        let id = vocabulary.len();
        vocabulary.insert(symbol.to_string(), json!(id));
    }
    let mut merges = Vec::new();
    for line in text.lines().skip(1) {
        let (left, right) = line.split_once(' ').ok_or_else(|| {
            TokenizerError::Vocabulary(format!("the merge `{line}` has no two halves"))
        })?;
        let id = vocabulary.len();
        vocabulary.insert(format!("{left}{right}"), json!(id));
        merges.push(json!([left, right]));
    }
    let end_of_text_id = vocabulary.len();
    vocabulary.insert(END_OF_TEXT.to_owned(), json!(end_of_text_id));

    Ok(json!({
        "version": "1.0",
        "added_tokens": [{
            "id": end_of_text_id,
            "content": END_OF_TEXT,
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": true,
            "special": true,
        }],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true },
        "model": { "type": "BPE", "vocab": vocabulary, "merges": merges },
    }))
}

fn merges_text() -> Result<String, TokenizerError> {
    let bytes = zstd::bulk::decompress(MERGES_ZST, MERGES_BYTES)
        .map_err(|error| TokenizerError::Vocabulary(format!("cannot decompress it: {error}")))?;
    let sha256 = hex(&Sha256::digest(&bytes));
    if sha256 != MERGES_SHA256 {
        return Err(TokenizerError::Vocabulary(format!(
            "its sha256 is {sha256}, not {MERGES_SHA256}"
        )));
    }
    String::from_utf8(bytes)
        .map_err(|error| TokenizerError::Vocabulary(format!("it is not UTF-8: {error}")))
}

/// The printable character that stands for each byte, in the order of their ids.
///
/// Bytes that print in Latin-1 stand for themselves and come first; the others (controls, space,
/// no-break space, soft hyphen) follow as the characters from U+0100 on.
fn byte_symbols() -> impl Iterator<Item = char> {
    let printable = ('!'..='~')
        .chain('\u{a1}'..='\u{ac}')
        .chain('\u{ae}'..='\u{ff}');
    printable.chain('\u{100}'..='\u{143}')
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_symbol_for_each_byte() {
        let symbols: std::collections::BTreeSet<char> = byte_symbols().collect();
        assert_eq!(symbols.len(), 256);
        assert_eq!(byte_symbols().count(), 256);
    }

    #[test]
    fn the_vocabulary_has_no_duplicates_and_the_known_size() {
        let document = document().unwrap();
        let vocabulary = document["model"]["vocab"].as_object().unwrap();
        assert_eq!(vocabulary.len(), VOCABULARY_SIZE as usize);
        assert_eq!(vocabulary[END_OF_TEXT], 50_256);
        assert_eq!(vocabulary["!"], 0);
        assert_eq!(vocabulary["\u{100}"], 188);
        assert_eq!(vocabulary["\u{120}t"], 256);
        assert_eq!(
            document["model"]["merges"].as_array().unwrap().len(),
            50_000
        );
    }
}

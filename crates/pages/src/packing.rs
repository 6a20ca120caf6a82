//! From a page's rows to its sequences.

use ledger::{PackedPage, PackedPageError, PageId};

use crate::tokenizer::{DOCUMENT_CUT, TokenBuffer, Tokenizer, TokenizerError};

/// Why rows could not be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// A row could not be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// `sl` is 0, or the page packs to more than can be counted.
    #[error(transparent)]
    Packed(#[from] PackedPageError),
}

/// Packs a page: the ids of its rows, each row cut to [`DOCUMENT_CUT`] ids unless
/// `keep_long_documents`, each followed by the end of text, concatenated and read off in
/// consecutive windows of `sl`. What is left over at the end is dropped and counted in the result.
///
/// A pure function: the same rows, tokenizer, `sl` and policy give the same packed page anywhere.
/// Attention is not masked between documents of one sequence.
///
/// # Errors
/// [`PackError`] if a row cannot be tokenized or `sl` is 0.
pub fn pack(
    page: PageId,
    rows: &[String],
    tokenizer: &Tokenizer,
    sl: u32,
    keep_long_documents: bool,
) -> Result<PackedPage, PackError> {
    if sl == 0 {
        return Err(PackedPageError::EmptySequences.into());
    }
    let limit = (!keep_long_documents).then_some(DOCUMENT_CUT);
    let mut tokens = TokenBuffer::default();
    for row in rows {
        tokenizer.append_row(row, limit, &mut tokens)?;
    }
    let ids = tokens.as_ids();
    let dropped = ids.len() % sl as usize;
    let whole = ids.len() - dropped;
    // A remainder of a division by a u32 fits one.
    Ok(PackedPage::new(
        page,
        sl,
        dropped as u32,
        ids[..whole].to_vec(),
    )?)
}

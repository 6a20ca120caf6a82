//! Where a text can be cut so that its pieces tokenize, apart, to what the whole does.
//!
//! GPT-2 first splits a text by a pattern (contractions, ` ?letters`, ` ?digits`,
//! ` ?other`, white space) and merges within each part only. Between an ASCII letter and a single
//! space that is followed by an ASCII letter there is always such a split: a run of letters ends
//! at the space, and the space belongs to the word after it. So a long document need not be
//! tokenized beyond the ids that are kept of it. No end-of-text marker can be cut in two, since
//! it holds no space.

/// How much text to take at least: a little more than 1024 ids of English.
const WINDOW: usize = 6 * 1024;

/// The text up to the first cut past [`WINDOW`] bytes, and what follows it (possibly nothing).
pub(super) fn split_between_words(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let cut = (WINDOW..bytes.len().saturating_sub(1)).find(|&at| {
        bytes[at] == b' '
            && bytes[at - 1].is_ascii_alphabetic()
            && bytes[at + 1].is_ascii_alphabetic()
    });
    // A space is a whole character, so `cut` is a character boundary.
    text.split_at(cut.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_and_texts_without_words_stay_whole() {
        assert_eq!(split_between_words(""), ("", ""));
        assert_eq!(split_between_words("two words"), ("two words", ""));
        let digits = "1 ".repeat(WINDOW);
        assert_eq!(split_between_words(&digits), (digits.as_str(), ""));
    }

    #[test]
    fn the_cut_is_before_the_first_space_between_letters_past_the_window() {
        let text = format!("{} 2 \u{e9} a b", "x".repeat(WINDOW));
        let (head, tail) = split_between_words(&text);
        assert!(head.ends_with("\u{e9} a"));
        assert_eq!(tail, " b");
    }
}

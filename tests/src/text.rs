//! Text to train on: sentences of invented words, the same for the same seed.

use std::fs;
use std::path::Path;

use serde_json::json;

/// Rows in a page, as everywhere in the project.
pub const ROWS_PER_PAGE: usize = 100;

/// SplitMix64: enough randomness for words, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed % limit as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

const SYLLABLES: [&str; 16] = [
    "ba", "ke", "lo", "mi", "nu", "ra", "se", "ti", "vo", "wen", "dar", "fil", "gon", "hap", "jor",
    "zum",
];

/// The texts of `pages` pages. Rows differ in length, so that pages pack to
/// different numbers of sequences, and few words make it easy to learn.
#[must_use]
pub fn rows(pages: usize, seed: u64) -> Vec<String> {
    let mut dice = Dice(seed);
    let words: Vec<String> = (0..60)
        .map(|_| {
            (0..=dice.below(3))
                .map(|_| dice.one_of(&SYLLABLES))
                .collect()
        })
        .collect();
    (0..pages * ROWS_PER_PAGE)
        .map(|_| {
            let length = 2 + dice.below(8);
            let sentence: Vec<&str> = (0..length)
                .map(|_| words[dice.below(words.len())].as_str())
                .collect();
            format!("{}.", sentence.join(" "))
        })
        .collect()
}

/// Writes rows as JSON Lines with the column `content`.
///
/// # Panics
/// When the file cannot be written: a test cannot go on.
pub fn write_jsonl(path: &Path, rows: &[String]) {
    let lines: String = rows
        .iter()
        .map(|row| format!("{}\n", json!({ "content": row })))
        .collect();
    fs::write(path, lines).expect("the corpus can be written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_text_and_another_does_not() {
        assert_eq!(rows(2, 7), rows(2, 7));
        assert_ne!(rows(2, 7), rows(2, 8));
        assert_eq!(rows(2, 7).len(), 200);
    }
}

//! What a page packs to.

use std::sync::LazyLock;

use ledger::{PackedPageError, PageId};
use pages::{DOCUMENT_CUT, PackError, Tokenizer, pack};
use proptest::prelude::*;

static GPT2: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::gpt2().unwrap());

fn rows(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn rows_are_ended_joined_and_read_off_in_windows() {
    let packed = pack(
        PageId(7),
        &rows(&["Hello world", "", "Hello"]),
        &GPT2,
        2,
        false,
    )
    .unwrap();
    assert_eq!(packed.page(), PageId(7));
    assert_eq!(packed.sl(), 2);
    assert_eq!(packed.ids(), [15496, 995, 50256, 50256, 15496, 50256]);
    assert_eq!(packed.sequence(1).unwrap(), [50256, 50256]);
    assert_eq!(packed.dropped_tokens(), 0);
    let packed = pack(
        PageId(7),
        &rows(&["Hello world", "", "Hello"]),
        &GPT2,
        4,
        false,
    )
    .unwrap();
    assert_eq!((packed.sequences(), packed.dropped_tokens()), (1, 2));
}

#[test]
fn a_page_too_short_for_one_sequence_packs_to_none() {
    let packed = pack(PageId(0), &rows(&["Hello world"]), &GPT2, 1024, false).unwrap();
    assert_eq!((packed.sequences(), packed.dropped_tokens()), (0, 3));
}

#[test]
fn long_documents_are_cut_unless_they_are_kept() {
    let long = rows(&[&"word ".repeat(3000)]);
    let cut = pack(PageId(0), &long, &GPT2, 5, false).unwrap();
    assert_eq!(
        cut.ids().len() as u32 + cut.dropped_tokens(),
        DOCUMENT_CUT as u32 + 1
    );
    let kept = pack(PageId(0), &long, &GPT2, 5, true).unwrap();
    assert_eq!(
        kept.ids().len() as u32 + kept.dropped_tokens(),
        3000 + 1 + 1
    );
    assert_eq!(kept.ids()[..1020], cut.ids()[..1020]);
}

#[test]
fn a_sequence_length_of_zero_is_refused() {
    let refused = pack(PageId(0), &rows(&["Hello"]), &GPT2, 0, false);
    assert_eq!(
        refused,
        Err(PackError::Packed(PackedPageError::EmptySequences))
    );
}

/// Runs outlive binaries: a page prepared by another version must have the same digest.
#[test]
fn the_digest_of_a_page_does_not_change_between_versions() {
    let text = "It's 1 page: caf\u{e9} \u{1f600}\n\n<|endoftext|> ";
    let packed = pack(
        PageId(3),
        &rows(&[text, &text.repeat(400)]),
        &GPT2,
        64,
        false,
    )
    .unwrap();
    assert_eq!(packed.sequences(), 16);
    assert_eq!(
        packed.digest().to_string(),
        "3e30274e19e832b8bbd3d53a86f8e6995b8e2fa976b9f76cd9d223318e12db73"
    );
}

proptest! {
    #[test]
    fn no_token_is_lost_or_moved(
        texts in prop::collection::vec("\\PC{0,40}", 0..20),
        sl in 1_u32..50,
    ) {
        let packed = pack(PageId(1), &texts, &GPT2, sl, false).unwrap();
        let mut stream = Vec::new();
        for text in &texts {
            stream.extend(GPT2.encode(text).unwrap());
            stream.push(GPT2.end_of_text());
        }
        let dropped = stream.len() % sl as usize;
        prop_assert_eq!(packed.dropped_tokens() as usize, dropped);
        prop_assert_eq!(packed.ids(), &stream[..stream.len() - dropped]);
        prop_assert_eq!(packed, pack(PageId(1), &texts, &GPT2, sl, false).unwrap());
    }
}

//! The ids must be those of an independent implementation, on any text.

use pages::{DOCUMENT_CUT, TokenBuffer, Tokenizer, TokenizerError};
use proptest::prelude::*;
use std::sync::LazyLock;

static GPT2: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::gpt2().unwrap());

fn reference(text: &str) -> Vec<u32> {
    tiktoken_rs::r50k_base_singleton().encode_with_special_tokens(text)
}

#[track_caller]
fn assert_same_ids(text: &str) {
    let ids = GPT2.encode(text).unwrap();
    assert_eq!(ids, reference(text), "{text:?}");
    assert_eq!(GPT2.decode(&ids), text);
}

#[test]
fn the_vocabulary_is_gpt2s() {
    assert_eq!(GPT2.vocabulary_size(), 50_257);
    assert_eq!(GPT2.end_of_text(), 50_256);
    assert_eq!(
        GPT2.identity(),
        "gpt2 sha256:1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
    );
    assert_eq!(GPT2.encode("Hello world").unwrap(), [15496, 995]);
}

#[test]
fn ids_agree_on_real_text() {
    // Prose, a licence, Rust and TOML: what lies beside this test.
    assert_same_ids(include_str!("../../assets/NOTICE"));
    assert_same_ids(include_str!("../../src/lib.rs"));
    assert_same_ids(include_str!("../../src/viewer/client.rs"));
    assert_same_ids(include_str!("tokenizer.rs"));
    assert_same_ids(include_str!("../../Cargo.toml"));
}

#[test]
fn ids_agree_on_nasty_strings() {
    let nasty = [
        "",
        " ",
        "  ",
        "\n",
        "\r\n\r\n",
        "\t\t x",
        "a  b   c    d",
        "trailing   ",
        "   leading",
        "line\n\n\n   line\n ",
        "I'm you're he'd we've they'll it's don't I'M YOU'RE 'tis '' 's",
        "x'lls 'sx 'ree",
        "1234567890 3.14159 1,000,000 0x1F ½ ² Ⅷ ٣",
        "!?... --- ((( ]]]} \\\\ //// @#$%^&*",
        "\u{0}\u{1}\u{7f}\u{80}\u{9f}\u{ad}\u{a0}",
        "\u{1f600}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{1f1e9}\u{1f1ea}",
        "e\u{301}\u{302}\u{303} Z\u{351}\u{36b}\u{343}a\u{302}lgo",
        "汉字と日本語の混在 한국어 ไทย हिन्दी",
        "العربية \u{202e}עברית\u{202c}",
        "\u{feff}bom \u{200b}\u{2028}\u{2029}\u{3000}\u{1680}\u{85}x",
        "\u{fffd}\u{ffff}\u{10ffff}",
        "İıſßﬁǅ",
        "<|endoftext|>",
        "a<|endoftext|>b",
        "word <|endoftext|> word",
        "un<|endoftext|>believable<|endoftext|><|endoftext|>",
        "  <|endoftext|>  \n<|endoftext|>",
        "<|endoftext|",
        "<<|endoftext|>|>",
        "<|ENDOFTEXT|> <|end of text|>",
    ];
    for text in nasty {
        assert_same_ids(text);
    }
    assert_same_ids(&nasty.concat());
    assert_same_ids(&" ".repeat(5000));
    assert_same_ids(&"\n ".repeat(2000));
    assert_same_ids(&"a".repeat(20_000));
    assert_same_ids(&"\u{1f600}".repeat(1000));
}

#[test]
fn the_end_of_text_marker_becomes_its_id() {
    assert_eq!(GPT2.encode("<|endoftext|>").unwrap(), [50_256]);
    let ids = GPT2.encode("one<|endoftext|> two").unwrap();
    assert_eq!(ids.iter().filter(|id| **id == 50_256).count(), 1);
}

fn row(text: &str, limit: Option<usize>) -> Vec<u32> {
    let mut tokens = TokenBuffer::default();
    GPT2.append_row(text, limit, &mut tokens).unwrap();
    tokens.as_ids().to_vec()
}

#[test]
fn a_row_is_cut_and_then_ended() {
    let words = "word ".repeat(DOCUMENT_CUT + 10);
    let cut = row(&words, Some(DOCUMENT_CUT));
    assert_eq!(cut.len(), DOCUMENT_CUT + 1);
    assert_eq!(cut[..DOCUMENT_CUT], reference(&words)[..DOCUMENT_CUT]);
    assert_eq!(cut[DOCUMENT_CUT], 50_256);
    let whole = row(&words, None);
    assert_eq!(whole.len(), reference(&words).len() + 1);
    assert_eq!(row("", Some(DOCUMENT_CUT)), [50_256]);
    assert_eq!(row("Hello world", Some(2)), [15496, 995, 50_256]);
    assert_eq!(row("Hello world", Some(1)), [15496, 50_256]);
}

/// Text of the kind that breaks tokenizers: words, white space, marks, symbols, end-of-text.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[a-zA-Z]{1,12}",
        3 => " {1,4}",
        2 => "[ \t\r\n]{1,4}",
        2 => "[0-9]{1,5}",
        2 => "[!-/:-@\\[-`{-~]{1,4}",
        1 => "'(s|t|re|ve|m|ll|d|x)",
        2 => "\\PC{1,6}",
        1 => any::<String>(),
        1 => Just("<|endoftext|>".to_owned()),
        1 => "\\p{M}{1,3}",
        1 => "\\p{Han}{1,4}",
        1 => "\\p{Z}{1,3}",
        1 => "\\p{N}{1,3}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn ids_agree_on_any_text(text in texts()) {
        let ids = GPT2.encode(&text).unwrap();
        prop_assert_eq!(&ids, &reference(&text));
        prop_assert_eq!(GPT2.decode(&ids), text);
    }

    /// Long rows are not tokenized to their end; that must not show.
    #[test]
    fn a_long_row_is_cut_as_if_it_had_been_tokenized_whole(
        pieces in prop::collection::vec(texts(), 1..8),
        repeats in 1_usize..60,
        limit in 1_usize..6000,
    ) {
        let text = pieces.join(" and ").repeat(repeats);
        let mut expected = reference(&text);
        expected.truncate(limit);
        expected.push(50_256);
        prop_assert_eq!(row(&text, Some(limit)), expected);
    }
}

/// A vocabulary of the 256 bytes (of which `!` is the first), one merge, and an end of text.
fn small_tokenizer(end_of_text: &str) -> String {
    let printable = ('!'..='~')
        .chain('\u{a1}'..='\u{ac}')
        .chain('\u{ae}'..='\u{ff}');
    let symbols = printable.chain('\u{100}'..='\u{143}').map(String::from);
    let vocabulary: std::collections::BTreeMap<String, u32> =
        symbols.chain(["ab".to_owned()]).zip(0..).collect();
    serde_json::json!({
        "version": "1.0",
        "truncation": {
            "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
        },
        "padding": null,
        "added_tokens": [{
            "id": 257, "content": end_of_text, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        }],
        "normalizer": null,
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
        },
        "post_processor": null,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary,
            "merges": ["a b"]
        }
    })
    .to_string()
}

fn tokenizer_file(contents: &str) -> Result<Tokenizer, TokenizerError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, contents).unwrap();
    Tokenizer::from_file(&path)
}

#[test]
fn a_tokenizer_file_of_the_old_format_works_and_is_named_by_its_digest() {
    let tokenizer = tokenizer_file(&small_tokenizer("</s>")).unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 258);
    assert_eq!(tokenizer.end_of_text(), 257);
    assert_eq!(
        tokenizer.encode("abcab</s>b").unwrap(),
        [256, 66, 256, 257, 65],
        "truncation is ignored"
    );
    let mut tokens = TokenBuffer::default();
    tokenizer.append_row("abcab", Some(2), &mut tokens).unwrap();
    assert_eq!(tokens.as_ids(), [256, 66, 257]);
    assert!(tokenizer.identity().starts_with("tokenizer.json sha256:"));
    let other = tokenizer_file(&small_tokenizer("<|endoftext|>")).unwrap();
    assert_ne!(tokenizer.identity(), other.identity());
}

#[test]
fn tokenizer_files_that_cannot_serve_are_refused_by_name() {
    for (contents, expected) in [
        ("no json", "it is not JSON"),
        ("{}", "model.vocab"),
        (&small_tokenizer("<unusual>"), "end-of-text"),
    ] {
        let words = tokenizer_file(contents).unwrap_err().to_string();
        assert!(
            words.contains(expected) && words.contains("tokenizer.json"),
            "{words}"
        );
    }
    let missing = Tokenizer::from_file(std::path::Path::new("/nonexistent/t.json")).unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/t.json"));
}

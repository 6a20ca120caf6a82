//! What strangers commit, as values and as bytes: the decoder has words for all of
//! it, and panics at none of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::LazyLock;

use chain::{Chain, ChainConfig, Commitment, CommitmentData, decode_commitment, decode_stored};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use standin_chain::{Options, StandinChain};
use subxt::dynamic::Value;
use subxt::ext::codec::{Compact, Encode as _};
use subxt::metadata::ArcMetadata;

fn cases() -> u32 {
    let given = std::env::var("PEREGRINE_FUZZ_CASES").ok();
    given.map_or(2000, |cases| cases.parse().unwrap())
}

/// Mainnet's metadata, as a node serves it.
static METADATA: LazyLock<ArcMetadata> = LazyLock::new(|| {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let standin = StandinChain::start(Options::default()).await.unwrap();
        let endpoints = vec![standin.endpoint().parse().unwrap()];
        let chain = Chain::connect(&ChainConfig::endpoints(endpoints))
            .await
            .unwrap();
        chain.finalized().await.unwrap().client().metadata()
    })
});

/// Decodes bytes as what `Commitments.CommitmentOf` stores.
fn decode_bytes(bytes: &[u8]) -> Commitment {
    let pallet = METADATA.pallet_by_name("Commitments").unwrap();
    let storage = pallet.storage().unwrap();
    let type_id = storage.entry_by_name("CommitmentOf").unwrap().value_ty();
    decode_stored(bytes, type_id, METADATA.types())
}

/// One piece of data and the kind of it, encoded as the chain does.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => Just(vec![0]),
        10 => vec(any::<u8>(), 0..=128).prop_map(|data| raw(&data)),
        4 => "[a-z0-9:]{0,128}".prop_map(|text| raw(text.as_bytes())),
        3 => (130_u8..=133, any::<[u8; 32]>()).prop_map(|(kind, hash)| [&[kind], &hash[..]].concat()),
        2 => (vec(any::<u8>(), 0..300), any::<u64>())
            .prop_map(|(data, round)| [vec![134], data.encode(), round.encode()].concat()),
        1 => Just(vec![135]),
        2 => vec(any::<u8>(), 0..=512).prop_map(|data| [vec![136], data.encode()].concat()),
    ]
}

fn raw(data: &[u8]) -> Vec<u8> {
    [&[data.len() as u8 + 1], data].concat()
}

fn stored(deposit: u64, block: u32, pieces: &[Vec<u8>]) -> Vec<u8> {
    let count = Compact(pieces.len() as u32);
    [
        deposit.encode(),
        block.encode(),
        count.encode(),
        pieces.concat(),
    ]
    .concat()
}

/// A change to some bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Cut(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        any::<prop::sample::Index>().prop_map(Change::Cut),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Set(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Change::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}

/// Any value at all, with names that the decoder looks for among its names.
fn any_value() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("block".to_owned()),
        Just("info".to_owned()),
        Just("fields".to_owned()),
        Just("BigRaw".to_owned()),
        (0_u16..400).prop_map(|length| format!("Raw{length}")),
        "\\PC{0,8}",
    ];
    let leaf = prop_oneof![
        any::<u128>().prop_map(Value::u128),
        any::<u8>().prop_map(|byte| Value::u128(byte.into())),
        any::<i128>().prop_map(Value::i128),
        any::<bool>().prop_map(Value::bool),
        "\\PC{0,8}".prop_map(Value::string),
        vec(any::<u8>(), 0..40).prop_map(Value::from_bytes),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::unnamed_composite),
            vec((name.clone(), inner.clone()), 0..6).prop_map(Value::named_composite),
            (name.clone(), vec(inner.clone(), 0..3))
                .prop_map(|(name, values)| Value::unnamed_variant(name, values)),
            inner.prop_map(|fields| {
                let info = Value::named_composite([("fields", fields)]);
                Value::named_composite([("block", Value::u128(7)), ("info", info)])
            }),
        ]
    })
}

proptest! {
    #![proptest_config(Config { cases: cases(), ..Config::default() })]

    #[test]
    fn no_value_makes_the_decoder_panic(value in any_value()) {
        let commitment = decode_commitment(&value);
        if let CommitmentData::Text(text) = commitment.data {
            prop_assert!(!text.is_empty() && text.len() <= 128);
        }
    }

    #[test]
    fn one_plain_field_is_read_back_as_it_was_written(
        deposit: u64, block: u32, text in "\\PC{1,32}",
    ) {
        let bytes = stored(deposit, block, &[raw(text.as_bytes())]);
        let commitment = decode_bytes(&bytes);
        prop_assert_eq!(commitment.block, u64::from(block));
        prop_assert_eq!(commitment.data, CommitmentData::Text(text));
    }

    #[test]
    fn whatever_the_chain_can_hold_is_decoded(block: u32, pieces in vec(piece(), 0..=3)) {
        let commitment = decode_bytes(&stored(0, block, &pieces));
        prop_assert_eq!(commitment.block, u64::from(block));
        let plain = matches!(&pieces[..], [only] if (2..=129).contains(&only[0]));
        let unreadable = matches!(commitment.data, CommitmentData::Unreadable(_));
        prop_assert_eq!(plain, !unreadable, "{:?}", commitment.data);
    }

    #[test]
    fn damaged_bytes_make_nothing_panic(
        pieces in vec(piece(), 0..=3), changes in vec(change(), 1..5),
    ) {
        decode_bytes(&changed(stored(0, 9, &pieces), &changes));
    }

    #[test]
    fn any_bytes_make_nothing_panic(bytes in vec(any::<u8>(), 0..400)) {
        decode_bytes(&bytes);
    }
}

//! The digest of what was fed: sums that no cut changes and any fault does.

use ledger::{FedDigest, PageDigest};
use proptest::prelude::*;

fn sequences() -> impl Strategy<Value = Vec<(u64, Vec<u32>)>> {
    prop::collection::vec(
        (any::<u64>(), prop::collection::vec(any::<u32>(), 0..9)),
        1..40,
    )
}

fn sum(sequences: &[(u64, Vec<u32>)]) -> FedDigest {
    sequences
        .iter()
        .map(|(position, ids)| FedDigest::of(*position, ids))
        .sum()
}

proptest! {
    #![proptest_config(crate::support::config())]

    /// As ranks do it: each sums its own share, and the shares' limbs are
    /// added as floating-point numbers.
    #[test]
    fn sums_do_not_depend_on_order_or_partition(
        (sequences, shuffled) in sequences()
            .prop_flat_map(|sequences| (Just(sequences.clone()), Just(sequences).prop_shuffle())),
        share_len in 1..10_usize,
    ) {
        let mut reduced = [0.0; 4];
        for share in shuffled.chunks(share_len) {
            for (total, limb) in reduced.iter_mut().zip(sum(share).to_f64_limbs()) {
                *total += limb;
            }
        }
        prop_assert_eq!(FedDigest::from_f64_limbs(&reduced), Some(sum(&sequences)));
    }

    #[test]
    fn any_fault_changes_the_sum(sequences in sequences(), index in any::<prop::sample::Index>()) {
        let honest = sum(&sequences);
        let (position, ids) = sequences[index.index(sequences.len())].clone();
        let one = FedDigest::of(position, &ids);
        prop_assert_ne!(honest + one, honest);
        prop_assert_ne!(honest - one, honest);
        let moved = FedDigest::of(position.wrapping_add(1), &ids);
        prop_assert_ne!(honest - one + moved, honest);
        if let Some((last, start)) = ids.split_last() {
            let changed = [start, &[last.wrapping_add(1)]].concat();
            prop_assert_ne!(honest - one + FedDigest::of(position, &changed), honest);
        }
    }

    #[test]
    fn survives_floating_point_text_and_json(position in any::<u64>(), ids in prop::collection::vec(any::<u32>(), 0..9)) {
        let digest = FedDigest::of(position, &ids);
        prop_assert_eq!(FedDigest::from_f64_limbs(&digest.to_f64_limbs()), Some(digest));
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        prop_assert_eq!(serde_json::from_str::<FedDigest>(&json).unwrap(), digest);
    }

    #[test]
    fn sums_stay_exact_over_a_million_ranks(position in any::<u64>()) {
        let digest = FedDigest::of(position, &[1, 2, 3]);
        let ranks = f64::from((1 << 21) - 1);
        let reduced = digest.to_f64_limbs().map(|limb| limb * ranks);
        let mut expected = FedDigest::ZERO;
        let mut doubled = digest;
        // 2^21 - 1 is twenty-one one bits.
        for _ in 0..21 {
            expected += doubled;
            doubled += doubled;
        }
        prop_assert_eq!(FedDigest::from_f64_limbs(&reduced), Some(expected));
    }
}

#[test]
fn one_sequence_is_the_start_of_blake3_over_position_and_ids() {
    let mut bytes = 7_u64.to_le_bytes().to_vec();
    for id in [1_u32, 50_256] {
        bytes.extend(id.to_le_bytes());
    }
    let hash = blake3::hash(&bytes);
    let expected: Vec<f64> = hash.as_bytes()[..16]
        .chunks(4)
        .map(|limb| f64::from(u32::from_le_bytes([limb[0], limb[1], limb[2], limb[3]])))
        .collect();
    assert_eq!(FedDigest::of(7, &[1, 50_256]).to_f64_limbs()[..], expected);
}

#[test]
fn limbs_that_are_not_sums_of_digests_are_refused() {
    let two_to_53 = 9_007_199_254_740_992.0;
    for bad in [f64::NAN, f64::INFINITY, -1.0, 0.5, two_to_53] {
        assert_eq!(
            FedDigest::from_f64_limbs(&[0.0, 1.0, bad, 3.0]),
            None,
            "{bad}"
        );
    }
    assert!(FedDigest::from_f64_limbs(&[0.0, 1.0, two_to_53 - 1.0, 3.0]).is_some());
}

#[test]
fn malformed_text_is_refused() {
    let wide = "é".repeat(16);
    for bad in [
        "",
        "0",
        "+0000000000000000000000000000000",
        &wide,
        &"g".repeat(32),
        &"0".repeat(33),
    ] {
        assert!(bad.parse::<FedDigest>().is_err(), "{bad}");
    }
    for bad in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
        assert!(bad.parse::<PageDigest>().is_err(), "{bad}");
    }
}

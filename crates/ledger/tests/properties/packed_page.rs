//! The packed page's bytes: what was encoded comes back, anything else is
//! refused.

use ledger::{PackedPage, PackedPageError, PageId, PageRow};
use proptest::prelude::*;

fn packed_pages() -> impl Strategy<Value = PackedPage> {
    let id = prop_oneof![4 => 0..50_257_u32, 1 => any::<u32>()];
    (
        any::<u64>(),
        1..9_u32,
        0..6_usize,
        any::<u32>(),
        any::<bool>(),
    )
        .prop_flat_map(move |(page, sl, sequences, dropped_tokens, narrow)| {
            prop::collection::vec(id.clone(), sequences * sl as usize).prop_map(move |mut ids| {
                if narrow {
                    ids.iter_mut().for_each(|id| *id %= 1 << 16);
                }
                PackedPage::new(PageId(page), sl, dropped_tokens, ids).unwrap()
            })
        })
}

proptest! {
    #![proptest_config(crate::support::config())]

    #[test]
    fn round_trips(page in packed_pages()) {
        let bytes = page.encode();
        let width = if page.ids().iter().all(|id| *id < 1 << 16) { 2 } else { 4 };
        prop_assert_eq!(bytes.len(), 28 + page.ids().len() * width + 32);
        let decoded = PackedPage::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.row(), page.row());
        prop_assert_eq!(decoded, page);
    }

    #[test]
    fn truncation_and_additions_are_refused(page in packed_pages(), cut in any::<prop::sample::Index>(), tail in 1..9_usize) {
        let mut bytes = page.encode();
        prop_assert!(PackedPage::decode(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.extend(vec![0; tail]);
        prop_assert!(PackedPage::decode(&bytes).is_err());
    }

    #[test]
    fn any_changed_bit_is_refused(page in packed_pages(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = page.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(PackedPage::decode(&bytes).is_err());
    }

    /// Headers that are valid up to their numbers, and claim anything.
    #[test]
    fn hostile_bytes_are_refused_without_a_panic_or_much_memory(
        wide in any::<bool>(),
        numbers in any::<[u32; 5]>(),
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = b"PGPP\x01\x00".to_vec();
        bytes.extend(if wide { [4, 0] } else { [2, 0] });
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(&rest);
        // Were memory allocated as claimed, this would abort: up to 2^66 bytes.
        prop_assert!(PackedPage::decode(&bytes).is_err());
        prop_assert!(PackedPage::decode(&rest).is_err());
    }

    #[test]
    fn sequences_are_consecutive_windows(page in packed_pages()) {
        let together: Vec<u32> = (0..page.sequences())
            .flat_map(|index| page.sequence(index).unwrap().to_vec())
            .collect();
        prop_assert_eq!(&together[..], page.ids());
        prop_assert!((0..page.sequences()).all(|index| page.sequence(index).unwrap().len() == page.sl() as usize));
        prop_assert_eq!(page.sequence(page.sequences()), None);
        prop_assert_eq!(page.sequence(u32::MAX), None);
    }

    #[test]
    fn the_digest_covers_everything(page in packed_pages(), other in packed_pages()) {
        prop_assert_eq!(page.digest() == other.digest(), page == other);
        let ids = page.ids().to_vec();
        let renamed = PackedPage::new(PageId(page.page().0 ^ 1), page.sl(), page.dropped_tokens(), ids.clone()).unwrap();
        let dropped = PackedPage::new(page.page(), page.sl(), page.dropped_tokens() ^ 1, ids.clone()).unwrap();
        let recut = PackedPage::new(page.page(), 1, page.dropped_tokens(), ids).unwrap();
        prop_assert_ne!(renamed.digest(), page.digest());
        prop_assert_ne!(dropped.digest(), page.digest());
        prop_assert_eq!(recut.digest() == page.digest(), page.sl() == 1);
    }
}

#[test]
fn ids_that_make_no_whole_sequences_are_refused() {
    let page = PageId(0);
    assert_eq!(
        PackedPage::new(page, 0, 0, vec![]),
        Err(PackedPageError::EmptySequences)
    );
    assert_eq!(
        PackedPage::new(page, 4, 0, vec![1; 6]),
        Err(PackedPageError::PartialSequence { ids: 6, sl: 4 })
    );
}

#[test]
fn what_is_wrong_with_bytes_is_said() {
    let good = PackedPage::new(PageId(5), 2, 1, vec![1, 2, 3, 4])
        .unwrap()
        .encode();
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        PackedPage::decode(&bytes).unwrap_err()
    };
    assert_eq!(with(0, b'X'), PackedPageError::NotAPackedPage);
    assert_eq!(with(4, 2), PackedPageError::UnknownVersion(2));
    assert_eq!(with(6, 3), PackedPageError::UnknownIdWidth(3));
    assert_eq!(with(16, 0), PackedPageError::EmptySequences);
    assert_eq!(with(28, 9), PackedPageError::DigestMismatch);
    assert!(matches!(
        with(20, 3),
        PackedPageError::WrongLength {
            sequences: 3,
            sl: 2,
            ..
        }
    ));
    assert_eq!(PackedPage::decode(&[]), Err(PackedPageError::TooShort(0)));
}

/// One content has one encoding, or equal pages could differ in bytes.
#[test]
fn ids_must_be_as_narrow_as_they_can() {
    let page = PackedPage::new(PageId(5), 2, 1, vec![1, 2]).unwrap();
    let narrow = page.encode();
    let mut wide = narrow[..28].to_vec();
    wide[6] = 4;
    wide.extend([1, 0, 0, 0, 2, 0, 0, 0]);
    wide.extend(page.digest().0);
    assert_eq!(
        PackedPage::decode(&wide),
        Err(PackedPageError::WastefulWidth)
    );
}

/// Caches and peers keep these bytes: if this fails, the version must rise.
#[test]
fn the_bytes_and_the_digest_are_a_format() {
    let page = PackedPage::new(PageId(258), 2, 3, vec![1, 50_256]).unwrap();
    let bytes = page.encode();
    let expected = [
        b'P', b'G', b'P', b'P', 1, 0, 2, 0, 2, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0,
        0, 0, 1, 0, 0x50, 0xc4,
    ];
    assert_eq!(bytes[..32], expected);
    assert_eq!(bytes[32..], page.digest().0);
    assert_eq!(
        page.digest().to_string(),
        "24497e238d07980f14f0b59e6e0e16427cdcc36d678b99073da3a621b3115d6d"
    );
}

#[test]
fn rows_are_kept_as_readable_json() {
    let row = PackedPage::new(PageId(258), 2, 3, vec![1, 50_256])
        .unwrap()
        .row();
    let skipped = PageRow::Skipped {
        page: PageId(3),
        reason: "too big".to_owned(),
    };
    for row in [row, skipped.clone()] {
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<PageRow>(&json).unwrap(), row);
    }
    assert_eq!(
        serde_json::to_string(&skipped).unwrap(),
        r#"{"skipped":{"page":3,"reason":"too big"}}"#
    );
}

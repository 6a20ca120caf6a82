//! Commitments of all kinds, and what limits them.

use chain::{CommitmentData, QuotaRule};
use standin_chain::{Options, Quota};

use crate::{NETUID, account, connected, connected_to};

/// One field `RawN` in a `CommitmentInfo`.
fn raw(data: &[u8]) -> Vec<u8> {
    [&[1 << 2, data.len() as u8 + 1], data].concat()
}

#[tokio::test]
async fn a_chain_string_is_read_with_its_block() {
    let (standin, chain) = connected().await;
    assert_eq!(chain.commitment(NETUID, &account(1)).await.unwrap(), None);
    standin.set_commitment_raw(*account(1).bytes(), 77, &raw(b"ns:name:None:None"));
    let commitment = chain
        .commitment(NETUID, &account(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(commitment.block, 77);
    assert_eq!(commitment.data.text(), Some("ns:name:None:None"));
}

#[tokio::test]
async fn everything_else_has_a_word_for_why_it_is_no_chain_string() {
    let (standin, chain) = connected().await;
    let one = 1 << 2;
    let hash = [&[one, 131][..], &[7; 32]].concat();
    let locked = [&[one, 134, 2 << 2, 1, 2][..], &[0; 8]].concat();
    for (info, words) in [
        (vec![0], "no field"),
        (vec![one, 0], "None"),
        (vec![one, 1], "Raw0"),
        (hash, "Sha256"),
        (locked, "encrypted"),
        (vec![one, 135], "ResetBondsFlag"),
        (vec![one, 136, 3 << 2, b'a', b'b', b'c'], "BigRaw"),
        (vec![2 << 2, 2, b'a', 3, b'b', b'c'], "Raw1, Raw2"),
        (vec![one, 200, 1, 2, 3], "metadata"),
        (vec![one, 9, 1], "metadata"),
    ] {
        standin.set_commitment_raw(*account(1).bytes(), 5, &info);
        let commitment = chain
            .commitment(NETUID, &account(1))
            .await
            .unwrap()
            .unwrap();
        let CommitmentData::Unreadable(why) = &commitment.data else {
            panic!("{info:?} became {commitment:?}");
        };
        assert!(why.contains(words), "{info:?}: {why}");
        // Where the bytes make no sense, not even the block can be had.
        let expected = if words == "metadata" { 0 } else { 5 };
        assert_eq!(commitment.block, expected, "{info:?}");
    }
    standin.set_commitment_raw(*account(1).bytes(), 5, &raw(&[0xff, 0xfe]));
    let commitment = chain
        .commitment(NETUID, &account(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(commitment.data, CommitmentData::Bytes(vec![0xff, 0xfe]));
}

#[tokio::test]
async fn all_commitments_of_a_subnet_are_read_over_several_pages_and_with_the_unreadable_ones() {
    let (standin, chain) = connected().await;
    for number in 0..150 {
        let text = format!("ns:name{number}:None:None");
        standin.set_commitment_raw(
            *account(number).bytes(),
            u32::from(number),
            &raw(text.as_bytes()),
        );
    }
    standin.set_commitment_raw(*account(150).bytes(), 1, &[4, 200]);
    let mut commitments = chain.commitments(NETUID).await.unwrap();
    commitments.sort_by_key(|(hotkey, _)| *hotkey);
    assert_eq!(commitments.len(), 151);
    for (number, (hotkey, commitment)) in (0..150).zip(&commitments) {
        assert_eq!(*hotkey, account(number));
        assert_eq!(commitment.block, u64::from(number));
        let text = format!("ns:name{number}:None:None");
        assert_eq!(commitment.data.text(), Some(&text[..]));
    }
    assert_eq!(commitments[150].1.data.text(), None);
    assert!(chain.commitments(NETUID + 1).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_metadata_says_which_rule_limits_commitments() {
    let tempo = 99;
    let options = Options {
        tempo,
        start_block: 1000,
        ..Options::default()
    };
    let (_standin, chain) = connected_to(options).await;
    let quota = chain.quota(NETUID, &account(1)).await.unwrap();
    assert_eq!(quota.rule, QuotaRule::Space);
    assert_eq!((quota.used, quota.limit), (0, 3100));
    // Epochs of 100 blocks, ten blocks early on subnet 9.
    assert_eq!(quota.resets_at_block, Some(1090));

    let options = Options {
        quota: Quota::HundredBlocks,
        ..Options::default()
    };
    let (_standin, chain) = connected_to(options).await;
    let quota = chain.quota(NETUID, &account(1)).await.unwrap();
    assert_eq!(quota.rule, QuotaRule::Interval);
    assert!(quota.allows(128));
    assert_eq!(quota.resets_at_block, None);
}

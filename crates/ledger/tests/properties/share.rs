//! Micro-batches and shares: the cut never depends on the workers.

use ledger::{MicroBatch, Ordinal, PageStart, Share, Step};
use proptest::prelude::*;

use crate::support::nonzero;

fn step(first: u64, count: u32) -> Step {
    let page = PageStart {
        ordinal: Ordinal(0),
        position: 0,
    };
    Step {
        number: 0,
        epoch: 0,
        first,
        count,
        last_of_epoch: false,
        page,
        next_page: page,
    }
}

proptest! {
    #![proptest_config(crate::support::config())]

    #[test]
    fn micro_batches_partition_the_step(first in 0..u64::MAX / 2, count in 1..500_u32, bs in 1..40_u32) {
        let mut position = first;
        let micro_batches = step(first, count).micro_batches(nonzero(bs));
        for (index, micro_batch) in micro_batches.iter().enumerate() {
            prop_assert_eq!(micro_batch.first, position);
            prop_assert!(micro_batch.len == bs || index + 1 == micro_batches.len());
            prop_assert!((1..=bs).contains(&micro_batch.len));
            position = micro_batch.positions().end;
        }
        prop_assert_eq!(position, first + u64::from(count));
    }

    #[test]
    fn shares_partition_the_micro_batches_for_any_world(
        count in 1..500_u32,
        bs in 1..40_u32,
        world in 1..70_u32,
    ) {
        let step = step(1_000, count);
        let shares: Vec<Share> = (0..world)
            .map(|rank| step.share(nonzero(bs), rank, nonzero(world)))
            .collect();
        let together: Vec<MicroBatch> = shares
            .iter()
            .flat_map(|share| share.micro_batches.clone())
            .collect();
        prop_assert_eq!(together, step.micro_batches(nonzero(bs)));
        // Balanced, and earlier ranks take the remainder.
        let sizes: Vec<usize> = shares.iter().map(|share| share.micro_batches.len()).collect();
        prop_assert!(sizes.is_sorted_by(|one, next| one >= next));
        prop_assert!(sizes[0] - sizes[sizes.len() - 1] <= 1);
        let sequences: u64 = shares.iter().map(Share::sequences).sum();
        prop_assert_eq!(sequences, u64::from(count));
    }
}

#[test]
fn a_rank_without_work_has_an_empty_share() {
    let step = step(10, 3);
    let share = |rank| step.share(nonzero(2), rank, nonzero(4));
    assert_eq!(share(0).positions(), Some(10..12));
    assert_eq!(share(1).positions(), Some(12..13));
    for rank in [2, 3, 4, u32::MAX] {
        assert!(share(rank).is_empty());
        assert_eq!(share(rank).positions(), None);
        assert_eq!(share(rank).sequences(), 0);
    }
}

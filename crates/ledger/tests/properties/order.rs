//! The order: every training page once a pass, evaluation pages never.

use std::collections::HashSet;

use ledger::{Order, OrderConfig, OrderError, Ordinal, PageId, Slot};
use proptest::prelude::*;

use crate::support::order;

/// Pages of Falcon RefinedWeb.
const FALCON_PAGES: u64 = 9_680_001;

fn configs() -> impl Strategy<Value = OrderConfig> {
    (any::<u64>(), 1..200_u64, 0..20_u32).prop_flat_map(
        |(seed, training_pages, evaluation_pages)| {
            (1..=training_pages).prop_map(move |pages_per_epoch| OrderConfig {
                seed,
                total_pages: training_pages + u64::from(evaluation_pages),
                evaluation_pages,
                pages_per_epoch,
            })
        },
    )
}

fn pass(order: &Order, pass: u64) -> Vec<PageId> {
    let pages = order.training_pages();
    (pass * pages..(pass + 1) * pages)
        .map(|ordinal| order.page_at(Ordinal(ordinal)))
        .collect()
}

proptest! {
    #![proptest_config(crate::support::config())]

    #[test]
    fn a_pass_and_the_evaluation_are_every_page_exactly_once(config in configs(), number in 0..4_u64) {
        let order = Order::new(config).unwrap();
        let mut pages = pass(&order, number);
        pages.extend(order.evaluation());
        pages.sort_unstable();
        let all: Vec<PageId> = (0..config.total_pages).map(PageId).collect();
        prop_assert_eq!(pages, all);
    }

    #[test]
    fn epochs_tile_the_ordinals(config in configs(), epoch in 0..50_u64) {
        let order = Order::new(config).unwrap();
        let ordinals = order.epoch_ordinals(epoch);
        prop_assert_eq!(ordinals.end - ordinals.start, config.pages_per_epoch);
        prop_assert_eq!(ordinals.end, order.epoch_ordinals(epoch + 1).start);
        for ordinal in ordinals {
            prop_assert_eq!(order.epoch_of(Ordinal(ordinal)), epoch);
            prop_assert_eq!(order.pass_of(Ordinal(ordinal)), ordinal / order.training_pages());
        }
    }

    #[test]
    fn slots_name_the_evaluation_and_the_training_pages(config in configs(), ordinal in 0..1000_u64) {
        let order = Order::new(config).unwrap();
        for (index, page) in order.evaluation().iter().enumerate() {
            prop_assert_eq!(order.page(Slot::Evaluation(index as u32)), Some(*page));
        }
        prop_assert_eq!(order.page(Slot::Evaluation(config.evaluation_pages)), None);
        let training = order.page(Slot::Training(Ordinal(ordinal)));
        prop_assert_eq!(training, Some(order.page_at(Ordinal(ordinal))));
    }

    #[test]
    fn the_same_configuration_gives_the_same_order(config in configs(), ordinal in any::<u64>()) {
        let one = Order::new(config).unwrap();
        let other = Order::new(config).unwrap();
        prop_assert_eq!(one.page_at(Ordinal(ordinal)), other.page_at(Ordinal(ordinal)));
        prop_assert_eq!(one.evaluation(), other.evaluation());
    }

    #[test]
    fn passes_and_seeds_differ(seed in any::<u64>()) {
        let one = order(seed, 100, 0, 1);
        let other = order(seed.wrapping_add(1), 100, 0, 1);
        prop_assert_ne!(pass(&one, 0), pass(&one, 1));
        prop_assert_ne!(pass(&one, 1), pass(&one, 2));
        prop_assert_ne!(pass(&one, 0), pass(&other, 0));
    }

    #[test]
    fn all_of_falcon_is_ordered_without_repeating_a_page(seed in any::<u64>(), begin in 0..FALCON_PAGES - 2003) {
        let order = order(seed, FALCON_PAGES, 3, 1000);
        let pages: HashSet<PageId> = (begin..begin + 2000)
            .map(|ordinal| order.page_at(Ordinal(ordinal)))
            .collect();
        prop_assert_eq!(pages.len(), 2000);
        prop_assert!(pages.iter().all(|page| page.0 < FALCON_PAGES));
        prop_assert!(order.evaluation().iter().all(|page| !pages.contains(page)));
    }
}

#[test]
fn distant_parts_of_a_falcon_pass_share_no_page() {
    let order = order(7, FALCON_PAGES, 100, 1000);
    let training_pages = order.training_pages();
    let evaluation: HashSet<PageId> = order.evaluation().iter().copied().collect();
    assert_eq!(evaluation.len(), 100);
    // A stride coprime to the number of pages visits ordinals over all the pass.
    let mut seen = HashSet::new();
    for sample in 0..300_000 {
        let page = order.page_at(Ordinal(sample * 32 % training_pages));
        assert!(seen.insert(page), "{page} comes twice");
        assert!(!evaluation.contains(&page), "{page} is an evaluation page");
    }
}

/// Runs outlive binaries: if this fails, resumed runs would train other pages.
#[test]
fn the_order_is_a_format() {
    let order = order(42, FALCON_PAGES, 3, 10);
    assert_eq!(
        order.evaluation(),
        [1_767_756, 5_202_310, 8_022_941].map(PageId)
    );
    let first: Vec<u64> = (0..4)
        .map(|ordinal| order.page_at(Ordinal(ordinal)).0)
        .collect();
    assert_eq!(first, [9_502_337, 3_444_907, 3_534_646, 8_013_706]);
    let second_pass = order.page_at(Ordinal(order.training_pages()));
    assert_eq!(second_pass, PageId(2_523_300));
}

fn refusal(total_pages: u64, evaluation_pages: u32, pages_per_epoch: u64) -> OrderError {
    let config = OrderConfig {
        seed: 0,
        total_pages,
        evaluation_pages,
        pages_per_epoch,
    };
    Order::new(config).unwrap_err()
}

#[test]
fn impossible_configurations_are_refused_by_name() {
    assert_eq!(refusal(10, 2, 0), OrderError::EmptyEpoch);
    assert_eq!(
        refusal(10, 2, 9),
        OrderError::EpochLongerThanPass {
            pages_per_epoch: 9,
            training_pages: 8
        }
    );
    for (total_pages, evaluation_pages) in [(0, 0), (2, 2), (2, 3)] {
        assert_eq!(
            refusal(total_pages, evaluation_pages, 1),
            OrderError::NothingToTrainOn {
                evaluation_pages,
                total_pages
            }
        );
    }
    assert!(refusal(10, 2, 9).to_string().contains("choose at most 8"));
}

#[test]
fn a_page_is_a_hundred_aligned_rows() {
    assert_eq!(PageId(0).first_row(), 0);
    assert_eq!(PageId(9_680_000).first_row(), 968_000_000);
}

//! A worker has the pages of the next steps before it says that it is ready.

use ledger::{Order, Ordinal, PackedPage, Slot};
use proto::v1;
use proto::v1::worker_message::Body;

use crate::conversation::{Call, Conversation, Having};

const SL: u32 = 32;
/// A step takes four.
const SEQUENCES_PER_PAGE: u32 = 6;

/// The first two pages of the training order, with made-up tokens.
fn pages(order: &Order) -> Vec<(Slot, PackedPage)> {
    let slots = (0..2).map(|ordinal| Slot::Training(Ordinal(ordinal)));
    let page = |slot| {
        let id = order.page(slot).unwrap();
        let ids = (0..SL * SEQUENCES_PER_PAGE).map(|index| 1 + (index * 7 + id.0 as u32) % 1000);
        (slot, PackedPage::new(id, SL, 0, ids.collect()).unwrap())
    };
    slots.map(page).collect()
}

fn fetched(calls: &[Call]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = calls
        .iter()
        .filter_map(|call| match call {
            Call::GetPage(slot) => Some(*slot),
            _ => None,
        })
        .collect();
    slots.sort();
    slots
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_that_come_next_are_here_before_it_interrupts_anyone() {
    let mut conversation = Conversation::begin(|order| Having {
        pages: pages(order),
        ..Having::default()
    })
    .await;
    conversation.hear_ready().await;
    let before = conversation.calls();
    let both = [0, 1].map(|ordinal| Slot::Training(Ordinal(ordinal)));
    assert_eq!(before.first(), Some(&Call::ComingPages));
    assert_eq!(before.last(), Some(&Call::Ready));
    assert_eq!(fetched(&before), both, "{}", conversation.log());

    let initial = v1::Initial::default();
    conversation.form(1, v1::form::Origin::Initial(initial));
    // Whether the third is the epoch's last one, the next page's row would tell.
    let is_last = |message: &v1::WorkerMessage| {
        let Some(Body::StepReports(reports)) = &message.body else {
            return false;
        };
        let mut reports = reports.reports.iter();
        reports.any(|report| report.number == 1)
    };
    conversation.hear("the second step's report", is_last).await;
    let calls = conversation.calls();
    assert_eq!(calls, before, "no page was asked for again");
    conversation.stop(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_do_not_come_keep_nobody_out() {
    let mut conversation = Conversation::begin(|order| Having {
        pages: pages(order),
        withheld: vec![Slot::Training(Ordinal(1))],
        // Long enough for the page that does come, on a machine that is busy.
        lease_ms: Some(4_000),
    })
    .await;
    conversation.hear_ready().await;
    let first = [Slot::Training(Ordinal(0))];
    assert_eq!(fetched(&conversation.calls()), first);
    conversation.stop(0).await;
    assert!(
        conversation
            .log()
            .contains("the network to the coordinator is slow"),
        "{}",
        conversation.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_for_pages_can_be_told_to_leave() {
    let mut conversation = Conversation::begin(|order| Having {
        pages: pages(order),
        withheld: vec![Slot::Training(Ordinal(1))],
        ..Having::default()
    })
    .await;
    let is_fetching = |calls: &[Call]| !fetched(calls).is_empty();
    conversation.wait_for_calls(is_fetching).await;
    conversation.interrupt();
    conversation.expect_end().await;
    assert!(!conversation.calls().contains(&Call::Ready));
}

//! Pages that can never be read cost the run nothing but themselves, and are
//! named; a fault that passes costs nothing at all.

use std::collections::BTreeMap;

use cluster_tests::{PageFault, RowsServer, Run, TestCluster, text};
use ledger::{Order, OrderConfig, Ordinal, PageId, Slot};

const PAGES: usize = 30;

#[test]
fn pages_that_can_never_be_read_are_skipped_by_name_and_others_are_waited_for() {
    let mut cluster = TestCluster::new();
    let mut run = Run::of("".as_ref());
    let order = Order::new(OrderConfig {
        seed: run.seed,
        total_pages: PAGES as u64,
        evaluation_pages: run.eval_pages,
        pages_per_epoch: u64::from(run.pages_per_epoch),
    })
    .unwrap();
    let training = |ordinal: u64| Slot::Training(Ordinal(ordinal));
    let faults = [
        (Slot::Evaluation(1), PageFault::TooBig, "TooBigContentError"),
        (training(0), PageFault::BusyAtFirst(2), ""),
        (training(1), PageFault::NotFound, "404 ResponseNotFound"),
        (training(3), PageFault::NotText, "it holds a number"),
        (training(4), PageFault::NoRows, "0 rows instead of 100"),
    ];
    let page = |slot: Slot| order.page(slot).unwrap();
    let by_page: BTreeMap<usize, PageFault> = faults
        .iter()
        .map(|(slot, fault, _)| (page(*slot).0 as usize, *fault))
        .collect();
    let server = RowsServer::start_with(text::rows(PAGES, 5), by_page);
    run.data = vec![
        "--dataset-endpoint".to_owned(),
        server.endpoint().to_owned(),
    ];
    cluster.start_coordinator(&run.flags()).unwrap();
    cluster.start_one_worker(1, &["--dataset-endpoint", server.endpoint()]);
    cluster.complete();
    cluster.audited_steps();

    let (report, _) = cluster.audit_report();
    let listed = |name: &str| -> BTreeMap<u64, String> {
        let pages = report[name].as_array().unwrap().iter();
        pages
            .map(|one| {
                let reason = one["reason"].as_str().unwrap().to_owned();
                (one["page"].as_u64().unwrap(), reason)
            })
            .collect()
    };
    let (skipped, of_evaluation) = (listed("skipped_pages"), listed("skipped_evaluation_pages"));
    for (slot, _, reason) in faults {
        let PageId(number) = page(slot);
        let listed = match slot {
            Slot::Training(_) => skipped.get(&number),
            Slot::Evaluation(_) => of_evaluation.get(&number),
        };
        match listed {
            Some(words) => assert!(
                !reason.is_empty() && words.contains(reason),
                "{slot}: {words}"
            ),
            None => assert!(reason.is_empty(), "{slot} is not listed: {report}"),
        }
    }
    assert_eq!((skipped.len(), of_evaluation.len()), (3, 1), "{report}");
    assert_eq!(report["total"]["skipped"], 3);
    let by_epoch: Vec<u64> = report["epochs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|epoch| epoch["skipped"].as_u64().unwrap())
        .collect();
    assert_eq!(by_epoch, [1, 2]);
}

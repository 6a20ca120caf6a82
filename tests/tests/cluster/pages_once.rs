//! Every page is fetched once per cluster.

use cluster_tests::{RowsServer, Run, TestCluster, text};

#[test]
fn a_cluster_asks_the_dataset_server_once_for_each_page() {
    let mut cluster = TestCluster::new();
    let server = RowsServer::start(text::rows(30, 5));
    let mut run = Run::of("".as_ref()).with_workers(3);
    run.data = vec![
        "--dataset-endpoint".to_owned(),
        server.endpoint().to_owned(),
    ];
    // The pages of a worker that is left behind are another's, who asks again.
    run.more = vec![
        "--heartbeat-ms=5000".to_owned(),
        "--lease-ms=60000".to_owned(),
    ];
    cluster.start_coordinator(&run.flags()).unwrap();
    for number in 1..=run.workers {
        cluster.start_one_worker(number, &["--dataset-endpoint", server.endpoint()]);
    }
    cluster.complete();
    cluster.audited_steps();

    let requests = server.requests();
    for (offset, count) in &requests {
        assert_eq!(
            *count, 1,
            "rows from {offset} on were asked for {count} times"
        );
        assert_eq!(offset % text::ROWS_PER_PAGE, 0, "pages are aligned");
    }
    let trained = u32::try_from(run.epochs).unwrap() * run.pages_per_epoch;
    let needed = (trained + run.eval_pages) as usize;
    assert!(
        requests.len() >= needed,
        "{} pages fetched, {needed} needed",
        requests.len()
    );
}

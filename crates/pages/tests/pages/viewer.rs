//! The rows client against a server that misbehaves in every way that was seen or feared.

use std::time::{Duration, Instant};

use crate::server::{
    PATIENCE, REVISION, ROWS, Reply, Request, Server, answer, dataset, error, good, page,
    pinned_dataset, text, throttled,
};
use ledger::PageId;
use pages::{
    DatasetViewer, ErrorClass, RetryPolicy, Secret, ServerAccess, Source as _, SourceError,
    SourceInfo, SourceMetrics, Timeouts, ViewerConfig,
};
use serde_json::{Value, json};

fn client(server: &Server) -> DatasetViewer {
    DatasetViewer::new(pinned_dataset(), server.access()).unwrap()
}

fn texts(rows: std::ops::Range<u64>) -> Vec<String> {
    rows.map(text).collect()
}

/// Serves one bad answer and then good ones; the client must come through, having asked twice.
async fn assert_survives(reply: fn(&Request) -> Reply) {
    let server = Server::misbehaving_once(reply).await;
    assert_eq!(requests_until_served(server.access()).await, 2);
    assert_eq!(server.requests().len(), 2);
}

/// The same within these times. A machine that stands still may use them up for a good answer
/// as well, which is then asked for once more.
async fn assert_survives_within(timeouts: Timeouts, reply: fn(&Request) -> Reply) {
    let server = Server::misbehaving_once(reply).await;
    let access = server.access();
    let retry = RetryPolicy {
        attempts: 60,
        ..access.retry
    };
    let access = ServerAccess {
        timeouts,
        retry,
        ..access
    };
    assert!(requests_until_served(access).await >= 2);
    assert!(server.requests().len() >= 2);
}

/// Reads a page, and says how many requests that took.
async fn requests_until_served(access: ServerAccess) -> u64 {
    let client = DatasetViewer::new(pinned_dataset(), access).unwrap();
    assert_eq!(client.page(PageId(1)).await.unwrap(), texts(100..200));
    let SourceMetrics {
        requests, retries, ..
    } = client.metrics();
    assert_eq!(retries, requests - 1);
    requests
}

/// Serves only this answer; returns the error, which must come after so many requests.
async fn failure_after(requests: usize, reply: fn(&Request) -> Reply) -> SourceError {
    let server = Server::start(move |_, request| reply(request)).await;
    let failure = client(&server).page(PageId(1)).await.unwrap_err();
    assert_eq!(server.requests().len(), requests, "{failure}");
    failure
}

async fn assert_fatal(reply: fn(&Request) -> Reply) -> SourceError {
    let failure = failure_after(1, reply).await;
    assert_eq!(failure.class(), ErrorClass::Fatal, "{failure}");
    failure
}

async fn assert_skips(reply: fn(&Request) -> Reply) -> String {
    match failure_after(1, reply).await.class() {
        ErrorClass::Skip { reason } => reason,
        class => panic!("{class:?}"),
    }
}

fn changed(request: &Request, change: fn(&mut Value)) -> Reply {
    let mut body = page(request);
    change(&mut body);
    answer(&body)
}

#[tokio::test]
async fn a_page_is_one_aligned_request_with_length_and_token() {
    let server = Server::start(|_, request| good(request)).await;
    let client = client(&server);
    assert_eq!(client.page(PageId(3)).await.unwrap(), texts(300..400));
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let query = &requests[0].query;
    assert_eq!(query["dataset"], "tiiuae/falcon-refinedweb");
    assert_eq!(query["config"], "default");
    assert_eq!(query["split"], "train");
    assert_eq!(query["offset"], "300");
    assert_eq!(query["length"], "100");
    assert_eq!(query.len(), 5);
    assert_eq!(
        requests[0].authorization.as_deref(),
        Some("Bearer hf_secret")
    );
    assert!(client.metrics().bytes > 10_000);
    assert!(!format!("{client:?}").contains("hf_secret"));
}

#[tokio::test]
async fn without_a_token_none_is_sent() {
    let server = Server::start(|_, request| good(request)).await;
    let access = ServerAccess {
        token: None,
        ..server.access()
    };
    DatasetViewer::new(dataset(), access)
        .unwrap()
        .page(PageId(0))
        .await
        .unwrap();
    assert_eq!(server.requests()[0].authorization, None);
}

#[tokio::test]
async fn rows_and_revision_are_described() {
    let server = Server::start(|_, request| good(request)).await;
    let client = DatasetViewer::new(dataset(), server.access()).unwrap();
    let info = client.describe().await.unwrap();
    assert_eq!(
        info,
        SourceInfo {
            rows: ROWS,
            revision: REVISION.into()
        }
    );
    assert_eq!(info.pages(), 11);
}

#[tokio::test]
async fn the_last_page_is_short_and_nothing_follows_it() {
    let server = Server::start(|_, request| good(request)).await;
    let client = client(&server);
    assert_eq!(client.page(PageId(10)).await.unwrap(), texts(1000..1015));
    let past = client.page(PageId(11)).await.unwrap_err();
    assert_eq!(
        past,
        SourceError::PastTheEnd {
            page: 11,
            pages: 11
        }
    );
    assert_eq!(
        server.requests().len(),
        1,
        "a page past a known end is not asked for"
    );

    let unpinned = DatasetViewer::new(dataset(), server.access()).unwrap();
    let past = unpinned.page(PageId(11)).await.unwrap_err();
    assert_eq!(
        past,
        SourceError::PastTheEnd {
            page: 11,
            pages: 11
        }
    );
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn null_is_an_empty_text() {
    let server = Server::start(|_, request| {
        changed(request, |body| {
            body["rows"][2]["row"]["content"] = Value::Null
        })
    })
    .await;
    let page = client(&server).page(PageId(0)).await.unwrap();
    assert_eq!((page[1].as_str(), page[2].as_str()), (text(1).as_str(), ""));
}

#[tokio::test]
async fn what_may_pass_is_asked_again() {
    assert_survives(|_| error(500, Some("ResponseNotReady"))).await;
    assert_survives(|_| error(500, Some("UnexpectedApiError"))).await;
    assert_survives(|_| error(500, None)).await;
    assert_survives(|_| error(502, None)).await;
    assert_survives(|_| error(503, None)).await;
    assert_survives(|_| error(504, None)).await;
    assert_survives(|_| error(429, None)).await;
    assert_survives(|_| error(408, None)).await;
}

#[tokio::test]
async fn a_cut_connection_is_asked_again() {
    assert_survives(|_| Reply::Cut).await;
}

/// A second is mostly enough for a good answer, and short for a test; the three share it.
#[tokio::test]
async fn a_stalled_and_a_silent_connection_are_given_up_and_asked_again() {
    let second = Duration::from_secs(1);
    let short_read = Timeouts {
        connect: PATIENCE,
        read: second,
        total: PATIENCE,
    };
    let short_total = Timeouts {
        connect: PATIENCE,
        read: PATIENCE,
        total: second,
    };
    tokio::join!(
        assert_survives_within(short_read, |_| Reply::Silence),
        assert_survives_within(short_read, |_| Reply::Stall),
        assert_survives_within(short_total, |_| Reply::Stall),
    );
}

#[tokio::test]
async fn garbage_is_asked_again() {
    assert_survives(|_| answer(&json!("no page"))).await;
    assert_survives(|_| Reply::Answer {
        status: 200,
        headers: vec![("x-revision", REVISION.into())],
        body: "<html>a proxy's error page</html>".into(),
    })
    .await;
}

#[tokio::test]
async fn rows_other_than_those_asked_for_are_asked_again() {
    assert_survives(|request| changed(request, |body| body["rows"][5]["row_idx"] = json!(106)))
        .await;
    assert_survives(|request| changed(request, |body| body["rows"] = json!([]))).await;
    assert_survives(|request| {
        changed(request, |body| {
            body["rows"].as_array_mut().unwrap().pop();
        })
    })
    .await;
    // Rows of the page before, whole and well numbered.
    assert_survives(|request| {
        let mut other = request.clone();
        other.query.insert("offset".into(), "0".into());
        good(&other)
    })
    .await;
}

#[tokio::test]
async fn an_answer_without_a_revision_is_not_trusted() {
    assert_survives(|request| Reply::Answer {
        status: 200,
        headers: Vec::new(),
        body: page(request).to_string(),
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stays_broken_is_left_alone_after_the_last_attempt() {
    let failure = failure_after(3, |_| error(500, Some("ResponseNotReady"))).await;
    let SourceError::Unavailable {
        attempts: 3, cause, ..
    } = &failure
    else {
        panic!("{failure:?}");
    };
    assert!(
        cause.contains("500 ResponseNotReady: words of the server"),
        "{cause}"
    );
    assert_eq!(
        failure.class(),
        ErrorClass::Retry {
            after: Duration::from_millis(4)
        }
    );
}

#[tokio::test]
async fn a_server_that_throttles_for_ever_is_left_alone_and_its_wait_is_passed_on() {
    let server = Server::start(|_, _| throttled(("retry-after", "3600"))).await;
    let client = client(&server);
    let failure = client.page(PageId(1)).await.unwrap_err();
    assert_eq!(
        failure.class(),
        ErrorClass::Retry {
            after: Duration::from_millis(40)
        }
    );
    let SourceMetrics {
        requests,
        retries,
        throttled,
        ..
    } = client.metrics();
    assert_eq!((requests, retries, throttled), (3, 2, 3));
}

#[tokio::test]
async fn the_servers_own_waiting_times_are_kept_up_to_the_bound() {
    for header in [("retry-after", "3600"), ("ratelimit", "\"api\";r=0;t=55")] {
        let server = Server::start(move |number, request| match number {
            0 => throttled(header),
            _ => good(request),
        })
        .await;
        let start = Instant::now();
        client(&server).page(PageId(1)).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(40), "{header:?}");
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn an_exhausted_quota_holds_all_clients_of_the_budget_back() {
    let server = Server::start(|_, request| match good(request) {
        Reply::Answer {
            status,
            mut headers,
            body,
        } => {
            headers.push(("ratelimit", "\"api\";r=0;t=55".into()));
            Reply::Answer {
                status,
                headers,
                body,
            }
        }
        other => other,
    })
    .await;
    let access = server.access();
    let one = DatasetViewer::new(pinned_dataset(), access.clone()).unwrap();
    let other = DatasetViewer::new(pinned_dataset(), access).unwrap();
    let start = Instant::now();
    one.page(PageId(1)).await.unwrap();
    other.page(PageId(2)).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(40));
}

#[tokio::test]
async fn refusals_are_fatal_at_once_and_say_what_to_check() {
    let failure = assert_fatal(|_| error(401, Some("ExternalUnauthenticatedError"))).await;
    let words = failure.to_string();
    assert!(
        words.contains("401 ExternalUnauthenticatedError: words of the server"),
        "{words}"
    );
    assert!(words.contains("HF_ACCESS_TOKEN"), "{words}");
    assert!(
        words.contains("tiiuae/falcon-refinedweb, config default, split train"),
        "{words}"
    );
    assert_fatal(|_| error(403, None)).await;
    // These may be about the page: another one is asked for, and refused too.
    for reply in [
        |_: &Request| error(404, Some("ResponseNotFound")),
        |_: &Request| error(422, Some("InvalidParameter")),
    ] {
        let failure = failure_after(2, reply).await;
        assert_eq!(failure.class(), ErrorClass::Fatal, "{failure}");
    }
}

/// Serves every page but the second, for which it has this reply.
async fn assert_skips_alone(reply: fn(&Request) -> Reply) -> String {
    let server = Server::start(move |_, request| match request.number("offset") {
        100 => reply(request),
        _ => good(request),
    })
    .await;
    let failure = client(&server).page(PageId(1)).await.unwrap_err();
    let asked = server.requests();
    let asked = asked.iter().filter(|r| r.number("offset") == 100).count();
    // As often as the policy of these tests allows.
    assert_eq!(asked, 3, "it is asked several times over: {failure}");
    assert_eq!(
        client(&server).page(PageId(2)).await.unwrap(),
        texts(200..300)
    );
    match failure.class() {
        ErrorClass::Skip { reason } => reason,
        class => panic!("{class:?}"),
    }
}

#[tokio::test]
async fn a_page_that_alone_cannot_be_had_is_skipped_with_the_reason() {
    let reason = assert_skips_alone(|_| error(404, Some("ResponseNotFound"))).await;
    assert!(reason.contains("404 ResponseNotFound"), "{reason}");
    let reason = assert_skips_alone(|request| {
        changed(request, |body| {
            body["rows"][7]["row"]["content"] = json!(42)
        })
    })
    .await;
    assert!(reason.contains("a number"), "{reason}");
    let reason =
        assert_skips_alone(|request| changed(request, |body| body["rows"] = json!([]))).await;
    assert!(reason.contains("0 rows instead of 100"), "{reason}");
}

#[tokio::test]
async fn a_refusal_that_passes_costs_no_page() {
    for reply in [
        |_: &Request| error(404, None),
        |request: &Request| changed(request, |body| body["rows"] = json!([])),
        |request: &Request| changed(request, |body| body["rows"][0]["row"]["content"] = json!(1)),
    ] {
        let served = std::sync::atomic::AtomicU32::new(0);
        let server = Server::start(move |_, request| {
            let is_page = request.number("length") == 100;
            if is_page && served.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 {
                reply(request)
            } else {
                good(request)
            }
        })
        .await;
        assert_eq!(
            client(&server).page(PageId(1)).await.unwrap(),
            texts(100..200)
        );
    }
}

#[tokio::test]
async fn rows_that_are_wrong_for_every_page_are_no_reason_to_skip_one() {
    let server =
        Server::start(|_, request| changed(request, |body| body["rows"] = json!([]))).await;
    let failure = client(&server).page(PageId(1)).await.unwrap_err();
    assert!(
        matches!(failure.class(), ErrorClass::Retry { .. }),
        "{failure}"
    );
}

#[tokio::test]
async fn a_partial_dataset_is_refused() {
    let failure =
        assert_fatal(|request| changed(request, |body| body["partial"] = json!(true))).await;
    assert!(matches!(failure, SourceError::Partial { .. }));
}

#[tokio::test]
async fn a_changed_revision_or_row_count_is_fatal() {
    let failure = assert_fatal(|request| Reply::Answer {
        status: 200,
        headers: vec![("x-revision", "ffff".into())],
        body: page(request).to_string(),
    })
    .await;
    let words = failure.to_string();
    assert!(
        words.contains(REVISION) && words.contains("ffff"),
        "{words}"
    );
    let failure =
        assert_fatal(|request| changed(request, |body| body["num_rows_total"] = json!(1016))).await;
    assert!(matches!(
        failure,
        SourceError::RowsChanged {
            pinned: ROWS,
            served: 1016,
            ..
        }
    ));
}

#[tokio::test]
async fn without_a_pinned_revision_the_first_answer_pins_it() {
    let server = Server::start(|number, request| Reply::Answer {
        status: 200,
        headers: vec![("x-revision", format!("revision {number}"))],
        body: page(request).to_string(),
    })
    .await;
    let client = DatasetViewer::new(dataset(), server.access()).unwrap();
    client.page(PageId(0)).await.unwrap();
    let failure = client.page(PageId(1)).await.unwrap_err();
    assert!(
        matches!(&failure, SourceError::RevisionChanged { pinned, served, .. }
            if pinned == "revision 0" && served == "revision 1"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_page_that_the_server_cannot_serve_is_skipped_with_the_reason() {
    let reason = assert_skips(|_| error(500, Some("TooBigContentError"))).await;
    assert!(reason.contains("TooBigContentError"), "{reason}");
    assert_skips(|_| error(501, Some("TooBigContentError"))).await;
    assert_skips(|_| error(501, None)).await;
}

#[tokio::test]
async fn a_truncated_text_skips_its_page_but_other_truncated_cells_do_not_matter() {
    let reason = assert_skips(|request| {
        changed(request, |body| {
            body["rows"][7]["truncated_cells"] = json!(["url", "content"])
        })
    })
    .await;
    assert!(reason.contains("row 107"), "{reason}");
    let server = Server::start(|_, request| {
        changed(request, |body| {
            body["rows"][7]["truncated_cells"] = json!(["url"])
        })
    })
    .await;
    assert!(client(&server).page(PageId(1)).await.is_ok());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_column_that_is_missing_or_no_text_is_fatal_and_named() {
    let server = Server::start(|_, request| good(request)).await;
    let config = ViewerConfig {
        column: "text".into(),
        ..pinned_dataset()
    };
    let failure = DatasetViewer::new(config, server.access())
        .unwrap()
        .page(PageId(0))
        .await
        .unwrap_err();
    assert_eq!(failure.class(), ErrorClass::Fatal);
    let words = failure.to_string();
    assert!(words.contains("`text`") && words.contains("content") && words.contains("dump"));

    let config = ViewerConfig {
        column: "image_urls".into(),
        ..pinned_dataset()
    };
    let failure = DatasetViewer::new(config, server.access())
        .unwrap()
        .page(PageId(0))
        .await
        .unwrap_err();
    assert!(failure.to_string().contains("an array"), "{failure}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    // A port that is bound and not listened on: nobody answers there, and nobody else gets it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}", socket.local_addr().unwrap());
    let server = Server::start(|_, request| good(request)).await;
    let access = ServerAccess {
        endpoint,
        ..server.access()
    };
    let failure = DatasetViewer::new(pinned_dataset(), access)
        .unwrap()
        .page(PageId(0))
        .await
        .unwrap_err();
    assert!(
        matches!(failure, SourceError::Unavailable { attempts: 3, .. }),
        "{failure}"
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let viewer = |endpoint: &str, token: &str| {
        let endpoint = endpoint.to_owned();
        let token = Some(Secret::new(token));
        DatasetViewer::new(
            dataset(),
            ServerAccess {
                endpoint,
                token,
                ..ServerAccess::default()
            },
        )
    };
    assert!(viewer("https://example.org/", "hf_x").is_ok());
    let failure = viewer("nowhere", "hf_x").unwrap_err();
    assert!(failure.to_string().contains("nowhere"), "{failure}");
    let failure = viewer("https://example.org", "hf\u{7}x").unwrap_err();
    assert!(failure.to_string().contains("token") && !failure.to_string().contains('\u{7}'));
}

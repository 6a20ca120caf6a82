//! Whole runs with a real coordinator and scripted workers.

use crate::bench::{Bench, Running, until_told, write_model};
use crate::worker::{End, FakeWorker, Leash, Quirks, join_request};
use client::{Download, RetryPolicy, Watch};
use proto::v1;
use serde_json::Value;

async fn worker(running: &Running, name: &str, quirks: Quirks) -> tokio::task::JoinHandle<End> {
    let worker = FakeWorker::join(&running.connection, name, quirks).await;
    tokio::spawn(worker.work())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_two_workers_completes_and_its_audit_is_clean() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(2)).await;
    let a = worker(&running, "a", Quirks::default()).await;
    let b = worker(&running, "b", Quirks::default()).await;
    let complete = End::Stopped(v1::stop::Reason::Complete);
    assert_eq!(a.await.unwrap(), complete);
    assert_eq!(b.await.unwrap(), complete);
    assert!(running.ended().await.success(), "{}", bench.log());

    let (audit, clean) = bench.ask(&["audit", "--json"]);
    assert!(clean, "{audit}");
    let total = &audit["total"];
    assert!(total["planned"].as_u64().unwrap() > 0);
    assert_eq!(total["trained"], total["planned"]);
    assert_eq!(total["repeated"], 0);
    assert_eq!(total["missed"], 0);
    assert_eq!(total["skipped"], 0);
    assert_eq!(audit["epochs"].as_array().unwrap().len(), 2);

    let (steps, _) = bench.ask(&["steps", "--json"]);
    let steps = steps.as_array().unwrap();
    let numbers: Vec<u64> = steps
        .iter()
        .map(|step| step["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..steps.len() as u64).collect::<Vec<_>>());
    assert_eq!(steps[1]["loss"], 5.0);
    assert_eq!(steps[1]["times"]["total"], 0.25);
    assert!(
        !bench.path("address").exists(),
        "the address is no longer true"
    );
    let left: Vec<_> = std::fs::read_dir(bench.state_dir().join("checkpoints"))
        .unwrap()
        .collect();
    assert_eq!(
        left.len(),
        2,
        "the two newest, of which one is the best, and nothing partial is left: {left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_told_which_pages_come_next_and_gets_them() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let cluster = || running.connection.cluster();
    let joined = cluster().join(join_request("newcomer")).await.unwrap();
    let context = joined.into_inner().context;
    let ask = || async {
        let request = v1::ComingPagesRequest {
            context: context.clone(),
        };
        let rows = cluster().coming_pages(request).await;
        rows.unwrap().into_inner().rows
    };
    assert_eq!(ask().await, [], "nobody trains yet");

    // It trains for as long as the rest of this takes.
    let quirks = Quirks {
        leash: Some(Leash::of(1)),
        ..Quirks::default()
    };
    let training = worker(&running, "a", quirks).await;
    let rows = until_told("rows of coming pages", async || {
        assert!(!training.is_finished(), "{}", bench.log());
        Some(ask().await).filter(|rows| !rows.is_empty())
    })
    .await;
    for row in rows {
        let request = v1::GetPageRequest {
            context: context.clone(),
            slot: row.slot,
        };
        let page = cluster().get_page(request).await.unwrap().into_inner();
        let page = ledger::PackedPage::decode(&page.packed).unwrap();
        let (_, row): (_, ledger::PageRow) = row.try_into().unwrap();
        assert_eq!(page.row(), row);
    }

    let of_another = v1::Context {
        run_id: "another".to_owned(),
        ..context.clone().unwrap_or_default()
    };
    let asked = v1::ComingPagesRequest {
        context: Some(of_another),
    };
    let refused = cluster().coming_pages(asked).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    training.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_shows_in_the_audit() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let quirks = Quirks {
        wrong_digest_at: Some(1),
        ..Quirks::default()
    };
    worker(&running, "a", quirks).await.await.unwrap();
    assert!(running.ended().await.success());
    let (audit, clean) = bench.ask(&["audit", "--json"]);
    assert!(!clean, "the exit code says so too");
    let violations = audit["violations"].as_array().unwrap();
    let words: Vec<&str> = violations.iter().map(|v| v.as_str().unwrap()).collect();
    assert!(
        words.iter().any(|words| words.contains("step 1")),
        "{words:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_gets_the_best_checkpoint_before_the_coordinator_goes() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let context = v1::Context::default();
    let policy = RetryPolicy::BRIEF;
    let mut watch = Watch::new(running.connection.clone(), context, "test", policy);
    // From before the run's end: after it the coordinator waits for those who watch,
    // and only for a second for one who has yet to come.
    let mut best = watch.next().await.unwrap().unwrap().best;
    let a = worker(&running, "a", Quirks::default()).await;
    a.await.unwrap();
    while let Some(state) = watch.next().await.unwrap() {
        best = state.best.or(best);
        if state.run_complete {
            break;
        }
    }
    let best = best.unwrap();
    let folder = bench.path("downloaded");
    std::fs::create_dir(&folder).unwrap();
    let download = Download::new(&running.connection, &best);
    download.into_dir(&folder).await.unwrap();
    let model = folder.join("model.safetensors");
    let kept = bench
        .state_dir()
        .join("checkpoints")
        .join(&best.checkpoint_id);
    let original = kept.join("model/model.safetensors");
    assert_eq!(
        std::fs::read(model).unwrap(),
        std::fs::read(original).unwrap()
    );
    assert!(kept.join("manifest.json").exists());
    drop(watch);
    assert!(running.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_coordinator_continues_from_its_latest_checkpoint() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    // The first epoch has a checkpoint at its end; the second is under way.
    let (undisturbed_first_epoch, _) = first_epoch_steps(&bench);
    let quirks = Quirks {
        stop_after: Some(undisturbed_first_epoch),
        ..Quirks::default()
    };
    let end = worker(&running, "a", quirks).await.await.unwrap();
    assert_eq!(end, End::Silent);
    running.kill();

    let running = bench.start(&bench.flags(1)).await;
    let status = running
        .connection
        .operator()
        .status(v1::StatusRequest {})
        .await
        .unwrap();
    let status = status.into_inner();
    assert_eq!(status.context.as_ref().unwrap().term, 2);
    assert!(status.latest_checkpoint.is_some(), "{}", bench.log());
    worker(&running, "a", Quirks::default())
        .await
        .await
        .unwrap();
    assert!(running.ended().await.success());
    let (audit, clean) = bench.ask(&["audit", "--json"]);
    assert!(clean, "{audit}");
    let (steps, _) = bench.ask(&["steps", "--json"]);
    let generations: Vec<u64> = numbers(&steps, "generation");
    assert!(
        generations.contains(&1) && generations.contains(&2),
        "{generations:?}"
    );
}

/// How many steps the first two epochs of the bench's run have.
pub(crate) fn first_epoch_steps(bench: &Bench) -> (u64, u64) {
    let config = ledger::OrderConfig {
        seed: 0,
        total_pages: 30,
        evaluation_pages: 1,
        pages_per_epoch: 3,
    };
    let order = ledger::Order::new(config).unwrap();
    let sequences = |epoch: u64| -> u64 {
        let ordinals = order.epoch_ordinals(epoch).map(ledger::Ordinal);
        let pages = ordinals.map(|ordinal| crate::worker::packed(order.page_at(ordinal)));
        pages.map(|page| u64::from(page.sequences())).sum()
    };
    assert!(bench.path("rows.jsonl").exists());
    (sequences(0).div_ceil(4), sequences(1).div_ceil(4))
}

fn numbers(steps: &Value, name: &str) -> Vec<u64> {
    let steps = steps.as_array().unwrap().iter();
    steps.map(|step| step[name].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_run_stays_complete_and_more_epochs_continue_it() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    worker(&running, "a", Quirks::default())
        .await
        .await
        .unwrap();
    assert!(running.ended().await.success());
    let (before, _) = bench.ask(&["steps", "--json"]);

    // There is nothing left to do.
    let again = bench.run_to_end(&bench.flags(1));
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{said}");

    let running = bench
        .start(&crate::bench::with(bench.flags(1), "--num_epochs", "3"))
        .await;
    worker(&running, "a", Quirks::default())
        .await
        .await
        .unwrap();
    assert!(running.ended().await.success());
    let (after, _) = bench.ask(&["steps", "--json"]);
    assert!(after.as_array().unwrap().len() > before.as_array().unwrap().len());
    assert!(bench.ask(&["audit", "--json"]).1);
}

#[tokio::test(flavor = "multi_thread")]
async fn loaded_weights_become_checkpoint_zero() {
    let bench = Bench::new();
    let model = bench.path("loaded");
    write_model(&model, &crate::bench::tiny_model(), 0.5);
    let mut flags = bench.flags(1);
    let index = flags
        .iter()
        .position(|flag| flag == "--model_config")
        .unwrap();
    flags.drain(index..index + 2);
    let flags = crate::bench::with(flags, "--load_model_dir", &model.display().to_string());
    let running = bench.start(&flags).await;
    let request = v1::GetCheckpointRequest {
        checkpoint_id: "initial".to_owned(),
        ..Default::default()
    };
    let manifest = running
        .connection
        .checkpoints()
        .get(request)
        .await
        .unwrap()
        .into_inner();
    assert!(
        manifest
            .files
            .iter()
            .any(|file| file.name == "model.safetensors")
    );
    let worker_ended = worker(&running, "a", Quirks::default()).await;
    worker_ended.await.unwrap();
    assert!(running.ended().await.success());
    assert!(bench.log().contains("loaded weights"), "{}", bench.log());
    // The same weights again contradict nothing.
    let again = bench.run_to_end(&flags);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_protocol_is_refused_with_both_versions() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let join = v1::JoinRequest {
        protocol_version: 77,
        ..join_request("a")
    };
    let status = running.connection.cluster().join(join).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    assert!(status.message().contains("version 77"), "{status}");
    assert!(
        status
            .message()
            .contains(&format!("version {}", proto::PROTOCOL_VERSION))
    );
    let join = v1::JoinRequest {
        run_id: "another".to_owned(),
        ..join_request("a")
    };
    let status = running.connection.cluster().join(join).await.unwrap_err();
    assert!(status.message().contains("another"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_texts_that_no_worker_has_are_refused_and_leave_no_trace() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let joins = [
        v1::JoinRequest {
            generation: u64::MAX,
            ..join_request("a")
        },
        v1::JoinRequest {
            term: u64::MAX,
            ..join_request("a")
        },
        v1::JoinRequest {
            instance: "x".repeat(2 << 20),
            ..join_request("a")
        },
    ];
    for join in joins {
        let status = running.connection.cluster().join(join).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    }
    let worker = FakeWorker::join(&running.connection, "a", Quirks::default()).await;
    let complete = End::Stopped(v1::stop::Reason::Complete);
    assert_eq!(worker.work().await, complete);
    assert!(running.ended().await.success(), "{}", bench.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_status_answer() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(2)).await;
    let mut health =
        tonic_health::pb::health_client::HealthClient::new(running.connection.channel());
    let request = tonic_health::pb::HealthCheckRequest {
        service: "peregrine.v1.Cluster".to_owned(),
    };
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(
        answer.status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );
    let address = running.address.to_string();
    let (status, _) = bench.ask(&["status", "--json", "--coordinator", &address]);
    assert_eq!(status["state"], "waiting");
    assert!(
        status["detail"]
            .as_str()
            .unwrap()
            .contains("2 more workers"),
        "{status}"
    );
    let (audit, clean) = bench.ask(&["audit", "--json", "--coordinator", &address]);
    assert!(clean, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_every_service() {
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    };

    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(running.connection.channel())
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<String> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in ["Cluster", "Checkpoints", "Operator"] {
        let name = format!("peregrine.v1.{service}");
        assert!(names.contains(&name), "{names:?}");
    }
}

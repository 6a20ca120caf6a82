//! The event log of real coordinators: kept, continued and followed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use client::Connection;
use proto::v1;
use proto::v1::events_request::Begin;
use serde_json::Value;

use crate::bench::{Bench, Running, until, until_told, with};
use crate::worker::{End, FakeWorker, Quirks, join_request};

async fn train(running: &Running, quirks: Quirks) -> End {
    let worker = FakeWorker::join(&running.connection, "a", quirks).await;
    worker.work().await
}

fn stored(bench: &Bench, arguments: &[&str]) -> Vec<Value> {
    let said = bench.say(&[&["events", "--json", "--state-dir", "state"], arguments].concat());
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn sequences(events: &[Value]) -> Vec<u64> {
    let sequence = |event: &Value| event["sequence"].as_u64().unwrap();
    events.iter().map(sequence).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

/// `coordinator events --follow`, and what it has printed.
struct Follower {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Follower {
    fn start(bench: &Bench, address: &str, arguments: &[&str]) -> Follower {
        let fixed = ["events", "--follow", "--json", "--coordinator", address];
        let arguments: Vec<String> = fixed
            .iter()
            .chain(arguments)
            .map(|argument| (*argument).to_owned())
            .collect();
        let mut child = bench
            .command(&arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (printed, stdout) = (lines.clone(), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap();
                printed.lock().unwrap().push(event);
            }
        });
        Follower { child, lines }
    }

    /// How many events of a kind it has shown.
    fn shown(&self, kind: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|event| event["kind"] == kind).count()
    }

    /// Waits until it has shown so many events of a kind.
    async fn shows(&self, kind: &str, times: usize) {
        until(&format!("the follower to show {kind}"), || {
            (self.shown(kind) >= times).then_some(())
        })
        .await;
    }

    /// Everything that it printed, once it has ended by itself.
    async fn ended(mut self) -> Vec<Value> {
        let status = until("the follower to end", || self.child.try_wait().unwrap()).await;
        assert!(status.success());
        // The reader thread has the other clone until it has read everything.
        until("the last lines", || {
            (Arc::strong_count(&self.lines) == 1).then_some(())
        })
        .await;
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_tells_its_story_in_order() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    train(&running, Quirks::default()).await;
    assert!(running.ended().await.success());

    let events = stored(&bench, &[]);
    assert_eq!(
        sequences(&events),
        (1..=events.len() as u64).collect::<Vec<_>>()
    );
    let kinds = kinds(&events);
    // The evaluation is told in the session, and the checkpoint comes by a call of its
    // own: either may be heard of first.
    for epochs_end in ["evaluated", "checkpoint-kept"] {
        let story = [
            "coordinator-started",
            "worker-joined",
            "generation-formed",
            "generation-running",
            "step",
            "epoch-trained",
            epochs_end,
            "run-complete",
            "coordinator-stopped",
        ];
        let first_seen = story.map(|kind| kinds.iter().position(|seen| *seen == kind));
        assert!(first_seen.iter().all(Option::is_some), "{kinds:?}");
        assert!(first_seen.is_sorted(), "{kinds:?}");
    }
    assert_eq!(events[0]["new_run"], true);
    assert_eq!(events.last().unwrap()["outcome"], "complete");

    let (steps, _) = bench.ask(&["steps", "--json"]);
    let numbers: Vec<&Value> = steps
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["number"])
        .collect();
    let told = events.iter().filter(|event| event["kind"] == "step");
    let told: Vec<&Value> = told.map(|event| &event["step"]).collect();
    assert_eq!(told, numbers, "each step is told once");

    // What people read in the log is what the event log says.
    let log = bench.log();
    for event in &events {
        let text = event["text"].as_str().unwrap();
        let shown = event["kind"] != "step" && event["severity"] != "debug";
        assert!(!shown || log.contains(text), "{text}\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_choose_what_they_see() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    train(&running, Quirks::default()).await;
    assert!(running.ended().await.success());

    let all = stored(&bench, &[]);
    assert_eq!(stored(&bench, &["--last", "3"]), all[all.len() - 3..]);
    assert_eq!(stored(&bench, &["--from", "4"]), all[3..]);
    let kept = stored(
        &bench,
        &["--kind", "checkpoint-kept", "--kind", "evaluated"],
    );
    assert_eq!(kept.len(), 4, "two epochs");
    let newest = stored(&bench, &["--kind", "checkpoint-kept", "--last", "1"]);
    let last_kept = kept
        .iter()
        .rfind(|event| event["kind"] == "checkpoint-kept");
    assert_eq!(newest[0]["checkpoint"], last_kept.unwrap()["checkpoint"]);

    let lines = bench.say(&["events", "--state-dir", "state", "--last", "1"]);
    let (time, text) = lines.trim_end().split_once("  ").unwrap();
    assert!(time.ends_with('Z') && time.contains(' '), "{time}");
    assert_eq!(text, all.last().unwrap()["text"]);
    let mistyped = ["events", "--state-dir", "state", "--kind", "x"].map(str::to_owned);
    let output = bench.command(&mistyped).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("generation-formed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_misses_nothing_and_sees_nothing_twice_over_a_killed_coordinator() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let address = running.address.to_string();
    let everything = Follower::start(&bench, &address, &[]);
    let from_now_on = Follower::start(&bench, &address, &["--last", "0"]);
    let starts = Follower::start(&bench, &address, &["--kind", "coordinator-started"]);
    everything.shows("coordinator-started", 1).await;
    starts.shows("coordinator-started", 1).await;
    // It shows nothing of what was before: that it follows is seen when something
    // happens.
    until_told("the one who follows from now on", async || {
        let joined = running.connection.cluster().join(join_request("a")).await;
        joined.unwrap();
        (from_now_on.shown("worker-joined") > 0).then_some(())
    })
    .await;
    let quirks = Quirks {
        stop_after: Some(2),
        ..Quirks::default()
    };
    assert_eq!(train(&running, quirks).await, End::Silent);
    everything.shows("step", 1).await;
    from_now_on.shows("step", 1).await;
    running.kill();

    // On the same port, as a supervisor would start it.
    let running = bench
        .start(&with(bench.flags(1), "--listen", &address))
        .await;
    // Who is not back before the run is complete may find nobody any more.
    everything.shows("coordinator-started", 2).await;
    from_now_on.shows("coordinator-started", 1).await;
    starts.shows("coordinator-started", 2).await;
    train(&running, Quirks::default()).await;
    let (seen, seen_late, starts) = (
        everything.ended().await,
        from_now_on.ended().await,
        starts.ended().await,
    );
    assert!(running.ended().await.success());

    let stored = stored(&bench, &[]);
    let complete = kinds(&stored)
        .iter()
        .position(|kind| *kind == "run-complete");
    let until_complete = &stored[..=complete.unwrap()];
    assert!(seen.starts_with(until_complete), "{:?}", sequences(&seen));
    assert!(stored.starts_with(&seen), "{:?}", sequences(&seen));
    let first_late = sequences(&seen_late)[0] as usize;
    assert!(stored[first_late - 1..].starts_with(&seen_late));
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[1]["unclean"], true);
    assert_eq!(starts[1]["term"], 2);
    assert!(starts[1]["steps"].as_u64().unwrap() > 0);
}

async fn newest_sequence(connection: &Connection) -> u64 {
    let request = v1::EventsRequest {
        begin: Some(Begin::Last(1)),
        follow: true,
        ..Default::default()
    };
    let mut answers = connection
        .operator()
        .events(request)
        .await
        .unwrap()
        .into_inner();
    // The first answer of a run that has only begun may hold none.
    loop {
        let answer = answers.message().await.unwrap().unwrap();
        if let Some(event) = answer.events.first() {
            return event.sequence;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_holds_nobody_up() {
    let bench = Bench::new();
    let running = bench.start(&bench.flags(1)).await;
    let request = v1::EventsRequest {
        follow: true,
        ..Default::default()
    };
    let mut unread = Vec::new();
    for _ in 0..4 {
        let answers = running.connection.operator().events(request.clone()).await;
        unread.push(answers.unwrap().into_inner());
    }
    // As long as somebody watches checkpoints, the coordinator stays to be asked.
    let watch = v1::WatchRequest::default();
    let watching = running.connection.checkpoints().watch(watch).await;
    let watching = watching.unwrap();
    let before = newest_sequence(&running.connection).await;
    assert_eq!(
        train(&running, Quirks::default()).await,
        End::Stopped(v1::stop::Reason::Complete)
    );
    assert!(newest_sequence(&running.connection).await > before + 10);
    // Late, and whole.
    for mut answers in unread {
        let mut next = 1;
        while let Some(answer) = answers.message().await.unwrap() {
            for event in answer.events {
                assert_eq!(event.sequence, next);
                next += 1;
            }
            if answer.run_over {
                break;
            }
        }
        assert!(next > before + 10);
    }
    drop(watching);
    assert!(running.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_go_and_a_reader_of_another_run_is_refused() {
    let bench = Bench::new();
    let flags = with(bench.flags(1), "--keep-events", "5");
    let running = bench.start(&flags).await;
    let request = v1::EventsRequest {
        context: Some(v1::Context {
            run_id: "another".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = running.connection.operator().events(request).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::FailedPrecondition);

    train(&running, Quirks::default()).await;
    assert!(running.ended().await.success());
    let events = stored(&bench, &[]);
    let sequences = sequences(&events);
    assert!((5..=20).contains(&sequences.len()), "{sequences:?}");
    assert!(sequences[0] > 5, "{sequences:?}");
    assert_eq!(events.last().unwrap()["kind"], "coordinator-stopped");
}

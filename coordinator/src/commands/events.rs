//! `coordinator events`.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use cli::{Failure, Reader};
use client::{Connection, RetryPolicy};
use proto::v1;
use proto::v1::events_request::Begin;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{StoredRun, aside, call_failed, connect, store_failed, unless_interrupted};
use crate::args::EventsArgs;
use crate::store::RunStore;

/// How a follower comes back to a coordinator that went away: quickly, for it
/// shows what happens now, and for as long as it takes.
const RECONNECTING: RetryPolicy = RetryPolicy {
    first_wait: Duration::from_millis(100),
    longest_wait: Duration::from_secs(2),
    give_up_after: None,
};

/// Events read from a store at a time.
const EVENTS_AT_ONCE: u64 = 4096;
/// The last millisecond that dates are written for: of the year 9999.
const LATEST_UNIX_MS: u64 = 253_402_300_799_999;

/// Prints what happened in the run.
///
/// # Errors
/// If the coordinator cannot be reached, or its state cannot be read; if a signal
/// came before all was printed, unless it was to go on until then.
pub async fn events(args: EventsArgs, shutdown: CancellationToken) -> Result<(), Failure> {
    if args.follow {
        // Whoever follows ends it like this.
        let followed = shutdown.run_until_cancelled(show(args)).await;
        return followed.unwrap_or(Ok(()));
    }
    let what = "before every event was printed";
    unless_interrupted(&shutdown, what, show(args)).await
}

async fn show(args: EventsArgs) -> Result<(), Failure> {
    if let Some(run) = StoredRun::open(&args.subject).await? {
        return aside(move || print_stored(&run.store, &args)).await?;
    }
    let connection = connect(&args.subject.coordinator).await?;
    Follower::new(connection, &args).print().await
}

fn print_stored(store: &RunStore, args: &EventsArgs) -> Result<(), Failure> {
    let bounds = store.event_bounds().map_err(store_failed)?;
    let wanted = |event: &v1::Event| {
        args.kinds.is_empty() || args.kinds.iter().any(|kind| kind.as_str() == event.kind)
    };
    let mut first = match (args.last, args.from) {
        (Some(count), _) => {
            let begin = store.newest_events_begin(bounds, count, wanted);
            begin.map_err(store_failed)?
        }
        (None, from) => from.unwrap_or(0).max(bounds.oldest),
    };
    while first < bounds.next {
        let end = bounds.next.min(first + EVENTS_AT_ONCE);
        let events = store.events(first, end).map_err(store_failed)?;
        let printed = print(events.iter().filter(|event| wanted(event)), args.json)?;
        if printed == Reader::Gone {
            return Ok(());
        }
        first = end;
    }
    Ok(())
}

/// Prints a running coordinator's events, each once.
struct Follower<'a> {
    connection: Connection,
    args: &'a EventsArgs,
    request: v1::EventsRequest,
}

/// How a stream of events ended.
enum End {
    /// With everything that was asked for.
    Whole,
    /// Before that; the next attempt goes on behind what was printed.
    Cut { reason: String, got_somewhere: bool },
}

impl<'a> Follower<'a> {
    fn new(connection: Connection, args: &'a EventsArgs) -> Follower<'a> {
        let begin = match (args.last, args.from) {
            (Some(count), _) => Some(Begin::Last(count)),
            (None, from) => from.map(Begin::FromSequence),
        };
        let kinds = args.kinds.iter().map(|kind| kind.as_str().to_owned());
        Follower {
            connection,
            args,
            request: v1::EventsRequest {
                context: None,
                begin,
                follow: args.follow,
                kinds: kinds.collect(),
            },
        }
    }

    async fn print(mut self) -> Result<(), Failure> {
        let mut waits = RECONNECTING.waits();
        loop {
            let (reason, got_somewhere) = match self.print_stream().await? {
                End::Whole => return Ok(()),
                End::Cut {
                    reason,
                    got_somewhere,
                } => (reason, got_somewhere),
            };
            if got_somewhere {
                waits = RECONNECTING.waits();
            }
            // The policy never gives up.
            let wait = waits.next().unwrap_or(RECONNECTING.longest_wait);
            tracing::info!(
                "following events: {reason}; trying again in {:.1} s",
                wait.as_secs_f64()
            );
            self.connection.pause(wait).await;
        }
    }

    async fn print_stream(&mut self) -> Result<End, Failure> {
        let mut got_somewhere = false;
        let mut operator = self.connection.operator();
        let mut answers = match operator.events(self.request.clone()).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return self.cut(status, got_somewhere),
        };
        loop {
            let answer = match answers.message().await {
                Ok(Some(answer)) => answer,
                Ok(None) if !self.args.follow => return Ok(End::Whole),
                Ok(None) => {
                    return Ok(End::Cut {
                        reason: "the coordinator stopped, and the run is not over".to_owned(),
                        got_somewhere,
                    });
                }
                Err(status) => return self.cut(status, got_somewhere),
            };
            got_somewhere = true;
            if let Some(Begin::FromSequence(from)) = self.request.begin
                && from < answer.oldest_sequence
                && from > 0
            {
                tracing::warn!(
                    "events {from} to {} are no longer kept",
                    answer.oldest_sequence - 1
                );
            }
            if print(answer.events.iter(), self.args.json)? == Reader::Gone {
                return Ok(End::Whole);
            }
            // The next stream continues this one, of the same run.
            self.request.context = answer.context;
            self.request.begin = Some(Begin::FromSequence(answer.next_sequence));
            if answer.run_over && self.args.follow {
                return Ok(End::Whole);
            }
        }
    }

    fn cut(&self, status: tonic::Status, got_somewhere: bool) -> Result<End, Failure> {
        let can_come_back = !matches!(
            status.code(),
            Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented
        );
        if self.args.follow && can_come_back {
            let reason = status.message().to_owned();
            return Ok(End::Cut {
                reason,
                got_somewhere,
            });
        }
        Err(call_failed(status))
    }
}

fn print<'a>(
    events: impl Iterator<Item = &'a v1::Event>,
    as_json_lines: bool,
) -> Result<Reader, io::Error> {
    cli::print(|out| {
        for event in events {
            match as_json_lines {
                true => writeln!(out, "{}", as_json(event))?,
                false => writeln!(out, "{}", as_line(event))?,
            }
        }
        Ok(())
    })
}

/// The names of the protocol, with the event's own fields beside them.
fn as_json(event: &v1::Event) -> Value {
    let mut object = json!({
        "sequence": event.sequence,
        "unix_ms": event.unix_ms,
        "time": time(event),
        "term": event.term,
        "kind": event.kind,
        "severity": event.severity,
        "text": event.text,
    });
    let fields = serde_json::from_str(&event.fields).unwrap_or_default();
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
        object.extend(fields);
    }
    object
}

fn as_line(event: &v1::Event) -> String {
    let marker = match event.severity.as_str() {
        "warning" => "warning: ",
        "error" => "error: ",
        _ => "",
    };
    format!("{}  {marker}{}", time(event).replace('T', " "), event.text)
}

/// `2026-11-22T18:03:04Z`.
fn time(event: &v1::Event) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(event.unix_ms.min(LATEST_UNIX_MS));
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> v1::Event {
        v1::Event {
            sequence: 41,
            unix_ms: 1_795_370_584_789,
            term: 2,
            kind: "generation-formed".to_owned(),
            severity: "warning".to_owned(),
            text: "generation 7 formed of a, b".to_owned(),
            fields: r#"{"generation":7,"members":["a","b"]}"#.to_owned(),
        }
    }

    #[test]
    fn a_line_for_people_has_the_time_and_the_text() {
        assert_eq!(
            as_line(&event()),
            "2026-11-22 18:03:04Z  warning: generation 7 formed of a, b"
        );
    }

    #[test]
    fn a_line_for_scripts_has_the_fields_beside_what_every_event_has() {
        let expected = json!({
            "sequence": 41,
            "unix_ms": 1_795_370_584_789_u64,
            "time": "2026-11-22T18:03:04Z",
            "term": 2,
            "kind": "generation-formed",
            "severity": "warning",
            "text": "generation 7 formed of a, b",
            "generation": 7,
            "members": ["a", "b"],
        });
        assert_eq!(as_json(&event()), expected);
        assert!(!as_json(&event()).to_string().contains('\n'));
    }

    #[test]
    fn a_clock_gone_mad_is_still_printed() {
        let event = v1::Event {
            unix_ms: u64::MAX,
            ..event()
        };
        assert!(as_line(&event).starts_with("9999-12-31 23:59:59Z"));
    }
}

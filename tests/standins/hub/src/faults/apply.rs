//! How a fault changes the course of a request.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::connection::CutAfter;

use super::{Action, Answer, Injected, Moment, Verdict};

/// Why a request goes no further.
pub(crate) enum Stop {
    /// The connection is to be cut.
    Cut,
    /// This is its answer.
    Answer(Response),
}

/// What a fault does before the request has its effect.
pub(crate) async fn before(injected: &Injected) -> Result<(), Stop> {
    reach(injected, Moment::Before).await
}

/// What a fault does to the answer, once the request has had its effect.
pub(crate) async fn after(injected: &Injected, mut response: Response) -> Result<Response, Stop> {
    reach(injected, Moment::After).await?;
    Ok(match injected.fault().action {
        Action::SlowBody(bytes_per_second) => response.map(|body| slow(body, bytes_per_second)),
        Action::CutBody(bytes) => {
            response.extensions_mut().insert(CutAfter(bytes));
            response
        }
        Action::WrongBytes => response.map(wrong),
        Action::Cut(_) | Action::Answer(..) | Action::Hold(_) | Action::NoXet => response,
    })
}

async fn reach(injected: &Injected, now: Moment) -> Result<(), Stop> {
    match &injected.fault().action {
        Action::Cut(moment) if *moment == now => Err(Stop::Cut),
        Action::Answer(moment, answer) if *moment == now => Err(Stop::Answer(respond(answer))),
        Action::Hold(moment) if *moment == now => match injected.hold().await {
            Verdict::GoOn => Ok(()),
            Verdict::Discard => Err(Stop::Cut),
        },
        _ => Ok(()),
    }
}

fn respond(answer: &Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body.clone()));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Sends `body` in tenths of a second.
fn slow(body: Body, bytes_per_second: u32) -> Body {
    let share = usize::try_from(bytes_per_second / 10)
        .unwrap_or(usize::MAX)
        .max(1);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let Ok(mut chunk) = chunk else {
                let _ = sender.send(chunk).await;
                return;
            };
            while !chunk.is_empty() {
                let part = chunk.split_to(share.min(chunk.len()));
                if sender.send(Ok(part)).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

fn wrong(body: Body) -> Body {
    Body::from_stream(
        body.into_data_stream()
            .map(|chunk| chunk.map(|bytes| bytes.iter().map(|byte| !byte).collect::<Bytes>())),
    )
}

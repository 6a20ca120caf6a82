//! A gRPC channel that leads to whoever leads.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use proto::LEADER_METADATA;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

use crate::peers::{Peers, Route};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The way to the coordinator that leads. A call goes to the one believed to;
/// when another turns out to lead, calls and streams under way end with
/// `UNAVAILABLE`, and the next ones go there.
#[derive(Clone)]
pub struct LeaderChannel {
    peers: Arc<Peers>,
}

impl LeaderChannel {
    pub(crate) fn new(peers: Arc<Peers>) -> LeaderChannel {
        LeaderChannel { peers }
    }
}

impl fmt::Debug for LeaderChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderChannel").finish_non_exhaustive()
    }
}

impl Service<http::Request<Body>> for LeaderChannel {
    type Response = http::Response<Body>;
    type Error = BoxError;
    type Future = Pending<Result<http::Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(call(Arc::clone(&self.peers), request))
    }
}

async fn call(
    peers: Arc<Peers>,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, BoxError> {
    let Route {
        address,
        mut channel,
        epoch,
    } = peers.route();
    let answering = async { channel.ready().await?.call(request).await };
    if !peers.follows() {
        return Ok(answering.await?);
    }
    let left_behind = format!("the coordinator at {address} is no longer followed");
    let mut doubts = Doubts {
        moved: Box::pin(peers.moved_since(epoch)),
        silence: Box::pin(sleep(peers.silence())),
        watched: peers.has_others(),
        left_behind,
        peers: Arc::clone(&peers),
        epoch,
    };
    tokio::pin!(answering);
    let answer = tokio::select! {
        answer = &mut answering => answer,
        status = doubts.cut() => return Err(status.into()),
    };
    let response = answer.inspect_err(|_| peers.doubt(epoch))?;
    doubts.look_at(response.headers());
    doubts.heard();
    Ok(response.map(|body| Body::new(Followed { body, doubts })))
}

/// What may end a call or a stream from this side.
struct Doubts {
    moved: Pending<()>,
    silence: Pin<Box<Sleep>>,
    /// Whether silence matters: somebody else could lead.
    watched: bool,
    left_behind: String,
    peers: Arc<Peers>,
    epoch: u64,
}

impl Doubts {
    /// Ends when another peer is followed.
    fn cut(&mut self) -> impl Future<Output = Status> + '_ {
        std::future::poll_fn(|context| self.poll_cut(context))
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<Status> {
        if self.moved.as_mut().poll(context).is_ready() {
            return Poll::Ready(Status::unavailable(self.left_behind.as_str()));
        }
        while self.watched && self.silence.as_mut().poll(context).is_ready() {
            self.peers.doubt(self.epoch);
            self.heard();
        }
        Poll::Pending
    }

    /// Something came.
    fn heard(&mut self) {
        if self.watched {
            self.silence
                .as_mut()
                .reset(Instant::now() + self.peers.silence());
        }
    }

    /// Whether a coordinator says here that it does not lead.
    fn look_at(&self, metadata: &http::HeaderMap) {
        if let Some(leader) = metadata.get(LEADER_METADATA) {
            if let Some(leader) = leader.to_str().ok().and_then(|text| text.parse().ok()) {
                self.peers.learn(&leader);
            }
            self.peers.doubt(self.epoch);
        }
    }
}

/// An answer's body, as long as whoever sends it is followed.
struct Followed {
    body: Body,
    doubts: Doubts,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                this.doubts.heard();
                if let Some(trailers) = frame.trailers_ref() {
                    this.doubts.look_at(trailers);
                }
            }
            Poll::Ready(Some(Err(_))) => this.doubts.peers.doubt(this.doubts.epoch),
            Poll::Ready(None) => {}
            Poll::Pending => {
                if let Poll::Ready(status) = this.doubts.poll_cut(context) {
                    return Poll::Ready(Some(Err(status)));
                }
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

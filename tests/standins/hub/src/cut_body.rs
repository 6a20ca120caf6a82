//! Answers that end within their body.
//!
//! hyper ends a connection when a body fails, and forgets what it has not written
//! by then, the head of the answer as well. So a body that is cut waits, before it
//! fails, until all that it gave has been written.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How often everything that was to be sent on a connection has been written.
pub(crate) type Flushes = watch::Receiver<u64>;

/// A connection that counts how often everything has been written.
pub(crate) struct NotingFlushes {
    stream: TcpStream,
    count: watch::Sender<u64>,
}

impl NotingFlushes {
    pub(crate) fn new(stream: TcpStream) -> (NotingFlushes, Flushes) {
        let (count, flushes) = watch::channel(0);
        (NotingFlushes { stream, count }, flushes)
    }
}

impl AsyncRead for NotingFlushes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for NotingFlushes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper asks for it when its own buffer is empty.
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.count.send_modify(|count| *count += 1);
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The first bytes of a body, and then, when they have been written, a failure.
pub(crate) struct CutBody {
    body: Body,
    left: u64,
    end: End,
}

enum End {
    /// There are bytes to be given.
    Ahead(Flushes),
    /// They were given and are to be written.
    Near(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl CutBody {
    /// `flushes` are those of the connection that the body is sent on.
    pub(crate) fn new(body: Body, bytes: u64, flushes: Flushes) -> CutBody {
        CutBody {
            body,
            left: bytes,
            end: End::Ahead(flushes),
        }
    }

    /// Ready when everything has been written that was given before the first call.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let End::Ahead(flushes) = &self.end {
            let mut flushes = flushes.clone();
            flushes.mark_unchanged();
            self.end = End::Near(Box::pin(async move {
                // An error says that the connection is gone.
                let _ = flushes.changed().await;
            }));
        }
        match &mut self.end {
            End::Ahead(_) => Poll::Ready(()),
            End::Near(written) => written.as_mut().poll(cx),
        }
    }
}

impl hyper::body::Body for CutBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left > 0 {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_data() => {
                    let left = self.left;
                    let frame = frame.map_data(|mut bytes| {
                        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                        bytes
                    });
                    let given = frame.data_ref().map_or(0, Bytes::len);
                    self.left -= given as u64;
                    return Poll::Ready(Some(Ok(frame)));
                }
                _ => self.left = 0,
            }
        }
        ready!(self.poll_written(cx));
        // An error in a body is the one way to end a connection within an answer.
        Poll::Ready(Some(Err("injected fault: cut".into())))
    }
}

//! A proxy between client and etcd that can lose an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Passes everything on, but for answers that it is told to swallow: then the
/// connection is cut instead.
pub(super) struct Proxy {
    endpoint: String,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    to_swallow: AtomicUsize,
    swallowed: AtomicUsize,
}

impl Proxy {
    pub(super) async fn start(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let counts = Arc::new(Counts::default());
        let accepting = tokio::spawn({
            let counts = counts.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    if let Ok(server) = TcpStream::connect(&server).await {
                        tokio::spawn(pass_on(client, server, counts.clone()));
                    }
                }
            }
        });
        Proxy {
            endpoint,
            counts,
            accepting,
        }
    }

    pub(super) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// The next answer is lost, with its connection.
    pub(super) fn swallow_an_answer(&self) {
        self.counts.to_swallow.fetch_add(1, Ordering::AcqRel);
    }

    /// How many were.
    pub(super) fn swallowed(&self) -> usize {
        self.counts.swallowed.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// HTTP/2's settings and acknowledgements come in small frames; an answer to a
/// transaction has headers and a body.
const SMALL: usize = 60;

async fn pass_on(client: TcpStream, server: TcpStream, counts: Arc<Counts>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
        if length > SMALL && take_one(&counts.to_swallow) {
            counts.swallowed.fetch_add(1, Ordering::AcqRel);
            break;
        }
        if to_client.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    requests.abort();
}

fn take_one(counter: &AtomicUsize) -> bool {
    let taken = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
        count.checked_sub(1)
    });
    taken.is_ok()
}

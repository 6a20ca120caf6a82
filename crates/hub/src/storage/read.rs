//! Files as the storage puts them together, for where plain downloads fail.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;
use xet::XetError;
use xet::xet_session::XetFileInfo;

use super::{Entrance, OwnRuntime, failed, from_xet, session, xet_config};
use crate::{HubConfig, HubError, TransferKind};

/// Pieces of a file that are in memory beside what the library buffers.
const PIECES: usize = 2;

/// A part of a file, arriving. Dropping it ends the transfer.
pub(crate) struct Reader {
    pieces: mpsc::Receiver<Result<Bytes, HubError>>,
    silence: Duration,
    _runtime: OwnRuntime,
}

impl Reader {
    /// Begins to read the file with this name in the storage from an offset to
    /// `end`.
    pub(crate) fn start(
        config: &HubConfig,
        entrance: Entrance,
        file: XetFileInfo,
        offset: u64,
        end: u64,
    ) -> Result<Self, HubError> {
        let runtime = OwnRuntime::start()?;
        let (sender, pieces) = mpsc::channel(PIECES);
        let dir = config.cache_dir.join("xet").join("reading");
        let xet = xet_config(config, true);
        let throttled_wait = config.waits.untold_wait;
        runtime.spawn(async move {
            let read = async {
                let renew_headers = entrance.renew_headers();
                let group = session(xet, dir)?
                    .new_download_stream_group()?
                    .with_endpoint(entrance.access.cas_url)
                    .with_custom_headers(Entrance::headers())
                    .with_token_info(entrance.access.token, entrance.access.expires)
                    .with_token_refresh_url(entrance.renew_at, renew_headers)
                    .build()
                    .await?;
                let mut stream = group.download_stream(file, Some(offset..end)).await?;
                while let Some(piece) = stream.next().await? {
                    if sender.send(Ok(piece)).await.is_err() {
                        break;
                    }
                }
                Ok::<(), XetError>(())
            };
            if let Err(error) = read.await {
                // Nobody listens any more if this fails.
                let _ = sender.send(Err(from_xet(&error, throttled_wait))).await;
            }
        })?;
        Ok(Self {
            pieces,
            silence: config.timeouts.silence,
            _runtime: runtime,
        })
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, HubError> {
        match timeout(self.silence, self.pieces.recv()).await {
            Ok(piece) => piece.transpose(),
            Err(_) => Err(failed(
                format!("nothing has come for {} seconds", self.silence.as_secs()),
                TransferKind::Passing,
            )),
        }
    }
}

//! What only etcd can do, or suffer: on a real one.

mod election;
mod faults;
mod large;
mod processes;
mod proxy;
mod security;

use std::time::Duration;

use local_cluster::EtcdServer;
use tempfile::TempDir;

use super::*;

/// A lease that no test outlives.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// A lease whose end can be waited for, and that a machine which stands still for
/// some seconds does not end.
const MEDIUM: Duration = Duration::from_secs(10);
/// The shortest that etcd grants with the tests' election timeout.
const SHORT: Duration = Duration::from_secs(2);

/// A real etcd with an empty folder.
pub(crate) struct Real {
    pub(crate) server: EtcdServer,
    /// Removed when the test ends.
    _folder: TempDir,
}

impl Real {
    /// `None`, said loudly, where there is no etcd.
    pub(crate) fn start(test: &str) -> Option<Real> {
        if !EtcdServer::is_there_for(test) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let server = EtcdServer::start(folder.path()).unwrap();
        Some(Real {
            server,
            _folder: folder,
        })
    }

    pub(crate) fn config(&self) -> EtcdConfig {
        config(&[self.server.endpoint()])
    }

    pub(crate) async fn connect(&self) -> Etcd {
        Etcd::connect(&self.config()).await.unwrap()
    }
}

/// The configuration of a client. It does not give up before it has been stopped for
/// longer than [`MEDIUM`], or because the machine stands still for some seconds.
pub(crate) fn config(endpoints: &[String]) -> EtcdConfig {
    let url = format!("etcd://{}/test", endpoints.join(","));
    let StoreUrl::Etcd(url) = url.parse().unwrap() else {
        panic!("{url} is etcd's");
    };
    EtcdConfig {
        patience: Duration::from_secs(60),
        ..EtcdConfig::new(url)
    }
}

fn batch(pairs: &[(&str, &str)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.put(key.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    batch
}

/// Commits from a thread where blocking is nobody's business, as the driver does.
async fn commit(keyspace: &FencedEtcd, batch: Batch) -> Result<(), StoreError> {
    let keyspace = keyspace.clone();
    let committed = tokio::task::spawn_blocking(move || keyspace.commit(batch));
    committed.await.unwrap()
}

fn everything(keyspace: &impl Keyspace) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let pairs = keyspace.scan(b"", b"\xff").unwrap();
    pairs
        .into_iter()
        .map(|(key, value)| (text(key), text(value)))
        .collect()
}

//! `--store-port`: a port of its own for every worker of the machine.
//!
//! Rank 0 holds its port for as long as a generation lasts. Workers that shared
//! one could not tell a sibling's store from a stranger's.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use cli::Refused;
use tokio::time::{Instant, sleep};

/// How long a process that is on its way out may still hold a port.
const PREDECESSOR: Duration = Duration::from_secs(5);
/// How often to try again.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a port may be taken before that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as a worker that was killed takes to be gone: this one may have
    /// been started in its place.
    ForPredecessor,
    /// For ever: it was free once and will be again.
    Endless,
}

/// The port of each worker: `first` and those after it; all 0, which lets the
/// system choose, if `first` is.
///
/// # Errors
/// If there are not so many ports from there on.
pub(crate) fn of_each(first: u16, workers: usize) -> Result<Vec<u16>, Refused> {
    if first == 0 {
        return Ok(vec![0; workers]);
    }
    let ports: Vec<u16> = (first..=u16::MAX).take(workers).collect();
    if ports.len() < workers {
        return Err(Refused::new(format!(
            "--store-port {first}: {workers} workers need a port each, and there are {} from \
             there on; choose a lower one, or 0 to let the system choose",
            ports.len()
        )));
    }
    Ok(ports)
}

/// Waits until every one of `ports` can be listened on.
///
/// # Errors
/// If one cannot, or is taken for longer than `patience`.
pub(crate) async fn expect_free(ports: &[u16], patience: Patience) -> Result<(), Refused> {
    let started = Instant::now();
    for &port in ports.iter().filter(|port| **port != 0) {
        let mut told = false;
        while let Err(error) = TcpListener::bind(("0.0.0.0", port)) {
            let may_wait = patience == Patience::Endless || started.elapsed() < PREDECESSOR;
            if error.kind() != io::ErrorKind::AddrInUse || !may_wait {
                return Err(Refused::new(format!(
                    "--store-port: port {port}: {error}; choose a port that is free, or 0 to let \
                     the system choose"
                )));
            }
            if !told {
                tracing::warn!("--store-port: port {port}: {error}; waiting for it");
                told = true;
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Listens on the port for a generation's store, once the store of a generation
/// before is gone: that one is taken down in the background, after the network
/// has given up on peers that do not answer. Gives up when `patience` has passed
/// or `is_over` says so.
///
/// # Errors
/// If the port cannot be listened on by then.
pub(crate) fn listen(
    port: u16,
    patience: Duration,
    is_over: impl Fn() -> bool,
) -> io::Result<TcpListener> {
    let started = std::time::Instant::now();
    let mut told = false;
    loop {
        let error = match TcpListener::bind(("0.0.0.0", port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let may_wait = started.elapsed() < patience && !is_over();
        if error.kind() != io::ErrorKind::AddrInUse || !may_wait {
            return Err(error);
        }
        if !told {
            tracing::warn!("--store-port: port {port}: {error}; waiting for it");
            told = true;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn each_worker_has_a_port_of_its_own_unless_the_system_chooses() {
        assert_eq!(of_each(0, 3).unwrap(), [0, 0, 0]);
        assert_eq!(of_each(7000, 1).unwrap(), [7000]);
        assert_eq!(of_each(7000, 3).unwrap(), [7000, 7001, 7002]);
        assert_eq!(of_each(u16::MAX - 1, 2).unwrap(), [u16::MAX - 1, u16::MAX]);
        let refusal = of_each(u16::MAX - 1, 3).unwrap_err().to_string();
        assert!(refusal.contains("--store-port 65534"), "{refusal}");
    }

    #[tokio::test]
    async fn a_port_is_waited_for_until_its_holder_is_gone() {
        for patience in [Patience::ForPredecessor, Patience::Endless] {
            let holder = TcpListener::bind("0.0.0.0:0").unwrap();
            let ports = [0, holder.local_addr().unwrap().port()];
            let waiting = expect_free(&ports, patience);
            tokio::pin!(waiting);
            tokio::select! {
                biased;
                free = &mut waiting => panic!("{free:?} while it is held"),
                () = tokio::task::yield_now() => {}
            }
            drop(holder);
            waiting.await.unwrap();
        }
    }

    #[test]
    fn a_generation_waits_for_the_store_of_the_one_before_until_it_is_over_itself() {
        let before = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = before.local_addr().unwrap().port();
        let taken = |patience, is_over: bool| {
            let error = listen(port, patience, || is_over).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        };
        taken(Duration::ZERO, false);
        taken(Duration::MAX, true);
        let before = RefCell::new(Some(before));
        let listener = listen(port, Duration::MAX, || {
            before.take();
            false
        });
        assert_eq!(listener.unwrap().local_addr().unwrap().port(), port);
    }
}

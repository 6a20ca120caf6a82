//! One computation per key at a time, shared by all who ask meanwhile.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

/// Runs one future per key at a time; whoever asks for a key that is being computed gets that
/// result, failure included. If the one who computes is cancelled, one of the others takes over.
#[derive(Debug)]
pub(crate) struct SingleFlight<K: Eq + Hash + Copy, V> {
    flights: Mutex<HashMap<K, Arc<OnceCell<V>>>>,
}

impl<K: Eq + Hash + Copy, V: Clone> SingleFlight<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            flights: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) async fn run<F: Future<Output = V>>(
        &self,
        key: K,
        compute: impl FnOnce() -> F,
    ) -> V {
        let cell = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(flights.entry(key).or_default())
        };
        let seat = Seat {
            flights: &self.flights,
            key,
            cell,
        };
        seat.cell.get_or_init(compute).await.clone()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.flights.lock().unwrap().len()
    }
}

/// A place in a flight; the flight is forgotten when it lands, or when its last passenger leaves.
struct Seat<'a, K: Eq + Hash + Copy, V> {
    flights: &'a Mutex<HashMap<K, Arc<OnceCell<V>>>>,
    key: K,
    cell: Arc<OnceCell<V>>,
}

impl<K: Eq + Hash + Copy, V> Drop for Seat<'_, K, V> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(current) = flights.get(&self.key) else {
            return;
        };
        // A later flight for the same key is not this seat's business. The map and this seat
        // hold one reference each, and new seats are taken under the lock that is held here.
        let is_this = Arc::ptr_eq(current, &self.cell);
        let is_over = self.cell.initialized() || Arc::strong_count(&self.cell) == 2;
        if is_this && is_over {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_meanwhile_share_one_computation() {
        let flight = SingleFlight::new();
        let computed = AtomicU32::new(0);
        let compute = || async {
            tokio::task::yield_now().await;
            computed.fetch_add(1, Ordering::Relaxed)
        };
        let (a, b, c) = tokio::join!(
            flight.run(1, compute),
            flight.run(1, compute),
            flight.run(2, compute)
        );
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(computed.load(Ordering::Relaxed), 2);
        assert_eq!(flight.len(), 0);
        flight.run(1, compute).await;
        assert_eq!(
            computed.load(Ordering::Relaxed),
            3,
            "a landed flight is not remembered"
        );
    }

    #[tokio::test]
    async fn another_takes_over_when_the_one_who_computes_is_cancelled() {
        let flight = SingleFlight::new();
        let started = Notify::new();
        {
            let never = flight.run(1, || async {
                started.notify_one();
                std::future::pending::<u32>().await
            });
            let waiting = flight.run(1, || async { 7 });
            tokio::pin!(waiting);
            tokio::select! {
                biased;
                _ = never => unreachable!("it never ends"),
                _ = &mut waiting => unreachable!("it waits for the first"),
                () = started.notified() => {}
            }
            // `never` was dropped with the select; the one who waited now computes.
            assert_eq!(waiting.await, 7);
        }
        assert_eq!(flight.len(), 0);
    }
}

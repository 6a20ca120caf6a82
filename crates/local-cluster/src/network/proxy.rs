//! A proxy before a server (the coordinator, the store) for each of its clients,
//! which can stop passing bytes on without closing anything.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::Cut;
use crate::Error;

/// Bytes that are passed on at once.
const CHUNK: usize = 64 * 1024;

/// The proxies, by client.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    proxies: BTreeMap<String, Proxy>,
}

impl Proxies {
    /// The address of a client's proxy, which leads to `upstream`.
    pub(super) fn way(&mut self, client: &str, upstream: &str) -> Result<String, Error> {
        if let Some(proxy) = self.proxies.get(client) {
            upstream.clone_into(&mut proxy.gate.state().upstream);
            return Ok(proxy.address.clone());
        }
        let proxy = Proxy::start(upstream).map_err(|error| Error::Network {
            action: format!("starting a proxy for {client}"),
            reason: error.to_string(),
        })?;
        let address = proxy.address.clone();
        self.proxies.insert(client.to_owned(), proxy);
        Ok(address)
    }

    /// Those of a client, or of everyone where `machine` has none of its own:
    /// what the server sends, its clients are sent.
    fn set(&self, machine: &str, cut: Option<Cut>) {
        if let Some(proxy) = self.proxies.get(machine) {
            return proxy.gate.set(cut);
        }
        let seen_by_clients = cut.map(|cut| match cut {
            Cut::Both => Cut::Both,
            Cut::Outgoing => Cut::Incoming,
            Cut::Incoming => Cut::Outgoing,
        });
        for proxy in self.proxies.values() {
            proxy.gate.set(seen_by_clients);
        }
    }

    pub(super) fn cut(&self, machine: &str, cut: Cut) {
        self.set(machine, Some(cut));
    }

    pub(super) fn mend(&self, machine: &str) {
        self.set(machine, None);
    }

    pub(super) fn remove(&mut self) {
        self.proxies.clear();
    }
}

/// What the threads of a proxy look at before they pass bytes on.
#[derive(Debug)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    upstream: String,
    cut: Option<Cut>,
    over: bool,
    /// Both ends of every connection, to end them.
    connections: Vec<TcpStream>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, cut: Option<Cut>) {
        self.state().cut = cut;
        self.changed.notify_all();
    }

    /// Waits while a direction is cut. Whether the proxy goes on.
    fn pass(&self, direction: Cut) -> bool {
        let mut state = self.state();
        while !state.over
            && state
                .cut
                .is_some_and(|cut| cut == Cut::Both || cut == direction)
        {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !state.over
    }
}

#[derive(Debug)]
struct Proxy {
    address: String,
    gate: Arc<Gate>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    fn start(upstream: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let gate = Arc::new(Gate {
            state: Mutex::new(State {
                upstream: upstream.to_owned(),
                cut: None,
                over: false,
                connections: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&gate);
        let acceptor = thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self {
            address,
            gate,
            acceptor: Some(acceptor),
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.gate.state();
            state.over = true;
            for connection in &state.connections {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        self.gate.changed.notify_all();
        // The acceptor looks up once more when someone connects.
        let woken = TcpStream::connect(&self.address).is_ok();
        if let Some(acceptor) = self.acceptor.take().filter(|_| woken) {
            let _ = acceptor.join();
        }
    }
}

/// Accepts until the proxy is over, then waits for its connections.
fn accept(listener: &TcpListener, gate: &Arc<Gate>) {
    let mut pumps: Vec<JoinHandle<()>> = Vec::new();
    for client in listener.incoming() {
        let (over, upstream) = {
            let state = gate.state();
            (state.over, state.upstream.clone())
        };
        if over {
            break;
        }
        pumps.retain(|pump| !pump.is_finished());
        // Without an upstream, closing is the answer that the client would get.
        if let Ok(client) = client
            && let Ok(server) = TcpStream::connect(&upstream)
            && let Ok(pair) = connect(&client, &server, gate)
        {
            pumps.extend(pair);
        }
    }
    for pump in pumps {
        let _ = pump.join();
    }
}

/// Passes bytes on between two ends, in a thread for each direction.
fn connect(
    client: &TcpStream,
    server: &TcpStream,
    gate: &Arc<Gate>,
) -> std::io::Result<[JoinHandle<()>; 2]> {
    for end in [client, server] {
        end.set_nodelay(true)?;
    }
    {
        let mut state = gate.state();
        if state.over {
            return Err(std::io::ErrorKind::NotConnected.into());
        }
        state.connections.retain(|end| end.peer_addr().is_ok());
        state.connections.push(client.try_clone()?);
        state.connections.push(server.try_clone()?);
    }
    let pump = |from: &TcpStream, to: &TcpStream, direction| {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        let gate = Arc::clone(gate);
        thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || pass_on(&mut from, &mut to, direction, &gate))
    };
    Ok([
        pump(client, server, Cut::Outgoing)?,
        pump(server, client, Cut::Incoming)?,
    ])
}

fn pass_on(from: &mut TcpStream, to: &mut TcpStream, direction: Cut, gate: &Gate) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length) = from.read(&mut chunk) {
        // An end is news too, and travels no better than bytes.
        if !gate.pass(direction) || length == 0 || to.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Read);
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// An upstream that says back what it is told.
    fn echo() -> (String, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = thread::spawn(move || {
            let (mut end, _) = listener.accept().unwrap();
            let mut byte = [0];
            while end.read_exact(&mut byte).is_ok() && end.write_all(&byte).is_ok() {}
        });
        (address, thread)
    }

    fn hears(client: &mut TcpStream, within: Duration) -> Option<u8> {
        client.set_read_timeout(Some(within)).unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    const SOON: Duration = Duration::from_secs(20);
    const WHILE: Duration = Duration::from_millis(50);

    #[test]
    fn what_is_sent_during_a_cut_arrives_when_it_is_mended() {
        let (upstream, echoing) = echo();
        let mut proxies = Proxies::default();
        let mut client = TcpStream::connect(proxies.way("a", &upstream).unwrap()).unwrap();
        for (number, cut) in (0..).zip([Cut::Both, Cut::Outgoing, Cut::Incoming]) {
            client.write_all(&[number]).unwrap();
            assert_eq!(hears(&mut client, SOON), Some(number));
            proxies.cut("a", cut);
            client.write_all(&[number + 100]).unwrap();
            assert_eq!(hears(&mut client, WHILE), None, "{cut:?}");
            proxies.mend("a");
            assert_eq!(hears(&mut client, SOON), Some(number + 100), "{cut:?}");
        }
        drop(proxies);
        assert_eq!(
            client.read(&mut [0]).unwrap_or(0),
            0,
            "the connection is closed"
        );
        echoing.join().unwrap();
    }

    #[test]
    fn the_coordinators_cable_is_everyones() {
        let (upstream, _echoing) = echo();
        let mut proxies = Proxies::default();
        let mut client = TcpStream::connect(proxies.way("a", &upstream).unwrap()).unwrap();
        proxies.cut("coordinator", Cut::Both);
        client.write_all(&[1]).unwrap();
        assert_eq!(hears(&mut client, WHILE), None);
        proxies.mend("coordinator");
        assert_eq!(hears(&mut client, SOON), Some(1));
    }
}

//! The coordinators that this process knows, and which of them leads.
//!
//! The mental model: calls go to one peer, which is believed to lead. Whoever
//! has reason to doubt that (a call failed, a stream broke or has been silent)
//! says so, and a task asks all peers who leads until one of them says that it
//! does. Found, it wakes everybody who waits to try again; and if it is another
//! than before, calls and streams of the one before end.
//!
//! Architecture invariant: doubt alone moves nobody. A leader that is slow keeps
//! its sessions as long as nobody else says that they lead.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use proto::v1::DescribeRequest;
use proto::v1::coordinators_client::CoordinatorsClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Code;
use tonic::transport::Channel;

use crate::connection::endpoint;
use crate::{Address, Addresses, ConnectOptions, Error};

/// How long a peer may take to say whether it leads: three round trips between
/// continents, and a moment to think.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the others may take once one has said that it leads: another may say
/// so too, and of a later term.
const OTHERS_TIMEOUT: Duration = Duration::from_millis(150);
/// The wait between two rounds of asking, at first and at most while a takeover
/// may be under way.
const ROUND_WAITS: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];
/// How long a takeover may be under way; after that, rounds are rarer.
const TAKEOVER: Duration = Duration::from_secs(60);
const RARE_ROUND_WAIT: Duration = Duration::from_secs(2);
/// Peers that are known beside those given: standbys name leaders.
const MOST_PEERS: usize = 64;

/// The coordinators that a connection may lead to.
#[derive(Debug)]
pub(crate) struct Peers {
    options: ConnectOptions,
    /// Whether another than the first may be turned to.
    follows: bool,
    known: Mutex<Known>,
    standing: watch::Sender<Standing>,
}

#[derive(Debug)]
struct Known {
    peers: Vec<Peer>,
    /// The run that was led when the leader was last found, and its term.
    run_id: String,
    term: u64,
    seeking: bool,
}

#[derive(Clone, Debug)]
struct Peer {
    address: Address,
    channel: Channel,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// Where calls go.
    peer: usize,
    /// Raised when they go to another.
    epoch: u64,
    /// Raised whenever the leader was found.
    found: u64,
}

/// Where one call goes.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) address: Address,
    pub(crate) channel: Channel,
    /// Which belief this is: later ones are higher.
    pub(crate) epoch: u64,
}

/// What a peer says.
enum Said {
    Leads { run_id: String, term: u64 },
    Standby { leader: Option<Address> },
    Nothing,
}

impl Peers {
    /// Peers whose channels are opened by their first calls.
    pub(crate) fn new(
        addresses: &Addresses,
        options: &ConnectOptions,
        follows: bool,
    ) -> Result<Arc<Peers>, Error> {
        let lazy = |address: &Address| {
            Ok(Peer {
                address: address.clone(),
                channel: endpoint(address, options)?.connect_lazy(),
            })
        };
        let peers: Result<Vec<Peer>, Error> = addresses.iter().map(lazy).collect();
        Ok(Peers::with(peers?, options, follows))
    }

    /// One peer whose channel is open.
    pub(crate) fn connected(
        address: &Address,
        channel: Channel,
        options: &ConnectOptions,
    ) -> Arc<Peers> {
        let peer = Peer {
            address: address.clone(),
            channel,
        };
        Peers::with(vec![peer], options, true)
    }

    fn with(peers: Vec<Peer>, options: &ConnectOptions, follows: bool) -> Arc<Peers> {
        Arc::new(Peers {
            options: options.clone(),
            follows,
            known: Mutex::new(Known {
                peers,
                run_id: String::new(),
                term: 0,
                seeking: false,
            }),
            standing: watch::Sender::new(Standing::default()),
        })
    }

    /// Where a call goes now.
    pub(crate) fn route(&self) -> Route {
        let known = self.lock();
        let standing = *self.standing.borrow();
        let peer = &known.peers[standing.peer];
        Route {
            address: peer.address.clone(),
            channel: peer.channel.clone(),
            epoch: standing.epoch,
        }
    }

    /// How long a call or a stream may be silent before its peer is doubted.
    pub(crate) fn silence(&self) -> Duration {
        self.options.silence
    }

    /// Whether there is another to turn to.
    pub(crate) fn has_others(&self) -> bool {
        self.follows && self.lock().peers.len() > 1
    }

    /// Whether calls may go to another than the first.
    pub(crate) fn follows(&self) -> bool {
        self.follows
    }

    /// Ends when calls go to another peer than at `epoch`.
    pub(crate) fn moved_since(&self, epoch: u64) -> impl Future<Output = ()> + Send + 'static {
        let mut standings = self.standing.subscribe();
        async move {
            let moved = standings.wait_for(|standing| standing.epoch != epoch);
            if moved.await.is_err() {
                // Nobody is left who could move.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends when the leader is found the next time.
    pub(crate) fn found(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut standings = self.standing.subscribe();
        let before = standings.borrow_and_update().found;
        async move {
            let found = standings.wait_for(|standing| standing.found != before);
            if found.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Somebody said that the leader is there.
    pub(crate) fn learn(&self, leader: &Address) {
        let Ok(endpoint) = endpoint(leader, &self.options) else {
            return;
        };
        let mut known = self.lock();
        let is_known = known.peers.iter().any(|peer| peer.address == *leader);
        if !is_known && known.peers.len() < MOST_PEERS {
            known.peers.push(Peer {
                address: leader.clone(),
                channel: endpoint.connect_lazy(),
            });
        }
    }

    /// The peer of `epoch` may no longer lead: finds out, unless that is being
    /// done or calls go elsewhere already.
    pub(crate) fn doubt(self: &Arc<Self>, epoch: u64) {
        if !self.follows {
            return;
        }
        let mut known = self.lock();
        if !known.seeking && self.standing.borrow().epoch == epoch {
            known.seeking = true;
            tokio::spawn(seek(Arc::downgrade(self)));
        }
    }

    /// Asks every peer once, and goes where one says that it leads; else to the
    /// first that answers at all. Says whether anyone did.
    pub(crate) async fn ask_once(&self) -> bool {
        if self.ask_all().await {
            return true;
        }
        let count = self.lock().peers.len();
        for index in 0..count {
            if !matches!(self.ask(index).await, Said::Nothing) {
                self.go_to(index);
                return true;
            }
        }
        false
    }

    /// Asks every peer, and those that they name, who leads. Whether one does;
    /// of several, the one of the highest term is believed.
    async fn ask_all(&self) -> bool {
        let mut questions = JoinSet::new();
        let mut asked = 0;
        let mut found: Option<(u64, usize, String)> = None;
        let mut until = Instant::now() + 2 * ANSWER_TIMEOUT;
        loop {
            let peers = self.lock().peers.clone();
            for (index, peer) in peers.into_iter().enumerate().skip(asked) {
                asked = index + 1;
                questions.spawn(async move { (index, ask(peer.channel).await) });
            }
            let Ok(Some(answered)) = timeout_at(until, questions.join_next()).await else {
                return match found {
                    Some((term, index, run_id)) => self.accept(index, run_id, term),
                    None => false,
                };
            };
            match answered {
                Ok((index, Said::Leads { run_id, term })) => {
                    until = until.min(Instant::now() + OTHERS_TIMEOUT);
                    if found.as_ref().is_none_or(|(highest, ..)| term > *highest) {
                        found = Some((term, index, run_id));
                    }
                }
                Ok((_, Said::Standby { leader })) => {
                    if let Some(leader) = leader {
                        self.learn(&leader);
                    }
                }
                Ok((_, Said::Nothing)) | Err(_) => {}
            }
        }
    }

    async fn ask(&self, index: usize) -> Said {
        let channel = self.lock().peers[index].channel.clone();
        ask(channel).await
    }

    /// Believes a peer that it leads, unless a later term of the same run is
    /// known: then it has not heard yet that it was followed.
    fn accept(&self, index: usize, run_id: String, term: u64) -> bool {
        let mut known = self.lock();
        if known.peers.len() > 1 && run_id == known.run_id && term < known.term {
            return false;
        }
        known.run_id = run_id;
        known.term = term;
        drop(known);
        self.go_to(index);
        true
    }

    fn go_to(&self, index: usize) {
        let known = self.lock();
        let address = known.peers[index].address.clone();
        let term = known.term;
        self.standing.send_modify(|standing| {
            if standing.peer != index {
                tracing::info!(term, "the coordinator at {address} is followed now");
                standing.peer = index;
                standing.epoch += 1;
            }
            standing.found += 1;
        });
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Every change leaves the value whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks until somebody leads, or nobody needs to know any more.
async fn seek(peers: Weak<Peers>) {
    let started = Instant::now();
    let [mut wait, longest] = ROUND_WAITS;
    loop {
        let Some(peers) = peers.upgrade() else {
            return;
        };
        let found = peers.ask_all().await;
        if found {
            peers.lock().seeking = false;
            return;
        }
        drop(peers);
        // Many lose the same leader at once, and need not ask all at once.
        sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
        wait = match started.elapsed() > TAKEOVER {
            true => RARE_ROUND_WAIT,
            false => (wait * 2).min(longest),
        };
    }
}

async fn ask(channel: Channel) -> Said {
    let mut coordinators = CoordinatorsClient::new(channel);
    let describing = coordinators.describe(DescribeRequest::default());
    match timeout(ANSWER_TIMEOUT, describing).await {
        Ok(Ok(answer)) => {
            let answer = answer.into_inner();
            let context = answer.context.unwrap_or_default();
            match answer.leads {
                true => Said::Leads {
                    run_id: context.run_id,
                    term: context.term,
                },
                false => Said::Standby {
                    leader: answer.leader.parse().ok(),
                },
            }
        }
        // It knows of no other coordinators, so it leads.
        Ok(Err(status)) if status.code() == Code::Unimplemented => Said::Leads {
            run_id: String::new(),
            term: 0,
        },
        Ok(Err(_)) | Err(_) => Said::Nothing,
    }
}

//! Real processes for tests: the test binary runs itself again once per rank.
//!
//! A test calls [`run`] with what each rank does and what the conductor (the test's own
//! process) does. They talk in lines over the rank's standard input and output, which is
//! the only synchronisation there is: nothing sleeps, and every port is chosen by the
//! system.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use c10d::{AbortHandle, Error, Group, GroupOptions, Member, Network, Store};

/// So long that no test passes by waiting for it.
pub(crate) const FAR_AWAY: Duration = Duration::from_secs(120);

const RANK: &str = "C10D_TEST_RANK";
const WORLD: &str = "C10D_TEST_WORLD";
/// Sets lines for the conductor apart from the test harness's own.
const MARK: &str = "@conductor ";

/// Runs `rank` in `world` processes and `conduct` in this one; then every process that
/// the conductor has not killed must end well. `test` is the path of
/// the calling test, as libtest lists it.
pub(crate) fn run(test: &str, world: usize, rank: fn(&mut Peer), conduct: fn(&mut Cluster)) {
    if let Ok(number) = env::var(RANK) {
        tch::set_num_threads(1);
        let mut peer = Peer {
            number: number.parse().unwrap(),
            world: env::var(WORLD).unwrap().parse().unwrap(),
        };
        rank(&mut peer);
        peer.say("done");
        // Whoever serves a store keeps it up until everybody has finished with it.
        peer.hear_that("leave");
        // Groups may still be torn down in the background.
        c10d::exit_now(0);
    }
    let mut cluster = Cluster::start(test, world);
    conduct(&mut cluster);
    cluster.finish();
}

/// What a rank's process sees.
pub(crate) struct Peer {
    pub(crate) number: usize,
    pub(crate) world: usize,
}

/// All that one generation consists of, but its reducer.
pub(crate) struct Generation {
    pub(crate) abort: AbortHandle,
    pub(crate) group: Group,
    pub(crate) store: Store,
}

impl Peer {
    pub(crate) fn say(&self, text: &str) {
        // Past the test harness's capture.
        let mut out = std::io::stdout();
        writeln!(out, "{MARK}{text}").unwrap();
        out.flush().unwrap();
    }

    pub(crate) fn hear(&self) -> String {
        let mut line = String::new();
        let count = std::io::stdin().lock().read_line(&mut line).unwrap();
        assert!(count > 0, "the conductor is gone");
        line.trim_end().to_owned()
    }

    pub(crate) fn hear_that(&self, expected: &str) {
        assert_eq!(self.hear(), expected);
    }

    /// Meets the others, with this process's own number as its rank.
    pub(crate) fn meet(&self) -> Generation {
        self.meet_as(self.number, self.world, FAR_AWAY)
    }

    /// Forms a generation; the conductor calls [`Cluster::introduce`].
    pub(crate) fn meet_as(&self, rank: usize, world: usize, timeout: Duration) -> Generation {
        let abort = AbortHandle::new();
        let store = if rank == 0 {
            let store = serve(&abort);
            self.say(&format!("port {}", store.port()));
            store
        } else {
            let heard = self.hear();
            let port = heard.strip_prefix("port ").unwrap().parse().unwrap();
            Store::connect("127.0.0.1", port, FAR_AWAY, &abort).unwrap()
        };
        let group = join(&store, Member { rank, world }, timeout).unwrap();
        Generation {
            abort,
            group,
            store,
        }
    }
}

/// A Gloo group on the loopback address.
pub(crate) fn join(store: &Store, member: Member, timeout: Duration) -> Result<Group, Error> {
    let options = GroupOptions {
        timeout,
        ..GroupOptions::default()
    };
    let network = Network::Address("127.0.0.1".to_owned());
    Group::gloo(store, member, &network, &options)
}

/// A store of this process's own.
pub(crate) fn serve(abort: &AbortHandle) -> Store {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    Store::serve(listener, FAR_AWAY, abort).unwrap()
}

/// What the conductor sees.
pub(crate) struct Cluster {
    ranks: Vec<Option<Rank>>,
}

struct Rank {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Rank {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Cluster {
    fn start(test: &str, world: usize) -> Self {
        let ranks = (0..world)
            .map(|number| {
                let mut process = Command::new(env::current_exe().unwrap())
                    .args(["--exact", test, "--nocapture", "--test-threads=1"])
                    .env(RANK, number.to_string())
                    .env(WORLD, world.to_string())
                    .env("OMP_NUM_THREADS", "1")
                    .env("TORCH_CPP_LOG_LEVEL", "ERROR")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                Some(Rank {
                    input: process.stdin.take().unwrap(),
                    output: BufReader::new(process.stdout.take().unwrap()),
                    process,
                })
            })
            .collect();
        Self { ranks }
    }

    fn rank(&mut self, number: usize) -> &mut Rank {
        self.ranks[number].as_mut().expect("this rank is gone")
    }

    pub(crate) fn say(&mut self, number: usize, text: &str) {
        let rank = self.rank(number);
        writeln!(rank.input, "{text}").unwrap();
    }

    /// The next line that the rank says, without regard to what else it prints.
    pub(crate) fn hear(&mut self, number: usize) -> String {
        let rank = self.rank(number);
        loop {
            let mut line = String::new();
            let count = rank.output.read_line(&mut line).unwrap();
            assert!(count > 0, "rank {number} ended; its panic is above");
            // libtest does not end its own line before the test prints.
            if let Some((_, said)) = line.split_once(MARK) {
                return said.trim_end().to_owned();
            }
        }
    }

    pub(crate) fn hear_that(&mut self, number: usize, expected: &str) {
        assert_eq!(self.hear(number), expected, "rank {number}");
    }

    /// Tells everyone else the port of the store that the first member serves.
    pub(crate) fn introduce(&mut self, members: &[usize]) {
        let port = self.hear(members[0]);
        for &member in &members[1..] {
            self.say(member, &port);
        }
    }

    /// As `kill -9`.
    pub(crate) fn kill(&mut self, number: usize) {
        drop(self.ranks[number].take());
    }

    /// As `kill -STOP`: the process is there, its connections are open, and it does
    /// nothing.
    pub(crate) fn stop(&mut self, number: usize) {
        let id = self.rank(number).process.id().to_string();
        let status = Command::new("kill").args(["-STOP", &id]).status().unwrap();
        assert!(status.success());
    }

    fn finish(mut self) {
        let alive: Vec<usize> = (0..self.ranks.len())
            .filter(|&number| self.ranks[number].is_some())
            .collect();
        for &number in &alive {
            self.hear_that(number, "done");
        }
        for &number in &alive {
            self.say(number, "leave");
        }
        for &number in &alive {
            let status = self.rank(number).process.wait().unwrap();
            assert!(status.success(), "rank {number}: {status}");
        }
    }
}

/// For tests in which all ranks form one generation of all.
pub(crate) fn introduce_all(cluster: &mut Cluster) {
    let everyone: Vec<usize> = (0..cluster.ranks.len()).collect();
    cluster.introduce(&everyone);
}

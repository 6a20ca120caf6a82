//! A real etcd on loopback, for tests: started, killed, paused, started again.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::{Error, Process, traces, wait_until};

/// Names a binary to use instead of the one that is found.
const BINARY: &str = "PEREGRINE_ETCD";
/// How long a member has to be ready, and a cluster to elect a leader.
const START: Duration = Duration::from_secs(30);
/// How long a health check may take.
const PROBE: Duration = Duration::from_secs(1);
/// How often other ports are tried when somebody was quicker.
const ATTEMPTS: usize = 5;

/// One member of etcd, and the only one unless a cluster was started.
///
/// Dropping it kills it. Its data stay in the folder that it was started in.
#[derive(Debug)]
pub struct EtcdServer {
    binary: PathBuf,
    folder: PathBuf,
    name: String,
    ports: Ports,
    /// Every member with its peer port.
    cluster: Vec<(String, u16)>,
    tls: Option<EtcdTls>,
    process: Option<Process>,
}

/// Certificates of a member that speaks TLS with its clients: PEM files.
#[derive(Debug, Clone)]
pub struct EtcdTls {
    /// The member's certificate; must be valid for 127.0.0.1.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// If given, clients must have a certificate of this authority.
    pub client_authority: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    peer: u16,
    metrics: u16,
}

impl EtcdServer {
    /// Where etcd's binary is, if there is one: what `PEREGRINE_ETCD` names, what
    /// `cargo xtask setup` has brought, or what is installed.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        if let Some(named) = env::var_os(BINARY).filter(|value| !value.is_empty()) {
            return Some(PathBuf::from(named));
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
        let brought = root.join(".peregrine/etcd/usr/bin/etcd");
        let installed = env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join("etcd"))
            .collect::<Vec<_>>();
        std::iter::once(brought)
            .chain(installed)
            .find(|path| path.is_file())
    }

    /// Whether a test that needs etcd can run. If not, says so where the test
    /// harness does not swallow it.
    #[must_use]
    pub fn is_there_for(test: &str) -> bool {
        let found = Self::find().is_some();
        if !found {
            // Straight to standard error: what a passing test prints is not shown.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED {test}: there is no etcd; run `cargo xtask setup`, install etcd-server, \
                 or name a binary in {BINARY}"
            );
        }
        found
    }

    /// Starts a single member whose data are in `folder`, and waits until it
    /// answers.
    ///
    /// # Errors
    /// If there is no etcd, or it does not start.
    pub fn start(folder: &Path) -> Result<Self, Error> {
        Self::start_with(folder, None)
    }

    /// Starts a single member that speaks TLS with its clients.
    ///
    /// # Errors
    /// If there is no etcd, or it does not start.
    pub fn start_with(folder: &Path, tls: Option<EtcdTls>) -> Result<Self, Error> {
        let mut members = Self::start_members(folder, 1, tls)?;
        // One was asked for.
        members.pop().ok_or(Error::NotRunning("etcd"))
    }

    /// Starts a cluster of `members`, and waits until all answer.
    ///
    /// # Errors
    /// If there is no etcd, or one does not start.
    pub fn start_cluster(folder: &Path, members: usize) -> Result<Vec<Self>, Error> {
        Self::start_members(folder, members, None)
    }

    fn start_members(
        folder: &Path,
        count: usize,
        tls: Option<EtcdTls>,
    ) -> Result<Vec<Self>, Error> {
        let binary = Self::find().ok_or_else(|| Error::NotBuilt {
            path: PathBuf::from("etcd"),
            remedy: "cargo xtask setup".to_owned(),
        })?;
        let mut attempt = 1;
        loop {
            let mut members = Self::planned(&binary, folder, count, tls.as_ref())?;
            let started = members
                .iter_mut()
                .try_for_each(Self::spawn)
                .and_then(|()| members.iter_mut().try_for_each(Self::wait_ready));
            match started {
                Ok(()) => return Ok(members),
                // Most likely a port that somebody else got in between.
                Err(Error::Ended { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
            for member in &mut members {
                member.kill();
                // Nothing is in there yet but a cluster that was not formed.
                let _ = std::fs::remove_dir_all(member.data());
            }
        }
    }

    fn planned(
        binary: &Path,
        folder: &Path,
        count: usize,
        tls: Option<&EtcdTls>,
    ) -> Result<Vec<Self>, Error> {
        let ports = (0..count)
            .map(|_| Ports::free())
            .collect::<Result<Vec<_>, _>>()?;
        let name = |index: usize| format!("etcd-{index}");
        let cluster: Vec<_> = ports
            .iter()
            .enumerate()
            .map(|(index, ports)| (name(index), ports.peer))
            .collect();
        let member = |(index, ports): (usize, &Ports)| Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            name: name(index),
            ports: *ports,
            cluster: cluster.clone(),
            tls: tls.cloned(),
            process: None,
        };
        Ok(ports.iter().enumerate().map(member).collect())
    }

    fn data(&self) -> PathBuf {
        self.folder.join(format!("{}.data", self.name))
    }

    fn spawn(&mut self) -> Result<(), Error> {
        let Ports {
            client,
            peer,
            metrics,
        } = self.ports;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let clients = format!("{scheme}://127.0.0.1:{client}");
        let peers = format!("http://127.0.0.1:{peer}");
        let cluster: Vec<_> = self
            .cluster
            .iter()
            .map(|(name, port)| format!("{name}=http://127.0.0.1:{port}"))
            .collect();
        let mut command = Command::new(&self.binary);
        command
            .args(["--name", &self.name])
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen-client-urls", &clients])
            .args(["--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers])
            .args(["--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &cluster.join(",")])
            .args([
                "--listen-metrics-urls",
                &format!("http://127.0.0.1:{metrics}"),
            ])
            // Half of the defaults: elections take less of a test's time.
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(["--logger", "zap", "--log-outputs", "stderr"]);
        if let Some(tls) = &self.tls {
            command.arg("--cert-file").arg(&tls.certificate);
            command.arg("--key-file").arg(&tls.key);
            if let Some(authority) = &tls.client_authority {
                command.arg("--client-cert-auth");
                command.arg("--trusted-ca-file").arg(authority);
            }
        }
        // Its flags can come from there too.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD_") {
                command.env_remove(name);
            }
        }
        traces::mark_helper(&mut command, &self.folder);
        self.process = Some(Process::start(&self.name, &mut command, &self.folder)?);
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<(), Error> {
        let port = self.ports.metrics;
        let process = self
            .process
            .as_mut()
            .ok_or(Error::NotRunning("a member of etcd"))?;
        wait_until("etcd to answer", START, || {
            process.expect_running()?;
            let healthy = http_get(port, "/health").is_some_and(|text| text.contains("\"true\""));
            Ok(healthy.then_some(()))
        })
        .map_err(|error| error.with_log(process.log_tail()))
    }

    /// Where clients connect: `host:port`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.ports.client)
    }

    /// Its process id, while it runs.
    #[must_use]
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Whether this member leads its cluster at the moment, by its own word.
    #[must_use]
    pub fn leads(&self) -> bool {
        http_get(self.ports.metrics, "/metrics")
            .is_some_and(|text| text.lines().any(|line| line == "etcd_server_is_leader 1"))
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it where it is (SIGSTOP).
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// If it is not running.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let process = self.process.as_mut();
        process.ok_or(Error::NotRunning("etcd"))?.signal(signal)
    }

    /// Starts it again, with its data and its ports, without waiting for it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.kill();
        self.spawn()
    }

    /// Starts it again, with its data and its ports, and waits until it answers.
    ///
    /// # Errors
    /// If it does not start.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.start_again()?;
        self.wait_ready()
    }
}

impl Ports {
    /// Three that are free now.
    fn free() -> Result<Self, Error> {
        // Held together, so that they differ.
        let held = [free_port()?, free_port()?, free_port()?];
        let [client, peer, metrics] = held.map(|(_, port)| port);
        Ok(Self {
            client,
            peer,
            metrics,
        })
    }
}

fn free_port() -> Result<(TcpListener, u16), Error> {
    let failed = |source| Error::Process {
        action: "finding a port for",
        name: "etcd".to_owned(),
        source,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

/// The answer to a plain request, with its headers; `None` if there was none.
fn http_get(port: u16, path: &str) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PROBE).ok()?;
    stream.set_read_timeout(Some(PROBE)).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: etcd\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

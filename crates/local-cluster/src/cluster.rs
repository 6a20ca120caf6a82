//! A coordinator, its workers and a publisher, and what can be asked of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::again::Repeatable;
use crate::several::Standby;
use crate::traces::{self, Sockets};
use crate::{Binaries, Error, EtcdServer, Network, Process, wait_until};

/// How long a coordinator may take until it serves. It hashes local data first.
pub(crate) const COORDINATOR_START: Duration = Duration::from_secs(60);

/// A cluster in one folder, which holds logs, state and caches.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    folder: PathBuf,
    address: String,
    coordinator: Option<Process>,
    workers: Vec<Process>,
    publisher: Option<Process>,
    /// Variables that programs started from now on get.
    variables: BTreeMap<String, String>,
    /// Coordinators other than the first.
    pub(crate) standbys: Vec<Standby>,
    /// The store that they share, and the cables between them and it.
    pub(crate) etcd: Option<EtcdServer>,
    pub(crate) store_cables: Network,
    /// Of several coordinators, the one that led when the cluster was stopped.
    pub(crate) led_last: Option<String>,
    pub(crate) repeatable: Repeatable,
    pub(crate) sockets: Sockets,
    // After the processes, which live in it.
    pub(crate) network: Option<Network>,
}

/// The coordinator's name among the machines of a network.
pub(crate) const COORDINATOR: &str = "coordinator";

impl Cluster {
    /// A cluster without any process yet. The folder is made.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn new(binaries: Binaries, folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(Error::file(folder))?;
        let folder = fs::canonicalize(folder).map_err(Error::file(folder))?;
        let temporary = traces::temporary(&folder);
        fs::create_dir_all(&temporary).map_err(Error::file(temporary))?;
        Ok(Self {
            binaries,
            folder,
            address: String::new(),
            coordinator: None,
            workers: Vec::new(),
            publisher: None,
            variables: BTreeMap::new(),
            standbys: Vec::new(),
            etcd: None,
            store_cables: Network::of_proxies(),
            led_last: None,
            repeatable: Repeatable::default(),
            sockets: Sockets::default(),
            network: None,
        })
    }

    /// The same cluster in a network that can be cut: every program that is
    /// started from now on is a machine of it.
    #[must_use]
    pub fn in_network(self, network: Network) -> Self {
        Self {
            network: Some(network),
            ..self
        }
    }

    /// The network that it is in, if that can be cut.
    #[must_use]
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// The folder that holds everything of this cluster.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The coordinator's state; of several that were stopped, that of the one
    /// that led last, for it has every file of the run.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        let name = self.led_last.as_deref().unwrap_or(COORDINATOR);
        self.folder.join(name)
    }

    /// The publisher's state.
    #[must_use]
    pub fn publisher_dir(&self) -> PathBuf {
        self.folder.join("publisher")
    }

    /// `host:port` of the running coordinator.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A command of one of the programs, in the cluster's folder and without
    /// the flags that a shell or a `.env` file may set through variables.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let command = self.marked_command(program);
        match &self.network {
            Some(network) => network.command_beside(COORDINATOR, command),
            None => command,
        }
    }

    /// The same, by whatever way it will run.
    fn marked_command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.path(program));
        command.current_dir(&self.folder).envs(&self.variables);
        traces::mark(&mut command, &self.folder);
        command
    }

    /// A command of a program that is a machine of its own.
    fn command_as(&mut self, machine: &str, program: &str) -> Result<Command, Error> {
        let command = self.marked_command(program);
        match &mut self.network {
            Some(network) => network.command_on(machine, command),
            None => Ok(command),
        }
    }

    /// The address at which a machine listens and is reached.
    fn host(&self, machine: &str) -> String {
        match &self.network {
            Some(network) => network.host(machine),
            None => "127.0.0.1".to_owned(),
        }
    }

    /// Gives programs that are started from now on an environment variable, or
    /// no longer does.
    pub fn set_variable(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.variables.insert(name.to_owned(), value.to_owned()),
            None => self.variables.remove(name),
        };
    }

    /// Starts a coordinator on a free port and waits until it serves.
    ///
    /// # Errors
    /// [`Error::Ended`] when it refuses to start, [`Error::TimedOut`].
    pub fn start_coordinator<S: AsRef<OsStr>>(&mut self, flags: &[S]) -> Result<(), Error> {
        self.start_coordinator_at(None, flags)
    }

    /// Starts a coordinator at the address of one that has ended, where its
    /// workers look for it.
    ///
    /// # Errors
    /// As [`Cluster::start_coordinator`].
    pub fn restart_coordinator<S: AsRef<OsStr>>(&mut self, flags: &[S]) -> Result<(), Error> {
        let address = self.address.clone();
        self.start_coordinator_at(Some(address), flags)
    }

    fn start_coordinator_at<S: AsRef<OsStr>>(
        &mut self,
        address: Option<String>,
        flags: &[S],
    ) -> Result<(), Error> {
        let store = self.store_flags_of(COORDINATOR)?;
        let mut command = self.command_as(COORDINATOR, "coordinator")?;
        let address = address.unwrap_or_else(|| format!("{}:0", self.host(COORDINATOR)));
        let address_file = self.folder.join("coordinator.address");
        // The one of an earlier coordinator of this folder.
        let _ = fs::remove_file(&address_file);
        command
            .args(["--listen", &address, "--address-file"])
            .arg(&address_file)
            .arg("--state-dir")
            .arg(self.folder.join(COORDINATOR))
            .args(store)
            .args(flags);
        let mut process = Process::start("coordinator", &mut command, &self.folder)?;
        self.address = wait_until("the coordinator to serve", COORDINATOR_START, || {
            process.expect_running()?;
            Ok(fs::read_to_string(&address_file).ok())
        })
        .map_err(|error| error.with_log(process.log_tail()))?
        .trim()
        .to_owned();
        self.coordinator = Some(process);
        self.repeatable.keep_coordinator(flags);
        Ok(())
    }

    /// Starts a worker on the CPU under a name.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn start_worker<S: AsRef<OsStr>>(&mut self, name: &str, flags: &[S]) -> Result<(), Error> {
        self.start_worker_on("cpu", name, flags)
    }

    /// Starts a worker on any device under a name. A worker of this name that
    /// was started before is ended.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn start_worker_on<S: AsRef<OsStr>>(
        &mut self,
        device: &str,
        name: &str,
        flags: &[S],
    ) -> Result<(), Error> {
        let mut command = self.command_as(name, "worker")?;
        let coordinator = match &mut self.network {
            Some(network) => network.way(name, &self.address)?,
            None => self.addresses(),
        };
        command
            .args(["--coordinator", &coordinator, "--name", name])
            .args(["--device", device, "--advertise", &self.host(name)])
            .arg("--cache-dir")
            .arg(self.folder.join(format!("{name}-cache")))
            .args(flags);
        self.workers.retain(|worker| worker.name() != name);
        let process = Process::start(name, &mut command, &self.folder)?;
        self.workers.push(process);
        self.repeatable.keep_worker(device, name, flags);
        Ok(())
    }

    /// Starts a publisher that does not touch the network.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn start_publisher<S: AsRef<OsStr>>(&mut self, flags: &[S]) -> Result<(), Error> {
        let mut command = self.command("publisher");
        command.arg("--offline").args(flags);
        self.start_publisher_as(command)
    }

    /// Starts a publisher that goes all the way, to the Hub and the chain that
    /// flags and environment name.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn start_online_publisher<S: AsRef<OsStr>>(
        &mut self,
        flags: &[S],
        environment: &[(&str, &str)],
    ) -> Result<(), Error> {
        let mut command = self.command("publisher");
        command.args(flags).envs(environment.iter().copied());
        self.start_publisher_as(command)
    }

    fn start_publisher_as(&mut self, mut command: Command) -> Result<(), Error> {
        command
            .args(["--json", "--coordinator", &self.address])
            .arg("--state-dir")
            .arg(self.publisher_dir());
        self.publisher = Some(Process::start("publisher", &mut command, &self.folder)?);
        Ok(())
    }

    /// The coordinator's process.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn coordinator(&mut self) -> Result<&mut Process, Error> {
        self.coordinator
            .as_mut()
            .ok_or(Error::NotRunning("the coordinator"))
    }

    /// The workers' processes, in the order in which they were started.
    pub fn workers(&mut self) -> &mut [Process] {
        &mut self.workers
    }

    /// The publisher's process.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn publisher(&mut self) -> Result<&mut Process, Error> {
        self.publisher
            .as_mut()
            .ok_or(Error::NotRunning("the publisher"))
    }

    /// Every process, the coordinator last: it waits for the others.
    pub fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.workers
            .iter_mut()
            .chain(&mut self.publisher)
            .chain(self.standbys.iter_mut().map(|standby| &mut standby.process))
            .chain(&mut self.coordinator)
    }

    /// Fails if a process has ended with an error.
    ///
    /// # Errors
    /// [`Error::Ended`] of the first one, with its log's last lines.
    pub fn expect_no_failure(&mut self) -> Result<(), Error> {
        self.processes().try_for_each(Process::expect_no_failure)
    }

    /// Whether every process has ended.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn all_ended(&mut self) -> Result<bool, Error> {
        for process in self.processes() {
            if process.ended()?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until the run is complete and every process has ended by itself.
    ///
    /// # Errors
    /// [`Error::Ended`] as soon as one fails; [`Error::TimedOut`] with the logs
    /// of those that go on.
    pub fn wait_complete(&mut self, limit: Duration) -> Result<(), Error> {
        let waited = wait_until("the run to complete", limit, || {
            self.expect_no_failure()?;
            Ok(self.all_ended()?.then_some(()))
        });
        waited.map_err(|error| error.with_log(self.log_tails()))
    }

    /// The last log lines of every process, each under its name.
    pub fn log_tails(&mut self) -> String {
        let tails: Vec<String> = self.processes().map(|process| process.log_tail()).collect();
        tails.join("\n")
    }

    /// Asks every process to end and waits until they have; kills those that
    /// have not by `limit`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when one had to be killed, [`Error::Ended`] when one
    /// ended with an error.
    pub fn stop(&mut self, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        let mut first_error = self.stop_standbys(limit).err();
        for process in self.processes() {
            process.signal(Signal::TERM)?;
        }
        for process in self.processes() {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Err(error) = process.wait(left) {
                process.kill();
                first_error.get_or_insert(error);
            } else if let Err(error) = process.expect_no_failure() {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

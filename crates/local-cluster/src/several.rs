//! Several coordinators that share a store: one leads, the others stand by.
//!
//! Each reaches the store by a cable of its own, a proxy that can stop passing
//! bytes on. Whoever reads the records when all have ended takes none of them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster::{COORDINATOR, COORDINATOR_START};
use crate::traces;
use crate::{Cluster, Cut, Error, EtcdServer, Process, wait_until};

/// A coordinator other than the first.
#[derive(Debug)]
pub(crate) struct Standby {
    pub(crate) process: Process,
    address: String,
    flags: Vec<OsString>,
}

impl Cluster {
    /// Starts an etcd of the cluster's own, which all its coordinators will use.
    ///
    /// # Errors
    /// As [`EtcdServer::start`].
    pub fn share_store(&mut self) -> Result<(), Error> {
        let folder = self.folder().join(traces::STORE);
        fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        self.etcd = Some(EtcdServer::start(&folder)?);
        Ok(())
    }

    /// The store that is shared.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn store(&mut self) -> Result<&mut EtcdServer, Error> {
        self.etcd
            .as_mut()
            .ok_or(Error::NotRunning("a shared store"))
    }

    /// The flags that name the store, where it is shared.
    pub(crate) fn store_flags(&self) -> Vec<OsString> {
        let endpoint = self.etcd.as_ref().map(EtcdServer::endpoint);
        endpoint.map_or_else(Vec::new, |endpoint| store_at(&endpoint))
    }

    /// The same for a coordinator, which goes by its own cable.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub(crate) fn store_flags_of(&mut self, name: &str) -> Result<Vec<OsString>, Error> {
        let Some(etcd) = &self.etcd else {
            return Ok(Vec::new());
        };
        let way = self.store_cables.way(name, &etcd.endpoint())?;
        Ok(store_at(&way))
    }

    /// Cuts a coordinator's cable to the shared store, as the coordinator sees
    /// it.
    ///
    /// # Errors
    /// [`Error::NotRunning`] without a coordinator of this name.
    pub fn cut_from_store(&mut self, name: &str, cut: Cut) -> Result<(), Error> {
        // Without a cable of its own it would be everyone's that is cut.
        self.coordinator_named(name)?;
        self.store_cables.cut(name, cut)
    }

    /// Mends it.
    ///
    /// # Errors
    /// As [`Cluster::cut_from_store`].
    pub fn mend_to_store(&mut self, name: &str) -> Result<(), Error> {
        self.coordinator_named(name)?;
        self.store_cables.mend(name)
    }

    /// Cuts the shared store's own cable: everyone's, as the store sees it.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn cut_store(&mut self, cut: Cut) -> Result<(), Error> {
        self.store()?;
        self.store_cables.cut(traces::STORE, cut)
    }

    /// Mends it, and with it everyone's.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn mend_store(&mut self) -> Result<(), Error> {
        self.store()?;
        self.store_cables.mend(traces::STORE)
    }

    /// Starts a coordinator beside the first one. Workers that are started from
    /// now on know of it.
    ///
    /// # Errors
    /// As [`Cluster::start_coordinator`].
    pub fn start_standby<S: AsRef<OsStr>>(&mut self, flags: &[S]) -> Result<(), Error> {
        let name = format!("{COORDINATOR}-{}", self.standbys.len() + 2);
        let flags: Vec<OsString> = flags.iter().map(|flag| flag.as_ref().to_owned()).collect();
        let (process, address) = self.spawn_standby(&name, "127.0.0.1:0", &flags)?;
        self.standbys.push(Standby {
            process,
            address,
            flags,
        });
        Ok(())
    }

    fn spawn_standby(
        &mut self,
        name: &str,
        listen: &str,
        flags: &[OsString],
    ) -> Result<(Process, String), Error> {
        let store = self.store_flags_of(name)?;
        let address_file = self.folder().join(format!("{name}.address"));
        // The one of an earlier life.
        let _ = fs::remove_file(&address_file);
        let mut command = self.command("coordinator");
        command
            .args(["--listen", listen, "--address-file"])
            .arg(&address_file)
            .arg("--state-dir")
            .arg(self.folder().join(name))
            .args(store)
            .args(flags);
        let mut process = Process::start(name, &mut command, self.folder())?;
        let address = wait_until(format!("{name} to serve"), COORDINATOR_START, || {
            process.expect_running()?;
            Ok(fs::read_to_string(&address_file).ok())
        })
        .map_err(|error| error.with_log(process.log_tail()))?;
        Ok((process, address.trim().to_owned()))
    }

    /// Where clients find the coordinator: all addresses, with commas between.
    #[must_use]
    pub fn addresses(&self) -> String {
        let standbys = self.standbys.iter().map(|standby| standby.address.as_str());
        let all: Vec<&str> = std::iter::once(self.address()).chain(standbys).collect();
        all.join(",")
    }

    /// The coordinators by name, each with its own address.
    fn coordinators(&self) -> impl Iterator<Item = (&str, &str)> {
        let standbys = self.standbys.iter();
        let standbys = standbys.map(|s| (s.process.name(), s.address.as_str()));
        std::iter::once((COORDINATOR, self.address())).chain(standbys)
    }

    /// Name and address of the coordinator that leads, as it says itself; `None`
    /// while none does.
    #[must_use]
    pub fn leader(&self) -> Option<(String, String)> {
        let mut coordinators = self.coordinators();
        let leads = |address: &str| {
            let arguments = ["status", "--json", "--coordinator", address];
            let status = self.ask::<serde_json::Value, _>("coordinator", arguments);
            // One that has ended does not answer.
            status.is_ok_and(|status| status["state"] != "standby")
        };
        if self.standbys.is_empty() {
            return Some((COORDINATOR.to_owned(), self.address().to_owned()));
        }
        let (name, address) = coordinators.find(|(_, address)| leads(address))?;
        Some((name.to_owned(), address.to_owned()))
    }

    /// The process of the coordinator of this name.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn coordinator_named(&mut self, name: &str) -> Result<&mut Process, Error> {
        if name == COORDINATOR {
            return self.coordinator();
        }
        let mut processes = self.standbys.iter_mut().map(|standby| &mut standby.process);
        let found = processes.find(|process| process.name() == name);
        found.ok_or(Error::NotRunning("a coordinator of this name"))
    }

    /// Starts the coordinator of this name as it was started before, at the
    /// same address. If it still runs, it is killed.
    ///
    /// # Errors
    /// As [`Cluster::start_coordinator`].
    pub fn start_coordinator_named_again(&mut self, name: &str) -> Result<(), Error> {
        if name == COORDINATOR {
            return self.start_coordinator_again();
        }
        self.coordinator_named(name)?.kill();
        let Some(at) = self.standbys.iter().position(|s| s.process.name() == name) else {
            return Err(Error::NotRunning("a coordinator of this name"));
        };
        let (address, flags) = (
            self.standbys[at].address.clone(),
            self.standbys[at].flags.clone(),
        );
        let (process, _) = self.spawn_standby(name, &address, &flags)?;
        self.standbys[at].process = process;
        Ok(())
    }

    /// Ends every coordinator but the one that leads: one that is told to stop
    /// while another stands by hands over to it.
    pub(crate) fn stop_standbys(&mut self, limit: Duration) -> Result<(), Error> {
        if self.standbys.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + limit;
        let leader = wait_until("a coordinator to lead", limit, || Ok(self.leader()))?.0;
        self.led_last = Some(leader.clone());
        let names: Vec<String> = self
            .coordinators()
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in names.iter().filter(|name| **name != leader) {
            let process = self.coordinator_named(name)?;
            process.signal(Signal::TERM)?;
            process.wait(deadline.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }
}

/// The flags that name a store.
fn store_at(endpoint: &str) -> Vec<OsString> {
    vec!["--store".into(), format!("etcd://{endpoint}").into()]
}

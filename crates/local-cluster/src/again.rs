//! Programs that are started again as they were, and found by name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use crate::{Cluster, Error, Process};

/// How the programs of a cluster were started last.
#[derive(Debug, Default)]
pub(crate) struct Repeatable {
    coordinator: Vec<OsString>,
    workers: BTreeMap<String, Worker>,
}

#[derive(Debug, Clone)]
struct Worker {
    device: String,
    flags: Vec<OsString>,
}

impl Repeatable {
    pub(crate) fn keep_coordinator<S: AsRef<OsStr>>(&mut self, flags: &[S]) {
        self.coordinator = owned(flags);
    }

    pub(crate) fn keep_worker<S: AsRef<OsStr>>(&mut self, device: &str, name: &str, flags: &[S]) {
        let worker = Worker {
            device: device.to_owned(),
            flags: owned(flags),
        };
        self.workers.insert(name.to_owned(), worker);
    }
}

fn owned<S: AsRef<OsStr>>(flags: &[S]) -> Vec<OsString> {
    flags.iter().map(|flag| flag.as_ref().to_owned()).collect()
}

impl Cluster {
    /// The process of the worker of this name.
    ///
    /// # Errors
    /// [`Error::NoSuchWorker`].
    pub fn worker(&mut self, name: &str) -> Result<&mut Process, Error> {
        self.workers()
            .iter_mut()
            .find(|worker| worker.name() == name)
            .ok_or_else(|| Error::NoSuchWorker(name.to_owned()))
    }

    /// Starts the worker of this name as it was started before. If it still
    /// runs, it is killed.
    ///
    /// # Errors
    /// [`Error::NoSuchWorker`], [`Error::Process`].
    pub fn start_worker_again(&mut self, name: &str) -> Result<(), Error> {
        let Some(worker) = self.repeatable.workers.get(name).cloned() else {
            return Err(Error::NoSuchWorker(name.to_owned()));
        };
        self.start_worker_on(&worker.device, name, &worker.flags)
    }

    /// Starts the coordinator as it was started before, at the same address. If
    /// it still runs, it is killed.
    ///
    /// # Errors
    /// As [`Cluster::start_coordinator`].
    pub fn start_coordinator_again(&mut self) -> Result<(), Error> {
        self.coordinator()?.kill();
        let flags = self.repeatable.coordinator.clone();
        self.restart_coordinator(&flags)
    }
}

//! A network of a cluster's own, whose cables can be cut and mended.
//!
//! The mental model is a switch with one cable to every machine. Where this
//! process may make network namespaces, that is what it is: each program lives
//! in a namespace with an address of its own, and a cut loses everything that
//! it sends and is sent, to and from everyone. Elsewhere each worker reaches
//! the coordinator through a proxy that can stop passing bytes on: a smaller
//! fault, for workers still reach each other, but the one that matters most for
//! who is a member. Coordinators that share a store always reach it so.
//!
//! Either way a cut is silent. Nobody's connection is reset; what was sent
//! meanwhile arrives when the cable is mended, if the connection lives so long.
//!
//! Architecture invariant: everything made here is gone when the [`Network`] is
//! dropped, and the next one removes what a killed process could not.

mod namespaces;
mod proxy;

use std::fmt;
use std::process::Command;

use self::namespaces::Namespaces;
use self::proxy::Proxies;
use crate::Error;

/// How a network is made, and so what a cut of it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Network namespaces around a bridge: a cut isolates a machine.
    Namespaces,
    /// A proxy before the coordinator for each worker: a cut parts the two.
    Proxies,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "namespaces",
            Self::Proxies => "proxies",
        })
    }
}

/// What a cut cable loses, as the machine at its end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Everything.
    Both,
    /// What it sends.
    Outgoing,
    /// What it is sent.
    Incoming,
}

/// A network whose cables can be cut.
#[derive(Debug)]
pub struct Network {
    inner: Inner,
    reason: Option<String>,
}

#[derive(Debug)]
enum Inner {
    Namespaces(Namespaces),
    Proxies(Proxies),
}

impl Network {
    /// Of namespaces where this process may make them, otherwise of proxies.
    #[must_use]
    pub fn new() -> Self {
        match Namespaces::new() {
            Ok(namespaces) => Self {
                inner: Inner::Namespaces(namespaces),
                reason: None,
            },
            Err(error) => Self {
                reason: Some(error.to_string()),
                ..Self::of_proxies()
            },
        }
    }

    /// Of proxies, whatever is allowed.
    #[must_use]
    pub fn of_proxies() -> Self {
        Self {
            inner: Inner::Proxies(Proxies::default()),
            reason: None,
        }
    }

    /// How it is made.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.inner {
            Inner::Namespaces(_) => Method::Namespaces,
            Inner::Proxies(_) => Method::Proxies,
        }
    }

    /// Why it is not made of namespaces, if they were tried.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether a cable can be cut in this way.
    #[must_use]
    pub fn can(&self, cut: Cut) -> bool {
        match &self.inner {
            Inner::Namespaces(namespaces) => cut == Cut::Both || namespaces.cuts_one_way(),
            Inner::Proxies(_) => true,
        }
    }

    /// A command that runs on a machine of the network, which is added with its
    /// first command.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub(crate) fn command_on(&mut self, machine: &str, program: Command) -> Result<Command, Error> {
        match &mut self.inner {
            Inner::Namespaces(namespaces) => {
                namespaces.add(machine)?;
                Ok(namespaces.enter(machine, program))
            }
            Inner::Proxies(_) => Ok(program),
        }
    }

    /// A command that runs where `machine` does, if that was added; it reaches
    /// the machine whatever is cut.
    pub(crate) fn command_beside(&self, machine: &str, program: Command) -> Command {
        match &self.inner {
            Inner::Namespaces(namespaces) if namespaces.has(machine) => {
                namespaces.enter(machine, program)
            }
            _ => program,
        }
    }

    /// The address at which others reach a machine that was added.
    pub(crate) fn host(&self, machine: &str) -> String {
        match &self.inner {
            Inner::Namespaces(namespaces) => namespaces.address(machine),
            Inner::Proxies(_) => "127.0.0.1".to_owned(),
        }
    }

    /// Where a machine finds the server that listens at `address`.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub(crate) fn way(&mut self, machine: &str, address: &str) -> Result<String, Error> {
        match &mut self.inner {
            Inner::Namespaces(_) => Ok(address.to_owned()),
            Inner::Proxies(proxies) => proxies.way(machine, address),
        }
    }

    /// Cuts a machine's cable. With proxies, the server's is everyone's.
    ///
    /// # Errors
    /// [`Error::Network`], also when it cannot be cut in this way.
    pub fn cut(&mut self, machine: &str, cut: Cut) -> Result<(), Error> {
        match &mut self.inner {
            Inner::Namespaces(namespaces) => namespaces.cut(machine, cut),
            Inner::Proxies(proxies) => {
                proxies.cut(machine, cut);
                Ok(())
            }
        }
    }

    /// Mends a machine's cable, however it was cut.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub fn mend(&mut self, machine: &str) -> Result<(), Error> {
        match &mut self.inner {
            Inner::Namespaces(namespaces) => namespaces.mend(machine),
            Inner::Proxies(proxies) => {
                proxies.mend(machine);
                Ok(())
            }
        }
    }

    /// The namespaces that exist in its name, for a check that none is left.
    pub(crate) fn traces(&self) -> Vec<String> {
        match &self.inner {
            Inner::Namespaces(namespaces) => namespaces.existing(),
            Inner::Proxies(_) => Vec::new(),
        }
    }

    /// What each of its namespaces lists as its sockets, in the form of
    /// `/proc/net/tcp`; of proxies, whose programs share this process's own
    /// namespace, nothing.
    pub(crate) fn socket_tables(&self) -> Vec<String> {
        match &self.inner {
            Inner::Namespaces(namespaces) => namespaces.socket_tables(),
            Inner::Proxies(_) => Vec::new(),
        }
    }

    /// Removes everything; what was cut stays cut.
    pub(crate) fn remove(&mut self) {
        match &mut self.inner {
            Inner::Namespaces(namespaces) => namespaces.remove(),
            Inner::Proxies(proxies) => proxies.remove(),
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

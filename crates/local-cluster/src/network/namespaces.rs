//! Network namespaces: one for a bridge, one for each machine, joined by veth
//! pairs.
//!
//! The bridge has a namespace of its own, so nothing of this shows in the
//! host's network: no address that may be in use, no firewall rule of the
//! host's in the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::Cut;
use crate::Error;

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";
/// Every name begins with it; the process that made it follows.
const PREFIX: &str = "peregrine";
/// The machine that is the bridge.
const BRIDGE: &str = "bridge";
/// A private network that only the machines see.
const SUBNET: &str = "10.77.0";
/// Addresses end in 1 to 254.
const MOST_MACHINES: usize = 254;

/// How many networks this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
pub(super) struct Namespaces {
    prefix: String,
    machines: BTreeMap<String, Machine>,
    cuts_one_way: bool,
}

#[derive(Debug)]
struct Machine {
    /// The last part of its address, and what its port of the bridge is called.
    number: usize,
    cut: Option<Cut>,
}

impl Namespaces {
    /// A bridge without machines, if this process may make one.
    pub(super) fn new() -> Result<Self, Error> {
        remove_orphans();
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        // Whatever is made until a line below fails goes with it.
        let mut namespaces = Self {
            prefix: format!("{PREFIX}-{}-{number}", std::process::id()),
            machines: BTreeMap::new(),
            cuts_one_way: false,
        };
        let bridge = namespaces.name(BRIDGE);
        ip(&["netns", "add", &bridge])?;
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", "br0", "up"])?;
        namespaces.cuts_one_way = ip(&["netns", "exec", &bridge, "iptables", "-w", "-S"]).is_ok();
        Ok(namespaces)
    }

    fn name(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    pub(super) fn cuts_one_way(&self) -> bool {
        self.cuts_one_way
    }

    pub(super) fn has(&self, machine: &str) -> bool {
        self.machines.contains_key(machine)
    }

    fn number(&self, machine: &str) -> Result<usize, Error> {
        match self.machines.get(machine) {
            Some(machine) => Ok(machine.number),
            None => Err(Error::Network {
                action: format!("finding {machine}"),
                reason: "no program was started there".to_owned(),
            }),
        }
    }

    pub(super) fn address(&self, machine: &str) -> String {
        let number = self.machines.get(machine).map_or(0, |found| found.number);
        format!("{SUBNET}.{number}")
    }

    /// Adds a machine, unless it is there.
    pub(super) fn add(&mut self, machine: &str) -> Result<(), Error> {
        if self.has(machine) {
            return Ok(());
        }
        let number = self.machines.len() + 1;
        if number > MOST_MACHINES {
            return Err(Error::Network {
                action: format!("adding {machine}"),
                reason: format!("{MOST_MACHINES} machines are the most"),
            });
        }
        let (name, bridge) = (self.name(machine), self.name(BRIDGE));
        let port = port(number);
        let address = format!("{SUBNET}.{number}/24");
        ip(&["netns", "add", &name])?;
        self.machines
            .insert(machine.to_owned(), Machine { number, cut: None });
        let pair = ["link", "add", &port, "type", "veth", "peer", "name", "eth0"];
        ip(&[&["-n", &bridge][..], &pair, &["netns", &name]].concat())?;
        ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"])?;
        ip(&["-n", &name, "address", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])
    }

    /// The same command, on a machine. Its process is the program's own: `ip`
    /// becomes it.
    pub(super) fn enter(&self, machine: &str, program: Command) -> Command {
        let mut entering = Command::new("ip");
        entering
            .args(["netns", "exec", &self.name(machine)])
            .arg(program.get_program())
            .args(program.get_args());
        for (variable, value) in program.get_envs() {
            match value {
                Some(value) => entering.env(variable, value),
                None => entering.env_remove(variable),
            };
        }
        if let Some(folder) = program.get_current_dir() {
            entering.current_dir(folder);
        }
        entering
    }

    pub(super) fn cut(&mut self, machine: &str, cut: Cut) -> Result<(), Error> {
        self.mend(machine)?;
        match cut {
            Cut::Both => self.plug(machine, "down")?,
            Cut::Outgoing | Cut::Incoming => self.filter(machine, "-A", cut)?,
        }
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.cut = Some(cut);
        }
        Ok(())
    }

    pub(super) fn mend(&mut self, machine: &str) -> Result<(), Error> {
        self.number(machine)?;
        let cut = self.machines.get_mut(machine).and_then(|m| m.cut.take());
        match cut {
            None => Ok(()),
            Some(Cut::Both) => self.plug(machine, "up"),
            Some(one_way) => self.filter(machine, "-D", one_way),
        }
    }

    /// Sets the bridge's end of a cable up or down; the machine keeps address
    /// and connections.
    fn plug(&self, machine: &str, state: &str) -> Result<(), Error> {
        let port = port(self.number(machine)?);
        ip(&["-n", &self.name(BRIDGE), "link", "set", &port, state])
    }

    fn filter(&self, machine: &str, action: &str, cut: Cut) -> Result<(), Error> {
        let (chain, side) = match cut {
            Cut::Outgoing => ("OUTPUT", "-o"),
            _ => ("INPUT", "-i"),
        };
        let name = self.name(machine);
        let rule = ["-w", action, chain, side, "eth0", "-j", "DROP"];
        ip(&[&["netns", "exec", &name, "iptables"][..], &rule].concat())
    }

    /// Those of its namespaces that exist.
    pub(super) fn existing(&self) -> Vec<String> {
        let own = format!("{}-", self.prefix);
        names().filter(|name| name.starts_with(&own)).collect()
    }

    /// What each of them lists as its TCP sockets.
    pub(super) fn socket_tables(&self) -> Vec<String> {
        let table = |name: String| {
            let listed = Command::new("ip")
                .args(["netns", "exec", &name])
                .args(["cat", "/proc/net/tcp", "/proc/net/tcp6"])
                .stdin(Stdio::null())
                .output();
            let text = listed.map_or_else(|_| Vec::new(), |output| output.stdout);
            String::from_utf8_lossy(&text).into_owned()
        };
        self.existing().into_iter().map(table).collect()
    }

    pub(super) fn remove(&mut self) {
        // The bridge and the cables go with the namespaces that they are in.
        for name in self.existing() {
            let _ = ip(&["netns", "delete", &name]);
        }
        self.machines.clear();
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.remove();
    }
}

fn port(number: usize) -> String {
    format!("port{number}")
}

fn names() -> impl Iterator<Item = String> {
    let entries = fs::read_dir(NAMES).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// Removes the namespaces of processes that are no more, and the programs that
/// still run in them.
fn remove_orphans() {
    for name in names() {
        let lives = |owner| Path::new(&format!("/proc/{owner}")).exists();
        if owner(&name).is_none_or(lives) {
            continue;
        }
        for pid in inhabitants(&name) {
            let _ = kill_process(pid, Signal::KILL);
        }
        // Another process may be at the same work.
        let _ = ip(&["netns", "delete", &name]);
    }
}

/// The process that made the namespace of this name, if it is one of ours.
fn owner(name: &str) -> Option<u32> {
    let mut parts = name.strip_prefix(PREFIX)?.strip_prefix('-')?.splitn(3, '-');
    let owner = parts.next()?.parse().ok()?;
    let _number: u32 = parts.next()?.parse().ok()?;
    parts.next().map(|_machine| owner)
}

fn inhabitants(name: &str) -> Vec<Pid> {
    let listed = Command::new("ip")
        .args(["netns", "pids", name])
        .stdin(Stdio::null())
        .output();
    let text = listed.map_or_else(|_| Vec::new(), |output| output.stdout);
    let pids = String::from_utf8_lossy(&text);
    let pids = pids.lines().filter_map(|pid| pid.trim().parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}

/// Runs `ip`; its complaint is the error.
fn ip(arguments: &[&str]) -> Result<(), Error> {
    let failed = |reason: String| Error::Network {
        action: format!("ip {}", arguments.join(" ")),
        reason,
    };
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(match said.trim() {
        "" => output.status.to_string(),
        said => said.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_network_removes_what_a_killed_process_left() {
        let Ok(network) = Namespaces::new() else {
            eprintln!("SKIPPED: no network namespaces are allowed here");
            return;
        };
        let mut killed = Command::new("true").spawn().unwrap();
        let orphan = format!("{PREFIX}-{}-0-{BRIDGE}", killed.id());
        killed.wait().unwrap();
        ip(&["netns", "add", &orphan]).unwrap();
        let next = Namespaces::new().unwrap();
        assert!(!names().any(|name| name == orphan));
        // That of a process that lives is its own business.
        assert_eq!(network.existing().len(), 1);
        let own = next.name("");
        drop(next);
        assert!(!names().any(|name| name.starts_with(&own)));
    }

    #[test]
    fn only_our_own_names_have_an_owner() {
        assert_eq!(owner("peregrine-812-0-worker-1"), Some(812));
        assert_eq!(owner("peregrine-812-3-bridge"), Some(812));
        for foreign in [
            "peregrine",
            "peregrine-812",
            "peregrine-x-0-bridge",
            "docker-1-0-a",
        ] {
            assert_eq!(owner(foreign), None, "{foreign}");
        }
    }
}

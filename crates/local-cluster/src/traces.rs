//! What a cluster may leave behind on the machine that it ran on: processes,
//! listening ports, files, namespaces.
//!
//! Every program of a cluster carries the cluster's folder in its environment,
//! and its children inherit it, so a process belongs to a cluster whatever it
//! calls itself. Temporary files go into a folder of the cluster's own. A
//! listening socket is known by its inode: a port may by then be another's. The
//! kernel lists sockets by network namespace, so each is asked for its own, and
//! before it is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Cluster, EtcdServer, Network};

/// The variable that says which cluster a process belongs to.
const MARK: &str = "PEREGRINE_LOCAL_CLUSTER";
/// Where programs put what they need for a while.
const TEMPORARY: &str = "tmp";
/// Where a shared store keeps its data.
pub(crate) const STORE: &str = "etcd";

/// Marks a command as a cluster's.
pub(crate) fn mark(command: &mut Command, folder: &Path) {
    command
        .env(MARK, folder)
        .env("TMPDIR", folder.join(TEMPORARY));
}

/// Marks a command as that of a cluster's helper, whose temporary files are its
/// own business.
pub(crate) fn mark_helper(command: &mut Command, folder: &Path) {
    command.env(MARK, folder);
}

/// The folder for temporary files of the cluster in `folder`.
pub(crate) fn temporary(folder: &Path) -> PathBuf {
    folder.join(TEMPORARY)
}

/// The listening sockets of a cluster's processes, collected while they ran.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Port by inode.
    listening: BTreeMap<u64, u16>,
}

impl Sockets {
    fn note(&mut self, pid: u32) {
        let own = sockets_of(pid);
        for table in ["tcp", "tcp6"] {
            let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
            let found = listening(&text);
            self.listening
                .extend(found.filter(|(inode, _)| own.contains(inode)));
        }
    }

    /// The ports of those that some table still lists.
    fn left(&self, tables: &[String]) -> impl Iterator<Item = u16> {
        let now: BTreeMap<u64, u16> = tables.iter().flat_map(|text| listening(text)).collect();
        self.listening
            .iter()
            .filter(move |(inode, port)| now.get(inode) == Some(port))
            .map(|(_, port)| *port)
    }
}

/// The tables of this process's own namespace, and of those of a network.
fn tables(network: Option<&Network>) -> Vec<String> {
    let own = ["tcp", "tcp6"].map(|table| format!("/proc/net/{table}"));
    let own = own.map(|path| fs::read_to_string(path).unwrap_or_default());
    let others = network.map(Network::socket_tables).unwrap_or_default();
    own.into_iter().chain(others).collect()
}

/// Inode and port of each listening socket in a table of `/proc/net`, whose
/// columns proc_net_tcp(5) describes.
fn listening(table: &str) -> impl Iterator<Item = (u64, u16)> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (*state == LISTEN).then_some((inode.parse().ok()?, port))
    })
}

/// The inodes of a process's sockets.
fn sockets_of(pid: u32) -> BTreeSet<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            inode.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

impl Cluster {
    /// Takes note of the ports that its processes listen on, for
    /// [`Cluster::left_behind`].
    pub fn note_ports(&mut self) {
        let mut pids: Vec<u32> = self.processes().map(|process| process.id()).collect();
        pids.extend(self.etcd.as_ref().and_then(EtcdServer::id));
        for pid in pids {
            self.sockets.note(pid);
        }
    }

    /// Ends a shared store, removes the network, and lists what is left once
    /// every process should have ended: processes, ports, namespaces, temporary
    /// files, unfinished downloads and uploads. Empty when all is well.
    ///
    /// Records in a shared store can no longer be read afterwards.
    pub fn left_behind(&mut self) -> Vec<String> {
        if let Some(etcd) = &mut self.etcd {
            etcd.kill();
        }
        self.store_cables.remove();
        let mut left: Vec<String> = processes_of(self.folder())
            .map(|(pid, command)| format!("process {pid}: {command}"))
            .collect();
        let tables = tables(self.network.as_ref());
        let ports = self.sockets.left(&tables);
        left.extend(ports.map(|port| format!("port {port}")));
        if let Some(network) = &mut self.network {
            network.remove();
            let traces = network.traces().into_iter();
            left.extend(traces.map(|name| format!("namespace {name}")));
        }
        let mut files = Vec::new();
        unfinished_files(self.folder(), false, &mut files);
        left.extend(files.iter().map(|file| format!("file {}", file.display())));
        left
    }
}

/// The processes that carry the mark of the cluster in `folder`, or of a helper
/// below it, with their command lines. One that has ended and was not waited for
/// carries none.
fn processes_of(folder: &Path) -> impl Iterator<Item = (u32, String)> {
    let mark = [MARK.as_bytes(), b"="].concat();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let variables = environment.split(|byte| *byte == 0);
        let marked = variables
            .filter_map(|variable| variable.strip_prefix(&mark[..]))
            .any(|marked| Path::new(OsStr::from_bytes(marked)).starts_with(folder));
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        marked.then(|| (pid, command.trim().to_owned()))
    })
}

/// Files below `folder` that someone should have removed or given their final
/// name; all files, where `temporary`.
fn unfinished_files(folder: &Path, temporary: bool, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        let unfinished = temporary
            || name.contains("partial")
            || name.ends_with(".tmp")
            || name.starts_with("restore-")
            || kind.is_socket();
        if unfinished {
            found.push(path.clone());
        } else if kind.is_dir() && name != STORE {
            // What etcd keeps in its own folder is its business.
            unfinished_files(&path, name == TEMPORARY, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{self, Read as _};
    use std::net::TcpListener;
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;
    use crate::{Method, wait_until};

    const LIMIT: Duration = Duration::from_secs(10);
    /// Makes a test of this program listen until its standard input ends.
    const LISTEN: &str = "PEREGRINE_TEST_LISTENS";

    /// Does nothing of itself: the next test runs it in a namespace.
    #[test]
    fn a_listener_for_another_test() {
        if env::var_os(LISTEN).is_some() {
            let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
            assert_eq!(io::stdin().read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn a_port_in_a_namespace_is_left_until_its_socket_is_closed() {
        let mut network = Network::new();
        if network.method() != Method::Namespaces {
            eprintln!("SKIPPED: no network namespaces are allowed here");
            return;
        }
        let mut listener = Command::new(env::current_exe().unwrap());
        listener.args(["--exact", "traces::tests::a_listener_for_another_test"]);
        let mut listener = network.command_on("machine", listener).unwrap();
        let listener = listener.env(LISTEN, "1").stdout(Stdio::null());
        let mut child = listener.stdin(Stdio::piped()).spawn().unwrap();
        let mut sockets = Sockets::default();
        wait_until("the program to listen", LIMIT, || {
            sockets.note(child.id());
            Ok((!sockets.listening.is_empty()).then_some(()))
        })
        .unwrap();
        assert_eq!(sockets.left(&tables(Some(&network))).count(), 1);
        // It is the namespace's port, and nobody else's.
        assert_eq!(sockets.left(&tables(None)).count(), 0);
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        assert_eq!(sockets.left(&tables(Some(&network))).count(), 0);
    }

    #[test]
    fn a_listening_port_is_left_until_its_socket_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut sockets = Sockets::default();
        sockets.note(std::process::id());
        assert!(sockets.left(&tables(None)).any(|left| left == port));
        drop(listener);
        // A program that another test starts at this very moment has a copy of
        // the socket until it is executed.
        wait_until("the socket to be closed", LIMIT, || {
            let left = sockets.left(&tables(None)).any(|left| left == port);
            Ok((!left).then_some(()))
        })
        .unwrap();
    }

    #[test]
    fn a_process_is_found_by_its_mark_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        mark(&mut command, folder.path());
        let mut child = command.arg("100").stdin(Stdio::null()).spawn().unwrap();
        let mut helper = Command::new("sleep");
        mark_helper(&mut helper, &folder.path().join(STORE));
        let mut helper = helper.arg("101").stdin(Stdio::null()).spawn().unwrap();
        for (started, shown) in [(&child, "sleep 100"), (&helper, "sleep 101")] {
            let found = wait_until("the program to begin", LIMIT, || {
                Ok(processes_of(folder.path()).find(|(_, command)| command == shown))
            });
            assert_eq!(found.unwrap().0, started.id());
        }
        for started in [&mut child, &mut helper] {
            started.kill().unwrap();
            started.wait().unwrap();
        }
        assert_eq!(processes_of(folder.path()).count(), 0);
    }

    #[test]
    fn unfinished_files_are_told_from_what_a_run_keeps() {
        let folder = tempfile::tempdir().unwrap();
        for kept in ["coordinator.log", "coordinator/lock", "cache/page"] {
            let path = folder.path().join(kept);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut found = Vec::new();
        unfinished_files(folder.path(), false, &mut found);
        assert_eq!(found, Vec::<PathBuf>::new());
        let mut unfinished = ["tmp/anything", "cache/x.partial", "cache/restore-1"];
        unfinished.sort_unstable();
        for name in unfinished {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        unfinished_files(folder.path(), false, &mut found);
        found.sort();
        let expected: Vec<PathBuf> = ["cache/restore-1", "cache/x.partial", "tmp/anything"]
            .map(|name| folder.path().join(name))
            .into();
        assert_eq!(found, expected);
    }
}

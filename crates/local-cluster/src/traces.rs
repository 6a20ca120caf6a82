//! What a cluster may leave behind on the machine that it ran on: processes,
//! listening ports, files, namespaces.
//!
//! Every program of a cluster carries the cluster's folder in its environment,
//! and its children inherit it, so a process belongs to a cluster whatever it
//! calls itself. Temporary files go into a folder of the cluster's own. A
//! listening socket is known by its inode: a port may by then be another's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Cluster;

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

    fn left(&self) -> impl Iterator<Item = u16> {
        let texts = ["tcp", "tcp6"].map(|table| format!("/proc/net/{table}"));
        let texts = texts.map(|path| fs::read_to_string(path).unwrap_or_default());
        let now: BTreeMap<u64, u16> = texts.iter().flat_map(|text| listening(text)).collect();
        self.listening
            .iter()
            .filter(move |(inode, port)| now.get(inode) == Some(port))
            .map(|(_, port)| *port)
    }
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
        let pids: Vec<u32> = self.processes().map(|process| process.id()).collect();
        for pid in pids {
            self.sockets.note(pid);
        }
    }

    /// Removes the network, and lists what is left once every process should
    /// have ended: processes, ports, namespaces, temporary files, unfinished
    /// downloads and uploads. Empty when all is well.
    pub fn left_behind(&mut self) -> Vec<String> {
        let mut left: Vec<String> = processes_of(self.folder())
            .map(|(pid, command)| format!("process {pid}: {command}"))
            .collect();
        left.extend(self.sockets.left().map(|port| format!("port {port}")));
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

/// The processes that carry the mark of the cluster in `folder`, with their
/// command lines. One that has ended and was not waited for carries none.
fn processes_of(folder: &Path) -> impl Iterator<Item = (u32, String)> {
    let mark = [MARK.as_bytes(), b"=", folder.as_os_str().as_bytes()].concat();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let marked = environment.split(|byte| *byte == 0).any(|v| v == mark);
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
    use std::net::TcpListener;
    use std::process::Stdio;
    use std::time::Duration;

    use super::*;
    use crate::wait_until;

    #[test]
    fn a_listening_port_is_left_until_its_socket_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut sockets = Sockets::default();
        sockets.note(std::process::id());
        assert!(sockets.left().any(|left| left == port));
        drop(listener);
        assert!(!sockets.left().any(|left| left == port));
    }

    #[test]
    fn a_process_is_found_by_its_mark_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        mark(&mut command, folder.path());
        let mut child = command.arg("100").stdin(Stdio::null()).spawn().unwrap();
        let found = wait_until("the program to begin", Duration::from_secs(10), || {
            Ok(processes_of(folder.path()).find(|(_, command)| command == "sleep 100"))
        });
        assert_eq!(found.unwrap().0, child.id());
        child.kill().unwrap();
        child.wait().unwrap();
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

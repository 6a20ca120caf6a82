//! Flags that say where a run's records are kept.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};
use cli::{Refused, Secret};

use super::times::between;
use crate::store::{EtcdConfig, EtcdUrl, StoreUrl};

/// Holds the password of `--etcd-user` where no file is named.
const PASSWORD: &str = "PEREGRINE_ETCD_PASSWORD";

/// Where a run's records are kept.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// Where the run's records are kept: redb (a file in --state-dir), or
    /// etcd://host:port,…[/prefix] (etcds:// for TLS), which several
    /// coordinators can share. [default: redb]
    #[arg(long, value_name = "URL", value_parser = UrlParser, help_heading = "Store")]
    pub store: Option<StoreUrl>,

    /// How to be let into etcd.
    #[command(flatten)]
    pub etcd: EtcdArgs,
}

/// Reads `--store` without repeating what it refuses, in which there may be a
/// password.
#[derive(Clone)]
struct UrlParser;

impl TypedValueParser for UrlParser {
    type Value = StoreUrl;

    fn parse_ref(
        &self,
        command: &Command,
        _arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<StoreUrl, clap::Error> {
        value.to_string_lossy().parse().map_err(|error| {
            let message = format!("--store: {error}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

/// How to be let into etcd.
#[derive(Args, Clone, Debug)]
pub struct EtcdArgs {
    /// etcd's user. The password comes from --etcd-password-file or
    /// PEREGRINE_ETCD_PASSWORD.
    #[arg(
        long,
        value_name = "NAME",
        env = "PEREGRINE_ETCD_USER",
        help_heading = "Store"
    )]
    pub etcd_user: Option<String>,

    /// File that holds the password of --etcd-user.
    #[arg(long, value_name = "FILE", help_heading = "Store")]
    pub etcd_password_file: Option<PathBuf>,

    /// Authorities to trust instead of the system's (PEM), for etcds://.
    #[arg(long, value_name = "FILE", help_heading = "Store")]
    pub etcd_ca: Option<PathBuf>,

    /// Certificate to show to etcd (PEM), for etcds://.
    #[arg(
        long,
        value_name = "FILE",
        requires = "etcd_key",
        help_heading = "Store"
    )]
    pub etcd_cert: Option<PathBuf>,

    /// Key of --etcd-cert (PEM).
    #[arg(
        long,
        value_name = "FILE",
        requires = "etcd_cert",
        help_heading = "Store"
    )]
    pub etcd_key: Option<PathBuf>,
}

impl StoreArgs {
    /// How to reach etcd; `None` if records are kept in `--state-dir`.
    ///
    /// # Errors
    /// If flags contradict each other, or there is no password for a user.
    pub fn etcd_config(&self) -> Result<Option<EtcdConfig>, Refused> {
        match &self.store {
            Some(StoreUrl::Etcd(url)) => self.etcd.config(url).map(Some),
            None | Some(StoreUrl::Embedded) => {
                self.etcd.refuse_any()?;
                Ok(None)
            }
        }
    }
}

impl EtcdArgs {
    fn config(&self, url: &EtcdUrl) -> Result<EtcdConfig, Refused> {
        let files = [&self.etcd_ca, &self.etcd_cert, &self.etcd_key];
        if !url.tls && files.iter().any(|file| file.is_some()) {
            return Err(Refused::new(
                "--etcd-ca, --etcd-cert and --etcd-key are for TLS: write --store etcds://…",
            ));
        }
        Ok(EtcdConfig {
            user: self.user()?,
            ca: self.etcd_ca.clone(),
            identity: self.etcd_cert.clone().zip(self.etcd_key.clone()),
            ..EtcdConfig::new(url.clone())
        })
    }

    fn user(&self) -> Result<Option<(String, Secret)>, Refused> {
        let Some(user) = &self.etcd_user else {
            return match &self.etcd_password_file {
                None => Ok(None),
                Some(_) => Err(Refused::new("--etcd-password-file needs --etcd-user")),
            };
        };
        let password = match &self.etcd_password_file {
            Some(path) => fs::read_to_string(path).map_err(|error| {
                Refused::new(format!("--etcd-password-file {}: {error}", path.display()))
            })?,
            None => env::var(PASSWORD).unwrap_or_default(),
        };
        let password = Secret::new(&password);
        if password.is_empty() {
            return Err(Refused::new(format!(
                "--etcd-user {user}: there is no password; put it into the file of \
                 --etcd-password-file, or into {PASSWORD}"
            )));
        }
        Ok(Some((user.clone(), password)))
    }

    /// Refuses flags that would be ignored.
    fn refuse_any(&self) -> Result<(), Refused> {
        let Self {
            // May come from an environment that other commands share.
            etcd_user: _,
            etcd_password_file,
            etcd_ca,
            etcd_cert,
            etcd_key,
        } = self;
        let files = [etcd_password_file, etcd_ca, etcd_cert, etcd_key];
        match files.iter().any(|file| file.is_some()) {
            true => Err(Refused::new(
                "flags of etcd need a store in etcd: write --store etcd://host:port",
            )),
            false => Ok(()),
        }
    }
}

/// Flags of a coordinator that may have to wait until it leads.
#[derive(Args, Clone, Copy, Debug)]
pub struct ElectionArgs {
    /// How long after the leading coordinator has gone silent another takes over;
    /// etcd counts whole seconds, and 2 at least.
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 3_000,
        value_parser = leader_lease,
        help_heading = "Store"
    )]
    pub leader_lease_ms: u64,
}

/// The shortest that renewals across a network, of which one may be lost, can keep
/// up with.
const SHORTEST_LEASE_MS: u64 = 1_000;

fn leader_lease(text: &str) -> Result<u64, String> {
    between(SHORTEST_LEASE_MS, text)
}

impl ElectionArgs {
    /// The lease.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.leader_lease_ms)
    }
}

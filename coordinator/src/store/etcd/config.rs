//! From `--store` and its flags to a configuration.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use cli::Secret;
use etcd::{Config, Credentials, Tls};

use crate::store::StoreError;

/// Below which keys are kept where the URL names none.
const DEFAULT_PREFIX: &str = "/peregrine";

/// Where a run's records are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StoreUrl {
    /// In a file in `--state-dir`.
    #[default]
    Embedded,
    /// In etcd.
    Etcd(EtcdUrl),
}

/// `etcd://host:port,host:port/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUrl {
    /// Whether to speak TLS: `etcds://`.
    pub tls: bool,
    /// The members, each as `host:port`.
    pub endpoints: Vec<String>,
    /// Below which keys are kept: begins with a slash, and ends in none.
    pub prefix: String,
}

/// Why `--store` was not understood.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}; write redb, etcd://host:port[,host:port…][/prefix], or etcds:// for TLS")]
pub struct StoreUrlError(String);

impl FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<StoreUrl, StoreUrlError> {
        if text == "redb" {
            return Ok(StoreUrl::Embedded);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(StoreUrlError("it names no store".to_owned()));
        };
        let tls = match scheme {
            "etcd" => false,
            "etcds" => true,
            _ => return Err(StoreUrlError("it names no store that is known".to_owned())),
        };
        let (members, prefix) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, DEFAULT_PREFIX),
        };
        // Said before anything of it can be shown.
        if members.contains('@') {
            return Err(StoreUrlError(
                "credentials do not belong on a command line: give --etcd-user, and the password \
                 in --etcd-password-file or PEREGRINE_ETCD_PASSWORD"
                    .to_owned(),
            ));
        }
        let prefix = match prefix.trim_end_matches('/') {
            "" => DEFAULT_PREFIX,
            prefix => prefix,
        };
        let endpoints: Vec<String> = members.split(',').map(str::to_owned).collect();
        for endpoint in &endpoints {
            let port = endpoint
                .rsplit_once(':')
                .map(|(host, port)| (host, port.parse()));
            match port {
                Some((host, Ok(1..=u16::MAX))) if !host.is_empty() => {}
                _ => {
                    let reason = format!("`{endpoint}` is not of the form host:port");
                    return Err(StoreUrlError(reason));
                }
            }
        }
        Ok(StoreUrl::Etcd(EtcdUrl {
            tls,
            endpoints,
            prefix: prefix.to_owned(),
        }))
    }
}

/// Everything that a connection to etcd needs.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// Where it is.
    pub url: EtcdUrl,
    /// Who to be, with the password.
    pub user: Option<(String, Secret)>,
    /// A PEM file of authorities to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of our certificate and its key, where etcd asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long one member may take to answer before another is asked.
    pub attempt: Duration,
    /// How long to go on when nobody answers.
    pub patience: Duration,
}

impl EtcdConfig {
    /// Nobody in particular, with the usual patience.
    pub fn new(url: EtcdUrl) -> EtcdConfig {
        EtcdConfig {
            url,
            user: None,
            ca: None,
            identity: None,
            attempt: Config::ATTEMPT,
            patience: Config::PATIENCE,
        }
    }

    pub(super) fn client(&self) -> Result<Config, StoreError> {
        let tls = match self.url.tls {
            false => None,
            true => Some(Tls {
                authorities: self.ca.as_ref().map(read).transpose()?,
                identity: match &self.identity {
                    None => None,
                    Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
                },
            }),
        };
        Ok(Config {
            endpoints: self.url.endpoints.clone(),
            tls,
            credentials: self
                .user
                .clone()
                .map(|(user, password)| Credentials { user, password }),
            attempt: self.attempt,
            patience: self.patience,
        })
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|source| StoreError::File {
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd(text: &str) -> EtcdUrl {
        match text.parse() {
            Ok(StoreUrl::Etcd(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn urls_name_members_tls_and_prefix() {
        let url = etcd("etcds://h1:2379,[::1]:2380/a/run/");
        assert!(url.tls);
        assert_eq!(url.endpoints, ["h1:2379", "[::1]:2380"]);
        assert_eq!(url.prefix, "/a/run");
        for plain in ["etcd://h:1", "etcd://h:1/"] {
            assert_eq!(etcd(plain).prefix, DEFAULT_PREFIX);
            assert!(!etcd(plain).tls);
        }
        assert_eq!("redb".parse::<StoreUrl>().unwrap(), StoreUrl::Embedded);
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_form_that_is() {
        for text in [
            "",
            "etcd",
            "http://h:1",
            "etcd://",
            "etcd://h",
            "etcd://h:1,",
            "etcd://:1",
        ] {
            let error = text.parse::<StoreUrl>().unwrap_err().to_string();
            assert!(error.contains("etcd://host:port"), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_shown() {
        let error = "etcd://root:hunter2@h:1".parse::<StoreUrl>().unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(
            error.to_string().contains("--etcd-password-file"),
            "{error}"
        );
    }
}

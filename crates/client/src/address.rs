//! Where a coordinator listens.

use std::fmt;
use std::str::FromStr;

/// The host and port of a coordinator, as `--coordinator` takes it:
/// `HOST:PORT`, `[IPV6]:PORT`, or either with `http://` in front.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

/// Why a text is not the address of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of a coordinator: {reason}; write HOST:PORT")]
pub struct AddressError {
    text: String,
    reason: String,
}

impl AddressError {
    pub(crate) fn missing(text: &str) -> AddressError {
        AddressError {
            text: text.to_owned(),
            reason: "there is none".to_owned(),
        }
    }
}

impl Address {
    /// The host's name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address as the URI of a gRPC endpoint.
    pub fn uri(&self) -> String {
        format!("http://{self}")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl From<std::net::SocketAddr> for Address {
    fn from(address: std::net::SocketAddr) -> Address {
        Address {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let wrong = |reason: &str| AddressError {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.starts_with("https://") {
            return Err(wrong("the coordinator does not speak TLS"));
        }
        let bare = text.strip_prefix("http://").unwrap_or(text);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        if bare.contains("://") {
            return Err(wrong("the only scheme is http"));
        }
        let (host, port) = match bare.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("a bracket is not closed"))?;
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(wrong("there is no IPv6 address between the brackets"));
                }
                let port = after
                    .strip_prefix(':')
                    .ok_or_else(|| wrong("the port is missing"))?;
                (host, port)
            }
            None => {
                let (host, port) = bare
                    .split_once(':')
                    .ok_or_else(|| wrong("the port is missing"))?;
                if port.contains(':') {
                    return Err(wrong("an IPv6 address needs brackets"));
                }
                (host, port)
            }
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        let is_host_character =
            |character: char| character.is_ascii_alphanumeric() || ".-_:".contains(character);
        if !host.chars().all(is_host_character) {
            return Err(wrong("the host has a character that no host name has"));
        }
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong("the port is not a number"));
        }
        match port.parse::<u16>() {
            Ok(0) | Err(_) => Err(wrong("the port is not between 1 and 65535")),
            Ok(port) => Ok(Address {
                host: host.to_owned(),
                port,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_and_port_are_read_with_and_without_the_scheme() {
        for text in [
            "10.0.0.7:7400",
            "http://10.0.0.7:7400",
            "http://10.0.0.7:7400/",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), "10.0.0.7:7400", "{text}");
            assert_eq!(address.uri(), "http://10.0.0.7:7400", "{text}");
        }
    }

    #[test]
    fn an_ipv6_address_keeps_its_brackets() {
        let address: Address = "[::1]:7400".parse().unwrap();
        assert_eq!(address.host(), "::1");
        assert_eq!(address.uri(), "http://[::1]:7400");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("coordinator", "the port is missing"),
            ("coordinator:", "between 1 and 65535"),
            ("coordinator:0", "between 1 and 65535"),
            ("coordinator:70000", "between 1 and 65535"),
            ("coordinator:+80", "not a number"),
            (":7400", "the host is missing"),
            ("::1:7400", "needs brackets"),
            ("fe80::1:7400", "needs brackets"),
            ("[::1]", "the port is missing"),
            ("[::1:7400", "not closed"),
            ("[host]:7400", "no IPv6 address"),
            ("https://host:7400", "does not speak TLS"),
            ("etcd://host:7400", "the only scheme is http"),
            ("ho st:7400", "no host name has"),
            ("user@host:7400", "no host name has"),
        ] {
            let message = text.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
            assert!(message.contains("HOST:PORT"), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_reads_it_writes(text in "\\PC{0,40}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }

        #[test]
        fn every_socket_address_is_an_address(ip: std::net::IpAddr, port in 1_u16..) {
            let socket = std::net::SocketAddr::new(ip, port);
            let address = socket.to_string().parse::<Address>();
            prop_assert_eq!(address, Ok(Address::from(socket)));
        }
    }
}

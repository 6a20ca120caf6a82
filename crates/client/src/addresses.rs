//! Where the coordinators of a run listen.

use std::fmt;
use std::str::FromStr;

use crate::{Address, AddressError};

/// One coordinator's address, or several of which one leads: what
/// `--coordinator` takes, as `HOST:PORT,HOST:PORT` or given again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Addresses {
    first: Address,
    others: Vec<Address>,
}

impl Addresses {
    /// The addresses without repetitions; `None` where there is none.
    pub fn of(addresses: impl IntoIterator<Item = Address>) -> Option<Addresses> {
        let mut addresses = addresses.into_iter();
        let first = addresses.next()?;
        let mut others: Vec<Address> = Vec::new();
        for address in addresses {
            if address != first && !others.contains(&address) {
                others.push(address);
            }
        }
        Some(Addresses { first, others })
    }

    /// The one to ask first.
    pub fn first(&self) -> &Address {
        &self.first
    }

    /// All of them, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Address> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Whether there is another to turn to.
    pub fn has_several(&self) -> bool {
        !self.others.is_empty()
    }
}

impl From<Address> for Addresses {
    fn from(first: Address) -> Addresses {
        Addresses {
            first,
            others: Vec::new(),
        }
    }
}

impl From<&Address> for Addresses {
    fn from(address: &Address) -> Addresses {
        address.clone().into()
    }
}

impl From<&Addresses> for Addresses {
    fn from(addresses: &Addresses) -> Addresses {
        addresses.clone()
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        for address in &self.others {
            write!(f, ",{address}")?;
        }
        Ok(())
    }
}

impl FromStr for Addresses {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Addresses, AddressError> {
        let addresses: Result<Vec<Address>, AddressError> = text
            .split(',')
            .map(|address| address.trim().parse())
            .collect();
        // Splitting gives one part at least.
        Addresses::of(addresses?).ok_or_else(|| AddressError::missing(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_addresses_are_read_in_order_and_each_once() {
        let addresses: Addresses = "a:1, b:2,a:1,[::1]:3".parse().unwrap();
        assert_eq!(addresses.to_string(), "a:1,b:2,[::1]:3");
        assert_eq!(addresses.first().to_string(), "a:1");
        assert!(addresses.has_several());
        assert!(!"a:1,a:1".parse::<Addresses>().unwrap().has_several());
    }

    #[test]
    fn the_wrong_one_of_several_is_named() {
        for (text, wrong) in [("a:1,b", "\"b\""), ("a:1,,b:2", "\"\""), ("", "\"\"")] {
            let message = text.parse::<Addresses>().unwrap_err().to_string();
            assert!(message.starts_with(wrong), "{text}: {message}");
        }
    }
}

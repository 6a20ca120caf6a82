//! An account on the chain, as people write it.

use std::fmt;
use std::str::FromStr;

use blake2::{Blake2b512, Digest as _};
use serde::{Deserialize, Serialize};

/// What the addresses of Bittensor's networks begin with, before base58: the
/// prefix of Substrate chains that have none of their own.
pub const SS58_PREFIX: u8 = 42;

/// What is hashed before prefix and public key, so that a checksum of an address
/// is no checksum of anything else.
const CHECKSUM_CONTEXT: &[u8] = b"SS58PRE";

/// How many bytes of the hash an address of 32 bytes ends with.
const CHECKSUM_BYTES: usize = 2;

/// The longest text that is looked at. The address of 32 bytes under the longest
/// prefix has 49 characters; base58 takes quadratic time.
const MAX_CHARACTERS: usize = 64;

/// An account on the chain: a hotkey's or coldkey's sr25519 public key.
///
/// [`Display`](fmt::Display) writes its ss58 address, base58 over the prefix
/// [`SS58_PREFIX`], the key and a checksum (the first two bytes of BLAKE2b-512 over
/// `SS58PRE`, prefix and key); [`FromStr`] reads it. Each account has one spelling.
///
/// That the 32 bytes are a point of the curve is not asked: the chain does not ask
/// it either, and only the holder of the private key can show it.
///
/// ```
/// let alice: subnet::Account = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY".parse()?;
/// assert_eq!(alice.bytes()[..4], [0xd4, 0x35, 0x93, 0xc7]);
/// assert_eq!(alice.to_string(), "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY");
/// # Ok::<(), subnet::AccountError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Account([u8; 32]);

/// Why a text is not the address of an [`Account`]. None of the messages repeats
/// the text, because it may be a secret that was pasted into the wrong place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// It has characters that base58 does not know, or is too long for an address.
    #[error(
        "this is not an ss58 address: give the 48 letters and digits, beginning with 5, that \
         wallets show"
    )]
    Form,
    /// It is base58, but of something other than 32 bytes under a prefix.
    #[error(
        "this is not the ss58 address of an account: it stands for {0} bytes, and prefix, public \
         key and checksum are 35"
    )]
    Length(usize),
    /// A character is wrong, missing or in the wrong place.
    #[error("the checksum of the ss58 address is wrong: copy the address again, as a whole")]
    Checksum,
    /// It is an account's address on another chain.
    #[error(
        "the ss58 address is one of another network (its prefix is {0}, and Bittensor's is \
         {SS58_PREFIX}): give the address that Bittensor wallets show, which begins with 5"
    )]
    Prefix(u16),
}

impl Account {
    /// The public key.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Account {
    fn from(public_key: [u8; 32]) -> Self {
        Self(public_key)
    }
}

impl From<Account> for [u8; 32] {
    fn from(account: Account) -> Self {
        account.0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut address = Vec::with_capacity(1 + self.0.len() + CHECKSUM_BYTES);
        address.push(SS58_PREFIX);
        address.extend_from_slice(&self.0);
        let checksum = checksum(&address);
        address.extend_from_slice(&checksum);
        f.write_str(&bs58::encode(address).into_string())
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({self})")
    }
}

impl FromStr for Account {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        if text.len() > MAX_CHARACTERS {
            return Err(AccountError::Form);
        }
        let decoded = bs58::decode(text).into_vec();
        let decoded = decoded.map_err(|_| AccountError::Form)?;
        let (prefix, prefix_bytes) = match decoded[..] {
            [prefix @ 0..=63, ..] => (u16::from(prefix), 1),
            [first @ 64..=127, second, ..] => (two_byte_prefix(first, second), 2),
            _ => return Err(AccountError::Length(decoded.len())),
        };
        if decoded.len() != prefix_bytes + 32 + CHECKSUM_BYTES {
            return Err(AccountError::Length(decoded.len()));
        }
        let (body, given) = decoded.split_at(decoded.len() - CHECKSUM_BYTES);
        if given != checksum(body) {
            return Err(AccountError::Checksum);
        }
        if prefix != u16::from(SS58_PREFIX) {
            return Err(AccountError::Prefix(prefix));
        }
        // Two bytes can spell a prefix of one as well, which nobody writes.
        let key = <[u8; 32]>::try_from(&body[1..]);
        key.map(Self).map_err(|_| AccountError::Form)
    }
}

fn checksum(prefix_and_key: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = Blake2b512::new()
        .chain_update(CHECKSUM_CONTEXT)
        .chain_update(prefix_and_key)
        .finalize();
    [hash[0], hash[1]]
}

/// Prefixes from 64 to 16383 are spread over two bytes, of which the first lies
/// between 64 and 127: the lower six bits of it are bits 2 to 7 of the prefix, and
/// the second byte holds bits 0 and 1 above bits 8 to 13.
fn two_byte_prefix(first: u8, second: u8) -> u16 {
    let lower = (first & 0b0011_1111) << 2 | second >> 6;
    let upper = second & 0b0011_1111;
    u16::from(lower) | u16::from(upper) << 8
}

impl TryFrom<String> for Account {
    type Error = AccountError;

    fn try_from(text: String) -> Result<Self, AccountError> {
        text.parse()
    }
}

impl From<Account> for String {
    fn from(account: Account) -> Self {
        account.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Substrate's well-known development account, and its key.
    const ALICE: &str = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY";
    const ALICE_KEY: &str = "d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d";

    fn refuse(text: &str) -> AccountError {
        text.parse::<Account>().unwrap_err()
    }

    /// The address of `key` under any bytes of prefix, with a right checksum.
    fn address(prefix: &[u8], key: &[u8]) -> String {
        let mut bytes = [prefix, key].concat();
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        bs58::encode(bytes).into_string()
    }

    #[test]
    fn a_known_address_stands_for_its_known_key() {
        let account: Account = ALICE.parse().unwrap();
        let key: String = account.bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(key, ALICE_KEY);
        assert_eq!(account.to_string(), ALICE);
        assert_eq!(format!("{account:?}"), format!("Account({ALICE})"));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        for place in 0..ALICE.len() {
            let mut wrong = ALICE.to_owned();
            let other = if &ALICE[place..=place] == "x" {
                "y"
            } else {
                "x"
            };
            wrong.replace_range(place..=place, other);
            assert!(wrong.parse::<Account>().is_err(), "{wrong}");
        }
        let mut swapped = ALICE.as_bytes().to_vec();
        swapped.swap(20, 21);
        let swapped = String::from_utf8(swapped).unwrap();
        assert_eq!(refuse(&swapped), AccountError::Checksum);
    }

    #[test]
    fn addresses_of_other_networks_are_refused_by_their_prefix() {
        // Polkadot's and Kusama's spelling of the same key.
        let polkadot = "15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5";
        assert_eq!(refuse(polkadot), AccountError::Prefix(0));
        let kusama = "HNZata7iMYWmk5RvZRTiAsSDhV8366zq2YGb3tLH5Upf74F";
        assert_eq!(refuse(kusama), AccountError::Prefix(2));
        // 0b01_001011_01_000000 stands for 0b000000_00101101, and the like.
        let wide = address(&[0b0100_1011, 0b0100_0000], &[7; 32]);
        assert_eq!(refuse(&wide), AccountError::Prefix(0b10_1101));
        let widest = address(&[0x7f, 0xff], &[7; 32]);
        assert_eq!(refuse(&widest), AccountError::Prefix(16_383));
        assert_eq!(widest.len(), 49);
        // 42 spelled in two bytes.
        let detour = address(&[0b0100_1010, 0b1000_0000], &[7; 32]);
        assert_eq!(refuse(&detour), AccountError::Form);
    }

    #[test]
    fn what_is_no_address_at_all_is_refused_and_not_repeated() {
        let hex = format!("0x{ALICE_KEY}");
        let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
        let other = [
            " ",
            &format!("{ALICE} "),
            &format!("{ALICE}é"),
            &"5".repeat(65),
        ];
        for text in [hex.as_str(), words].into_iter().chain(other) {
            assert_eq!(refuse(text), AccountError::Form, "{text:?}");
        }
        assert_eq!(refuse(""), AccountError::Length(0));
        let index = address(&[SS58_PREFIX], &[1, 2, 3, 4]);
        assert_eq!(refuse(&index), AccountError::Length(7));
        assert_eq!(refuse(&address(&[200], &[7; 32])), AccountError::Length(35));
        assert_eq!(
            refuse(&address(&[SS58_PREFIX], &[7; 33])),
            AccountError::Length(36)
        );
    }

    #[test]
    fn it_is_kept_in_json_as_its_address() {
        let account: Account = ALICE.parse().unwrap();
        let json = serde_json::to_string(&account).unwrap();
        assert_eq!(json, format!("{ALICE:?}"));
        assert_eq!(serde_json::from_str::<Account>(&json).unwrap(), account);
        assert!(serde_json::from_str::<Account>("\"5Grw\"").is_err());
    }
}

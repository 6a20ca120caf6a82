//! Keyfiles under a password, as Bittensor's wallets encrypt them: `$NACL`, a nonce
//! of 24 bytes, then NaCl's secretbox (a tag of 16 bytes and the JSON under
//! XSalsa20). The key of the box is the password under Argon2i with libsodium's
//! "sensitive" number of passes, a fixed salt, and one lane.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use crypto_secretbox::{AeadInPlace as _, Key, KeyInit as _, Nonce, Tag, XSalsa20Poly1305};
use zeroize::Zeroizing;

use super::KeyfileError;

/// What encrypted keyfiles begin with.
pub const MAGIC: &[u8] = b"$NACL";

/// The salt of every encrypted keyfile, so that a password alone opens it.
pub const SALT: [u8; 16] = [
    0x13, 0x71, 0x83, 0xdf, 0xf1, 0x5a, 0x09, 0xbc, 0x9c, 0x90, 0xb5, 0x51, 0x87, 0x39, 0xe9, 0xb1,
];

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// What it costs to get from a password to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfCost {
    /// The memory, in KiB; at least 8.
    pub memory_kib: u32,
    /// How often it is filled; at least 1.
    pub passes: u32,
}

impl KdfCost {
    /// That of Bittensor's wallets: 512 MiB filled eight times, which takes a few
    /// seconds. A keyfile does not say its cost, so with another one it does not open.
    pub const BITTENSOR: Self = Self {
        memory_kib: 512 << 10,
        passes: 8,
    };
}

/// An encrypted keyfile in its parts.
#[derive(Clone, Copy, Debug)]
pub struct Encrypted<'a> {
    nonce: &'a [u8; NONCE_BYTES],
    tag: &'a [u8; TAG_BYTES],
    ciphertext: &'a [u8],
}

impl<'a> Encrypted<'a> {
    /// Splits what comes after [`MAGIC`].
    pub(super) fn split(rest: &'a [u8]) -> Result<Self, KeyfileError> {
        let parts = rest
            .split_first_chunk()
            .and_then(|(nonce, sealed)| Some((nonce, sealed.split_first_chunk()?)));
        let Some((nonce, (tag, ciphertext))) = parts else {
            let bytes = MAGIC.len() + rest.len();
            return Err(KeyfileError::CutShort { bytes });
        };
        Ok(Self {
            nonce,
            tag,
            ciphertext,
        })
    }

    /// Decrypts the JSON. Takes the memory and the time that `cost` says, so it
    /// belongs on a thread that may block.
    ///
    /// # Errors
    /// If the password does not fit, or the memory cannot be had.
    pub fn decrypt(
        &self,
        password: &[u8],
        cost: KdfCost,
    ) -> Result<Zeroizing<Vec<u8>>, KeyfileError> {
        let key = derive_key(password, cost)?;
        let secretbox = XSalsa20Poly1305::new(Key::from_slice(&*key));
        let mut json = Zeroizing::new(self.ciphertext.to_vec());
        let (nonce, tag) = (Nonce::from_slice(self.nonce), Tag::from_slice(self.tag));
        secretbox
            .decrypt_in_place_detached(nonce, &[], &mut json, tag)
            .map_err(|_| KeyfileError::WrongPassword)?;
        Ok(json)
    }
}

fn derive_key(password: &[u8], cost: KdfCost) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyfileError> {
    let out_of_memory = || KeyfileError::OutOfMemory {
        mebibytes: cost.memory_kib.div_ceil(1 << 10),
    };
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(KEY_BYTES));
    let params = params.map_err(|_| out_of_memory())?;
    // argon2 would allocate the memory itself, but not zero it afterwards: its last
    // block is the key but for one hash.
    let blocks = params.block_count();
    let mut memory = Zeroizing::new(Vec::new());
    memory
        .try_reserve_exact(blocks)
        .map_err(|_| out_of_memory())?;
    memory.resize(blocks, Block::new());
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Argon2::new(Algorithm::Argon2i, Version::V0x13, params)
        .hash_password_into_with_memory(password, &SALT, &mut *key, memory.as_mut_slice())
        // What is left is a password of more than 4 GiB.
        .map_err(|_| KeyfileError::WrongPassword)?;
    Ok(key)
}

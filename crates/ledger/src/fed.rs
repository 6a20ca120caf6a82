//! A digest of what was really fed to the model, that can be summed over
//! ranks.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// 2^32: a limb's modulus.
const LIMB_MODULUS: u64 = 1 << 32;
/// 2^53: below it, every whole number is an exact `f64`.
const EXACT_F64: f64 = 9_007_199_254_740_992.0;

/// A digest of a set of sequences together with their positions.
///
/// One sequence hashes to the first 16 bytes of
/// `blake3(position as LE u64 ‖ ids as LE u32)`, read as four little-endian
/// limbs of 32 bits; a set is the limb-wise sum modulo 2^32. So the sum does
/// not depend on how a step was cut into shares, and a sequence that was fed
/// twice, or not at all, or with one wrong id, changes it. It guards against
/// faults, not against forgers.
///
/// Ranks sum digests with the all-reduce that sums losses, as four `f64`:
/// [`FedDigest::to_f64_limbs`] and [`FedDigest::from_f64_limbs`] are exact for
/// fewer than 2^21 ranks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FedDigest([u32; 4]);

impl FedDigest {
    /// The digest of nothing: what a rank with an empty share reports.
    pub const ZERO: FedDigest = FedDigest([0; 4]);

    /// The digest of one sequence at `position`.
    pub fn of(position: u64, ids: &[u32]) -> FedDigest {
        let mut bytes = Vec::with_capacity(8 + 4 * ids.len());
        bytes.extend_from_slice(&position.to_le_bytes());
        bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        let hash = blake3::hash(&bytes);
        let (words, _) = hash.as_bytes().as_chunks::<4>();
        FedDigest(std::array::from_fn(|limb| u32::from_le_bytes(words[limb])))
    }

    /// The limbs as exact floating-point numbers, each below 2^32.
    pub fn to_f64_limbs(self) -> [f64; 4] {
        self.0.map(f64::from)
    }

    /// The digest from limbs that were summed over ranks, reduced modulo 2^32.
    /// `None` if a limb is not a whole number from 0 to below 2^53: then the
    /// sum did not come from digests.
    pub fn from_f64_limbs(limbs: &[f64; 4]) -> Option<FedDigest> {
        let mut reduced = [0; 4];
        for (target, limb) in reduced.iter_mut().zip(limbs) {
            let exact = (0.0..EXACT_F64).contains(limb) && limb.fract() == 0.0;
            if !exact {
                return None;
            }
            *target = (*limb as u64 % LIMB_MODULUS) as u32;
        }
        Some(FedDigest(reduced))
    }

    fn zip_with(self, other: FedDigest, operation: fn(u32, u32) -> u32) -> FedDigest {
        FedDigest(std::array::from_fn(|limb| {
            operation(self.0[limb], other.0[limb])
        }))
    }
}

impl Add for FedDigest {
    type Output = FedDigest;

    fn add(self, other: FedDigest) -> FedDigest {
        self.zip_with(other, u32::wrapping_add)
    }
}

impl Sub for FedDigest {
    type Output = FedDigest;

    fn sub(self, other: FedDigest) -> FedDigest {
        self.zip_with(other, u32::wrapping_sub)
    }
}

impl Neg for FedDigest {
    type Output = FedDigest;

    fn neg(self) -> FedDigest {
        FedDigest::ZERO - self
    }
}

impl AddAssign for FedDigest {
    fn add_assign(&mut self, other: FedDigest) {
        *self = *self + other;
    }
}

impl Sum for FedDigest {
    fn sum<I: Iterator<Item = FedDigest>>(digests: I) -> FedDigest {
        digests.fold(FedDigest::ZERO, Add::add)
    }
}

/// 32 hexadecimal digits, the first limb first.
impl fmt::Display for FedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|limb| write!(f, "{limb:08x}"))
    }
}

impl fmt::Debug for FedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FedDigest({self})")
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fed digest: 32 hexadecimal digits are expected")]
pub struct FedDigestParseError(String);

impl FromStr for FedDigest {
    type Err = FedDigestParseError;

    fn from_str(text: &str) -> Result<FedDigest, FedDigestParseError> {
        let error = || FedDigestParseError(text.to_owned());
        // `from_str_radix` would accept a sign.
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        let mut limbs = [0; 4];
        for (index, limb) in limbs.iter_mut().enumerate() {
            let digits = &text[8 * index..8 * (index + 1)];
            *limb = u32::from_str_radix(digits, 16).map_err(|_| error())?;
        }
        Ok(FedDigest(limbs))
    }
}

impl Serialize for FedDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FedDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FedDigest, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

//! A keyed permutation of `0..len` that needs no list.

/// More rounds than the four that make a Feistel network with ideal round
/// functions a pseudo-random permutation, since ours are merely good mixers.
const ROUNDS: usize = 8;

/// Even a tiny permutation walks over 2^8 values: on smaller domains a Feistel
/// network reaches only a fraction of the possible permutations.
const MIN_HALF_BITS: u32 = 4;

/// A permutation of `0..len`: a balanced Feistel network over the next even
/// power of two, and cycle walking (Black and Rogaway, "Ciphers with Arbitrary
/// Finite Domains", 2002) to stay within `len`.
pub(crate) struct Permutation {
    len: u64,
    half_bits: u32,
    round_keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` that `key` chooses. `len` is not 0.
    pub(crate) fn new(len: u64, key: &[u8]) -> Permutation {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(MIN_HALF_BITS);
        let mut stream = blake3::Hasher::new_derive_key("peregrine ledger order v1")
            .update(key)
            .finalize_xof();
        let round_keys = std::array::from_fn(|_| {
            let mut bytes = [0; 8];
            stream.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        });
        Permutation {
            len,
            half_bits,
            round_keys,
        }
    }

    /// Where `index`, below `len`, is sent. The domain is at most four times
    /// `len` (or 256), so a walk takes few turns; it ends because a permutation
    /// of the domain leads every walk back to its start.
    pub(crate) fn apply(&self, index: u64) -> u64 {
        debug_assert!(index < self.len, "{index} is outside 0..{}", self.len);
        let mut value = self.feistel(index);
        while value >= self.len {
            value = self.feistel(value);
        }
        value
    }

    fn feistel(&self, value: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let mut left = value >> self.half_bits;
        let mut right = value & mask;
        for key in self.round_keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014): every input bit
/// affects every output bit.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::Permutation;

    /// Asserts that every value below `len` is hit once.
    fn assert_bijection(len: u64, key: &[u8]) {
        let permutation = Permutation::new(len, key);
        let mut seen = vec![false; len as usize];
        for index in 0..len {
            let value = permutation.apply(index) as usize;
            assert!(!seen[value], "length {len}: {value} is hit twice");
            seen[value] = true;
        }
    }

    #[test]
    fn is_a_bijection_for_every_small_length() {
        for len in 1..=600 {
            assert_bijection(len, &len.to_le_bytes());
        }
    }

    #[test]
    fn is_a_bijection_around_powers_of_two() {
        for power in [1 << 8, 1 << 10, 1 << 12, 1 << 16] {
            for len in power - 1..=power + 1 {
                assert_bijection(len, b"powers");
            }
        }
    }

    #[test]
    fn is_a_bijection_of_all_of_falcon_refinedweb() {
        assert_bijection(9_680_001, b"falcon");
    }

    #[test]
    fn stays_within_the_largest_lengths() {
        for len in [u64::MAX, 1 << 63, (1 << 63) + 1] {
            let permutation = Permutation::new(len, b"large");
            let hits: std::collections::HashSet<u64> =
                (0..1000).map(|index| permutation.apply(index)).collect();
            assert_eq!(hits.len(), 1000);
            assert!(hits.iter().all(|hit| *hit < len));
        }
    }

    #[test]
    fn spreads_neighbours_evenly() {
        let permutation = Permutation::new(9_680_001, b"spread");
        let mut tenths = [0; 10];
        for index in 0..10_000 {
            tenths[(permutation.apply(index) * 10 / 9_680_001) as usize] += 1;
        }
        // The standard deviation of each count is 30.
        assert!(
            tenths.iter().all(|count| (850..1150).contains(count)),
            "{tenths:?}"
        );
    }
}

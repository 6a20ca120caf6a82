//! Whether weights are numbers.

use crate::{Dtype, Gpt2Config, LayoutError, ModelDir, TensorBytes, tensors};

/// The first tensor with a value that is infinite or not a number; `None` when
/// there is no such value among all of them. One tensor is in memory at a time.
///
/// # Errors
/// When a tensor cannot be read.
pub fn first_non_finite(
    model: &ModelDir,
    config: &Gpt2Config,
) -> Result<Option<String>, LayoutError> {
    for spec in tensors(config) {
        if !is_finite(&model.read_tensor(&spec.name)?) {
            return Ok(Some(spec.name));
        }
    }
    Ok(None)
}

/// IEEE 754: a value is infinite or not a number when all bits of its exponent
/// are set, and only then.
fn is_finite(tensor: &TensorBytes) -> bool {
    const F32_EXPONENT: u32 = 0x7f80_0000;
    const F16_EXPONENT: u16 = 0x7c00;
    const BF16_EXPONENT: u16 = 0x7f80;
    let halves_are_finite = |exponent: u16| {
        let (halves, _) = tensor.bytes.as_chunks::<2>();
        halves
            .iter()
            .all(|&bytes| u16::from_le_bytes(bytes) & exponent != exponent)
    };
    match tensor.dtype {
        Dtype::F16 => halves_are_finite(F16_EXPONENT),
        Dtype::BF16 => halves_are_finite(BF16_EXPONENT),
        Dtype::F32 => {
            let (words, _) = tensor.bytes.as_chunks::<4>();
            words
                .iter()
                .all(|&bytes| u32::from_le_bytes(bytes) & F32_EXPONENT != F32_EXPONENT)
        }
        // `ModelDir::check` lets no other type through; one that cannot be
        // looked at is not vouched for.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: Dtype, bytes: Vec<u8>) -> TensorBytes {
        TensorBytes {
            dtype,
            shape: Vec::new(),
            bytes,
        }
    }

    fn f32s(values: &[f32]) -> TensorBytes {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        tensor(Dtype::F32, bytes)
    }

    #[test]
    fn one_bad_value_anywhere_is_found() {
        let good = [0.0, -0.0, 1.5, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45];
        assert!(is_finite(&f32s(&good)));
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in 0..good.len() {
                let mut values = good;
                values[place] = bad;
                assert!(!is_finite(&f32s(&values)), "{bad} at {place}");
            }
        }
    }

    #[test]
    fn half_precision_is_understood_in_both_forms() {
        let bits = |bits: u16| bits.to_le_bytes().to_vec();
        // 0x7c00 is infinity in F16 and 2.6e36 in BF16; 0x7f80 is not a number
        // in F16 and infinity in BF16.
        assert!(!is_finite(&tensor(Dtype::F16, bits(0x7c00))));
        assert!(is_finite(&tensor(Dtype::BF16, bits(0x7c00))));
        assert!(!is_finite(&tensor(Dtype::BF16, bits(0x7f80))));
        assert!(!is_finite(&tensor(Dtype::BF16, bits(0xffc0))));
        assert!(is_finite(&tensor(Dtype::F16, bits(0x7bff))));
    }
}

//! The emptiest value of any type: zero, false, nothing.

use scale_info::{PortableRegistry, TypeDef, TypeDefPrimitive};
use subxt::ext::codec::{Compact, Encode as _};

/// Appends the emptiest value of a type: numbers are 0, booleans false, sequences and
/// strings empty, an enumeration its variant of the lowest index (`None` of an
/// `Option`).
pub(super) fn encode_zero(types: &PortableRegistry, id: u32, out: &mut Vec<u8>) {
    let Some(ty) = types.resolve(id) else {
        return;
    };
    match &ty.type_def {
        TypeDef::Composite(composite) => {
            for field in &composite.fields {
                encode_zero(types, field.ty.id, out);
            }
        }
        TypeDef::Variant(variants) => {
            let lowest = variants.variants.iter().min_by_key(|variant| variant.index);
            if let Some(variant) = lowest {
                out.push(variant.index);
                for field in &variant.fields {
                    encode_zero(types, field.ty.id, out);
                }
            }
        }
        TypeDef::Sequence(_) | TypeDef::BitSequence(_) => Compact(0u32).encode_to(out),
        TypeDef::Array(array) => {
            for _ in 0..array.len {
                encode_zero(types, array.type_param.id, out);
            }
        }
        TypeDef::Tuple(tuple) => {
            for field in &tuple.fields {
                encode_zero(types, field.id, out);
            }
        }
        TypeDef::Compact(_) => Compact(0u32).encode_to(out),
        TypeDef::Primitive(primitive) => {
            let bytes = match primitive {
                TypeDefPrimitive::Bool
                | TypeDefPrimitive::U8
                | TypeDefPrimitive::I8
                | TypeDefPrimitive::Str => 1,
                TypeDefPrimitive::U16 | TypeDefPrimitive::I16 => 2,
                TypeDefPrimitive::Char | TypeDefPrimitive::U32 | TypeDefPrimitive::I32 => 4,
                TypeDefPrimitive::U64 | TypeDefPrimitive::I64 => 8,
                TypeDefPrimitive::U128 | TypeDefPrimitive::I128 => 16,
                TypeDefPrimitive::U256 | TypeDefPrimitive::I256 => 32,
            };
            out.resize(out.len() + bytes, 0);
        }
    }
}

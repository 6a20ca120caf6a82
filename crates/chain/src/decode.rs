//! Understanding what strangers have committed.

use subxt::ext::scale_decode::TypeResolver;
use subxt::ext::scale_decode::visitor::{IgnoreVisitor, decode_with_visitor};
use subxt::ext::scale_value::scale::decode_as_type;
use subxt::ext::scale_value::{Composite, Primitive, Value, ValueDef, Variant};

use crate::Commitment;

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitmentData {
    /// One piece of plain data that is UTF-8, as a chain string is.
    Text(String),
    /// One piece of plain data that is not UTF-8.
    Bytes(Vec<u8>),
    /// Anything else; why, in words.
    Unreadable(String),
}

impl CommitmentData {
    /// The text, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            CommitmentData::Text(text) => Some(text),
            CommitmentData::Bytes(_) | CommitmentData::Unreadable(_) => None,
        }
    }
}

impl std::fmt::Display for CommitmentData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CommitmentData::Text(text) => write!(f, "{text:?}"),
            CommitmentData::Bytes(bytes) => write!(f, "{} bytes that are no text", bytes.len()),
            CommitmentData::Unreadable(why) => write!(f, "nothing readable: {why}"),
        }
    }
}

/// Understands the bytes that `Commitments.CommitmentOf` stores, by the type that a
/// runtime's metadata gives for them. Bytes that are not of that type are
/// [`CommitmentData::Unreadable`], of block 0.
#[must_use]
pub fn decode_stored<Types: TypeResolver>(
    bytes: &[u8],
    type_id: Types::TypeId,
    types: &Types,
) -> Commitment {
    let unreadable = |why: String| Commitment {
        block: 0,
        data: CommitmentData::Unreadable(format!(
            "its bytes are not what the runtime's metadata says ({why})"
        )),
    };
    // Reads without keeping anything, because decoding to a value reserves memory for
    // as many elements as the bytes claim to have.
    let mut rest = bytes;
    let ignoring = IgnoreVisitor::<Types>::new();
    if let Err(error) = decode_with_visitor(&mut rest, type_id.clone(), types, ignoring) {
        return unreadable(error.to_string());
    }
    if !rest.is_empty() {
        return unreadable(format!("{} bytes are left over", rest.len()));
    }
    match decode_as_type(&mut &*bytes, type_id, types) {
        Ok(value) => decode_commitment(&value),
        Err(error) => unreadable(error.to_string()),
    }
}

/// Understands the value of `Commitments.CommitmentOf`, as decoded by the runtime's
/// own metadata: a composite with the number `block` and the composite `info`,
/// whose `fields` are variants named `None`, `Raw0` to `Raw128`, `BigRaw`,
/// `TimelockEncrypted`, `ResetBondsFlag` or by a hash function.
///
/// It never fails and never panics; what a validator would not take for a chain
/// string becomes [`CommitmentData::Unreadable`].
#[must_use]
pub fn decode_commitment<T>(value: &Value<T>) -> Commitment {
    let block = field(value, "block")
        .and_then(number)
        .and_then(|block| u64::try_from(block).ok());
    let data = match field(value, "info").and_then(|info| field(info, "fields")) {
        Some(fields) => decode_fields(fields),
        None => CommitmentData::Unreadable("it has no fields to speak of".to_owned()),
    };
    Commitment {
        block: block.unwrap_or(0),
        data,
    }
}

fn decode_fields<T>(fields: &Value<T>) -> CommitmentData {
    let mut variants = Vec::new();
    collect_variants(fields, &mut variants);
    match variants[..] {
        [] => CommitmentData::Unreadable("it has no field".to_owned()),
        [only] => decode_field(only),
        ref several => {
            let kinds: Vec<&str> = several.iter().map(|field| &field.name[..]).collect();
            CommitmentData::Unreadable(format!(
                "it has {} fields ({}), and a model's has one",
                kinds.len(),
                kinds.join(", ")
            ))
        }
    }
}

fn decode_field<T>(field: &Variant<T>) -> CommitmentData {
    let kind = &field.name[..];
    let why = match kind {
        "None" => "its field is empty (None)".to_owned(),
        "BigRaw" => "its field is of the kind BigRaw, which validators read as empty".to_owned(),
        "TimelockEncrypted" => "it is encrypted until a later time".to_owned(),
        "ResetBondsFlag" => "it is a flag (ResetBondsFlag) without data".to_owned(),
        "BlakeTwo256" | "Sha256" | "Keccak256" | "ShaThree256" => {
            format!("it is a hash ({kind}) of data that is not on the chain")
        }
        _ => match raw_length(kind) {
            Some(length) => return decode_raw(kind, length, &field.values),
            None => format!("its field is of an unknown kind ({kind})"),
        },
    };
    CommitmentData::Unreadable(why)
}

fn decode_raw<T>(kind: &str, length: usize, values: &Composite<T>) -> CommitmentData {
    let mut bytes = Vec::with_capacity(length);
    if !values
        .values()
        .all(|value| collect_bytes(value, &mut bytes))
        || bytes.len() != length
    {
        return CommitmentData::Unreadable(format!(
            "its field {kind} does not hold that many bytes"
        ));
    }
    if bytes.is_empty() {
        return CommitmentData::Unreadable(format!("its field is empty ({kind})"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => CommitmentData::Text(text),
        Err(error) => CommitmentData::Bytes(error.into_bytes()),
    }
}

/// The length in the name `RawN`.
fn raw_length(kind: &str) -> Option<usize> {
    let length: u8 = kind.strip_prefix("Raw")?.parse().ok()?;
    (length <= 128).then_some(usize::from(length))
}

/// The variants in a value, through whatever lists and wrappers lie around them:
/// a bounded list is a wrapper around a list.
fn collect_variants<'a, T>(value: &'a Value<T>, into: &mut Vec<&'a Variant<T>>) {
    match &value.value {
        ValueDef::Variant(variant) => into.push(variant),
        ValueDef::Composite(composite) => {
            for inner in composite.values() {
                collect_variants(inner, into);
            }
        }
        ValueDef::Primitive(_) | ValueDef::BitSequence(_) => {}
    }
}

/// Appends the bytes in a value; false if there is something else in it.
fn collect_bytes<T>(value: &Value<T>, into: &mut Vec<u8>) -> bool {
    match &value.value {
        ValueDef::Composite(composite) => {
            composite.values().all(|inner| collect_bytes(inner, into))
        }
        ValueDef::Primitive(Primitive::U128(number)) => match u8::try_from(*number) {
            Ok(byte) => {
                into.push(byte);
                true
            }
            Err(_) => false,
        },
        _ => false,
    }
}

fn field<'a, T>(value: &'a Value<T>, name: &str) -> Option<&'a Value<T>> {
    let ValueDef::Composite(Composite::Named(fields)) = &value.value else {
        return None;
    };
    let (_, value) = fields.iter().find(|(field, _)| field == name)?;
    Some(value)
}

/// A number, through the wrappers around it.
fn number<T>(value: &Value<T>) -> Option<u128> {
    match &value.value {
        ValueDef::Primitive(Primitive::U128(number)) => Some(*number),
        ValueDef::Composite(composite) if composite.len() == 1 => {
            composite.values().next().and_then(number)
        }
        _ => None,
    }
}

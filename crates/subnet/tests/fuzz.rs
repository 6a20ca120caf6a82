//! The texts that strangers put on the chain and on command lines: reading them
//! never panics, and what is read is written back the same.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde::Serialize;
use serde::de::DeserializeOwned;
use subnet::{Account, CommitId, ModelHash, ModelId, RepoId};

fn config() -> ProptestConfig {
    let cases = std::env::var("PEREGRINE_FUZZ_CASES");
    let cases = cases.map_or(2000, |text| text.parse().expect("PEREGRINE_FUZZ_CASES"));
    ProptestConfig::with_cases(cases)
}

/// Characters that mean something in one of the formats, and some that do not.
const MARKS: [char; 20] = [
    ':',
    '/',
    '.',
    '-',
    '_',
    '=',
    '+',
    '0',
    'f',
    'F',
    'g',
    'O',
    'l',
    '5',
    'N',
    ' ',
    '\0',
    '\n',
    'é',
    '\u{1f985}',
];

/// A text after a few of its characters were replaced, inserted, dropped, swapped or
/// repeated: what random text would never come near.
fn nearly(valid: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let character = prop_oneof![3 => select(&MARKS[..]), 1 => any::<char>()];
    let edit = (any::<Index>(), 0..6, character);
    (valid, prop::collection::vec(edit, 0..4)).prop_map(|(text, edits)| {
        let mut characters: Vec<char> = text.chars().collect();
        for (place, kind, character) in edits {
            let place = place.index(characters.len() + 1);
            match kind {
                0 => characters.insert(place, character),
                1 if place < characters.len() => characters[place] = character,
                2 if place < characters.len() => drop(characters.remove(place)),
                3 if place + 1 < characters.len() => characters.swap(place, place + 1),
                4 => characters.truncate(place),
                _ => characters.extend_from_within(place..),
            }
        }
        characters.into_iter().collect()
    })
}

/// Either close to what is valid, or anything at all.
fn text(valid: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop_oneof![9 => nearly(valid), 1 => any::<String>()]
}

fn part() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_]{1,9}([-._][A-Za-z0-9_]{1,9}){0,2}"
}

fn repo() -> impl Strategy<Value = String> {
    (part(), part()).prop_map(|(namespace, name)| format!("{namespace}/{name}"))
}

fn commit() -> impl Strategy<Value = String> {
    "[0-9a-f]{40}"
}

fn hash() -> impl Strategy<Value = String> {
    any::<[u8; 32]>().prop_map(|bytes| {
        let hash = ModelHash::of_files(&[("model", bytes)]).unwrap();
        hash.to_string()
    })
}

fn account() -> impl Strategy<Value = String> {
    any::<[u8; 32]>().prop_map(|key| Account::from(key).to_string())
}

fn chain_string() -> impl Strategy<Value = String> {
    let or_none =
        |part: BoxedStrategy<String>| prop_oneof![3 => part, 1 => Just("None".to_owned())];
    let (commit, hash) = (or_none(commit().boxed()), or_none(hash().boxed()));
    (part(), part(), commit, hash)
        .prop_map(|(namespace, name, commit, hash)| format!("{namespace}:{name}:{commit}:{hash}"))
}

/// That a text is refused with a message, or written back as it was read, in JSON too.
fn reads_as_it_is_written<T>(text: &str) -> Result<(), TestCaseError>
where
    T: FromStr + Display + PartialEq + Debug + Serialize + DeserializeOwned,
    T::Err: Display,
{
    let json = serde_json::to_string(text).unwrap();
    match text.parse::<T>() {
        Ok(value) => {
            prop_assert_eq!(&value.to_string(), text);
            prop_assert_eq!(&serde_json::to_string(&value).unwrap(), &json);
            prop_assert_eq!(serde_json::from_str::<T>(&json).unwrap(), value);
        }
        Err(error) => {
            prop_assert!(!error.to_string().is_empty());
            prop_assert!(serde_json::from_str::<T>(&json).is_err());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn chain_strings(text in text(chain_string())) {
        reads_as_it_is_written::<ModelId>(&text)?;
    }

    /// A chain string that was read fits onto the chain again, and no message about
    /// one that was refused is much longer than the string may be.
    #[test]
    fn chain_strings_and_messages_are_bounded(text in text(chain_string()), times in 1..50_usize) {
        let text = text.repeat(times);
        match text.parse::<ModelId>() {
            Ok(id) => prop_assert!(id.to_string().len() <= subnet::MAX_CHAIN_BYTES),
            Err(error) => prop_assert!(error.to_string().len() < 2000),
        }
    }

    #[test]
    fn repositories(text in text(repo())) {
        reads_as_it_is_written::<RepoId>(&text)?;
    }

    #[test]
    fn commits(text in text(commit())) {
        reads_as_it_is_written::<CommitId>(&text)?;
    }

    #[test]
    fn hashes(text in text(hash())) {
        reads_as_it_is_written::<ModelHash>(&text)?;
    }

    #[test]
    fn accounts(text in text(account())) {
        reads_as_it_is_written::<Account>(&text)?;
    }

    #[test]
    fn every_key_has_an_address_that_stands_for_it(key in any::<[u8; 32]>()) {
        let address = Account::from(key).to_string();
        prop_assert_eq!(address.parse::<Account>(), Ok(Account::from(key)));
    }
}

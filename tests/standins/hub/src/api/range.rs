//! The `Range` header.
//!
//! One range of bytes, as RFC 9110 describes it; a header that is not understood
//! is ignored, as the RFC asks.

/// What part of a file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// `from..to` of the file's bytes, not empty.
    Part(u64, u64),
    /// Nothing that the file has.
    Unsatisfiable,
}

/// Reads a header's value for a file of this length.
pub(super) fn wanted(header: Option<&str>, bytes: u64) -> Wanted {
    let Some((first, last)) = header
        .and_then(|value| value.strip_prefix("bytes="))
        .and_then(|set| set.split_once('-'))
    else {
        return Wanted::All;
    };
    let (from, to) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(bytes)),
        (Ok(first), Err(_)) if last.trim().is_empty() => (first, bytes),
        (Err(_), Ok(count)) if first.trim().is_empty() => (bytes.saturating_sub(count), bytes),
        _ => return Wanted::All,
    };
    if from < to {
        Wanted::Part(from, to)
    } else {
        Wanted::Unsatisfiable
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        for (header, expected) in [
            (None, Wanted::All),
            (Some("bytes=0-9"), Wanted::Part(0, 10)),
            (Some("bytes=5-"), Wanted::Part(5, 100)),
            (Some("bytes=-5"), Wanted::Part(95, 100)),
            (Some("bytes=90-1000"), Wanted::Part(90, 100)),
            (Some("bytes=100-"), Wanted::Unsatisfiable),
            (Some("bytes=-0"), Wanted::Unsatisfiable),
            (Some("bytes=9-5"), Wanted::All),
            (Some("bytes=0-1,5-6"), Wanted::All),
            (Some("lines=0-9"), Wanted::All),
        ] {
            assert_eq!(wanted(header, 100), expected, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_file(header in "bytes=[0-9]{0,22}-[0-9]{0,22}|.{0,20}", bytes: u64) {
            if let Wanted::Part(from, to) = wanted(Some(&header), bytes) {
                prop_assert!(from < to && to <= bytes);
            }
        }
    }
}

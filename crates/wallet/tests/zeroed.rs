//! What is left of a key in this process's memory when it was used and dropped. The
//! only test of its process, so that nobody else's memory is looked at.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use wallet::{Hotkey, Password, WalletLocation};

const PASSWORD: [u8; 19] = masked_from(include_bytes!("fixtures/password.txt"), b"");
const KEYFILE: &[u8] = include_bytes!("fixtures/mnemonic-12.json");
/// What secrets are hidden under here, so that the scan does not find its own needles.
const MASK: u8 = 0x5a;

const SEED_TEXT: [u8; 64] = masked(b"\"secretSeed\":\"0x");
const PRIVATE_TEXT: [u8; 128] = masked(b"\"privateKey\":\"0x");
const PHRASE: [u8; 40] = masked(b"\"secretPhrase\":\"");
const SEED: [u8; 32] = masked_bytes(&SEED_TEXT);
const PRIVATE_KEY: [u8; 64] = masked_bytes(&PRIVATE_TEXT);

/// The first `N` bytes of a field of the fixture, masked, computed when this is
/// compiled, so that they are never in memory otherwise.
const fn masked<const N: usize>(field: &[u8]) -> [u8; N] {
    masked_from(KEYFILE, field)
}

const fn masked_from<const N: usize>(file: &[u8], field: &[u8]) -> [u8; N] {
    let mut start = 0;
    let mut matching = 0;
    while matching < field.len() {
        if file[start + matching] == field[matching] {
            matching += 1;
        } else {
            start += 1;
            matching = 0;
        }
    }
    let mut value = [0; N];
    let mut place = 0;
    while place < N {
        value[place] = file[start + field.len() + place] ^ MASK;
        place += 1;
    }
    value
}

/// The bytes that masked hexadecimal digits stand for, masked.
const fn masked_bytes<const N: usize>(digits: &[u8]) -> [u8; N] {
    const fn digit(masked: u8) -> u8 {
        match masked ^ MASK {
            digit @ b'0'..=b'9' => digit - b'0',
            letter => letter - b'a' + 10,
        }
    }
    let mut bytes = [0; N];
    let mut place = 0;
    while place < N {
        bytes[place] = (digit(digits[2 * place]) << 4 | digit(digits[2 * place + 1])) ^ MASK;
        place += 1;
    }
    bytes
}

/// How often a masked secret is in this process's writable memory.
fn count(needle: &[u8]) -> usize {
    let mut buffer = vec![0; 1 << 20];
    let own = buffer.as_ptr().addr() as u64;
    let own = own..own + buffer.len() as u64;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut places = BTreeSet::new();
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ').unwrap();
        if !rest.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let mut start = u64::from_str_radix(start, 16).unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        while start < end {
            if own.contains(&start) {
                start = own.end;
                continue;
            }
            // Up to the buffer itself, in which every needle that is found would be
            // found again.
            let stop = if start < own.start {
                end.min(own.start)
            } else {
                end
            };
            let length = usize::try_from(stop - start).unwrap().min(buffer.len());
            let read = &mut buffer[..length];
            if memory.read_exact_at(read, start).is_ok() {
                read.iter_mut().for_each(|byte| *byte ^= MASK);
                let windows = read.windows(needle.len()).enumerate();
                let found = windows.filter(|(_, window)| *window == needle);
                places.extend(found.map(|(place, _)| start + place as u64));
            }
            // The next piece begins inside this one, so that none is cut in two.
            let overlap = if start + (length as u64) < stop {
                needle.len()
            } else {
                0
            };
            start += (length - overlap) as u64;
        }
    }
    places.len()
}

#[test]
fn nothing_of_a_key_stays_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let location = WalletLocation::new(folder.path(), "miner", "first").unwrap();
    let keyfile = location.hotkey_file();
    fs::create_dir_all(keyfile.parent().unwrap()).unwrap();
    let password_file = folder.path().join("password");
    copy("password.txt", &password_file);

    let (scalar, nonce) = PRIVATE_KEY.split_at(32);
    for (fixture, password) in [
        ("mnemonic-12.json", Password::None),
        ("encrypted.nacl", Password::File(password_file)),
    ] {
        copy(fixture, &keyfile);
        let (hotkey, _) = Hotkey::open(&location, &password).unwrap();
        let signature = hotkey.sign(b"message");
        let places = (count(scalar), count(nonce));
        assert_eq!(places, (1, 1), "{fixture}: the open key, in one place");
        for (what, needle) in [
            ("the seed's digits", &SEED_TEXT[..]),
            ("the private key's digits", &PRIVATE_TEXT),
            ("the mnemonic", &PHRASE),
            ("the seed", &SEED),
            ("the password", &PASSWORD),
        ] {
            assert_eq!(count(needle), 0, "{fixture}: {what}");
        }

        drop(hotkey);
        let places = (count(scalar), count(nonce));
        assert_eq!(places, (0, 0), "{fixture}: the key, afterwards");
        assert_ne!(signature, [0; 64]);
    }
}

/// Copies a fixture without its passing through this process's memory.
fn copy(fixture: &str, to: &Path) {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    fs::copy(fixtures.join(fixture), to).unwrap();
}

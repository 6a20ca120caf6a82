//! Secrets that computations leave on the stack.
//!
//! Types that are zeroed when they are dropped do not help where the compiler moves
//! them or keeps parts of them in places of its own: the frames of functions that
//! have returned keep what was there, until other calls happen to write over it.

use std::hint::black_box;

use zeroize::Zeroize as _;

/// How much of the stack is wiped, in words of eight bytes: several times what the
/// deepest computation with a key was seen to use.
const WORDS: usize = 8 << 10;

/// Does `work` and wipes the part of the stack that it used. What it returns is moved
/// about like any other value, so a secret in it belongs on the heap.
pub(crate) fn wiped_after<T>(work: impl FnOnce() -> T) -> T {
    let result = called(work);
    wipe();
    result
}

/// A frame of its own below the caller's, whatever the optimizer thinks of it.
#[inline(never)]
fn called<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Lies where [`called`] and all that it called have lain.
#[inline(never)]
fn wipe() {
    let mut frame = [0_u64; WORDS];
    frame.zeroize();
    black_box(&frame);
}

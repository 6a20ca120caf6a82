use crate::ffi;

/// Makes the C allocator keep what is freed, for the tensors of the next step.
///
/// By default glibc gives every large block back to the system at once, and a
/// training step on the CPU allocates the same large blocks again and again: in
/// steps of a small GPT-2 with its vocabulary of 50,257, more than half of the
/// time went into the kernel, which clears each page anew. The price is that
/// the process keeps its peak.
///
/// Call it at the start of `main`, before there are threads. Elsewhere than
/// with glibc it does nothing.
pub fn keep_freed_memory() {
    // SAFETY: no arguments; it only sets parameters of malloc.
    unsafe { ffi::c10d_keep_freed_memory() }
}

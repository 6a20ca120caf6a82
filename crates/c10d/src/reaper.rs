use std::time::Duration;

use crate::ffi;

/// Waits until every teardown in the background has finished: `true` if so before
/// the deadline.
///
/// Call it before the process ends, and leave with [`exit_now`] when it says
/// `false`: a thread that is still inside libtorch must not meet the destructors of
/// an ordinary exit.
pub fn join_reaper(deadline: Duration) -> bool {
    // SAFETY: no pointers.
    unsafe { ffi::c10d_background_join(ffi::millis(deadline)) }
}

/// Ends the process at once: nothing is flushed, no destructor or exit handler runs.
///
/// For a process with threads that hang inside a network or device library.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { ffi::c10d_exit(code) };
    unreachable!("_exit does not return")
}

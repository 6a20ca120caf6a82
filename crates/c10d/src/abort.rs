use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use crate::ffi;

/// Ends a generation from any thread: one handle is shared by a [`Store`], the
/// [`Group`]s that meet in it, and their [`Reducer`]s.
///
/// Clones are the same handle. It can be triggered once; a generation that was
/// aborted stays so, and the next one takes a new handle.
///
/// [`Store`]: crate::Store
/// [`Group`]: crate::Group
/// [`Reducer`]: crate::Reducer
#[derive(Clone)]
pub struct AbortHandle(Arc<Raw>);

struct Raw(NonNull<ffi::Abort>);

// SAFETY: the C++ monitor behind it is reached through a shared pointer and guards
// its state with a mutex.
unsafe impl Send for Raw {}
// SAFETY: as above; every function that takes it locks.
unsafe impl Sync for Raw {}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once. Those who use the monitor hold references of
        // their own on the C++ side.
        unsafe { ffi::c10d_abort_free(self.0.as_ptr()) }
    }
}

impl AbortHandle {
    /// The handle of a new generation.
    pub fn new() -> Self {
        // SAFETY: no arguments.
        let raw = unsafe { ffi::c10d_abort_new() };
        // The C++ side allocates with `new`, which does not return null.
        Self(Arc::new(Raw(
            NonNull::new(raw).expect("operator new returned null")
        )))
    }

    /// Makes every pending and later operation of the generation return
    /// [`Error::Aborted`](crate::Error::Aborted) with this reason. The first reason
    /// stays. Returns at once.
    pub fn abort(&self, reason: &str) {
        // SAFETY: the handle is alive, and the text for the length of the call.
        unsafe { ffi::c10d_abort_trigger(self.as_ptr(), ffi::Text::of(reason)) }
    }

    /// The reason, if the generation was aborted.
    pub fn reason(&self) -> Option<String> {
        // SAFETY: the handle is alive.
        ffi::take_text(unsafe { ffi::c10d_abort_reason(self.as_ptr()) })
    }

    /// How long a thread has been waiting in a collective of the generation for the
    /// other ranks; `None` while none does.
    pub fn waited(&self) -> Option<Duration> {
        // SAFETY: the handle is alive; the call reads one atomic.
        let milliseconds = unsafe { ffi::c10d_abort_waited_ms(self.as_ptr()) };
        u64::try_from(milliseconds).ok().map(Duration::from_millis)
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::Abort {
        self.0.0.as_ptr()
    }
}

impl Default for AbortHandle {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbortHandle")
            .field("reason", &self.reason())
            .finish()
    }
}

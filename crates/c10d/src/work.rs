use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

use crate::error::checked;
use crate::group::Group;
use crate::{Result, ffi};

/// A collective that was begun and whose result has not been taken yet.
///
/// Dropping it gives the result up, not the operation: the other ranks still get
/// theirs.
#[must_use = "the tensor changes only when the work is waited for"]
pub struct Work {
    raw: NonNull<ffi::Work>,
    group: Group,
}

// SAFETY: the C++ object is reached through this handle only, and has no thread
// affinity.
unsafe impl Send for Work {}

impl Work {
    pub(crate) fn new(group: Group, raw: *mut ffi::Work) -> Result<Self> {
        Ok(Self {
            raw: ffi::owned(raw)?,
            group,
        })
    }

    /// Waits within the group's time-out, then writes the result to the tensor.
    pub fn wait(self) -> Result<()> {
        let deadline = self.group.timeout();
        self.wait_for(deadline)
    }

    /// Waits for at most `deadline`, and no longer than the group's time-out, then
    /// writes the result to the tensor.
    pub fn wait_for(self, deadline: Duration) -> Result<()> {
        let deadline = deadline.min(self.group.timeout());
        checked(|error| {
            // SAFETY: both handles live as long as the call, and the work is of this
            // group.
            unsafe {
                ffi::c10d_work_wait(
                    self.group.as_ptr(),
                    self.raw.as_ptr(),
                    ffi::millis(deadline),
                    error,
                );
            }
        })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once. The backend keeps what it still writes to.
        unsafe { ffi::c10d_work_free(self.raw.as_ptr()) }
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("group", &self.group).finish()
    }
}

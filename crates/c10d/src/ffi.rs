//! The C ABI, as `csrc/c10d.h` declares it.

use std::ffi::{CStr, c_char};
use std::time::Duration;

pub const OK: i32 = 0;
pub const ABORTED: i32 = 1;
pub const TIMEOUT: i32 = 2;
pub const PEER_LOST: i32 = 3;
pub const TRANSPORT: i32 = 4;
pub const INVALID: i32 = 5;
pub const ABORT_HUNG: i32 = 6;

pub const CPU: i32 = 0;
pub const CUDA: i32 = 1;

pub const NETWORK_HOSTNAME: i32 = 0;
pub const NETWORK_INTERFACE: i32 = 1;

pub const BFLOAT16: i32 = 0;
pub const HALF: i32 = 1;

macro_rules! opaque {
    ($($name:ident),*) => {
        $(#[repr(C)]
        pub struct $name {
            _private: [u8; 0],
        })*
    };
}
opaque!(Abort, Store, Group, Work, Reducer, Tensor);

#[repr(C)]
pub struct Error {
    pub code: i32,
    pub message: *mut c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    data: *const c_char,
    len: usize,
}

impl Text {
    /// Valid for as long as `text` is.
    pub fn of(text: &str) -> Self {
        Self {
            data: text.as_ptr().cast(),
            len: text.len(),
        }
    }
}

#[repr(C)]
pub struct Device {
    pub kind: i32,
    pub index: i32,
}

#[repr(C)]
pub struct GroupOptions {
    pub rank: i32,
    pub world: i32,
    pub timeout_ms: i64,
    pub abort_timeout_ms: i64,
    pub name: Text,
}

#[repr(C)]
#[derive(Default)]
pub struct BackwardTimes {
    pub total_seconds: f64,
    pub exposed_seconds: f64,
    pub bytes_reduced: u64,
}

#[repr(C)]
pub struct AdamW {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub weight_decay: f64,
    pub eps: f64,
}

#[repr(C)]
#[derive(Default)]
pub struct AutocastBefore {
    pub enabled: bool,
    pub scalar_type: i32,
}

unsafe extern "C" {
    pub fn c10d_string_free(text: *mut c_char);
    pub fn c10d_background_join(deadline_ms: i64) -> bool;
    pub fn c10d_exit(code: i32);
    pub fn c10d_keep_freed_memory();

    pub fn c10d_abort_new() -> *mut Abort;
    pub fn c10d_abort_trigger(abort: *mut Abort, reason: Text);
    pub fn c10d_abort_reason(abort: *const Abort) -> *mut c_char;
    pub fn c10d_abort_waited_ms(abort: *const Abort) -> i64;
    pub fn c10d_abort_free(abort: *mut Abort);

    pub fn c10d_store_serve(
        abort: *mut Abort,
        listener: i32,
        host: Text,
        port: u16,
        timeout_ms: i64,
        error: *mut Error,
    ) -> *mut Store;
    pub fn c10d_store_connect(
        abort: *mut Abort,
        host: Text,
        port: u16,
        timeout_ms: i64,
        error: *mut Error,
    ) -> *mut Store;
    pub fn c10d_store_set(
        store: *mut Store,
        key: Text,
        value: *const u8,
        len: usize,
        error: *mut Error,
    );
    pub fn c10d_store_get(
        store: *mut Store,
        key: Text,
        timeout_ms: i64,
        len: *mut usize,
        error: *mut Error,
    ) -> *mut u8;
    pub fn c10d_store_wait(
        store: *mut Store,
        keys: *const Text,
        count: usize,
        timeout_ms: i64,
        error: *mut Error,
    );
    pub fn c10d_store_add(store: *mut Store, key: Text, amount: i64, error: *mut Error) -> i64;
    pub fn c10d_store_free(store: *mut Store);

    pub fn c10d_group_alone(abort: *mut Abort, device: Device, error: *mut Error) -> *mut Group;
    pub fn c10d_group_gloo(
        store: *mut Store,
        options: *const GroupOptions,
        network_kind: i32,
        network: Text,
        error: *mut Error,
    ) -> *mut Group;
    #[cfg(feature = "cuda")]
    pub fn c10d_group_nccl(
        store: *mut Store,
        options: *const GroupOptions,
        device: i32,
        error: *mut Error,
    ) -> *mut Group;
    #[cfg(feature = "cuda")]
    pub fn c10d_nccl_configure();
    pub fn c10d_group_free(group: *mut Group);
    pub fn c10d_group_all_reduce(
        group: *mut Group,
        tensor: *const Tensor,
        error: *mut Error,
    ) -> *mut Work;
    pub fn c10d_group_broadcast(
        group: *mut Group,
        tensor: *const Tensor,
        root: i32,
        error: *mut Error,
    ) -> *mut Work;
    pub fn c10d_group_all_gather(
        group: *mut Group,
        tensor: *const Tensor,
        out: *mut *mut Tensor,
        timeout_ms: i64,
        error: *mut Error,
    );
    pub fn c10d_group_barrier(group: *mut Group, timeout_ms: i64, error: *mut Error);
    pub fn c10d_work_wait(group: *mut Group, work: *mut Work, timeout_ms: i64, error: *mut Error);
    pub fn c10d_work_free(work: *mut Work);

    pub fn c10d_reducer_new(
        group: *mut Group,
        parameters: *const *const Tensor,
        count: usize,
        first_bucket_bytes: i64,
        bucket_bytes: i64,
        error: *mut Error,
    ) -> *mut Reducer;
    pub fn c10d_reducer_backward(
        reducer: *mut Reducer,
        loss: *const Tensor,
        sync: bool,
        times: *mut BackwardTimes,
        error: *mut Error,
    );
    pub fn c10d_reducer_zero_grads(reducer: *mut Reducer, error: *mut Error);
    pub fn c10d_reducer_bucket_count(reducer: *const Reducer) -> usize;
    pub fn c10d_reducer_free(reducer: *mut Reducer);

    pub fn c10d_fused_adamw(
        parameters: *const *const Tensor,
        grads: *const *const Tensor,
        exp_avgs: *const *const Tensor,
        exp_avg_sqs: *const *const Tensor,
        steps: *const *const Tensor,
        count: usize,
        hyper: *const AdamW,
        error: *mut Error,
    );
    pub fn c10d_grad_norm(
        grads: *const *const Tensor,
        count: usize,
        error: *mut Error,
    ) -> *mut Tensor;
    pub fn c10d_scale(
        tensors: *const *const Tensor,
        count: usize,
        factor: *const Tensor,
        error: *mut Error,
    );

    pub fn c10d_autocast_enter(
        device_type: i32,
        dtype: i32,
        before: *mut AutocastBefore,
        error: *mut Error,
    );
    pub fn c10d_autocast_leave(device_type: i32, before: *const AutocastBefore);
}

/// Takes over a text that C allocated; `None` for null.
pub fn take_text(text: *mut c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: every text that the C ABI returns is terminated, and stays valid until
    // it is freed.
    let owned = unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: allocated by the C side, freed once, and not used afterwards.
    unsafe { c10d_string_free(text) };
    Some(owned)
}

/// Borrowed for the length of a call: `tch::Tensor` owns an `at::Tensor*`.
pub fn tensor(tensor: &tch::Tensor) -> *const Tensor {
    tensor.as_ptr().cast()
}

/// See [`tensor`].
pub fn tensors(list: &[tch::Tensor]) -> Vec<*const Tensor> {
    list.iter().map(tensor).collect()
}

pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A handle that the C side returned without reporting an error.
pub fn owned<T>(raw: *mut T) -> crate::Result<std::ptr::NonNull<T>> {
    std::ptr::NonNull::new(raw)
        .ok_or_else(|| crate::Error::Torch("the shim returned no object".to_owned()))
}

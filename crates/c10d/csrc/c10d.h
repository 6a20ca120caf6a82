// The C ABI of this crate: the only header that Rust's `ffi.rs` mirrors.
//
// Rules that every function keeps:
// - No C++ exception leaves. A function that can fail takes `c10d_error*` last,
//   leaves it untouched on success, and returns null, false or nothing useful
//   on failure. The message is freed with `c10d_string_free`.
// - Handles are opaque. `*_free` never blocks: what must wait for a network
//   or a device is destroyed on a background thread.
// - `c10d_tensor` is `at::Tensor` (what tch calls `C_tensor`). A `const
//   c10d_tensor*` argument is borrowed for the call; a returned one is owned by
//   the caller, as tch owns its tensors.
// - Text is UTF-8 with a length, not terminated. Durations are milliseconds.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct c10d_abort c10d_abort;
typedef struct c10d_store c10d_store;
typedef struct c10d_group c10d_group;
typedef struct c10d_work c10d_work;
typedef struct c10d_reducer c10d_reducer;
typedef struct c10d_tensor c10d_tensor;

enum {
  C10D_OK = 0,
  C10D_ABORTED = 1,
  C10D_TIMEOUT = 2,
  C10D_PEER_LOST = 3,
  C10D_TRANSPORT = 4,
  C10D_INVALID = 5,
  C10D_ABORT_HUNG = 6,
  C10D_TORCH = 7,
};

typedef struct {
  int32_t code;
  char* message;
} c10d_error;

typedef struct {
  const char* data;
  size_t len;
} c10d_text;

enum { C10D_CPU = 0, C10D_CUDA = 1 };

typedef struct {
  int32_t type;
  int32_t index;
} c10d_device;

void c10d_string_free(char* text);

// Background threads: teardown of groups, and calls that were given up on.
// True when none is left before the deadline.
bool c10d_background_join(int64_t deadline_ms);
// Leaves the process at once: no atexit handlers, no static destructors.
void c10d_exit(int32_t code);
// Memory that is freed stays with the process.
void c10d_keep_freed_memory(void);

// Abort: one per generation, shared by its store, group and reducer.
c10d_abort* c10d_abort_new(void);
void c10d_abort_trigger(c10d_abort* abort, c10d_text reason);
// Null while not triggered.
char* c10d_abort_reason(const c10d_abort* abort);
// How long a thread has waited in a collective for the other ranks; -1 while none does.
int64_t c10d_abort_waited_ms(const c10d_abort* abort);
void c10d_abort_free(c10d_abort* abort);

// Store. `listener` is a bound and listening socket, owned from here on.
c10d_store* c10d_store_serve(
    c10d_abort* abort, int32_t listener, c10d_text host, uint16_t port, int64_t timeout_ms,
    c10d_error* error);
c10d_store* c10d_store_connect(
    c10d_abort* abort, c10d_text host, uint16_t port, int64_t timeout_ms, c10d_error* error);
void c10d_store_set(
    c10d_store* store, c10d_text key, const uint8_t* value, size_t len, c10d_error* error);
// Null on failure; otherwise `*len` bytes, freed with c10d_string_free.
uint8_t* c10d_store_get(
    c10d_store* store, c10d_text key, int64_t timeout_ms, size_t* len, c10d_error* error);
void c10d_store_wait(
    c10d_store* store, const c10d_text* keys, size_t count, int64_t timeout_ms, c10d_error* error);
int64_t c10d_store_add(c10d_store* store, c10d_text key, int64_t amount, c10d_error* error);
void c10d_store_free(c10d_store* store);

// Group. A group of one needs no store and touches no network.
typedef struct {
  int32_t rank;
  int32_t world;
  int64_t timeout_ms;
  // How long an NCCL communicator may take to abort.
  int64_t abort_timeout_ms;
  // Tells apart the groups that meet in one store.
  c10d_text name;
} c10d_group_options;

enum { C10D_NETWORK_HOSTNAME = 0, C10D_NETWORK_INTERFACE = 1 };

c10d_group* c10d_group_alone(c10d_abort* abort, c10d_device device, c10d_error* error);
c10d_group* c10d_group_gloo(
    c10d_store* store, const c10d_group_options* options, int32_t network_kind, c10d_text network,
    c10d_error* error);
// Only with the feature `cuda`.
c10d_group* c10d_group_nccl(
    c10d_store* store, const c10d_group_options* options, int32_t device, c10d_error* error);
void c10d_nccl_configure(void);
void c10d_group_free(c10d_group* group);

c10d_work* c10d_group_all_reduce(c10d_group* group, const c10d_tensor* tensor, c10d_error* error);
c10d_work* c10d_group_broadcast(
    c10d_group* group, const c10d_tensor* tensor, int32_t root, c10d_error* error);
// Writes `world` owned tensors to `out`.
void c10d_group_all_gather(
    c10d_group* group, const c10d_tensor* tensor, c10d_tensor** out, int64_t timeout_ms,
    c10d_error* error);
void c10d_group_barrier(c10d_group* group, int64_t timeout_ms, c10d_error* error);
// Waits, and on success copies the result into the caller's tensor.
void c10d_work_wait(c10d_group* group, c10d_work* work, int64_t timeout_ms, c10d_error* error);
void c10d_work_free(c10d_work* work);

// Reducer.
typedef struct {
  // The whole call, reduction included.
  double total_seconds;
  // From the moment the last bucket was handed over until all were reduced.
  double exposed_seconds;
  uint64_t bytes_reduced;
} c10d_backward_times;

c10d_reducer* c10d_reducer_new(
    c10d_group* group, const c10d_tensor* const* parameters, size_t count,
    int64_t first_bucket_bytes, int64_t bucket_bytes, c10d_error* error);
void c10d_reducer_backward(
    c10d_reducer* reducer, const c10d_tensor* loss, bool sync, c10d_backward_times* times,
    c10d_error* error);
void c10d_reducer_zero_grads(c10d_reducer* reducer, c10d_error* error);
size_t c10d_reducer_bucket_count(const c10d_reducer* reducer);
void c10d_reducer_free(c10d_reducer* reducer);

// What tch does not bind.
typedef struct {
  double lr;
  double beta1;
  double beta2;
  double weight_decay;
  double eps;
} c10d_adamw;

void c10d_fused_adamw(
    const c10d_tensor* const* parameters, const c10d_tensor* const* grads,
    const c10d_tensor* const* exp_avgs, const c10d_tensor* const* exp_avg_sqs,
    const c10d_tensor* const* steps, size_t count, const c10d_adamw* hyper, c10d_error* error);
c10d_tensor* c10d_grad_norm(const c10d_tensor* const* grads, size_t count, c10d_error* error);
void c10d_scale(
    const c10d_tensor* const* tensors, size_t count, const c10d_tensor* factor, c10d_error* error);

enum { C10D_BFLOAT16 = 0, C10D_HALF = 1 };

typedef struct {
  bool enabled;
  int32_t scalar_type;
} c10d_autocast_before;

// Must be undone on the same thread, innermost first.
void c10d_autocast_enter(
    int32_t device_type, int32_t dtype, c10d_autocast_before* before, c10d_error* error);
void c10d_autocast_leave(int32_t device_type, const c10d_autocast_before* before);

#ifdef __cplusplus
}
#endif

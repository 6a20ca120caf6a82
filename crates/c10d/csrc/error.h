// Errors inside the shim, and how they become C values at its border.
#pragma once

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "c10d.h"

namespace shim {

enum class Code : int32_t {
  Aborted = C10D_ABORTED,
  Timeout = C10D_TIMEOUT,
  PeerLost = C10D_PEER_LOST,
  Transport = C10D_TRANSPORT,
  Invalid = C10D_INVALID,
  AbortHung = C10D_ABORT_HUNG,
  Torch = C10D_TORCH,
};

struct Failure {
  Code code;
  std::string message;
};

class Error : public std::runtime_error {
 public:
  explicit Error(const Failure& failure) : Error(failure.code, failure.message) {}
  Error(Code error_code, const std::string& message)
      : std::runtime_error(message), code(error_code) {}

  Code code;
};

// What went wrong, by type where libtorch has types and by text where it has
// none (Gloo throws plain runtime errors from a library whose types are hidden).
Failure describe(const std::exception_ptr& exception) noexcept;

void report(c10d_error* error, const std::exception_ptr& exception) noexcept;

// A malloc'ed, terminated copy for C; null when there is no memory.
char* copy_text(std::string_view text) noexcept;

inline std::string to_string(c10d_text text) {
  return std::string(text.data, text.len);
}

// Runs the body of a C function. On an exception the error is filled in and
// a value-initialised result (null, zero, nothing) is returned.
template <class Body>
auto guarded(c10d_error* error, Body&& body) noexcept -> decltype(body()) {
  try {
    return std::forward<Body>(body)();
  } catch (...) {
    report(error, std::current_exception());
    return decltype(body())();
  }
}

} // namespace shim

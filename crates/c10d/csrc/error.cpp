#include "error.h"

#include <array>
#include <cstdlib>
#include <cstring>

#include <c10/util/Exception.h>

namespace shim {
namespace {

bool contains_any(std::string_view text, std::initializer_list<std::string_view> needles) {
  for (auto needle : needles) {
    if (text.find(needle) != std::string_view::npos) {
      return true;
    }
  }
  return false;
}

// Time-outs first: after one, Gloo closes its own connections and says so in
// words that also mention a closure.
Code classify(std::string_view text) {
  if (contains_any(text, {"timed out", "Timed out", "timeout", "Timeout"})) {
    return Code::Timeout;
  }
  if (contains_any(
          text,
          {"closed by peer",
           "Connection reset",
           "Broken pipe",
           "Connection refused",
           "Connection aborted",
           "No route to host",
           "connection was closed",
           "Failed to recv",
           "remote process exited",
           "ncclRemoteError",
           "ncclSystemError"})) {
    return Code::PeerLost;
  }
  return Code::Transport;
}

} // namespace

Failure describe(const std::exception_ptr& exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return {error.code, error.what()};
  } catch (const c10::DistError& error) {
    std::string text = error.what_without_backtrace();
    return {classify(text), text};
  } catch (const c10::Error& error) {
    return {Code::Torch, error.what_without_backtrace()};
  } catch (const std::bad_alloc&) {
    return {Code::Torch, "out of memory"};
  } catch (const std::exception& error) {
    return {classify(error.what()), error.what()};
  } catch (...) {
    return {Code::Torch, "an exception of unknown type"};
  }
}

char* copy_text(std::string_view text) noexcept {
  auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy != nullptr) {
    std::memcpy(copy, text.data(), text.size());
    copy[text.size()] = '\0';
  }
  return copy;
}

void report(c10d_error* error, const std::exception_ptr& exception) noexcept {
  Failure failure = describe(exception);
  error->code = static_cast<int32_t>(failure.code);
  error->message = copy_text(failure.message);
}

} // namespace shim

void c10d_string_free(char* text) {
  std::free(text);
}

#include "store.h"

#include <cstdlib>
#include <cstring>

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

using shim::Clock;
using StorePtr = c10::intrusive_ptr<c10d::Store>;

namespace {

c10d_store* open_store(
    const c10d_abort* abort,
    const std::string& host,
    const c10d::TCPStoreOptions& options,
    Clock::time_point deadline,
    const std::string& what) {
  auto store = shim::interruptible<StorePtr>(
      abort->monitor, deadline, what, [host, options]() -> StorePtr {
        return c10::make_intrusive<c10d::TCPStore>(host, options);
      });
  return new c10d_store{abort->monitor, std::move(store)};
}

c10d::TCPStoreOptions options_for(uint16_t port, int64_t timeout_ms) {
  c10d::TCPStoreOptions options;
  options.port = port;
  options.timeout = shim::bounded(timeout_ms);
  // Whoever is missing shows up missing in the group's rendezvous.
  options.waitWorkers = false;
  return options;
}

} // namespace

c10d_store* c10d_store_serve(
    c10d_abort* abort,
    int32_t listener,
    c10d_text host,
    uint16_t port,
    int64_t timeout_ms,
    c10d_error* error) {
  return shim::guarded(error, [&]() -> c10d_store* {
    auto options = options_for(port, timeout_ms);
    options.isServer = true;
    options.masterListenFd = listener;
    return open_store(
        abort,
        shim::to_string(host),
        options,
        shim::deadline_after(timeout_ms),
        "serving the store on port " + std::to_string(port));
  });
}

c10d_store* c10d_store_connect(
    c10d_abort* abort, c10d_text host, uint16_t port, int64_t timeout_ms, c10d_error* error) {
  return shim::guarded(error, [&]() -> c10d_store* {
    auto name = shim::to_string(host);
    return open_store(
        abort,
        name,
        options_for(port, timeout_ms),
        shim::deadline_after(timeout_ms),
        "connecting to the store at " + name + ":" + std::to_string(port));
  });
}

void c10d_store_set(
    c10d_store* store, c10d_text key, const uint8_t* value, size_t len, c10d_error* error) {
  shim::guarded(error, [&] {
    auto name = shim::to_string(key);
    std::vector<uint8_t> bytes(value, value + len);
    auto deadline = Clock::now() + store->store->getTimeout();
    shim::interruptible<bool>(
        store->monitor,
        deadline,
        "setting the store's key " + name,
        [inner = store->store, name, bytes = std::move(bytes)] {
          inner->set(name, bytes);
          return true;
        });
  });
}

uint8_t* c10d_store_get(
    c10d_store* store, c10d_text key, int64_t timeout_ms, size_t* len, c10d_error* error) {
  return shim::guarded(error, [&]() -> uint8_t* {
    auto name = shim::to_string(key);
    auto timeout = shim::bounded(timeout_ms);
    auto bytes = shim::interruptible<std::vector<uint8_t>>(
        store->monitor,
        Clock::now() + timeout,
        "getting the store's key " + name,
        [inner = store->store, name, timeout] {
          inner->wait({name}, timeout);
          return inner->get(name);
        });
    auto* copy = static_cast<uint8_t*>(std::malloc(bytes.size() + 1));
    if (copy == nullptr) {
      throw std::bad_alloc();
    }
    std::memcpy(copy, bytes.data(), bytes.size());
    *len = bytes.size();
    return copy;
  });
}

void c10d_store_wait(
    c10d_store* store, const c10d_text* keys, size_t count, int64_t timeout_ms, c10d_error* error) {
  shim::guarded(error, [&] {
    std::vector<std::string> names;
    for (size_t i = 0; i < count; ++i) {
      names.push_back(shim::to_string(keys[i]));
    }
    auto timeout = shim::bounded(timeout_ms);
    shim::interruptible<bool>(
        store->monitor,
        Clock::now() + timeout,
        "waiting for the store's keys",
        [inner = store->store, names = std::move(names), timeout] {
          inner->wait(names, timeout);
          return true;
        });
  });
}

int64_t c10d_store_add(c10d_store* store, c10d_text key, int64_t amount, c10d_error* error) {
  return shim::guarded(error, [&]() -> int64_t {
    auto name = shim::to_string(key);
    return shim::interruptible<int64_t>(
        store->monitor,
        Clock::now() + store->store->getTimeout(),
        "adding to the store's key " + name,
        [inner = store->store, name, amount] { return inner->add(name, amount); });
  });
}

void c10d_store_free(c10d_store* store) {
  // Stopping a server joins its thread.
  shim::in_background([store] { delete store; });
}

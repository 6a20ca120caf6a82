#pragma once

#include <memory>

#include <torch/csrc/distributed/c10d/Store.hpp>

#include "monitor.h"

struct c10d_store {
  std::shared_ptr<shim::Monitor> monitor;
  c10::intrusive_ptr<c10d::Store> store;
};

#pragma once

namespace gloo::transport {

// Held by pointer only.
class Device;

class UnboundBuffer {
 public:
  virtual ~UnboundBuffer();
};

} // namespace gloo::transport

// What the kernel knows of a TCP connection. Apart, since its header and the C library's do not go
// together.
//
// Threads: any.
#pragma once

#include <cstdint>

namespace cairn::rpc {

struct TcpState {
  bool closed = false;  // by this side
  uint64_t bytes_received = 0;
};
TcpState tcp_state(int descriptor);

}  // namespace cairn::rpc

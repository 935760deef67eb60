#include "gateway/grpc/tcp_info.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace cairn::rpc {

TcpState tcp_state(int descriptor) {
  constexpr uint8_t kEstablished = 1, kSynReceived = 3, kCloseWait = 8;  // the kernel's states
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return {true, 0};
  const bool open = info.tcpi_state == kEstablished || info.tcpi_state == kSynReceived ||
                    info.tcpi_state == kCloseWait;
  return {!open, info.tcpi_bytes_received};
}

}  // namespace cairn::rpc

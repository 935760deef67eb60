// One webhook: POSTs over a connection that is kept, HTTP/1.1, plain or TLS.
//
// What is sent is signed as https://www.standardwebhooks.com says, so that its libraries can check
// it: webhook-id, webhook-timestamp, and webhook-signature, which is "v1," and the base64 of an
// HMAC-SHA256 over "ID.TIMESTAMP.BODY". Without a secret there is no signature.
//
// Certificates of https are checked against those that the system trusts, and a file of more.
//
// Threads: one coroutine.
#pragma once

#include <boost/asio/ssl.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/async.h"
#include "gateway/events/target.h"

namespace cairn::events {

// What client connections trust; `ca_file`: empty, or PEM.
StatusOr<std::shared_ptr<asio::ssl::context>> make_client_tls(const std::string& ca_file);

class Webhook {
 public:
  // Each step (finding the host, connecting, the handshake, sending, the answer) may take so long.
  static constexpr int kStepSeconds = 10;
  static constexpr size_t kAnswerBytesMax = 64 << 10;

  Webhook(Url url, std::string secret, std::shared_ptr<asio::ssl::context> tls);
  ~Webhook();
  // The answer's status, whatever it is. Unavailable: there was none; then it may have been
  // received, or not.
  awaitable<StatusOr<int>> post(std::string_view id, int64_t now_s, const std::string& body);

 private:
  struct Connection;
  awaitable<Status> connect();
  const Url url_;
  const std::string secret_;
  const std::shared_ptr<asio::ssl::context> tls_;
  std::unique_ptr<Connection> connection_;
};

// The value of webhook-signature.
std::string webhook_signature(std::string_view secret, std::string_view id, int64_t now_s,
                              std::string_view body);

}  // namespace cairn::events

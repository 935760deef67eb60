// GET of a document of another server's, over HTTP or HTTPS.
//
// Its certificate is one that the system trusts, or one of those that it shows is pinned by its
// SHA-1 and vouches for it, as IAM's thumbprints mean. Answers are not redirected.
//
// Threads: any I/O loop.
#pragma once

#include <boost/asio/ssl.hpp>
#include <memory>
#include <string>
#include <vector>

#include "core/base/async.h"
#include "gateway/events/target.h"

namespace cairn::iam {

inline constexpr int kFetchStepSeconds = 5;  // finding the host, connecting, the handshake, …
inline constexpr size_t kFetchBytesMax = 512 << 10;

// Unavailable says what failed. `thumbprints`: in hexadecimal digits, in lower case.
awaitable<StatusOr<std::string>> fetch(const events::Url& url,
                                       std::shared_ptr<asio::ssl::context> tls,
                                       std::vector<std::string> thumbprints);
// Whether an address of the machine itself, by its number or as localhost.
bool is_loopback_host(const std::string& host);

}  // namespace cairn::iam

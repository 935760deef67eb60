// The keys with which providers of OpenID Connect sign, asked for when a token needs them, and kept
// for a while: from ISSUER/.well-known/openid-configuration, or from a file that an option names.
//
// Threads: any I/O loop.
#pragma once

#include <boost/asio/ssl.hpp>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/async.h"
#include "core/base/clock.h"
#include "core/base/mutex.h"
#include "core/store/user_records.h"
#include "gateway/http/iam/jwt.h"

namespace cairn::iam {

using WebKeysPtr = std::shared_ptr<const WebKeys>;

class KeySets {
 public:
  static constexpr int64_t kKeptMs = 600'000;  // then they are asked for again
  // Nobody is asked more often than this, whatever tokens come: of a key that is not known, or
  // after a failure.
  static constexpr int64_t kPauseMs = 10'000;
  static constexpr int64_t kPatienceMs = 30'000;  // with somebody else's question
  // While a provider does not answer, what it said last is believed for so long.
  static constexpr int64_t kStaleMs = 3'600'000;

  // `files`: "ISSUER FILE". InvalidArgument: one is not that.
  static StatusOr<std::unique_ptr<KeySets>> make(Clock& clock,
                                                 const std::vector<std::string>& files,
                                                 std::shared_ptr<asio::ssl::context> tls);

  // Unavailable: they are not to be had. `anew`: what is kept was not enough.
  awaitable<StatusOr<WebKeysPtr>> keys_of(std::shared_ptr<const ProviderRecord> provider,
                                          bool anew);

 private:
  KeySets(Clock& clock, std::shared_ptr<asio::ssl::context> tls)
      : clock_(clock), tls_(std::move(tls)) {}
  struct Kept {
    WebKeysPtr keys;                   // null: there were none yet
    Status failure;                    // of the last question
    int64_t asked_ms = 0, had_ms = 0;  // when it was asked last, and when that gave keys
    bool asking = false;
  };
  // Whether what is kept does; else, whoever is told `ask` asks.
  bool look(const std::string& id, bool anew, StatusOr<WebKeysPtr>& found, bool& ask);
  void end(const std::string& id, StatusOr<WebKeys> keys);
  awaitable<StatusOr<WebKeys>> ask(const ProviderRecord& provider) const;

  Clock& clock_;
  const std::shared_ptr<asio::ssl::context> tls_;
  std::map<std::string, std::string, std::less<>> files_;  // by issuer, without its scheme
  Mutex mutex_;
  std::map<std::string, Kept, std::less<>> kept_ ABSL_GUARDED_BY(mutex_);  // by the provider's id
  Gate changed_;
};

}  // namespace cairn::iam

#include "gateway/http/iam/key_sets.h"

#include <boost/json.hpp>
#include <fstream>
#include <sstream>

#include "core/base/text.h"
#include "gateway/events/target.h"
#include "gateway/http/iam/fetch.h"

namespace cairn::iam {
namespace {

constexpr size_t kKeptMax = 1000;

std::string_view without_scheme(std::string_view url) {
  const size_t at = url.find("://");
  return at == url.npos ? url : url.substr(at + 3);
}

StatusOr<WebKeys> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kFetchBytesMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || !in.is_open()) return absl::UnavailableError(cat("cannot read ", path));
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > kFetchBytesMax) return absl::UnavailableError(cat(path, " is too long"));
  auto keys = parse_keys(text);
  if (!keys.ok()) return absl::UnavailableError(cat(path, ": ", keys.status().message()));
  return keys;
}

// Where the provider says that its keys are.
StatusOr<events::Url> keys_url(const std::string& document, const std::string& issuer, bool plain) {
  namespace json = boost::json;
  json::error_code error;
  const json::value value = json::parse({document.data(), document.size()}, error);
  const auto text = [&](const char* name) {
    const json::value* v =
        !error && value.is_object() ? value.get_object().if_contains(name) : nullptr;
    return v != nullptr && v->is_string()
               ? std::string(v->get_string().data(), v->get_string().size())
               : std::string();
  };
  if (text("issuer") != issuer) {
    return absl::UnavailableError("its openid-configuration is another issuer's");
  }
  auto url = events::parse_url(text("jwks_uri"));
  if (!url.ok()) return absl::UnavailableError("its openid-configuration names no jwks_uri");
  if (!url->tls && !(plain && is_loopback_host(url->host))) {
    return absl::UnavailableError("its jwks_uri is not https");
  }
  return url;
}

}  // namespace

StatusOr<std::unique_ptr<KeySets>> KeySets::make(Clock& clock,
                                                 const std::vector<std::string>& files,
                                                 std::shared_ptr<asio::ssl::context> tls) {
  std::unique_ptr<KeySets> made(new KeySets(clock, std::move(tls)));
  for (const std::string& one : files) {
    const size_t blank = one.find(' ');
    if (blank == one.npos || blank == 0 || blank + 1 == one.size()) {
      return absl::InvalidArgumentError(
          cat("oidc-jwks: '", one, "' is not the URL of an issuer, a blank, and a file"));
    }
    const std::string path = one.substr(blank + 1);
    if (auto keys = read_file(path); !keys.ok()) {
      return absl::InvalidArgumentError(cat("oidc-jwks: ", keys.status().message()));
    }
    made->files_[std::string(without_scheme(one.substr(0, blank)))] = path;
  }
  return made;
}

bool KeySets::look(const std::string& id, bool anew, StatusOr<WebKeysPtr>& found, bool& ask) {
  MutexLock lock(mutex_);
  ask = false;
  if (kept_.size() > kKeptMax) {  // of providers that were deleted
    std::erase_if(kept_, [](const auto& one) { return !one.second.asking; });
  }
  Kept& kept = kept_[id];
  if (kept.asking) return false;
  const auto is_within = [now_ms = clock_.now_ms()](int64_t since_ms, int64_t span_ms) {
    return since_ms != 0 && now_ms >= since_ms && now_ms - since_ms < span_ms;
  };
  const bool paused = is_within(kept.asked_ms, kPauseMs);
  const bool fresh = kept.keys != nullptr && is_within(kept.had_ms, kKeptMs);
  if (paused || (fresh && !anew)) {
    if (kept.keys != nullptr) {
      found = kept.keys;
    } else {
      found = kept.failure;
    }
    return true;
  }
  ask = kept.asking = true;
  return false;
}

awaitable<StatusOr<WebKeysPtr>> KeySets::keys_of(std::shared_ptr<const ProviderRecord> provider,
                                                 bool anew) {
  StatusOr<WebKeysPtr> found = absl::UnavailableError("others wait for its keys too");
  bool asks = false;
  const auto is_there = [&] { return look(provider->id, anew, found, asks) || asks; };
  const bool ready = co_await changed_.until(is_there, clock_, kPatienceMs);
  if (!ready || !asks) co_return found;
  // Whoever waits is told also if this coroutine does not come to its end.
  struct Question {
    KeySets& of;
    const std::string& id;
    StatusOr<WebKeys> keys = absl::UnavailableError("the question was given up");
    ~Question() { of.end(id, std::move(keys)); }
  };
  {
    Question question{*this, provider->id};
    question.keys = co_await ask(*provider);
  }
  bool again = false;
  (void)look(provider->id, false, found, again);
  co_return found;
}

void KeySets::end(const std::string& id, StatusOr<WebKeys> keys) {
  {
    MutexLock lock(mutex_);
    Kept& kept = kept_[id];
    kept.asking = false;
    kept.asked_ms = clock_.now_ms();
    if (keys.ok()) {
      kept.keys = std::make_shared<const WebKeys>(*std::move(keys));
      kept.had_ms = kept.asked_ms;
    } else {
      kept.failure = keys.status();
      if (kept.asked_ms - kept.had_ms > kStaleMs) kept.keys = nullptr;
    }
  }
  changed_.notify();
}

awaitable<StatusOr<WebKeys>> KeySets::ask(const ProviderRecord& provider) const {
  const auto file = files_.find(provider.name);
  if (file != files_.end()) co_return read_file(file->second);
  const std::string issuer = cat(provider.plain ? "http://" : "https://", provider.name);
  const bool slash = issuer.ends_with('/');
  const auto url =
      events::parse_url(cat(issuer, slash ? "" : "/", ".well-known/openid-configuration"));
  if (!url.ok()) co_return absl::UnavailableError("its URL cannot be asked");
  auto document = co_await fetch(*url, tls_, provider.thumbprints);
  if (!document.ok()) co_return document.status();
  const auto where = keys_url(*document, issuer, provider.plain);
  if (!where.ok()) co_return where.status();
  auto keys = co_await fetch(*where, tls_, provider.thumbprints);
  if (!keys.ok()) co_return keys.status();
  auto parsed = parse_keys(*keys);
  if (!parsed.ok()) co_return absl::UnavailableError(std::string(parsed.status().message()));
  co_return std::move(parsed);
}

}  // namespace cairn::iam

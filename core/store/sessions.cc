#include "core/store/sessions.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>

#include "core/store/fields.h"
#include "core/store/users.h"

namespace cairn {
namespace {

constexpr char kVersion = 1;
constexpr std::string_view kSealedFor = "session";

// Numbers in tokens: never used for anything else.
enum Tag : uint8_t {
  kKeyId = 1,
  kSecret = 2,
  kUser = 3,
  kKey = 4,
  kRole = 5,
  kName = 6,
  kProvider = 7,
  kIssued = 8,   // i64, Unix milliseconds
  kExpires = 9,  // likewise
  kPolicy = 10,
  kPolicyId = 11,  // several
};

std::string encode_base64(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                reinterpret_cast<const unsigned char*>(bytes.data()),
                                static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(n));
  return out;
}

std::optional<std::string> decode_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                reinterpret_cast<const unsigned char*>(text.data()),
                                static_cast<int>(text.size()));
  if (n < 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  out.resize(static_cast<size_t>(n) - padding);
  return out;
}

std::string_view bytes_of(const int64_t& n) {
  return {reinterpret_cast<const char*>(&n), sizeof(n)};
}

bool read_number(std::string_view bytes, int64_t& to) {
  if (bytes.size() != sizeof(to)) return false;
  std::memcpy(&to, bytes.data(), sizeof(to));
  return true;
}

bool take(const Field& field, SessionClaims& to) {
  const std::pair<Tag, std::string*> kTexts[] = {{kKeyId, &to.key_id},      {kSecret, &to.secret},
                                                 {kUser, &to.user},         {kKey, &to.key},
                                                 {kRole, &to.role},         {kName, &to.name},
                                                 {kProvider, &to.provider}, {kPolicy, &to.policy}};
  for (const auto& [tag, text] : kTexts) {
    if (field.tag != tag) continue;
    *text = field.bytes;
    return true;
  }
  switch (field.tag) {
    case kIssued:
      return read_number(field.bytes, to.issued_ms);
    case kExpires:
      return read_number(field.bytes, to.expires_ms);
    case kPolicyId:
      to.policies.emplace_back(field.bytes);
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string seal_session(const SessionClaims& c, const MasterKey& master) {
  std::string bytes(1, kVersion);
  const auto add = [&](Tag tag, std::string_view text) {
    if (!text.empty()) add_field(bytes, tag, text);
  };
  add(kKeyId, c.key_id);
  add(kSecret, c.secret);
  add(kUser, c.user);
  add(kKey, c.key);
  add(kRole, c.role);
  add(kName, c.name);
  add(kProvider, c.provider);
  add(kIssued, bytes_of(c.issued_ms));
  add(kExpires, bytes_of(c.expires_ms));
  add(kPolicy, c.policy);
  for (const std::string& id : c.policies) add(kPolicyId, id);
  return encode_base64(master.seal(bytes, kSealedFor));
}

std::optional<SessionClaims> open_session(std::string_view token, const MasterKey& master) {
  if (token.size() > kTokenBytesMax) return std::nullopt;
  const auto sealed = decode_base64(token);
  const auto opened = sealed ? master.open(*sealed, kSealedFor) : std::nullopt;
  if (!opened || opened->empty() || opened->front() != kVersion) return std::nullopt;
  std::string_view rest = std::string_view(*opened).substr(1);
  SessionClaims claims;
  while (!rest.empty()) {
    const auto field = take_field(rest);
    // What is of a later version's making may be a limit: it is not passed over.
    if (!field || !take(*field, claims)) return std::nullopt;
  }
  if (claims.key_id.empty() || claims.secret.empty() || claims.issued_ms == 0) return std::nullopt;
  return claims;
}

SessionPtr Sessions::find(std::string_view token, absl::FunctionRef<SessionPtr()> make) {
  MutexLock lock(mutex_);
  if (const auto it = by_token_.find(token); it != by_token_.end()) {
    all_.splice(all_.begin(), all_, it->second);
    return it->second->session;
  }
  SessionPtr made = make();
  if (made == nullptr) return nullptr;
  all_.push_front({std::string(token), made});
  by_token_.emplace(all_.front().token, all_.begin());
  // The oldest go whom no connection and no request has.
  const auto is_idle = [](const Kept& kept) {
    return kept.session.use_count() == 1 && kept.session->principal.use_count() == 1;
  };
  for (auto it = std::prev(all_.end()); all_.size() > kIdleMax && it != all_.begin();) {
    const auto at = it--;
    if (!is_idle(*at)) continue;
    by_token_.erase(at->token);
    all_.erase(at);
  }
  return made;
}

void Sessions::for_each(absl::FunctionRef<void(const Session&)> look_at) {
  MutexLock lock(mutex_);
  for (const Kept& kept : all_) look_at(*kept.session);
}

}  // namespace cairn

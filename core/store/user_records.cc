#include "core/store/user_records.h"

#include <cstring>

#include "core/base/text.h"
#include "core/store/policy_json.h"

namespace cairn {
namespace {

constexpr char kVersion = 1;

// Numbers on disk: never used for anything else.
enum Tag : uint8_t {
  kId = 1,
  kName = 2,
  kPath = 3,
  kCreated = 4,   // i64, Unix milliseconds
  kAttached = 5,  // an id; several
  kInlined = 6,   // u32 size of the name, name, text; several
  kPassword = 7,
  kPasswordSet = 8,  // i64
  kGroup = 9,        // an id; several
  kDescription = 10,
  kText = 11,
  kUser = 12,
  kSealed = 13,
  kEnabled = 14,  // u8
  kExpires = 15,  // i64
  kBoundary = 16,
  kUpdated = 17,        // i64
  kPolicyVersion = 18,  // i64
  kAclFlags = 19,       // u8: a set of kAclOn and the like
  kAclHash = 20,        // 64 hexadecimal digits; several
  kAclRules = 21,
  kTrust = 22,
  kMaxSession = 23,  // i64, seconds
  kClientId = 24,    // several
  kThumbprint = 25,  // several
  kPlain = 26,       // there if it is http
  kQuotaBytes = 32,  // u64
  kQuotaKeys = 33,   // u64
};

constexpr unsigned kAclOn = 1, kAclNopass = 2, kAclSkipsSanitizing = 4, kAclAsStarted = 8,
                   kAclSanitizes = 16;
constexpr unsigned kAclFlagsKnown = 31;

class Writer {
 public:
  void text(Tag tag, std::string_view bytes) {
    out_.push_back(static_cast<char>(tag));
    size(bytes.size());
    out_ += bytes;
  }
  void number(Tag tag, int64_t n) { text(tag, {reinterpret_cast<const char*>(&n), sizeof(n)}); }
  void several(Tag tag, const std::vector<std::string>& all) {
    for (const std::string& one : all) text(tag, one);
  }
  void named(Tag tag, std::string_view name, std::string_view bytes) {
    const auto n = static_cast<uint32_t>(name.size());
    text(tag, cat(std::string_view(reinterpret_cast<const char*>(&n), sizeof(n)), name, bytes));
  }
  std::string take() { return std::move(out_); }

 private:
  void size(size_t bytes) {
    const auto n = static_cast<uint32_t>(bytes);
    out_.append(reinterpret_cast<const char*>(&n), sizeof(n));
  }
  std::string out_{kVersion};
};

// Calls `take(tag, bytes)` for each field, until it says no.
template <class Take>
bool read(std::string_view bytes, Take take) {
  if (bytes.empty() || bytes[0] != kVersion) return false;
  bytes.remove_prefix(1);
  while (!bytes.empty()) {
    uint32_t size = 0;
    if (bytes.size() < 1 + sizeof(size)) return false;
    const auto tag = static_cast<Tag>(bytes[0]);
    std::memcpy(&size, bytes.data() + 1, sizeof(size));
    bytes.remove_prefix(1 + sizeof(size));
    if (bytes.size() < size || !take(tag, bytes.substr(0, size))) return false;
    bytes.remove_prefix(size);
  }
  return true;
}

bool read_number(std::string_view bytes, int64_t& to) {
  if (bytes.size() != sizeof(to)) return false;
  std::memcpy(&to, bytes.data(), sizeof(to));
  return true;
}

bool read_limit(std::string_view bytes, std::optional<uint64_t>& to) {
  int64_t n = 0;
  if (!read_number(bytes, n)) return false;
  to = static_cast<uint64_t>(n);
  return true;
}

void write(Writer& w, const Subject& r) {
  w.text(kId, r.id);
  w.text(kName, r.name);
  w.text(kPath, r.path);
  w.number(kCreated, r.created_ms);
  w.several(kAttached, r.attached);
  for (auto& [name, policy] : r.inlined) w.named(kInlined, name, policy.text);
}

void write(Writer& w, const AclRecord& r) {
  const unsigned flags = (r.on ? kAclOn : 0U) | (r.nopass ? kAclNopass : 0U) |
                         (r.skips_sanitizing ? kAclSkipsSanitizing : 0U) |
                         (r.as_started ? kAclAsStarted : 0U) | (r.sanitizes ? kAclSanitizes : 0U);
  const char byte = static_cast<char>(flags);
  w.text(kAclFlags, {&byte, 1});
  w.several(kAclHash, r.hashes);
  w.text(kAclRules, r.rules);
}

bool take_flags(std::string_view bytes, AclRecord& to) {
  const unsigned flags = bytes.size() == 1 ? static_cast<uint8_t>(bytes[0]) : ~0U;
  to.on = (flags & kAclOn) != 0;
  to.nopass = (flags & kAclNopass) != 0;
  to.skips_sanitizing = (flags & kAclSkipsSanitizing) != 0;
  to.sanitizes = (flags & kAclSanitizes) != 0;
  to.as_started = (flags & kAclAsStarted) != 0;
  return (flags & ~kAclFlagsKnown) == 0;
}

bool take(Tag tag, std::string_view bytes, Subject& to) {
  switch (tag) {
    case kId:
      to.id = bytes;
      return true;
    case kName:
      to.name = bytes;
      return true;
    case kPath:
      to.path = bytes;
      return true;
    case kCreated:
      return read_number(bytes, to.created_ms);
    case kAttached:
      to.attached.emplace_back(bytes);
      return true;
    case kInlined: {
      uint32_t size = 0;
      if (bytes.size() < sizeof(size)) return false;
      std::memcpy(&size, bytes.data(), sizeof(size));
      bytes.remove_prefix(sizeof(size));
      if (bytes.size() < size) return false;
      to.inlined[std::string(bytes.substr(0, size))] =
          PolicyText::of(std::string(bytes.substr(size)));
      return true;
    }
    default:
      return false;
  }
}

}  // namespace

PolicyText PolicyText::of(std::string text) {
  PolicyText made{std::move(text), nullptr};
  auto policy = policy::parse_identity_policy(made.text);
  if (policy.ok()) made.compiled = std::make_shared<const policy::Policy>(*std::move(policy));
  return made;
}

PolicyText PolicyText::of_trust(std::string text) {
  PolicyText made{std::move(text), nullptr};
  auto policy = policy::parse_trust_policy(made.text);
  if (policy.ok()) made.compiled = std::make_shared<const policy::Policy>(*std::move(policy));
  return made;
}

std::string encode(const UserRecord& r) {
  Writer w;
  write(w, r);
  w.several(kGroup, r.groups);
  if (!r.password.empty()) {
    w.text(kPassword, r.password);
    w.number(kPasswordSet, r.password_ms);
  }
  if (r.acl) write(w, *r.acl);
  if (r.quota.bytes) w.number(kQuotaBytes, static_cast<int64_t>(*r.quota.bytes));
  if (r.quota.keys) w.number(kQuotaKeys, static_cast<int64_t>(*r.quota.keys));
  return w.take();
}

std::string encode(const GroupRecord& r) {
  Writer w;
  write(w, r);
  return w.take();
}

std::string encode(const PolicyRecord& r) {
  Writer w;
  w.text(kId, r.id);
  w.text(kName, r.name);
  w.text(kPath, r.path);
  w.number(kCreated, r.created_ms);
  w.number(kUpdated, r.updated_ms);
  w.number(kPolicyVersion, r.version);
  if (!r.description.empty()) w.text(kDescription, r.description);
  w.text(kText, r.text.text);
  return w.take();
}

std::string encode(const KeyRecord& r) {
  Writer w;
  w.text(kId, r.id);
  w.text(kUser, r.user);
  w.text(kSealed, r.sealed);
  w.text(kEnabled, std::string_view(r.enabled ? "\1" : "\0", 1));
  w.number(kCreated, r.created_ms);
  if (r.expires_ms != 0) w.number(kExpires, r.expires_ms);
  if (r.boundary) w.text(kBoundary, r.boundary->text);
  return w.take();
}

std::string encode(const RoleRecord& r) {
  Writer w;
  write(w, r);
  if (!r.description.empty()) w.text(kDescription, r.description);
  w.text(kTrust, r.trust.text);
  w.number(kMaxSession, r.max_session_s);
  return w.take();
}

std::string encode(const ProviderRecord& r) {
  Writer w;
  w.text(kId, r.id);
  w.text(kName, r.name);
  w.number(kCreated, r.created_ms);
  if (r.plain) w.text(kPlain, "");
  w.several(kClientId, r.client_ids);
  w.several(kThumbprint, r.thumbprints);
  return w.take();
}

bool decode(std::string_view bytes, UserRecord& to) {
  const bool whole = read(bytes, [&](Tag tag, std::string_view b) {
    switch (tag) {
      case kGroup:
        to.groups.emplace_back(b);
        return true;
      case kPassword:
        to.password = b;
        return true;
      case kPasswordSet:
        return read_number(b, to.password_ms);
      case kAclFlags:
        return take_flags(b, to.acl.emplace());
      case kAclHash:
        if (to.acl) to.acl->hashes.emplace_back(b);
        return to.acl.has_value();
      case kAclRules:
        if (to.acl) to.acl->rules = b;
        return to.acl.has_value();
      case kQuotaBytes:
        return read_limit(b, to.quota.bytes);
      case kQuotaKeys:
        return read_limit(b, to.quota.keys);
      default:
        return take(tag, b, to);
    }
  });
  return whole && !to.id.empty() && !to.name.empty();
}

bool decode(std::string_view bytes, GroupRecord& to) {
  const bool whole = read(bytes, [&](Tag tag, std::string_view b) { return take(tag, b, to); });
  return whole && !to.id.empty() && !to.name.empty();
}

bool decode(std::string_view bytes, PolicyRecord& to) {
  const bool whole = read(bytes, [&](Tag tag, std::string_view b) {
    switch (tag) {
      case kId:
        to.id = b;
        return true;
      case kName:
        to.name = b;
        return true;
      case kPath:
        to.path = b;
        return true;
      case kCreated:
        return read_number(b, to.created_ms);
      case kUpdated:
        return read_number(b, to.updated_ms);
      case kPolicyVersion:
        return read_number(b, to.version);
      case kDescription:
        to.description = b;
        return true;
      case kText:
        to.text = PolicyText::of(std::string(b));
        return true;
      default:
        return false;
    }
  });
  return whole && !to.id.empty() && !to.name.empty();
}

bool decode(std::string_view bytes, KeyRecord& to) {
  const bool whole = read(bytes, [&](Tag tag, std::string_view b) {
    switch (tag) {
      case kId:
        to.id = b;
        return true;
      case kUser:
        to.user = b;
        return true;
      case kSealed:
        to.sealed = b;
        return true;
      case kEnabled:
        to.enabled = b == "\1";
        return b.size() == 1;
      case kCreated:
        return read_number(b, to.created_ms);
      case kExpires:
        return read_number(b, to.expires_ms);
      case kBoundary:
        to.boundary = PolicyText::of(std::string(b));
        return true;
      default:
        return false;
    }
  });
  return whole && !to.id.empty() && !to.user.empty();
}

bool decode(std::string_view bytes, RoleRecord& to) {
  const bool whole = read(bytes, [&](Tag tag, std::string_view b) {
    switch (tag) {
      case kDescription:
        to.description = b;
        return true;
      case kTrust:
        to.trust = PolicyText::of_trust(std::string(b));
        return true;
      case kMaxSession:
        return read_number(b, to.max_session_s);
      default:
        return take(tag, b, to);
    }
  });
  return whole && !to.id.empty() && !to.name.empty();
}

bool decode(std::string_view bytes, ProviderRecord& to) {
  const bool whole = read(bytes, [&](Tag tag, std::string_view b) {
    switch (tag) {
      case kId:
        to.id = b;
        return true;
      case kName:
        to.name = b;
        return true;
      case kCreated:
        return read_number(b, to.created_ms);
      case kPlain:
        to.plain = true;
        return b.empty();
      case kClientId:
        to.client_ids.emplace_back(b);
        return true;
      case kThumbprint:
        to.thumbprints.emplace_back(b);
        return true;
      default:
        return false;
    }
  });
  return whole && !to.id.empty() && !to.name.empty();
}

}  // namespace cairn

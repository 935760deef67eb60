#include "core/store/properties.h"

#include "core/base/text.h"
#include "core/store/fields.h"

namespace cairn {

namespace {

// On disk: never renumber.
enum Tag : uint8_t {
  kTag = 1,
  kCorsRule = 2,
  kVersioning = 16,
  kObjectLock = 17,
  kLifecycle = 18,
  kEncryption = 19,
  kNotification = 24,
  kDefaultTtl = 26,
  kLogging = 27,
  kQuota = 28,
  kFastEtags = 29,
  kPolicy = 32,
  kOwnership = 33,
  kPublicAccessBlock = 34,
  kAcl = 35,
  kRequesterPays = 36,
  kWebsite = 37,
};
enum NotificationTag : uint8_t {
  kRuleId = 1,
  kTarget = 2,
  kEvent = 3,
  kPrefix = 4,
  kSuffix = 5,
};
enum LoggingTag : uint8_t {
  kLogBucket = 1,
  kLogPrefix = 2,
  kLogKeys = 3,
};
enum QuotaTag : uint8_t {
  kQuotaBytes = 1,
  kQuotaKeys = 2,
  kChargedTo = 3,
};
enum RuleTag : uint8_t {
  kId = 1,
  kOrigin = 2,
  kMethod = 3,
  kHeader = 4,
  kExposed = 5,
  kMaxAge = 6,
};

std::string encode_rule(const CorsRule& rule) {
  std::string out;
  if (!rule.id.empty()) add_field(out, kId, rule.id);
  for (auto& one : rule.origins) add_field(out, kOrigin, one);
  for (auto& one : rule.methods) add_field(out, kMethod, one);
  for (auto& one : rule.headers) add_field(out, kHeader, one);
  for (auto& one : rule.exposed) add_field(out, kExposed, one);
  if (rule.max_age_s) {
    const uint32_t seconds = *rule.max_age_s;
    add_field(out, kMaxAge, {reinterpret_cast<const char*>(&seconds), sizeof(seconds)});
  }
  return out;
}

std::string encode_retention(const DefaultRetention& r) {
  std::string out(1, static_cast<char>(r.retention));
  out.push_back(r.in_years ? 1 : 0);
  return out.append(reinterpret_cast<const char*>(&r.count), sizeof(r.count));
}

std::optional<DefaultRetention> decode_retention(std::string_view in) {
  DefaultRetention r;
  if (in.size() != 2 + sizeof(r.count)) return std::nullopt;
  if (in[0] < 0 || in[0] > 2 || in[1] < 0 || in[1] > 1) return std::nullopt;
  r.retention = static_cast<Retention>(in[0]);
  r.in_years = in[1] == 1;
  std::memcpy(&r.count, in.data() + 2, sizeof(r.count));
  return r;
}

std::string encode_encryption(const BucketEncryption& e) {
  std::string out(1, static_cast<char>(e.mode));
  out.push_back(e.bucket_key ? 1 : 0);
  return out + e.key_id;
}

std::optional<BucketEncryption> decode_encryption(std::string_view in) {
  if (in.size() < 2 || in[0] < 1 || in[0] > 2 || in[1] < 0 || in[1] > 1) return std::nullopt;
  return BucketEncryption{static_cast<BucketEncryption::Mode>(in[0]), std::string(in.substr(2)),
                          in[1] == 1};
}

std::optional<CorsRule> decode_rule(std::string_view in) {
  CorsRule rule;
  while (!in.empty()) {
    const auto field = take_field(in);
    if (!field) return std::nullopt;
    switch (field->tag) {
      case kId:
        rule.id = field->bytes;
        break;
      case kOrigin:
        rule.origins.emplace_back(field->bytes);
        break;
      case kMethod:
        rule.methods.emplace_back(field->bytes);
        break;
      case kHeader:
        rule.headers.emplace_back(field->bytes);
        break;
      case kExposed:
        rule.exposed.emplace_back(field->bytes);
        break;
      case kMaxAge: {
        uint32_t seconds;
        if (field->bytes.size() != sizeof(seconds)) return std::nullopt;
        std::memcpy(&seconds, field->bytes.data(), sizeof(seconds));
        rule.max_age_s = seconds;
        break;
      }
      default:
        return std::nullopt;
    }
  }
  return rule;
}

std::string encode_rule(const NotificationRule& rule) {
  std::string out;
  if (!rule.id.empty()) add_field(out, kRuleId, rule.id);
  if (!rule.target.empty()) add_field(out, kTarget, rule.target);
  for (auto& one : rule.events) add_field(out, kEvent, one);
  if (!rule.prefix.empty()) add_field(out, kPrefix, rule.prefix);
  if (!rule.suffix.empty()) add_field(out, kSuffix, rule.suffix);
  return out;
}

std::optional<NotificationRule> decode_notification(std::string_view in) {
  NotificationRule rule;
  while (!in.empty()) {
    const auto field = take_field(in);
    if (!field) return std::nullopt;
    switch (field->tag) {
      case kRuleId:
        rule.id = field->bytes;
        break;
      case kTarget:
        rule.target = field->bytes;
        break;
      case kEvent:
        rule.events.emplace_back(field->bytes);
        break;
      case kPrefix:
        rule.prefix = field->bytes;
        break;
      case kSuffix:
        rule.suffix = field->bytes;
        break;
      default:
        return std::nullopt;
    }
  }
  return rule;
}

template <class Number>
void add_number(std::string& out, uint8_t tag, Number n) {
  add_field(out, tag, {reinterpret_cast<const char*>(&n), sizeof(n)});
}

// Nothing if it has another size.
template <class Number>
std::optional<Number> number_in(std::string_view bytes) {
  Number n;
  if (bytes.size() != sizeof(n)) return std::nullopt;
  std::memcpy(&n, bytes.data(), sizeof(n));
  return n;
}

void add_byte(std::string& out, uint8_t tag, uint8_t byte) {
  const char text = static_cast<char>(byte);
  add_field(out, tag, {&text, 1});
}

// Nothing if it is not one byte from `least` to `most`.
std::optional<uint8_t> byte_in(std::string_view bytes, uint8_t least, uint8_t most) {
  if (bytes.size() != 1) return std::nullopt;
  const auto byte = static_cast<uint8_t>(bytes[0]);
  return byte >= least && byte <= most ? std::optional(byte) : std::nullopt;
}

uint8_t bits_of(const PublicAccessBlock& b) {
  return static_cast<uint8_t>(b.block_acls | b.ignore_acls << 1 | b.block_policy << 2 |
                              b.restrict_buckets << 3);
}

std::string encode_logging(const AccessLogging& logging) {
  std::string out;
  add_field(out, kLogBucket, logging.bucket);
  if (!logging.prefix.empty()) add_field(out, kLogPrefix, logging.prefix);
  if (logging.keys != LogKeys::kSimple) {
    add_byte(out, kLogKeys, static_cast<uint8_t>(logging.keys));
  }
  return out;
}

std::optional<AccessLogging> decode_logging(std::string_view in) {
  AccessLogging logging;
  while (!in.empty()) {
    const auto field = take_field(in);
    if (!field) return std::nullopt;
    switch (field->tag) {
      case kLogBucket:
        logging.bucket = field->bytes;
        break;
      case kLogPrefix:
        logging.prefix = field->bytes;
        break;
      case kLogKeys: {
        const auto byte = byte_in(field->bytes, 1, 2);
        if (!byte) return std::nullopt;
        logging.keys = static_cast<LogKeys>(*byte);
        break;
      }
      default:
        return std::nullopt;
    }
  }
  return logging;
}

std::string encode_quota(const Properties& p) {
  std::string out;
  if (p.quota.bytes) add_number(out, kQuotaBytes, *p.quota.bytes);
  if (p.quota.keys) add_number(out, kQuotaKeys, *p.quota.keys);
  if (!p.charged_to.empty()) add_field(out, kChargedTo, p.charged_to);
  return out;
}

// What bounds it. False: as below.
bool decode_bounds(const Field& field, Properties& p) {
  switch (field.tag) {
    case kDefaultTtl: {
      const auto seconds = number_in<int64_t>(field.bytes);
      if (seconds) p.default_ttl_s = *seconds;
      return p.default_ttl_s > 0;
    }
    case kLogging:
      p.logging = decode_logging(field.bytes);
      return p.logging.has_value();
    case kQuota: {
      std::string_view in = field.bytes;
      while (!in.empty()) {
        const auto part = take_field(in);
        if (!part) return false;
        if (part->tag == kQuotaBytes) {
          p.quota.bytes = number_in<uint64_t>(part->bytes);
          if (!p.quota.bytes) return false;
        } else if (part->tag == kQuotaKeys) {
          p.quota.keys = number_in<uint64_t>(part->bytes);
          if (!p.quota.keys) return false;
        } else if (part->tag == kChargedTo) {
          p.charged_to = part->bytes;
        } else {
          return false;
        }
      }
      return true;
    }
    default:
      return false;
  }
}

// What says who may use it. False: it is no such field, or not as it is written.
bool decode_access(const Field& field, Properties& p) {
  switch (field.tag) {
    case kPolicy:
      p.policy = field.bytes;
      return !p.policy.empty();
    case kOwnership: {
      const auto byte = byte_in(field.bytes, 1, 3);
      if (byte) p.ownership = static_cast<Ownership>(*byte);
      return byte.has_value();
    }
    case kPublicAccessBlock: {
      const auto byte = byte_in(field.bytes, 0, 15);
      if (!byte) return false;
      p.public_access_block =
          PublicAccessBlock{(*byte & 1) != 0, (*byte & 2) != 0, (*byte & 4) != 0, (*byte & 8) != 0};
      return true;
    }
    case kAcl:
      p.acl = Acl::decode(field.bytes);
      return p.acl.has_value() && !p.acl->is_default();
    case kRequesterPays:
      p.requester_pays = true;
      return byte_in(field.bytes, 1, 1).has_value();
    case kWebsite:
      p.website = Website::decode(field.bytes);
      return p.website.has_value() && *p.website != Website{};
    default:
      return false;
  }
}

}  // namespace

std::string Properties::encode() const {
  std::string out(reinterpret_cast<const char*>(&created_ms), sizeof(created_ms));
  for (auto& [name, value] : tags) {
    add_field(out, kTag, cat(name, std::string_view("\0", 1), value));
  }
  for (auto& rule : cors) add_field(out, kCorsRule, encode_rule(rule));
  if (versioning != Versioning::kOff) {
    add_byte(out, kVersioning, static_cast<uint8_t>(versioning));
  }
  if (object_lock) add_field(out, kObjectLock, encode_retention(*object_lock));
  for (auto& rule : lifecycle) add_field(out, kLifecycle, rule.encode());
  if (encryption) add_field(out, kEncryption, encode_encryption(*encryption));
  for (auto& rule : notifications) add_field(out, kNotification, encode_rule(rule));
  if (default_ttl_s > 0) add_number(out, kDefaultTtl, default_ttl_s);
  if (logging) add_field(out, kLogging, encode_logging(*logging));
  if (const std::string bounds = encode_quota(*this); !bounds.empty()) {
    add_field(out, kQuota, bounds);
  }
  if (fast_etags) add_byte(out, kFastEtags, 1);
  if (!policy.empty()) add_field(out, kPolicy, policy);
  if (ownership != Ownership::kBucketOwnerEnforced) {
    add_byte(out, kOwnership, static_cast<uint8_t>(ownership));
  }
  if (public_access_block) add_byte(out, kPublicAccessBlock, bits_of(*public_access_block));
  if (acl && !acl->is_default()) add_field(out, kAcl, acl->encode());
  if (requester_pays) add_byte(out, kRequesterPays, 1);
  if (website) add_field(out, kWebsite, website->encode());
  return out;
}

std::optional<Properties> Properties::decode(std::string_view bytes) {
  Properties p;
  if (bytes.size() < sizeof(p.created_ms)) return std::nullopt;
  std::memcpy(&p.created_ms, bytes.data(), sizeof(p.created_ms));
  std::string_view in = bytes.substr(sizeof(p.created_ms));
  while (!in.empty()) {
    const auto field = take_field(in);
    if (!field) return std::nullopt;
    switch (field->tag) {
      case kTag: {
        const auto pair = split_named(field->bytes);
        if (!pair) return std::nullopt;
        p.tags.emplace(pair->name, pair->value);
        break;
      }
      case kCorsRule: {
        auto rule = decode_rule(field->bytes);
        if (!rule) return std::nullopt;
        p.cors.push_back(std::move(*rule));
        break;
      }
      case kVersioning:
        if (field->bytes.size() != 1) return std::nullopt;
        if (field->bytes[0] != 1 && field->bytes[0] != 2) return std::nullopt;
        p.versioning = static_cast<Versioning>(field->bytes[0]);
        break;
      case kObjectLock:
        p.object_lock = decode_retention(field->bytes);
        if (!p.object_lock) return std::nullopt;
        break;
      case kLifecycle: {
        auto rule = LifecycleRule::decode(field->bytes);
        if (!rule) return std::nullopt;
        p.lifecycle.push_back(std::move(*rule));
        break;
      }
      case kFastEtags:
        if (!byte_in(field->bytes, 1, 1)) return std::nullopt;
        p.fast_etags = true;
        break;
      case kEncryption:
        p.encryption = decode_encryption(field->bytes);
        if (!p.encryption) return std::nullopt;
        break;
      case kNotification: {
        auto rule = decode_notification(field->bytes);
        if (!rule) return std::nullopt;
        p.notifications.push_back(std::move(*rule));
        break;
      }
      default:
        if (!decode_bounds(*field, p) && !decode_access(*field, p)) return std::nullopt;
    }
  }
  if (p.encode() != bytes) return std::nullopt;  // twice the same name, another order
  return p;
}

}  // namespace cairn

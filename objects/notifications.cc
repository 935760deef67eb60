#include "objects/notifications.h"

#include <algorithm>
#include <ctime>

#include "core/base/text.h"
#include "core/store/value.h"
#include "objects/metadata.h"
#include "objects/object.h"
#include "objects/versions.h"

namespace cairn::objects {

namespace {

constexpr std::string_view kHad[] = {
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:ObjectTagging:*",
    "s3:ObjectTagging:Put",
    "s3:ObjectTagging:Delete",
    "s3:ObjectAcl:Put",
};
constexpr std::string_view kKnown[] = {
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Post",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:ReducedRedundancyLostObject",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationReplicatedAfterThreshold",
    "s3:Replication:OperationNotTracked",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ObjectAccessed:*",  // MinIO's
    "s3:ObjectAccessed:Get",
    "s3:ObjectAccessed:Head",
};

bool covers(std::string_view wanted, std::string_view event) {
  if (!wanted.ends_with('*')) return wanted == event;
  return event.starts_with(wanted.substr(0, wanted.size() - 1));
}

// 1970-01-01T00:00:00.000Z
std::string iso_time(int64_t unix_ms) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[40];
  const size_t n = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  std::string ms = cat(1000 + unix_ms % 1000);
  return cat(std::string_view(text, n), ".", std::string_view(ms).substr(1), "Z");
}

// As a form has it: what S3 does to the names of objects in its events.
std::string form_encoded(std::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '*' || c == '/';
    if (plain) {
      out.push_back(c);
    } else if (c == ' ') {
      out.push_back('+');
    } else {
      constexpr char kDigits[] = "0123456789ABCDEF";
      const auto byte = static_cast<unsigned char>(c);
      append(out, "%", kDigits[byte >> 4], kDigits[byte & 15]);
    }
  }
  return out;
}

void add_text(std::string& out, std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      append(out, "\\", c);
    } else if (byte < 0x20) {
      append(out, "\\u00", kDigits[byte >> 4], kDigits[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}
void add_field(std::string& out, std::string_view name, std::string_view text) {
  if (out.back() != '{') out.push_back(',');
  append(out, "\"", name, "\":");
  add_text(out, text);
}

}  // namespace

std::string_view event_name(const FeedEvent& e) {
  if (e.ns == nullptr || !e.ns->is_bucket()) return {};
  using Kind = FeedEvent::Kind;
  const bool expired = e.cause == Cause::kExpiry || e.cause == Cause::kLifecycle;
  switch (e.kind) {
    case Kind::kMarker:
      return expired ? "s3:LifecycleExpiration:DeleteMarkerCreated"
                     : "s3:ObjectRemoved:DeleteMarkerCreated";
    case Kind::kRemove:
      if (e.version && e.version->marker) return {};  // that is what is told of
      [[fallthrough]];
    case Kind::kVersionRemove:
      return expired ? "s3:LifecycleExpiration:Delete" : "s3:ObjectRemoved:Delete";
    case Kind::kPut:
    case Kind::kVersionPut:
      break;
    default:
      return {};
  }
  if (e.type != ValueType::kString) return {};
  switch (e.cause) {
    case Cause::kTagsPut:
      return "s3:ObjectTagging:Put";
    case Cause::kTagsDelete:
      return "s3:ObjectTagging:Delete";
    case Cause::kAclPut:
      return "s3:ObjectAcl:Put";
    case Cause::kLockPut:  // S3 tells nobody
      return {};
    case Cause::kFormUpload:
      return "s3:ObjectCreated:Post";
    case Cause::kObjectCopy:
      return "s3:ObjectCreated:Copy";
    case Cause::kPartsCompleted:
      return "s3:ObjectCreated:CompleteMultipartUpload";
    default:
      return "s3:ObjectCreated:Put";
  }
}

EventType event_type(std::string_view text) {
  if (std::find(std::begin(kHad), std::end(kHad), text) != std::end(kHad)) return EventType::kHad;
  const bool known = std::find(std::begin(kKnown), std::end(kKnown), text) != std::end(kKnown);
  return known ? EventType::kKnown : EventType::kNone;
}

bool is_wanted(const NotificationRule& rule, std::string_view event, std::string_view key) {
  return key.starts_with(rule.prefix) && key.ends_with(rule.suffix) &&
         std::any_of(rule.events.begin(), rule.events.end(),
                     [&](const std::string& wanted) { return covers(wanted, event); });
}

const NotificationRule* rule_for(const Properties& properties, std::string_view target,
                                 std::string_view event, std::string_view key) {
  for (const NotificationRule& rule : properties.notifications) {
    if (rule.target == target && is_wanted(rule, event, key)) return &rule;
  }
  return nullptr;
}

bool overlap(const std::vector<NotificationRule>& rules) {
  const auto share_events = [](const NotificationRule& a, const NotificationRule& b) {
    for (const std::string& one : a.events) {
      for (const std::string& other : b.events) {
        if (covers(one, other) || covers(other, one)) return true;
      }
    }
    return false;
  };
  for (size_t i = 0; i < rules.size(); i++) {
    for (size_t j = 0; j < i; j++) {
      const NotificationRule &a = rules[i], &b = rules[j];
      if ((a.prefix.starts_with(b.prefix) || b.prefix.starts_with(a.prefix)) &&
          (a.suffix.ends_with(b.suffix) || b.suffix.ends_with(a.suffix)) && share_events(a, b)) {
        return true;
      }
    }
  }
  return false;
}

std::string sequencer_of(Lsn lsn) {
  std::string digits(16, '0');
  uint64_t v = lsn.value();
  for (size_t i = 16; i-- > 0; v >>= 4) digits[i] = "0123456789ABCDEF"[v & 15];
  return digits;
}

std::optional<Lsn> lsn_of_sequencer(std::string_view text) {
  if (text.size() != 16) return std::nullopt;
  const auto value = parse_int<uint64_t>(text, 16);
  if (!value || *value >= kLsnEnd) return std::nullopt;
  return Lsn(*value);
}

std::string record_json(const FeedEvent& e, std::string_view rule, std::string_view owner,
                        std::string_view region, Naming naming) {
  std::string_view name = event_name(e);
  // S3 has a version of its own for these.
  const bool later = name.starts_with("s3:LifecycleExpiration:") ||
                     name.starts_with("s3:ObjectTagging:") || name == "s3:ObjectAcl:Put";
  if (naming == Naming::kOfS3) name.remove_prefix(std::string_view("s3:").size());
  std::string out = "{";
  add_field(out, "eventVersion", later ? "2.3" : "2.1");
  add_field(out, "eventSource", "aws:s3");
  add_field(out, "awsRegion", region);
  add_field(out, "eventTime", iso_time(e.wall_ms));
  add_field(out, "eventName", name);
  append(out, ",\"userIdentity\":{\"principalId\":\"\"}",
         ",\"requestParameters\":{\"sourceIPAddress\":\"\"}",
         ",\"responseElements\":{\"x-amz-request-id\":\"\",\"x-amz-id-2\":\"\"}", ",\"s3\":{");
  add_field(out, "s3SchemaVersion", "1.0");
  add_field(out, "configurationId", rule);
  append(out, ",\"bucket\":{");
  add_field(out, "name", e.ns->name);
  append(out, ",\"ownerIdentity\":{");
  add_field(out, "principalId", owner);
  append(out, "}");
  add_field(out, "arn", cat("arn:aws:s3:::", e.ns->name));
  append(out, "},\"object\":{");
  add_field(out, "key", form_encoded(e.key));
  if (e.kind == FeedEvent::Kind::kPut || e.kind == FeedEvent::Kind::kVersionPut) {
    const auto meta = ObjectMeta::decode(e.meta).value_or(ObjectMeta());
    append(out, ",\"size\":", e.size);
    add_field(out, "eTag", etag_of(meta, e.written));
    if (!meta.content_type.empty() && is_utf8(meta.content_type)) {
      add_field(out, "contentType", meta.content_type);
    }
  }
  if (e.version) add_field(out, "versionId", version_id(*e.version));
  add_field(out, "sequencer", sequencer_of(e.lsn));
  return out += "}}}";
}

std::string message_json(const std::vector<std::string>& records, const FeedEvent* only) {
  std::string out = "{";
  if (only != nullptr) {
    add_field(out, "EventName", event_name(*only));
    const std::string path = cat(only->ns->name, "/", only->key);
    add_field(out, "Key", is_utf8(path) ? path : form_encoded(path));
    out += ",";
  }
  out += "\"Records\":[";
  for (const std::string& record : records) {
    if (out.back() != '[') out.push_back(',');
    out += record;
  }
  return out += "]}";
}

}  // namespace cairn::objects

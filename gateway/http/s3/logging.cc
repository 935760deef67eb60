// Whether accesses of a bucket are logged, and where to (access_log.h).
//
// Amazon has the bucket that gets the logs allow it in its policy, to a service. Here all buckets
// are of one account, and who has accesses logged must be one who may write there: s3:PutObject on
// the prefix.
#include "core/base/text.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

Error malformed() { return {"MalformedXML", ""}; }
Error invalid_target(std::string_view bucket, std::string_view why) {
  return {"InvalidTargetBucketForLogging",
          std::string(why),
          {},
          {{"TargetBucket", std::string(bucket)}}};
}

// The text of a child, empty if there is none. False: there are two, or it is no text.
bool take(const pugi::xml_node& of, const char* name, std::string& to) {
  bool twice = false;
  const auto node = single(of, name, twice);
  if (twice) return false;
  if (!node) return true;
  const auto text = text_of(node);
  if (text) to = *text;
  return text.has_value();
}

Error parse_format(const pugi::xml_node& format, LogKeys& keys) {
  bool twice = false;
  const auto simple = single(format, "SimplePrefix", twice);
  const auto partitioned = single(format, "PartitionedPrefix", twice);
  if (twice || !only_elements(format, "SimplePrefix PartitionedPrefix") ||
      simple.empty() == partitioned.empty()) {
    return malformed();
  }
  if (simple) return only_elements(simple, "") ? Error{} : malformed();
  std::string source;
  if (!only_elements(partitioned, "PartitionDateSource") ||
      !take(partitioned, "PartitionDateSource", source)) {
    return malformed();
  }
  if (source != "EventTime" && source != "DeliveryTime") return malformed();
  keys = source == "EventTime" ? LogKeys::kByEventTime : LogKeys::kByDeliveryTime;
  return {};
}

// Nothing: accesses are not to be logged.
Error parse(const std::string& text, std::optional<AccessLogging>& logging) {
  XmlIn in;
  if (!in.parse(text, "BucketLoggingStatus") || !only_elements(in.root(), "LoggingEnabled")) {
    return malformed();
  }
  bool twice = false;
  const auto enabled = single(in.root(), "LoggingEnabled", twice);
  if (twice) return malformed();
  if (!enabled) return {};
  if (!only_elements(enabled, "TargetBucket TargetPrefix TargetGrants TargetObjectKeyFormat")) {
    return malformed();
  }
  AccessLogging& to = logging.emplace();
  if (!take(enabled, "TargetBucket", to.bucket) || !take(enabled, "TargetPrefix", to.prefix) ||
      to.bucket.empty() || !enabled.child("TargetPrefix")) {
    return malformed();
  }
  if (const auto grants = enabled.child("TargetGrants"); grants && grants.first_child()) {
    return {"NotImplemented", "Cairn does not have TargetGrants: logs are the account's"};
  }
  const auto format = single(enabled, "TargetObjectKeyFormat", twice);
  if (twice) return malformed();
  if (format) {
    if (Error e = parse_format(format, to.keys)) return e;
  }
  constexpr size_t kRoomForRest = 200;  // of a key, behind the prefix
  if (to.prefix.size() + kRoomForRest > objects::kObjectKeyMax) {
    return {"InvalidArgument", "TargetPrefix is too long"};
  }
  return {};
}

Error check_target(const Call& c, const AccessLogging& to) {
  const Error refused = c.may(action::kPutObject, to.bucket, cat(to.prefix, "*"), nullptr);
  c.note(action::kPutObject, to.bucket, to.prefix, !refused);
  if (refused) {
    return invalid_target(to.bucket, "You may not write into the target bucket for logging");
  }
  const NamespacePtr target = c.store.find_namespace(to.bucket);
  if (target == nullptr || !target->is_bucket()) {
    return invalid_target(to.bucket, "The target bucket for logging does not exist");
  }
  const auto set = target->properties();
  if (set->object_lock && set->object_lock->retention != Retention::kNone) {
    return invalid_target(to.bucket,
                          "The target bucket for logging must not have a default retention");
  }
  return {};
}

awaitable<Error> put_logging(Call& c) {
  constexpr size_t kBodyMax = 64 << 10;
  std::string text;
  if (Error e = co_await read_small(c, kBodyMax, text)) co_return e;
  if (!c.bucket->is_bucket()) {
    co_return Error{"MethodNotAllowed", "Accesses of a numbered database are not logged"};
  }
  std::optional<AccessLogging> logging;
  if (Error e = parse(text, logging)) co_return e;
  if (logging) {
    if (Error e = check_target(c, *logging)) co_return e;
  }
  auto lsn = c.store.change_properties(*c.bucket, [&](Properties& p) { p.logging = logging; });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

awaitable<Error> get_logging(Call& c) {
  XmlOut xml("BucketLoggingStatus");
  if (const auto set = c.bucket->properties(); set->logging) {
    auto enabled = add(xml.root(), "LoggingEnabled");
    add(enabled, "TargetBucket", set->logging->bucket);
    add_as_it_came(enabled, "TargetPrefix", set->logging->prefix);
    if (set->logging->keys != LogKeys::kSimple) {
      const bool by_event = set->logging->keys == LogKeys::kByEventTime;
      add(add(add(enabled, "TargetObjectKeyFormat"), "PartitionedPrefix"), "PartitionDateSource",
          by_event ? "EventTime" : "DeliveryTime");
    }
  }
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

constexpr Action kGet{action::kDoor, "GetBucketLogging", Access::kRead};
constexpr Action kPut{action::kDoor, "PutBucketLogging", Access::kWrite};
constexpr Row kRows[] = {
    {"GetBucketLogging", kGet, "GET", Scope::kBucket, "logging", "", get_logging, "", ""},
    {"PutBucketLogging", kPut, "PUT", Scope::kBucket, "logging", "", put_logging,
     "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "", true, true},
};

}  // namespace

std::span<const Row> logging_rows() { return kRows; }

}  // namespace cairn::s3

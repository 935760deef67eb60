#include "gateway/http/s3/lifecycle.h"

#include <absl/time/time.h>

#include <algorithm>
#include <random>
#include <set>

#include "core/base/text.h"
#include "gateway/http/message.h"
#include "gateway/http/s3/object_lock.h"
#include "objects/lifecycle.h"

namespace cairn::s3 {

namespace {

constexpr size_t kRulesMax = 1000, kIdMax = 255, kDocumentMax = 4 << 20;
constexpr uint32_t kNewerMax = 100;
constexpr std::string_view kSmallest = "x-amz-transition-default-minimum-object-size",
                           kAllClasses = "all_storage_classes_128K";

Error malformed() { return {"MalformedXML", ""}; }

// ---- in ----

// The text of the one child of this name; nothing: there is none. False: it is odd.
bool field(const pugi::xml_node& of, const char* name, std::optional<std::string>& text) {
  bool twice = false;
  const auto node = single(of, name, twice);
  if (twice) return false;
  if (!node) return true;
  text = text_of(node);
  return text.has_value();
}

// A positive number of days, or of versions.
Error positive(const pugi::xml_node& of, const char* name, std::string_view action,
               std::optional<uint32_t>& out) {
  std::optional<std::string> text;
  if (!field(of, name, text)) return malformed();
  if (!text) return {};
  const auto number = parse_int<int64_t>(*text);
  if (!number || *number > INT32_MAX) return malformed();
  if (*number < 1) {
    return {"InvalidArgument",
            cat("'", name, "' for ", action, " action must be a positive integer")};
  }
  out = static_cast<uint32_t>(*number);
  return {};
}

bool read_tag(const pugi::xml_node& node, LifecycleRule& rule) {
  std::optional<std::string> name, value;
  return only_elements(node, "Key Value") && field(node, "Key", name) &&
         field(node, "Value", value) && name && value && objects::is_tag_name(*name) &&
         objects::is_tag_value(*value) && rule.tags.emplace(*name, *value).second;
}

bool read_size(const pugi::xml_node& of, const char* name, std::optional<uint64_t>& size) {
  std::optional<std::string> text;
  if (!field(of, name, text)) return false;
  if (!text) return true;
  size = parse_int<uint64_t>(*text);
  return size && *size <= INT64_MAX;
}

// A filter with one thing in it, or And with several.
bool read_conditions(const pugi::xml_node& node, LifecycleRule& rule) {
  std::optional<std::string> prefix;
  if (!field(node, "Prefix", prefix)) return false;
  rule.prefix = prefix.value_or("");
  for (auto tag : node.children("Tag")) {
    if (!read_tag(tag, rule)) return false;
  }
  return read_size(node, "ObjectSizeGreaterThan", rule.larger_than) &&
         read_size(node, "ObjectSizeLessThan", rule.smaller_than);
}

Error read_filter(const pugi::xml_node& node, LifecycleRule& rule) {
  constexpr std::string_view kConditions = "Prefix Tag ObjectSizeGreaterThan ObjectSizeLessThan";
  bool twice = false;
  const auto filter = single(node, "Filter", twice);
  std::optional<std::string> prefix;
  if (twice || !field(node, "Prefix", prefix) || prefix.has_value() == !filter.empty()) {
    return malformed();
  }
  if (prefix) {
    rule.old_form = true;
    rule.prefix = *prefix;
    return {};
  }
  if (!only_elements(filter, cat("And ", kConditions))) return malformed();
  const auto several = single(filter, "And", twice);
  const auto all = filter.children();
  const auto count = std::count_if(all.begin(), all.end(), [](const pugi::xml_node& child) {
    return child.type() == pugi::node_element;
  });
  if (twice || count > 1) return malformed();
  if (several && !only_elements(several, kConditions)) return malformed();
  if (!read_conditions(several ? several : filter, rule)) return malformed();
  if (rule.larger_than && rule.smaller_than && *rule.larger_than >= *rule.smaller_than) {
    return {"InvalidRequest",
            "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'."};
  }
  return {};
}

Error read_expiration(const pugi::xml_node& rule_node, int64_t day_ms, LifecycleRule& rule) {
  bool twice = false;
  const auto node = single(rule_node, "Expiration", twice);
  if (twice) return malformed();
  if (!node) return {};
  std::optional<std::string> date, markers;
  if (!only_elements(node, "Days Date ExpiredObjectDeleteMarker") || !field(node, "Date", date) ||
      !field(node, "ExpiredObjectDeleteMarker", markers)) {
    return malformed();
  }
  if (Error e = positive(node, "Days", "Expiration", rule.days)) return e;
  if (markers && *markers != "true" && *markers != "false") return malformed();
  rule.markers = markers && *markers == "true";
  if (int{rule.days.has_value()} + int{date.has_value()} + int{markers.has_value()} != 1) {
    return malformed();
  }
  if (!date) return {};
  absl::Time time;
  std::string why;
  if (!absl::ParseTime(absl::RFC3339_full, {date->data(), date->size()}, &time, &why) &&
      !absl::ParseTime("%Y-%m-%d", {date->data(), date->size()}, &time, &why)) {
    return malformed();
  }
  rule.date_ms = absl::ToUnixMillis(time);
  if (*rule.date_ms % day_ms != 0) return {"InvalidArgument", "'Date' must be at midnight GMT"};
  return {};
}

Error read_noncurrent(const pugi::xml_node& rule_node, LifecycleRule& rule) {
  bool twice = false;
  const auto node = single(rule_node, "NoncurrentVersionExpiration", twice);
  if (twice) return malformed();
  if (!node) return {};
  constexpr std::string_view kAction = "NoncurrentVersionExpiration";
  if (!only_elements(node, "NoncurrentDays NewerNoncurrentVersions")) return malformed();
  if (Error e = positive(node, "NoncurrentDays", kAction, rule.noncurrent_days)) return e;
  if (!rule.noncurrent_days) return malformed();
  std::optional<uint32_t> newer;
  if (Error e = positive(node, "NewerNoncurrentVersions", kAction, newer)) return e;
  if (newer && *newer > kNewerMax) {
    return {"InvalidArgument",
            cat("'NewerNoncurrentVersions' for ", kAction, " action must be at most ", kNewerMax)};
  }
  rule.newer_noncurrent = newer.value_or(0);
  return {};
}

Error read_uploads(const pugi::xml_node& rule_node, LifecycleRule& rule) {
  bool twice = false;
  const auto node = single(rule_node, "AbortIncompleteMultipartUpload", twice);
  if (twice) return malformed();
  if (!node) return {};
  if (!only_elements(node, "DaysAfterInitiation")) return malformed();
  if (Error e = positive(node, "DaysAfterInitiation", "AbortIncompleteMultipartUpload",
                         rule.upload_days)) {
    return e;
  }
  return rule.upload_days ? Error{} : malformed();
}

Error read_rule(const pugi::xml_node& node, int64_t day_ms, LifecycleRule& rule) {
  for (const char* name : {"Transition", "NoncurrentVersionTransition"}) {
    if (node.child(name)) {
      return {"NotImplemented", cat("Cairn does not have ", name, ": there is one storage class")};
    }
  }
  std::optional<std::string> id, status;
  if (!only_elements(node,
                     "ID Status Filter Prefix Expiration NoncurrentVersionExpiration "
                     "AbortIncompleteMultipartUpload") ||
      !field(node, "ID", id) || !field(node, "Status", status) || !status ||
      (*status != "Enabled" && *status != "Disabled")) {
    return malformed();
  }
  rule.id = id.value_or("");
  rule.enabled = *status == "Enabled";
  if (rule.id.size() > kIdMax) {
    return {"InvalidArgument", cat("ID length should not exceed allowed limit of ", kIdMax)};
  }
  if (Error e = read_filter(node, rule)) return e;
  if (Error e = read_expiration(node, day_ms, rule)) return e;
  if (Error e = read_noncurrent(node, rule)) return e;
  if (Error e = read_uploads(node, rule)) return e;
  const bool expiration = !node.child("Expiration").empty();
  if (!expiration && !rule.noncurrent_days && !rule.upload_days) {
    return {"InvalidRequest", "At least one action needs to be specified in a rule"};
  }
  if (rule.has_filter() && rule.markers) {
    return {"InvalidRequest",
            "ExpiredObjectDeleteMarker cannot be specified with tags or object sizes."};
  }
  if (rule.has_filter() && rule.upload_days) {
    return {"InvalidRequest",
            "AbortIncompleteMultipartUpload cannot be specified with tags or object sizes."};
  }
  return {};
}

std::string made_id() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 6; i++) {
    const uint32_t word = random();
    id += objects::hex({reinterpret_cast<const char*>(&word), sizeof(word)});
  }
  return id;
}

// ---- out ----

void add_conditions(pugi::xml_node to, const LifecycleRule& rule) {
  if (!rule.prefix.empty()) add_as_it_came(to, "Prefix", rule.prefix);
  for (auto& [name, value] : rule.tags) {
    auto tag = add(to, "Tag");
    add(tag, "Key", name);
    add(tag, "Value", value);
  }
  if (rule.larger_than) add(to, "ObjectSizeGreaterThan", *rule.larger_than);
  if (rule.smaller_than) add(to, "ObjectSizeLessThan", *rule.smaller_than);
}

void add_rule(pugi::xml_node to, const LifecycleRule& rule) {
  auto node = add(to, "Rule");
  if (rule.days || rule.date_ms || rule.markers) {
    auto expiration = add(node, "Expiration");
    if (rule.days) add(expiration, "Days", uint64_t{*rule.days});
    if (rule.date_ms) add(expiration, "Date", http::iso_date(*rule.date_ms));
    if (rule.markers) add(expiration, "ExpiredObjectDeleteMarker", "true");
  }
  add(node, "ID", rule.id);
  const size_t conditions = (rule.prefix.empty() ? 0 : 1) + rule.tags.size() +
                            (rule.larger_than ? 1 : 0) + (rule.smaller_than ? 1 : 0);
  if (rule.old_form) {
    add_as_it_came(node, "Prefix", rule.prefix);
  } else {
    auto filter = add(node, "Filter");
    if (conditions == 0) add(filter, "Prefix", "");
    add_conditions(conditions > 1 ? add(filter, "And") : filter, rule);
  }
  add(node, "Status", rule.enabled ? "Enabled" : "Disabled");
  if (rule.noncurrent_days) {
    auto noncurrent = add(node, "NoncurrentVersionExpiration");
    add(noncurrent, "NoncurrentDays", uint64_t{*rule.noncurrent_days});
    if (rule.newer_noncurrent > 0) {
      add(noncurrent, "NewerNoncurrentVersions", uint64_t{rule.newer_noncurrent});
    }
  }
  if (rule.upload_days) {
    add(add(node, "AbortIncompleteMultipartUpload"), "DaysAfterInitiation",
        uint64_t{*rule.upload_days});
  }
}

// ---- operations ----

awaitable<Error> get_lifecycle(Call& c) {
  const auto properties = c.bucket->properties();
  if (properties->lifecycle.empty()) co_return not_set(c, "NoSuchLifecycleConfiguration");
  XmlOut xml("LifecycleConfiguration");
  for (auto& rule : properties->lifecycle) add_rule(xml.root(), rule);
  c.response.set(kSmallest, kAllClasses);
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> set_lifecycle(Call& c, const std::vector<LifecycleRule>& rules) {
  auto lsn = c.store.change_properties(*c.bucket, [&](Properties& p) { p.lifecycle = rules; });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

awaitable<Error> put_lifecycle(Call& c) {
  if (!is_checked(c.request)) {
    co_return Error{"InvalidRequest", "Missing required header for this request: Content-MD5"};
  }
  // It is about transitions, of which there are none; a client that sets it waits until it reads
  // it.
  const std::string_view smallest = c.request.header(kSmallest);
  if (!smallest.empty() && smallest != kAllClasses) {
    co_return Error{"NotImplemented",
                    cat("Cairn has one storage class: ", kSmallest, " is ", kAllClasses)};
  }
  std::string text;
  if (Error e = co_await read_small(c, kDocumentMax, text)) co_return e;
  std::vector<LifecycleRule> rules;
  if (Error e = parse_lifecycle(text, c.store.options().lifecycle_day_ms, rules)) co_return e;
  if (!c.bucket->is_bucket()) {
    co_return Error{"InvalidRequest", "A numbered database has no lifecycle"};
  }
  c.response.set(kSmallest, kAllClasses);
  co_return co_await set_lifecycle(c, rules);
}

awaitable<Error> delete_lifecycle(Call& c) {
  c.response.status = 204;
  const std::vector<LifecycleRule> none;
  co_return co_await set_lifecycle(c, none);
}

constexpr Action kGet{action::kDoor, "GetLifecycleConfiguration", Access::kRead},
    kPut{action::kDoor, "PutLifecycleConfiguration", Access::kWrite};
constexpr Row kRows[] = {
    {"GetBucketLifecycleConfiguration", kGet, "GET", Scope::kBucket, "lifecycle", "", get_lifecycle,
     "", ""},
    {"PutBucketLifecycleConfiguration", kPut, "PUT", Scope::kBucket, "lifecycle", "", put_lifecycle,
     "x-amz-transition-default-minimum-object-size "
     "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS,
     "", true, true},
    {"DeleteBucketLifecycle", kPut, "DELETE", Scope::kBucket, "lifecycle", "", delete_lifecycle, "",
     ""},
};

}  // namespace

Error parse_lifecycle(const std::string& xml, int64_t day_ms, std::vector<LifecycleRule>& rules) {
  XmlIn in;
  if (!in.parse(xml, "LifecycleConfiguration") || !only_elements(in.root(), "Rule")) {
    return malformed();
  }
  std::set<std::string> ids;
  for (auto node : in.root().children("Rule")) {
    if (rules.size() == kRulesMax) return malformed();
    LifecycleRule& rule = rules.emplace_back();
    if (Error e = read_rule(node, day_ms, rule)) return e;
    if (rule.id.empty()) rule.id = made_id();
    if (!ids.insert(rule.id).second) {
      return {"InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule"};
    }
  }
  return rules.empty() ? malformed() : Error{};
}

void say_expiration(Call& c, std::string_view key, const objects::Info& info) {
  const auto properties = c.bucket->properties();
  if (properties->lifecycle.empty()) return;
  const auto first =
      objects::expiration_of(*properties, key, info, c.store.options().lifecycle_day_ms);
  if (!first) return;
  c.response.set("x-amz-expiration",
                 cat("expiry-date=\"", http::http_date(first->at_ms), "\", rule-id=\"",
                     http::percent_encode(first->rule, false), "\""));
}

void say_expiration(Call& c, std::string_view key, const ObjectMeta& meta, uint64_t size) {
  objects::Info info;
  info.size = size;
  info.modified_ms = meta.modified_ms;
  info.meta.tags = meta.tags;
  say_expiration(c, key, info);
}

void say_abort(Call& c, int64_t started_ms) {
  const auto first = objects::abort_of(*c.bucket->properties(), c.key, started_ms,
                                       c.store.options().lifecycle_day_ms);
  if (!first) return;
  c.response.set("x-amz-abort-date", http::http_date(first->at_ms));
  c.response.set("x-amz-abort-rule-id", first->rule);
}

std::span<const Row> lifecycle_rows() { return kRows; }

}  // namespace cairn::s3

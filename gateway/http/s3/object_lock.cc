#include "gateway/http/s3/object_lock.h"

#include <absl/time/time.h>

#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "gateway/http/s3/bodies.h"
#include "objects/multipart.h"

namespace cairn::s3 {

namespace {

constexpr std::string_view kMode = "x-amz-object-lock-mode",
                           kUntil = "x-amz-object-lock-retain-until-date",
                           kHold = "x-amz-object-lock-legal-hold";
constexpr size_t kDocumentMax = 64 << 10;

constexpr Action reading(std::string_view name) { return {action::kDoor, name, Access::kRead}; }
constexpr Action writing(std::string_view name) { return {action::kDoor, name, Access::kWrite}; }
constexpr Action kGetRetention = reading("GetObjectRetention"),
                 kPutRetention = writing("PutObjectRetention"),
                 kGetHold = reading("GetObjectLegalHold"), kPutHold = writing("PutObjectLegalHold"),
                 kGetConfiguration = reading("GetBucketObjectLockConfiguration"),
                 kPutConfiguration = writing("PutBucketObjectLockConfiguration"),
                 kBypass = writing("BypassGovernanceRetention");

// ---- words ----

std::string_view name_of(Retention retention) {
  return retention == Retention::kCompliance ? "COMPLIANCE" : "GOVERNANCE";
}
std::optional<Retention> retention_named(std::string_view name) {
  if (name == "GOVERNANCE") return Retention::kGovernance;
  if (name == "COMPLIANCE") return Retention::kCompliance;
  return std::nullopt;
}
std::optional<LegalHold> hold_named(std::string_view name) {
  if (name == "ON") return LegalHold::kOn;
  if (name == "OFF") return LegalHold::kOff;
  return std::nullopt;
}
// ISO 8601, as "2030-01-01T00:00:00Z".
std::optional<int64_t> parse_date(std::string_view text) {
  absl::Time time;
  std::string why;
  if (!absl::ParseTime(absl::RFC3339_full, {text.data(), text.size()}, &time, &why))
    return std::nullopt;
  if (time < absl::UnixEpoch() || time > absl::FromUnixSeconds(253402300799)) return std::nullopt;
  return absl::ToUnixMillis(time);
}

Error no_object_lock() { return {"InvalidRequest", "Bucket is missing Object Lock Configuration"}; }
// For what rests on the properties of the bucket, as they are now.
bool has_object_lock(const Call& c) {
  return c.bucket != nullptr && c.bucket->properties()->object_lock.has_value();
}
Error not_in_future(std::string_view date) {
  return argument_invalid(kUntil, date, "The retain until date must be in the future!");
}

}  // namespace

// ---- what is written ----

Error lock_of(const Call& c, VersionLock& lock) {
  const http::Request& r = c.request;
  if (!r.has_header(kMode) && !r.has_header(kUntil) && !r.has_header(kHold)) return {};
  if (r.has_header(kMode) != r.has_header(kUntil)) {
    return argument_invalid(r.has_header(kMode) ? kUntil : kMode, "",
                            cat(kUntil, " and ", kMode, " must both be supplied"));
  }
  if (r.has_header(kMode)) {
    const auto retention = retention_named(r.header(kMode));
    if (!retention) {
      return argument_invalid(kMode, r.header(kMode), "Unknown wormMode directive.");
    }
    const auto until = parse_date(r.header(kUntil));
    if (!until) {
      return argument_invalid(kUntil, r.header(kUntil),
                              "The retain until date must be provided in ISO 8601 format");
    }
    if (*until <= c.store.now_ms()) return not_in_future(r.header(kUntil));
    if (Error e = c.may(kPutRetention, c.bucket_name, c.key)) return e;
    lock.retention = *retention;
    lock.until_ms = *until;
  }
  if (r.has_header(kHold)) {
    const auto hold = hold_named(r.header(kHold));
    if (!hold) {
      return argument_invalid(kHold, r.header(kHold), "Legal Hold must be either of 'ON' or 'OFF'");
    }
    if (Error e = c.may(kPutHold, c.bucket_name, c.key)) return e;
    lock.hold = *hold;
  }
  return has_object_lock(c) ? Error{} : no_object_lock();
}

bool is_checked(const http::Request& r) {
  if (r.has_header("content-md5") ||
      lower(r.header("x-amz-trailer")).starts_with("x-amz-checksum-"))
    return true;
  return std::any_of(std::begin(kChecksumTags), std::end(kChecksumTags),
                     [&](auto& one) { return r.has_header(cat("x-amz-checksum-", one.second)); });
}

namespace {
Error check_locked(const Call& c, bool locked, std::string_view what) {
  if (is_checked(c.request)) return {};
  const auto properties = c.bucket->properties();
  const auto& by_default = properties->object_lock;
  if (!locked && (!by_default || by_default->retention == Retention::kNone)) return {};
  return {"InvalidRequest", cat("Content-MD5 OR x-amz-checksum- HTTP header is required for ", what,
                                " requests with Object Lock parameters")};
}
}  // namespace

Error check_locked_body(const Call& c, const VersionLock& lock) {
  return check_locked(c, !lock.empty(), "Put Object");
}

void put_lock(ObjectMeta& upload, const VersionLock& lock) {
  if (!lock.empty()) upload.extra[objects::kUploadLock] = objects::encode_lock(lock);
}

Error check_locked_part(const Call& c, const ObjectMeta& upload) {
  return check_locked(c, upload.extra.contains(objects::kUploadLock), "Put Part");
}

// ---- what is read ----

void set_lock_headers(Call& c, const VersionLock& lock) {
  if (lock.retention != Retention::kNone && !c.may(kGetRetention, c.bucket_name, c.key)) {
    c.response.set(kMode, std::string(name_of(lock.retention)));
    c.response.set(kUntil, http::iso_date(lock.until_ms));
  }
  if (lock.hold != LegalHold::kNone && !c.may(kGetHold, c.bucket_name, c.key)) {
    c.response.set(kHold, lock.hold == LegalHold::kOn ? "ON" : "OFF");
  }
}

bool bypasses_governance(const Call& c, std::string_view key) {
  const std::string wanted = lower(c.request.header("x-amz-bypass-governance-retention"));
  return wanted == "true" && !c.may(kBypass, c.bucket_name, key);
}

// ---- of a bucket ----

Error wants_object_lock(const Call& c, bool& wanted) {
  wanted = lower(c.request.header("x-amz-bucket-object-lock-enabled")) == "true";
  if (!wanted) return {};
  if (Error e = c.may(kPutConfiguration, c.bucket_name)) return e;
  return c.may(action::kPutBucketVersioning, c.bucket_name);
}

namespace {

awaitable<Error> get_configuration(Call& c) {
  const auto properties = c.bucket->properties();
  if (!properties->object_lock) co_return not_set(c, "ObjectLockConfigurationNotFoundError");
  const DefaultRetention& by_default = *properties->object_lock;
  XmlOut xml("ObjectLockConfiguration");
  add(xml.root(), "ObjectLockEnabled", "Enabled");
  if (by_default.retention != Retention::kNone) {
    auto retention = add(add(xml.root(), "Rule"), "DefaultRetention");
    add(retention, "Mode", name_of(by_default.retention));
    add(retention, by_default.in_years ? "Years" : "Days", uint64_t{by_default.count});
  }
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> read_document(Call& c, std::string& text) {
  if (!is_checked(c.request)) {
    co_return Error{"InvalidRequest", "Missing required header for this request: Content-MD5"};
  }
  co_return co_await read_small(c, kDocumentMax, text);
}

awaitable<Error> put_configuration(Call& c) {
  std::string text;
  if (Error e = co_await read_document(c, text)) co_return e;
  LockConfiguration body;
  if (Error e = parse_lock_configuration(text, body)) co_return e;
  DefaultRetention by_default;
  if (body.has_rule) {
    const auto retention = retention_named(body.mode);
    if (!retention || (body.days.has_value() == body.years.has_value())) {
      co_return Error{"MalformedXML", ""};
    }
    const int64_t count = body.days ? *body.days : *body.years;
    if (count < 1) {
      co_return Error{"InvalidRetentionPeriod",
                      "Default retention period must be a positive integer value."};
    }
    if (count > (body.days ? kRetentionDaysMax : kRetentionYearsMax)) {
      co_return Error{"InvalidRetentionPeriod",
                      cat("Default retention period is too large: at most ", kRetentionDaysMax,
                          " days or ", kRetentionYearsMax, " years.")};
    }
    by_default = {*retention, body.years.has_value(), static_cast<uint32_t>(count)};
  }
  if (!c.bucket->is_bucket()) {
    co_return Error{"InvalidRequest", "A numbered database does not keep versions"};
  }
  auto lsn = c.store.set_object_lock(*c.bucket, by_default);
  if (absl::IsFailedPrecondition(lsn.status())) {
    co_return Error{"InvalidBucketState",
                    "Versioning must be 'Enabled' on the bucket to apply a Object Lock "
                    "configuration",
                    rests_on(lsn.status())};
  }
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

// ---- of a version ----

// The version that the request means, if its bucket has object lock.
Error enter(const Call& c, std::optional<Version>& version) {
  if (Error e = find_version(c, version)) return e;
  if (has_object_lock(c)) return {};
  Error e = no_object_lock();
  e.rests_on = c.store.newest_name();
  return e;
}

awaitable<Error> look_at(Call& c, VersionLock& lock) {
  std::optional<Version> version;
  if (Error e = enter(c, version)) co_return e;
  auto info = objects::stat(c.store, *c.bucket, c.key, version);
  if (!info.ok()) co_return error_of_object(c, info.status());
  if (Error e = co_await settle(c, info->seen)) co_return e;
  lock = info->lock;
  co_return Error{};
}

awaitable<Error> get_retention(Call& c) {
  VersionLock lock;
  if (Error e = co_await look_at(c, lock)) co_return e;
  if (lock.retention == Retention::kNone) co_return Error{"NoSuchObjectLockConfiguration", ""};
  XmlOut xml("Retention");
  add(xml.root(), "Mode", name_of(lock.retention));
  add(xml.root(), "RetainUntilDate", http::iso_date(lock.until_ms));
  reply_xml(c, xml);
  co_return Error{};
}

awaitable<Error> get_hold(Call& c) {
  VersionLock lock;
  if (Error e = co_await look_at(c, lock)) co_return e;
  if (lock.hold == LegalHold::kNone) co_return Error{"NoSuchObjectLockConfiguration", ""};
  XmlOut xml("LegalHold");
  add(xml.root(), "Status", lock.hold == LegalHold::kOn ? "ON" : "OFF");
  reply_xml(c, xml);
  co_return Error{};
}

awaitable<Error> change(Call& c, const std::optional<Version>& version,
                        const objects::LockChange& wanted, bool bypass) {
  auto done = co_await objects::set_lock(c.store, *c.bucket, c.key, version, wanted, bypass);
  if (!done.ok()) co_return error_of_object(c, done.status());
  say_version(c, done->version_id);
  co_return co_await settle(c, done->seen);
}

// Policies have conditions about what the body says: they see it as the header that says the same.
Error may_change(Call& c,
                 std::initializer_list<std::pair<std::string_view, std::string_view>> said) {
  for (auto& [header, value] : said) {
    if (!value.empty()) c.request.headers[header] = value;
  }
  return c.may(c.row->action, c.bucket_name, c.key, c.request.param("versionId"));
}

awaitable<Error> put_retention(Call& c) {
  std::string text;
  if (Error e = co_await read_document(c, text)) co_return e;
  std::string mode, date;
  if (Error e = parse_retention(text, mode, date)) co_return e;
  if (Error e = may_change(
          c, {{"x-amz-object-lock-mode", mode}, {"x-amz-object-lock-retain-until-date", date}})) {
    co_return e;
  }
  std::optional<Version> version;
  if (Error e = enter(c, version)) co_return e;
  objects::LockChange wanted;
  wanted.retained = {Retention::kNone, 0};  // an empty one: none
  if (!mode.empty() || !date.empty()) {
    const auto retention = retention_named(mode);
    const auto until = parse_date(date);
    if (!retention || !until) co_return Error{"MalformedXML", ""};
    if (*until <= c.store.now_ms()) {
      co_return Error{"InvalidArgument", "The retain until date must be in the future!"};
    }
    wanted.retained = {*retention, *until};
  }
  co_return co_await change(c, version, wanted, bypasses_governance(c, c.key));
}

awaitable<Error> put_hold(Call& c) {
  std::string text;
  if (Error e = co_await read_document(c, text)) co_return e;
  std::string status;
  if (Error e = parse_legal_hold(text, status)) co_return e;
  if (Error e = may_change(c, {{"x-amz-object-lock-legal-hold", status}})) co_return e;
  std::optional<Version> version;
  if (Error e = enter(c, version)) co_return e;
  objects::LockChange wanted;
  wanted.hold = hold_named(status);
  if (!wanted.hold) co_return Error{"MalformedXML", ""};
  co_return co_await change(c, version, wanted, false);
}

constexpr std::string_view kBodyHeaders = "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS;

constexpr Row kRows[] = {
    {"GetObjectLockConfiguration", kGetConfiguration, "GET", Scope::kBucket, "object-lock", "",
     get_configuration, "", ""},
    {"PutObjectLockConfiguration", kPutConfiguration, "PUT", Scope::kBucket, "object-lock", "",
     put_configuration,
     // Whatever token is shown opens what is open to all.
     "x-amz-bucket-object-lock-token x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "", true,
     true},
    {"GetObjectRetention", kGetRetention, "GET", Scope::kObject, "retention", "", get_retention, "",
     "versionId"},
    {"PutObjectRetention", kPutRetention, "PUT", Scope::kObject, "retention", "", put_retention,
     "x-amz-bypass-governance-retention x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS,
     "versionId", true, true, true},
    {"GetObjectLegalHold", kGetHold, "GET", Scope::kObject, "legal-hold", "", get_hold, "",
     "versionId"},
    {"PutObjectLegalHold", kPutHold, "PUT", Scope::kObject, "legal-hold", "", put_hold,
     kBodyHeaders, "versionId", true, true, true},
};

}  // namespace

std::span<const Row> lock_rows() { return kRows; }

}  // namespace cairn::s3

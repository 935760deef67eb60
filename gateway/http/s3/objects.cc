// Operations on one object: put, get, head, delete, copy.
#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "gateway/http/s3/acl.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/collections.h"
#include "gateway/http/s3/encryption.h"
#include "gateway/http/s3/lifecycle.h"
#include "gateway/http/s3/metadata.h"
#include "gateway/http/s3/object_lock.h"
#include "gateway/http/s3/service.h"
#include "objects/rename.h"
#include "objects/versions.h"

namespace cairn::s3 {

using objects::Algorithm;

namespace {
// Whether the text is a digest of this algorithm at all.
bool is_digest(Algorithm algorithm, const std::string& text) {
  const auto raw = objects::base64_decode(text);
  return raw && raw->size() == objects::digest_of(algorithm, {}).size();
}
Error too_large(const Call& c, uint64_t bytes) {
  return {"EntityTooLarge",
          "",
          {},
          {{"ProposedSize", cat(bytes)}, {"MaxSizeAllowed", cat(c.put_bytes_max)}}};
}
}  // namespace

uint64_t announced(const Call& c) {
  if (!c.body->framed()) return c.request.content_length.value_or(0);
  return parse_int<uint64_t>(c.request.header("x-amz-decoded-content-length")).value_or(0);
}

Error may_grow(const Call& c, uint64_t bytes) {
  return error_of(objects::check_growth(c.store, *c.bucket, c.key, bytes));
}

awaitable<Error> receive(Call& c, objects::Upload& upload,
                         std::map<std::string, std::string>& checksums) {
  const http::Request& r = c.request;
  const uint64_t before = upload.size();  // that the body comes behind
  std::optional<uint64_t> length = r.content_length;
  if (c.body->framed()) {
    length = parse_int<uint64_t>(r.header("x-amz-decoded-content-length"));
    if (!length) co_return Error{"MissingContentLength", ""};
  }
  if (!length && r.header("transfer-encoding").empty()) co_return Error{"MissingContentLength", ""};
  const uint64_t most = c.put_bytes_max == 0 ? UINT64_MAX : c.put_bytes_max;
  if (length && *length > most) co_return too_large(c, *length);
  if (Status s = c.store.check_write(true); !s.ok()) co_return error_of(s);
  if (Error e = may_grow(c, length.value_or(0))) co_return e;
  upload.add_digest(etag_algorithm(c));
  // A checksum comes in a header, or its name is announced and it comes in a trailer.
  std::optional<Algorithm> declared;
  std::string expected, trailer;
  const std::string prefix = "x-amz-checksum-", to_come = lower(r.header("x-amz-trailer"));
  const auto named = [&prefix](std::string_view header) {
    return header.starts_with(prefix) ? objects::algorithm_named(header.substr(prefix.size()))
                                      : std::nullopt;
  };
  declared = named(to_come);
  if (declared) trailer = to_come;
  for (auto& [name, value] : r.headers) {
    const auto algorithm = named(name);
    if (!algorithm) continue;
    if (declared) co_return Error{"InvalidRequest", "Expecting a single x-amz-checksum- header"};
    declared = algorithm;
    expected = value;
  }
  if (!to_come.empty() && trailer.empty()) {
    co_return Error{"InvalidRequest",
                    "The value specified in the x-amz-trailer header is not supported"};
  }
  if (!trailer.empty() && !c.body->framed()) {
    co_return Error{"InvalidRequest", "A trailer needs a STREAMING- payload"};
  }
  if (declared) upload.add_digest(*declared);
  if (declared && trailer.empty() && !is_digest(*declared, expected)) {
    co_return Error{"InvalidRequest", cat("Value for x-amz-checksum-", objects::name_of(*declared),
                                          " header is invalid.")};
  }
  std::string_view md5 = r.header("content-md5");
  if (r.has_header("content-md5")) {
    auto raw = objects::base64_decode(md5);
    if (!raw || raw->size() != 16) co_return invalid_md5(md5);
  }
  c.body->hash_in(upload);
  // In HTTP's sum until it goes to extents; but for the first, which nobody is refused who may
  // write though connections without a right fill the sum.
  constexpr size_t kHeldUncounted = 16 << 10;
  size_t held = 0;
  for (;;) {
    Status ready;
    if (!c.body->is_ready()) ready = co_await c.body->ready();
    if (!ready.ok()) co_return error_of(ready);
    std::byte end;
    StatusOr<MutableBytes> room = MutableBytes{&end, 1};
    const uint64_t taken = upload.size() - before;
    const bool complete = length && taken == *length;  // then only the end may follow
    if (!complete) room = co_await upload.prepare();
    if (!room.ok()) co_return error_of(room.status());
    const size_t holds = upload.held_bytes() > kHeldUncounted ? upload.held_bytes() : 0;
    if (holds != held && !c.body->hold(holds)) {
      co_return Error{"SlowDown", "Clients hold too much memory, try again"};
    }
    held = holds;
    auto n = co_await c.body->read(*room);
    if (!n.ok()) co_return error_of(n.status());
    if (*n == 0) break;
    if (complete || (length && taken + *n > *length)) {
      co_return Error{"InvalidRequest", "The body is longer than was declared"};
    }
    if (taken + *n > most) co_return too_large(c, taken + *n);
    upload.commit(*n);
  }
  if (length && upload.size() - before != *length) co_return Error{"IncompleteBody", ""};
  co_await upload.hashed();
  for (auto& [name, value] : c.body->trailers()) {
    if (name != trailer) {
      co_return Error{"MalformedTrailerError", cat("The trailer ", name, " was not announced")};
    }
  }
  if (!md5.empty() && objects::base64(upload.digest(Algorithm::kMd5)) != md5) {
    co_return wrong_md5(md5, upload.digest(Algorithm::kMd5));
  }
  if (declared) {
    std::string name(objects::name_of(*declared));
    if (!trailer.empty()) {
      auto it = c.body->trailers().find(trailer);
      if (it == c.body->trailers().end())
        co_return Error{"MalformedXML", "The announced trailer is missing"};
      expected = it->second;
    }
    std::string computed = objects::base64(upload.digest(*declared));
    if (computed != expected) co_return wrong_checksum(name);
    checksums[name] = computed;
  }
  Status finished = co_await upload.finish();
  co_return error_of(finished);
}

void set_checksum_headers(http::Response& response,
                          const std::map<std::string, std::string>& checksums) {
  for (auto& [name, value] : checksums) {
    response.set(cat("x-amz-checksum-", name), value);
    response.set("x-amz-checksum-type", checksum_type(value));
  }
}

std::string_view checksum_type(std::string_view checksum) {
  return checksum.find('-') == checksum.npos ? "FULL_OBJECT" : "COMPOSITE";
}

// Under the call's key; a value that is kept as a version comes back from disk first.
static awaitable<StatusOr<objects::PutResult>> publish(Call& c, objects::Upload& upload,
                                                       const ObjectMeta& meta,
                                                       const std::optional<int64_t>& ttl_ms,
                                                       const objects::Conditions& conditions,
                                                       Cause cause, const VersionLock& lock) {
  objects::Refetch refetch(c.store);
  for (;;) {
    auto put = objects::put(c.store, *c.bucket, c.key, upload, meta, expiry_after(c, ttl_ms),
                            conditions, cause, lock);
    Status status = put.status();
    const bool again = co_await refetch.again(status);
    if (again) continue;
    if (!status.ok()) co_return status;
    co_return *put;
  }
}

void answer_put(Call& c, const objects::PutResult& put, const ObjectMeta& meta,
                const objects::Upload& upload) {
  c.response.set("ETag", "\"", put.etag, "\"");
  c.response.set("x-cairn-version", put.version.value());
  set_checksum_headers(c.response, meta.checksums);
  if (upload.encrypted()) say_encryption(c, *upload.encrypted(), true);
}

awaitable<Error> put_object(Call& c) {
  if (constexpr auto kOffset = "x-amz-write-offset-bytes"; c.request.has_header(kOffset)) {
    const auto offset = parse_int<uint64_t>(c.request.header(kOffset));
    if (!offset) {
      co_return argument_invalid(kOffset, c.request.header(kOffset), "The write offset is none");
    }
    co_return co_await append_object(c, *offset);
  }
  ObjectMeta meta;
  if (Error e = meta_of(c, meta)) co_return e;
  if (Error e = tags_of(c, meta.tags)) co_return e;
  if (Error e = acl_for_object(c, meta)) co_return e;
  std::optional<int64_t> ttl_ms;
  if (Error e = ttl_of(c, ttl_ms)) co_return e;
  VersionLock lock;
  if (Error e = lock_of(c, lock)) co_return e;
  if (Error e = check_locked_body(c, lock)) co_return e;
  objects::EncryptionWish wish;
  if (Error e = encryption_of(c, wish)) co_return e;
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions)) co_return e;
  if (Error e = may_compare(c, c.key, conditions)) co_return e;
  if (!conditions.empty()) {  // fail before the body is sent, where that can be known already
    auto now = objects::stat(c.store, *c.bucket, c.key);
    const bool absent = absl::IsNotFound(now.status());
    if (absent && !conditions.if_match.empty()) co_return error_of(now.status());
    if ((absent || now.ok()) &&
        objects::judge(conditions, now.ok() ? &*now : nullptr) != objects::Verdict::kGo) {
      const Lsn seen = now.ok() ? now->seen : rests_on(now.status());
      co_return precondition_failed(objects::unmet(conditions, now.ok() ? &*now : nullptr), seen);
    }
  }
  objects::Upload upload(c.store, announced(c), c.hashers);
  if (wish.mode != objects::EncryptionMode::kNone) {
    auto made = objects::make_encryption(c.store, wish);
    if (!made.ok()) co_return error_of(made.status());
    upload.encrypt(*std::move(made));
  }
  if (Error e = co_await receive(c, upload, meta.checksums)) co_return e;
  meta.etag = objects::has_md5_etag(wish.mode) ? etag_of_upload(upload) : objects::random_etag();
  meta.modified_ms = c.store.now_ms();
  if (Error e = co_await until_idle(c, c.key)) co_return e;
  const Cause cause = c.auth.form ? Cause::kFormUpload : Cause::kUser;
  auto put = co_await publish(c, upload, meta, ttl_ms, conditions, cause, lock);
  if (!put.ok()) co_return error_of(put.status());
  if (Error e = co_await settle(c, put->version)) co_return e;
  say_version(c, put->version_id);
  answer_put(c, *put, meta, upload);
  say_expiration(c, c.key, meta, upload.size());
  co_return Error{};
}

namespace {

// A number of any length: what no object reaches is UINT64_MAX.
std::optional<uint64_t> parse_place(std::string_view digits) {
  if (digits.empty() || digits.find_first_not_of("0123456789") != digits.npos) return std::nullopt;
  return parse_int<uint64_t>(digits).value_or(UINT64_MAX);
}

// "bytes=0-9", "bytes=5-", "bytes=-3"; several ranges or another unit mean the whole object.
std::optional<objects::Range> parse_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes=";
  if (text.substr(0, kUnit.size()) != kUnit) return std::nullopt;
  text.remove_prefix(kUnit.size());
  size_t dash = text.find('-');
  if (dash == text.npos || text.find(',') != text.npos) return std::nullopt;
  objects::Range range;
  std::string_view first = text.substr(0, dash), last = text.substr(dash + 1);
  if (!first.empty()) {
    range.first = parse_place(first);
    if (!range.first) return std::nullopt;
  }
  if (!last.empty()) {
    range.last = parse_place(last);
    if (!range.last) return std::nullopt;
  }
  if (!range.first && !range.last) return std::nullopt;
  if (range.first && range.last && *range.last < *range.first) return std::nullopt;
  return range;
}

// The bytes of one part; an object that was not made of parts is one. No range is that of a part
// without bytes: `empty`.
Error range_of_part(const objects::Info& info, unsigned part, std::optional<objects::Range>& range,
                    bool& empty) {
  auto& sizes = info.meta.part_sizes;
  if (part > std::max<size_t>(1, sizes.size())) {
    return {"InvalidPartNumber",
            "",
            info.seen,
            {{"PartNumberRequested", cat(part)},
             {"ActualPartCount", cat(std::max<size_t>(1, sizes.size()))}}};
  }
  if (sizes.empty()) {
    if (info.size > 0) range = objects::Range{0, info.size - 1};
    return {};
  }
  empty = sizes[part - 1] == 0;
  if (empty) return {};
  uint64_t first = 0;
  for (unsigned i = 0; i + 1 < part; i++) first += sizes[i];
  range = objects::Range{first, first + sizes[part - 1] - 1};
  return {};
}

// The checksum of the bytes that were asked for: the object's, or that of one of its parts.
void set_checksums(http::Response& r, const objects::Opened& opened, unsigned part) {
  const ObjectMeta& meta = opened.info.meta;
  const std::string of_part = part == 0 ? "" : objects::part_checksum(meta, part - 1);
  if (!of_part.empty() && !meta.checksums.empty()) {
    auto& [algorithm, whole] = *meta.checksums.begin();
    r.set(cat("x-amz-checksum-", algorithm), of_part);
    r.set("x-amz-checksum-type", checksum_type(whole));
  } else if (opened.length == opened.info.size) {
    set_checksum_headers(r, meta.checksums);
  }
}

awaitable<Error> get_version(Call& c, std::optional<Version> version) {
  std::optional<objects::Range> range = parse_range(c.request.header("range"));
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions)) co_return e;
  if (Error e = customer_key_of(c, conditions.customer_key)) co_return e;
  conditions.version = version;
  unsigned part = 0;
  bool empty_part = false;
  if (c.has_param("partNumber")) {
    if (range)
      co_return Error{"InvalidRequest",
                      "Cannot specify both Range header and partNumber query parameter"};
    if (Error e = part_number(c, part)) co_return e;
    auto info = objects::stat(c.store, *c.bucket, c.key, version);
    if (!info.ok()) co_return error_of_object(c, info.status());
    if (Error e = range_of_part(*info, part, range, empty_part)) co_return e;
    // The bytes must be of the value whose parts were looked at.
    conditions.if_version = info->version;
  } else if (std::string_view text = c.request.header("if-range"); !text.empty()) {
    conditions.if_range = text;
  }
  objects::Verdict verdict = objects::Verdict::kGo;
  // At once, as it is for what is in memory; or when it can be.
  std::optional<StatusOr<objects::Opened>> tried;
  if (!c.store.busy().any()) {
    tried.emplace(objects::try_open(c.store, *c.bucket, c.key, range, conditions, &verdict));
  }
  if (!tried || (tried->ok() && (*tried)->cold)) {
    tried = co_await objects::open(c.store, *c.bucket, c.key, range, conditions, &verdict);
  }
  auto& opened = *tried;
  if (is_wrong_type(opened.status()) && c.engines != nullptr && accepts_json(c.request)) {
    co_return co_await get_collection(c);
  }
  if (!opened.ok()) {
    Error e = error_of_object(c, opened.status());
    if (absl::IsOutOfRange(opened.status())) {
      auto info = objects::stat(c.store, *c.bucket, c.key, version);
      if (info.ok()) {
        c.response.set("Content-Range", "bytes */", info->size);
        e.rests_on = std::max(e.rests_on, info->seen);
        e.fields = {{"RangeRequested", std::string(c.request.header("range"))},
                    {"ActualObjectSize", cat(info->size)}};
      }
    }
    co_return e;
  }
  if (!settled(c, opened->info.seen)) {
    if (Error e = co_await settle(c, opened->info.seen)) co_return e;
  }
  if (c.has_param("max-keys") || c.has_param("continuation-token")) {
    co_return Error{"NotImplemented", "Only collections have pages"};
  }
  if (verdict == objects::Verdict::kFailed) {
    // Another value came between the two looks at the parts: once more.
    if (part != 0 && opened->info.version != *conditions.if_version)
      co_return co_await get_version(c, version);
    co_return precondition_failed(objects::unmet(conditions, &opened->info));
  }
  set_object_headers(c, opened->info);
  set_lock_headers(c, opened->info.lock);
  if (!version) say_expiration(c, c.key, opened->info);
  say_version(c, opened->info.version_id);
  say_encryption(c, opened->info.meta.encryption, false);
  if (verdict == objects::Verdict::kNotModified) {
    c.response.status = 304;
    co_return Error{};
  }
  if (empty_part) {
    // Of an object without bytes it is the whole. No range says which no bytes of another it is.
    opened->partial = opened->info.size > 0;
    opened->length = 0;
    opened->inline_bytes.clear();
    opened->reader.reset();
    if (opened->partial) {
      c.response.status = 206;
      c.response.set("Content-Range", "bytes */", opened->info.size);
    }
  } else if (opened->partial) {
    c.response.status = 206;
    c.response.set("Content-Range",
                   cat("bytes ", opened->offset, "-", opened->offset + opened->length - 1, "/",
                       opened->info.size));
  }
  if (part != 0 && !opened->info.meta.part_sizes.empty()) {
    c.response.set("x-amz-mp-parts-count", opened->info.meta.part_sizes.size());
  }
  if (equals_ignoring_case(c.request.header("x-amz-checksum-mode"), "enabled")) {
    set_checksums(c.response, *opened, part);
  }
  c.response.content_length = opened->length;
  if (c.request.method == "HEAD") co_return Error{};
  c.response.body = std::move(opened->inline_bytes);
  c.response.stream = std::move(opened->reader);
  co_return Error{};
}

awaitable<Error> get_object(Call& c) {
  std::optional<Version> version;
  if (Error e = find_version(c, version)) co_return e;
  co_return co_await get_version(c, version);
}

awaitable<Error> delete_object(Call& c) {
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions)) co_return e;
  if (Error e = may_compare(c, c.key, conditions)) co_return e;
  c.response.status = 204;
  if (find_version(c, conditions.version)) {  // one that is not there is gone
    say_version(c, c.param("versionId"));
    co_return Error{};
  }
  conditions.bypass_governance = bypasses_governance(c, c.key);
  objects::Refetch refetch(c.store);
  for (;;) {
    auto removed = objects::remove(c.store, *c.bucket, c.key, conditions);
    Status status = removed.status();
    const bool again = co_await refetch.again(status);
    if (again) continue;
    if (!status.ok()) co_return error_of(status);
    say_version(c, removed->version_id);
    if (removed->marker) c.response.set("x-amz-delete-marker", "true");
    co_return co_await settle(c, removed->seen);
  }
}

}  // namespace

// The source of a copy: "/bucket/key" or "bucket/key", percent-encoded.
Error find_copy_source(Call& c, NamespacePtr& ns, std::string& key,
                       std::optional<Version>& version) {
  std::string_view text = c.request.header("x-amz-copy-source");
  std::optional<std::string> named;
  constexpr std::string_view kVersion = "?versionId=";
  if (size_t q = text.rfind(kVersion); q != text.npos) {
    named = text.substr(q + kVersion.size());
    text = text.substr(0, q);
    if (!is_version_id(*named)) {
      return {"InvalidArgument",
              "Invalid version id specified",
              {},
              {{"ArgumentName", "versionId"}, {"ArgumentValue", *named}}};
    }
  }
  auto decoded = http::percent_decode(text, false);
  if (!decoded) return {"InvalidArgument", "Copy Source must mention the source bucket and key"};
  std::string_view path = *decoded;
  if (!path.empty() && path.front() == '/') path.remove_prefix(1);
  size_t slash = path.find('/');
  if (slash == path.npos || slash == 0 || slash + 1 == path.size()) {
    return {"InvalidArgument", "Copy Source must mention the source bucket and key"};
  }
  const std::string_view bucket = path.substr(0, slash);
  key = path.substr(slash + 1);
  const Action& reading = named ? action::kGetObjectVersion : action::kGetObject;
  Error may = c.may(reading, bucket, key, named ? &*named : nullptr);
  c.note(reading, bucket, key, !may);
  if (may) return may;
  ns = c.store.find_namespace(bucket);
  if (ns == nullptr) {
    return {"NoSuchBucket", "", c.store.newest_name(), {{"BucketName", std::string(bucket)}}};
  }
  if (named) version = objects::parse_version_id(*named);
  if (named && !version) {
    return {"NoSuchVersion", "", {}, {{"Key", key}, {"VersionId", *named}}};
  }
  return {};
}

Error of_source_key(Error e, std::string_view key) {
  if (e.code == "NoSuchKey") e.fields = {{"Key", std::string(key)}};
  return e;
}
Error unmet_by_source(const objects::Conditions& conditions, const objects::Info& source) {
  return precondition_failed(cat("x-amz-copy-source-", objects::unmet(conditions, &source)),
                             source.seen);
}

void add_checksums(pugi::xml_node to, const std::map<std::string, std::string>& checksums) {
  for (auto& [tag, name] : kChecksumTags) {
    if (auto it = checksums.find(name); it != checksums.end()) add(to, tag, it->second);
  }
}

namespace {

// A delete marker is no source.
Error copy_source_error(const Status& status) {
  if (objects::is_no_such_version(status)) return {"NoSuchVersion", "", rests_on(status)};
  if (!absl::IsFailedPrecondition(status) || !objects::marker_found(status)) {
    return error_of(status);
  }
  return {
      "InvalidRequest",
      "The source of a copy request may not specifically refer to a delete marker by version id.",
      rests_on(status)};
}

// RestoreObject, of an object that is not archived, as none is.
awaitable<Error> restore_object(Call& c) {
  std::optional<Version> version;
  if (Error e = find_version(c, version)) co_return e;
  constexpr size_t kDocumentMax = 64 << 10;
  std::string text;
  if (Error e = co_await read_small(c, kDocumentMax, text)) co_return e;
  if (Error e = check_restore(text)) co_return e;
  auto info = objects::stat(c.store, *c.bucket, c.key, version);
  if (!info.ok()) co_return error_of_object(c, info.status());
  co_return Error{"InvalidObjectState",
                  "Restore is not allowed for the object's current storage class",
                  info->seen,
                  {{"StorageClass", "STANDARD"}}};
}

// The tags of a copy: those of its source, unless the request brings others.
Error copy_tags(const Call& c, const Namespace& source, std::string_view key,
                const std::optional<Version>& version, objects::Tags& tags) {
  if (c.request.header("x-amz-tagging-directive") == "REPLACE") {
    tags.clear();
    return tags_of(c, tags);
  }
  if (c.request.has_header("x-amz-tagging")) {
    return {"InvalidArgument", "x-amz-tagging needs x-amz-tagging-directive: REPLACE"};
  }
  if (tags.empty()) return {};
  const Action& reading = version ? action::kGetObjectVersionTagging : action::kGetObjectTagging;
  std::string id;
  if (version) id = objects::version_id(*version);
  if (Error e = c.may(reading, source.name, key, version ? &id : nullptr)) return e;
  return c.may(action::kPutObjectTagging, c.bucket_name, c.key);
}

awaitable<Error> copy_object(Call& c) {
  NamespacePtr source;
  std::string key;
  std::optional<Version> version;
  if (Error e = find_copy_source(c, source, key, version)) co_return e;
  std::string directive = lower(c.request.header("x-amz-metadata-directive"));
  if (!directive.empty() && directive != "copy" && directive != "replace") {
    co_return Error{"InvalidArgument", "Unknown metadata directive."};
  }
  const std::string wanted = lower(c.request.header("x-amz-checksum-algorithm"));
  const bool changes = directive == "replace" || c.request.has_header("x-amz-storage-class") ||
                       c.request.has_header("x-cairn-ttl") || !wanted.empty() ||
                       says_encryption(c.request) ||
                       c.request.has_header("x-amz-website-redirect-location");
  if (source == c.bucket && key == c.key && !version && !changes) {
    co_return Error{
        "InvalidRequest",
        "This copy request is illegal because it is trying to copy an object to itself "
        "without changing the object's metadata, storage class, website redirect location "
        "or encryption attributes."};
  }
  objects::Verdict verdict = objects::Verdict::kGo;
  objects::Conditions of_source;
  if (Error e = conditions_of(c.request, of_source, "x-amz-copy-source-")) co_return e;
  of_source.version = version;
  of_source.as_stored = true;
  if (Error e = source_key_of(c, of_source.customer_key)) co_return e;
  objects::EncryptionWish wish;
  if (Error e = encryption_of(c, wish)) co_return e;
  auto opened = co_await objects::open(c.store, *source, key, std::nullopt, of_source, &verdict);
  if (!opened.ok()) co_return of_source_key(copy_source_error(opened.status()), key);
  if (verdict != objects::Verdict::kGo) co_return unmet_by_source(of_source, opened->info);
  std::optional<int64_t> ttl_ms;
  if (Error e = ttl_of(c, ttl_ms)) co_return e;
  VersionLock lock;
  if (Error e = lock_of(c, lock)) co_return e;
  ObjectMeta meta = opened->info.meta;
  objects::forget_renaming(meta);
  if (directive == "replace") {
    ObjectMeta fresh;
    if (Error e = meta_of(c, fresh)) co_return e;
    fresh.etag = meta.etag;
    fresh.checksums = meta.checksums;
    fresh.part_sizes = meta.part_sizes;
    if (auto it = meta.extra.find(objects::kPartChecksums); it != meta.extra.end()) {
      fresh.extra.insert(*it);
    }
    fresh.tags = std::move(meta.tags);
    meta = std::move(fresh);
  }
  if (Error e = copy_tags(c, *source, key, version, meta.tags)) co_return e;
  if (Error e = redirect_of(c, meta)) co_return e;
  if (Error e = acl_for_object(c, meta)) co_return e;
  meta.modified_ms = c.store.now_ms();
  takes_long(c);
  objects::Upload upload(c.store, 0, c.hashers);
  // A value that never was an object gets its MD5 now, if it is small; a blob is shared unread,
  // unless a checksum is wanted that it does not have.
  const auto& stored = opened->stored;
  if (stored && wish.mode == objects::EncryptionMode::kNone) wish = objects::wish_like(*stored);
  const bool had_md5 = !stored || objects::has_md5_etag(stored->mode);
  const bool has_md5 = objects::has_md5_etag(wish.mode);
  const bool hash = has_md5 && ((meta.etag.empty() && opened->reader == nullptr) || !had_md5);
  if (hash) upload.add_digest(Algorithm::kMd5);
  auto known = meta.checksums.find(wanted);
  const bool sum = !wanted.empty() &&
                   (known == meta.checksums.end() || known->second.find('-') != std::string::npos);
  if (sum) upload.add_digest(*objects::algorithm_named(wanted));
  Status copied =
      objects::begin_copy(c.store, *opened, of_source.customer_key, std::move(wish), upload);
  const bool shared = opened->stored.has_value();  // it stays the very ciphertext
  if (copied.ok()) copied = co_await upload.append_object(*opened);
  if (copied.ok()) copied = co_await upload.finish();
  if (!copied.ok()) co_return error_of(copied);
  if (hash) {
    meta.etag = objects::hex(upload.digest(Algorithm::kMd5));
    if (!had_md5) {  // which was of parts
      meta.part_sizes.clear();
      meta.extra.erase(objects::kPartChecksums);
      std::erase_if(meta.checksums,
                    [](auto& of_parts) { return of_parts.second.find('-') != std::string::npos; });
    }
  } else if (!has_md5 && !shared) {
    meta.etag = objects::random_etag();
    if (!meta.part_sizes.empty()) append(meta.etag, "-", meta.part_sizes.size());
  }
  if (sum) {
    meta.checksums = {{wanted, objects::base64(upload.digest(*objects::algorithm_named(wanted)))}};
    meta.extra.erase(objects::kPartChecksums);  // which are of another algorithm, or say no more
  }
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions)) co_return e;
  if (Error e = co_await until_idle(c, c.key)) co_return e;
  auto put = co_await publish(c, upload, meta, ttl_ms, conditions, Cause::kObjectCopy, lock);
  if (!put.ok()) co_return error_of(put.status());
  if (Error e = co_await settle(c, put->version)) co_return e;
  say_version(c, put->version_id);
  if (upload.encrypted()) say_encryption(c, *upload.encrypted(), true);
  if (!opened->info.version_id.empty() || version) {
    const std::string& id = opened->info.version_id;
    c.response.set("x-amz-copy-source-version-id", id.empty() ? "null" : id);
  }
  say_expiration(c, c.key, meta, upload.size());
  XmlOut xml("CopyObjectResult");
  add(xml.root(), "LastModified", http::iso_date(meta.modified_ms));
  add_etag(xml.root(), put->etag);
  add_checksums(xml.root(), meta.checksums);
  if (!meta.checksums.empty()) {
    add(xml.root(), "ChecksumType", checksum_type(meta.checksums.begin()->second));
  }
  reply_xml(c, xml);
  co_return Error{};
}

constexpr std::string_view kReadHeaders = CAIRN_S3_CUSTOMER_KEY
    "if-match if-none-match if-modified-since if-unmodified-since if-range x-amz-checksum-mode";
constexpr std::string_view kReadParams =
    "partNumber versionId response-content-type response-content-language response-expires "
    "response-cache-control response-content-disposition response-content-encoding "
    "max-keys continuation-token";

constexpr Row kRows[] = {
    {"PutObject", action::kPutObject, "PUT", Scope::kObject, "", "", put_object,
     "if-match if-none-match if-unmodified-since " CAIRN_S3_GRANTS
     " x-amz-website-redirect-location x-amz-storage-class x-amz-meta-* "
     "x-amz-tagging x-amz-decoded-content-length x-amz-trailer x-amz-write-offset-bytes "
     "x-cairn-ttl " CAIRN_S3_LOCKS CAIRN_S3_ENCRYPTION
     "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS,
     "", true, true},
    {"CopyObject", action::kPutObject, "PUT", Scope::kObject, "", "x-amz-copy-source", copy_object,
     "if-match if-none-match if-unmodified-since " CAIRN_S3_GRANTS
     " x-amz-website-redirect-location x-amz-storage-class x-amz-meta-* " CAIRN_S3_LOCKS
         CAIRN_S3_ENCRYPTION CAIRN_S3_SOURCE_KEY
     "x-amz-copy-source x-amz-metadata-directive x-amz-tagging x-amz-tagging-directive x-cairn-ttl "
     "x-amz-checksum-algorithm " CAIRN_S3_SOURCE_CONDITIONS,
     ""},
    {"GetObject", action::kGetObject, "GET", Scope::kObject, "", "", get_object, kReadHeaders,
     kReadParams, true, false, false, action::kGetObjectVersion},
    {"HeadObject", action::kGetObject, "HEAD", Scope::kObject, "", "", get_object, kReadHeaders,
     kReadParams, true, false, false, action::kGetObjectVersion},
    {"GetObjectAttributes", action::kGetObjectAttributes, "GET", Scope::kObject, "attributes", "",
     get_attributes,
     CAIRN_S3_CUSTOMER_KEY "x-amz-object-attributes x-amz-max-parts x-amz-part-number-marker",
     "versionId", true, false, false, action::kGetObjectVersionAttributes},
    {"DeleteObject", action::kDeleteObject, "DELETE", Scope::kObject, "", "", delete_object,
     "if-match if-unmodified-since x-amz-if-match-last-modified-time x-amz-if-match-size "
     "x-amz-bypass-governance-retention",
     "versionId", true, false, false, action::kDeleteObjectVersion},
    {"RestoreObject", action::kRestoreObject, "POST", Scope::kObject, "restore", "", restore_object,
     "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "versionId", true, true},
};

}  // namespace
std::span<const Row> object_rows() { return kRows; }

}  // namespace cairn::s3

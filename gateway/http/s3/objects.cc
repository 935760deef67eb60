// Operations on one object: put, get, head, delete, copy.
#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/collections.h"
#include "gateway/http/s3/metadata.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

using objects::Algorithm;

namespace {
// Whether the text is a digest of this algorithm at all.
bool is_digest(Algorithm algorithm, const std::string& text) {
  const auto raw = objects::base64_decode(text);
  return raw && raw->size() == objects::digest_of(algorithm, {}).size();
}
}  // namespace

awaitable<Error> receive(Call& c, objects::Upload& upload,
                         std::map<std::string, std::string>& checksums) {
  const http::Request& r = c.request;
  std::optional<uint64_t> length = r.content_length;
  if (c.body->framed()) {
    length = parse_int<uint64_t>(r.header("x-amz-decoded-content-length"));
    if (!length) co_return Error{"MissingContentLength", ""};
  }
  if (!length && r.header("transfer-encoding").empty()) co_return Error{"MissingContentLength", ""};
  if (Status s = c.store.check_write(true); !s.ok()) co_return error_of(s);
  upload.add_digest(Algorithm::kMd5);
  // A checksum comes in a header, or its name is announced and it comes in a trailer.
  std::optional<Algorithm> declared;
  std::string expected, trailer;
  for (std::string_view name : {"crc32", "crc32c", "crc64nvme", "sha1", "sha256"}) {
    const std::string header = cat("x-amz-checksum-", name);
    if (r.has_header(header)) {
      if (declared) co_return Error{"InvalidRequest", "Expecting a single x-amz-checksum- header"};
      declared = objects::algorithm_named(name);
      expected = r.header(header);
    } else if (lower(r.header("x-amz-trailer")) == header) {
      if (declared) co_return Error{"InvalidRequest", "Expecting a single x-amz-checksum- header"};
      declared = objects::algorithm_named(name);
      trailer = header;
    }
  }
  if (!r.header("x-amz-trailer").empty() && trailer.empty()) {
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
    if (!raw || raw->size() != 16) co_return Error{"InvalidDigest", ""};
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
    const bool complete = length && upload.size() == *length;  // then only the end may follow
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
    if (complete || (length && upload.size() + *n > *length)) {
      co_return Error{"InvalidRequest", "The body is longer than was declared"};
    }
    upload.commit(*n);
  }
  if (length && upload.size() != *length) co_return Error{"IncompleteBody", ""};
  co_await upload.hashed();
  for (auto& [name, value] : c.body->trailers()) {
    if (name != trailer) {
      co_return Error{"MalformedTrailerError", cat("The trailer ", name, " was not announced")};
    }
  }
  if (!md5.empty() && objects::base64(upload.digest(Algorithm::kMd5)) != md5) {
    co_return Error{"BadDigest", ""};
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
    if (computed != expected)
      co_return Error{"BadDigest",
                      cat("The ", name, " you specified did not match the calculated checksum.")};
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

namespace {

awaitable<Error> put_object(Call& c) {
  ObjectMeta meta;
  if (Error e = meta_of(c, meta)) co_return e;
  uint64_t hint = c.request.content_length.value_or(0);
  if (c.body->framed()) {
    hint = parse_int<uint64_t>(c.request.header("x-amz-decoded-content-length")).value_or(0);
  }
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions)) co_return e;
  if (!conditions.empty()) {  // fail before the body is sent, where that can be known already
    auto now = objects::stat(c.store, *c.bucket, c.key);
    const bool absent = absl::IsNotFound(now.status());
    if (absent && !conditions.if_match.empty()) co_return error_of(now.status());
    if ((absent || now.ok()) &&
        objects::judge(conditions, now.ok() ? &*now : nullptr) != objects::Verdict::kGo) {
      const Lsn seen = now.ok() ? now->seen : rests_on(now.status());
      co_return Error{"PreconditionFailed", "", seen};
    }
  }
  objects::Upload upload(c.store, hint, c.hashers);
  if (Error e = co_await receive(c, upload, meta.checksums)) co_return e;
  meta.etag = objects::hex(upload.digest(Algorithm::kMd5));
  meta.modified_ms = c.store.now_ms();
  if (Error e = co_await until_idle(c, c.key)) co_return e;
  auto put = objects::put(c.store, *c.bucket, c.key, upload, meta, 0, conditions);
  if (!put.ok()) co_return error_of(put.status());
  if (Error e = co_await settle(c, put->version)) co_return e;
  c.response.set("ETag", cat("\"", put->etag, "\""));
  c.response.set("x-cairn-version", cat(put->version.value()));
  set_checksum_headers(c.response, meta.checksums);
  co_return Error{};
}

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

// The bytes of one part of a multipart object. No range is that of a part without bytes: `empty`.
Error range_of_part(const objects::Info& info, unsigned part, std::optional<objects::Range>& range,
                    bool& empty) {
  auto& sizes = info.meta.part_sizes;
  if (part > std::max<size_t>(1, sizes.size())) {
    return {"InvalidPartNumber", "The requested partnumber is not satisfiable", info.seen};
  }
  if (sizes.empty()) return {};
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
  } else if (!opened.partial) {
    set_checksum_headers(r, meta.checksums);
  }
}

awaitable<Error> get_object(Call& c) {
  std::optional<objects::Range> range = parse_range(c.request.header("range"));
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions)) co_return e;
  unsigned part = 0;
  bool empty_part = false;
  if (c.has_param("partNumber")) {
    if (range)
      co_return Error{"InvalidRequest",
                      "Cannot specify both Range header and partNumber query parameter"};
    if (Error e = part_number(c, part)) co_return e;
    auto info = objects::stat(c.store, *c.bucket, c.key);
    if (!info.ok()) co_return error_of(info.status());
    if (Error e = range_of_part(*info, part, range, empty_part)) co_return e;
    // The bytes must be of the value whose parts were looked at.
    conditions.if_version = info->version;
  } else if (std::string_view text = c.request.header("if-range"); !text.empty()) {
    conditions.if_range = text;
  }
  objects::Verdict verdict = objects::Verdict::kGo;
  auto opened = co_await objects::open(c.store, *c.bucket, c.key, range, conditions, &verdict);
  if (is_wrong_type(opened.status()) && c.engines != nullptr && accepts_json(c.request)) {
    co_return co_await get_collection(c);
  }
  if (!opened.ok()) {
    Error e = error_of(opened.status());
    if (absl::IsOutOfRange(opened.status())) {
      auto info = objects::stat(c.store, *c.bucket, c.key);
      if (info.ok()) c.response.set("Content-Range", cat("bytes */", info->size));
      if (info.ok()) e.rests_on = std::max(e.rests_on, info->seen);
    }
    co_return e;
  }
  if (Error e = co_await settle(c, opened->info.seen)) co_return e;
  if (c.has_param("max-keys") || c.has_param("continuation-token")) {
    co_return Error{"NotImplemented", "Only collections have pages"};
  }
  if (verdict == objects::Verdict::kFailed) {
    // Another value came between the two looks at the parts: once more.
    if (part != 0 && opened->info.version != *conditions.if_version)
      co_return co_await get_object(c);
    co_return Error{"PreconditionFailed", ""};
  }
  set_object_headers(c, opened->info);
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
      c.response.set("Content-Range", cat("bytes */", opened->info.size));
    }
  } else if (opened->partial) {
    c.response.status = 206;
    c.response.set("Content-Range",
                   cat("bytes ", opened->offset, "-", opened->offset + opened->length - 1, "/",
                       opened->info.size));
  }
  if (part != 0 && !opened->info.meta.part_sizes.empty()) {
    c.response.set("x-amz-mp-parts-count", cat(opened->info.meta.part_sizes.size()));
  }
  if (lower(c.request.header("x-amz-checksum-mode")) == "enabled") {
    set_checksums(c.response, *opened, part);
  }
  c.response.content_length = opened->length;
  if (c.request.method == "HEAD") co_return Error{};
  c.response.body = std::move(opened->inline_bytes);
  c.response.stream = std::move(opened->reader);
  co_return Error{};
}

awaitable<Error> delete_object(Call& c) {
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions)) co_return e;
  auto lsn = objects::remove(c.store, *c.bucket, c.key, conditions);
  if (!lsn.ok()) co_return error_of(lsn.status());
  c.response.status = 204;
  co_return co_await settle(c, lsn->seen);
}

}  // namespace

// The source of a copy: "/bucket/key" or "bucket/key", percent-encoded.
Error find_copy_source(Call& c, NamespacePtr& ns, std::string& key) {
  std::string_view text = c.request.header("x-amz-copy-source");
  if (size_t q = text.rfind("?versionId="); q != text.npos) {
    if (text.substr(q + 11) != "null")
      return {"NotImplemented", "Cairn does not have versions yet"};
    text = text.substr(0, q);
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
  if (Error e = c.may(action::kGetObject, bucket, key)) return e;
  ns = c.store.find_namespace(bucket);
  if (ns == nullptr) return {"NoSuchBucket", "", c.store.newest_name()};
  return {};
}

namespace {

awaitable<Error> copy_object(Call& c) {
  NamespacePtr source;
  std::string key;
  if (Error e = find_copy_source(c, source, key)) co_return e;
  std::string directive = lower(c.request.header("x-amz-metadata-directive"));
  if (!directive.empty() && directive != "copy" && directive != "replace") {
    co_return Error{"InvalidArgument", "Unknown metadata directive."};
  }
  if (source == c.bucket && key == c.key && directive != "replace") {
    co_return Error{
        "InvalidRequest",
        "This copy request is illegal because it is trying to copy an object to itself "
        "without changing the object's metadata, storage class, website redirect location "
        "or encryption attributes."};
  }
  objects::Verdict verdict = objects::Verdict::kGo;
  objects::Conditions of_source;
  if (Error e = conditions_of(c.request, of_source, "x-amz-copy-source-")) co_return e;
  auto opened = co_await objects::open(c.store, *source, key, std::nullopt, of_source, &verdict);
  if (!opened.ok()) co_return error_of(opened.status());
  if (verdict != objects::Verdict::kGo) {
    co_return Error{"PreconditionFailed", "", opened->info.seen};
  }
  ObjectMeta meta = opened->info.meta;
  if (directive == "replace") {
    ObjectMeta fresh;
    if (Error e = meta_of(c, fresh)) co_return e;
    fresh.etag = meta.etag;
    fresh.checksums = meta.checksums;
    fresh.part_sizes = meta.part_sizes;
    if (auto it = meta.extra.find(objects::kPartChecksums); it != meta.extra.end()) {
      fresh.extra.insert(*it);
    }
    meta = std::move(fresh);
  }
  meta.modified_ms = c.store.now_ms();
  takes_long(c);
  objects::Upload upload(c.store, 0, c.hashers);
  // A value that never was an object gets its MD5 now, if it is small; a blob is shared unread,
  // unless a checksum is wanted that it does not have.
  const bool hash = meta.etag.empty() && opened->reader == nullptr;
  if (hash) upload.add_digest(Algorithm::kMd5);
  const std::string wanted = lower(c.request.header("x-amz-checksum-algorithm"));
  auto known = meta.checksums.find(wanted);
  const bool sum = !wanted.empty() &&
                   (known == meta.checksums.end() || known->second.find('-') != std::string::npos);
  if (sum) upload.add_digest(*objects::algorithm_named(wanted));
  Status copied = co_await upload.append_object(*opened);
  if (copied.ok()) copied = co_await upload.finish();
  if (!copied.ok()) co_return error_of(copied);
  if (hash) meta.etag = objects::hex(upload.digest(Algorithm::kMd5));
  if (sum) {
    meta.checksums = {{wanted, objects::base64(upload.digest(*objects::algorithm_named(wanted)))}};
    meta.extra.erase(objects::kPartChecksums);  // which are of another algorithm, or say no more
  }
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions)) co_return e;
  if (Error e = co_await until_idle(c, c.key)) co_return e;
  auto put = objects::put(c.store, *c.bucket, c.key, upload, meta, 0, conditions);
  if (!put.ok()) co_return error_of(put.status());
  if (Error e = co_await settle(c, put->version)) co_return e;
  XmlOut xml("CopyObjectResult");
  add(xml.root(), "LastModified", http::iso_date(meta.modified_ms));
  add_etag(xml.root(), put->etag);
  for (auto& [tag, name] : kChecksumTags) {
    if (auto it = meta.checksums.find(name); it != meta.checksums.end()) {
      add(xml.root(), tag, it->second);
    }
  }
  reply_xml(c, xml);
  co_return Error{};
}

constexpr std::string_view kReadHeaders =
    "if-match if-none-match if-modified-since if-unmodified-since if-range x-amz-checksum-mode";
constexpr std::string_view kReadParams =
    "partNumber versionId response-content-type response-content-language response-expires "
    "response-cache-control response-content-disposition response-content-encoding "
    "max-keys continuation-token";

constexpr Row kRows[] = {
    {"PutObject", action::kPutObject, "PUT", Scope::kObject, "", "", put_object,
     "if-match if-none-match if-unmodified-since x-amz-acl x-amz-storage-class x-amz-meta-* "
     "x-amz-decoded-content-length x-amz-trailer x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS,
     "", true, true},
    {"CopyObject", action::kPutObject, "PUT", Scope::kObject, "", "x-amz-copy-source", copy_object,
     "if-match if-none-match if-unmodified-since x-amz-acl x-amz-storage-class x-amz-meta-* "
     "x-amz-copy-source x-amz-metadata-directive x-amz-tagging-directive "
     "x-amz-checksum-algorithm " CAIRN_S3_SOURCE_CONDITIONS,
     ""},
    {"GetObject", action::kGetObject, "GET", Scope::kObject, "", "", get_object, kReadHeaders,
     kReadParams},
    {"HeadObject", action::kGetObject, "HEAD", Scope::kObject, "", "", get_object, kReadHeaders,
     kReadParams},
    {"GetObjectAttributes", action::kGetObjectAttributes, "GET", Scope::kObject, "attributes", "",
     get_attributes, "x-amz-object-attributes x-amz-max-parts x-amz-part-number-marker",
     "versionId"},
    {"DeleteObject", action::kDeleteObject, "DELETE", Scope::kObject, "", "", delete_object,
     "if-match if-unmodified-since", "versionId"},
};

}  // namespace
std::span<const Row> object_rows() { return kRows; }

}  // namespace cairn::s3

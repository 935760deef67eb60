// Operations on one object: put, get, head, delete, copy.
#include <algorithm>

#include "core/text.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

using objects::Algorithm;

Error meta_of(const Call& c, ObjectMeta& meta) {
  constexpr size_t kUserMetaMax = 2048;  // as S3
  size_t user_bytes = 0;
  for (auto& [name, value] : c.request.headers) {
    constexpr std::string_view kUser = "x-amz-meta-";
    if (name.substr(0, kUser.size()) == kUser) {
      meta.user[name.substr(kUser.size())] = value;
      user_bytes += name.size() - kUser.size() + value.size();
    }
  }
  if (user_bytes > kUserMetaMax) return {"MetadataTooLarge", ""};
  meta.content_type = c.request.header("content-type");
  for (std::string_view name :
       {"cache-control", "content-disposition", "content-language", "expires"}) {
    if (c.request.has_header(name)) meta.headers[std::string(name)] = c.request.header(name);
  }
  // aws-chunked is how the body came, not what it is.
  std::string encoding;
  std::string_view rest = c.request.header("content-encoding");
  while (!rest.empty()) {
    size_t comma = rest.find(',');
    std::string_view one = rest.substr(0, comma);
    rest = comma == rest.npos ? "" : rest.substr(comma + 1);
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    if (one.empty() || equals_ignoring_case(one, "aws-chunked")) continue;
    append(encoding, encoding.empty() ? "" : ",", one);
  }
  if (!encoding.empty()) meta.headers["content-encoding"] = encoding;
  return {};
}

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
  if (!expected.empty() && !objects::base64_decode(expected)) {
    co_return Error{"InvalidRequest", cat("Value for x-amz-checksum-", objects::name_of(*declared),
                                          " header is invalid.")};
  }
  std::string_view md5 = r.header("content-md5");
  if (r.has_header("content-md5")) {
    auto raw = objects::base64_decode(md5);
    if (!raw || raw->size() != 16) co_return Error{"InvalidDigest", ""};
  }
  for (;;) {
    std::byte end;
    StatusOr<MutableBytes> room = MutableBytes{&end, 1};
    const bool complete = length && upload.size() == *length;  // then only the end may follow
    if (!complete) room = co_await upload.prepare();
    if (!room.ok()) co_return error_of(room.status());
    auto n = co_await c.body->read(*room);
    if (!n.ok()) co_return error_of(n.status());
    if (*n == 0) break;
    if (complete || (length && upload.size() + *n > *length)) {
      co_return Error{"InvalidRequest", "The body is longer than was declared"};
    }
    upload.commit(*n);
  }
  if (length && upload.size() != *length) co_return Error{"IncompleteBody", ""};
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
    response.set("x-amz-checksum-type",
                 value.find('-') == value.npos ? "FULL_OBJECT" : "COMPOSITE");
  }
}

namespace {

awaitable<Error> put_object(Call& c) {
  ObjectMeta meta;
  if (Error e = meta_of(c, meta)) co_return e;
  uint64_t hint = c.request.content_length.value_or(0);
  if (c.body->framed()) {
    hint = parse_int<uint64_t>(c.request.header("x-amz-decoded-content-length")).value_or(0);
  }
  objects::Conditions conditions = conditions_of(c.request);
  if (!conditions.empty()) {  // fail before the body is sent, where that can be known already
    auto now = objects::stat(c.store, *c.bucket, c.key);
    if (!now.ok() && !conditions.if_match.empty()) co_return Error{"NoSuchKey", ""};
    if (objects::judge(conditions, now.ok() ? &*now : nullptr) != objects::Verdict::kGo) {
      co_return Error{"PreconditionFailed", ""};
    }
  }
  objects::Upload upload(c.store, hint);
  if (Error e = co_await receive(c, upload, meta.checksums)) co_return e;
  meta.etag = objects::hex(upload.digest(Algorithm::kMd5));
  meta.modified_ms = c.store.now_ms();
  auto put = objects::put(c.store, *c.bucket, c.key, upload, meta, 0, conditions);
  if (!put.ok()) co_return error_of(put.status());
  if (Error e = co_await settle(c, put->version)) co_return e;
  c.response.set("ETag", cat("\"", put->etag, "\""));
  c.response.set("x-cairn-version", cat(put->version.value()));
  set_checksum_headers(c.response, meta.checksums);
  co_return Error{};
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
    range.first = parse_int<uint64_t>(first);
    if (!range.first) return std::nullopt;
  }
  if (!last.empty()) {
    range.last = parse_int<uint64_t>(last);
    if (!range.last) return std::nullopt;
  }
  if (!range.first && !range.last) return std::nullopt;
  if (range.first && range.last && *range.last < *range.first) return std::nullopt;
  return range;
}

void set_object_headers(Call& c, const objects::Info& info) {
  http::Response& r = c.response;
  auto overridden = [&](std::string_view name) { return c.param(cat("response-", name)); };
  r.set("ETag", cat("\"", info.etag, "\""));
  r.set("Last-Modified", http::http_date(info.modified_ms));
  r.set("Accept-Ranges", "bytes");
  std::string type = overridden("content-type");
  r.set("Content-Type", !type.empty()                     ? type
                        : !info.meta.content_type.empty() ? info.meta.content_type
                                                          : "binary/octet-stream");
  for (std::string_view name : {"cache-control", "content-disposition", "content-encoding",
                                "content-language", "expires"}) {
    std::string value = overridden(name);
    auto it = info.meta.headers.find(std::string(name));
    if (value.empty() && it != info.meta.headers.end()) value = it->second;
    if (!value.empty()) r.set(name, value);
  }
  for (auto& [name, value] : info.meta.user) r.set(cat("x-amz-meta-", name), value);
  r.set("x-cairn-version", cat(info.version.value()));
  if (info.expire_ms != 0) r.set("x-cairn-expires-ms", cat(info.expire_ms));
}

awaitable<Error> get_object(Call& c) {
  std::optional<objects::Range> range = parse_range(c.request.header("range"));
  unsigned part = 0;
  if (c.has_param("partNumber")) {
    if (range)
      co_return Error{"InvalidRequest",
                      "Cannot specify both Range header and partNumber query parameter"};
    auto n = parse_int<unsigned>(c.param("partNumber"));
    if (!n || *n < 1 || *n > objects::kPartNumberMax) {
      co_return Error{"InvalidArgument",
                      "Part number must be an integer between 1 and 10000, inclusive"};
    }
    part = *n;
    auto info = objects::stat(c.store, *c.bucket, c.key);
    if (!info.ok()) co_return error_of(info.status());
    auto& sizes = info->meta.part_sizes;
    if (part > std::max<size_t>(1, sizes.size())) {
      co_return Error{"InvalidRange", "The requested partnumber is not satisfiable"};
    }
    if (!sizes.empty()) {
      uint64_t first = 0;
      for (unsigned i = 0; i + 1 < part; i++) first += sizes[i];
      range = objects::Range{first, first + sizes[part - 1] - 1};
    }
  }
  objects::Verdict verdict = objects::Verdict::kGo;
  const objects::Conditions conditions = conditions_of(c.request);
  auto opened = co_await objects::open(c.store, *c.bucket, c.key, range, conditions, &verdict);
  if (!opened.ok()) {
    if (absl::IsOutOfRange(opened.status())) {
      auto info = objects::stat(c.store, *c.bucket, c.key);
      if (info.ok()) c.response.set("Content-Range", cat("bytes */", info->size));
    }
    co_return error_of(opened.status());
  }
  if (Error e = co_await settle(c, opened->info.version)) co_return e;
  if (verdict == objects::Verdict::kFailed) co_return Error{"PreconditionFailed", ""};
  set_object_headers(c, opened->info);
  if (verdict == objects::Verdict::kNotModified) {
    c.response.status = 304;
    co_return Error{};
  }
  if (range) {
    c.response.status = 206;
    c.response.set("Content-Range",
                   cat("bytes ", opened->offset, "-", opened->offset + opened->length - 1, "/",
                       opened->info.size));
  }
  if (part != 0 && !opened->info.meta.part_sizes.empty()) {
    c.response.set("x-amz-mp-parts-count", cat(opened->info.meta.part_sizes.size()));
  }
  if (lower(c.request.header("x-amz-checksum-mode")) == "enabled" && !range) {
    set_checksum_headers(c.response, opened->info.meta.checksums);
  }
  c.response.content_length = opened->length;
  if (c.request.method == "HEAD") co_return Error{};
  c.response.body = std::move(opened->inline_bytes);
  c.response.stream = std::move(opened->reader);
  co_return Error{};
}

awaitable<Error> delete_object(Call& c) {
  objects::Conditions conditions;
  conditions.if_match = c.request.header("if-match");
  auto lsn = objects::remove(c.store, *c.bucket, c.key, conditions);
  if (!lsn.ok()) co_return error_of(lsn.status());
  c.response.status = 204;
  co_return co_await settle(c, *lsn);
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
  ns = c.store.find_namespace(path.substr(0, slash));
  if (ns == nullptr) return {"NoSuchBucket", ""};
  key = path.substr(slash + 1);
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
  const objects::Conditions of_source = conditions_of(c.request, "x-amz-copy-source-");
  auto opened = co_await objects::open(c.store, *source, key, std::nullopt, of_source, &verdict);
  if (!opened.ok()) co_return error_of(opened.status());
  if (verdict != objects::Verdict::kGo) co_return Error{"PreconditionFailed", ""};
  ObjectMeta meta = opened->info.meta;
  if (directive == "replace") {
    ObjectMeta fresh;
    if (Error e = meta_of(c, fresh)) co_return e;
    fresh.etag = meta.etag;
    fresh.checksums = meta.checksums;
    fresh.part_sizes = meta.part_sizes;
    meta = std::move(fresh);
  }
  meta.modified_ms = c.store.now_ms();
  objects::Upload upload(c.store, 0);
  // A value that never was an object gets its MD5 now, if it is small; a blob is shared unread.
  const bool hash = meta.etag.empty() && opened->reader == nullptr;
  if (hash) upload.add_digest(Algorithm::kMd5);
  Status copied = co_await upload.append_object(*opened);
  if (copied.ok()) copied = co_await upload.finish();
  if (!copied.ok()) co_return error_of(copied);
  if (hash) meta.etag = objects::hex(upload.digest(Algorithm::kMd5));
  objects::Conditions conditions;
  conditions.if_match = c.request.header("if-match");
  conditions.if_none_match = c.request.header("if-none-match");
  auto put = objects::put(c.store, *c.bucket, c.key, upload, meta, 0, conditions);
  if (!put.ok()) co_return error_of(put.status());
  if (Error e = co_await settle(c, put->version)) co_return e;
  std::string xml = cat(kXmlHead, "<CopyObjectResult", kXmlns, "><LastModified>",
                        http::iso_date(meta.modified_ms), "</LastModified><ETag>&quot;",
                        xml_escape(put->etag), "&quot;</ETag></CopyObjectResult>");
  reply_xml(c, std::move(xml));
  co_return Error{};
}

constexpr Row kRows[] = {
    {"PUT", Scope::kObject, "", "", put_object},
    {"PUT", Scope::kObject, "", "x-amz-copy-source", copy_object},
    {"GET", Scope::kObject, "", "", get_object},
    {"HEAD", Scope::kObject, "", "", get_object},
    {"DELETE", Scope::kObject, "", "", delete_object},
};

}  // namespace
std::span<const Row> object_rows() { return kRows; }

}  // namespace cairn::s3

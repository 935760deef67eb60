// The multipart family.
#include <algorithm>

#include "core/base/text.h"
#include "gateway/http/s3/acl.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/encryption.h"
#include "gateway/http/s3/lifecycle.h"
#include "gateway/http/s3/metadata.h"
#include "gateway/http/s3/object_lock.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

using objects::Algorithm;

awaitable<Error> create(Call& c) {
  ObjectMeta meta;
  if (Error e = meta_of(c, meta)) co_return e;
  if (Error e = tags_of(c, meta.tags)) co_return e;
  if (Error e = acl_for_object(c, meta)) co_return e;
  std::optional<int64_t> ttl_ms;
  if (Error e = ttl_of(c, ttl_ms)) co_return e;
  if (ttl_ms) meta.extra[objects::kUploadTtl] = c.request.header("x-cairn-ttl");
  VersionLock lock;
  if (Error e = lock_of(c, lock)) co_return e;
  put_lock(meta, lock);
  if (Error e = begin_encryption(c, meta)) co_return e;
  say_encryption(c, meta.encryption, true);
  std::string algorithm = lower(c.request.header("x-amz-checksum-algorithm"));
  if (algorithm.empty() && c.request.has_header("x-amz-checksum-type")) {
    co_return Error{"InvalidRequest",
                    "The x-amz-checksum-type header can only be used with the "
                    "x-amz-checksum-algorithm header."};
  }
  if (!algorithm.empty()) {
    if (!objects::algorithm_named(algorithm)) {
      co_return Error{"InvalidRequest", "Checksum algorithm provided is unsupported."};
    }
    meta.extra["algorithm"] = algorithm;
    std::string type = upper(std::string(c.request.header("x-amz-checksum-type")));
    if (type.empty()) type = algorithm == "crc64nvme" ? "FULL_OBJECT" : "COMPOSITE";
    bool crc = objects::is_crc(*objects::algorithm_named(algorithm));
    if (type == "FULL_OBJECT" ? !crc : type != "COMPOSITE" || algorithm == "crc64nvme") {
      co_return Error{"InvalidRequest", cat("The ", type, " checksum type cannot be used with the ",
                                            algorithm, " checksum algorithm.")};
    }
    meta.extra["type"] = type;
    c.response.set("x-amz-checksum-algorithm", upper(algorithm));
    c.response.set("x-amz-checksum-type", type);
  }
  auto made = objects::create_upload(c.store, *c.bucket, c.key, std::move(meta));
  if (!made.ok()) co_return error_of(made.status(), "NoSuchBucket");
  if (Error e = co_await settle(c, made->version)) co_return e;
  say_abort(c, c.store.now_ms());
  XmlOut xml("InitiateMultipartUploadResult");
  add(xml.root(), "Bucket", c.bucket_name);
  add(xml.root(), "Key", c.key);
  add(xml.root(), "UploadId", made->id);
  reply_xml(c, xml);
  co_return Error{};
}

}  // namespace

Error part_number(const Call& c, unsigned& number) {
  auto n = parse_int<unsigned>(c.param("partNumber"));
  if (!n || *n < 1 || *n > objects::kPartNumberMax) {
    return argument_invalid("partNumber", c.param("partNumber"),
                            "Part number must be an integer between 1 and 10000, inclusive");
  }
  number = *n;
  return {};
}

namespace {

std::string etag_of_part(objects::Upload& upload) {
  const bool has_md5 = !upload.encrypted() || objects::has_md5_etag(upload.encrypted()->mode);
  return has_md5 ? etag_digest(upload) : objects::random_etag();
}

awaitable<Error> upload_part(Call& c) {
  unsigned number;
  if (Error e = part_number(c, number)) co_return e;
  auto found = objects::find_upload(c.store, *c.bucket, c.key, c.param("uploadId"));
  if (!found.ok()) co_return error_of(found.status(), "NoSuchUpload");
  if (Error e = check_locked_part(c, found->meta)) co_return e;
  objects::Upload upload(c.store, announced(c), c.hashers);
  if (Error e = encrypt_part(c, found->meta, upload)) {
    e.rests_on = found->seen;
    co_return e;
  }
  const std::string algorithm = found->meta.extra["algorithm"];
  if (auto a = objects::algorithm_named(algorithm)) upload.add_digest(*a);
  ObjectMeta meta;
  if (Error e = co_await receive(c, upload, meta.checksums)) co_return e;
  if (auto a = objects::algorithm_named(algorithm)) {
    if (!meta.checksums.empty() && !meta.checksums.contains(algorithm)) {
      co_return Error{"InvalidRequest",
                      cat("Checksum Type mismatch occurred, expected checksum Type: ", algorithm,
                          ", actual checksum Type: ", meta.checksums.begin()->first),
                      found->seen};
    }
    meta.checksums[algorithm] = objects::base64(upload.digest(*a));
  }
  meta.etag = etag_of_part(upload);
  auto put =
      objects::put_part(c.store, *c.bucket, c.key, c.param("uploadId"), number, upload, meta);
  if (!put.ok()) co_return error_of(put.status(), "NoSuchUpload");
  if (Error e = co_await settle(c, put->version)) co_return e;
  if (upload.encrypted()) say_encryption(c, *upload.encrypted(), false);
  c.response.set("ETag", "\"", meta.etag, "\"");
  for (auto& [name, value] : meta.checksums) c.response.set(cat("x-amz-checksum-", name), value);
  co_return Error{};
}

Error outside(uint64_t source_bytes, Lsn seen) {
  return {"InvalidArgument",
          cat("Range specified is not valid for source object of size: ", source_bytes), seen};
}

awaitable<Error> upload_part_copy(Call& c) {
  unsigned number;
  if (Error e = part_number(c, number)) co_return e;
  auto found = objects::find_upload(c.store, *c.bucket, c.key, c.param("uploadId"));
  if (!found.ok()) co_return error_of(found.status(), "NoSuchUpload");
  NamespacePtr source;
  std::string key;
  std::optional<Version> version;
  if (Error e = find_copy_source(c, source, key, version)) co_return e;
  std::optional<objects::Range> range;
  if (std::string_view text = c.request.header("x-amz-copy-source-range"); !text.empty()) {
    constexpr std::string_view kUnit = "bytes=";
    size_t dash = text.find('-');
    auto first = text.substr(0, kUnit.size()) == kUnit && dash != text.npos
                     ? parse_int<uint64_t>(text.substr(kUnit.size(), dash - kUnit.size()))
                     : std::nullopt;
    auto last = dash == text.npos ? std::nullopt : parse_int<uint64_t>(text.substr(dash + 1));
    if (!first || !last || *last < *first) {
      co_return Error{"InvalidArgument",
                      "The x-amz-copy-source-range value must be of the form bytes=first-last"};
    }
    range = objects::Range{*first, *last};
    auto info = objects::stat(c.store, *source, key, version);
    if (info.ok() && *last >= info->size) {
      co_return outside(info->size, info->seen);
    }
  }
  objects::Verdict verdict = objects::Verdict::kGo;
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions, "x-amz-copy-source-")) co_return e;
  conditions.version = version;
  if (Error e = source_key_of(c, conditions.customer_key)) co_return e;
  auto opened = co_await objects::open(c.store, *source, key, range, conditions, &verdict);
  if (!opened.ok()) co_return of_source_key(error_of(opened.status()), key);
  if (verdict != objects::Verdict::kGo) co_return unmet_by_source(conditions, opened->info);
  // A smaller object may have taken the source's place since the look at its size.
  if (range && opened->length != *range->last - *range->first + 1) {
    co_return outside(opened->info.size, opened->info.seen);
  }
  takes_long(c);
  // The part's ETag is made of its bytes, so they are read once; that is also what the whole's
  // checksum is made from.
  ObjectMeta meta;
  objects::Upload upload(c.store, opened->length, c.hashers);
  if (Error e = encrypt_part(c, found->meta, upload)) {
    e.rests_on = found->seen;
    co_return e;
  }
  upload.add_digest(etag_algorithm(c));
  const std::string algorithm = found->meta.extra["algorithm"];
  if (auto a = objects::algorithm_named(algorithm)) upload.add_digest(*a);
  Status copied = co_await upload.append_object(*opened);
  if (copied.ok()) copied = co_await upload.finish();
  if (!copied.ok()) co_return error_of(copied);
  if (auto a = objects::algorithm_named(algorithm)) {
    meta.checksums[algorithm] = objects::base64(upload.digest(*a));
  }
  meta.etag = etag_of_part(upload);
  auto put =
      objects::put_part(c.store, *c.bucket, c.key, c.param("uploadId"), number, upload, meta);
  if (!put.ok()) co_return error_of(put.status(), "NoSuchUpload");
  if (Error e = co_await settle(c, put->version)) co_return e;
  if (upload.encrypted()) say_encryption(c, *upload.encrypted(), false);
  if (!opened->info.version_id.empty()) {
    c.response.set("x-amz-copy-source-version-id", opened->info.version_id);
  }
  XmlOut xml("CopyPartResult");
  add(xml.root(), "LastModified", http::iso_date(c.store.now_ms()));
  add_etag(xml.root(), meta.etag);
  add_checksums(xml.root(), meta.checksums);
  reply_xml(c, xml);
  co_return Error{};
}

// What a completion says about the object that it makes.
Error expected_of(const Call& c, objects::Expected& expected) {
  for (auto& [tag, name] : kChecksumTags) {
    const std::string header = cat("x-amz-checksum-", name);
    if (!c.request.has_header(header)) continue;
    if (!expected.algorithm.empty()) {
      return {"InvalidRequest", "Expecting a single x-amz-checksum- header"};
    }
    expected.algorithm = name;
    expected.checksum = c.request.header(header);
  }
  expected.checksum_type = c.request.header("x-amz-checksum-type");
  if (c.request.has_header("x-amz-mp-object-size")) {
    expected.size = parse_int<uint64_t>(c.request.header("x-amz-mp-object-size"));
    if (!expected.size) return {"InvalidRequest", "x-amz-mp-object-size is no size"};
  }
  return {};
}

// An error about a part, whose message is its number and perhaps its size.
Error of_part(Error e, const Call& c, const std::vector<objects::CompletePart>& parts) {
  if (e.code != "InvalidPart" && e.code != "EntityTooSmall") return e;
  const size_t blank = e.message.find(' ');
  const std::string number = e.message.substr(0, blank);
  const auto part = std::find_if(parts.begin(), parts.end(), [&](auto& one) {
    return one.number == parse_int<unsigned>(number).value_or(0);
  });
  if (part == parts.end()) return e;
  e.fields = {{"PartNumber", number}, {"ETag", part->etag}};
  if (e.code == "InvalidPart") {
    e.fields.insert(e.fields.begin(), {"UploadId", c.param("uploadId")});
  } else {
    e.fields.insert(e.fields.begin(), {{"ProposedSize", e.message.substr(blank + 1)},
                                       {"MinSizeAllowed", cat(objects::kPartBytesMin)}});
  }
  e.message.clear();
  return e;
}

awaitable<Error> complete(Call& c) {
  std::string text;
  if (Error e = co_await read_small(c, 4 << 20, text, true)) co_return e;
  std::vector<objects::CompletePart> parts;
  if (Error e = parse_complete(text, parts)) co_return e;
  objects::Expected expected;
  if (Error e = expected_of(c, expected)) co_return e;
  objects::Conditions conditions;
  if (Error e = conditions_of(c.request, conditions)) co_return e;
  if (auto found = objects::find_upload(c.store, *c.bucket, c.key, c.param("uploadId"));
      found.ok()) {
    if (Error e = check_upload_key(c, found->meta)) {
      e.rests_on = found->seen;
      co_return e;
    }
    say_encryption(c, found->meta.encryption, false);
  }
  takes_long(c);
  auto done = co_await objects::complete_upload(c.store, *c.bucket, c.key, c.param("uploadId"),
                                                parts, conditions, expected);
  if (!done.ok()) co_return of_part(error_of(done.status(), "NoSuchUpload"), c, parts);
  if (Error e = co_await settle(c, done->put.version)) co_return e;
  say_version(c, done->put.version_id);
  if (!c.bucket->properties()->lifecycle.empty()) {
    const auto info = objects::stat(c.store, *c.bucket, c.key);
    if (info.ok() && info->etag == done->put.etag) say_expiration(c, c.key, *info);
  }
  XmlOut xml("CompleteMultipartUploadResult");
  add(xml.root(), "Location", cat("/", c.bucket_name, "/", c.key));
  add(xml.root(), "Bucket", c.bucket_name);
  add(xml.root(), "Key", c.key);
  add_etag(xml.root(), done->put.etag);
  if (!done->checksum.empty()) {
    add_checksums(xml.root(), {{done->checksum_algorithm, done->checksum}});
    add(xml.root(), "ChecksumType", done->full_object ? "FULL_OBJECT" : "COMPOSITE");
  }
  reply_xml(c, xml);
  co_return Error{};
}

awaitable<Error> abort(Call& c) {
  auto lsn = objects::abort_upload(c.store, *c.bucket, c.key, c.param("uploadId"));
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchUpload");
  c.response.status = 204;
  co_return co_await settle(c, *lsn);
}

Error page_limit(const Call& c, std::string_view name, size_t& limit) {
  if (!c.has_param(name)) return {};
  auto n = parse_int<int64_t>(c.param(name));
  if (!n || *n < 0) {
    return argument_invalid(name, c.param(name),
                            cat("Provided ", name, " not an integer or within integer range"));
  }
  limit = static_cast<size_t>(std::min<int64_t>(*n, 1000));
  return {};
}

awaitable<Error> list_parts(Call& c) {
  size_t limit = 1000;
  if (Error e = page_limit(c, "max-parts", limit)) co_return e;
  unsigned marker = 0;
  if (c.has_param("part-number-marker")) {
    auto n = parse_int<unsigned>(c.param("part-number-marker"));
    if (!n) {
      co_return argument_invalid(
          "part-number-marker", c.param("part-number-marker"),
          "Provided part-number-marker not an integer or within integer range");
    }
    marker = *n;
  }
  auto upload = objects::find_upload(c.store, *c.bucket, c.key, c.param("uploadId"));
  if (!upload.ok()) co_return error_of(upload.status(), "NoSuchUpload");
  if (Error e = check_upload_key(c, upload->meta)) {
    e.rests_on = upload->seen;
    co_return e;
  }
  const auto list = objects::list_parts(c.store, upload->id);
  if (Error e = co_await settle(c, std::max(upload->seen, list.newest))) co_return e;
  const auto& parts = list.parts;
  say_abort(c, upload->started_ms);
  XmlOut xml("ListPartsResult");
  auto root = xml.root();
  add(root, "Bucket", c.bucket_name);
  add(root, "Key", c.key);
  add(root, "UploadId", upload->id);
  add_owner(root, "Initiator", c);
  add_owner(root, "Owner", c);
  add(root, "StorageClass", "STANDARD");
  if (auto& extra = upload->meta.extra; !extra["algorithm"].empty()) {
    add(root, "ChecksumAlgorithm", upper(extra["algorithm"]));
    add(root, "ChecksumType", extra["type"]);
  }
  const auto first =
      std::find_if(parts.begin(), parts.end(), [&](auto& p) { return p.number > marker; });
  const size_t count = std::min(limit, static_cast<size_t>(parts.end() - first));
  const auto end = first + static_cast<ptrdiff_t>(count);
  add(root, "PartNumberMarker", marker);
  add(root, "NextPartNumberMarker", count == 0 ? marker : (end - 1)->number);
  add(root, "MaxParts", limit);
  add(root, "IsTruncated", limit > 0 && end != parts.end() ? "true" : "false");
  for (auto p = first; p != end; ++p) {
    auto part = add(root, "Part");
    add(part, "PartNumber", p->number);
    add(part, "LastModified", http::iso_date(p->modified_ms));
    add_etag(part, p->etag);
    add(part, "Size", p->size);
    add_checksums(part, p->checksums);
  }
  reply_xml(c, xml);
  co_return Error{};
}

awaitable<Error> list_uploads(Call& c) {
  size_t limit = 1000;
  if (Error e = page_limit(c, "max-uploads", limit)) co_return e;
  const std::string prefix = c.param("prefix"), delimiter = c.param("delimiter");
  const std::string key_marker = c.param("key-marker"), id_marker = c.param("upload-id-marker");
  bool url = c.has_param("encoding-type");
  if (url && c.param("encoding-type") != "url") {
    co_return Error{"InvalidArgument", "Invalid Encoding Method specified in Request"};
  }
  auto page =
      objects::list_uploads(c.store, *c.bucket, prefix, delimiter, key_marker, id_marker, limit);
  if (Error e = co_await settle(c, page.newest)) co_return e;
  // As in listings of objects: names that cannot be written.
  for (auto& u : page.uploads) url = url || !can_be_written(u.key);
  for (auto& p : page.prefixes) url = url || !can_be_written(p);
  for (auto& t : {prefix, delimiter, key_marker}) url = url || !can_be_written(t);
  auto add_name = [&](pugi::xml_node to, const char* name, const std::string& text) {
    add_as_it_came(to, name, url ? http::percent_encode(text, true) : text);
  };
  std::string next_key, next_id;
  if (page.truncated && !page.uploads.empty()) {
    next_key = page.uploads.back().key;
    next_id = page.uploads.back().id;
  }
  if (page.truncated && !page.prefixes.empty() && page.prefixes.back() > next_key) {
    next_key = page.prefixes.back();
    next_id.clear();
  }
  XmlOut xml("ListMultipartUploadsResult");
  auto root = xml.root();
  add(root, "Bucket", c.bucket_name);
  add_name(root, "KeyMarker", key_marker);
  add(root, "UploadIdMarker", id_marker);
  add_name(root, "NextKeyMarker", next_key);
  add(root, "NextUploadIdMarker", next_id);
  add_name(root, "Prefix", prefix);
  add_name(root, "Delimiter", delimiter);
  if (url) add(root, "EncodingType", "url");
  add(root, "MaxUploads", limit);
  add(root, "IsTruncated", page.truncated ? "true" : "false");
  for (auto& u : page.uploads) {
    auto upload = add(root, "Upload");
    add_name(upload, "Key", u.key);
    add(upload, "UploadId", u.id);
    add_owner(upload, "Initiator", c);
    add_owner(upload, "Owner", c);
    add(upload, "StorageClass", "STANDARD");
    add(upload, "Initiated", http::iso_date(u.started_ms));
    if (const std::string& algorithm = u.meta.extra["algorithm"]; !algorithm.empty()) {
      add(upload, "ChecksumAlgorithm", upper(algorithm));
      add(upload, "ChecksumType", u.meta.extra["type"]);
    }
  }
  for (auto& p : page.prefixes) add_name(add(root, "CommonPrefixes"), "Prefix", p);
  reply_xml(c, xml);
  co_return Error{};
}

constexpr Row kRows[] = {
    {"CreateMultipartUpload", action::kPutObject, "POST", Scope::kObject, "uploads", "", create,
     CAIRN_S3_GRANTS " x-amz-website-redirect-location x-amz-storage-class x-amz-meta-* "
                     "x-amz-tagging x-amz-checksum-algorithm "
                     "x-amz-checksum-type x-cairn-ttl " CAIRN_S3_LOCKS CAIRN_S3_ENCRYPTION,
     ""},
    {"UploadPart", action::kPutObject, "PUT", Scope::kObject, "uploadId", "", upload_part,
     CAIRN_S3_CUSTOMER_KEY
     "x-amz-decoded-content-length x-amz-trailer x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS,
     "partNumber", true, true},
    {"UploadPartCopy", action::kPutObject, "PUT", Scope::kObject, "uploadId", "x-amz-copy-source",
     upload_part_copy,
     CAIRN_S3_CUSTOMER_KEY CAIRN_S3_SOURCE_KEY
     "x-amz-copy-source x-amz-copy-source-range " CAIRN_S3_SOURCE_CONDITIONS,
     "partNumber"},
    {"CompleteMultipartUpload", action::kPutObject, "POST", Scope::kObject, "uploadId", "",
     complete,
     CAIRN_S3_CUSTOMER_KEY
     "if-match if-none-match x-amz-checksum-type x-amz-mp-object-size " CAIRN_S3_CHECKSUMS,
     "", true, true},
    {"AbortMultipartUpload", action::kAbortUpload, "DELETE", Scope::kObject, "uploadId", "", abort,
     "", ""},
    {"ListParts", action::kListParts, "GET", Scope::kObject, "uploadId", "", list_parts,
     CAIRN_S3_CUSTOMER_KEY, "max-parts part-number-marker"},
    {"ListMultipartUploads", action::kListUploads, "GET", Scope::kBucket, "uploads", "",
     list_uploads, "", "prefix delimiter key-marker upload-id-marker max-uploads encoding-type"},
};

}  // namespace
std::span<const Row> multipart_rows() { return kRows; }

}  // namespace cairn::s3

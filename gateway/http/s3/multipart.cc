// The multipart family.
#include <pugixml.hpp>

#include "core/text.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

using objects::Algorithm;

std::string upper(std::string text) {
  for (char& x : text) x = static_cast<char>(x >= 'a' && x <= 'z' ? x - 32 : x);
  return text;
}

awaitable<Error> create(Call& c) {
  ObjectMeta meta;
  if (Error e = meta_of(c, meta)) co_return e;
  std::string algorithm = lower(c.request.header("x-amz-checksum-algorithm"));
  if (!algorithm.empty()) {
    if (!objects::algorithm_named(algorithm)) {
      co_return Error{"InvalidRequest", "Checksum algorithm provided is unsupported."};
    }
    meta.extra["algorithm"] = algorithm;
    std::string type = upper(std::string(c.request.header("x-amz-checksum-type")));
    if (type.empty()) type = algorithm == "crc64nvme" ? "FULL_OBJECT" : "COMPOSITE";
    bool crc = objects::is_crc(*objects::algorithm_named(algorithm));
    if ((type != "FULL_OBJECT" && type != "COMPOSITE") || (type == "FULL_OBJECT" && !crc) ||
        (type == "COMPOSITE" && algorithm == "crc64nvme")) {
      co_return Error{"InvalidRequest",
                      "The checksum type does not go with the checksum algorithm."};
    }
    meta.extra["type"] = type;
    c.response.set("x-amz-checksum-algorithm", upper(algorithm));
    c.response.set("x-amz-checksum-type", type);
  }
  auto made = objects::create_upload(c.store, *c.bucket, c.key, std::move(meta));
  if (!made.ok()) co_return error_of(made.status());
  if (Error e = co_await settle(c, made->version)) co_return e;
  reply_xml(c, cat(kXmlHead, "<InitiateMultipartUploadResult", kXmlns, "><Bucket>",
                   xml_escape(c.bucket_name), "</Bucket><Key>", xml_escape(c.key),
                   "</Key><UploadId>", made->id, "</UploadId></InitiateMultipartUploadResult>"));
  co_return Error{};
}

Error part_number(const Call& c, unsigned& number) {
  auto n = parse_int<unsigned>(c.param("partNumber"));
  if (!n || *n < 1 || *n > objects::kPartNumberMax) {
    return {"InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive"};
  }
  number = *n;
  return {};
}

awaitable<Error> upload_part(Call& c) {
  unsigned number;
  if (Error e = part_number(c, number)) co_return e;
  auto found = objects::find_upload(c.store, *c.bucket, c.key, c.param("uploadId"));
  if (!found.ok()) co_return error_of(found.status(), "NoSuchUpload");
  uint64_t hint = c.request.content_length.value_or(0);
  if (c.body->framed()) {
    hint = parse_int<uint64_t>(c.request.header("x-amz-decoded-content-length")).value_or(0);
  }
  objects::Upload upload(c.store, hint);
  const std::string algorithm = found->meta.extra["algorithm"];
  if (auto a = objects::algorithm_named(algorithm)) upload.add_digest(*a);
  ObjectMeta meta;
  if (Error e = co_await receive(c, upload, meta.checksums)) co_return e;
  if (auto a = objects::algorithm_named(algorithm)) {
    if (!meta.checksums.empty() && !meta.checksums.contains(algorithm)) {
      co_return Error{"InvalidRequest", "Checksum Type mismatch occurred"};
    }
    meta.checksums[algorithm] = objects::base64(upload.digest(*a));
  }
  meta.etag = objects::hex(upload.digest(Algorithm::kMd5));
  auto put =
      objects::put_part(c.store, *c.bucket, c.key, c.param("uploadId"), number, upload, meta);
  if (!put.ok()) co_return error_of(put.status(), "NoSuchUpload");
  if (Error e = co_await settle(c, put->version)) co_return e;
  c.response.set("ETag", cat("\"", meta.etag, "\""));
  for (auto& [name, value] : meta.checksums) c.response.set(cat("x-amz-checksum-", name), value);
  co_return Error{};
}

awaitable<Error> upload_part_copy(Call& c) {
  unsigned number;
  if (Error e = part_number(c, number)) co_return e;
  auto found = objects::find_upload(c.store, *c.bucket, c.key, c.param("uploadId"));
  if (!found.ok()) co_return error_of(found.status(), "NoSuchUpload");
  NamespacePtr source;
  std::string key;
  if (Error e = find_copy_source(c, source, key)) co_return e;
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
    auto info = objects::stat(c.store, *source, key);
    if (info.ok() && *last >= info->size) {
      co_return Error{"InvalidArgument",
                      cat("Range specified is not valid for source object of size: ", info->size)};
    }
  }
  objects::Verdict verdict = objects::Verdict::kGo;
  const objects::Conditions conditions = conditions_of(c.request, "x-amz-copy-source-");
  auto opened = co_await objects::open(c.store, *source, key, range, conditions, &verdict);
  if (!opened.ok()) co_return error_of(opened.status());
  if (verdict != objects::Verdict::kGo) co_return Error{"PreconditionFailed", ""};
  // The part's ETag is the MD5 of its bytes, so they are read once; that is also what the whole's
  // checksum is made from.
  ObjectMeta meta;
  objects::Upload upload(c.store, opened->length);
  upload.add_digest(Algorithm::kMd5);
  const std::string algorithm = found->meta.extra["algorithm"];
  if (auto a = objects::algorithm_named(algorithm)) upload.add_digest(*a);
  Status copied = co_await upload.append_object(*opened);
  if (copied.ok()) copied = co_await upload.finish();
  if (!copied.ok()) co_return error_of(copied);
  if (auto a = objects::algorithm_named(algorithm)) {
    meta.checksums[algorithm] = objects::base64(upload.digest(*a));
  }
  meta.etag = objects::hex(upload.digest(Algorithm::kMd5));
  auto put =
      objects::put_part(c.store, *c.bucket, c.key, c.param("uploadId"), number, upload, meta);
  if (!put.ok()) co_return error_of(put.status(), "NoSuchUpload");
  if (Error e = co_await settle(c, put->version)) co_return e;
  reply_xml(c, cat(kXmlHead, "<CopyPartResult", kXmlns, "><LastModified>",
                   http::iso_date(c.store.now_ms()), "</LastModified><ETag>&quot;", meta.etag,
                   "&quot;</ETag></CopyPartResult>"));
  co_return Error{};
}

constexpr std::pair<const char*, const char*> kChecksumTags[] = {{"ChecksumCRC32", "crc32"},
                                                                 {"ChecksumCRC32C", "crc32c"},
                                                                 {"ChecksumCRC64NVME", "crc64nvme"},
                                                                 {"ChecksumSHA1", "sha1"},
                                                                 {"ChecksumSHA256", "sha256"}};

std::string checksum_xml(const std::map<std::string, std::string>& checksums) {
  std::string xml;
  for (auto& [tag, name] : kChecksumTags) {
    if (auto it = checksums.find(name); it != checksums.end()) {
      append(xml, "<", tag, ">", it->second, "</", tag, ">");
    }
  }
  return xml;
}

awaitable<Error> complete(Call& c) {
  std::string text;
  if (Error e = co_await read_xml(c, 4 << 20, text)) co_return e;
  pugi::xml_document doc;
  if (!doc.load_buffer(text.data(), text.size()) ||
      std::string_view(doc.document_element().name()) != "CompleteMultipartUpload") {
    co_return Error{"MalformedXML", ""};
  }
  std::vector<objects::CompletePart> parts;
  for (auto node : doc.document_element().children("Part")) {
    auto number = parse_int<unsigned>(node.child_value("PartNumber"));
    std::string etag = node.child_value("ETag");
    if (!number || etag.empty()) co_return Error{"MalformedXML", ""};
    if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
      etag = etag.substr(1, etag.size() - 2);
    }
    objects::CompletePart part{*number, etag, {}};
    for (auto& [tag, name] : kChecksumTags) {
      if (std::string value = node.child_value(tag); !value.empty()) part.checksums[name] = value;
    }
    parts.push_back(std::move(part));
    if (parts.size() > objects::kPartNumberMax) co_return Error{"MalformedXML", ""};
  }
  std::string declared;
  for (auto& [tag, name] : kChecksumTags) {
    if (auto h = c.request.header(cat("x-amz-checksum-", name)); !h.empty()) declared = h;
  }
  auto done =
      co_await objects::complete_upload(c.store, *c.bucket, c.key, c.param("uploadId"),
                                        std::move(parts), conditions_of(c.request), declared);
  if (!done.ok()) co_return error_of(done.status(), "NoSuchUpload");
  if (Error e = co_await settle(c, done->put.version)) co_return e;
  std::map<std::string, std::string> checksums;
  if (!done->checksum.empty()) checksums[done->checksum_algorithm] = done->checksum;
  reply_xml(c, cat(kXmlHead, "<CompleteMultipartUploadResult", kXmlns, "><Location>/",
                   xml_escape(c.bucket_name), "/", xml_escape(c.key), "</Location><Bucket>",
                   xml_escape(c.bucket_name), "</Bucket><Key>", xml_escape(c.key),
                   "</Key><ETag>&quot;", done->put.etag, "&quot;</ETag>", checksum_xml(checksums),
                   "</CompleteMultipartUploadResult>"));
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
  if (!n || *n < 0) return {"InvalidArgument", cat(name, " is not a valid number")};
  limit = static_cast<size_t>(std::min<int64_t>(*n, 1000));
  return {};
}

std::string owner_xml(const Call& c, std::string_view tag) {
  return cat("<", tag, "><ID>", xml_escape(c.auth.user), "</ID><DisplayName>",
             xml_escape(c.auth.user), "</DisplayName></", tag, ">");
}

awaitable<Error> list_parts(Call& c) {
  size_t limit = 1000;
  if (Error e = page_limit(c, "max-parts", limit)) co_return e;
  unsigned marker = parse_int<unsigned>(c.param("part-number-marker")).value_or(0);
  auto upload = objects::find_upload(c.store, *c.bucket, c.key, c.param("uploadId"));
  if (!upload.ok()) co_return error_of(upload.status(), "NoSuchUpload");
  auto parts = objects::list_parts(c.store, upload->id);
  if (!parts.ok()) co_return error_of(parts.status());
  std::string rows;
  size_t count = 0;
  unsigned last = marker;
  bool truncated = false;
  for (auto& p : *parts) {
    if (p.number <= marker) continue;
    if (count++ == limit) {
      truncated = true;
      break;
    }
    last = p.number;
    append(rows, "<Part><PartNumber>", p.number, "</PartNumber><LastModified>",
           http::iso_date(p.modified_ms), "</LastModified><ETag>&quot;", p.etag, "&quot;</ETag>",
           "<Size>", p.size, "</Size>", checksum_xml(p.checksums), "</Part>");
  }
  std::string algorithm = upload->meta.extra["algorithm"];
  reply_xml(
      c,
      cat(kXmlHead, "<ListPartsResult", kXmlns, "><Bucket>", xml_escape(c.bucket_name),
          "</Bucket><Key>", xml_escape(c.key), "</Key><UploadId>", upload->id, "</UploadId>",
          owner_xml(c, "Initiator"), owner_xml(c, "Owner"), "<StorageClass>STANDARD</StorageClass>",
          algorithm.empty() ? ""
                            : cat("<ChecksumAlgorithm>", upper(algorithm), "</ChecksumAlgorithm>"),
          "<PartNumberMarker>", marker, "</PartNumberMarker><NextPartNumberMarker>", last,
          "</NextPartNumberMarker><MaxParts>", limit, "</MaxParts><IsTruncated>",
          truncated ? "true" : "false", "</IsTruncated>", rows, "</ListPartsResult>"));
  co_return Error{};
}

awaitable<Error> list_uploads(Call& c) {
  size_t limit = 1000;
  if (Error e = page_limit(c, "max-uploads", limit)) co_return e;
  const std::string prefix = c.param("prefix"), delimiter = c.param("delimiter");
  const std::string key_marker = c.param("key-marker"), id_marker = c.param("upload-id-marker");
  const bool url = c.param("encoding-type") == "url";
  auto encode = [&](std::string_view text) {
    return url ? http::percent_encode(text, true) : xml_escape(text);
  };
  auto page =
      objects::list_uploads(c.store, *c.bucket, prefix, delimiter, key_marker, id_marker, limit);
  std::string rows;
  for (auto& u : page.uploads) {
    append(rows, "<Upload><Key>", encode(u.key), "</Key><UploadId>", u.id, "</UploadId>",
           owner_xml(c, "Initiator"), owner_xml(c, "Owner"),
           "<StorageClass>STANDARD</StorageClass><Initiated>", http::iso_date(u.started_ms),
           "</Initiated></Upload>");
  }
  for (auto& p : page.prefixes) {
    append(rows, "<CommonPrefixes><Prefix>", encode(p), "</Prefix></CommonPrefixes>");
  }
  std::string next_key, next_id;
  if (page.truncated && !page.uploads.empty()) {
    next_key = page.uploads.back().key;
    next_id = page.uploads.back().id;
  }
  if (page.truncated && !page.prefixes.empty() && page.prefixes.back() > next_key) {
    next_key = page.prefixes.back();
    next_id.clear();
  }
  reply_xml(
      c,
      cat(kXmlHead, "<ListMultipartUploadsResult", kXmlns, "><Bucket>", xml_escape(c.bucket_name),
          "</Bucket><KeyMarker>", encode(key_marker), "</KeyMarker><UploadIdMarker>",
          xml_escape(id_marker), "</UploadIdMarker><NextKeyMarker>", encode(next_key),
          "</NextKeyMarker><NextUploadIdMarker>", next_id, "</NextUploadIdMarker><Prefix>",
          encode(prefix), "</Prefix><Delimiter>", encode(delimiter), "</Delimiter><MaxUploads>",
          limit, "</MaxUploads><IsTruncated>", page.truncated ? "true" : "false", "</IsTruncated>",
          rows, "</ListMultipartUploadsResult>"));
  co_return Error{};
}

constexpr Row kRows[] = {
    {"POST", Scope::kObject, "uploads", "", create},
    {"PUT", Scope::kObject, "uploadId", "", upload_part},
    {"PUT", Scope::kObject, "uploadId", "x-amz-copy-source", upload_part_copy},
    {"POST", Scope::kObject, "uploadId", "", complete},
    {"DELETE", Scope::kObject, "uploadId", "", abort},
    {"GET", Scope::kObject, "uploadId", "", list_parts},
    {"GET", Scope::kBucket, "uploads", "", list_uploads},
};

}  // namespace
std::span<const Row> multipart_rows() { return kRows; }

}  // namespace cairn::s3

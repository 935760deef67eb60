// Versions of objects: whether a bucket keeps them, which there are, and what requests call them.
#include "objects/versions.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/listing.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

// ---- of a bucket ----

awaitable<Error> get_versioning(Call& c) {
  XmlOut xml("VersioningConfiguration");
  const Versioning versioning = c.bucket->properties()->versioning;
  if (versioning != Versioning::kOff) {
    add(xml.root(), "Status", versioning == Versioning::kEnabled ? "Enabled" : "Suspended");
  }
  if (Error e = co_await settle(c, c.store.newest_name())) co_return e;
  reply_xml(c, xml);
  co_return Error{};
}

awaitable<Error> put_versioning(Call& c) {
  constexpr size_t kDocumentMax = 64 << 10;
  std::string text;
  if (Error e = co_await read_small(c, kDocumentMax, text)) co_return e;
  bool enabled = false;
  if (Error e = parse_versioning(text, enabled)) co_return e;
  if (!c.bucket->is_bucket()) {
    co_return Error{"InvalidRequest", "A numbered database does not keep versions"};
  }
  const Versioning wanted = enabled ? Versioning::kEnabled : Versioning::kSuspended;
  if (c.bucket->properties()->versioning == wanted) {
    co_return co_await settle(c, c.store.newest_name());
  }
  auto lsn = c.store.set_versioning(*c.bucket, enabled);
  if (absl::IsFailedPrecondition(lsn.status())) {
    co_return Error{"InvalidBucketState",
                    "An Object Lock configuration is present on this bucket, so the versioning "
                    "state cannot be changed.",
                    rests_on(lsn.status())};
  }
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

// ---- listings ----

Error parse_markers(const Call& c, objects::VersionQuery& query) {
  query.after = c.param("key-marker");
  if (!c.has_param("version-id-marker")) return {};
  const std::string marker = c.param("version-id-marker");
  const auto invalid = [&](std::string_view why) {
    return Error{"InvalidArgument",
                 std::string(why),
                 {},
                 {{"ArgumentName", "version-id-marker"}, {"ArgumentValue", marker}}};
  };
  if (marker.empty()) return invalid("A version-id marker cannot be empty.");
  if (query.after.empty()) {
    return invalid("A version-id marker cannot be specified without a key marker.");
  }
  query.after_id = marker;
  return objects::parse_version_id(marker) ? Error{} : invalid("Invalid version id specified");
}

void add_version(const Call& c, const Listing& l, const objects::VersionItem& item,
                 pugi::xml_node root) {
  auto version = add(root, item.version.marker ? "DeleteMarker" : "Version");
  add(version, "Key", l.encode(item.key));
  add(version, "VersionId", objects::version_id(item.version));
  add(version, "IsLatest", item.latest ? "true" : "false");
  add(version, "LastModified", http::iso_date(item.modified_ms));
  if (!item.version.marker) {
    add_etag(version, item.etag);
    if (!item.checksum_algorithm.empty()) {
      add(version, "ChecksumAlgorithm", upper(item.checksum_algorithm));
      add(version, "ChecksumType", item.checksum_type);
    }
    add(version, "Size", item.size);
    add(version, "StorageClass", "STANDARD");
  }
  add_owner(version, "Owner", c);
}

awaitable<Error> list_versions(Call& c) {
  Listing l;
  if (Error e = parse_listing(c, l)) co_return e;
  objects::VersionQuery query;
  if (Error e = parse_markers(c, query)) co_return e;
  query.prefix = l.query.prefix;
  query.delimiter = l.query.delimiter;
  query.limit = l.query.limit;
  objects::VersionPage page;
  if (query.limit > 0) {
    auto listed = co_await objects::list_versions(c.store, c.bucket, query);
    if (!listed.ok()) co_return error_of(listed.status());
    page = std::move(*listed);
  }
  if (Error e = co_await settle(c, page.newest)) co_return e;
  XmlOut xml("ListVersionsResult");
  auto root = xml.root();
  add(root, "Name", c.bucket_name);
  add(root, "Prefix", l.encode(query.prefix));
  add(root, "KeyMarker", l.encode(query.after));
  add(root, "VersionIdMarker", query.after_id);
  if (page.truncated) {
    const objects::VersionItem& last = page.items.back();
    add(root, "NextKeyMarker", l.encode(last.key));
    if (!last.is_prefix) add(root, "NextVersionIdMarker", objects::version_id(last.version));
  }
  add(root, "MaxKeys", query.limit);
  if (!query.delimiter.empty()) add(root, "Delimiter", l.encode(query.delimiter));
  if (l.url) add(root, "EncodingType", "url");
  add(root, "IsTruncated", page.truncated ? "true" : "false");
  for (auto& item : page.items) {
    if (!item.is_prefix) add_version(c, l, item, root);
  }
  for (auto& item : page.items) {
    if (item.is_prefix) add(add(root, "CommonPrefixes"), "Prefix", l.encode(item.key));
  }
  reply_xml(c, xml);
  co_return Error{};
}

constexpr Row kRows[] = {
    {"ListObjectVersions", action::kListBucketVersions, "GET", Scope::kBucket, "versions", "",
     list_versions, "", "prefix delimiter max-keys encoding-type key-marker version-id-marker"},
    {"GetBucketVersioning", action::kGetBucketVersioning, "GET", Scope::kBucket, "versioning", "",
     get_versioning, "", ""},
    {"PutBucketVersioning", action::kPutBucketVersioning, "PUT", Scope::kBucket, "versioning", "",
     put_versioning, "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "", true, true},
};

}  // namespace

bool is_version_id(std::string_view text) {
  constexpr size_t kLength = 32;  // of S3's own, and of Cairn's
  const auto of_one = [](char x) {
    return (x >= '0' && x <= '9') || (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z') || x == '.' ||
           x == '_';
  };
  return text == objects::kNullVersion ||
         (text.size() == kLength && std::all_of(text.begin(), text.end(), of_one));
}

Error find_version(const Call& c, std::optional<Version>& version) {
  version.reset();
  if (!c.has_param("versionId")) return {};
  const std::string id = c.param("versionId");
  version = objects::parse_version_id(id);
  if (version) return {};
  return {"NoSuchVersion", "", {}, {{"Key", c.key}, {"VersionId", id}}};
}

void say_version(Call& c, const std::string& id) {
  if (!id.empty()) {
    c.response.set("x-amz-version-id", id);
  } else if (c.has_param("versionId")) {
    c.response.set("x-amz-version-id", c.param("versionId"));
  }
}

Error error_of_object(Call& c, const Status& status) {
  Error e = error_of(status);
  if (objects::is_no_such_version(status)) {
    e.code = "NoSuchVersion";
    e.fields = {{"Key", c.key}, {"VersionId", c.param("versionId")}};
    return e;
  }
  const auto marker = objects::marker_found(status);
  if (!marker) return e;
  c.response.set("x-amz-delete-marker", "true");
  c.response.set("x-amz-version-id", marker->version_id);
  if (absl::IsFailedPrecondition(status)) {  // what was asked for by its id
    e.code = "MethodNotAllowed";
    e.fields = {{"Method", std::string(c.request.method)}, {"ResourceType", "DeleteMarker"}};
    c.response.set("Allow", "DELETE");
    c.response.set("Last-Modified", http::http_date(marker->modified_ms));
  }
  return e;
}

std::span<const Row> version_rows() { return kRows; }

}  // namespace cairn::s3

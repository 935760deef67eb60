// Versions, of buckets that never were versioned: every object has one, and it is called null.
#include <algorithm>

#include "core/base/text.h"
#include "gateway/http/s3/listing.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

constexpr std::string_view kNull = "null";

Error parse_markers(const Call& c, Listing& l) {
  l.query.after = c.param("key-marker");
  if (!c.has_param("version-id-marker")) return {};
  const std::string marker = c.param("version-id-marker");
  const auto invalid = [&](std::string_view why) {
    return Error{"InvalidArgument",
                 std::string(why),
                 {},
                 {{"ArgumentName", "version-id-marker"}, {"ArgumentValue", marker}}};
  };
  if (marker.empty()) return invalid("A version-id marker cannot be empty.");
  if (l.query.after.empty()) {
    return invalid("A version-id marker cannot be specified without a key marker.");
  }
  // Behind the null version of a key comes the next key, as behind the key itself; behind one that
  // is not there, too.
  return is_version_id(marker) ? Error{} : invalid("Invalid version id specified");
}

awaitable<Error> list_versions(Call& c) {
  Listing l;
  if (Error e = parse_listing(c, l)) co_return e;
  if (Error e = parse_markers(c, l)) co_return e;
  objects::ListPage page;
  if (Error e = co_await list_page(c, l, page)) co_return e;
  XmlOut xml("ListVersionsResult");
  auto root = xml.root();
  add(root, "Name", c.bucket_name);
  add(root, "Prefix", l.encode(l.query.prefix));
  add(root, "KeyMarker", l.encode(l.query.after));
  add(root, "VersionIdMarker", c.param("version-id-marker"));
  if (page.truncated) {
    add(root, "NextKeyMarker", l.encode(page.next));
    if (!page.items.back().is_prefix) add(root, "NextVersionIdMarker", kNull);
  }
  add(root, "MaxKeys", l.query.limit);
  if (!l.query.delimiter.empty()) add(root, "Delimiter", l.encode(l.query.delimiter));
  if (l.url) add(root, "EncodingType", "url");
  add(root, "IsTruncated", page.truncated ? "true" : "false");
  for (auto& item : page.items) {
    if (item.is_prefix) continue;
    auto version = add(root, "Version");
    add(version, "Key", l.encode(item.key));
    add(version, "VersionId", kNull);
    add(version, "IsLatest", "true");
    add(version, "LastModified", http::iso_date(item.modified_ms));
    add_etag(version, item.etag);
    if (!item.checksum_algorithm.empty()) {
      add(version, "ChecksumAlgorithm", upper(item.checksum_algorithm));
    }
    add(version, "Size", item.size);
    add(version, "StorageClass", "STANDARD");
    add_owner(version, "Owner", c);
  }
  add_prefixes(l, page, root);
  reply_xml(c, xml);
  co_return Error{};
}

constexpr Row kRows[] = {
    {"ListObjectVersions", action::kListBucketVersions, "GET", Scope::kBucket, "versions", "",
     list_versions, "", "prefix delimiter max-keys encoding-type key-marker version-id-marker"},
};

}  // namespace

bool is_version_id(std::string_view text) {
  constexpr size_t kLength = 32;  // of S3's own
  const auto of_one = [](char x) {
    return (x >= '0' && x <= '9') || (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z') || x == '.' ||
           x == '_';
  };
  return text == kNull || (text.size() == kLength && std::all_of(text.begin(), text.end(), of_one));
}

Error find_version(Call& c) {
  if (!c.has_param("versionId")) return {};
  const std::string id = c.param("versionId");
  if (id != kNull) return {"NoSuchVersion", "", {}, {{"Key", c.key}, {"VersionId", id}}};
  c.response.set("x-amz-version-id", kNull);
  return {};
}

std::span<const Row> version_rows() { return kRows; }

}  // namespace cairn::s3

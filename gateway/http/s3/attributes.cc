// What there is to know of an object beside its bytes.
#include <algorithm>

#include "core/base/text.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/encryption.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {
namespace {

struct Wanted {
  bool etag = false, checksum = false, parts = false, storage_class = false, size = false;
};

// "ETag,Checksum, ObjectSize"
Error parse_wanted(std::string_view list, Wanted& w) {
  const std::pair<std::string_view, bool*> names[] = {{"ETag", &w.etag},
                                                      {"Checksum", &w.checksum},
                                                      {"ObjectParts", &w.parts},
                                                      {"StorageClass", &w.storage_class},
                                                      {"ObjectSize", &w.size}};
  if (list.empty()) return {"InvalidRequest", "x-amz-object-attributes is missing or empty"};
  while (!list.empty()) {
    const size_t comma = list.find(',');
    std::string_view one = list.substr(0, comma);
    list.remove_prefix(comma == list.npos ? list.size() : comma + 1);
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    auto known = std::find_if(std::begin(names), std::end(names),
                              [&](auto& name) { return name.first == one; });
    if (known == std::end(names)) {
      return argument_invalid("x-amz-object-attributes", one, "Invalid attribute name specified.");
    }
    *known->second = true;
  }
  return {};
}

struct Page {
  size_t limit = 1000, marker = 0;
};
Error parse_page(const http::Request& r, Page& page) {
  for (auto& [name, to] : {std::pair{"x-amz-max-parts", &page.limit},
                           std::pair{"x-amz-part-number-marker", &page.marker}}) {
    if (!r.has_header(name)) continue;
    auto n = parse_int<size_t>(r.header(name));
    if (!n || *n > INT32_MAX) {
      return argument_invalid(name, r.header(name), cat(name, " is not a valid number"));
    }
    *to = *n;
  }
  page.limit = std::min<size_t>(page.limit, 1000);
  return {};
}

void add_checksum(pugi::xml_node to, std::string_view algorithm, std::string_view value) {
  for (auto& [tag, name] : kChecksumTags) {
    if (name == algorithm) add(to, tag, value);
  }
}

void add_parts(pugi::xml_node to, const ObjectMeta& meta, const Page& page) {
  const auto& sizes = meta.part_sizes;
  const size_t first = std::min(page.marker, sizes.size());
  const size_t end = first + std::min(page.limit, sizes.size() - first);
  add(to, "IsTruncated", page.limit > 0 && end < sizes.size() ? "true" : "false");
  add(to, "MaxParts", page.limit);
  add(to, "NextPartNumberMarker", end == first ? page.marker : end);
  add(to, "PartNumberMarker", page.marker);
  for (size_t i = first; i < end; i++) {
    auto part = add(to, "Part");
    add(part, "PartNumber", i + 1);
    add(part, "Size", sizes[i]);
    const std::string checksum = objects::part_checksum(meta, i);
    if (checksum.empty() || meta.checksums.empty()) continue;
    add_checksum(part, meta.checksums.begin()->first, checksum);
  }
  add(to, "PartsCount", sizes.size());
}

}  // namespace

awaitable<Error> get_attributes(Call& c) {
  const Action& reading = c.has_param("versionId") ? action::kGetObjectVersion : action::kGetObject;
  if (Error e = c.may(reading, c.bucket_name, c.key)) co_return e;
  std::optional<Version> version;
  if (Error e = find_version(c, version)) co_return e;
  Wanted wanted;
  if (Error e = parse_wanted(c.request.header("x-amz-object-attributes"), wanted)) co_return e;
  Page page;
  if (Error e = parse_page(c.request, page)) co_return e;
  auto info = objects::stat(c.store, *c.bucket, c.key, version);
  if (!info.ok()) co_return error_of_object(c, info.status());
  if (Error e = co_await settle(c, info->seen)) co_return e;
  const ObjectMeta& meta = info->meta;
  if (Error e = check_object_key(c, meta)) co_return e;
  say_version(c, info->version_id);
  XmlOut xml("GetObjectAttributesOutput");
  auto root = xml.root();
  if (wanted.etag) add(root, "ETag", info->etag);
  if (wanted.checksum && !meta.checksums.empty()) {
    auto checksum = add(root, "Checksum");
    for (auto& [algorithm, value] : meta.checksums) add_checksum(checksum, algorithm, value);
    add(checksum, "ChecksumType", checksum_type(meta.checksums.begin()->second));
  }
  if (wanted.parts && !meta.part_sizes.empty()) add_parts(add(root, "ObjectParts"), meta, page);
  if (wanted.storage_class) add(root, "StorageClass", "STANDARD");
  if (wanted.size) add(root, "ObjectSize", info->size);
  c.response.set("Last-Modified", http::http_date(info->modified_ms));
  reply_xml(c, xml);
  co_return Error{};
}

}  // namespace cairn::s3

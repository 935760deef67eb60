// Operations on buckets, and the listings.
#include <pugixml.hpp>

#include "core/text.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {
namespace {

std::string owner_xml(const Call& c) {
  return cat("<Owner><ID>", xml_escape(c.auth.user), "</ID><DisplayName>", xml_escape(c.auth.user),
             "</DisplayName></Owner>");
}

awaitable<Error> list_buckets(Call& c) {
  std::string xml =
      cat(kXmlHead, "<ListAllMyBucketsResult", kXmlns, ">", owner_xml(c), "<Buckets>");
  const std::string prefix = c.param("prefix"), after = c.param("continuation-token");
  size_t limit = 10000;
  if (c.has_param("max-buckets")) {
    auto n = parse_int<size_t>(c.param("max-buckets"));
    if (!n || *n < 1 || *n > 10000) co_return Error{"InvalidArgument", "max-buckets"};
    limit = *n;
  }
  size_t count = 0;
  std::string last, next;
  for (auto& b : c.store.buckets()) {
    if (b->name.substr(0, prefix.size()) != prefix || b->name <= after) continue;
    if (count++ == limit) {
      next = last;
      break;
    }
    last = b->name;
    append(xml, "<Bucket><Name>", xml_escape(b->name), "</Name><CreationDate>",
           http::iso_date(b->created_ms), "</CreationDate></Bucket>");
  }
  xml += "</Buckets>";
  if (!next.empty()) append(xml, "<ContinuationToken>", xml_escape(next), "</ContinuationToken>");
  if (!prefix.empty()) append(xml, "<Prefix>", xml_escape(prefix), "</Prefix>");
  xml += "</ListAllMyBucketsResult>";
  reply_xml(c, std::move(xml));
  co_return Error{};
}

awaitable<Error> create_bucket(Call& c) {
  std::string text;
  if (Error e = co_await read_xml(c, 64 << 10, text)) co_return e;
  if (!text.empty()) {
    pugi::xml_document doc;
    if (!doc.load_buffer(text.data(), text.size())) co_return Error{"MalformedXML", ""};
  }
  if (c.store.find_namespace(c.bucket_name) != nullptr) {
    co_return Error{"BucketAlreadyOwnedByYou", ""};
  }
  if (!objects::valid_bucket_name(c.bucket_name)) co_return Error{"InvalidBucketName", ""};
  if (c.request.header("x-amz-bucket-object-lock-enabled") == "true") {
    co_return Error{"NotImplemented", "Cairn does not have object lock yet"};
  }
  auto lsn = c.store.create_bucket(c.bucket_name);
  if (absl::IsAlreadyExists(lsn.status())) co_return Error{"BucketAlreadyOwnedByYou", ""};
  if (!lsn.ok()) co_return error_of(lsn.status());
  c.response.set("Location", cat("/", c.bucket_name));
  co_return co_await settle(c, *lsn);
}

awaitable<Error> head_bucket(Call& c) {
  c.response.set("x-amz-bucket-region", "us-east-1");
  co_return Error{};
}

awaitable<Error> delete_bucket(Call& c) {
  if (!c.bucket->is_bucket()) {
    co_return Error{"MethodNotAllowed", "A numbered database cannot be deleted"};
  }
  auto lsn = c.store.drop_bucket(c.bucket_name);
  if (absl::IsFailedPrecondition(lsn.status())) co_return Error{"BucketNotEmpty", ""};
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  c.response.status = 204;
  co_return co_await settle(c, *lsn);
}

awaitable<Error> get_location(Call& c) {
  reply_xml(c, cat(kXmlHead, "<LocationConstraint", kXmlns, "/>"));
  co_return Error{};
}

// Buckets are unversioned, which S3 says by an empty configuration.
awaitable<Error> get_versioning(Call& c) {
  reply_xml(c, cat(kXmlHead, "<VersioningConfiguration", kXmlns, "/>"));
  co_return Error{};
}
awaitable<Error> put_versioning(Call&) {
  co_return Error{"NotImplemented", "Cairn does not have versioning yet"};
}

// ---- listings ----

struct Listing {
  objects::ListQuery query;
  bool url = false;
  std::string encode(std::string_view text) const {
    return url ? http::percent_encode(text, true) : xml_escape(text);
  }
};

Error parse_listing(const Call& c, Listing& l) {
  l.query.prefix = c.param("prefix");
  l.query.delimiter = c.param("delimiter");
  if (c.has_param("max-keys")) {
    auto n = parse_int<int64_t>(c.param("max-keys"));
    if (!n || *n < 0 || *n > INT32_MAX) {
      return {"InvalidArgument", "Provided max-keys not an integer or within integer range"};
    }
    l.query.limit = static_cast<size_t>(std::min<int64_t>(*n, 1000));
  }
  if (std::string type = c.param("encoding-type"); !type.empty()) {
    if (type != "url") return {"InvalidArgument", "Invalid Encoding Method specified in Request"};
    l.url = true;
  }
  return {};
}

void append_items(const Call& c, const Listing& l, const objects::ListPage& page, bool owner,
                  std::string& xml) {
  for (auto& item : page.items) {
    if (item.is_prefix) continue;
    append(xml, "<Contents><Key>", l.encode(item.key), "</Key><LastModified>",
           http::iso_date(item.modified_ms), "</LastModified><ETag>&quot;", xml_escape(item.etag),
           "&quot;</ETag>");
    if (!item.checksum_algorithm.empty()) {
      std::string name = item.checksum_algorithm;
      for (char& x : name) x = static_cast<char>(x >= 'a' && x <= 'z' ? x - 32 : x);
      append(xml, "<ChecksumAlgorithm>", name, "</ChecksumAlgorithm>");
    }
    append(xml, "<Size>", item.size, "</Size>", owner ? owner_xml(c) : "",
           "<StorageClass>STANDARD</StorageClass></Contents>");
  }
  for (auto& item : page.items) {
    if (!item.is_prefix) continue;
    append(xml, "<CommonPrefixes><Prefix>", l.encode(item.key), "</Prefix></CommonPrefixes>");
  }
}

awaitable<Error> list_v1(Call& c) {
  Listing l;
  if (Error e = parse_listing(c, l)) co_return e;
  l.query.after = c.param("marker");
  objects::ListPage page;
  if (l.query.limit > 0) page = objects::list(c.store, *c.bucket, l.query);
  if (Error e = co_await settle(c, page.newest)) co_return e;
  std::string xml = cat(kXmlHead, "<ListBucketResult", kXmlns, "><Name>", xml_escape(c.bucket_name),
                        "</Name><Prefix>", l.encode(l.query.prefix), "</Prefix><Marker>",
                        l.encode(l.query.after), "</Marker><MaxKeys>", l.query.limit, "</MaxKeys>");
  if (!l.query.delimiter.empty())
    append(xml, "<Delimiter>", l.encode(l.query.delimiter), "</Delimiter>");
  if (l.url) xml += "<EncodingType>url</EncodingType>";
  append(xml, "<IsTruncated>", page.truncated ? "true" : "false", "</IsTruncated>");
  if (page.truncated && !l.query.delimiter.empty()) {
    append(xml, "<NextMarker>", l.encode(page.next), "</NextMarker>");
  }
  append_items(c, l, page, true, xml);
  xml += "</ListBucketResult>";
  reply_xml(c, std::move(xml));
  co_return Error{};
}

awaitable<Error> list_v2(Call& c) {
  if (c.param("list-type") != "2") co_return Error{"InvalidArgument", "list-type"};
  Listing l;
  if (Error e = parse_listing(c, l)) co_return e;
  const std::string token = c.param("continuation-token"), start = c.param("start-after");
  l.query.after = start;
  if (c.has_param("continuation-token")) {
    auto decoded = objects::base64_decode(token);
    if (!decoded || decoded->empty()) {
      co_return Error{"InvalidArgument", "The continuation token provided is incorrect"};
    }
    l.query.after = *decoded;
  }
  objects::ListPage page;
  if (l.query.limit > 0) page = objects::list(c.store, *c.bucket, l.query);
  if (Error e = co_await settle(c, page.newest)) co_return e;
  std::string xml = cat(kXmlHead, "<ListBucketResult", kXmlns, "><Name>", xml_escape(c.bucket_name),
                        "</Name><Prefix>", l.encode(l.query.prefix), "</Prefix><KeyCount>",
                        page.items.size(), "</KeyCount><MaxKeys>", l.query.limit, "</MaxKeys>");
  if (!l.query.delimiter.empty())
    append(xml, "<Delimiter>", l.encode(l.query.delimiter), "</Delimiter>");
  if (l.url) xml += "<EncodingType>url</EncodingType>";
  if (c.has_param("continuation-token")) {
    append(xml, "<ContinuationToken>", xml_escape(token), "</ContinuationToken>");
  }
  if (!start.empty()) append(xml, "<StartAfter>", l.encode(start), "</StartAfter>");
  append(xml, "<IsTruncated>", page.truncated ? "true" : "false", "</IsTruncated>");
  if (page.truncated) {
    append(xml, "<NextContinuationToken>", objects::base64(page.next), "</NextContinuationToken>");
  }
  append_items(c, l, page, c.param("fetch-owner") == "true", xml);
  xml += "</ListBucketResult>";
  reply_xml(c, std::move(xml));
  co_return Error{};
}

// ---- DeleteObjects ----

awaitable<Error> delete_objects(Call& c) {
  std::string text;
  if (Error e = co_await read_xml(c, 4 << 20, text)) co_return e;
  pugi::xml_document doc;
  if (!doc.load_buffer(text.data(), text.size())) co_return Error{"MalformedXML", ""};
  auto root = doc.document_element();
  if (std::string_view(root.name()) != "Delete") co_return Error{"MalformedXML", ""};
  const bool quiet = std::string_view(root.child_value("Quiet")) == "true";
  std::vector<std::pair<std::string, std::string>> keys;  // key, ETag that it must have
  for (auto object : root.children("Object")) {
    std::string key = object.child_value("Key");
    if (key.empty()) co_return Error{"MalformedXML", ""};
    if (object.child("VersionId") && std::string_view(object.child_value("VersionId")) != "null") {
      co_return Error{"NotImplemented", "Cairn does not have versions yet"};
    }
    keys.emplace_back(std::move(key), object.child_value("ETag"));
  }
  if (keys.empty() || keys.size() > 1000) co_return Error{"MalformedXML", ""};
  std::string xml = cat(kXmlHead, "<DeleteResult", kXmlns, ">");
  Lsn newest;
  for (auto& [key, etag] : keys) {
    objects::Conditions conditions;
    conditions.if_match = etag;
    auto lsn = objects::remove(c.store, *c.bucket, key, conditions);
    if (!lsn.ok()) {
      Error e = error_of(lsn.status());
      append(xml, "<Error><Key>", xml_escape(key), "</Key><Code>", e.code, "</Code><Message>",
             xml_escape(e.message.empty() ? default_message(e.code) : e.message),
             "</Message></Error>");
      continue;
    }
    newest = std::max(newest, *lsn);
    if (!quiet) append(xml, "<Deleted><Key>", xml_escape(key), "</Key></Deleted>");
  }
  xml += "</DeleteResult>";
  if (Error e = co_await settle(c, newest)) co_return e;
  reply_xml(c, std::move(xml));
  co_return Error{};
}

constexpr Row kRows[] = {
    {"GET", Scope::kService, "", "", list_buckets, false},
    {"PUT", Scope::kBucket, "", "", create_bucket, false},
    {"HEAD", Scope::kBucket, "", "", head_bucket},
    {"DELETE", Scope::kBucket, "", "", delete_bucket},
    {"GET", Scope::kBucket, "location", "", get_location},
    {"GET", Scope::kBucket, "versioning", "", get_versioning},
    {"PUT", Scope::kBucket, "versioning", "", put_versioning},
    {"GET", Scope::kBucket, "", "", list_v1},
    {"GET", Scope::kBucket, "list-type", "", list_v2},
    {"POST", Scope::kBucket, "delete", "", delete_objects},
};

}  // namespace
std::span<const Row> bucket_rows() { return kRows; }

}  // namespace cairn::s3

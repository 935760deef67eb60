// Operations on buckets, and the listings.
#include <algorithm>
#include <array>
#include <charconv>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/store/user_table.h"
#include "gateway/auth/quotas.h"
#include "gateway/http/s3/acl.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/listing.h"
#include "gateway/http/s3/object_lock.h"
#include "gateway/http/s3/service.h"
#include "objects/versions.h"

namespace cairn::s3 {
namespace {

constexpr std::string_view kFirstRegion = "us-east-1";

awaitable<Error> list_buckets(Call& c) {
  XmlOut xml("ListAllMyBucketsResult");
  add_owner(xml.root(), "Owner", c);
  auto buckets = add(xml.root(), "Buckets");
  const std::string prefix = c.param("prefix"), after = c.param("continuation-token");
  size_t limit = 10000;
  if (c.has_param("max-buckets")) {
    auto n = parse_int<size_t>(c.param("max-buckets"));
    if (!n || *n < 1 || *n > 10000) co_return Error{"InvalidArgument", "max-buckets"};
    limit = *n;
  }
  if (c.has_param("bucket-region") && c.param("bucket-region") != c.region) limit = 0;
  size_t count = 0;
  std::string last, next;
  for (auto& b : c.store.buckets()) {
    if (b->name.substr(0, prefix.size()) != prefix || b->name <= after || limit == 0) continue;
    if (count++ == limit) {
      next = last;
      break;
    }
    last = b->name;
    auto bucket = add(buckets, "Bucket");
    add(bucket, "Name", b->name);
    add(bucket, "CreationDate", http::iso_date(b->properties()->created_ms));
  }
  if (!next.empty()) add(xml.root(), "ContinuationToken", next);
  if (!prefix.empty()) add(xml.root(), "Prefix", prefix);
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> create_bucket(Call& c) {
  std::string text;
  if (Error e = co_await read_small(c, 64 << 10, text)) co_return e;
  if (Error e = parse_create_bucket(text, c.region)) co_return e;
  bool locks = false;
  if (Error e = wants_object_lock(c, locks)) co_return e;
  // In the first of its regions S3 says of one's own bucket what it says of one that it made.
  const bool again = c.region == kFirstRegion;
  const NamespacePtr there = c.store.find_namespace(c.bucket_name);
  const auto has_locks = [&] { return there->properties()->object_lock.has_value(); };
  if (there != nullptr && (!again || !there->is_bucket() || (locks && !has_locks()))) {
    co_return Error{"BucketAlreadyOwnedByYou", "", c.store.newest_name()};
  }
  Lsn made = c.store.newest_name();
  if (there == nullptr) {
    if (!objects::valid_bucket_name(c.bucket_name)) co_return Error{"InvalidBucketName", ""};
    Properties set;
    if (Error e = access_for_bucket(c, set)) co_return e;
    if (locks) set.object_lock.emplace();
    set.charged_to = charged_for(*c.users, *c.auth.principal);
    auto lsn = c.store.create_bucket(c.bucket_name, std::move(set));
    if (absl::IsAlreadyExists(lsn.status())) {
      if (!again) co_return Error{"BucketAlreadyOwnedByYou", "", rests_on(lsn.status())};
      lsn = rests_on(lsn.status());
    }
    if (!lsn.ok()) co_return error_of(lsn.status());
    made = *lsn;
  }
  c.response.set("Location", "/", c.bucket_name);
  co_return co_await settle(c, made);
}

awaitable<Error> head_bucket(Call& c) {
  c.response.set("x-amz-bucket-region", c.region);
  if (const int64_t seconds = c.bucket->default_ttl_s()) c.response.set("x-cairn-ttl", seconds);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> delete_bucket(Call& c) {
  if (!c.bucket->is_bucket()) {
    co_return Error{"MethodNotAllowed", "A numbered database cannot be deleted"};
  }
  if (Error e = error_of(co_await c.store.busy().until_all_idle())) co_return e;
  auto lsn = objects::drop_bucket(c.store, c.bucket_name);
  if (absl::IsFailedPrecondition(lsn.status())) {
    Error full{"BucketNotEmpty", "", rests_on(lsn.status())};
    objects::ListQuery first;
    first.limit = 1;
    auto listed = co_await objects::list(c.store, c.bucket, first);
    if (listed.ok() && listed->items.empty() && !listed->truncated) {
      full.message = cat(default_message(full.code),
                         " It holds keys that listings leave out, since they have no bytes: "
                         "collections, which the Redis door and gRPC read and delete.");
    }
    co_return full;
  }
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  c.response.status = 204;
  co_return co_await settle(c, *lsn);
}

// S3 names every region but its first.
awaitable<Error> get_location(Call& c) {
  XmlOut xml("LocationConstraint");
  if (c.region != kFirstRegion) xml.root().text().set(std::string(c.region).c_str());
  reply_xml(c, xml);
  co_return Error{};
}
}  // namespace

// ---- listings ----

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

namespace {
// Where no name can end a page, since a client could not send it back.
Error too_long(const objects::ListPage& page) {
  if (page.key_bytes <= 4 * objects::kPageKeyBytes) return {};
  return {"InvalidRequest", "The names of this page are too long for one answer; ask for fewer."};
}

// A page with names that cannot be written is URL-encoded whether the client asked for it or not,
// and says so: what it lists could not be named otherwise.
void choose_encoding(Listing& l, const objects::ListPage& page) {
  const auto held = l.references ? can_be_written : is_xml_text;
  l.url = l.url || !held(l.query.prefix) || !held(l.query.delimiter) || !held(l.query.after) ||
          !held(page.next) ||
          !std::all_of(page.items.begin(), page.items.end(),
                       [&](const objects::ListItem& item) { return held(item.key); });
}

}  // namespace

awaitable<Error> list_page(Call& c, Listing& l, objects::ListPage& page) {
  if (l.query.limit > 0) {
    auto listed = co_await objects::list(c.store, c.bucket, l.query);
    if (!listed.ok()) co_return error_of(listed.status());
    page = std::move(*listed);
  }
  if (Error e = too_long(page)) co_return e;
  if (Error e = co_await settle(c, page.newest)) co_return e;
  choose_encoding(l, page);
  co_return Error{};
}

namespace {

void append_name(std::string& out, const Listing& l, const char* element, std::string_view name) {
  if (l.url) {
    append_as_it_came(out, element, http::percent_encode(name, true));
  } else {
    append_as_it_came(out, element, name);
  }
}

void append_item(std::string& out, const Listing& l, const objects::ListItem& item,
                 std::string_view owner) {
  out += "<Contents>";
  append_name(out, l, "Key", item.key);
  out += "<LastModified>";
  http::append_iso_date(out, item.modified_ms);
  out.append("</LastModified><ETag>\"").append(item.etag).append("\"</ETag>");
  if (!item.checksum_algorithm.empty()) {
    out.append("<ChecksumAlgorithm>").append(upper(item.checksum_algorithm));
    out.append("</ChecksumAlgorithm><ChecksumType>");
    out.append(item.composite_checksum ? "COMPOSITE" : "FULL_OBJECT").append("</ChecksumType>");
  }
  std::array<char, 20> size;
  const char* const end = std::to_chars(size.begin(), size.end(), item.size).ptr;
  out.append("<Size>").append(std::string_view(size.data(), end)).append("</Size>").append(owner);
  out += "<StorageClass>STANDARD</StorageClass></Contents>";
}

// As text: a page has a thousand of them, and 10 million names are listed at once.
void append_items(const Call& c, const Listing& l, const objects::ListPage& page, bool with_owner,
                  std::string& out) {
  constexpr size_t kBesidesKey = 320;
  std::string owner;
  if (with_owner) {
    owner = "<Owner>";
    append_as_it_came(owner, "ID", kRootCanonicalId);
    append_as_it_came(owner, "DisplayName", c.owner);
    owner += "</Owner>";
  }
  out.reserve(page.key_bytes + page.items.size() * (kBesidesKey + owner.size()));
  for (auto& item : page.items) {
    if (!item.is_prefix) append_item(out, l, item, owner);
  }
  for (auto& item : page.items) {
    if (!item.is_prefix) continue;
    out += "<CommonPrefixes>";
    append_name(out, l, "Prefix", item.key);
    out += "</CommonPrefixes>";
  }
}

awaitable<Error> list_v1(Call& c) {
  Listing l;
  if (Error e = parse_listing(c, l)) co_return e;
  l.query.after = c.param("marker");
  l.references = true;
  objects::ListPage page;
  if (Error e = co_await list_page(c, l, page)) co_return e;
  XmlOut xml("ListBucketResult");
  auto root = xml.root();
  add(root, "Name", c.bucket_name);
  l.add(root, "Prefix", l.query.prefix);
  l.add(root, "Marker", l.query.after);
  add(root, "MaxKeys", l.query.limit);
  if (!l.query.delimiter.empty()) l.add(root, "Delimiter", l.query.delimiter);
  if (l.url) add(root, "EncodingType", "url");
  add(root, "IsTruncated", page.truncated ? "true" : "false");
  if (page.truncated && !l.query.delimiter.empty()) {
    l.add(root, "NextMarker", page.next);
  }
  append_items(c, l, page, true, xml.tail());
  reply_xml(c, xml);
  co_return Error{};
}

awaitable<Error> list_v2(Call& c) {
  if (c.param("list-type") != "2") co_return Error{"InvalidArgument", "list-type"};
  Listing l;
  if (Error e = parse_listing(c, l)) co_return e;
  const std::string token = c.param("continuation-token"), start = c.param("start-after");
  const std::string fetch_owner = c.param("fetch-owner");
  if (!fetch_owner.empty() && fetch_owner != "true" && fetch_owner != "false") {
    co_return Error{"InvalidArgument", "fetch-owner"};
  }
  l.query.after = start;
  l.references = true;
  if (c.has_param("continuation-token")) {
    constexpr size_t kTokenMax =
        (kKeyBytesMax + 2) / 3 * 4;  // other doors make keys that S3 does not
    auto decoded = objects::base64_decode(token, kTokenMax);
    if (!decoded) {
      co_return argument_invalid("continuation-token", token,
                                 "The continuation token provided is incorrect");
    }
    if (!decoded->empty()) l.query.after = *decoded;  // an empty one is that of the first page
  }
  objects::ListPage page;
  if (Error e = co_await list_page(c, l, page)) co_return e;
  XmlOut xml("ListBucketResult");
  auto root = xml.root();
  add(root, "Name", c.bucket_name);
  l.add(root, "Prefix", l.query.prefix);
  add(root, "KeyCount", page.items.size());
  add(root, "MaxKeys", l.query.limit);
  if (!l.query.delimiter.empty()) l.add(root, "Delimiter", l.query.delimiter);
  if (l.url) add(root, "EncodingType", "url");
  if (c.has_param("continuation-token")) add(root, "ContinuationToken", token);
  if (!start.empty()) l.add(root, "StartAfter", start);
  add(root, "IsTruncated", page.truncated ? "true" : "false");
  if (page.truncated) add(root, "NextContinuationToken", objects::base64(page.next));
  append_items(c, l, page, fetch_owner == "true", xml.tail());
  reply_xml(c, xml);
  co_return Error{};
}

// ---- DeleteObjects ----

awaitable<Error> delete_objects(Call& c) {
  if (!is_checked(c.request)) {
    co_return Error{"InvalidRequest", "Missing required header for this request: Content-MD5"};
  }
  std::string text;
  if (Error e = co_await read_small(c, 4 << 20, text)) co_return e;
  DeleteBody body;
  if (Error e = parse_delete(text, body)) co_return e;
  XmlOut xml("DeleteResult");
  Lsn newest;
  for (auto& [key, etag, version, modified_at_s, size] : body.objects) {
    objects::Conditions conditions;
    conditions.if_match = etag;
    conditions.if_modified_at_s = modified_at_s;
    conditions.if_size = size;
    const Action& action = version ? action::kDeleteObjectVersion : c.row->action;
    Error e = c.may(action, c.bucket_name, key, version ? &*version : nullptr);
    c.note(action, c.bucket_name, key, !e);
    if (!e) e = may_compare(c, key, conditions);
    conditions.bypass_governance = bypasses_governance(c, key);
    if (!e && version) conditions.version = objects::parse_version_id(*version);
    if (!e && version && !is_version_id(*version)) e = {"NoSuchVersion", ""};
    const bool gone = version && !conditions.version;  // no version is called so
    if (!e && !gone) e = co_await until_idle(c, key);
    objects::Removed removed;
    objects::Refetch refetch(c.store);
    bool again = !e && !gone;
    while (again) {
      auto done = objects::remove(c.store, *c.bucket, key, conditions);
      Status status = done.status();
      again = co_await refetch.again(status);
      if (again) continue;
      e = error_of(status);
      if (status.ok()) removed = *done;
      newest = std::max(newest, status.ok() ? removed.seen : e.rests_on);
    }
    if (!e && body.quiet) continue;
    auto said = add(xml.root(), e ? "Error" : "Deleted");
    add_as_it_came(said, "Key", key);
    if (version) add(said, "VersionId", *version);
    if (!e && removed.marker) {
      add(said, "DeleteMarker", "true");
      add(said, "DeleteMarkerVersionId", removed.version_id);
    }
    if (!e) continue;
    add(said, "Code", e.code);
    add(said, "Message", e.message.empty() ? default_message(e.code) : std::string_view(e.message));
  }
  if (Error e = co_await settle(c, newest)) co_return e;
  reply_xml(c, xml);
  co_return Error{};
}

constexpr Row kRows[] = {
    {"ListBuckets", action::kListAllMyBuckets, "GET", Scope::kService, "", "", list_buckets, "",
     "prefix continuation-token max-buckets bucket-region", false, false, true},
    {"CreateBucket", action::kCreateBucket, "PUT", Scope::kBucket, "", "", create_bucket,
     CAIRN_S3_GRANTS " x-amz-grant-write x-amz-object-ownership x-amz-bucket-object-lock-enabled "
                     "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS,
     "", false, true},
    {"HeadBucket", action::kListBucket, "HEAD", Scope::kBucket, "", "", head_bucket, "", ""},
    {"DeleteBucket", action::kDeleteBucket, "DELETE", Scope::kBucket, "", "", delete_bucket, "",
     ""},
    {"GetBucketLocation", action::kGetBucketLocation, "GET", Scope::kBucket, "location", "",
     get_location, "", ""},
    {"ListObjects", action::kListBucket, "GET", Scope::kBucket, "", "", list_v1,
     "x-amz-optional-object-attributes", "prefix delimiter max-keys encoding-type marker"},
    {"ListObjectsV2", action::kListBucket, "GET", Scope::kBucket, "list-type", "", list_v2,
     "x-amz-optional-object-attributes",
     "prefix delimiter max-keys encoding-type continuation-token start-after fetch-owner"},
    {"DeleteObjects", action::kDeleteObject, "POST", Scope::kBucket, "delete", "", delete_objects,
     "x-amz-bypass-governance-retention x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "", true,
     true, true},
};

}  // namespace

void add_owner(pugi::xml_node parent, const char* name, const Call& c) {
  auto owner = add(parent, name);
  add(owner, "ID", kRootCanonicalId);
  add(owner, "DisplayName", c.owner);
}

std::span<const Row> bucket_rows() { return kRows; }

}  // namespace cairn::s3

// Tags of buckets and objects.
#include "core/base/text.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/service.h"
#include "objects/tags.h"

namespace cairn::s3 {

namespace {

using objects::Tags;
using objects::TagsOf;

constexpr size_t kDocumentMax = 256 << 10;  // 50 tags, each character of them a reference

void reply_tags(Call& c, const Tags& tags) {
  XmlOut xml("Tagging");
  auto set = add(xml.root(), "TagSet");
  for (auto& [name, value] : tags) {
    auto tag = add(set, "Tag");
    add(tag, "Key", name);
    add(tag, "Value", value);
  }
  reply_xml(c, xml);
}

awaitable<Error> read_tags(Call& c, TagsOf what, Tags& tags) {
  std::string text;
  if (Error e = co_await read_small(c, kDocumentMax, text)) co_return e;
  co_return parse_tagging(text, what, tags);
}

// ---- of buckets ----

awaitable<Error> get_of_bucket(Call& c) {
  const auto set = c.bucket->properties();
  if (set->tags.empty()) co_return not_set(c, "NoSuchTagSet");
  reply_tags(c, set->tags);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> set_of_bucket(Call& c, const Tags& tags) {
  if (c.bucket->properties()->tags == tags) co_return co_await settle(c, c.store.newest_name());
  auto lsn = c.store.change_properties(*c.bucket, [&](Properties& p) { p.tags = tags; });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

// 200, as the API reference has it: minio-js takes nothing else for success.
awaitable<Error> put_of_bucket(Call& c) {
  Tags tags;
  if (Error e = co_await read_tags(c, TagsOf::kBucket, tags)) co_return e;
  co_return co_await set_of_bucket(c, tags);
}

awaitable<Error> delete_of_bucket(Call& c) {
  c.response.status = 204;
  const Tags none;
  co_return co_await set_of_bucket(c, none);
}

// ---- of objects ----

awaitable<Error> get_of_object(Call& c) {
  std::optional<Version> version;
  if (Error e = find_version(c, version)) co_return e;
  auto info = objects::stat(c.store, *c.bucket, c.key, version);
  if (!info.ok()) co_return error_of_object(c, info.status());
  if (Error e = co_await settle(c, info->seen)) co_return e;
  say_version(c, info->version_id);
  reply_tags(c, info->meta.tags);
  co_return Error{};
}

awaitable<Error> set_of_object(Call& c, const Tags& tags, Cause cause,
                               const std::optional<Version>& version) {
  auto done = co_await objects::set_tags(c.store, *c.bucket, c.key, tags, cause, version);
  if (!done.ok()) co_return error_of_object(c, done.status());
  say_version(c, done->version_id);
  co_return co_await settle(c, done->seen);
}

awaitable<Error> put_of_object(Call& c) {
  std::optional<Version> version;
  if (Error e = find_version(c, version)) co_return e;
  Tags tags;
  if (Error e = co_await read_tags(c, TagsOf::kObject, tags)) co_return e;
  co_return co_await set_of_object(c, tags, Cause::kTagsPut, version);
}

awaitable<Error> delete_of_object(Call& c) {
  std::optional<Version> version;
  if (Error e = find_version(c, version)) co_return e;
  c.response.status = 204;
  const Tags none;
  co_return co_await set_of_object(c, none, Cause::kTagsDelete, version);
}

constexpr std::string_view kBodyHeaders = "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS;

constexpr Row kRows[] = {
    {"GetBucketTagging", action::kGetBucketTagging, "GET", Scope::kBucket, "tagging", "",
     get_of_bucket, "", ""},
    {"PutBucketTagging", action::kPutBucketTagging, "PUT", Scope::kBucket, "tagging", "",
     put_of_bucket, kBodyHeaders, "", true, true},
    {"DeleteBucketTagging", action::kPutBucketTagging, "DELETE", Scope::kBucket, "tagging", "",
     delete_of_bucket, "", ""},
    {"GetObjectTagging", action::kGetObjectTagging, "GET", Scope::kObject, "tagging", "",
     get_of_object, "", "versionId", true, false, false, action::kGetObjectVersionTagging},
    {"PutObjectTagging", action::kPutObjectTagging, "PUT", Scope::kObject, "tagging", "",
     put_of_object, kBodyHeaders, "versionId", true, true, false, action::kPutObjectVersionTagging},
    {"DeleteObjectTagging", action::kDeleteObjectTagging, "DELETE", Scope::kObject, "tagging", "",
     delete_of_object, "", "versionId", true, false, false, action::kDeleteObjectVersionTagging},
};

}  // namespace

Error tags_of(const Call& c, Tags& tags) {
  constexpr std::string_view kHeader = "x-amz-tagging";
  if (!c.request.has_header(kHeader)) return {};
  if (Error e = parse_tagging_header(c.request.header(kHeader), tags)) return e;
  return tags.empty() ? Error{} : c.may(action::kPutObjectTagging, c.bucket_name, c.key);
}

std::span<const Row> tagging_rows() { return kRows; }

}  // namespace cairn::s3

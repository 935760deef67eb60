// Objects by what they carry: GET BUCKET?find=EXPRESSION, with prefix, max-keys and
// continuation-token as ListObjectsV2 has them; the language is objects/find.h's. It takes the
// right to list; what only who reads an object may know (metadata, tags), or who reads its tags, is
// told of those that the caller may read so. A page may have fewer than max-keys and still be
// truncated.
#include "objects/find.h"

#include "core/base/text.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

constexpr size_t kKeysMax = 1000;

std::optional<std::string> unhex(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string out;
  if (text.size() % 2 != 0) return std::nullopt;
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<char>(high * 16 + low));
  }
  return out;
}

void add_found(const objects::Found& found, bool url, pugi::xml_node to) {
  if (url) {
    add(to, "Key", http::percent_encode(found.key, true));
  } else {
    add_as_it_came(to, "Key", found.key);
  }
  add(to, "LastModified", http::iso_date(found.info.modified_ms));
  add_etag(to, found.info.etag);
  add(to, "Size", found.info.size);
}

awaitable<Error> find_objects(Call& c) {
  const std::string text = c.param("find");
  auto expression = objects::FindExpression::parse(text);
  if (!expression.ok())
    co_return argument_invalid("find", text, std::string(expression.status().message()));
  objects::FindQuery query;
  query.prefix = c.param("prefix");
  if (c.has_param("max-keys")) {
    const auto n = parse_int<uint32_t>(c.param("max-keys"));
    if (!n || *n < 1) co_return argument_invalid("max-keys", c.param("max-keys"), "max-keys");
    query.limit = std::min<size_t>(*n, kKeysMax);
  }
  const std::string token = c.param("continuation-token");
  const auto after = unhex(token);
  if (!after) co_return argument_invalid("continuation-token", token, "The token is none");
  query.after = *after;
  auto page = co_await objects::find(c.store, c.bucket, *expression, query);
  if (!page.ok()) co_return error_of(page.status());
  if (Error e = co_await settle(c, page->newest)) co_return e;
  // What is asked of an object is told to who may read it.
  std::erase_if(page->items, [&](const objects::Found& found) {
    return (expression->asks_metadata() &&
            c.may(action::kGetObject, c.bucket_name, found.key, nullptr)) ||
           (expression->asks_tags() &&
            c.may(action::kGetObjectTagging, c.bucket_name, found.key, nullptr));
  });
  const bool url = !std::all_of(page->items.begin(), page->items.end(),
                                [](auto& found) { return can_be_written(found.key); });
  XmlOut xml("FindResult");
  add(xml.root(), "Name", c.bucket->name);
  add_as_it_came(xml.root(), "Prefix", can_be_written(query.prefix) ? query.prefix : "");
  add(xml.root(), "KeyCount", static_cast<uint64_t>(page->items.size()));
  add(xml.root(), "MaxKeys", static_cast<uint64_t>(query.limit));
  if (url) add(xml.root(), "EncodingType", "url");
  add(xml.root(), "IsTruncated", page->truncated ? "true" : "false");
  if (page->truncated) add(xml.root(), "NextContinuationToken", objects::hex(page->next));
  for (const objects::Found& found : page->items) {
    add_found(found, url, add(xml.root(), "Contents"));
  }
  reply_xml(c, xml);
  co_return Error{};
}

constexpr Row kRows[] = {
    {"FindObjects", action::kListBucket, "GET", Scope::kBucket, "find", "", find_objects, "",
     "prefix max-keys continuation-token"},
};

}  // namespace

std::span<const Row> find_rows() { return kRows; }

}  // namespace cairn::s3

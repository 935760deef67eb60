#include "gateway/http/s3/cors.h"

#include <algorithm>

#include "core/base/text.h"
#include "gateway/http/s3/bodies.h"
#include "objects/metadata.h"

namespace cairn::s3 {

namespace {

constexpr std::string_view kMethods[] = {"GET", "PUT", "POST", "DELETE", "HEAD"};
constexpr size_t kRulesMax = 100, kIdMax = 255, kDocumentMax = 64 << 10;
constexpr std::string_view kVary =
    "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

// At most one '*' in the pattern stands for any text.
bool matches(std::string_view pattern, std::string_view text) {
  const size_t star = pattern.find('*');
  if (star == pattern.npos) return pattern == text;
  const std::string_view end = pattern.substr(star + 1);
  return text.size() + 1 >= pattern.size() && text.starts_with(pattern.substr(0, star)) &&
         text.ends_with(end);
}
// The same of names of headers, whose case does not matter.
bool matches_name(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == pattern.npos) return equals_ignoring_case(pattern, name);
  const std::string_view end = pattern.substr(star + 1);
  return name.size() + 1 >= pattern.size() &&
         equals_ignoring_case(name.substr(0, star), pattern.substr(0, star)) &&
         equals_ignoring_case(name.substr(name.size() - end.size()), end);
}

// The names in a list of headers, in lower case.
std::vector<std::string> names_in(std::string_view list) {
  std::vector<std::string> names;
  while (!list.empty()) {
    const size_t comma = list.find(',');
    std::string_view one = list.substr(0, comma);
    list.remove_prefix(comma == list.npos ? list.size() : comma + 1);
    while (one.starts_with(' ') || one.starts_with('\t')) one.remove_prefix(1);
    while (one.ends_with(' ') || one.ends_with('\t')) one.remove_suffix(1);
    if (!one.empty()) names.push_back(lower(one));
  }
  return names;
}

std::string listed(const std::vector<std::string>& texts) {
  std::string out;
  for (auto& text : texts) append(out, out.empty() ? "" : ", ", text);
  return out;
}

bool allows_headers(const CorsRule& rule, std::string_view list) {
  const auto names = names_in(list);
  // No browser asks for so many, and anybody may ask.
  constexpr size_t kNamesMax = 256;
  if (names.size() > kNamesMax) return false;
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    return std::any_of(rule.headers.begin(), rule.headers.end(),
                       [&](const std::string& header) { return matches_name(header, name); });
  });
}

void set_headers(Call& c, const CorsMatch& match) {
  http::Response& r = c.response;
  const CorsRule& rule = *match.rule;
  if (match.origin == "*") {
    r.set("Access-Control-Allow-Origin", "*");
  } else {
    r.set("Access-Control-Allow-Origin", c.request.header("origin"));
    r.set("Access-Control-Allow-Credentials", "true");
  }
  r.set("Access-Control-Allow-Methods", listed(rule.methods));
  const auto asked = names_in(c.request.header("access-control-request-headers"));
  if (!asked.empty()) r.set("Access-Control-Allow-Headers", listed(asked));
  if (!rule.exposed.empty()) r.set("Access-Control-Expose-Headers", listed(rule.exposed));
  if (rule.max_age_s) r.set("Access-Control-Max-Age", cat(*rule.max_age_s));
}

// What the request is, or is to become: a browser says it in a header.
std::string_view method_of(const http::Request& r) {
  const std::string_view asked = r.header("access-control-request-method");
  return asked.empty() ? std::string_view(r.method) : asked;
}

Error forbidden(const Call& c, std::string_view why, std::string_view what) {
  return {"AccessForbidden",
          cat("CORSResponse: ", why),
          c.store.newest_name(),
          {{"Method", std::string(method_of(c.request))}, {"ResourceType", std::string(what)}}};
}

}  // namespace

CorsMatch find_rule(const std::vector<CorsRule>& rules, std::string_view origin,
                    std::string_view method, std::string_view headers) {
  for (const CorsRule& rule : rules) {
    if (std::find(rule.methods.begin(), rule.methods.end(), method) == rule.methods.end()) continue;
    const auto own = std::find_if(rule.origins.begin(), rule.origins.end(),
                                  [&](const std::string& one) { return matches(one, origin); });
    if (own != rule.origins.end() && allows_headers(rule, headers)) return {&rule, *own};
  }
  return {};
}

void answer_origin(Call& c) {
  if (c.bucket_name.empty()) return;
  const NamespacePtr bucket = c.store.find_namespace(c.bucket_name);
  const auto set = bucket == nullptr ? nullptr : bucket->properties();
  if (set == nullptr || set->cors.empty()) return;
  c.response.set("Vary", kVary);
  if (!c.request.has_header("origin")) return;
  const auto match = find_rule(set->cors, c.request.header("origin"), method_of(c.request),
                               c.request.header("access-control-request-headers"));
  if (match.rule != nullptr) set_headers(c, match);
}

awaitable<Error> preflight(Call& c) {
  if (!c.request.has_header("origin")) {
    co_return Error{"BadRequest", "Insufficient information. Origin request header needed."};
  }
  const NamespacePtr bucket = c.store.find_namespace(c.bucket_name);
  if (bucket == nullptr) co_return forbidden(c, "Bucket not found", "BUCKET");
  const auto set = bucket->properties();
  if (set->cors.empty()) {
    co_return forbidden(c, "CORS is not enabled for this bucket.", "BUCKET");
  }
  if (!c.request.has_header("access-control-request-method")) {
    co_return Error{"BadRequest", "Invalid Access-Control-Request-Method: null"};
  }
  const auto match = find_rule(set->cors, c.request.header("origin"), method_of(c.request),
                               c.request.header("access-control-request-headers"));
  if (match.rule == nullptr) {
    co_return forbidden(c,
                        "This CORS request is not allowed. This is usually because the evalution "
                        "of Origin, request method / Access-Control-Request-Method or "
                        "Access-Control-Request-Headers are not whitelisted by the resource's "
                        "CORS spec.",
                        c.key.empty() ? "BUCKET" : "OBJECT");
  }
  set_headers(c, match);
  c.response.set("Vary", kVary);
  co_return co_await settle(c, c.store.newest_name());
}

// ---- the document ----

namespace {

bool texts_of(const pugi::xml_node& of, const char* name, std::vector<std::string>& texts) {
  for (auto node : of.children(name)) {
    auto text = text_of(node);
    if (!text || !objects::is_field_value(*text)) return false;  // it becomes a header
    texts.push_back(std::move(*text));
  }
  return true;
}

// Whether it has the form of a rule; what it says is judged later.
bool read_rule(const pugi::xml_node& node, CorsRule& rule) {
  constexpr std::string_view kNames =
      "ID AllowedHeader AllowedMethod AllowedOrigin ExposeHeader MaxAgeSeconds";
  if (!only_elements(node, kNames) || !texts_of(node, "AllowedOrigin", rule.origins) ||
      !texts_of(node, "AllowedMethod", rule.methods) ||
      !texts_of(node, "AllowedHeader", rule.headers) ||
      !texts_of(node, "ExposeHeader", rule.exposed) || rule.origins.empty() ||
      rule.methods.empty()) {
    return false;
  }
  bool twice = false;
  if (const auto id = single(node, "ID", twice)) {
    auto text = text_of(id);
    if (!text || text->size() > kIdMax) return false;
    rule.id = std::move(*text);
  }
  if (const auto age = single(node, "MaxAgeSeconds", twice)) {
    const auto seconds = parse_int<int32_t>(text_of(age).value_or(""));
    if (!seconds || *seconds < 0) return false;
    rule.max_age_s = static_cast<uint32_t>(*seconds);
  }
  return !twice;
}

Error check_rule(const CorsRule& rule) {
  for (auto& method : rule.methods) {
    if (std::find(std::begin(kMethods), std::end(kMethods), method) == std::end(kMethods)) {
      return {"InvalidRequest",
              cat("Found unsupported HTTP method in CORS config. Unsupported method is ", method)};
    }
  }
  for (auto& [name, texts] :
       {std::pair{"AllowedOrigin", &rule.origins}, std::pair{"AllowedHeader", &rule.headers}}) {
    for (auto& text : *texts) {
      if (std::count(text.begin(), text.end(), '*') > 1) {
        return {"InvalidRequest",
                cat(name, " \"", text, "\" can not have more than one wildcard.")};
      }
    }
  }
  for (auto& header : rule.exposed) {
    if (header.find('*') != header.npos) {
      return {"InvalidRequest", cat("ExposeHeader \"", header,
                                    "\" contains wildcard. We currently do not support wildcard "
                                    "for ExposeHeader.")};
    }
  }
  return {};
}

void add_rule(pugi::xml_node to, const CorsRule& rule) {
  auto node = add(to, "CORSRule");
  if (!rule.id.empty()) add(node, "ID", rule.id);
  for (auto& [name, texts] :
       {std::pair{"AllowedHeader", &rule.headers}, std::pair{"AllowedMethod", &rule.methods},
        std::pair{"AllowedOrigin", &rule.origins}, std::pair{"ExposeHeader", &rule.exposed}}) {
    for (auto& text : *texts) add(node, name, text);
  }
  if (rule.max_age_s) add(node, "MaxAgeSeconds", *rule.max_age_s);
}

awaitable<Error> get_cors(Call& c) {
  const auto set = c.bucket->properties();
  if (set->cors.empty()) co_return not_set(c, "NoSuchCORSConfiguration");
  XmlOut xml("CORSConfiguration");
  for (const CorsRule& rule : set->cors) add_rule(xml.root(), rule);
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> set_cors(Call& c, const std::vector<CorsRule>& rules) {
  if (c.bucket->properties()->cors == rules) co_return co_await settle(c, c.store.newest_name());
  auto lsn = c.store.change_properties(*c.bucket, [&](Properties& p) { p.cors = rules; });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

awaitable<Error> put_cors(Call& c) {
  std::string text;
  if (Error e = co_await read_small(c, kDocumentMax, text)) co_return e;
  std::vector<CorsRule> rules;
  if (Error e = parse_cors(text, rules)) co_return e;
  co_return co_await set_cors(c, rules);
}

awaitable<Error> delete_cors(Call& c) {
  c.response.status = 204;
  const std::vector<CorsRule> none;
  co_return co_await set_cors(c, none);
}

constexpr Row kRows[] = {
    {"GetBucketCors", action::kGetBucketCors, "GET", Scope::kBucket, "cors", "", get_cors, "", ""},
    {"PutBucketCors", action::kPutBucketCors, "PUT", Scope::kBucket, "cors", "", put_cors,
     "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "", true, true},
    {"DeleteBucketCors", action::kPutBucketCors, "DELETE", Scope::kBucket, "cors", "", delete_cors,
     "", ""},
};

}  // namespace

Error parse_cors(const std::string& xml, std::vector<CorsRule>& rules) {
  if (xml.empty()) return {"MissingRequestBodyError", ""};
  XmlIn in;
  Error malformed{"MalformedXML", ""};
  if (!in.parse(xml, "CORSConfiguration") || !only_elements(in.root(), "CORSRule")) {
    return malformed;
  }
  for (auto node : in.root().children("CORSRule")) {
    if (rules.size() == kRulesMax || !read_rule(node, rules.emplace_back())) return malformed;
  }
  if (rules.empty()) return malformed;
  for (const CorsRule& rule : rules) {
    if (Error e = check_rule(rule)) return e;
  }
  return {};
}

std::span<const Row> cors_rows() { return kRows; }

}  // namespace cairn::s3

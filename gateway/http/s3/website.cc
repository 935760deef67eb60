#include "gateway/http/s3/website.h"

#include <algorithm>

#include "core/base/text.h"
#include "gateway/http/s3/bodies.h"
#include "objects/metadata.h"

namespace cairn::s3 {

namespace {

// ---- the document ----

constexpr size_t kDocumentMax = 256 << 10, kRulesMax = 50;

// The text of the one child of this name; nothing if there is none. `fine` becomes false if it is
// there and has no text, or twice.
std::optional<std::string> text_in(const pugi::xml_node& node, const char* name, bool& fine) {
  bool twice = false;
  const auto child = single(node, name, twice);
  fine = fine && !twice;
  if (!child) return std::nullopt;
  auto text = text_of(child);
  fine = fine && text.has_value() && objects::is_field_value(*text);  // it may become a header
  return text;
}

Error invalid(std::string message) { return {"InvalidRequest", std::move(message)}; }

Error check_protocol(const std::string& protocol) {
  if (protocol.empty() || protocol == "http" || protocol == "https") return {};
  return invalid(
      "Invalid protocol, protocol can be http or https. If not defined the protocol will be "
      "selected automatically.");
}

// A code of HTTP, 0 if there is none.
bool take_code(const std::optional<std::string>& text, uint16_t& code) {
  if (!text) return true;
  const auto number = parse_int<uint16_t>(*text);
  if (number) code = *number;
  return number.has_value();
}

Error parse_rule(const pugi::xml_node& node, RoutingRule& rule) {
  bool fine = only_elements(node, "Condition Redirect"), twice = false;
  const auto condition = single(node, "Condition", twice);
  const auto redirect = single(node, "Redirect", twice);
  if (!fine || twice || !redirect) return {"MalformedXML", ""};
  if (condition) {
    fine = only_elements(condition, "KeyPrefixEquals HttpErrorCodeReturnedEquals");
    rule.prefix = text_in(condition, "KeyPrefixEquals", fine);
    const auto error = text_in(condition, "HttpErrorCodeReturnedEquals", fine);
    fine = fine && (rule.prefix || error);
    if (error && (!take_code(error, rule.error) || rule.error < 400 || rule.error > 599)) {
      return invalid(cat("The provided HTTP error code (", *error,
                         ") is not valid. Valid codes are 4XX or 5XX."));
    }
  }
  fine = fine && only_elements(redirect,
                               "Protocol HostName ReplaceKeyPrefixWith ReplaceKeyWith "
                               "HttpRedirectCode");
  rule.protocol = text_in(redirect, "Protocol", fine).value_or("");
  rule.host = text_in(redirect, "HostName", fine).value_or("");
  rule.replace_prefix = text_in(redirect, "ReplaceKeyPrefixWith", fine);
  rule.replace_key = text_in(redirect, "ReplaceKeyWith", fine);
  const auto status = text_in(redirect, "HttpRedirectCode", fine);
  const bool leads = !rule.protocol.empty() || !rule.host.empty() || rule.replace_prefix ||
                     rule.replace_key || status;
  if (!fine || !leads) return {"MalformedXML", ""};
  if (Error e = check_protocol(rule.protocol)) return e;
  if (status && (!take_code(status, rule.status) || rule.status < 301 || rule.status > 399)) {
    return invalid(cat("The provided HTTP redirect code (", *status,
                       ") is not valid. Valid codes are 3XX except 300."));
  }
  if (rule.replace_prefix && rule.replace_key) {
    return invalid("You can only define ReplaceKeyPrefix or ReplaceKey but not both.");
  }
  return {};
}

Error parse_redirect_all(const pugi::xml_node& node, Website& site) {
  bool fine = only_elements(node, "HostName Protocol");
  site.host = text_in(node, "HostName", fine).value_or("");
  site.protocol = text_in(node, "Protocol", fine).value_or("");
  if (!fine || site.host.empty()) return {"MalformedXML", ""};
  return check_protocol(site.protocol);
}

Error parse_pages(const pugi::xml_node& root, Website& site) {
  bool fine = true, twice = false;
  const auto index = single(root, "IndexDocument", twice);
  const auto error = single(root, "ErrorDocument", twice);
  const auto rules = single(root, "RoutingRules", twice);
  if (twice) return {"MalformedXML", ""};
  if (!index) {
    return argument_invalid(
        "IndexDocument", "null",
        "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty");
  }
  fine = only_elements(index, "Suffix");
  site.index = text_in(index, "Suffix", fine).value_or("");
  if (error) {
    fine = fine && only_elements(error, "Key");
    site.error = text_in(error, "Key", fine).value_or("");
    fine = fine && !site.error.empty();
  }
  if (!fine) return {"MalformedXML", ""};
  if (site.index.empty() || site.index.find('/') != std::string::npos) {
    return argument_invalid("IndexDocument", site.index,
                            "The IndexDocument Suffix is not well formed");
  }
  if (!rules) return {};
  if (!only_elements(rules, "RoutingRule")) return {"MalformedXML", ""};
  for (const auto node : rules.children("RoutingRule")) {
    if (site.rules.size() == kRulesMax) {
      return invalid(cat(kRulesMax, " routing rules is the maximum"));
    }
    if (Error e = parse_rule(node, site.rules.emplace_back())) return e;
  }
  return {};
}

void add_text(pugi::xml_node to, const char* name, const std::optional<std::string>& text) {
  if (text) add(to, name, *text);
}
std::optional<std::string> some(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional(text);
}

void add_rule(pugi::xml_node to, const RoutingRule& rule) {
  auto node = add(to, "RoutingRule");
  if (rule.prefix || rule.error != 0) {
    auto condition = add(node, "Condition");
    add_text(condition, "KeyPrefixEquals", rule.prefix);
    if (rule.error != 0) add(condition, "HttpErrorCodeReturnedEquals", rule.error);
  }
  auto redirect = add(node, "Redirect");
  add_text(redirect, "Protocol", some(rule.protocol));
  add_text(redirect, "HostName", some(rule.host));
  add_text(redirect, "ReplaceKeyPrefixWith", rule.replace_prefix);
  add_text(redirect, "ReplaceKeyWith", rule.replace_key);
  if (rule.status != 0) add(redirect, "HttpRedirectCode", rule.status);
}

// ---- operations ----

awaitable<Error> get_website(Call& c) {
  const auto set = c.bucket->properties();
  if (!set->website) co_return not_set(c, "NoSuchWebsiteConfiguration");
  const Website& site = *set->website;
  XmlOut xml("WebsiteConfiguration");
  if (!site.host.empty()) {
    auto all = add(xml.root(), "RedirectAllRequestsTo");
    add(all, "HostName", site.host);
    add_text(all, "Protocol", some(site.protocol));
  } else {
    add(add(xml.root(), "IndexDocument"), "Suffix", site.index);
  }
  if (!site.error.empty()) add(add(xml.root(), "ErrorDocument"), "Key", site.error);
  if (!site.rules.empty()) {
    auto rules = add(xml.root(), "RoutingRules");
    for (const RoutingRule& rule : site.rules) add_rule(rules, rule);
  }
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> put_website(Call& c) {
  std::string text;
  if (Error e = co_await read_small(c, kDocumentMax, text)) co_return e;
  Website site;
  if (Error e = parse_website(text, site)) co_return e;
  auto lsn = c.store.change_properties(*c.bucket, [&](Properties& p) { p.website = site; });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

awaitable<Error> delete_website(Call& c) {
  c.response.status = 204;
  auto lsn = c.store.change_properties(*c.bucket, [](Properties& p) { p.website.reset(); });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

constexpr Action writing(std::string_view name) { return {action::kDoor, name, Access::kWrite}; }

constexpr Row kRows[] = {
    {"GetBucketWebsite",
     {action::kDoor, "GetBucketWebsite", Access::kRead},
     "GET",
     Scope::kBucket,
     "website",
     "",
     get_website,
     "",
     ""},
    {"PutBucketWebsite", writing("PutBucketWebsite"), "PUT", Scope::kBucket, "website", "",
     put_website, "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "", true, true},
    {"DeleteBucketWebsite", writing("DeleteBucketWebsite"), "DELETE", Scope::kBucket, "website", "",
     delete_website, "", ""},
};

// ---- serving ----

void redirect(Call& c, int status, std::string_view protocol, std::string_view host,
              std::string_view key) {
  if (protocol.empty()) protocol = c.request.secure ? "https" : "http";
  if (host.empty()) host = c.request.header("host");
  c.response.status = status;
  c.response.set("Location", cat(protocol, "://", host, "/", http::percent_encode(key, true)));
  c.response.content_length = 0;
}

// The first rule for this key, where the answer would be this error (0: before there is one).
const RoutingRule* find_rule(const Website& site, std::string_view key, int error) {
  for (const RoutingRule& rule : site.rules) {
    if (rule.error != error) continue;
    if (!rule.prefix || key.starts_with(*rule.prefix)) return &rule;
  }
  return nullptr;
}

void follow(Call& c, const RoutingRule& rule, std::string_view key) {
  std::string to(key);
  if (rule.replace_key) to = *rule.replace_key;
  if (rule.replace_prefix) {
    const std::string_view prefix = rule.prefix ? std::string_view(*rule.prefix) : "";
    to = cat(*rule.replace_prefix, key.starts_with(prefix) ? key.substr(prefix.size()) : key);
  }
  redirect(c, rule.status == 0 ? 301 : rule.status, rule.protocol, rule.host, to);
}

// The object, with the rights of everybody; its answer is that of the API.
awaitable<Error> fetch(Call& c, const std::string& key, bool whole) {
  const auto rows = object_rows();
  const Row* get = std::find_if(rows.data(), rows.data() + rows.size(),
                                [&](const Row& row) { return row.name == "GetObject"; });
  http::Request request;
  request.method = c.request.method;
  request.raw_path = c.request.raw_path;
  request.peer = c.request.peer;
  request.secure = c.request.secure;
  request.body = c.request.body;
  for (const auto& [name, value] : c.request.headers) {
    const bool carries = name == "range" || name == "user-agent" || name == "referer" ||
                         name == "host" || name.starts_with("if-");
    const bool conditional = name == "range" || name.starts_with("if-");
    if (carries && !(whole && conditional)) request.headers[name] = value;
  }
  Call inner{c.store, request, c.response, c.auth, c.bucket_name, key, c.bucket,
             c.body,  c.owner, c.region,   get};
  inner.users = c.users;
  if (Error e = inner.may(action::kGetObject, inner.bucket_name, key)) co_return e;
  if (Error e = co_await until_idle(inner, key)) co_return e;
  Error done = co_await get->run(inner);
  if (done.code == "NoSuchKey" && inner.may(action::kListBucket, inner.bucket_name)) {
    done = {"AccessDenied", "", done.rests_on};
  }
  if (done.code == "NoSuchKey") done.fields = {{"Key", key}};
  co_return done;
}

void forget_answer(http::Response& r, size_t headers) {
  while (r.headers.size() > headers) r.headers.drop_last();
  r.status = 200;
  r.body.clear();
  r.stream.reset();
  r.content_length.reset();
}

// An object that sends elsewhere who asks for it.
void lead_on(Call& c, size_t headers) {
  const auto& all = c.response.headers;
  const auto it = std::find_if(all.begin(), all.end(), [](const auto& header) {
    return header.first == "x-amz-website-redirect-location";
  });
  if (it == all.end()) return;
  const std::string to = it->second;
  forget_answer(c.response, headers);
  c.response.status = 301;
  c.response.set("Location", to);
  c.response.content_length = 0;
}

bool is_missing(const Error& e) { return e.code == "NoSuchKey" || e.code == "AccessDenied"; }

// Whether "key/" is a page, so that "key" leads there.
awaitable<bool> is_directory(Call& c, const Website& site, const std::string& key) {
  const std::string index = cat(key, "/", site.index);
  const Error denied = c.may(action::kGetObject, c.bucket_name, index);
  if (denied) co_return false;
  co_return objects::stat(c.store, *c.bucket, index).ok();
}

}  // namespace

Error parse_website(const std::string& xml, Website& site) {
  if (xml.empty()) return {"MissingRequestBodyError", ""};
  XmlIn in;
  if (!in.parse(xml, "WebsiteConfiguration") ||
      !only_elements(in.root(), "IndexDocument ErrorDocument RedirectAllRequestsTo RoutingRules")) {
    return {"MalformedXML", ""};
  }
  bool twice = false;
  const auto all = single(in.root(), "RedirectAllRequestsTo", twice);
  if (twice) return {"MalformedXML", ""};
  if (!all) return parse_pages(in.root(), site);
  for (const char* name : {"IndexDocument", "ErrorDocument", "RoutingRules"}) {
    if (!in.root().child(name)) continue;
    return invalid(cat(name, " cannot be provided in conjunction with RedirectAllRequestsTo"));
  }
  return parse_redirect_all(all, site);
}

std::string_view site_of_host(std::string_view bucket, std::string_view region) {
  constexpr std::string_view kMark = ".s3-website";
  const size_t at = bucket.rfind('.');
  if (at == bucket.npos || at == 0) return {};
  const std::string_view label = bucket.substr(at);
  if (!equals_ignoring_case(label.substr(0, kMark.size()), kMark)) return {};
  const std::string_view behind = label.substr(kMark.size());
  const bool is_site =
      behind.empty() || (behind[0] == '-' && equals_ignoring_case(behind.substr(1), region));
  return is_site ? bucket.substr(0, at) : std::string_view();
}

awaitable<Error> serve_site(Call& c) {
  c.auth.anonymous = true;
  c.auth.principal = c.users->anybody();
  if (c.request.method != "GET" && c.request.method != "HEAD") {
    co_return Error{"MethodNotAllowed", ""};
  }
  if (Error e = co_await enter_bucket(c)) co_return e;
  const auto set = c.bucket->properties();
  if (!set->website) co_return not_set(c, "NoSuchWebsiteConfiguration");
  const Website& site = *set->website;
  if (!site.host.empty()) {
    redirect(c, 301, site.protocol, site.host, c.key);
    co_return Error{};
  }
  const std::string asked = c.key;
  if (const RoutingRule* rule = find_rule(site, asked, 0)) {
    follow(c, *rule, asked);
    co_return Error{};
  }
  const bool of_directory = asked.empty() || asked.ends_with('/');
  const std::string page = of_directory ? cat(asked, site.index) : asked;
  if (page.size() > objects::kObjectKeyMax) co_return Error{"KeyTooLongError", ""};
  const size_t headers = c.response.headers.size();
  Error e = co_await fetch(c, page, false);
  if (!e) {
    lead_on(c, headers);
    co_return e;
  }
  forget_answer(c.response, headers);
  if (is_missing(e) && !of_directory) {
    const bool leads = co_await is_directory(c, site, asked);
    if (leads) {
      redirect(c, 302, "", "", cat(asked, "/"));
      co_return Error{};
    }
  }
  const int status = http_status(e.code);
  if (const RoutingRule* rule = find_rule(site, asked, status)) {
    follow(c, *rule, asked);
    co_return Error{};
  }
  if (site.error.empty() || status < 400 || status > 499) co_return e;
  const Error none = co_await fetch(c, site.error, true);
  if (none) {
    forget_answer(c.response, headers);
    co_return e;
  }
  c.response.status = status;
  co_return Error{};
}

std::string error_page(const Error& e, std::string_view request_id) {
  const int status = http_status(e.code);
  constexpr std::pair<int, std::string_view> kTitles[] = {{400, "Bad Request"},
                                                          {403, "Forbidden"},
                                                          {404, "Not Found"},
                                                          {405, "Method Not Allowed"},
                                                          {412, "Precondition Failed"},
                                                          {416, "Requested Range Not Satisfiable"},
                                                          {500, "Internal Server Error"},
                                                          {503, "Service Unavailable"}};
  std::string title = cat(status);
  for (const auto& [code, name] : kTitles) {
    if (code == status) append(title, " ", name);
  }
  XmlOut html("html", false);
  add(add(html.root(), "head"), "title", title);
  auto body = add(html.root(), "body");
  add(body, "h1", title);
  auto list = add(body, "ul");
  add(list, "li", cat("Code: ", e.code));
  add(list, "li",
      cat("Message: ", e.message.empty() ? default_message(e.code) : std::string_view(e.message)));
  for (const auto& [name, value] : e.fields) add(list, "li", cat(name, ": ", value));
  add(list, "li", cat("RequestId: ", request_id));
  add(body, "hr");
  std::string text = html.text();
  return text.starts_with(kXmlHead) ? text.substr(std::string_view(kXmlHead).size()) : text;
}

std::span<const Row> website_rows() { return kRows; }

}  // namespace cairn::s3

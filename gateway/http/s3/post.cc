#include "gateway/http/s3/post.h"

#include <algorithm>

#include "core/base/text.h"
#include "gateway/http/head.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/carried.h"
#include "gateway/http/s3/encryption.h"
#include "gateway/http/s3/form.h"
#include "gateway/http/s3/object_lock.h"
#include "gateway/http/s3/post_policy.h"

namespace cairn::s3 {

namespace {

using Fields = std::map<std::string, std::string>;

awaitable<Error> not_a_form(Call&) {
  co_return Error{"PreconditionFailed",
                  "",
                  {},
                  {{"Condition", "Bucket POST must be of the enclosure-type multipart/form-data"}}};
}

constexpr Row kRows[] = {
    {"PostObject", action::kPutObject, "POST", Scope::kBucket, "", "", not_a_form,
     "x-amz-acl x-amz-website-redirect-location x-amz-storage-class x-amz-meta-* x-amz-tagging "
     "x-cairn-ttl " CAIRN_S3_LOCKS CAIRN_S3_ENCRYPTION CAIRN_S3_CHECKSUMS,
     ""},
};

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (size_t at = 0; (at = text.find(what, at)) != text.npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
}

// The name of the file, wherever a field wants it.
Error expand(Fields& fields, std::string_view file_name) {
  constexpr std::string_view kName = "${filename}";
  for (auto& [name, value] : fields) {
    if (name == "policy") continue;
    size_t bytes = value.size();
    for (size_t at = 0; (at = value.find(kName, at)) != value.npos; at += kName.size()) {
      bytes += file_name.size();
    }
    if (bytes > kFormFieldsMax) return {"MaxPostPreDataLengthExceededError", ""};
    replace_all(value, kName, file_name);
  }
  return {};
}

std::string key_of(const Fields& fields) {
  const auto credential = fields.find("x-amz-credential");
  if (credential != fields.end()) return credential->second.substr(0, credential->second.find('/'));
  const auto key = fields.find("awsaccesskeyid");
  return key == fields.end() ? "" : key->second;
}

// What a PUT would have in headers is in fields.
Error make_headers(const Fields& fields, http::Request& r) {
  constexpr std::string_view kOfSignature[] = {"x-amz-algorithm", "x-amz-credential", "x-amz-date",
                                               "x-amz-signature"};
  constexpr std::string_view kOwn[] = {
      "cache-control", "content-disposition", "content-encoding", "content-language",
      "content-md5",   "content-type",        "expires"};
  for (auto& [name, value] : fields) {
    const auto is_one_of = [&name = name](auto& names) {
      return std::find(std::begin(names), std::end(names), name) != std::end(names);
    };
    std::string header = name;
    std::string text = value;
    if (name == "acl") {
      header = "x-amz-acl";
    } else if (name == "tagging") {
      header = "x-amz-tagging";
      objects::Tags tags;
      if (Error e = parse_tagging(value, objects::TagsOf::kObject, tags)) return e;
      text.clear();
      for (auto& [tag, of_tag] : tags) {
        append(text, text.empty() ? "" : "&", http::percent_encode(tag, false), "=",
               http::percent_encode(of_tag, false));
      }
    } else if (name == "x-amz-content-sha256") {
      return {"NotImplemented", "Cairn does not have the field x-amz-content-sha256"};
    } else if (is_one_of(kOfSignature) || (!governed(name) && !is_one_of(kOwn))) {
      continue;
    }
    if (!http::is_field_name(header) || !http::is_field_value(text)) {
      return {"InvalidArgument",
              cat("The field ", name, " is no header"),
              {},
              {{"ArgumentName", name}}};
    }
    r.headers[header] = text;
  }
  return {};
}

bool is_web_address(std::string_view text) {
  return (text.starts_with("http://") || text.starts_with("https://")) &&
         text.find_first_of(" \"<>\\") == text.npos && http::is_field_value(text);
}

void answer(Call& c, const Fields& fields, bool by_host) {
  http::Response& r = c.response;
  const auto field = [&](const char* name) -> std::string {
    const auto it = fields.find(name);
    return it == fields.end() ? "" : it->second;
  };
  std::string etag;
  for (auto& [name, value] : r.headers) {
    if (name == "ETag") etag = value;
  }
  const std::string location =
      cat(c.request.secure ? "https://" : "http://", c.request.header("host"),
          by_host ? "" : cat("/", c.bucket_name), "/", http::percent_encode(c.key, true));
  const std::string redirect = fields.contains("success_action_redirect")
                                   ? field("success_action_redirect")
                                   : field("redirect");
  if (is_web_address(redirect)) {
    r.status = 303;
    r.set("Location", cat(redirect, redirect.find('?') == redirect.npos ? "?" : "&",
                          "bucket=", http::percent_encode(c.bucket_name, false),
                          "&key=", http::percent_encode(c.key, false),
                          "&etag=", http::percent_encode(etag, false)));
    return;
  }
  const std::string status = field("success_action_status");
  r.status = status == "200" ? 200 : status == "201" ? 201 : 204;
  r.set("Location", location);
  if (r.status != 201) return;
  XmlOut xml("PostResponse", false);
  add(xml.root(), "Location", location);
  add(xml.root(), "Bucket", c.bucket_name);
  add(xml.root(), "Key", c.key);
  add(xml.root(), "ETag", etag);
  reply_xml(c, xml);
}

Error lacks(std::string_view name) {
  return {"InvalidArgument",
          cat("Bucket POST must contain a field named '", name,
              "'.  If it is specified, please check the order of the fields."),
          {},
          {{"ArgumentName", std::string(name)}, {"ArgumentValue", ""}}};
}

// That of the form as a whole; then `c` is that of the object.
Error admit(Call& c, Authenticator& authenticator, Form& form) {
  Fields& fields = form.fields();
  if (!form.has_file()) {
    return {"InvalidArgument",
            "POST requires exactly one file upload per request.",
            {},
            {{"ArgumentName", "file"}, {"ArgumentValue", "0"}}};
  }
  if (!fields.contains("key")) return lacks("key");
  if (Error e = authenticator.authenticate_form(fields, c.store.now_ms(), c.auth)) return e;
  if (c.is_anonymous()) {  // nobody says what the form may have
    if (Error e = expand(fields, form.file_name())) return e;
  } else {
    PostPolicy policy;
    if (Error e = parse_post_policy(fields["policy"], policy)) return e;
    if (Error e = expand(fields, form.file_name())) return e;
    if (Error e = check_post_policy(policy, fields, c.bucket_name, c.store.now_ms())) return e;
    form.set_range(policy.bytes_least, policy.bytes_most);
  }
  c.key = fields["key"];
  if (c.key.empty()) return lacks("key");
  if (c.key.size() > objects::kObjectKeyMax) return {"KeyTooLongError", ""};
  return {};
}

}  // namespace

bool is_form(const Call& c) {
  return c.request.method == "POST" && c.key.empty() && !c.bucket_name.empty() &&
         lower(c.request.header("content-type")).starts_with("multipart/form-data");
}

awaitable<Error> post_form(Call& c, Authenticator& authenticator, std::string& claimed_key) {
  if (!c.request.query.empty()) co_return absent(c);
  const auto boundary = boundary_of(c.request.header("content-type"));
  if (!boundary) co_return Error{"MalformedPOSTRequest", ""};
  Form form(*c.request.body, *boundary);
  c.request.body->wait_briefly(true);
  if (Error e = co_await form.read_fields()) co_return e;
  c.request.body->wait_briefly(false);
  claimed_key = key_of(form.fields());
  if (Error e = admit(c, authenticator, form)) co_return e;
  http::Request request;
  request.method = c.request.method;
  request.raw_path = c.request.raw_path;
  request.secure = c.request.secure;
  request.from_loopback = c.request.from_loopback;
  request.peer = c.request.peer;
  request.headers["host"] = c.request.header("host");
  request.headers["transfer-encoding"] = "chunked";  // the file ends where it ends
  for (const std::string_view name : {"referer", "user-agent"}) {
    if (c.request.has_header(name)) request.headers[name] = c.request.header(name);
  }
  if (Error e = make_headers(form.fields(), request)) co_return e;
  PayloadBody body(form, c.auth);
  request.body = &form;
  Call put{c.store, request, c.response, c.auth,   c.bucket_name, c.key,
           nullptr, &body,   c.owner,    c.region, &kRows[0],     c.engines};
  put.put_bytes_max = c.put_bytes_max;
  put.users = c.users;
  // By what the form says that is a header elsewhere.
  if (Error e = put.may(action::kPutObject, put.bucket_name, put.key)) co_return e;
  if (Error e = check_carried(kRows[0], put)) co_return e;
  if (Error e = co_await enter_bucket(put)) co_return e;
  if (Error e = co_await until_idle(put, put.key)) co_return e;
  Error done = co_await put_object(put);
  if (done.code == "EntityTooLarge" && done.fields.empty()) {
    done.fields = {{"ProposedSize", cat(form.file_bytes())}, {"MaxSizeAllowed", cat(form.most())}};
  } else if (done.code == "EntityTooSmall") {
    done.fields = {{"ProposedSize", cat(form.file_bytes())}, {"MinSizeAllowed", cat(form.least())}};
  }
  if (done) co_return done;
  const bool by_host = c.request.raw_path == "/";
  answer(put, form.fields(), by_host);
  co_return Error{};
}

std::span<const Row> post_rows() { return kRows; }

}  // namespace cairn::s3

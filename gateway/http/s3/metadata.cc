#include "gateway/http/s3/metadata.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/base/utf8.h"

namespace cairn::s3 {

namespace {

// "=20" and "_" as RFC 2047, 4.2 has them.
std::optional<std::string> decode_q(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '_') {
      out.push_back(' ');
    } else if (text[i] != '=') {
      out.push_back(text[i]);
    } else {
      auto raw = objects::unhex(text.substr(i + 1, 2));
      if (!raw || raw->size() != 1) return std::nullopt;
      out += *raw;
      i += 2;
    }
  }
  return out;
}

// =?charset?encoding?text?=
std::optional<std::string> decode_word(std::string_view word) {
  constexpr std::string_view kCharset = "=?utf-8?";
  if (word.size() < kCharset.size() + 4 || !word.ends_with("?=") ||
      !equals_ignoring_case(word.substr(0, kCharset.size()), kCharset)) {
    return std::nullopt;
  }
  word = word.substr(kCharset.size(), word.size() - kCharset.size() - 2);
  if (word.size() < 2 || word[1] != '?') return std::nullopt;
  const std::string_view text = word.substr(2);
  if (text.find('?') != text.npos) return std::nullopt;
  std::optional<std::string> raw;
  if ((word[0] | 32) == 'b') raw = objects::base64_decode(text);
  if ((word[0] | 32) == 'q') raw = decode_q(text);
  if (!raw || !is_utf8(*raw)) return std::nullopt;
  return raw;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// aws-chunked is how the body came, not what it is. What else the list has stays as it was written.
std::string without_aws_chunked(std::string_view list) {
  std::string kept;
  for (bool first = true; !list.empty();) {
    const size_t comma = list.find(',');
    const std::string_view one = list.substr(0, comma);
    list.remove_prefix(comma == list.npos ? list.size() : comma + 1);
    if (equals_ignoring_case(trimmed(one), "aws-chunked")) continue;
    append(kept, std::exchange(first, false) ? "" : ",", one);
  }
  return std::string(trimmed(kept));
}

}  // namespace

std::string decode_words(std::string_view text) {
  std::string out;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t blank = rest.find(' ');
    auto word = decode_word(rest.substr(0, blank));
    if (!word) return std::string(text);  // plain text
    out += *word;
    rest.remove_prefix(blank == rest.npos ? rest.size() : blank);
    while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  }
  return out;
}

std::string encode_words(std::string_view text) {
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; }) &&
      !text.starts_with("=?");
  return plain ? std::string(text) : cat("=?UTF-8?B?", objects::base64(text), "?=");
}

Error redirect_of(const Call& c, ObjectMeta& meta) {
  constexpr std::string_view kHeader = "x-amz-website-redirect-location";
  meta.extra.erase(objects::kRedirect);
  if (!c.request.has_header(kHeader)) return {};
  const std::string_view to = c.request.header(kHeader);
  const bool leads = to.starts_with('/') || to.starts_with("http://") || to.starts_with("https://");
  if (!leads) {
    return {"InvalidRedirectLocation",
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'."};
  }
  if (to.size() > kUserMetaBytesMax) {
    return {"InvalidRedirectLocation",
            "The length of website redirect location cannot exceed 2,048 characters."};
  }
  meta.extra[objects::kRedirect] = to;
  return {};
}

Error meta_of(const Call& c, ObjectMeta& meta) {
  if (Error e = redirect_of(c, meta)) return e;
  for (auto& [name, value] : c.request.headers) {
    constexpr std::string_view kUser = "x-amz-meta-";
    if (name.substr(0, kUser.size()) == kUser) {
      meta.user[name.substr(kUser.size())] = decode_words(value);
    }
  }
  meta.content_type = c.request.header("content-type");
  for (std::string_view name :
       {"cache-control", "content-disposition", "content-language", "expires"}) {
    if (c.request.has_header(name)) meta.headers[std::string(name)] = c.request.header(name);
  }
  const std::string encoding = without_aws_chunked(c.request.header("content-encoding"));
  if (!encoding.empty()) meta.headers["content-encoding"] = encoding;
  return error_of(check_meta(meta));
}

void set_object_headers(Call& c, const objects::Info& info) {
  http::Response& r = c.response;
  const bool overrides = std::any_of(c.request.query.begin(), c.request.query.end(),
                                     [](auto& p) { return p.first.starts_with("response-"); });
  const auto overridden = [&](std::string_view name) {
    return overrides ? c.param(cat("response-", name)) : std::string();
  };
  r.set("ETag", "\"", info.etag, "\"");
  r.set_date("Last-Modified", info.modified_ms);
  r.set("Accept-Ranges", "bytes");
  const std::string type = overridden("content-type");
  r.set("Content-Type", !type.empty()                     ? std::string_view(type)
                        : !info.meta.content_type.empty() ? std::string_view(info.meta.content_type)
                                                          : "binary/octet-stream");
  if (overrides || !info.meta.headers.empty()) {
    for (const std::string name : {"cache-control", "content-disposition", "content-encoding",
                                   "content-language", "expires"}) {
      std::string value = overridden(name);
      auto it = info.meta.headers.find(name);
      if (value.empty() && it != info.meta.headers.end()) value = it->second;
      if (!value.empty()) r.set(name, value);
    }
  }
  for (auto& [name, value] : info.meta.user) {
    auto& field = r.headers.add("x-amz-meta-", encode_words(value));
    field.first += name;
  }
  const auto& tags = info.meta.tags;
  if (!tags.empty() && !c.may(action::kGetObjectTagging, c.bucket_name, c.key)) {
    r.set("x-amz-tagging-count", tags.size());
  }
  r.set("x-cairn-version", info.version.value());
  if (auto it = info.meta.extra.find(objects::kRedirect); it != info.meta.extra.end()) {
    r.set("x-amz-website-redirect-location", it->second);
  }
  if (info.expire_ms != 0) r.set("x-cairn-expires-ms", info.expire_ms);
}

}  // namespace cairn::s3

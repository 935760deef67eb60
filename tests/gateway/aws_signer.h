// An AWS Signature Version 4 of our own for tests: written from the text of the S3 API reference,
// and of nothing that the server uses, so that both can be held against each other.
#pragma once

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/text.h"
#include "gateway/http/message.h"

namespace cairn::aws {

inline std::string hex(std::string_view raw) {
  std::string out;
  for (unsigned char c : raw) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    out.push_back(kDigits[c >> 4]);
    out.push_back(kDigits[c & 15]);
  }
  return out;
}
inline std::string sha256_raw(std::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> out;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data());
  return {reinterpret_cast<char*>(out.data()), out.size()};
}
inline std::string sha256(std::string_view text) { return hex(sha256_raw(text)); }
// RFC 2104.
inline std::string hmac(std::string_view key, std::string_view text) {
  constexpr size_t kBlock = 64;
  std::string padded = key.size() > kBlock ? sha256_raw(key) : std::string(key);
  padded.resize(kBlock);
  std::string inner = padded, outer = padded;
  for (char& c : inner) c = static_cast<char>(c ^ 0x36);
  for (char& c : outer) c = static_cast<char>(c ^ 0x5c);
  return sha256_raw(cat(outer, sha256_raw(cat(inner, text))));
}
inline std::string uri_encode(std::string_view text, bool path) {
  std::string out;
  for (unsigned char c : text) {
    if (std::isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~' || (path && c == '/')) {
      out.push_back(static_cast<char>(c));
    } else {
      char escape[4];
      std::snprintf(escape, sizeof(escape), "%%%02X", c);
      out += escape;
    }
  }
  return out;
}

struct Signer {
  std::string user, secret, stamp, region = "us-east-1";

  std::string scope() const { return cat(stamp.substr(0, 8), "/", region, "/s3/aws4_request"); }
  std::string key() const {
    std::string key = cat("AWS4", secret);
    for (const std::string& part :
         {stamp.substr(0, 8), region, std::string("s3"), std::string("aws4_request")}) {
      key = hmac(key, part);
    }
    return key;
  }

  // `names`: those of the signed headers, joined by ";".
  std::string signature(const http::Request& r, const std::string& names, std::string_view payload,
                        bool presigned) const {
    std::string canonical = cat(r.method, "\n", uri_encode(r.path, true), "\n");
    std::vector<std::pair<std::string, std::string>> pairs;
    for (auto& [name, value] : r.query) {
      if (presigned && name == "X-Amz-Signature") continue;
      pairs.emplace_back(uri_encode(name, false), uri_encode(value, false));
    }
    std::sort(pairs.begin(), pairs.end());
    for (size_t i = 0; i < pairs.size(); i++) {
      append(canonical, i > 0 ? "&" : "", pairs[i].first, "=", pairs[i].second);
    }
    canonical += "\n";
    for (size_t at = 0; at <= names.size();) {
      const size_t end = std::min(names.find(';', at), names.size());
      const std::string name = names.substr(at, end - at);
      at = end + 1;
      std::string value;
      for (char c : std::string(r.header(name))) {
        if (c == ' ' && (value.empty() || value.back() == ' ')) continue;
        value.push_back(c);
      }
      while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.pop_back();
      append(canonical, name, ":", value, "\n");
    }
    append(canonical, "\n", names, "\n", payload);
    return hex(
        hmac(key(), cat("AWS4-HMAC-SHA256\n", stamp, "\n", scope(), "\n", sha256(canonical))));
  }

  static std::string names_of(const http::Request& r) {
    std::string names;
    for (auto& [name, value] : r.headers) append(names, names.empty() ? "" : ";", name);
    return names;
  }
  // All its headers; `payload` is the value of x-amz-content-sha256.
  void sign(http::Request& r, const std::string& payload) const {
    r.headers["x-amz-content-sha256"] = payload;
    r.headers["x-amz-date"] = stamp;
    const std::string names = names_of(r);
    r.headers["authorization"] =
        cat("AWS4-HMAC-SHA256 Credential=", user, "/", scope(), ", SignedHeaders=", names,
            ", Signature=", signature(r, names, payload, false));
  }
  void presign(http::Request& r, const std::string& expires) const {
    const std::string names = names_of(r);
    r.query.insert(r.query.end(), {{"X-Amz-Algorithm", "AWS4-HMAC-SHA256"},
                                   {"X-Amz-Credential", cat(user, "/", scope())},
                                   {"X-Amz-Date", stamp},
                                   {"X-Amz-Expires", expires},
                                   {"X-Amz-SignedHeaders", names}});
    r.query.emplace_back("X-Amz-Signature", signature(r, names, "UNSIGNED-PAYLOAD", true));
  }

  // ---- aws-chunked ----
  // A body of these chunks. `seed`: the request's signature. Of trailers each is a name and a
  // value; `signed_trailer`: they are signed, in the order in which they come.
  std::string chunked(std::string_view seed, const std::vector<std::string>& chunks,
                      const std::vector<std::pair<std::string, std::string>>& trailers,
                      bool signed_trailer) const {
    const std::string key = this->key();
    const auto sign = [&](std::string_view what, std::string_view previous, std::string_view rest) {
      return hex(hmac(key, cat("AWS4-HMAC-SHA256-", what, "\n", stamp, "\n", scope(), "\n",
                               previous, "\n", rest)));
    };
    std::string out, previous(seed);
    const auto add = [&](std::string_view bytes) {
      previous = sign("PAYLOAD", previous, cat(sha256(""), "\n", sha256(bytes)));
      char size[20];
      std::snprintf(size, sizeof(size), "%zx", bytes.size());
      append(out, std::string_view(size), ";chunk-signature=", previous, "\r\n");
    };
    for (const std::string& chunk : chunks) {
      add(chunk);
      append(out, chunk, "\r\n");
    }
    add("");
    std::string canonical;
    for (auto& [name, value] : trailers) {
      append(out, name, ":", value, "\r\n");
      append(canonical, name, ":", value, "\n");
    }
    if (signed_trailer) {
      append(out, "x-amz-trailer-signature:", sign("TRAILER", previous, sha256(canonical)), "\r\n");
    }
    return out += "\r\n";
  }
};

}  // namespace cairn::aws

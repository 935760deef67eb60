#include "objects/metadata.h"

#include <algorithm>
#include <array>

#include "core/base/text.h"

namespace cairn::objects {

bool is_token(std::string_view text) {
  constexpr std::string_view kSigns = "!#$%&'*+-.^_`|~";
  auto is_one = [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           kSigns.find(c) != kSigns.npos;
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), is_one);
}

bool is_field_value(std::string_view text) {
  auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  if (!text.empty() && (is_blank(text.front()) || is_blank(text.back()))) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    auto byte = static_cast<unsigned char>(c);
    return (byte >= ' ' && byte != 0x7f) || c == '\t';
  });
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const size_t length = first < 0x80             ? 1
                          : (first & 0xe0) == 0xc0 ? 2
                          : (first & 0xf0) == 0xe0 ? 3
                          : (first & 0xf8) == 0xf0 ? 4
                                                   : 0;
    if (length == 0 || length > text.size() - i) return false;
    uint32_t code = length == 1 ? first : first & (0x7fu >> length);
    for (size_t k = 1; k < length; k++) {
      const auto byte = static_cast<unsigned char>(text[i + k]);
      if ((byte & 0xc0) != 0x80) return false;
      code = code << 6 | (byte & 0x3f);
    }
    constexpr std::array<uint32_t, 5> kSmallest{0, 0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
      return false;
    }
    i += length;
  }
  return true;
}

std::string as_utf8(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  std::string out;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out.push_back(c);
    } else {
      out.push_back(static_cast<char>(0xc0 | byte >> 6));
      out.push_back(static_cast<char>(0x80 | (byte & 0x3f)));
    }
  }
  return out;
}

bool is_object_header(std::string_view name) {
  constexpr std::array<std::string_view, 5> kNames{
      "cache-control", "content-disposition", "content-encoding", "content-language", "expires"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

Status check_metadata(const ObjectMeta& meta) {
  size_t bytes = meta.content_type.size();
  if (!is_field_value(meta.content_type)) {
    return absl::InvalidArgumentError("the content type is not a header field's value");
  }
  for (auto* pairs : {&meta.user, &meta.headers}) {
    for (auto& [name, value] : *pairs) {
      bytes += name.size() + value.size();
      if (!is_token(name)) {
        return absl::InvalidArgumentError("a name of the metadata is not a token of RFC 9110");
      }
      if (!is_field_value(value)) {
        return absl::InvalidArgumentError(
            cat("the value of ", name, " in the metadata is not a header field's value"));
      }
    }
  }
  for (auto& [name, value] : meta.headers) {
    if (!is_object_header(name)) {
      return absl::InvalidArgumentError(cat(name, " is not a header field of objects"));
    }
  }
  if (bytes > kMetaBytesMax) {
    return absl::InvalidArgumentError("the metadata has more than 2048 bytes");
  }
  return absl::OkStatus();
}

}  // namespace cairn::objects

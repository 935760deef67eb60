// Object metadata: what a value may carry beside its bytes, and how it is written in a record.
//
//   meta  = u8 version(1) field*             field: core/store/fields.h
//
// Tags never change meaning; a reader skips the ones it does not know. A pair field holds
// name NUL value. A value without meta is a plain string, as Redis's SET leaves it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/types.h"

namespace cairn {

struct ObjectMeta {
  std::string content_type;
  std::string etag;                              // without quotes
  int64_t modified_ms = 0;                       // 0: take the time of the record
  std::map<std::string, std::string> user;       // x-amz-meta-NAME -> value
  std::map<std::string, std::string> headers;    // Cache-Control and the like, lower case
  std::map<std::string, std::string> checksums;  // algorithm, lower case -> base64
  std::map<std::string, std::string> extra;      // private to the module that wrote the value
  std::vector<uint64_t> part_sizes;              // of a multipart object
  std::map<std::string, std::string> tags;       // as objects/tags.h has them

  bool empty() const;
  std::string encode() const;
  static std::optional<ObjectMeta> decode(std::string_view in);
};

// Whether the metadata may enter: what any door can write as headers and read as text. Names of
// user metadata are tokens of RFC 9110 in lower case, values are UTF-8 without control characters,
// and all of it has a limit, as in S3. InvalidArgument: "MetadataTooLarge…", or what is wrong.
inline constexpr size_t kUserMetaBytesMax = 2048;
inline constexpr size_t kStandardMetaBytesMax = 8192;  // content type and headers together
Status check_meta(const ObjectMeta& meta);

}  // namespace cairn

// Object metadata: what a value may carry beside its bytes, and how it is written in a record.
//
//   meta  = u8 version(1) field*
//   field = u8 tag  u32 length  bytes
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

  bool empty() const;
  std::string encode() const;
  static std::optional<ObjectMeta> decode(std::string_view in);
};

}  // namespace cairn

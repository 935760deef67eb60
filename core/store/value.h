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
#include "core/store/version_lock.h"
#include "core/store/versions.h"

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
  std::string encryption;  // how the value is encrypted (objects/encryption.h); empty: it is not

  bool empty() const;
  std::string encode() const;
  static std::optional<ObjectMeta> decode(std::string_view in);
};

// What a listing shows of metadata, without a copy of any of it: views into what was encoded. Of
// several checksums the first one. All is empty where there is none, or nothing that can be read.
struct MetaSummary {
  std::string_view etag;
  std::string_view checksum_algorithm, checksum;
  int64_t modified_ms = 0;
  std::optional<uint64_t> encrypted_size = {};  // as below
};
MetaSummary summary_of(std::string_view meta);
// Where a value lies as ciphertext, how many bytes it has to those who may read it: tag 10 begins
// with that number. Nothing: it lies as it is. What cannot be read there is 0 bytes.
std::optional<uint64_t> encrypted_size(std::string_view meta);

// Which version of its key a value is, in a bucket that keeps them (core/store/versions.h):
//
//   tag 16 = u32 bucket  u64 number  u8 kind  lock?     kind: 1 the null version, 2 a delete
//   marker,
//                                                       added
//   lock   = u8 retention  u8 hold  i64 until_ms        version_lock.h; missing: it has none
//
// In the metadata of what came from another bucket it means nothing. Who decodes and encodes
// metadata loses it; a transaction gives its own to whatever it puts into such a bucket.
struct VersionTag {
  NamespaceId bucket;
  Version version;
  VersionLock lock = {};
};
std::optional<VersionTag> version_in(std::string_view meta);
// The same metadata with this version in place of its own.
std::string with_version(std::string_view meta, const VersionTag& tag);

// Whether the metadata may enter: what any door can write as headers and read as text. Names of
// user metadata are tokens of RFC 9110 in lower case, values are UTF-8 without control characters,
// and all of it has a limit, as in S3. InvalidArgument: "MetadataTooLarge…", or what is wrong.
inline constexpr size_t kUserMetaBytesMax = 2048;
inline constexpr size_t kStandardMetaBytesMax = 8192;  // content type and headers together
Status check_meta(const ObjectMeta& meta);

}  // namespace cairn

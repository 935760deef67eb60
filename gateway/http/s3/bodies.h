// What the XML bodies of requests say, checked whole: an element that Cairn does not know is
// MalformedXML, one that it knows and does not honour is NotImplemented.
//
// Threads: any.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "gateway/http/s3/errors.h"
#include "objects/multipart.h"

namespace cairn::s3 {

inline constexpr size_t kDeleteKeysMax = 1000;

struct DeleteBody {
  struct Object {
    std::string key;
    std::string etag;  // that it must have, or empty
    std::optional<std::string> version;
    std::optional<int64_t> modified_at_s;  // that it must have, if it is there
    std::optional<uint64_t> size;
  };
  std::vector<Object> objects;
  bool quiet = false;
};
Error parse_delete(const std::string& xml, DeleteBody& out);

Error parse_complete(const std::string& xml, std::vector<objects::CompletePart>& parts);

Error parse_tagging(const std::string& xml, objects::TagsOf what, objects::Tags& tags);
// The same of an object as the query of a URL has it: "a=b&c=d".
Error parse_tagging_header(std::string_view text, objects::Tags& tags);

// Whether versions are kept from now on. NotImplemented: MFA is asked for.
Error parse_versioning(const std::string& xml, bool& enabled);

// As they came; what has no element is empty.
struct LockConfiguration {
  bool has_rule = false;
  std::string mode;
  std::optional<int64_t> days, years;
};
Error parse_lock_configuration(const std::string& xml, LockConfiguration& out);
Error parse_retention(const std::string& xml, std::string& mode, std::string& date);
Error parse_legal_hold(const std::string& xml, std::string& status);

// What RestoreObject asks for, which is to be well-formed.
Error check_restore(const std::string& xml);

// A configuration may only say where the bucket is: in this region.
Error parse_create_bucket(const std::string& xml, std::string_view region);

// The names of checksums as elements: ChecksumCRC32 and so on, and the algorithm in lower case.
inline constexpr std::pair<const char*, const char*> kChecksumTags[] = {
    {"ChecksumCRC32", "crc32"},
    {"ChecksumCRC32C", "crc32c"},
    {"ChecksumCRC64NVME", "crc64nvme"},
    {"ChecksumSHA1", "sha1"},
    {"ChecksumSHA256", "sha256"},
    {"ChecksumSHA512", "sha512"},
    {"ChecksumMD5", "md5"},
    {"ChecksumXXHASH64", "xxhash64"},
    {"ChecksumXXHASH3", "xxhash3"},
    {"ChecksumXXHASH128", "xxhash128"}};

}  // namespace cairn::s3

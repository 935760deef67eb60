// Digests that objects carry: MD5 for the ETag, and the checksums that S3 clients declare.
//
// Threads: a digest belongs to one stream.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/types.h"

namespace cairn::objects {

std::string hex(std::string_view raw);
// Nothing unless the text is pairs of hex digits.
std::optional<std::string> unhex(std::string_view text);
std::string base64(std::string_view raw);
// Nothing unless the text is canonical base64, padding included, and has `text_max` bytes at most.
std::optional<std::string> base64_decode(std::string_view text, size_t text_max = 4096);

enum class Algorithm : uint8_t {
  kCrc32,
  kCrc32c,
  kCrc64nvme,
  kSha1,
  kSha256,
  kSha512,
  kMd5,
  kXxhash64,
  kXxhash3,
  kXxhash128
};
// As in x-amz-checksum-NAME: "crc32", "sha256", "xxhash3".
std::optional<Algorithm> algorithm_named(std::string_view name);
std::string_view name_of(Algorithm algorithm);

class Digest {
 public:
  explicit Digest(Algorithm algorithm);
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;
  void update(Bytes data);
  std::string finish();  // raw bytes; numbers big-endian, as S3 prints them
  Algorithm algorithm() const { return algorithm_; }

 private:
  Algorithm algorithm_;
  uint64_t crc_ = 0;
  struct Free {
    Algorithm algorithm;
    void operator()(void* context) const;
  };
  std::unique_ptr<void, Free> context_;  // of OpenSSL or xxHash
};

std::string digest_of(Algorithm algorithm, std::string_view data);

// The CRC of a + b from those of a and b and the length of b; only for the three CRCs.
std::string combine_crc(Algorithm algorithm, std::string_view crc_a, std::string_view crc_b,
                        uint64_t length_b);
inline bool is_crc(Algorithm a) { return a <= Algorithm::kCrc64nvme; }

}  // namespace cairn::objects

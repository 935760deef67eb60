// The SHA1 of a value as DEBUG DIGEST of Redis makes it: two servers that hold the same say the
// same. What has no order (members of a set, fields, keys) is added, what has one is mixed.
//
// Threads: one at a time.
#pragma once

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/index/collection.h"
#include "kv/types/sorted_set.h"
#include "kv/types/stream_block.h"

namespace cairn::kv {

class Digest {
 public:
  using Sha1 = std::array<uint8_t, SHA_DIGEST_LENGTH>;

  void add(std::string_view bytes) { add(sha1(bytes)); }
  void add(const Sha1& sha1_of_bytes);
  void add(const Digest& other) { add(other.bytes()); }
  // As if all that was added to `other`, which had nothing before, were added here.
  void add_sum(const Digest& other) { add(other.value_); }
  void mix(std::string_view bytes) { mix(sha1(bytes)); }
  void mix(const Sha1& sha1_of_bytes);

  // ---- a value: how it begins, and each thing in it ----
  void begin(ValueType type);
  void add_field(std::string_view field, std::string_view value);
  void add_scored(const SortedSet::Item& item);
  void mix_entry(const StreamEntry& entry);
  void mix_block(const StreamBlock& block);
  void end(bool expires);

  // All of a collection that is there at `now_ms`.
  void add_all(ValueType type, const Collection& value, int64_t now_ms);

  std::string hex() const;

 private:
  static Sha1 sha1(std::string_view bytes);
  std::string_view bytes() const {
    return {reinterpret_cast<const char*>(value_.data()), value_.size()};
  }
  Sha1 value_{};
};

// The SHA1 of bytes that come one after the other.
class Sha1Stream {
 public:
  Sha1Stream();
  void update(std::string_view bytes);
  Digest::Sha1 finish();

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

}  // namespace cairn::kv

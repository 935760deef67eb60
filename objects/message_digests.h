// All digests of one message, over bytes that come in pieces.
//
// Threads: one at a time for a message; update_together() has several.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "objects/digest.h"
#include "objects/lanes/block_hasher.h"

namespace cairn::objects {

class MessageDigests {
 public:
  // Before the first byte; what is there already is not made twice.
  void add(Algorithm algorithm);
  bool empty() const { return !md5_ && !sha256_ && others_.empty(); }
  void update(const BlockHasher& hasher, Bytes data);
  // Raw bytes, after the last byte; as often as one likes. Empty for what was not added.
  std::string digest(const BlockHasher& hasher, Algorithm algorithm);

  // Different messages, at most kTurnsMax, each with the bytes that come next in it.
  static constexpr size_t kTurnsMax = 16;
  struct Turn {
    MessageDigests* message;
    Bytes data;
  };
  static void update_together(const BlockHasher& hasher, std::span<const Turn> turns);

 private:
  bool has_blocks() const { return md5_ || sha256_; }
  // Takes what completes the block that was begun; of the rest, whole blocks are left in `data`.
  void begin_turn(const BlockHasher& hasher, Bytes& data);
  void end_turn(Bytes rest);
  // The whole blocks of `turns`, as many of each as there are of the shortest.
  static size_t hash_shortest(const BlockHasher& hasher, std::span<const Turn> turns);
  void pad(const BlockHasher& hasher);

  std::optional<Md5State> md5_;
  std::optional<Sha256State> sha256_;
  uint64_t size_ = 0;
  bool padded_ = false;
  std::array<std::byte, kHashBlockBytes> begun_{};  // size_ % kHashBlockBytes of it
  std::vector<std::pair<Digest, std::string>> others_;
};

}  // namespace cairn::objects

#include "objects/message_digests.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace cairn::objects {

namespace {

template <class State>
std::string words_of(const State& state, bool big_endian) {
  std::string raw;
  for (const uint32_t word : state) {
    for (int i = 0; i < 4; i++) {
      raw.push_back(static_cast<char>(word >> 8 * (big_endian ? 3 - i : i)));
    }
  }
  return raw;
}

size_t blocks_in(Bytes data) { return data.size() / kHashBlockBytes; }

}  // namespace

void MessageDigests::add(Algorithm algorithm) {
  assert(size_ == 0);
  if (algorithm == Algorithm::kMd5) {
    md5_ = kMd5Start;
  } else if (algorithm == Algorithm::kSha256) {
    sha256_ = kSha256Start;
  } else if (std::none_of(others_.begin(), others_.end(),
                          [&](auto& other) { return other.first.algorithm() == algorithm; })) {
    others_.emplace_back(Digest(algorithm), std::string());
  }
}

void MessageDigests::update(const BlockHasher& hasher, Bytes data) {
  const Turn turn{this, data};
  update_together(hasher, {&turn, 1});
}

void MessageDigests::begin_turn(const BlockHasher& hasher, Bytes& data) {
  for (auto& [digest, result] : others_) digest.update(data);
  const size_t begun = size_ % kHashBlockBytes;
  size_ += data.size();
  if (begun == 0 || !has_blocks()) return;
  const size_t n = std::min(data.size(), kHashBlockBytes - begun);
  std::memcpy(begun_.data() + begun, data.data(), n);
  data = data.subspan(n);
  if (begun + n < kHashBlockBytes) return;
  const Turn block{this, begun_};
  hash_shortest(hasher, {&block, 1});
}

void MessageDigests::end_turn(Bytes rest) {
  if (!rest.empty()) std::memcpy(begun_.data(), rest.data(), rest.size());
}

size_t MessageDigests::hash_shortest(const BlockHasher& hasher, std::span<const Turn> turns) {
  size_t blocks = SIZE_MAX, both = 0, md5_count = 0;
  for (const Turn& turn : turns) {
    blocks = std::min(blocks, blocks_in(turn.data));
    md5_count += turn.message->md5_.has_value();
    both += turn.message->md5_ && turn.message->sha256_;
  }
  const bool apart = both > 0 && hasher.apart(md5_count);
  std::array<BlockHasher::Md5Lane, kTurnsMax> md5;
  std::array<BlockHasher::Sha256Lane, kTurnsMax> sha256;
  size_t md5_lanes = 0, sha256_lanes = 0;
  for (const Turn& turn : turns) {
    MessageDigests& m = *turn.message;
    if (m.md5_ && m.sha256_ && !apart) {
      hasher.both(*m.md5_, *m.sha256_, turn.data.data(), blocks);
      continue;
    }
    if (m.md5_) md5[md5_lanes++] = {&*m.md5_, turn.data.data()};
    if (m.sha256_) sha256[sha256_lanes++] = {&*m.sha256_, turn.data.data()};
  }
  hasher.md5(std::span(md5).first(md5_lanes), blocks);
  hasher.sha256(std::span(sha256).first(sha256_lanes), blocks);
  return blocks;
}

void MessageDigests::update_together(const BlockHasher& hasher, std::span<const Turn> turns) {
  assert(turns.size() <= kTurnsMax);
  std::array<Turn, kTurnsMax> left;
  size_t count = 0;
  auto keep = [&](const Turn& turn) {
    if (blocks_in(turn.data) > 0) {
      left[count++] = turn;
    } else {
      turn.message->end_turn(turn.data);
    }
  };
  for (Turn turn : turns) {
    turn.message->begin_turn(hasher, turn.data);
    if (turn.message->has_blocks() && !turn.data.empty()) keep(turn);
  }
  while (count > 0) {
    const size_t blocks = hash_shortest(hasher, std::span(left).first(count));
    for (size_t i = 0, n = std::exchange(count, 0); i < n; i++) {
      keep({left[i].message, left[i].data.subspan(blocks * kHashBlockBytes)});
    }
  }
}

// A bit, zeros, and the length in bits; MD5 has it with its lowest byte first.
void MessageDigests::pad(const BlockHasher& hasher) {
  padded_ = true;
  const size_t begun = size_ % kHashBlockBytes;
  std::array<std::byte, 2 * kHashBlockBytes> end{};
  std::memcpy(end.data(), begun_.data(), begun);
  end[begun] = std::byte{0x80};
  const size_t size = begun < kHashBlockBytes - 8 ? kHashBlockBytes : 2 * kHashBlockBytes;
  const uint64_t bits = size_ * 8;
  if (md5_) {
    for (size_t i = 0; i < 8; i++) end[size - 8 + i] = static_cast<std::byte>(bits >> 8 * i);
    const BlockHasher::Md5Lane lane{&*md5_, end.data()};
    hasher.md5({&lane, 1}, size / kHashBlockBytes);
  }
  if (sha256_) {
    for (size_t i = 0; i < 8; i++) end[size - 1 - i] = static_cast<std::byte>(bits >> 8 * i);
    const BlockHasher::Sha256Lane lane{&*sha256_, end.data()};
    hasher.sha256({&lane, 1}, size / kHashBlockBytes);
  }
}

std::string MessageDigests::digest(const BlockHasher& hasher, Algorithm algorithm) {
  if (!padded_ && has_blocks()) pad(hasher);
  if (algorithm == Algorithm::kMd5) return md5_ ? words_of(*md5_, false) : std::string();
  if (algorithm == Algorithm::kSha256) return sha256_ ? words_of(*sha256_, true) : std::string();
  for (auto& [digest, result] : others_) {
    if (digest.algorithm() != algorithm) continue;
    if (result.empty()) result = digest.finish();
    return result;
  }
  return {};
}

}  // namespace cairn::objects

// How much memory clients may hold in the server: what they sent half, what they were answered and
// do not read, what waits in a transaction. In Redis's words and with its defaults, but for
// maxmemory-clients, which is a quarter of the memory where Redis has no limit: clients without a
// password could otherwise take the room of the data. A part of the memory is one of 128 MB at
// least: a smaller limit is about the data alone (core/store/memory.h), and a quarter of 2 MB once
// sent a client away for the room of its last answer.
//
// No limit is so small that nobody could say that it is to be another: all together have 128 KiB,
// and the answers to one 16 KiB, in Redis too. CONFIG GET shows what was said all the same.
//
// Threads: any.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/base/limits.h"

namespace cairn::kv {

enum class ClientClass : uint8_t { kNormal, kReplica, kPubsub };

struct OutputLimit {  // in bytes; 0: none
  uint64_t hard = 0, soft = 0;
  int64_t soft_ms = 0;  // how long over the soft one
};

// Redis's memory sizes: 1k is 1000 bytes, 1kb is 1024.
bool parse_memory(std::string_view text, uint64_t& bytes);

class ClientLimits {
 public:
  // CONFIG SET client-output-buffer-limit "normal 0 0 0 pubsub 32mb 8mb 60": classes that are not
  // named keep theirs. Returns why it will not do, in Redis's words, and nothing changed; empty:
  // it was taken.
  std::string set_output(std::string_view text);
  std::string output_text() const;
  OutputLimit output(ClientClass c) const;

  // CONFIG SET maxmemory-clients: bytes, or a part of the memory limit such as "5%"; 0: none.
  // Likewise.
  std::string set_together(std::string_view text);
  std::string together_text() const;
  // Where there is no memory limit, a part of it is one of the machine's memory. Called when the
  // limit changes, and now and then.
  void set_memory(uint64_t limit_bytes);

  // In bytes; what one command may bring in, what it may be answered, and all clients together.
  uint64_t query_max() const;
  uint64_t answer_max() const { return answer_max_.load(std::memory_order_relaxed); }
  uint64_t together() const { return together_bytes_.load(std::memory_order_relaxed); }
  // What clients of other doors hold counts too; set before there are any. What is left for those
  // of this one.
  void set_others(std::function<uint64_t()> bytes) { others_ = std::move(bytes); }
  uint64_t left() const {
    const uint64_t all = together();
    return others_ ? all - std::min(all, others_()) : all;
  }

 private:
  static constexpr size_t kClasses = 3;
  struct Atomic {
    std::atomic<uint64_t> hard, soft;
    std::atomic<int64_t> soft_ms;
  };
  void refresh();

  std::function<uint64_t()> others_;  // constant once clients come
  std::array<Atomic, kClasses> output_{
      {{0, 0, 0}, {256ull << 20, 64ull << 20, 60'000}, {32ull << 20, 8ull << 20, 60'000}}};
  std::atomic<int64_t> together_{-limits::kClientsPercent};  // bytes; negative: percent
  std::atomic<uint64_t> memory_{0};
  std::atomic<uint64_t> together_bytes_{UINT64_MAX}, answer_max_{UINT64_MAX};
};

}  // namespace cairn::kv

// The commands that took long, the newest of them: SLOWLOG. And how a command is shown to those who
// look on, here and in MONITOR: without its secrets.
//
// What waits for others, a lock or a disk, is not counted: only the time in which it ran.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/mutex.h"

namespace cairn::kv {

class Args;
struct Row;

// Whether this word of a command is a password or the like, and so is shown to nobody.
bool is_secret(const Row& row, const Args& args, size_t word);
inline constexpr std::string_view kRedacted = "(redacted)";

class Slowlog {
 public:
  struct Entry {
    uint64_t id = 0;
    int64_t at_s = 0;  // Unix time
    uint64_t us = 0;
    std::vector<std::string> words;  // the first ones, each shortened
    std::string address, name;       // of the client
  };
  // A command as an entry shows it: at most 32 words of at most 128 bytes, as Redis.
  static std::vector<std::string> shown(const Row& row, const Args& args);

  void add(Entry entry);
  std::vector<Entry> newest(size_t most) const;  // newest first
  size_t size() const;
  void clear();

  uint64_t length_max() const { return length_max_.load(std::memory_order_relaxed); }
  void set_length_max(uint64_t most);

 private:
  void cut() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // newest first
  uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<uint64_t> length_max_{128};
};

}  // namespace cairn::kv

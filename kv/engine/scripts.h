// What all engines share of scripts: their sources, by the SHA1 of each, and which of them run now.
// Knows no Lua (kv/script/).
//
// Threads: any.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/limits.h"
#include "core/base/mutex.h"

namespace cairn::kv {

// For maps by text in which a view is looked for.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <class Value>
using ByText = absl::flat_hash_map<std::string, Value, TextHash, std::equal_to<>>;

enum ScriptFlags : uint32_t {
  kScriptNoWrites = 1 << 0,
  kScriptAllowOom = 1 << 1,
  kScriptAllowStale = 1 << 2,
  kScriptNoCluster = 1 << 3,
  kScriptAllowCrossSlotKeys = 1 << 4,
  kScriptPlain = 1 << 5,  // it has no shebang: nothing is known of it
};

// What the values of a script take at a time, for each thread: a part of the memory, as in
// core/base/limits.h.
inline constexpr uint64_t kScriptMemoryPart = 8;
inline constexpr uint64_t kScriptMemoryMin = 16 << 20, kScriptMemoryMax = 128 << 20;
inline uint64_t script_memory(uint64_t memory_bytes) {
  return std::clamp(limits::memory_of(memory_bytes) / kScriptMemoryPart, kScriptMemoryMin,
                    kScriptMemoryMax);
}
// Of values in extents that a script or a transaction has as texts: so much at a time.
inline uint64_t text_at_once_max(uint64_t memory_bytes) { return script_memory(memory_bytes) / 2; }

struct Script {
  std::string sha;     // 40 hex digits
  std::string source;  // all of it, shebang included
  uint32_t flags = kScriptPlain;
};
using ScriptPtr = std::shared_ptr<const Script>;

// Sources that EVALSHA knows. What was sent by SCRIPT LOAD stays until SCRIPT FLUSH, up to a limit;
// of what came by EVAL the newest are kept.
class ScriptCache {
 public:
  static constexpr uint64_t kLoadedBytesMax = 64 << 20, kSeenBytesMax = 16 << 20;
  static constexpr size_t kSeenMax = 10'000;

  ScriptPtr find(std::string_view sha) const {
    MutexLock lock(mutex_);
    auto it = by_sha_.find(sha);
    return it == by_sha_.end() ? nullptr : it->second.script;
  }
  // False: there is no room for another one that stays.
  bool add(ScriptPtr script, bool stays) {
    MutexLock lock(mutex_);
    const uint64_t bytes = script->source.size() + kEachBytes;
    auto it = by_sha_.find(script->sha);
    if (it != by_sha_.end() && (it->second.stays || !stays)) return true;
    if (stays && loaded_bytes_ + bytes > kLoadedBytesMax) return false;
    if (it != by_sha_.end()) forget(it);
    if (!stays) {
      if (bytes > kSeenBytesMax) return true;
      while (seen_bytes_ + bytes > kSeenBytesMax || seen_.size() >= kSeenMax) {
        forget(by_sha_.find(seen_.front()));
      }
    }
    const std::string sha = script->sha;
    Known& known = by_sha_[sha];
    known.script = std::move(script);
    known.stays = stays;
    (stays ? loaded_bytes_ : seen_bytes_) += bytes;
    if (!stays) known.place = seen_.insert(seen_.end(), sha);
    return true;
  }
  void flush() {
    MutexLock lock(mutex_);
    by_sha_.clear();
    seen_.clear();
    loaded_bytes_ = seen_bytes_ = 0;
    epoch_.fetch_add(1, std::memory_order_release);
  }
  // Changes when what was compiled counts no longer.
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }
  size_t size() const {
    MutexLock lock(mutex_);
    return by_sha_.size();
  }
  uint64_t bytes() const {
    MutexLock lock(mutex_);
    return loaded_bytes_ + seen_bytes_;
  }

 private:
  static constexpr uint64_t kEachBytes = 256;  // for its place here, about
  struct Known {
    ScriptPtr script;
    bool stays = false;
    std::list<std::string>::iterator place;  // in seen_, unless it stays
  };
  using BySha = ByText<Known>;
  void forget(BySha::iterator it) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    (it->second.stays ? loaded_bytes_ : seen_bytes_) -=
        it->second.script->source.size() + kEachBytes;
    if (!it->second.stays) seen_.erase(it->second.place);
    by_sha_.erase(it);
  }

  mutable Mutex mutex_;
  BySha by_sha_ ABSL_GUARDED_BY(mutex_);
  std::list<std::string> seen_ ABSL_GUARDED_BY(mutex_);  // by EVAL, oldest first
  uint64_t loaded_bytes_ ABSL_GUARDED_BY(mutex_) = 0, seen_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::atomic<uint64_t> epoch_{1};
};

// Those that run for longer than a moment: for SCRIPT KILL and FUNCTION STATS.
class RunningScripts {
 public:
  struct Running {
    std::string name, command;
    bool function = false;
    int64_t begun_ns = 0;
    std::atomic<bool> wrote{false}, killed{false};
  };
  enum class Killed : uint8_t { kNone, kSome, kTooLate, kOfOtherKind };

  void add(Running& r) {
    MutexLock lock(mutex_);
    all_.push_back(&r);
  }
  void remove(Running& r) {
    MutexLock lock(mutex_);
    all_.remove(&r);
  }
  // Those that changed nothing yet end soon.
  Killed kill(bool functions) {
    MutexLock lock(mutex_);
    Killed how = Killed::kNone;
    for (Running* r : all_) {
      if (r->function != functions) {
        if (how == Killed::kNone) how = Killed::kOfOtherKind;
        continue;
      }
      if (r->wrote.load()) {
        if (how != Killed::kSome) how = Killed::kTooLate;
      } else {
        r->killed = true;
        how = Killed::kSome;
      }
    }
    return how;
  }
  // Calls fn(const Running&) for the oldest one, if there is one.
  template <class Fn>
  bool oldest(Fn fn) const {
    MutexLock lock(mutex_);
    if (all_.empty()) return false;
    fn(*all_.front());
    return true;
  }

 private:
  mutable Mutex mutex_;
  std::list<Running*> all_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::kv

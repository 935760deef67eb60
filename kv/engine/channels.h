// Publish and subscribe: who listens to which channels and patterns, and what is told to them.
//
// A name that somebody listens to is in one shard of a table, under whose lock its subscribers come
// and go and a message is put into the outbox of each. So all subscribers of a channel get its
// messages in the same order, and each those of one publisher in theirs, whatever their channels.
// A message is made once, and shared by all outboxes (outbox.h); their loops are woken by the bell,
// each once for all its connections. A publisher goes on when the message is in the outboxes: who
// does not read keeps nobody waiting.
//
// There are three kinds of names, apart from each other: channels, patterns over channels, and
// sharded channels, which here, where all slots are one server's, are channels of their own.
//
// Threads: any; a session's subscriptions are changed on its thread alone.
#pragma once

#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_set.h>
#include <absl/container/inlined_vector.h>
#include <absl/functional/function_ref.h>
#include <absl/hash/hash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/mutex.h"
#include "kv/engine/client_limits.h"
#include "kv/engine/outbox.h"
#include "kv/types/glob.h"

namespace cairn::kv {

class Session;
class Subscriptions;

class Channels {
 public:
  enum class Kind : uint8_t { kChannel, kPattern, kShardChannel };
  static constexpr size_t kKinds = 3;

  // Who is sent away for what he does not read is counted in `disconnections`.
  Channels(const ClientLimits& limits, std::atomic<uint64_t>& disconnections);
  ~Channels();
  Channels(const Channels&) = delete;

  // False: it was so before.
  bool subscribe(Session& session, Kind kind, std::string_view name);
  bool unsubscribe(Session& session, Kind kind, std::string_view name);
  // Ends so many at most; each name is told when no more of it can come.
  void unsubscribe_some(Session& session, Kind kind, size_t most,
                        absl::FunctionRef<void(std::string_view)> each);
  // Ends so many at most, of any kind; whether some are left.
  bool leave(Session& session, size_t most);

  // How many got it: who listens to the channel, and each pattern that matches.
  uint64_t publish(Kind kind, std::string_view channel, std::string_view message);
  // How many would get it now.
  uint64_t receivers(Kind kind, std::string_view channel) const;
  // Pushes anything else. False: the client is gone, or is to go for it.
  bool push(Session& session, const Push& push);

  size_t names(Kind kind) const { return table(kind).names.load(std::memory_order_relaxed); }
  uint64_t subscribers(Kind kind, std::string_view name) const;
  // Sessions that listen to anything.
  uint64_t clients() const { return clients_.load(std::memory_order_relaxed); }
  // What a session listens to; on its thread.
  void for_each_of(const Session& session, Kind kind,
                   absl::FunctionRef<void(std::string_view)> each) const;
  // All names, shard by shard; each call holds the lock of one.
  size_t shards(Kind kind) const { return table(kind).shards.size(); }
  void for_each(Kind kind, size_t shard, absl::FunctionRef<void(std::string_view)> each) const;

 private:
  friend class Subscriptions;
  struct Pattern {
    explicit Pattern(std::string_view pattern);
    Glob glob;
    const std::shared_ptr<const std::string> head;  // of its messages
  };
  struct Name {
    std::string text;
    absl::InlinedVector<Session*, 1> sessions;
    std::unique_ptr<Pattern> pattern;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return absl::Hash<std::string_view>()(text); }
    size_t operator()(const std::unique_ptr<Name>& name) const { return (*this)(name->text); }
  };
  struct Equal {
    using is_transparent = void;
    static std::string_view text(std::string_view text) { return text; }
    static std::string_view text(const std::unique_ptr<Name>& name) { return name->text; }
    bool operator()(const auto& a, const auto& b) const { return text(a) == text(b); }
  };
  struct alignas(64) Shard {
    mutable Mutex mutex;
    absl::flat_hash_set<std::unique_ptr<Name>, Hash, Equal> names ABSL_GUARDED_BY(mutex);
  };
  struct Table {
    explicit Table(size_t shards) : shards(shards) {}
    std::vector<Shard> shards;  // a power of two
    std::atomic<size_t> names{0};
    size_t index_of(std::string_view name) const {
      return (Hash()(name) >> 48) & (shards.size() - 1);
    }
    Shard& shard_of(std::string_view name) { return shards[index_of(name)]; }
  };
  struct Message;

  Table& table(Kind kind) { return tables_[static_cast<size_t>(kind)]; }
  const Table& table(Kind kind) const { return tables_[static_cast<size_t>(kind)]; }
  void end(Session& session, Kind kind, Name* name, std::string* text);
  uint64_t deliver(const Name& name, const std::shared_ptr<const std::string>& head, Message& m);
  bool push(Session& session, const Push& push, const OutputLimit& limit, int64_t now_ms);

  const ClientLimits& limits_;
  std::atomic<uint64_t>& disconnections_;
  std::array<Table, kKinds> tables_;
  std::atomic<uint64_t> clients_{0};
  // How messages of channels and of sharded channels begin.
  const std::shared_ptr<const std::string> message_head_, shard_message_head_;
};

// What one session listens to: found from it, so that nothing is searched when it ends.
class Subscriptions {
 public:
  explicit Subscriptions(Session& session) : session_(session) {}
  ~Subscriptions();
  Subscriptions(const Subscriptions&) = delete;

  bool any() const { return all_ != 0; }
  // Any thread.
  size_t size(Channels::Kind kind) const {
    return sizes_[static_cast<size_t>(kind)].load(std::memory_order_relaxed);
  }
  bool any_seen() const {
    return std::any_of(sizes_.begin(), sizes_.end(), [](auto& n) { return n != 0; });
  }
  // As UNSUBSCRIBE counts them: channels with patterns, and sharded channels apart.
  size_t counted(Channels::Kind kind) const {
    using Kind = Channels::Kind;
    if (kind == Kind::kShardChannel) return size(kind);
    return size(Kind::kChannel) + size(Kind::kPattern);
  }
  uint64_t bytes() const { return bytes_; }  // that they take here and there, about

 private:
  friend class Channels;
  Session& session_;
  Channels* channels_ = nullptr;
  std::array<absl::btree_set<Channels::Name*>, Channels::kKinds> names_;
  std::array<std::atomic<size_t>, Channels::kKinds> sizes_{};
  size_t all_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace cairn::kv

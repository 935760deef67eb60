// Keyspace notifications: what became of which key, told on channels (channels.h) as
// https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/ describes them:
// `__keyspace@<db>__:<key>` gets the name of the event, `__keyevent@<db>__:<event>` the key. <db>
// is the number of a database or the name of a bucket.
//
// A command's changes are told by its Context (command.h), which knows what Redis calls them, once
// they are committed and under the locks of their keys: so nobody hears of what did not happen, and
// the events of one key come in their order. What others change is told from the end of its
// transaction: `set`, `del`, `expire` by other doors, `expired`, `evicted`.
//
// Events can be kept as well (event_streams.h): notify-keyspace-stream names classes of its own.
//
// Threads: any.
#pragma once

#include <atomic>
#include <span>
#include <string>
#include <string_view>

#include "core/store/change.h"
#include "core/store/store.h"
#include "kv/engine/channels.h"
#include "kv/engine/event_streams.h"

namespace cairn::kv {

struct Row;

class Events final : public ChangeListener {
 public:
  // The classes that notify-keyspace-events can ask for, and the two kinds of channels.
  enum Class : uint32_t {
    kKeyspace = 1 << 0,   // K
    kKeyevent = 1 << 1,   // E
    kGeneric = 1 << 2,    // g
    kString = 1 << 3,     // $
    kList = 1 << 4,       // l
    kSet = 1 << 5,        // s
    kHash = 1 << 6,       // h
    kSortedSet = 1 << 7,  // z
    kExpired = 1 << 8,    // x
    kEvicted = 1 << 9,    // e
    kStream = 1 << 10,    // t
    kModule = 1 << 11,    // d: may be asked for, and never happens
    kKeyMiss = 1 << 12,   // m
    kNew = 1 << 13,       // n
    // A: all but key misses and new keys.
    kAll = kGeneric | kString | kList | kSet | kHash | kSortedSet | kExpired | kEvicted | kStream |
           kModule,
  };

  Events(Store& store, Channels& channels, const std::atomic<uint64_t>& stream_length_max,
         const std::atomic<Durability>& durability)
      : streams(store, stream_length_max, durability,
                [this](const Namespace& ns) {
                  publish(ns, kExpired, "expired", EventStreams::kKey);
                  return (kept_.load(std::memory_order_relaxed) & kExpired) != 0;
                }),
        channels_(channels),
        listeners_(store.listeners()) {
    listeners_.add(*this);
  }
  EventStreams streams;

  // The letters of what is to be told, and of what is to be kept; false if there is another among
  // them. What is kept has no kinds of channels.
  bool set(std::string_view letters);
  bool keep(std::string_view letters);
  std::string text() const { return letters_of(told_); }  // as Redis shows them
  std::string kept_text() const { return letters_of(kept_); }

  // Whether any of these is to be told or kept.
  bool tells(uint32_t classes) const {
    return (asked_.load(std::memory_order_relaxed) & classes) != 0;
  }
  bool tells() const { return asked_.load(std::memory_order_relaxed) != 0; }
  // Under the lock of the key's stripe. True: it is kept, and is to be written once that is given
  // back (EventStreams::write).
  bool tell(const Namespace& ns, Class of, std::string_view event, std::string_view key);

 private:
  void changed(std::span<const Change> changes, Committer* by) override;
  bool tell(const Change& change);
  void publish(const Namespace& ns, Class of, std::string_view event, std::string_view key);
  void ask(std::atomic<uint32_t>& classes, uint32_t now);
  static std::string letters_of(uint32_t classes);

  Channels& channels_;
  ChangeListeners& listeners_;
  std::atomic<uint32_t> told_{0}, kept_{0};
  std::atomic<uint32_t> asked_{0};  // both
  Mutex mutex_;                     // of changes of them
};

// What a command's changes are called, if it does not say so itself.
struct EventName {
  std::string_view name;  // empty: they are not told
  Events::Class of;
  bool before_del;  // also of the change by which the key goes, for which `del` follows
};
EventName event_of(std::string_view row, std::string_view group);

}  // namespace cairn::kv

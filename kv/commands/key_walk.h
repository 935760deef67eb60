// All keys of a database, in turns between which others have theirs, and the names that were found
// as an answer in parts. Who looks sees a key that is there from its first turn to its last once;
// of a transaction that commits meanwhile it may see a part. After a SWAPDB it looks anew, unless
// they come one upon the other: then it may see keys of both.
//
// Threads: as the command.
#pragma once

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/types/text_set.h"

namespace cairn::kv {

class KeyWalk {
 public:
  explicit KeyWalk(Context& c) : c_(c), of_(c.ns().stored()) {}

  static constexpr uint64_t kAtOnce = 10'000;        // keys; about a millisecond
  enum class Seen : uint8_t { kAll, kSome, kBusy };  // kBusy: the stripe that comes next is busy
  // Whether it takes more than one turn, and the command may take them.
  static bool takes_turns(const Context& c) { return !c.in_exec && c.ns().size() > kAtOnce; }
  // One turn of it: calls fn(const Entry*) for keys that are there, until it returns false.
  template <class Fn>
  Seen turn(Fn fn) {
    for (seen_ = 0; seen_ < kAtOnce && stripe_ < kStripes; seen_++) {
      if (!step(fn)) return Seen::kBusy;
    }
    if (stripe_ < kStripes) return Seen::kSome;
    c_.saw_all(c_.ns());
    return Seen::kAll;
  }
  // All turns at once. False: the command has to come again.
  template <class Fn>
  bool all(Fn fn) {
    Seen seen = Seen::kSome;
    while (seen == Seen::kSome) seen = turn(fn);
    if (seen == Seen::kBusy) c_.meets_busy(next_stripe());
    return seen == Seen::kAll;
  }
  // Since the turn before another database's keys came here: those that were found do not count.
  bool began_anew() { return std::exchange(anew_, false); }
  // Before the next turn. False: the command is over.
  awaitable<bool> wait_for_turn(Seen seen);
  // The look at a key cost as much as so many others.
  void costs(uint64_t keys) { seen_ += keys; }

 private:
  KeyHash next_stripe() const { return KeyHash{stripe_} << (64 - kStripeBits); }
  template <class Fn>
  bool step(Fn& fn) {
    StripeLocks lock(c_.store);
    const bool has_all = c_.locks != nullptr && c_.locks->all();
    if (!has_all && !lock.lock_idle(next_stripe())) return false;
    if (const NamespaceId of = c_.ns().stored(); of != of_ && swaps_ < kSwapsMax) {
      of_ = of;
      swaps_++;
      anew_ = true;
      stripe_ = 0;
      at_ = 0;
      seen_ = kAtOnce;  // the turn ends
      return true;
    }
    const Index& index = *c_.ns().index;  // another one after a flush
    if (!index.touched(stripe_)) {        // nor is the rest of its block, but that may be busy
      const bool one = c_.store.busy().any() && !has_all;
      stripe_ += one ? 1 : Index::kBlockStripes - stripe_ % Index::kBlockStripes;
      return true;
    }
    bool more = true;
    at_ = index.walk(stripe_, std::max(at_, next_stripe()), [&](const Entry* e) {
      seen_++;
      if (!more || e->expired(c_.now_ms())) return;
      more = fn(e);
    });
    if (at_ == 0) stripe_++;
    if (!more) stripe_ = kStripes;
    return true;
  }

  static constexpr int kSwapsMax = 4;
  Context& c_;
  NamespaceId of_;  // whose keys are looked at
  int swaps_ = 0;
  bool anew_ = false;
  uint64_t seen_ = 0;  // in this turn
  size_t stripe_ = 0;
  KeyHash at_ = 0;  // where its next step begins; 0: at its begin
};

// The keys that a numbered database held when the walk began, wherever SWAPDB puts them meanwhile,
// in steps between which nothing is locked. A key that is there from the first step to the last is
// seen once, and no name twice, also of one that is removed and made again.
class HeldWalk {
 public:
  HeldWalk(Context& c, NamespaceId held) : c_(c), held_(held) {}

  bool at_end() const { return stripe_ == kStripes; }
  // The database that holds them now: with any stripe locked, for as long as it is.
  Namespace& holder() const;
  // Calls fn(const Namespace&, const Entry*) for some keys, up to a few hundred, under their lock
  // and with the time that it is. Their values may be on disk. False: the stripe of place() is
  // busy.
  template <class Fn>
  bool step(Fn fn) {
    StripeLocks lock(c_.store);
    if (!lock.lock_idle(place())) return false;
    Context::Turn turn(c_, lock);
    const Namespace& ns = holder();
    const Index& index = *ns.index;  // another one after a flush
    if (!index.touched(stripe_)) {   // nor is the rest of its block
      stripe_ += Index::kBlockStripes - stripe_ % Index::kBlockStripes;
      at_ = 0;
      return true;
    }
    const KeyHash from = place();
    at_ = index.walk(stripe_, from, [&](const Entry* e) {
      const KeyHash hash = ns.hash(e->key());
      if (hash < from) return;  // came to be behind the walk, in a stripe that was empty in between
      c_.saw(c_.store.rests_on(ns, hash, e));
      if (!e->expired(c_.now_ms())) fn(ns, e);
    });
    if (at_ == 0) stripe_++;
    return true;
  }
  KeyHash place() const { return at_ == 0 ? KeyHash{stripe_} << (64 - kStripeBits) : at_; }

 private:
  Context& c_;
  const NamespaceId held_;
  size_t stripe_ = 0;
  KeyHash at_ = 0;  // 0: the stripe's first place
};

// What each numbered database holds; each once.
std::vector<NamespaceId> held_by_databases(Context& c);

// In pieces of memory that go one by one when they are sent: a single one of 100 MB stopped its
// thread for as long as it took to grow.
class Names final : public Series {
 public:
  void add(std::string_view name);
  size_t size() const { return count_; }
  bool next(Reply& reply) override;
  size_t bytes() const override { return bytes_; }

 private:
  static constexpr size_t kPieceBytes = 256 << 10;
  std::deque<std::string> pieces_;  // of items (text_set.h)
  size_t count_ = 0, bytes_ = 0;
  size_t at_ = 0;  // in the first piece, what was sent
};

void reply_names(Context& c, std::unique_ptr<Names> names);
// The names that fn(const Entry*, Names&) adds, until it returns false, are the answer.
template <class Fn>
awaitable<void> reply_names_in_turns(Context& c, Fn fn) {
  KeyWalk walk(c);
  auto names = std::make_unique<Names>();
  std::optional<OfClient> held;  // until the connection holds them as its answer
  for (auto seen = KeyWalk::Seen::kSome; seen != KeyWalk::Seen::kAll;) {
    seen = walk.turn([&](const Entry* e) { return fn(walk, e, *names); });
    if (walk.began_anew()) names = std::make_unique<Names>();
    held.emplace(c.engine.server(), c.session, names->bytes());
    if (!held->allowed()) co_return c.give_up();
    if (seen == KeyWalk::Seen::kAll) break;
    const bool goes_on = co_await walk.wait_for_turn(seen);
    if (!goes_on) co_return;
  }
  reply_names(c, std::move(names));
}

}  // namespace cairn::kv

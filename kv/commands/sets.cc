// The commands on one set, or on a member of two.
#include <absl/container/flat_hash_set.h>

#include <algorithm>

#include "core/base/text.h"
#include "kv/commands/set_view.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"
#include "kv/types/glob.h"

namespace cairn::kv {

namespace {

void sadd(Context& c) {
  Entry* entry;
  if (!c.find(c.args[1], ValueType::kSet, entry)) return;
  const Set* set = set_of(entry);
  const size_t before = set == nullptr ? 0 : set->size();
  Scratch room;
  std::string& operation = room.text;
  for (size_t i = 2; i < c.args.size(); i++) {
    if (set == nullptr || !set->contains(c.args[i])) Set::add_there(operation, c.args[i]);
  }
  if (operation.empty()) return c.reply.integer(0);
  if (!c.operate(ValueType::kSet, c.args[1], entry, operation)) return;
  if (set == nullptr) set = set_of(c.look(c.args[1]));
  c.reply.integer(static_cast<int64_t>(set->size() - before));
}

void srem(Context& c) {
  Entry* entry;
  if (!c.find(c.args[1], ValueType::kSet, entry)) return;
  const Set* set = set_of(entry);
  if (set == nullptr) return c.reply.integer(0);
  const size_t before = set->size();
  Scratch room;
  std::string& operation = room.text;
  size_t found = 0;  // one that is named twice counts twice
  for (size_t i = 2; i < c.args.size(); i++) {
    if (!set->contains(c.args[i])) continue;
    Set::add_gone(operation, c.args[i]);
    found++;
  }
  if (found == 0) return c.reply.integer(0);
  if (found >= before) {
    const absl::flat_hash_set<std::string_view> named(c.args.words().begin() + 2,
                                                      c.args.words().end());
    const auto there = [&](auto& member) { return set->contains(member); };
    if (static_cast<size_t>(std::count_if(named.begin(), named.end(), there)) == before) {
      if (c.remove(c.ns(), entry)) c.reply.integer(static_cast<int64_t>(before));
      return;
    }
  }
  if (!c.operate(ValueType::kSet, c.args[1], entry, operation)) return;
  c.reply.integer(static_cast<int64_t>(before - set->size()));
}

void sismember(Context& c) {
  const Set* set;
  if (!find_set(c, c.args[1], set)) return;
  c.reply.integer(set != nullptr && set->contains(c.args[2]));
}

void smismember(Context& c) {
  const Set* set;
  if (!find_set(c, c.args[1], set)) return;
  c.reply.array(c.args.size() - 2);
  for (size_t i = 2; i < c.args.size(); i++) {
    c.reply.integer(set != nullptr && set->contains(c.args[i]));
  }
}

void scard(Context& c) {
  const Set* set;
  if (!find_set(c, c.args[1], set)) return;
  c.reply.integer(set == nullptr ? 0 : static_cast<int64_t>(set->size()));
}

// Takes members away; no set is empty. `operation`: of kind "gone", all of them are there.
bool take_away(Context& c, Entry* entry, std::string_view key, size_t n, std::string_view gone) {
  if (n == set_of(entry)->size()) return c.remove(c.ns(), entry);
  return c.operate(ValueType::kSet, key, entry, gone);
}

void smove(Context& c) {
  Entry* from = c.find(c.args[1]);
  Entry* to = c.find(c.args[2]);
  const std::string_view member = c.args[3];
  if (from == nullptr) return c.reply.integer(0);
  if (from->type() != ValueType::kSet || (to != nullptr && to->type() != ValueType::kSet)) {
    return c.reply.error(kWrongType);
  }
  if (!set_of(from)->contains(member)) return c.reply.integer(0);
  if (c.args[1] == c.args[2]) return c.reply.integer(1);
  std::string gone, there;
  Set::add_gone(gone, member);
  Set::add_there(there, member);
  c.set_event("srem");
  if (!take_away(c, from, c.args[1], 1, gone)) return;
  c.set_event("sadd");
  if (to == nullptr || !set_of(to)->contains(member)) {
    if (!c.operate(ValueType::kSet, c.args[2], to, there)) return;
  }
  c.reply.integer(1);
}

// ---- all, or some by chance ----

// So many members of a large set as it was, each with the same chance, in the order of its table.
class Members final : public Series {
 public:
  Members(Store& store, KeyHash key, const Set& set, uint64_t count)
      : store_(store),
        walk_(*set.table(), MemberTable::kNoTime, key),
        left_(set.size()),
        count_(count) {}
  bool next(Reply& reply) override {
    StripeLocks lock(store_);
    if (!locked_) lock_set_of(walk_, lock);
    const bool more = walk_.next([&](auto member, auto) {
      if (count_ == left_ || store_.random() % left_ < count_) {
        reply.bulk(member);
        count_--;
      }
      left_--;
    });
    return more && count_ > 0;
  }
  bool lost() const override { return walk_.lost(); }
  std::optional<KeyHash> needs() const override { return walk_.key(); }

 private:
  Store& store_;
  MemberTable::Walk walk_;
  uint64_t left_;   // members to come
  uint64_t count_;  // of them to be handed out
};

// Those that were gathered, and are nobody else's.
class Stretches final : public Series {
 public:
  explicit Stretches(Gathered members) : members_(std::move(members)), bytes_(members_.bytes()) {}
  bool next(Reply& reply) override {
    constexpr int kAtOnce = 512;
    auto& stretches = members_.stretches();
    std::string_view rest = std::string_view(stretches.front()).substr(at_), member;
    for (int i = 0; i < kAtOnce && take_item(rest, member); i++) reply.bulk(member);
    at_ = stretches.front().size() - rest.size();
    if (!rest.empty()) return true;
    bytes_ -= stretches.front().size();
    stretches.pop_front();
    at_ = 0;
    return !stretches.empty();
  }
  size_t bytes() const override { return bytes_; }

 private:
  Gathered members_;
  size_t at_ = 0;  // in the first stretch
  size_t bytes_;
};

// Members by chance, again and again, of a set that is not large: as it was, so that no lock is
// held while they are drawn.
class Draws final : public Series {
 public:
  Draws(Store& store, const Set& set, uint64_t count) : store_(store), left_(count) {
    set.for_each([&](std::string_view member) {
      places_.push_back(static_cast<uint32_t>(items_.size()));
      append_item(items_, member);
    });
  }
  bool next(Reply& reply) override {
    const uint32_t place = places_[store_.random() % places_.size()];
    std::string_view rest = std::string_view(items_).substr(place), member;
    take_item(rest, member);
    reply.bulk(member);
    return --left_ > 0;
  }
  size_t bytes() const override {
    return items_.capacity() + places_.capacity() * sizeof(places_[0]);
  }

 private:
  Store& store_;
  uint64_t left_;
  std::string items_;
  std::vector<uint32_t> places_;
};

// The same of a large one: as it is at each step, for which its key is locked. Should it go
// meanwhile, the rest is drawn from some that were drawn when it was there.
class LargeDraws final : public Series {
 public:
  LargeDraws(Context& c, std::string_view key, const Set& set, uint64_t count)
      : store_(c.store),
        ns_(c.session.ns),
        key_(key),
        hash_(c.ns().hash(key)),
        set_(&set),
        left_(count) {
    constexpr size_t kDrawn = 1000, kBytes = 64 << 10;
    size_t bytes = 0;
    Set::Digits digits;
    while (drawn_.size() < kDrawn && bytes < kBytes) {
      drawn_.emplace_back(set.random(store_.random(), digits));
      bytes += drawn_.back().size();
    }
  }
  bool next(Reply& reply) override {
    constexpr uint64_t kStep = 200, kBytes = 256 << 10;
    StripeLocks lock(store_, hash_);
    const Entry* e = ns_->index->find(key_, hash_);
    const bool there = e != nullptr && !e->is_cold() && e->collection() == set_;
    Set::Digits digits;
    for (uint64_t i = 0, bytes = 0; i < kStep && bytes < kBytes && left_ > 0; i++, left_--) {
      const uint64_t random = store_.random();
      const std::string_view member =
          there ? set_of(e)->random(random, digits) : drawn_[random % drawn_.size()];
      reply.bulk(member);
      bytes += member.size();
    }
    return left_ > 0;
  }
  size_t bytes() const override { return drawn_.size() * (sizeof(std::string) + 64); }
  std::optional<KeyHash> needs() const override { return hash_; }

 private:
  Store& store_;
  const NamespacePtr ns_;
  const std::string key_;
  const KeyHash hash_;
  const Collection* const set_;
  uint64_t left_;
  std::vector<std::string> drawn_;
};

void smembers(Context& c) {
  const Set* set;
  if (!find_set(c, c.args[1], set)) return;
  reply_members(c, c.args[1], set);
}

// Calls fn for so many members by chance, each once; there are more.
template <class Fn>
void choose(Context& c, const Set& set, uint64_t count, Fn fn) {
  uint64_t left = set.size();
  if (count * 3 < left) {
    TextSet chosen;
    Set::Digits digits;
    while (chosen.size() < count) chosen.add(set.random(c.store.random(), digits));
    std::string_view rest = chosen.items(), member;
    while (take_item(rest, member)) fn(member);
    return;
  }
  set.for_each([&](std::string_view member) {
    if (count > 0 && c.store.random() % left < count) {
      fn(member);
      count--;
    }
    left--;
  });
}

// A count of members by chance, which SPOP wants to be positive; answers the error.
bool parse_count(Context& c, bool positive, int64_t& count) {
  constexpr std::string_view kNotPositive = "ERR value is out of range, must be positive";
  if (c.args.size() > 3) return c.syntax_error(), false;
  if (!(positive ? c.integer(2, count, kNotPositive) : c.integer(2, count))) return false;
  if (positive && count < 0) {
    c.reply.error(kNotPositive);
    return false;
  }
  if (!positive && count == INT64_MIN) {
    c.reply.error(
        "ERR value is out of range, value must between -9223372036854775807 and "
        "9223372036854775807");
    return false;
  }
  return true;
}

void srandmember(Context& c) {
  int64_t count = 0;
  const bool one = c.args.size() == 2;
  if (!one && !parse_count(c, false, count)) return;
  const Set* set;
  if (!find_set(c, c.args[1], set)) return;
  Set::Digits digits;
  if (one) {
    if (set == nullptr) return c.reply.null();
    return c.reply.bulk(set->random(c.store.random(), digits));
  }
  if (set == nullptr || count == 0) return c.reply.array(0);
  const auto want = static_cast<uint64_t>(std::abs(count));
  constexpr size_t kDrawsMax = 1000;  // at once
  const uint64_t n = count < 0 ? want : std::min<uint64_t>(want, set->size());
  c.reply.array(n);
  if (count > 0) {
    if (n > kDrawsMax && is_large(*set)) {
      return c.reply.series(std::make_unique<Members>(c.store, c.ns().hash(c.args[1]), *set, n), n);
    }
    if (n == set->size()) return set->for_each([&](auto member) { c.reply.bulk(member); });
    return choose(c, *set, n, [&](auto member) { c.reply.bulk(member); });
  }
  if (n > kDrawsMax && is_large(*set)) {
    return c.reply.series(std::make_unique<LargeDraws>(c, c.args[1], *set, n), n);
  }
  if (n > kDrawsMax) {
    return c.reply.series(std::make_unique<Draws>(c.store, *set, n), n);
  }
  for (uint64_t i = 0; i < n; i++) c.reply.bulk(set->random(c.store.random(), digits));
}

// ---- SPOP ----

// More than so many are taken away in turns, each with a commit of its own: others see the set grow
// smaller meanwhile. In one go a million stop their thread for a fifth of a second.
constexpr uint64_t kPopsAtOnce = 10'000;

void pop_one(Context& c, Entry* entry) {
  if (entry == nullptr) return c.reply.null();
  Set::Digits digits;
  const std::string_view member = set_of(entry)->random(c.store.random(), digits);
  c.reply.bulk(member);
  std::string gone;
  Set::add_gone(gone, member);
  (void)take_away(c, entry, c.args[1], 1, gone);
}

// Takes so many away, fewer than there are, and calls fn for each before.
template <class Fn>
bool pop_some(Context& c, Entry* entry, uint64_t count, Fn fn) {
  std::string gone;
  choose(c, *set_of(entry), count, [&](std::string_view member) {
    fn(member);
    Set::add_gone(gone, member);
  });
  return c.operate(ValueType::kSet, c.args[1], entry, gone);
}

void spop(Context& c) {
  int64_t count = 0;
  const bool one = c.args.size() == 2;
  if (!one && !parse_count(c, true, count)) return;
  Entry* entry;
  if (!c.find(c.args[1], ValueType::kSet, entry)) return;
  if (one) return pop_one(c, entry);
  const auto want = static_cast<uint64_t>(count);
  if (entry == nullptr || want == 0) return c.reply.set(0);
  const Set* set = set_of(entry);
  if (want >= set->size()) {  // who reads it out still has it though it is gone
    reply_members(c, c.args[1], set);
    (void)c.remove(c.ns(), entry);
    return;
  }
  // An EXEC is one moment, however long.
  if (want > kPopsAtOnce && !c.in_exec) return c.defer();
  c.reply.set(want);
  (void)pop_some(c, entry, want, [&](auto member) { c.reply.bulk(member); });
}

// A turn of it; false when nothing more is to be done.
bool pop_turn(Context& c, StripeLocks& locks, uint64_t want, Gathered& popped) {
  constexpr uint64_t kPopsATurn = 1000;
  Context::Turn turn(c, locks);
  Entry* entry;
  if (!c.find(c.args[1], ValueType::kSet, entry) || entry == nullptr) return false;
  if (const Status writes = c.store.check_write(false); !writes.ok()) {
    if (popped.count() == 0) c.status_error(writes);
    return false;
  }
  const uint64_t n = std::min(want - popped.count(), kPopsATurn);
  const Set* set = set_of(entry);
  Gathered now;
  const auto add = [&](std::string_view member) { now.add(member); };
  bool done;
  if (n >= set->size()) {
    set->for_each(add);
    done = c.remove(c.ns(), entry);
  } else {
    done = pop_some(c, entry, n, add);
  }
  if (!done || !turn.commit()) return false;
  for (std::string& items : now.stretches()) popped.add_stretch(std::move(items), 0);
  popped.add_count(now.count());
  return popped.count() < want && n == now.count();
}

awaitable<void> spop_deferred(Context& c) {
  int64_t count = 0;
  if (!parse_count(c, true, count)) co_return;
  const auto want = static_cast<uint64_t>(count);
  uint64_t bytes = 0;
  {
    StripeLocks locks(c.store);
    const bool locked = co_await lock_keys(c, locks);
    if (!locked) co_return;
    Context::Turn turn(c, locks);
    const Set* set;
    if (!find_set(c, c.args[1], set)) co_return;
    if (set != nullptr) bytes = set->image_bytes();
  }
  const auto share = co_await c.workspace(bytes);
  if (share == nullptr) co_return;
  Gathered popped;
  const Reply::Mark mark = c.reply.mark();
  Context turns(c.engine, c.session, c.request, c.reply);
  for (bool more = true; more;) {
    if (c.given_up()) co_return;
    {
      StripeLocks locks(c.store);
      const bool locked = co_await lock_keys(turns, locks);
      more = locked && pop_turn(turns, locks, want, popped);
    }
    co_await between_turns(c);
  }
  c.reply.cut(mark);  // the key may hold something else by now: what was taken is answered
  const bool refused = popped.count() == 0 && !turns.failure().empty();
  end_turns(c, turns, popped.count() > 0);
  if (!refused) reply_gathered(c, std::move(popped));
}

// ---- SSCAN ----

void sscan(Context& c) {
  uint64_t cursor;
  if (!parse_cursor(c, c.args[2], cursor)) return;
  const Set* set;
  if (!find_set(c, c.args[1], set)) return;
  const auto nothing = [&c] {
    c.reply.array(2);
    c.reply.bulk("0");
    c.reply.array(0);
  };
  if (set == nullptr) return nothing();  // before the options are looked at, as in Redis
  int64_t count = 10;
  std::optional<Glob> match;
  for (size_t i = 3; i < c.args.size(); i += 2) {
    if (i + 1 < c.args.size() && equals_ignoring_case(c.args[i], "match")) {
      match.emplace(c.args[i + 1]);
    } else if (i + 1 < c.args.size() && equals_ignoring_case(c.args[i], "count")) {
      if (!c.integer(i + 1, count)) return;
      if (count < 1) return c.syntax_error();
    } else {
      return c.syntax_error();
    }
  }
  if (cursor > UINT64_MAX >> 16) return nothing();  // behind its last member
  Gathered found;
  const auto limit = static_cast<size_t>(std::min(count, kScanCountMax));
  const uint64_t next = set->scan(cursor, limit, [&](std::string_view member) {
    if (!match || match->matches(member)) found.add(member);
  });
  c.reply.array(2);
  c.reply.bulk(cat(next));
  c.reply.array(found.count());
  for (const std::string& items : found.stretches()) {
    std::string_view rest = items, member;
    while (take_item(rest, member)) c.reply.bulk(member);
  }
}

constexpr uint32_t kRead = kReadOnly | kFast;
constexpr std::string_view kGroup = "set";
constexpr KeySpec kDeletesFromKey[] = {{.flags = kKeyReadWrite | kKeyDelete}};
constexpr KeySpec kPopsFromKey[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete}};
constexpr KeySpec kMovesMember[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete},
                                    {.flags = kKeyReadWrite | kKeyInsert, .first = 2}};
constexpr Row kRows[] = {
    {"sadd", -3, kWrite | kDenyOom | kFast | kLongArgs, kInsertsIntoKey, sadd, nullptr, kGroup,
     "Adds one or more members to a set. Creates the key if it doesn't exist."},
    {"srem", -3, kWrite | kFast | kLongArgs, kDeletesFromKey, srem, nullptr, kGroup,
     "Removes one or more members from a set. Deletes the set if the last member was removed."},
    {"sismember", 3, kRead | kLongArgs, kLooksAtKey, sismember, nullptr, kGroup,
     "Determines whether a member belongs to a set."},
    {"smismember", -3, kRead | kLongArgs, kReadsKey, smismember, nullptr, kGroup,
     "Determines whether multiple members belong to a set.", "6.2.0"},
    {"scard", 2, kRead, kLooksAtKey, scard, nullptr, kGroup,
     "Returns the number of members in a set."},
    {"smembers", 2, kReadOnly, kReadsKey, smembers, nullptr, kGroup,
     "Returns all members of a set."},
    {"smove", 4, kWrite | kFast | kBatch | kLongArgs, kMovesMember, smove, nullptr, kGroup,
     "Moves a member from one set to another."},
    {"spop", -2, kWrite | kFast, kPopsFromKey, spop, spop_deferred, kGroup,
     "Returns one or more random members from a set after removing them. Deletes the set if the "
     "last member was popped."},
    {"srandmember", -2, kReadOnly, kReadsKey, srandmember, nullptr, kGroup,
     "Get one or multiple random members from a set"},
    {"sscan", -3, kReadOnly | kLongArgs, kReadsKey, sscan, nullptr, kGroup,
     "Iterates over members of a set.", "2.8.0"},
};

}  // namespace

void reply_gathered(Context& c, Gathered members) {
  constexpr uint64_t kAtOnceBytes = 64 << 10;
  const uint64_t n = members.count();
  c.reply.set(n);
  if (members.bytes() > kAtOnceBytes) {
    return c.reply.series(std::make_unique<Stretches>(std::move(members)), n);
  }
  for (const std::string& items : members.stretches()) {
    std::string_view rest = items, member;
    while (take_item(rest, member)) c.reply.bulk(member);
  }
}

void reply_members(Context& c, std::string_view key, const Set* set) {
  const size_t n = set == nullptr ? 0 : set->size();
  c.reply.set(n);
  if (n == 0) return;
  if (is_large(*set)) {
    return c.reply.series(std::make_unique<Members>(c.store, c.ns().hash(key), *set, n), n);
  }
  set->for_each([&](auto member) { c.reply.bulk(member); });
}

std::span<const Row> set_rows() { return kRows; }

}  // namespace cairn::kv

#include "core/store/memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/alarms.h"
#include "core/base/async.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/keyspace.h"
#include "core/store/transaction.h"

namespace cairn {

namespace {

constexpr std::pair<EvictionPolicy, std::string_view> kPolicies[] = {
    {EvictionPolicy::kNoEviction, "noeviction"},
    {EvictionPolicy::kAllKeysLru, "allkeys-lru"},
    {EvictionPolicy::kAllKeysLfu, "allkeys-lfu"},
    {EvictionPolicy::kAllKeysRandom, "allkeys-random"},
    {EvictionPolicy::kVolatileLru, "volatile-lru"},
    {EvictionPolicy::kVolatileLfu, "volatile-lfu"},
    {EvictionPolicy::kVolatileRandom, "volatile-random"},
    {EvictionPolicy::kVolatileTtl, "volatile-ttl"},
};

constexpr uint64_t kWholeMin = 128 << 20;  // the process itself takes half of that
constexpr int64_t kBarrenMs = 1000;        // between rounds that find nothing
constexpr uint64_t kBarrenPart = 256;      // of the limit: a round that frees less found nothing
constexpr int64_t kCutMs = 500;            // until what went has shown
// Parts of the limit. What lies free between entries is moved together from kLoosePart on. Of the
// others: how far a process may grow past the limit before its budget is cut, by how much more
// before it is cut again, and where it is cut in any case.
constexpr uint64_t kLoosePart = 128;
constexpr uint64_t kCutPart = 128, kCutAgainPart = 256, kCutAlwaysPart = 28;
// What is kept free: as much as are holes now, at least and at most such parts, and a little for
// what is not counted and comes and goes. It follows a rise at once, and a fall so slowly, in
// ticks. Holes beyond kLooseMostPart are gone before a cut would show.
constexpr uint64_t kReserveLeastPart = 64, kReserveMostPart = 16, kReserveSparePart = 128;
constexpr uint64_t kReserveSpareMin = 3 << 20;
constexpr uint64_t kReserveDecay = 128;
constexpr uint64_t kLooseMostPart = 8;
constexpr uint64_t kScatteredPart = 16;  // moved together where less than that of the limit is left
constexpr uint64_t kChoosingRest = 16;
constexpr int kChoosingRounds = 2;   // that empty pages which were found and find others
constexpr size_t kMoveTurns = 4;     // in a tick
constexpr size_t kMoveSlots = 4;     // what one that is moved counts in a turn
constexpr size_t kTurnSlots = 8192;  // before others have their turn
constexpr size_t kSlots = 256;       // under one lock
// shed() does the work of eight calls in one of them: most of it is to find the place where the
// last sweep of a stripe ended.
constexpr size_t kShedEvery = 8;
constexpr size_t kLookEvery = 1024;
constexpr size_t kShedSlots = 64 * kShedEvery, kShedVictims = 4 * kShedEvery;

}  // namespace

std::string_view name_of(EvictionPolicy policy) {
  for (auto& [p, name] : kPolicies) {
    if (p == policy) return name;
  }
  return {};
}

std::optional<EvictionPolicy> eviction_policy(std::string_view name) {
  for (auto& [policy, n] : kPolicies) {
    if (equals_ignoring_case(n, name)) return policy;
  }
  return std::nullopt;
}

uint64_t process_resident_bytes() {
  static const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  char text[128];
  const ssize_t n = ::pread(file, text, sizeof(text), 0);
  const std::string_view all(text, n > 0 ? static_cast<size_t>(n) : 0);
  const size_t begin = all.find(' ') + 1, end = all.find(' ', begin);
  if (begin == 0 || end == all.npos) return 0;
  return parse_int<uint64_t>(all.substr(begin, end - begin)).value_or(0) *
         static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

bool MemoryKeeper::may_spill(const Entry* e) const {
  if (e->is_bare()) return false;
  const Collection* c = e->collection();
  return c == nullptr || (c->next_due() == INT64_MAX && c->image_bytes() <= keyspace_.part_bytes());
}

bool MemoryKeeper::evicts(const Entry* e) const {
  switch (policy()) {
    case EvictionPolicy::kNoEviction:
      return false;
    case EvictionPolicy::kAllKeysLru:
    case EvictionPolicy::kAllKeysLfu:
    case EvictionPolicy::kAllKeysRandom:
      return true;
    default:
      return e->has_expiry();
  }
}

MemoryKeeper::MemoryKeeper(Keyspace& keyspace)
    : keyspace_(keyspace), count_(keyspace.memory_count()) {}

// Entries that lie in pages which had better become empty, on their way to others.
class MemoryKeeper::Moves {
 public:
  void add(Entry* e) {
    if (n_ == moves_.size()) return;
    Entry* denser = e->make_denser();
    if (denser == nullptr) return;
    moves_[n_++] = {e, denser};
    bytes_ += denser->bytes();
  }
  uint64_t bytes() const { return bytes_; }
  // Under the stripe's lock, as add().
  size_t make(Keyspace& keyspace, Namespace& ns) {
    for (size_t i = 0; i < n_; i++) {
      auto [from, to] = moves_[i];
      keyspace.link(ns, ns.hash(to->key()), from, to);
      Entry::destroy(from);
    }
    return n_;
  }

 private:
  std::array<std::pair<Entry*, Entry*>, kVictimsMax> moves_;
  size_t n_ = 0;
  uint64_t bytes_ = 0;
};

MemoryKeeper::Sweep MemoryKeeper::sweep(Namespace& ns, size_t stripe, size_t slots,
                                        size_t victims_max, bool may_choose) {
  Sweep out;
  const EvictionPolicy policy = this->policy();
  const bool cools =
      policy != EvictionPolicy::kAllKeysRandom && policy != EvictionPolicy::kVolatileRandom;
  const Lsn durable = keyspace_.log().durable();
  std::array<std::pair<Entry*, bool>, kVictimsMax> victims;  // and whether it is deleted
  size_t n = 0;
  victims_max = std::min(victims_max, kVictimsMax);
  const bool evictable = ns.id != kSystemNamespace && !ns.is_bucket() && !is_versions(ns.id);
  if (policy == EvictionPolicy::kVolatileTtl && evictable) {
    if (Entry* next = keyspace_.next_to_expire(ns, stripe)) victims[n++] = {next, true};
  }
  const bool scattered = scattered_.load(std::memory_order_relaxed);
  const bool chooses = scattered && may_choose;
  bool lies_well = false;
  const auto goes = [&](Entry* e) {
    lies_well = false;
    if (n >= victims_max) return false;
    const bool evict = evictable && evicts(e) && policy != EvictionPolicy::kVolatileTtl;
    if (!evict && !may_spill(e)) return false;
    if (e->heat() > 0 && (cools || !evict)) {
      e->cool();
      return false;
    }
    if (!evict && e->lsn() >= durable) {
      out.undurable = true;
      return false;
    }
    if (chooses && !e->lies_loosely()) {
      lies_well = true;
      return false;
    }
    victims[n++] = {e, evict};
    return true;
  };
  Moves moves;
  const bool bare = policy != EvictionPolicy::kNoEviction;
  size_t left = slots;
  out.end = ns.index->sweep(stripe, left, bare, [&](Entry* e) {
    if (n > 0 && e == victims[0].first) return;
    if (!goes(e) && scattered && !lies_well) moves.add(e);
  });
  moves.make(keyspace_, ns);
  out.slots = slots - left;
  for (size_t i = 0; i < n; i++) {
    auto [e, evict] = victims[i];
    const KeyHash hash = ns.hash(e->key());
    const uint64_t before = e->bytes();
    if (!evict && e->collection() != nullptr && !keyspace_.spill_collection(ns, hash, e)) {
      out.undurable = true;
    } else if (!evict) {
      out.freed_bytes += before - keyspace_.spill(ns, hash, e)->bytes();
      spilled_.fetch_add(1, std::memory_order_relaxed);
    } else if (planted(Bug::kEvictedSilently)) {
      keyspace_.link(ns, hash, e, nullptr);
      keyspace_.dispose(e, keyspace_.log().tail());
    } else if (Transaction t(keyspace_, nullptr, Shape::kOne, Wish::kNone, Cause::kEviction);
               t.remove(ns, hash, e).ok()) {
      out.freed_bytes += before;
      evicted_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  if (out.undurable) waits_for_log_.store(true, std::memory_order_relaxed);
  return out;
}

void MemoryKeeper::shed(Namespace& ns, size_t stripe) {
  const unsigned n = sheds_.load(std::memory_order_relaxed);  // a call lost here and there is none
  sheds_.store(n + 1, std::memory_order_relaxed);
  if (n % kShedEvery != 0 || holds_.load(std::memory_order_relaxed) != 0) return;
  if (n % kLookEvery == 0 && has_measure()) {  // a tick is late where others are busy
    look_for_holes(keyspace_.memory_bytes(), count_.total(), entry_heap::loose_bytes());
  }
  sweep(ns, stripe, kShedSlots, kShedVictims, true);
  count_.look();
}

bool MemoryKeeper::help() {
  if (!overrun()) return true;
  const std::vector<NamespacePtr> spaces = keyspace_.spaces();
  size_t slots = 0;
  const size_t stripes = kStripes * (Entry::kHeatUsed + 1);  // so often it finds a warm entry cold
  for (size_t n = 0; n < stripes && slots < kTurnSlots && holds_ == 0 && count_.over(); n++) {
    const size_t stripe = help_stripe_.fetch_add(1, std::memory_order_relaxed) % kStripes;
    StripeLocks lock(keyspace_);
    if (!lock.lock_idle(KeyHash{stripe} << (64 - kStripeBits))) continue;
    for (auto& ns : spaces) {
      if (ns->size() > 0 && !ns->dropped) {
        slots += sweep(*ns, stripe, kSlots, kShedVictims, n < stripes / 2).slots;
      }
    }
  }
  count_.look();
  if (waits_for_log_.exchange(false, std::memory_order_relaxed)) keyspace_.log().tick(true);
  return !overrun();
}

awaitable<void> MemoryKeeper::wait_for_room(absl::FunctionRef<bool()> gone) {
  constexpr int64_t kPatienceMs = 1000;
  Log& log = keyspace_.log();
  const auto executor = co_await asio::this_coro::executor;
  for (int64_t begun = keyspace_.now_ms(), now = begun; now - begun < kPatienceMs;) {
    // Once the log failed nothing becomes durable any more, and writes are refused for that.
    const Lsn durable = log.durable();  // what becomes durable while help() looks is more already
    if (help() || gone() || !log.status().ok()) co_return;
    // Without a flush they grow cold by ticks. Others have their turn in any case.
    co_await log.wait_for_more(durable, Keyspace::kTickMs);
    co_await asio::post(executor, asio::use_awaitable);
    now = keyspace_.now_ms();
    begun = std::min(begun, now);  // the clock may be set back
  }
}

bool MemoryKeeper::has_measure() const {
  return keyspace_.memory_bytes() >= kWholeMin && keyspace_.options().resident_bytes;
}

uint64_t MemoryKeeper::budget() {
  const uint64_t limit = keyspace_.memory_bytes();
  if (limit == 0) return UINT64_MAX;
  if (!has_measure()) return limit;
  return std::max(limit - std::min(limit, beside_bytes_.load()), limit / 4);
}

void MemoryKeeper::limit_changed() {
  begins_anew_ = true;
  count_.set_exhausted(false);
  count_.set_budget(budget());
}

// What the process holds beside is taken as it is as long as nothing has to go. While room is made,
// what went leaves holes that the next values fill, so it is not: to make room for holes would
// empty the store. Then it is lowered as they are filled, and raised only by cuts, when the process
// grew past the limit; what is cut has half a second to show.
void MemoryKeeper::measure_process(uint64_t limit, uint64_t used) {
  const uint64_t all = keyspace_.options().resident_bytes(), loose = entry_heap::loose_bytes();
  apart_bytes_ = all - std::min(all, used + loose);
  look_for_holes(limit, used, loose);
  const bool begins = limit != std::exchange(reserve_for_, limit);
  const uint64_t wanted = std::clamp(loose, limit / kReserveLeastPart, limit / kReserveMostPart) +
                          std::max(limit / kReserveSparePart, kReserveSpareMin);
  if (begins) reserve_bytes_ = 0;
  if (reserve_bytes_ < wanted) {
    beside_bytes_ = std::min(beside_bytes_ + wanted - reserve_bytes_, limit);
    reserve_bytes_ = wanted;
  } else if (pressed()) {
    reserve_bytes_ -= (reserve_bytes_ - wanted) / kReserveDecay;
  }
  const uint64_t tight = all - (loose - std::min(loose, limit / kLooseMostPart));
  const uint64_t beside = all - std::min(all, used + loose) + reserve_bytes_;
  if (begins || all <= limit) cut_above_ = limit + limit / kCutPart;
  if (begins) {
    beside_bytes_ = std::min(beside, limit);
    return;
  }
  const uint64_t again = limit / kCutAgainPart;
  if (tight > std::min(cut_above_, limit + limit / kCutAlwaysPart) && used <= budget()) {
    if (measured_ms_ < next_cut_ms_) return;
    next_cut_ms_ = measured_ms_ + kCutMs;
    // What was cut before and does not show may never show; it is not asked for twice.
    const uint64_t grown = tight > cut_above_ ? tight - (cut_above_ - again) : 0;
    uint64_t cut = grown + (tight - limit - grown) / 8;
    cut_above_ = std::max(cut_above_, tight + again);
    if (loose > reserve_bytes_) {  // of which some will be gone
      cut /= 2;
      reserve_bytes_ += std::min(cut, loose - reserve_bytes_);
    }
    beside_bytes_ = std::min(beside_bytes_ + cut, limit);
    release();
  } else if (all > limit && used > budget() && measured_ms_ >= next_cut_ms_) {
    // Over the budget for what the process holds beside, of which some may lie free.
    next_cut_ms_ = measured_ms_ + kCutMs;
    release();
  } else if (beside < beside_bytes_) {
    beside_bytes_ -= (beside_bytes_ - beside) / 16;
  } else if (!pressed()) {
    const uint64_t room = 2 * MemoryCount::slack(budget());
    const uint64_t most = limit - std::min(limit, used + room);  // nothing has to go for this
    beside_bytes_ = std::max(beside_bytes_.load(), std::min(beside, most));
  }
}

// Whether much lies free between entries, and memory is short.
void MemoryKeeper::look_for_holes(uint64_t limit, uint64_t used, uint64_t loose) {
  scattered_ =
      loose > limit / kLoosePart && apart_bytes_ + used + loose > limit - limit / kScatteredPart;
}

void MemoryKeeper::measure() {
  const int64_t now = keyspace_.now_ms();
  if (now < measured_ms_) rests_until_ms_ = next_cut_ms_ = 0;  // the clock was set back
  measured_ms_ = now;
  const uint64_t limit = keyspace_.memory_bytes(), used = count_.total();
  peak_bytes_ = std::max(peak_bytes_.load(), used);
  if (has_measure()) {
    measure_process(limit, used);
  } else {
    scattered_ = false;
  }
  if (begins_anew_.exchange(false)) {
    barren_rounds_ = 0;
    rests_until_ms_ = 0;
  }
  const uint64_t budget = this->budget();
  count_.set_budget(budget);
  const uint64_t goal = budget - MemoryCount::slack(budget) / 2;
  deficit_bytes_ = limit != 0 && used > goal ? used - goal : 0;
  if (pressed() && waits_for_log_.exchange(false)) keyspace_.log().tick(true);
  if (used <= budget) count_.set_exhausted(false);
  if (deficit_bytes_ == 0) barren_rounds_ = 0;
}

awaitable<void> MemoryKeeper::make_room() {
  const int rounds = counts_frequency() ? Entry::kHeatMax + 1 : Entry::kHeatUsed + 1;
  auto executor = co_await asio::this_coro::executor;
  std::vector<NamespacePtr> spaces = keyspace_.spaces();
  const uint64_t barren = keyspace_.memory_bytes() / kBarrenPart;
  const uint64_t little = keyspace_.memory_bytes() / kReserveMostPart;
  const auto chooses = [&] {
    return scattered_ && barren_rounds_ < kChoosingRounds && deficit_bytes_ < little;
  };
  uint64_t freed = 0;
  size_t turn = 0;
  while (freed < deficit_bytes_ && holds_ == 0 && !keyspace_.stopping_) {
    for (auto& ns : spaces) {
      for (bool end = ns->size() == 0; !end;) {
        Sweep swept;
        {
          StripeLocks lock(keyspace_);
          if (!lock.lock_idle(KeyHash{stripe_} << (64 - kStripeBits)) || ns->dropped) break;
          swept = sweep(*ns, stripe_, kSlots, kVictimsMax, chooses());
        }
        freed += swept.freed_bytes;
        round_freed_ += swept.freed_bytes;
        round_waits_ |= swept.undurable;
        end = swept.end;
        turn += swept.slots + 1;
        if (turn < kTurnSlots) continue;
        turn = 0;
        co_await asio::post(executor, asio::use_awaitable);
        if (keyspace_.now_ms() < measured_ms_ + Keyspace::kTickMs) continue;
        measure();  // others did not wait either
        freed = 0;
      }
    }
    if (++stripe_ < kStripes) continue;
    stripe_ = 0;
    const bool found = round_freed_ > (chooses() ? barren / kChoosingRest : barren);
    barren_rounds_ = found || round_waits_ ? 0 : barren_rounds_ + 1;
    const bool waits = !found && round_waits_;
    round_freed_ = 0;
    round_waits_ = false;
    if (barren_rounds_ >= rounds) {
      if (!begins_anew_) count_.set_exhausted(count_.over());
      rests_until_ms_ = keyspace_.now_ms() + kBarrenMs;
      co_return;
    }
    if (waits) co_return;
  }
  if (freed >= deficit_bytes_) barren_rounds_ = 0;
}

size_t MemoryKeeper::move_some(Namespace& ns, size_t stripe, size_t& slots) {
  StripeLocks lock(keyspace_);
  if (!lock.lock_idle(KeyHash{stripe} << (64 - kStripeBits)) || ns.dropped) return 0;
  Moves moves;
  ns.index->sweep(stripe, slots, true, [&](Entry* e) { moves.add(e); });
  moved_bytes_ += moves.bytes();
  return moves.make(keyspace_, ns);
}

// Where a whole round found little to move, what lies free is not theirs: a rest then, or a store
// of entries that may not move would be looked through for ever.
awaitable<void> MemoryKeeper::move_together() {
  if (measured_ms_ < moves_from_ms_) co_return;
  auto executor = co_await asio::this_coro::executor;
  std::vector<NamespacePtr> spaces = keyspace_.spaces();
  for (size_t turn = 0; turn < kMoveTurns && !keyspace_.stopping_; turn++) {
    for (size_t work = 0; work < kTurnSlots;) {
      for (auto& ns : spaces) {
        size_t left = ns->size() == 0 ? 0 : kSlots;
        const size_t slots = left;
        if (slots > 0) work += kMoveSlots * move_some(*ns, moved_stripe_, left);
        work += slots - left + 1;
      }
      moved_stripe_ = (moved_stripe_ + 1) % kStripes;
      if (moved_stripe_ != 0) continue;
      const bool little = moved_bytes_ < keyspace_.memory_bytes() / kBarrenPart;
      moved_bytes_ = 0;
      if (!little) continue;
      moves_from_ms_ = measured_ms_ + kBarrenMs;
      co_return;
    }
    co_await asio::post(executor, asio::use_awaitable);
  }
}

// Freed values leave holes in the allocator's pages, and pages that a thread which now sleeps would
// have to give back: 190 MB were resident with 40 MB in use, and writes refused, before this.
void MemoryKeeper::release() {
  if (!keyspace_.options().release_memory) return;
  for (const Executor& executor : keyspace_.executors()) {
    asio::post(executor, keyspace_.options().release_memory);
  }
  MutexLock lock(others_mutex_);
  if (release_others_) release_others_();
}

awaitable<void> MemoryKeeper::run() {
  while (!keyspace_.stopping_) {
    co_await keyspace_.rest(Keyspace::kTickMs);
    measure();
    if (deficit_bytes_ > 0 && (overrun() || keyspace_.now_ms() >= rests_until_ms_)) {
      co_await make_room();
      count_.look();
    }
    if (scattered_) co_await move_together();
  }
}

}  // namespace cairn

// Taking the lowest or highest members out of sorted sets.
//
// Many of one that keeps some are taken in turns, each with a commit of its own: others see the set
// grow smaller meanwhile. What was taken is in the answer and nowhere else, so the command keeps it
// in its own memory (Workspace).
#include <algorithm>
#include <deque>

#include "core/base/text.h"
#include "kv/commands/sorted_set_view.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

using Item = SortedSet::Item;

// More than so many are taken in turns.
constexpr uint64_t kPopsAtOnce = 10'000;

struct Pop {
  bool one_of_some = false;  // it names a key of several, and answers which it was
  bool highest = false;
  Form form = Form::kFlat;
  uint64_t count = 1;
  size_t first = 1, end = 2;  // its keys
};

bool parse_pop(Context& c, Pop& p) {
  constexpr std::string_view kNotPositive = "ERR value is out of range, must be positive";
  if (c.args.size() > 3) return c.syntax_error(), false;
  if (c.args.size() < 3) return true;
  int64_t count;
  if (!c.integer(2, count, kNotPositive)) return false;
  if (count < 0) return c.reply.error(kNotPositive), false;
  p.count = static_cast<uint64_t>(count);
  p.form = form_of(true, c.session.resp);
  return true;
}

bool parse_pop_of_some(Context& c, Pop& p) {
  PopOfSets pops;
  if (!parse(c, 1, pops)) return false;
  p.first = pops.first;
  p.end = pops.end;
  p.highest = pops.highest;
  p.count = pops.count;
  p.form = Form::kPairs;
  p.one_of_some = true;
  return true;
}

// The first of the keys that holds something, and what; false after it answered that one of them
// holds something else, or that there is nothing.
bool choose(Context& c, const Pop& p, std::string_view& key, Entry*& entry) {
  for (size_t i = p.first; i < p.end; i++) {
    key = c.args[i];
    if (!find_sorted_set(c, key, entry)) return false;
    if (entry != nullptr && p.count > 0) return true;
  }
  p.one_of_some ? c.reply.null_array() : c.reply.array(0);
  return false;
}

void name_key(Context& c, const Pop& p, std::string_view key) {
  if (!p.one_of_some) return;
  c.reply.array(2);
  c.reply.bulk(key);
}

void run(Context& c, const Pop& p) {
  std::string_view key;
  Entry* entry;
  if (!choose(c, p, key, entry)) return;
  const uint64_t size = sorted_set_of(entry)->size();
  const uint64_t n = std::min(size, p.count);
  if (n > kPopsAtOnce && n < size && !c.in_exec) return c.defer();
  name_key(c, p, key);
  c.set_event(p.highest ? "zpopmax" : "zpopmin");
  if (n == size) {  // who reads it out still has it though it is gone
    reply_ranks(c, *sorted_set_of(entry), {p.highest ? size - 1 : 0, n, p.highest}, p.form);
    (void)c.remove(c.ns(), entry);
    return;
  }
  announce(c.reply, p.form, n);
  (void)pop(c, key, entry, p.highest, n, [&](const Item& i) { reply_item(c.reply, p.form, i); });
}

// ---- in turns ----

// Those that were taken, and are nobody else's: operations of add_score().
struct Popped {
  std::string_view key;
  std::deque<std::string> parts;
  uint64_t count = 0, bytes = 0;
};

class Items final : public Series {
 public:
  Items(Popped popped, Form form) : popped_(std::move(popped)), form_(form) {}
  bool next(Reply& reply) override {
    constexpr int kAtOnce = 500;
    auto& parts = popped_.parts;
    std::string_view rest = std::string_view(parts.front()).substr(at_);
    Item item;
    for (int i = 0; i < kAtOnce && SortedSet::take_item(rest, item); i++) {
      reply_item(reply, form_, item);
    }
    at_ = parts.front().size() - rest.size();
    if (!rest.empty()) return true;
    popped_.bytes -= parts.front().size();
    parts.pop_front();
    at_ = 1;
    return !parts.empty();
  }
  size_t bytes() const override { return popped_.bytes; }

 private:
  Popped popped_;
  size_t at_ = 1;  // in the first part
  const Form form_;
};

// The next ones as an operation, at most so many; `n` becomes how many they are.
std::string next_items(const SortedSet& set, bool highest, uint64_t most, uint64_t& n) {
  constexpr uint64_t kATurn = 1000, kStep = 50, kBytes = 256 << 10;
  most = std::min(most, kATurn);
  std::string items;
  for (n = 0; n < most && items.size() < kBytes;) {
    const uint64_t step = std::min(kStep, most - n);
    set.for_each(highest ? set.size() - 1 - n : n, step, highest,
                 [&](const Item& item) { SortedSet::add_score(items, item); });
    n += step;
  }
  return items;
}

// False when nothing more is to be done.
bool pop_turn(Context& c, const Pop& p, StripeLocks& locks, Popped& popped) {
  Context::Turn turn(c, locks);
  Entry* entry;
  if (popped.count == 0) {
    if (!choose(c, p, popped.key, entry)) return false;
  } else {
    entry = c.find(popped.key);
    if (entry == nullptr || entry->type() != ValueType::kSortedSet) return false;
  }
  const Status writes = c.store.check_write(false);
  if (!writes.ok()) {
    if (popped.count == 0) c.status_error(writes);
    return false;
  }
  const SortedSet& set = *sorted_set_of(entry);
  const uint64_t size = set.size();
  uint64_t n;
  std::string items = next_items(set, p.highest, std::min(size, p.count - popped.count), n);
  const Ranks ranks{p.highest ? size - n : 0, n, false};
  c.set_event(p.highest ? "zpopmax" : "zpopmin");
  if (!remove_ranks(c, popped.key, entry, ranks) || !turn.commit()) return false;
  popped.count += n;
  popped.bytes += items.size();
  popped.parts.push_back(std::move(items));
  return popped.count < p.count;
}

// How much memory what is taken will need, about; nothing after it answered.
std::optional<uint64_t> bytes_of(Context& c, const Pop& p, StripeLocks& locks) {
  Context::Turn turn(c, locks);
  std::string_view key;
  Entry* entry;
  if (!choose(c, p, key, entry)) return std::nullopt;
  const SortedSet& set = *sorted_set_of(entry);
  return set.image_bytes() / set.size() * std::min<uint64_t>(p.count, set.size());
}

awaitable<void> run_in_turns(Context& c, const Pop& p) {
  const Reply::Mark mark = c.reply.mark();
  std::optional<uint64_t> bytes;
  {
    StripeLocks locks(c.store);
    const bool locked = co_await lock_keys(c, locks);
    if (locked) bytes = bytes_of(c, p, locks);
  }
  if (!bytes) co_return;
  const auto share = co_await c.workspace(*bytes);
  if (share == nullptr) co_return;
  Popped popped;
  Context turns(c.engine, c.session, c.request, c.reply);
  for (bool more = true; more;) {
    if (c.given_up()) co_return;
    {
      StripeLocks locks(c.store);
      const bool locked = co_await lock_keys(turns, locks);
      more = locked && pop_turn(turns, p, locks, popped);
    }
    co_await between_turns(c);
  }
  end_turns(c, turns, popped.count > 0);
  if (popped.count == 0) co_return;
  c.reply.cut(mark);  // what was taken is answered
  name_key(c, p, popped.key);
  const uint64_t values = announce(c.reply, p.form, popped.count);
  c.reply.series(std::make_unique<Items>(std::move(popped), p.form), values);
}

// ---- the commands ----

template <bool kHighest>
void zpop(Context& c) {
  Pop p;
  p.highest = kHighest;
  if (parse_pop(c, p)) run(c, p);
}
template <bool kHighest>
awaitable<void> zpop_deferred(Context& c) {
  Pop p;
  p.highest = kHighest;
  if (parse_pop(c, p)) co_await run_in_turns(c, p);
}

void zmpop(Context& c) {
  Pop p;
  if (parse_pop_of_some(c, p)) run(c, p);
}
awaitable<void> zmpop_deferred(Context& c) {
  Pop p;
  if (parse_pop_of_some(c, p)) co_await run_in_turns(c, p);
}

constexpr std::string_view kGroup = kSortedSetGroup;
constexpr KeySpec kPops[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete}};
constexpr KeySpec kPopsOfSome[] = {
    {.flags = kKeyReadWrite | kKeyAccess | kKeyDelete, .count_at = 0}};
constexpr Row kRows[] = {
    {"zpopmin", -2, kWrite | kFast, kPops, zpop<false>, zpop_deferred<false>, kGroup,
     "Removes and returns the members of a sorted set that have the lowest scores.", "5.0.0"},
    {"zpopmax", -2, kWrite | kFast, kPops, zpop<true>, zpop_deferred<true>, kGroup,
     "Removes and returns the members of a sorted set that have the highest scores.", "5.0.0"},
    {"zmpop", -4, kWrite, kPopsOfSome, zmpop, zmpop_deferred, kGroup,
     "Removes and returns the lowest or highest members of the first of some sorted sets.",
     "7.0.0"},
};

}  // namespace

bool remove_ranks(Context& c, std::string_view key, Entry* entry, const Ranks& ranks) {
  const SortedSet& set = *sorted_set_of(entry);
  if (ranks.count == 0) return true;
  if (ranks.count == set.size()) return c.remove(c.ns(), entry);
  const auto first = set.at(ranks.first), last = set.at(ranks.first + ranks.count - 1);
  // Of what is undone if the transaction comes to nothing a copy is kept.
  if (c.in_exec && ranks.count > kMembersAtOnce &&
      set.image_bytes() / set.size() * ranks.count > c.store.log().record_bytes_max()) {
    c.status_error(absl::ResourceExhaustedError(
        "too many members to be removed at once within a transaction"));
    return false;
  }
  return c.operate(ValueType::kSortedSet, key, entry, SortedSet::range_gone(first, last));
}

bool parse(Context& c, size_t word, PopOfSets& pops) {
  const auto fail = [&c](std::string_view text) {
    c.reply.error(text);
    return false;
  };
  constexpr std::string_view kSyntax = "ERR syntax error";
  constexpr std::string_view kKeys = "ERR numkeys should be greater than 0";
  constexpr std::string_view kCount = "ERR count should be greater than 0";
  int64_t keys;
  if (!c.integer(word, keys, kKeys)) return false;
  if (keys < 1) return fail(kKeys);
  const size_t words = c.args.size();
  if (keys >= static_cast<int64_t>(words - word) - 1) return fail(kSyntax);
  pops.first = word + 1;
  pops.end = pops.first + static_cast<size_t>(keys);
  pops.highest = equals_ignoring_case(c.args[pops.end], "max");
  if (!pops.highest && !equals_ignoring_case(c.args[pops.end], "min")) return fail(kSyntax);
  if (pops.end + 1 == words) return true;
  if (pops.end + 2 >= words || !equals_ignoring_case(c.args[pops.end + 1], "count")) {
    return fail(kSyntax);
  }
  int64_t count;
  if (!c.integer(pops.end + 2, count, kCount)) return false;
  if (count < 1) return fail(kCount);
  pops.count = static_cast<uint64_t>(count);
  return pops.end + 3 == words || fail(kSyntax);
}

void pop_some(Context& c, size_t word, Entry* entry, const PopOfSets& pops) {
  const uint64_t n = std::min(sorted_set_of(entry)->size(), pops.count);
  c.reply.array(2);
  c.reply.bulk(c.args[word]);
  c.reply.array(n);
  (void)pop(c, c.args[word], entry, pops.highest, n,
            [&](const SortedSet::Item& item) { reply_item(c.reply, Form::kPairs, item); });
}

bool pop(Context& c, std::string_view key, Entry* entry, bool highest, uint64_t count,
         SortedSet::Visit visit) {
  const SortedSet& set = *sorted_set_of(entry);
  const uint64_t size = set.size();
  set.for_each(highest ? size - 1 : 0, count, highest, visit);
  c.set_event(highest ? "zpopmax" : "zpopmin");
  return remove_ranks(c, key, entry, {highest ? size - count : 0, count});
}

std::span<const Row> sorted_set_pop_rows() { return kRows; }

}  // namespace cairn::kv

// The list commands that look for an element: LPOS, LREM and LINSERT.
//
// In a long list that takes too long for one turn: then they look at a snapshot of it, piece by
// piece and without its lock, and change what they found if the list is still the same; if it is
// not, they look again. After some attempts, or where the snapshot would have to keep too much, the
// rest is done at once.
#include <algorithm>

#include "core/base/text.h"
#include "kv/commands/lists.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

constexpr uint64_t kLookedAtOnce = 512 << 10;  // bytes of elements: some 100 us

// ---- what each of them looks for, and does with what was found ----

struct Positions {  // of LPOS
  int64_t rank = 1, count = 1, looked_max = 0;
  bool counted = false;
};

bool parse_positions(Context& c, Positions& p) {
  for (size_t i = 3; i < c.args.size(); i += 2) {
    const std::string_view option = c.args[i];
    if (i + 1 == c.args.size()) return c.syntax_error(), false;
    if (equals_ignoring_case(option, "rank")) {
      if (!c.integer(i + 1, p.rank)) return false;
      if (p.rank == INT64_MIN) {
        c.reply.error(
            "ERR value is out of range, value must between -9223372036854775807 and "
            "9223372036854775807");
        return false;
      }
      if (p.rank != 0) continue;
      c.reply.error(
          "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or "
          "use negative to start from the end of the list");
      return false;
    }
    const bool is_count = equals_ignoring_case(option, "count");
    if (!is_count && !equals_ignoring_case(option, "maxlen")) return c.syntax_error(), false;
    const auto n = parse_ll(c.args[i + 1]);
    if (!n || *n < 0) {
      c.reply.error(is_count ? "ERR COUNT can't be negative" : "ERR MAXLEN can't be negative");
      return false;
    }
    (is_count ? p.count : p.looked_max) = *n;
    p.counted |= is_count;
  }
  return true;
}

constexpr size_t kIndexesAtOnce = 4096;

class Indexes final : public Series {
 public:
  explicit Indexes(std::vector<uint64_t> found) : found_(std::move(found)) {}
  bool next(Reply& reply) override {
    const size_t end = std::min(found_.size(), at_ + kIndexesAtOnce);
    for (; at_ < end; at_++) reply.integer(static_cast<int64_t>(found_[at_]));
    return at_ < found_.size();
  }
  size_t bytes() const override { return found_.capacity() * sizeof(found_[0]); }

 private:
  const std::vector<uint64_t> found_;
  size_t at_ = 0;
};

struct Lpos {
  Positions p;
  bool parse(Context& c) { return parse_positions(c, p); }
  ListSearch search(Context& c) const {
    ListSearch search(c.args[2]);
    search.back = p.rank < 0;
    search.skip = static_cast<uint64_t>(p.rank < 0 ? -p.rank : p.rank) - 1;
    if (p.count != 0) search.found_max = static_cast<uint64_t>(p.count);
    if (p.looked_max != 0) search.looked_max = static_cast<uint64_t>(p.looked_max);
    return search;
  }
  void nothing(Context& c) const { p.counted ? c.reply.array(0) : c.reply.null(); }
  void done(Context& c, const ListView&, std::vector<uint64_t>& found) const {
    if (!p.counted) {
      return found.empty() ? c.reply.null() : c.reply.integer(static_cast<int64_t>(found[0]));
    }
    c.reply.array(found.size());
    if (found.size() > kIndexesAtOnce) {
      const uint64_t n = found.size();
      return c.reply.series(std::make_unique<Indexes>(std::move(found)), n);
    }
    for (const uint64_t index : found) c.reply.integer(static_cast<int64_t>(index));
  }
};

struct Lrem {
  int64_t count = 0;
  bool parse(Context& c) { return c.integer(2, count); }
  ListSearch search(Context& c) const {
    ListSearch search(c.args[3]);
    search.back = count < 0;
    if (count == INT64_MIN) {
      search.found_max = uint64_t{1} << 63;
    } else if (count != 0) {
      search.found_max = static_cast<uint64_t>(count < 0 ? -count : count);
    }
    return search;
  }
  void nothing(Context& c) const { c.reply.integer(0); }
  void done(Context& c, const ListView& list, std::vector<uint64_t>& found) const {
    const auto n = static_cast<int64_t>(found.size());
    if (found.size() == list.size()) {  // no list is empty
      if (c.remove(c.ns(), list.entry())) c.reply.integer(n);
      return;
    }
    if (count < 0) std::reverse(found.begin(), found.end());
    std::string operation;
    list->add_remove(found, operation);
    if (n > 0 && !c.operate(ValueType::kList, c.args[1], list.entry(), operation)) return;
    c.reply.integer(n);
  }
};

struct Linsert {
  bool behind = false;
  bool parse(Context& c) {
    behind = equals_ignoring_case(c.args[2], "after");
    if (behind || equals_ignoring_case(c.args[2], "before")) return true;
    c.syntax_error();
    return false;
  }
  ListSearch search(Context& c) const {
    ListSearch search(c.args[3]);
    search.found_max = 1;
    return search;
  }
  void nothing(Context& c) const { c.reply.integer(0); }
  void done(Context& c, const ListView& list, const std::vector<uint64_t>& found) const {
    if (found.empty()) return c.reply.integer(-1);
    const uint64_t index = found[0] + (behind ? 1 : 0), size = list.size();
    const std::string_view element = c.args[4];
    std::string operation;
    if (index == 0 || index == size) {
      List::add_push(list.get(), index == 0, {&element, 1}, operation);
    } else {
      list->add_insert(index, element, operation);
    }
    if (!c.operate(ValueType::kList, c.args[1], list.entry(), operation)) return;
    c.reply.integer(static_cast<int64_t>(size) + 1);
  }
};

// ---- at once ----

template <class Command>
void look_and_do(Context& c, const Command& command, const ListView& list) {
  ListSearch search = command.search(c);
  (void)search.step(*list, list.size(), list.size());
  command.done(c, list, search.found);
}

// How many elements of a list take about so many bytes.
uint64_t elements_of(const List& list, uint64_t bytes) {
  return 1 + list.size() * bytes / list.packed_bytes();
}

template <class Command>
void run(Context& c) {
  Command command;
  if (!command.parse(c)) return;
  ListView list;
  if (!find(c, c.args[1], list)) return;
  if (!list) return command.nothing(c);
  if (list->packed_bytes() <= kLookedAtOnce || c.in_exec) return look_and_do(c, command, list);
  // Mostly what is looked for is near the end where the search begins.
  ListSearch search = command.search(c);
  if (search.step(*list, list.size(), elements_of(*list, kLookedAtOnce / 4))) return c.defer();
  command.done(c, list, search.found);
}

// ---- in turns ----

bool may_change(Context& c) { return (c.row.flags & kWrite) == 0 || may_write_still(c); }

// A list that is searched.
struct Searched {
  Snapshot<List::Tree> list;
  Lsn version;
  uint64_t size, each_turn;  // elements
};

// Nothing if all is done.
template <class Command>
std::optional<Searched> begin_search(Context& c, const Command& command, StripeLocks& locks,
                                     bool at_once) {
  Context::Turn turn(c, locks);
  ListView list;
  if (!find(c, c.args[1], list)) return std::nullopt;
  if (!list) return command.nothing(c), std::nullopt;
  if (!at_once && !list->is_small()) {
    const uint64_t n = elements_of(*list, kLookedAtOnce / 2);
    return Searched{list->snapshot(), list.entry()->version(), list.size(), n};
  }
  if (may_change(c)) look_and_do(c, command, list);
  return std::nullopt;
}

// False: the list is not any more what was searched.
template <class Command>
bool end_search(Context& c, const Command& command, StripeLocks& locks, ListSearch& search,
                Lsn version) {
  if ((c.row.flags & kWrite) == 0) {
    command.done(c, {}, search.found);
    return true;
  }
  Context::Turn turn(c, locks);
  Entry* e = c.find(c.args[1]);
  if (e == nullptr || e->type() != ValueType::kList || e->version() != version) return false;
  if (may_change(c)) command.done(c, ListView(e), search.found);
  return true;
}

// False: what was searched would have had to keep too much, or the connection ends.
awaitable<bool> look_in_turns(Context& c, const Searched& searched, ListSearch& search) {
  const auto executor = co_await asio::this_coro::executor;
  for (bool more = true; more;) {
    const bool there = searched.list.read([&](const List::Tree& tree) {
      more = search.step(tree, searched.size, searched.each_turn);
    });
    if (!there) co_return false;
    if (more) co_await asio::post(executor, asio::use_awaitable);
    if (c.given_up()) co_return false;
  }
  co_return true;
}

template <class Command>
awaitable<void> run_deferred(Context& c) {
  constexpr int kAttempts = 4;
  Command command;
  if (!command.parse(c)) co_return;
  for (int attempt = 1; !c.given_up(); attempt++) {
    ListSearch search = command.search(c);
    std::optional<Searched> searched;
    {
      StripeLocks locks(c.store);
      const bool locked = co_await lock_keys(c, locks);
      if (!locked) co_return;
      searched = begin_search(c, command, locks, attempt > kAttempts);
      if (!searched) co_return;
    }
    const bool looked = co_await look_in_turns(c, *searched, search);
    const Lsn version = searched->version;
    searched.reset();  // a change need not keep anything for it
    if (!looked) attempt = kAttempts;
    if (!looked) continue;
    StripeLocks locks(c.store);
    const bool locked = co_await lock_keys(c, locks);
    if (!locked || end_search(c, command, locks, search, version)) co_return;
  }
}

constexpr std::string_view kGroup = "list";
constexpr KeySpec kRemovesFrom[] = {{.flags = kKeyReadWrite | kKeyDelete}};
constexpr Row kRows[] = {
    {"lpos", -3, kReadOnly | kLongArgs, kReadsKey, run<Lpos>, run_deferred<Lpos>, kGroup,
     "Returns the index of matching elements in a list.", "6.0.6"},
    {"lrem", 4, kWrite | kLongArgs, kRemovesFrom, run<Lrem>, run_deferred<Lrem>, kGroup,
     "Removes elements from a list. Deletes the list if the last element was removed."},
    {"linsert", 5, kWrite | kDenyOom | kLongArgs, kInsertsIntoKey, run<Linsert>,
     run_deferred<Linsert>, kGroup, "Inserts an element before or after another element in a list.",
     "2.2.0"},
};

}  // namespace

std::span<const Row> list_search_rows() { return kRows; }

}  // namespace cairn::kv

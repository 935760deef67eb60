// The list commands that know their elements by place; those that look for them are in
// list_search.cc.
#include "kv/commands/lists.h"

#include <algorithm>
#include <deque>

#include "core/base/text.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {

namespace {

constexpr size_t kPieceBytes = 16 << 10;  // what a series adds at once

// Elements of a large list as it was.
class Range final : public Series {
 public:
  Range(Snapshot<List::Tree> list, uint64_t index, uint64_t n)
      : list_(std::move(list)), index_(index), left_(n) {}
  bool next(Reply& reply) override {
    size_t bytes = 0;
    const bool there = list_.read([&](const List::Tree& tree) {
      const uint64_t before = left_;
      List::walk(tree, index_, left_, [&](std::string_view element) {
        reply.bulk(element);
        left_--;
        bytes += packed_bytes(element.size());
        return bytes < kPieceBytes;
      });
      index_ += before - left_;
    });
    return there && left_ > 0;
  }
  bool lost() const override { return list_.lost(); }

 private:
  const Snapshot<List::Tree> list_;
  uint64_t index_, left_;
};

// Elements that are no longer in their list: nobody else keeps them.
class Popped final : public Series {
 public:
  Popped(const List& list, bool left, uint64_t n)
      : left_(left), blocks_(list.blocks(left ? 0 : list.size() - n, n)), count_(n) {
    for (const BlockRef& block : blocks_) bytes_ += block.allocated_bytes();
    if (!left) std::reverse(blocks_.begin(), blocks_.end());
    begin_block();
  }
  bool next(Reply& reply) override {
    const BlockRef& block = blocks_[at_];
    size_t bytes = 0;
    uint32_t shown = 0;
    const auto show = [&](std::string_view element) {
      reply.bulk(element);
      shown++;
      count_--;
      bytes += packed_bytes(element.size());
      return bytes < kPieceBytes;
    };
    const bool ended =
        left_ ? block.walk(within_, count_, show) : block.walk_back(within_, count_, show);
    if (count_ == 0) return false;
    if (!ended && shown < left_in_block_) {
      left_in_block_ -= shown;
      within_ = left_ ? within_ + shown : within_ - shown;
      return true;
    }
    bytes_ -= block.allocated_bytes();
    blocks_[at_++] = BlockRef();
    begin_block();
    return true;
  }
  size_t bytes() const override { return bytes_; }

 private:
  void begin_block() {
    left_in_block_ = blocks_[at_].count();
    within_ = left_ ? 0 : left_in_block_ - 1;
  }

  const bool left_;
  std::vector<BlockRef> blocks_;  // in the order in which they are shown
  size_t at_ = 0;
  uint32_t within_ = 0, left_in_block_ = 0;  // the next element of that block, and how many
  uint64_t count_;                           // to be shown
  size_t bytes_ = 0;
};

// What was taken in several turns.
class PoppedInTurns final : public Series {
 public:
  void add(std::unique_ptr<Popped> part, uint64_t n) {
    bytes_ += part->bytes();
    count_ += n;
    parts_.push_back(std::move(part));
  }
  uint64_t count() const { return count_; }
  bool next(Reply& reply) override {
    bytes_ -= parts_.front()->bytes();
    if (parts_.front()->next(reply)) {
      bytes_ += parts_.front()->bytes();
    } else {
      parts_.pop_front();
    }
    return !parts_.empty();
  }
  size_t bytes() const override { return bytes_; }

 private:
  std::deque<std::unique_ptr<Popped>> parts_;
  uint64_t count_ = 0;
  size_t bytes_ = 0;
};

// A list that loses more than this loses it in turns, each of so much and with a commit of its own:
// others see it grow shorter meanwhile. All at once a gigabyte would stop its thread for a tenth of
// a second.
constexpr uint64_t kErasedBytes = 1 << 20;

// About how many elements of a list take so much.
uint64_t elements_a_turn(const List& list) {
  return 1 + list.size() * kErasedBytes / list.packed_bytes();
}

// Whether an EXEC may remove these; answers if not. It keeps a copy of them until it is done.
bool may_erase(Context& c, const List& list, uint64_t index, uint64_t n) {
  if (!c.in_exec || !list.exceeds(index, n, c.store.log().record_bytes_max())) return true;
  c.status_error(
      absl::ResourceExhaustedError("too many elements to be removed at once within a transaction"));
  return false;
}

// A range as LRANGE and LTRIM say it; n == 0: nothing.
struct Span {
  uint64_t index = 0, n = 0;
  Span(int64_t start, int64_t stop, uint64_t size) {
    const auto count = static_cast<int64_t>(size);
    if (start < 0) start = std::max<int64_t>(0, start + count);
    if (stop < 0) stop += count;
    stop = std::min(stop, count - 1);
    if (start > stop || start >= count) return;
    index = static_cast<uint64_t>(start);
    n = static_cast<uint64_t>(stop - start) + 1;
  }
};

// ---- push ----

void push(Context& c, bool left, bool only_if_there) {
  ListView list;
  if (!find(c, c.args[1], list)) return;
  if (!list && only_if_there) return c.reply.integer(0);
  const auto elements = c.args.words().subspan(2);
  const uint64_t size = list.size() + elements.size();
  Scratch room;
  std::string& operation = room.text;
  List::add_push(list.get(), left, elements, operation);
  if (!c.operate(ValueType::kList, c.args[1], list.entry(), operation)) return;
  c.reply.integer(static_cast<int64_t>(size));
}
void lpush(Context& c) { push(c, true, false); }
void rpush(Context& c) { push(c, false, false); }
void lpushx(Context& c) { push(c, true, true); }
void rpushx(Context& c) { push(c, false, true); }

// ---- pop ----

struct Pop {
  bool one_of_some = false;  // it names a key of several, and answers which it was
  bool left = true, counted = false;
  uint64_t count = 1;
  size_t first = 1, end = 2;  // its keys
};

bool parse_pop(Context& c, Pop& p) {
  if (c.args.size() > 3) {
    c.reply.error(cat("ERR wrong number of arguments for '", c.row.name, "' command"));
    return false;
  }
  p.counted = c.args.size() == 3;
  if (!p.counted) return true;
  const auto count = parse_ll(c.args[2]);
  if (!count || *count < 0) {
    c.reply.error("ERR value is out of range, must be positive");
    return false;
  }
  p.count = static_cast<uint64_t>(*count);
  return true;
}

bool parse_pop_of_some(Context& c, Pop& p) {
  PopOfSome pops;
  if (!parse(c, 1, pops)) return false;
  p.one_of_some = p.counted = true;
  p.first = pops.first;
  p.end = pops.end;
  p.left = pops.left;
  p.count = pops.count;
  return true;
}

// The first of the keys that is there, and its list; false after it answered that one of them holds
// something else, or that there is none.
bool choose(Context& c, const Pop& p, std::string_view& key, ListView& list) {
  for (size_t i = p.first; i < p.end; i++) {
    key = c.args[i];
    if (!find(c, key, list)) return false;
    if (list) return true;
  }
  p.counted ? c.reply.null_array() : c.reply.null();
  return false;
}

void announce(Context& c, const Pop& p, std::string_view key, uint64_t n) {
  if (p.one_of_some) c.reply.array(2);
  if (p.one_of_some) c.reply.bulk(key);
  if (p.counted) c.reply.array(n);
}

void run(Context& c, const Pop& p) {
  std::string_view key;
  ListView list;
  if (!choose(c, p, key, list)) return;
  const uint64_t n = std::min(p.count, list.size());
  if (n > 1 && !c.in_exec && list->exceeds(p.left ? 0 : list.size() - n, n, kErasedBytes)) {
    return c.defer();
  }
  announce(c, p, key, n);
  if (n > 0) (void)pop(c, key, list, p.left, n);
}

// False when nothing more is to be done.
bool pop_turn(Context& c, const Pop& p, StripeLocks& locks, std::string_view& key,
              PoppedInTurns& popped) {
  Context::Turn turn(c, locks);
  ListView list;
  if (popped.count() == 0) {
    if (!choose(c, p, key, list)) return false;
  } else {
    Entry* e = c.find(key);
    if (e == nullptr || e->type() != ValueType::kList) return false;
    list = ListView(e);
  }
  const Status writes = c.store.check_write(false);
  if (!writes.ok()) {
    if (popped.count() == 0) c.status_error(writes);
    return false;
  }
  const uint64_t size = list.size();
  const uint64_t n = std::min({p.count - popped.count(), size, elements_a_turn(*list)});
  auto part = std::make_unique<Popped>(*list, p.left, n);
  c.set_event(p.left ? "lpop" : "rpop");
  bool done;
  if (n == size) {
    done = c.remove(c.ns(), list.entry());
  } else {
    std::string operation;
    list->add_erase(p.left ? 0 : size - n, n, operation);
    done = c.operate(ValueType::kList, key, list.entry(), operation);
  }
  if (!done || !turn.commit()) return false;
  popped.add(std::move(part), n);
  return n < size && popped.count() < p.count;
}

awaitable<void> run_in_turns(Context& c, const Pop& p) {
  const Reply::Mark mark = c.reply.mark();
  std::string_view key;
  uint64_t bytes = 0;
  {
    StripeLocks locks(c.store);
    const bool locked = co_await lock_keys(c, locks);
    if (!locked) co_return;
    Context::Turn turn(c, locks);
    ListView list;
    if (!choose(c, p, key, list)) co_return;
    bytes = list->packed_bytes() / list.size() * std::min(p.count, list.size());
  }
  const auto share = co_await c.workspace(bytes);
  if (share == nullptr) co_return;
  auto popped = std::make_unique<PoppedInTurns>();
  Context turns(c.engine, c.session, c.request, c.reply);
  for (bool more = true; more;) {
    if (c.given_up()) co_return;
    {
      StripeLocks locks(c.store);
      const bool locked = co_await lock_keys(turns, locks);
      more = locked && pop_turn(turns, p, locks, key, *popped);
    }
    co_await between_turns(c);
  }
  const uint64_t n = popped->count();
  end_turns(c, turns, n > 0);
  if (n == 0) co_return;
  c.reply.cut(mark);  // what was taken is answered
  announce(c, p, key, n);
  c.reply.series(std::move(popped), n);
}

template <bool kLeft>
void pop(Context& c) {
  Pop p;
  p.left = kLeft;
  if (parse_pop(c, p)) run(c, p);
}
template <bool kLeft>
awaitable<void> pop_deferred(Context& c) {
  Pop p;
  p.left = kLeft;
  if (parse_pop(c, p)) co_await run_in_turns(c, p);
}

void lmpop(Context& c) {
  Pop p;
  if (parse_pop_of_some(c, p)) run(c, p);
}
awaitable<void> lmpop_deferred(Context& c) {
  Pop p;
  if (parse_pop_of_some(c, p)) co_await run_in_turns(c, p);
}

// ---- move ----

void move_words(Context& c, bool from_left, bool to_left) {
  ListView list;
  if (!find(c, c.args[1], list)) return;
  if (!list) return c.reply.null();
  move(c, c.args[1], list, from_left, c.args[2], to_left);
}

void lmove(Context& c) {
  const auto from_left = parse_end(c, c.args[3]);
  if (!from_left) return;
  const auto to_left = parse_end(c, c.args[4]);
  if (to_left) move_words(c, *from_left, *to_left);
}
void rpoplpush(Context& c) { move_words(c, false, true); }

// ---- by place ----

void llen(Context& c) {
  ListView list;
  if (find(c, c.args[1], list)) c.reply.integer(static_cast<int64_t>(list.size()));
}

void lrange(Context& c) {
  int64_t start, stop;
  if (!c.integer(2, start) || !c.integer(3, stop)) return;
  ListView list;
  if (!find(c, c.args[1], list)) return;
  const Span span(start, stop, list.size());
  c.reply.array(span.n);
  if (span.n == 0) return;
  if (list->exceeds(span.index, span.n, kListAnswerBytes)) {
    return c.reply.series(std::make_unique<Range>(list->snapshot(), span.index, span.n), span.n);
  }
  list->walk(span.index, span.n, [&](std::string_view element) {
    c.reply.bulk(element);
    return true;
  });
}

// The place that an index means; nothing if there is none.
std::optional<uint64_t> place_of(const ListView& list, int64_t index) {
  const auto size = static_cast<int64_t>(list.size());
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return static_cast<uint64_t>(index);
}

void lindex(Context& c) {
  ListView list;
  if (!find(c, c.args[1], list)) return;
  if (!list) return c.reply.null();  // before the index is looked at, as in Redis
  int64_t index;
  if (!c.integer(2, index)) return;
  const auto place = place_of(list, index);
  place ? c.reply.bulk(list->at(*place)) : c.reply.null();
}

void lset(Context& c) {
  ListView list;
  if (!find(c, c.args[1], list)) return;
  if (!list) return c.reply.error("ERR no such key");
  int64_t index;
  if (!c.integer(2, index)) return;
  const auto place = place_of(list, index);
  if (!place) return c.reply.error("ERR index out of range");
  Scratch room;
  std::string& operation = room.text;
  list->add_set(*place, c.args[3], operation);
  if (c.operate(ValueType::kList, c.args[1], list.entry(), operation)) c.reply.ok();
}

// ---- LTRIM ----

// Trims a list to a range of it that is not empty. To Redis that of all elements is a change, too.
bool trim(Context& c, const ListView& list, const Span& span) {
  const uint64_t size = list.size(), end = span.index + span.n;
  if (!may_erase(c, *list, 0, span.index) || !may_erase(c, *list, end, size - end)) return false;
  Scratch room;
  std::string& operation = room.text;
  list->add_erase(0, span.index, operation);
  list->add_erase(end, size - end, operation);
  return c.operate(ValueType::kList, c.args[1], list.entry(), operation);
}

bool is_much(const List& list, const Span& span) {
  const uint64_t end = span.index + span.n;
  return list.exceeds(0, span.index, kErasedBytes) ||
         list.exceeds(end, list.size() - end, kErasedBytes);
}

void ltrim(Context& c) {
  int64_t start, stop;
  if (!c.integer(2, start) || !c.integer(3, stop)) return;
  ListView list;
  if (!find(c, c.args[1], list)) return;
  if (!list) return c.reply.ok();
  const Span span(start, stop, list.size());
  if (span.n == 0) {  // no list is empty
    if (c.remove(c.ns(), list.entry())) c.reply.ok();
    return;
  }
  if (!c.in_exec && is_much(*list, span)) return c.defer();
  if (trim(c, list, span)) c.reply.ok();
}

// A turn takes some off one end, and what is to be kept is where it was but for those: so whatever
// others push or pop meanwhile, they might as well have done it before. False when it is done.
bool trim_turn(Context& c, StripeLocks& locks, int64_t& start, int64_t& stop) {
  Context::Turn turn(c, locks);
  ListView list;
  if (!find(c, c.args[1], list) || !may_write_still(c)) return false;
  if (!list) return c.reply.ok(), false;
  const uint64_t size = list.size();
  Span span(start, stop, size);
  const bool last = span.n == 0 || !is_much(*list, span);
  if (!last) {
    const uint64_t most = elements_a_turn(*list), behind = size - span.index - span.n;
    const bool at_front = span.index >= behind;
    const uint64_t n = std::min(most, at_front ? span.index : behind);
    const auto moved = static_cast<int64_t>(n);
    for (int64_t* index : {&start, &stop}) {
      if (at_front && *index >= 0) *index -= moved;
      if (!at_front && *index < 0) *index += moved;
    }
    span.index = at_front ? n : 0;
    span.n = size - n;
  }
  const bool done = span.n == 0 ? c.remove(c.ns(), list.entry()) : trim(c, list, span);
  if (!done || !turn.commit()) return false;
  if (last) c.reply.ok();
  return !last;
}

awaitable<void> ltrim_deferred(Context& c) {
  int64_t start, stop;
  if (!c.integer(2, start) || !c.integer(3, stop)) co_return;
  while (!c.given_up()) {
    {
      StripeLocks locks(c.store);
      const bool locked = co_await lock_keys(c, locks);
      if (!locked || !trim_turn(c, locks, start, stop)) co_return;
    }
    co_await between_turns(c);
  }
}

constexpr uint32_t kPush = kWrite | kDenyOom | kFast | kLongArgs;
constexpr std::string_view kGroup = "list";
constexpr KeySpec kPops[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete}};
constexpr KeySpec kTrims[] = {{.flags = kKeyReadWrite | kKeyDelete}};
constexpr KeySpec kMoves[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete},
                              {.flags = kKeyReadWrite | kKeyInsert, .first = 2}};
constexpr KeySpec kPopsOneOf[] = {
    {.flags = kKeyReadWrite | kKeyAccess | kKeyDelete, .count_at = 0}};
constexpr Row kRows[] = {
    {"lpush", -3, kPush, kInsertsIntoKey, lpush, nullptr, kGroup,
     "Prepends one or more elements to a list. Creates the key if it doesn't exist."},
    {"rpush", -3, kPush, kInsertsIntoKey, rpush, nullptr, kGroup,
     "Appends one or more elements to a list. Creates the key if it doesn't exist."},
    {"lpushx", -3, kPush, kInsertsIntoKey, lpushx, nullptr, kGroup,
     "Prepends one or more elements to a list only when the list exists.", "2.2.0"},
    {"rpushx", -3, kPush, kInsertsIntoKey, rpushx, nullptr, kGroup,
     "Appends an element to a list only when the list exists.", "2.2.0"},
    {"lpop", -2, kWrite | kFast, kPops, pop<true>, pop_deferred<true>, kGroup,
     "Returns the first elements in a list after removing it. Deletes the list if the last element "
     "was popped."},
    {"rpop", -2, kWrite | kFast, kPops, pop<false>, pop_deferred<false>, kGroup,
     "Returns and removes the last elements of a list. Deletes the list if the last element was "
     "popped."},
    {"lmpop", -4, kWrite, kPopsOneOf, lmpop, lmpop_deferred, kGroup,
     "Returns multiple elements from a list after removing them. Deletes the list if the last "
     "element was popped.",
     "7.0.0"},
    {"lmove", 5, kWrite | kDenyOom | kBatch, kMoves, lmove, nullptr, kGroup,
     "Returns an element after popping it from one list and pushing it to another. Deletes the "
     "list "
     "if the last element was moved.",
     "6.2.0"},
    {"rpoplpush", 3, kWrite | kDenyOom | kBatch, kMoves, rpoplpush, nullptr, kGroup,
     "Returns the last element of a list after removing and pushing it to another list. Deletes "
     "the "
     "list if the last element was popped.",
     "1.2.0"},
    {"llen", 2, kReadOnly | kFast, kLooksAtKey, llen, nullptr, kGroup,
     "Returns the length of a list."},
    {"lrange", 4, kReadOnly, kReadsKey, lrange, nullptr, kGroup,
     "Returns a range of elements from a list."},
    {"lindex", 3, kReadOnly, kReadsKey, lindex, nullptr, kGroup,
     "Returns an element from a list by its index."},
    {"lset", 4, kWrite | kDenyOom | kLongArgs, kUpdatesKey, lset, nullptr, kGroup,
     "Sets the value of an element in a list by its index."},
    {"ltrim", 4, kWrite, kTrims, ltrim, ltrim_deferred, kGroup,
     "Removes elements from both ends a list. Deletes the list if all elements were trimmed."},
};

}  // namespace

std::optional<bool> parse_end(Context& c, std::string_view word) {
  if (equals_ignoring_case(word, "left")) return true;
  if (equals_ignoring_case(word, "right")) return false;
  c.syntax_error();
  return std::nullopt;
}

bool parse(Context& c, size_t word, PopOfSome& pops) {
  const auto fail = [&c](std::string_view text) {
    c.reply.error(text);
    return false;
  };
  constexpr std::string_view kSyntax = "ERR syntax error";
  const auto number = parse_ll(c.args[word]);
  if (!number || *number <= 0) return fail("ERR numkeys should be greater than 0");
  if (*number >= static_cast<int64_t>(c.args.size() - word) - 1) return fail(kSyntax);
  pops.first = word + 1;
  pops.end = pops.first + static_cast<size_t>(*number);
  size_t i = pops.end;
  const auto left = parse_end(c, c.args[i++]);
  if (!left) return false;
  pops.left = *left;
  if (i == c.args.size()) return true;
  if (c.args.size() < i + 2 || !equals_ignoring_case(c.args[i], "count")) return fail(kSyntax);
  const auto count = parse_ll(c.args[i + 1]);
  if (!count || *count <= 0) return fail("ERR count should be greater than 0");
  pops.count = static_cast<uint64_t>(*count);
  return c.args.size() == i + 2 || fail(kSyntax);
}

void pop_some(Context& c, size_t word, const ListView& list, const PopOfSome& pops) {
  const uint64_t n = std::min(pops.count, list.size());
  c.reply.array(2);
  c.reply.bulk(c.args[word]);
  c.reply.array(n);
  (void)pop(c, c.args[word], list, pops.left, n);
}

bool pop(Context& c, std::string_view key, const ListView& list, bool left, uint64_t n) {
  const uint64_t size = list.size(), first = left ? 0 : size - n;
  const auto show = [&](std::string_view element) {
    c.reply.bulk(element);
    return true;
  };
  if (list->exceeds(first, n, kListAnswerBytes)) {
    c.reply.series(std::make_unique<Popped>(*list, left, n), n);
  } else if (left) {
    list->walk(0, n, show);
  } else {
    list->walk_back(size - 1, n, show);
  }
  c.set_event(left ? "lpop" : "rpop");
  if (n == size) return c.remove(c.ns(), list.entry());  // no list is empty
  if (!may_erase(c, *list, first, n)) return false;
  Scratch room;
  std::string& operation = room.text;
  list->add_erase(first, n, operation);
  return c.operate(ValueType::kList, key, list.entry(), operation);
}

void move(Context& c, std::string_view from, const ListView& list, bool from_left,
          std::string_view to, bool to_left) {
  ListView target;
  if (!find(c, to, target)) return;
  const uint64_t index = from_left ? 0 : list.size() - 1;
  const std::string_view element = list->at(index);
  c.reply.bulk(element);
  Scratch room;
  std::string& operation = room.text;
  if (target.entry() == list.entry()) {
    list->add_rotate(from_left, to_left, operation);
    c.set_event(to_left ? "lpush" : "rpush");
    if (!c.operate(ValueType::kList, from, list.entry(), operation)) return;
    c.add_event(Events::kList, from_left ? "lpop" : "rpop", c.ns(), from);
    return;
  }
  List::add_push(target.get(), to_left, {&element, 1}, operation);
  c.set_event(to_left ? "lpush" : "rpush");
  if (!c.operate(ValueType::kList, to, target.entry(), operation)) return;
  c.set_event(from_left ? "lpop" : "rpop");
  operation.clear();
  if (list.size() == 1) return (void)c.remove(c.ns(), list.entry());
  list->add_erase(index, 1, operation);
  (void)c.operate(ValueType::kList, from, list.entry(), operation);
}

std::span<const Row> list_rows() { return kRows; }

}  // namespace cairn::kv

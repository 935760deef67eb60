// The list commands that know their elements by place; those that look for them are in
// list_search.cc.
#include "kv/commands/lists.h"

#include <algorithm>

#include "core/base/text.h"
#include "kv/engine/engine.h"

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
  std::string operation;
  List::add_push(list.get(), left, elements, operation);
  if (!c.operate(ValueType::kList, c.args[1], list.entry(), operation)) return;
  c.reply.integer(static_cast<int64_t>(size));
}
void lpush(Context& c) { push(c, true, false); }
void rpush(Context& c) { push(c, false, false); }
void lpushx(Context& c) { push(c, true, true); }
void rpushx(Context& c) { push(c, false, true); }

// ---- pop ----

template <bool kLeft>
void pop(Context& c) {
  if (c.args.size() > 3) {
    return c.reply.error(cat("ERR wrong number of arguments for '", c.row.name, "' command"));
  }
  const bool counted = c.args.size() == 3;
  int64_t count = 1;
  if (counted) {
    const auto parsed = parse_ll(c.args[2]);
    if (!parsed || *parsed < 0) {
      return c.reply.error("ERR value is out of range, must be positive");
    }
    count = *parsed;
  }
  ListView list;
  if (!find(c, c.args[1], list)) return;
  if (!list) return counted ? c.reply.null_array() : c.reply.null();
  const uint64_t n = std::min(static_cast<uint64_t>(count), list.size());
  if (counted) c.reply.array(n);
  if (n > 0) (void)pop(c, c.args[1], list, kLeft, n);
}

void lmpop(Context& c) {
  const auto number = parse_ll(c.args[1]);
  if (!number || *number <= 0) return c.reply.error("ERR numkeys should be greater than 0");
  const auto words = static_cast<int64_t>(c.args.size());
  if (*number >= words - 2) return c.syntax_error();
  auto i = static_cast<size_t>(*number) + 2;
  const auto left = parse_end(c, c.args[i++]);
  if (!left) return;
  int64_t count = 1;
  if (i < c.args.size()) {
    if (c.args.size() != i + 2 || !equals_ignoring_case(c.args[i], "count")) {
      return c.syntax_error();
    }
    const auto parsed = parse_ll(c.args[i + 1]);
    if (!parsed || *parsed <= 0) return c.reply.error("ERR count should be greater than 0");
    count = *parsed;
  }
  for (size_t k = 2; k < static_cast<size_t>(*number) + 2; k++) {
    ListView list;
    if (!find(c, c.args[k], list)) return;
    if (!list) continue;
    const uint64_t n = std::min(static_cast<uint64_t>(count), list.size());
    c.reply.array(2);
    c.reply.bulk(c.args[k]);
    c.reply.array(n);
    (void)pop(c, c.args[k], list, *left, n);
    return;
  }
  c.reply.null_array();
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
  c.engine.count_hit(bool(list));
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
  c.engine.count_hit(bool(list));
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
  std::string operation;
  list->add_set(*place, c.args[3], operation);
  if (c.operate(ValueType::kList, c.args[1], list.entry(), operation)) c.reply.ok();
}

void ltrim(Context& c) {
  int64_t start, stop;
  if (!c.integer(2, start) || !c.integer(3, stop)) return;
  ListView list;
  if (!find(c, c.args[1], list)) return;
  if (!list) return c.reply.ok();
  const uint64_t size = list.size();
  const Span span(start, stop, size);
  if (span.n == 0) {  // no list is empty
    if (c.remove(c.ns(), list.entry())) c.reply.ok();
    return;
  }
  if (span.n == size) {
    c.did_change(c.ns(), c.args[1]);  // to Redis it did
    return c.reply.ok();
  }
  std::string operation;
  const uint64_t end = span.index + span.n;
  list->add_erase(0, span.index, operation);
  list->add_erase(end, size - end, operation);
  if (c.operate(ValueType::kList, c.args[1], list.entry(), operation)) c.reply.ok();
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
    {"lpop", -2, kWrite | kFast, kPops, pop<true>, nullptr, kGroup,
     "Returns the first elements in a list after removing it. Deletes the list if the last element "
     "was popped."},
    {"rpop", -2, kWrite | kFast, kPops, pop<false>, nullptr, kGroup,
     "Returns and removes the last elements of a list. Deletes the list if the last element was "
     "popped."},
    {"lmpop", -4, kWrite, kPopsOneOf, lmpop, nullptr, kGroup,
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
    {"ltrim", 4, kWrite, kTrims, ltrim, nullptr, kGroup,
     "Removes elements from both ends a list. Deletes the list if all elements were trimmed."},
};

}  // namespace

std::optional<bool> parse_end(Context& c, std::string_view word) {
  if (equals_ignoring_case(word, "left")) return true;
  if (equals_ignoring_case(word, "right")) return false;
  c.syntax_error();
  return std::nullopt;
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
  std::string operation;
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
  std::string operation;
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

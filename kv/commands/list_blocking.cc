// The list commands that wait: BLPOP, BRPOP, BLMOVE, BRPOPLPUSH, BLMPOP.
#include "kv/commands/blocking.h"
#include "kv/commands/lists.h"
#include "kv/engine/call_session.h"

namespace cairn::kv {

namespace {

class ListAwaited : public Awaited {
 public:
  int64_t timeout_ms = 0;
  ValueType type() const override { return ValueType::kList; }
  bool wants(const Entry* entry, size_t) const override {
    return entry != nullptr && entry->type() == ValueType::kList &&
           ListView(const_cast<Entry*>(entry)).size() > 0;
  }
  void serve(Context& c, size_t word) override {
    ListView list;
    if (find(c, c.args[word], list)) take(c, word, list);
  }

 protected:
  // Answers with what this list, which is not empty, gives.
  virtual void take(Context& c, size_t word, const ListView& list) = 0;
  // Whether so many elements are not too large for a call.
  static bool fits_call(const Context& c, const ListView& list, bool left, uint64_t n) {
    const CallSession* call = call_of(c.session);
    return call == nullptr || !list->exceeds(left ? 0 : list.size() - n, n, call->popped_bytes_max);
  }
  // The first of these words whose key holds something, for us.
  bool begin_with(Context& c, size_t first, size_t end) {
    for (size_t word = first; word < end; word++) {
      ListView list;
      if (!find(c, c.args[word], list)) return true;
      if (!list || is_for_others(c, c.args[word], type())) continue;
      take(c, word, list);
      return true;
    }
    return false;
  }
};

template <bool kLeft>
class Pop final : public ListAwaited {
 public:
  bool parse(Context& c) { return seconds_to_wait(c, c.args.size() - 1, timeout_ms); }
  static void nothing(Context& c) { c.reply.null_array(); }
  bool begin(Context& c) override { return begin_with(c, 1, c.args.size() - 1); }

 private:
  void take(Context& c, size_t word, const ListView& list) override {
    c.reply.array(2);
    c.reply.bulk(c.args[word]);
    (void)pop(c, c.args[word], list, kLeft, 1);
  }
};

class PopSome final : public ListAwaited {
 public:
  bool parse(Context& c) { return kv::parse(c, 2, pops_) && seconds_to_wait(c, 1, timeout_ms); }
  static void nothing(Context& c) { c.reply.null_array(); }
  bool begin(Context& c) override { return begin_with(c, pops_.first, pops_.end); }

 private:
  void take(Context& c, size_t word, const ListView& list) override {
    const uint64_t n = std::min(pops_.count, list.size());
    if (!fits_call(c, list, pops_.left, n)) return c.reply.error(kTooLargeForCall);
    pop_some(c, word, list, pops_);
  }
  PopOfSome pops_;
};

class Move : public ListAwaited {
 public:
  static void nothing(Context& c) { c.reply.null(); }
  size_t keys() const override { return 1; }
  bool begin(Context& c) override { return begin_with(c, 1, 2); }

 protected:
  bool from_left_ = false, to_left_ = true;

 private:
  void take(Context& c, size_t word, const ListView& list) override {
    if (!fits_call(c, list, from_left_, 1)) return c.reply.error(kTooLargeForCall);
    move(c, c.args[word], list, from_left_, c.args[2], to_left_);
  }
};

class MoveEnds final : public Move {
 public:
  bool parse(Context& c) {
    const auto from = parse_end(c, c.args[3]);
    if (!from) return false;
    const auto to = parse_end(c, c.args[4]);
    if (!to) return false;
    from_left_ = *from;
    to_left_ = *to;
    return seconds_to_wait(c, 5, timeout_ms);
  }
};

class RightToLeft final : public Move {
 public:
  bool parse(Context& c) { return seconds_to_wait(c, 3, timeout_ms); }
};

constexpr std::string_view kGroup = "list";
constexpr uint32_t kWaits = kWrite | kBlocking;
constexpr uint32_t kMovesOne = kWaits | kDenyOom | kBatch;
constexpr KeySpec kPops[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete, .last = -2}};
constexpr KeySpec kMoves[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete},
                              {.flags = kKeyReadWrite | kKeyInsert, .first = 2}};
constexpr KeySpec kPopsOneOf[] = {
    {.flags = kKeyReadWrite | kKeyAccess | kKeyDelete, .first = 2, .count_at = 0}};
constexpr Row kRows[] = {
    {"blpop", -3, kWaits, kPops, begin<Pop<true>>, wait<Pop<true>>, kGroup,
     "Removes and returns the first element in a list. Blocks until an element is available "
     "otherwise. Deletes the list if the last element was popped.",
     "2.0.0"},
    {"brpop", -3, kWaits, kPops, begin<Pop<false>>, wait<Pop<false>>, kGroup,
     "Removes and returns the last element in a list. Blocks until an element is available "
     "otherwise. Deletes the list if the last element was popped.",
     "2.0.0"},
    {"blmove", 6, kMovesOne, kMoves, begin<MoveEnds>, wait<MoveEnds>, kGroup,
     "Pops an element from a list, pushes it to another list and returns it. Blocks until an "
     "element is available otherwise. Deletes the list if the last element was moved.",
     "6.2.0"},
    {"brpoplpush", 4, kMovesOne, kMoves, begin<RightToLeft>, wait<RightToLeft>, kGroup,
     "Pops an element from a list, pushes it to another list and returns it. Block until an "
     "element is available otherwise. Deletes the list if the last element was popped.",
     "2.2.0"},
    {"blmpop", -5, kWrite | kBlocking, kPopsOneOf, begin<PopSome>, wait<PopSome>, kGroup,
     "Pops the first element from one of multiple lists. Blocks until an element is available "
     "otherwise. Deletes the list if the last element was popped.",
     "7.0.0"},
};

}  // namespace

std::span<const Row> list_blocking_rows() { return kRows; }

}  // namespace cairn::kv

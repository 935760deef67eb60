// The sorted set commands that wait: BZPOPMIN, BZPOPMAX, BZMPOP.
#include "kv/commands/blocking.h"
#include "kv/commands/sorted_set_view.h"
#include "kv/engine/call_session.h"

namespace cairn::kv {

namespace {

class SortedSetAwaited : public Awaited {
 public:
  int64_t timeout_ms = 0;
  ValueType type() const override { return ValueType::kSortedSet; }
  bool wants(const Entry* entry, size_t) const override {
    return entry != nullptr && entry->type() == ValueType::kSortedSet &&
           sorted_set_of(entry)->size() > 0;
  }
  void serve(Context& c, size_t word) override {
    Entry* entry;
    if (find_sorted_set(c, c.args[word], entry)) take(c, word, entry);
  }
  static void nothing(Context& c) { c.reply.null_array(); }

 protected:
  // Answers with what this sorted set gives.
  virtual void take(Context& c, size_t word, Entry* entry) = 0;
  // The first of these words whose key holds something, for us.
  bool begin_with(Context& c, size_t first, size_t end) {
    for (size_t word = first; word < end; word++) {
      Entry* entry;
      if (!find_sorted_set(c, c.args[word], entry)) return true;
      if (!wants(entry, word) || is_for_others(c, c.args[word], type())) continue;
      take(c, word, entry);
      return true;
    }
    return false;
  }
};

template <bool kHighest>
class PopOne final : public SortedSetAwaited {
 public:
  bool parse(Context& c) { return seconds_to_wait(c, c.args.size() - 1, timeout_ms); }
  bool begin(Context& c) override { return begin_with(c, 1, c.args.size() - 1); }

 private:
  void take(Context& c, size_t word, Entry* entry) override {
    c.reply.array(3);
    c.reply.bulk(c.args[word]);
    (void)pop(c, c.args[word], entry, kHighest, 1,
              [&c](const SortedSet::Item& item) { reply_item(c.reply, Form::kFlat, item); });
  }
};

class PopSomeOf final : public SortedSetAwaited {
 public:
  bool parse(Context& c) { return kv::parse(c, 2, pops_) && seconds_to_wait(c, 1, timeout_ms); }
  bool begin(Context& c) override { return begin_with(c, pops_.first, pops_.end); }

 private:
  void take(Context& c, size_t word, Entry* entry) override {
    if (!fits_call(c, *sorted_set_of(entry))) return c.reply.error(kTooLargeForCall);
    pop_some(c, word, entry, pops_);
  }
  bool fits_call(const Context& c, const SortedSet& set) const {
    const CallSession* call = call_of(c.session);
    if (call == nullptr) return true;
    const uint64_t n = std::min(set.size(), pops_.count);
    uint64_t bytes = 0;
    set.for_each(pops_.highest ? set.size() - 1 : 0, n, pops_.highest,
                 [&](const SortedSet::Item& item) { bytes += item.member.size(); });
    return bytes <= call->popped_bytes_max;
  }
  PopOfSets pops_;
};

constexpr std::string_view kGroup = kSortedSetGroup;
constexpr uint32_t kWaits = kWrite | kBlocking | kFast;
constexpr KeySpec kPops[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete, .last = -2}};
constexpr KeySpec kPopsOneOf[] = {
    {.flags = kKeyReadWrite | kKeyAccess | kKeyDelete, .first = 2, .count_at = 0}};
constexpr Row kRows[] = {
    {"bzpopmin", -3, kWaits, kPops, begin<PopOne<false>>, wait<PopOne<false>>, kGroup,
     "Removes and returns the member with the lowest score from one or more sorted sets. Blocks "
     "until a member is available otherwise. Deletes the sorted set if the last element was "
     "popped.",
     "5.0.0"},
    {"bzpopmax", -3, kWaits, kPops, begin<PopOne<true>>, wait<PopOne<true>>, kGroup,
     "Removes and returns the member with the highest score from one or more sorted sets. Blocks "
     "until a member available otherwise. Deletes the sorted set if the last element was popped.",
     "5.0.0"},
    {"bzmpop", -5, kWrite | kBlocking, kPopsOneOf, begin<PopSomeOf>, wait<PopSomeOf>, kGroup,
     "Removes and returns a member by score from one or more sorted sets. Blocks until a member "
     "is available otherwise. Deletes the sorted set if the last element was popped.",
     "7.0.0"},
};

}  // namespace

std::span<const Row> sorted_set_blocking_rows() { return kRows; }

}  // namespace cairn::kv

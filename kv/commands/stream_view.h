// What the families of stream commands share: IDs as words, entries in answers.
//
// Threads: as the command.
#pragma once

#include <absl/functional/function_ref.h>

#include <optional>
#include <string_view>
#include <vector>

#include "kv/engine/command.h"
#include "kv/types/stream.h"

namespace cairn::kv {

// ---- IDs, in Redis's ways of writing them ----

// ms-seq or ms, for which the number is `missing`. With `any_seq` ms-* is one as well, and it says
// so. Nothing: it is none.
std::optional<StreamId> parse_id(std::string_view word, uint64_t missing, bool* any_seq = nullptr);
// These answer the error. - and + are the smallest and the largest one, unless `strict`.
bool stream_id(Context& c, size_t word, StreamId& id, uint64_t missing = 0, bool strict = true);
// Of an interval, which ( leaves out.
bool interval_ids(Context& c, size_t from_word, size_t to_word, StreamId& from, StreamId& to);
bool interval_start(Context& c, size_t word, StreamId& from);

// ---- answers ----

void reply_id(Reply& reply, StreamId id);
void reply_entry(Reply& reply, const StreamEntry& e);
// The entries from one ID to another, `most` at most (0: all), as an array: the first of them at
// once, many in parts (Series). Returns how many.
uint64_t reply_entries(Context& c, const Stream& stream, StreamId from, StreamId to, uint64_t most,
                       bool backwards = false);

// ---- keys ----

struct StreamView {
  Entry* entry = nullptr;
  const Stream* stream = nullptr;  // null: there is none
  explicit operator bool() const { return stream != nullptr; }
  const Stream* operator->() const { return stream; }
  const Stream& operator*() const { return *stream; }
};
// False after it answered that the key, this word, holds something else.
bool find(Context& c, size_t word, StreamView& view);
// Whether an EXEC may take away so many bytes of entries: it keeps a copy of them until it is done.
// Answers if not.
bool may_take_away(Context& c, uint64_t bytes);
inline bool operate(Context& c, size_t word, const StreamView& view, std::string_view operation) {
  return c.operate(ValueType::kStream, c.args[word], view.entry, operation);
}
// The same of an operation on groups, consumers and counts alone: to Redis the stream, which is
// watched and cached, did not change.
inline bool operate_beside(Context& c, size_t word, const StreamView& view,
                           std::string_view operation) {
  c.txn->changes_unseen(true);
  const bool done = operate(c, word, view, operation);
  c.txn->changes_unseen(false);
  return done;
}
// The event of a consumer that came to be because it asked.
inline void made_consumer(Context& c, size_t word) {
  c.add_event(Events::kStream, "xgroup-createconsumer", c.ns(), c.args[word]);
}
// The group that a word names, of the stream of another; null after it answered NOGROUP.
const StreamGroup* find_group(Context& c, const StreamView& view, size_t key, size_t group);

// For a turn that comes behind another, which answers nothing: false if by now the key is gone, or
// holds something else. The group is null if there is no such one, either.
bool look_for_stream(Context& c, size_t key, StreamView& view);
const StreamGroup* look_for_group(Context& c, StreamView& view, size_t key, size_t group);

// A word in the text of an error: as a C string, like Redis.
inline std::string_view shown(std::string_view word) { return word.substr(0, word.find('\0')); }
// Answers as Redis does where a subcommand got words that it does not know.
void subcommand_syntax_error(Context& c);

// The families.
std::span<const Row> stream_rows();
std::span<const Row> stream_read_rows();
std::span<const Row> stream_group_rows();
std::span<const Row> stream_claim_rows();
std::span<const Row> stream_info_rows();

// ---- what is done in turns ----

// Pending entries that are looked at, or taken away, in one of them.
inline constexpr size_t kPendingAtOnce = 4096;
// For a run_deferred: calls turn() under the lock of the command's only key, again and again,
// with the turns of others between, while it returns true. What a turn changed is committed then.
awaitable<void> in_turns(Context& c, absl::FunctionRef<bool()> turn);

// What a group delivers to a consumer, or a consumer claims: IDs with one time and one count are
// written to the operation together.
class Deliveries {
 public:
  Deliveries(std::string& operation, int64_t now_ms) : operation_(operation), now_ms_(now_ms) {}
  ~Deliveries() { flush(); }
  void add(StreamId id, int64_t since_ms, uint64_t times) {
    if (since_ms != since_ms_ || times != times_) flush();
    since_ms_ = since_ms;
    times_ = times;
    ids_.push_back(id);
  }
  void add(StreamId id, uint64_t times) { add(id, now_ms_, times); }
  void flush() {
    if (!ids_.empty()) Stream::add_pending(operation_, since_ms_, times_, ids_);
    ids_.clear();
  }

 private:
  std::string& operation_;
  const int64_t now_ms_;
  int64_t since_ms_ = 0;
  uint64_t times_ = 0;
  absl::InlinedVector<StreamId, 16> ids_;
};

}  // namespace cairn::kv

// The stream commands that know no groups: XRANGE, XDEL and the like.
#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "core/base/text.h"
#include "kv/commands/stream_view.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {

// ---- IDs ----

namespace {
// Redis's string2ull.
bool parse_number(const char* text, uint64_t& n) {
  if (const auto small = parse_ll(text)) {
    n = static_cast<uint64_t>(*small);
    return *small >= 0;
  }
  char* end;
  errno = 0;
  n = std::strtoull(text, &end, 10);
  return errno != EINVAL && errno != ERANGE && *text != '\0' && *end == '\0';
}
}  // namespace

std::optional<StreamId> parse_id(std::string_view word, uint64_t missing, bool* any_seq) {
  char text[128];
  if (word.size() >= sizeof(text)) return std::nullopt;
  std::memcpy(text, word.data(), word.size());
  text[word.size()] = '\0';
  char* dash = std::strchr(text, '-');
  if (dash != nullptr) *dash = '\0';
  StreamId id{0, missing};
  if (!parse_number(text, id.ms)) return std::nullopt;
  if (dash == nullptr) return id;
  if (any_seq != nullptr && dash[1] == '*' && dash[2] == '\0') {
    *any_seq = true;
    return StreamId{id.ms, 0};
  }
  return parse_number(dash + 1, id.seq) ? std::optional(id) : std::nullopt;
}

namespace {
bool parse_or_answer(Context& c, std::string_view word, StreamId& id, uint64_t missing,
                     bool strict) {
  if (!strict && word == "-") return id = kStreamIdMin, true;
  if (!strict && word == "+") return id = kStreamIdMax, true;
  const auto parsed = parse_id(word, missing);
  if (parsed) return id = *parsed, true;
  c.reply.error("ERR Invalid stream ID specified as stream command argument");
  return false;
}

bool interval_id(Context& c, size_t word, StreamId& id, uint64_t missing, bool& open) {
  const std::string_view text = c.args[word];
  open = text.size() > 1 && text[0] == '(';
  return parse_or_answer(c, open ? text.substr(1) : text, id, missing, open);
}
}  // namespace

bool stream_id(Context& c, size_t word, StreamId& id, uint64_t missing, bool strict) {
  return parse_or_answer(c, c.args[word], id, missing, strict);
}

bool interval_start(Context& c, size_t word, StreamId& from) {
  bool open;
  if (!interval_id(c, word, from, 0, open)) return false;
  if (open && from == kStreamIdMax) {
    c.reply.error("ERR invalid start ID for the interval");
    return false;
  }
  if (open) from = from.next();
  return true;
}

bool interval_ids(Context& c, size_t from_word, size_t to_word, StreamId& from, StreamId& to) {
  bool open;
  if (!interval_start(c, from_word, from) || !interval_id(c, to_word, to, UINT64_MAX, open)) {
    return false;
  }
  if (open && to == kStreamIdMin) {
    c.reply.error("ERR invalid end ID for the interval");
    return false;
  }
  if (open) to = to.prev();
  return true;
}

// ---- answers ----

void reply_id(Reply& reply, StreamId id) {
  char text[48];
  char* end = std::to_chars(text, text + sizeof(text), id.ms).ptr;
  *end++ = '-';
  end = std::to_chars(end, text + sizeof(text), id.seq).ptr;
  reply.bulk({text, static_cast<size_t>(end - text)});
}

void reply_entry(Reply& reply, const StreamEntry& e) {
  reply.array(2);
  reply_id(reply, e.id);
  reply.array(2 * e.fields);
  e.for_each([&](auto field, auto value) {
    reply.bulk(field);
    reply.bulk(value);
  });
}

namespace {
// In one turn of an answer.
constexpr uint64_t kEntriesAtOnce = 512, kBytesAtOnce = 64 << 10;

// Answers entries until that is enough for a turn, and moves `from` or `to` behind the last of
// them.
template <class Next>
void reply_some(Reply& reply, Next next, StreamId& from, StreamId& to, bool backwards,
                uint64_t& left) {
  uint64_t bytes = 0;
  StreamEntry e;
  for (uint64_t n = 0; left > 0 && n < kEntriesAtOnce && bytes < kBytesAtOnce; n++) {
    if (!next(e)) return;
    reply_entry(reply, e);
    left--;
    bytes += e.names.size() + e.values.size();
    if (left > 0) (backwards ? to : from) = backwards ? e.id.prev() : e.id.next();
  }
}

// The rest of them, of the stream as it was.
class Entries final : public Series {
 public:
  Entries(const Stream& stream, StreamId from, StreamId to, bool backwards, uint64_t left)
      : snapshot_(stream.snapshot()), from_(from), to_(to), backwards_(backwards), left_(left) {}
  bool next(Reply& reply) override {
    const bool there = snapshot_.read([&](const Stream::Tree& tree) {
      Stream::Walk walk(tree, from_, to_, backwards_);
      reply_some(
          reply, [&](StreamEntry& e) { return walk.next(e); }, from_, to_, backwards_, left_);
    });
    return there && left_ > 0;
  }
  bool lost() const override { return snapshot_.lost(); }

 private:
  const Snapshot<Stream::Tree> snapshot_;
  StreamId from_, to_;
  const bool backwards_;
  uint64_t left_;
};
}  // namespace

uint64_t reply_entries(Context& c, const Stream& stream, StreamId from, StreamId to, uint64_t most,
                       bool backwards) {
  uint64_t n = 0;
  if (from <= to) {
    n = (to == kStreamIdMax ? stream.size() : stream.rank(to.next())) - stream.rank(from);
  }
  if (most != 0) n = std::min(n, most);
  c.reply.array(n);
  uint64_t left = n;
  Stream::Walk walk(stream.tree(), from, to, backwards);
  reply_some(
      c.reply, [&](StreamEntry& e) { return walk.next(e); }, from, to, backwards, left);
  if (left > 0) {
    c.reply.series(std::make_unique<Entries>(stream, from, to, backwards, left), left);
  }
  return n;
}

bool find(Context& c, size_t word, StreamView& view) {
  if (!c.find(c.args[word], ValueType::kStream, view.entry)) return false;
  view.stream =
      view.entry == nullptr ? nullptr : static_cast<const Stream*>(view.entry->collection());
  return true;
}

awaitable<void> in_turns(Context& c, absl::FunctionRef<bool()> turn) {
  const Key& key = c.request.keys[0];
  const std::vector<KeyHash> hashes{key.hash};
  const Faults::Keys values{{c.session.ns, key.name}};
  const auto executor = co_await asio::this_coro::executor;
  for (bool more = true; more;) {
    if (c.given_up()) co_return;
    {
      StripeLocks locks(c.store);
      Status locked = co_await c.store.faults().lock_with_values(locks, hashes, values);
      if (!locked.ok()) co_return c.status_error(locked);
      Context::Turn in_turn(c, locks);
      if (Status writes = c.store.check_write(c.row.flags & kDenyOom);
          (c.row.flags & kWrite) && !writes.ok()) {
        co_return c.status_error(writes);
      }
      more = turn();
      if (!in_turn.commit()) co_return;
    }
    (void)c.store.memory().help();
    if (c.store.log().backlogged()) co_await c.store.log().wait_for_backlog();
    co_await asio::post(executor, asio::use_awaitable);
  }
}

bool may_take_away(Context& c, uint64_t bytes) {
  if (!c.in_exec || bytes <= c.store.log().record_bytes_max()) return true;
  c.status_error(
      absl::ResourceExhaustedError("too many entries to be removed at once within a transaction"));
  return false;
}

namespace {

// ---- the others ----

void xlen(Context& c) {
  StreamView s;
  if (!find(c, 1, s)) return;
  c.reply.integer(s ? static_cast<int64_t>(s->size()) : 0);
}

void range(Context& c, bool backwards) {
  StreamId from, to;
  if (!interval_ids(c, backwards ? 3 : 2, backwards ? 2 : 3, from, to)) return;
  int64_t count = -1;
  for (size_t i = 4; i < c.args.size(); i++) {
    if (!equals_ignoring_case(c.args[i], "count") || i + 1 == c.args.size()) {
      return c.syntax_error();
    }
    if (!c.integer(++i, count)) return;
    count = std::max<int64_t>(count, 0);
  }
  StreamView s;
  if (!find(c, 1, s)) return;
  if (!s) return c.reply.array(0);
  if (count == 0) return c.reply.null_array();
  reply_entries(c, *s, from, to, count < 0 ? 0 : static_cast<uint64_t>(count), backwards);
}
void xrange(Context& c) { range(c, false); }
void xrevrange(Context& c) { range(c, true); }

void xdel(Context& c) {
  StreamView s;
  if (!find(c, 1, s)) return;
  if (!s) return c.reply.integer(0);
  std::string operation;
  Stream::State state = s->state();
  absl::InlinedVector<StreamId, 8> ids;
  uint64_t bytes = 0;
  for (size_t i = 2; i < c.args.size(); i++) {
    StreamId id;
    if (!stream_id(c, i, id)) return;
    const auto entry = s->find(id);
    if (!entry) continue;
    ids.push_back(id);
    bytes += entry->names.size() + entry->values.size();
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  if (ids.empty()) return c.reply.integer(0);
  if (!may_take_away(c, bytes)) return;
  for (const StreamId& id : ids) Stream::add_delete(operation, id);
  state.max_deleted = std::max(state.max_deleted, ids.back());
  Stream::add_state(operation, state);
  if (operate(c, 1, s, operation)) c.reply.integer(static_cast<int64_t>(ids.size()));
}

void xsetid(Context& c) {
  Stream::State state;
  int64_t added = -1;
  bool deleted = false;
  if (!stream_id(c, 2, state.last)) return;
  for (size_t i = 3; i < c.args.size(); i++) {
    const bool more = i + 1 < c.args.size();
    if (more && equals_ignoring_case(c.args[i], "entriesadded")) {
      if (!c.integer(++i, added)) return;
      if (added < 0) return c.reply.error("ERR entries_added must be positive");
    } else if (more && equals_ignoring_case(c.args[i], "maxdeletedid")) {
      if (!stream_id(c, ++i, state.max_deleted)) return;
      if (state.last < state.max_deleted) {
        return c.reply.error(
            "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id");
      }
      deleted = true;
    } else {
      return c.syntax_error();
    }
  }
  StreamView s;
  if (!find(c, 1, s)) return;
  if (!s) return c.reply.error("ERR no such key");
  if (state.last < s->state().max_deleted) {
    return c.reply.error(
        "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
  }
  if (s->size() > 0) {
    if (state.last < s->top_id()) {
      return c.reply.error(
          "ERR The ID specified in XSETID is smaller than the target stream top item");
    }
    if (added != -1 && static_cast<uint64_t>(added) < s->size()) {
      return c.reply.error(
          "ERR The entries_added specified in XSETID is smaller than the target stream length");
    }
  }
  state.added = added == -1 ? s->state().added : static_cast<uint64_t>(added);
  if (!deleted || state.max_deleted == kStreamIdMin) state.max_deleted = s->state().max_deleted;
  std::string operation;
  Stream::add_state(operation, state);
  if (operate_beside(c, 1, s, operation)) c.reply.ok();
}

constexpr std::string_view kGroup = "stream";
constexpr uint32_t kRead = kReadOnly | kFast;
constexpr KeySpec kDeletesFromKey[] = {{.flags = kKeyReadWrite | kKeyDelete}};
constexpr Row kRows[] = {
    {"xlen", 2, kRead, kLooksAtKey, xlen, nullptr, kGroup,
     "Return the number of messages in a stream.", "5.0.0"},
    {"xrange", -4, kReadOnly, kReadsKey, xrange, nullptr, kGroup,
     "Returns the messages from a stream within a range of IDs.", "5.0.0"},
    {"xrevrange", -4, kReadOnly, kReadsKey, xrevrange, nullptr, kGroup,
     "Returns the messages from a stream within a range of IDs in reverse order.", "5.0.0"},
    {"xdel", -3, kWrite | kFast, kDeletesFromKey, xdel, nullptr, kGroup,
     "Returns the number of messages after removing them from a stream.", "5.0.0"},
    {"xsetid", -3, kWrite | kDenyOom | kFast, kUpdatesKey, xsetid, nullptr, kGroup,
     "An internal command for replicating stream values.", "5.0.0"},
};

}  // namespace
std::span<const Row> stream_rows() { return kRows; }

}  // namespace cairn::kv

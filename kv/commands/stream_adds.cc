// XADD and XTRIM.
#include <algorithm>
#include <optional>

#include "core/base/text.h"
#include "kv/commands/stream_references.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

struct Trim {
  enum By : uint8_t { kNothing, kLength, kId } by = kNothing;
  bool about = false;
  int64_t length = 0;
  StreamId id;
  uint64_t limit = 0;  // entries at once; 0: none
  std::optional<Refs> policy;

  // Whether it is to be asked what groups hold. Where there are none, nothing is pending.
  bool asks(const Stream* stream) const {
    return by != kNothing && policy.value_or(Refs::kKeep) != Refs::kKeep && stream != nullptr &&
           !stream->groups().empty();
  }
};

struct Add {
  bool make = true;
  bool given = false, any_seq = false;  // the ID, or part of it
  StreamId id;
};

// What follows MAXLEN or MINID; moves on to its last word.
bool parse_threshold(Context& c, size_t& i, Trim& trim, Trim::By by) {
  if (trim.by != Trim::kNothing) {
    c.reply.error("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
    return false;
  }
  const size_t more = c.args.size() - 1 - i;
  const std::string_view next = c.args[i + 1];
  trim.by = by;
  trim.about = more >= 2 && next == "~";
  if (trim.about || (more >= 2 && next == "=")) i++;
  i++;
  if (by == Trim::kId) return stream_id(c, i, trim.id);
  if (!c.integer(i, trim.length)) return false;
  if (trim.length >= 0) return true;
  c.reply.error("ERR The MAXLEN argument must be >= 0.");
  return false;
}

// The options of XADD (with `add`) and XTRIM. Returns the word of the ID; 0 after an error.
size_t parse_options(Context& c, Trim& trim, Add* add) {
  int64_t limit = 0;
  bool limited = false;
  size_t i = 2;
  for (; i < c.args.size(); i++) {
    const std::string_view word = c.args[i];
    const bool more = i + 1 < c.args.size();
    if (add != nullptr && word == "*") break;
    if (more && equals_ignoring_case(word, "maxlen")) {
      if (!parse_threshold(c, i, trim, Trim::kLength)) return 0;
    } else if (more && equals_ignoring_case(word, "minid")) {
      if (!parse_threshold(c, i, trim, Trim::kId)) return 0;
    } else if (more && equals_ignoring_case(word, "limit")) {
      if (!c.integer(++i, limit)) return 0;
      if (limit < 0) return c.reply.error("ERR The LIMIT argument must be >= 0."), 0;
      limited = true;
    } else if (take_policy(word, trim.policy)) {
      continue;
    } else if (add != nullptr && equals_ignoring_case(word, "nomkstream")) {
      add->make = false;
    } else if (add != nullptr) {
      const auto id = parse_id(word, 0, &add->any_seq);
      if (!id) {
        c.reply.error("ERR Invalid stream ID specified as stream command argument");
        return 0;
      }
      add->id = *id;
      add->given = true;
      break;
    } else {
      c.syntax_error();
      return 0;
    }
  }
  if (limit != 0 && trim.by == Trim::kNothing) {
    c.reply.error("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
    return 0;
  }
  if (add == nullptr && trim.by == Trim::kNothing) {
    c.reply.error("ERR syntax error, XTRIM must be called with at least one trimming strategy");
    return 0;
  }
  if (limited && !trim.about) {
    c.reply.error("ERR syntax error, LIMIT cannot be used without the special ~ option");
    return 0;
  }
  constexpr uint64_t kUsualLimit = 100 * StreamBlock::kEntriesMax;
  if (trim.about) trim.limit = limited ? static_cast<uint64_t>(limit) : kUsualLimit;
  return i;
}

// Adds to `operation` that what is to go goes; returns how many entries that are in the stream go.
// One more, `added`, follows on them (0-0: none).
uint64_t trim_entries(const Stream* stream, const Trim& trim, StreamId added, size_t added_bytes,
                      std::string& operation) {
  const uint64_t there = stream == nullptr ? 0 : stream->size();
  const uint64_t all = there + (added == kStreamIdMin ? 0 : 1);
  if (trim.by == Trim::kNothing || all == 0) return 0;
  const bool by_length = trim.by == Trim::kLength;
  const auto keep = static_cast<uint64_t>(trim.length);
  StreamId to;
  if (trim.about) {
    const Stream none(0);
    const auto from = by_length ? std::nullopt : std::optional(trim.id);
    to = (stream == nullptr ? none : *stream)
             .whole_blocks(by_length ? keep : 0, from, trim.limit, added, added_bytes);
  } else if (by_length) {
    const uint64_t gone = all - std::min(all, keep);
    if (gone != 0) to = gone > there ? added : stream->id_at(gone - 1);
  } else if (trim.id != kStreamIdMin) {
    to = trim.id.prev();
    if ((there > 0 ? stream->first_id() : added) > to) return 0;
  }
  if (to == kStreamIdMin) return 0;
  Stream::add_trim(operation, to);
  if (there == 0) return 0;
  return to == kStreamIdMax ? there : stream->rank(to.next());
}

// The ID of the entry to be added; false after it answered why there is none.
bool next_id(Context& c, const Add& add, const Stream::State& state, StreamId& id) {
  if (state.last == kStreamIdMax) {
    c.reply.error("ERR The stream has exhausted the last possible ID, unable to add more items");
    return false;
  }
  const auto now = static_cast<uint64_t>(c.now_ms());
  bool possible = true;
  if (!add.given) {
    id = now > state.last.ms ? StreamId{now, 0} : state.last.next();
  } else if (add.any_seq && add.id.ms == state.last.ms) {
    possible = state.last.seq != UINT64_MAX;
    id = state.last.next();
  } else {
    id = add.id;
  }
  if (possible && id > state.last) return true;
  c.reply.error("ERR The ID specified in XADD is equal or smaller than the target stream top item");
  return false;
}

// The same for so many of the first entries.
bool may_trim(Context& c, const Stream* stream, uint64_t gone) {
  if (!c.in_exec || gone == 0) return true;
  const uint64_t most = c.store.log().record_bytes_max();
  return may_take_away(c, stream->exceeds(gone, most) ? most + 1 : 0);
}

// So many go in one turn: a million took their thread, and all who need the stripe, for 10 ms.
constexpr uint64_t kTrimmedAtOnce = 100'000;

// The first words of an XADD; false after an error.
bool parse_add(Context& c, Trim& trim, Add& add, size_t& at) {
  at = parse_options(c, trim, &add);
  if (at == 0) return false;
  const size_t words = c.args.size() > at + 1 ? c.args.size() - at - 1 : 0;
  if (words < 2 || words % 2 != 0) {
    c.reply.error("ERR wrong number of arguments for 'xadd' command");
    return false;
  }
  if (add.given && !add.any_seq && add.id == kStreamIdMin) {
    c.reply.error("ERR The ID specified in XADD must be greater than 0-0");
    return false;
  }
  return true;
}

// What is to go of so many entries, where it is asked what groups hold.
void set_bounds(const Trim& trim, uint64_t all, Trimming& t) {
  if (trim.by == Trim::kLength) {
    t.excess = all - std::min(all, static_cast<uint64_t>(trim.length));
  } else if (trim.id == kStreamIdMin) {
    t.excess = 0;
  } else {
    t.to = trim.id.prev();
  }
}

Trimming begin(const Trim& trim) {
  Trimming t;
  if (trim.limit != 0) t.looks = trim.limit;
  return t;
}

// False: the rest goes in other turns; or it answered, since a transaction has none.
bool is_whole(Context& c, const Trimming& t) {
  if (t.more && !c.in_exec) return false;
  return may_take_away(c, t.more ? UINT64_MAX : t.bytes);
}

// What of an XADD may take turns.
struct Adding {
  Trim trim;
  Add add;
  size_t at = 0;         // the word of the ID
  Trimming trimming;     // where groups are asked
  bool trimmed = false;  // some went before

  bool parse(Context& c) {
    if (!parse_add(c, trim, add, at)) return false;
    trimming = begin(trim);
    return true;
  }
};

// Adds to `operation` what goes for the entry. False: more than goes in one turn; or it answered.
bool trim_for(Context& c, const Adding& a, const StreamView& s, StreamId id, size_t bytes,
              std::string& operation) {
  if (a.trim.asks(s.stream)) {
    Trimming t = a.trimming;
    set_bounds(a.trim, s->size() + 1, t);
    trim_some(*s, *a.trim.policy, id, References(*s).at_once(c), t, operation);
    return is_whole(c, t);
  }
  const uint64_t gone = trim_entries(s.stream, a.trim, id, bytes, operation);
  if (gone > kTrimmedAtOnce && !c.in_exec) return false;
  return may_trim(c, s.stream, gone);
}

// Adds the entry, unless more would go for it than goes in one turn: then it changes and answers
// nothing, and returns false.
bool add_entry(Context& c, const Adding& a) {
  StreamView s;
  if (!find(c, 1, s)) return true;
  if (!s && !a.add.make) return c.reply.null(), true;
  Stream::State state = s ? s->state() : Stream::State();
  StreamId id;
  if (!next_id(c, a.add, state, id)) return true;
  Scratch room;
  std::string& operation = room.text;
  Stream::add_entry(operation, id, c.args.words().subspan(a.at + 1));
  state.last = id;
  state.added++;
  Stream::add_state(operation, state);
  size_t bytes = 0;
  for (size_t i = a.at + 1; i < c.args.size(); i++) bytes += c.args[i].size() + 1;
  const size_t untrimmed = operation.size();
  if (!trim_for(c, a, s, id, bytes, operation)) return !c.failure().empty();
  c.set_event("xadd");
  if (!operate(c, 1, s, operation)) return true;
  if (a.trimmed || operation.size() != untrimmed)
    c.add_event(Events::kStream, "xtrim", c.ns(), c.args[1]);
  reply_id(c.reply, id);
  return true;
}

void xadd(Context& c) {
  Adding adding;
  if (adding.parse(c) && !add_entry(c, adding)) c.defer();
}

// A part of what goes for an entry, before it is added. False after an error.
bool trim_before(Context& c, Adding& a) {
  StreamView s;
  if (!find(c, 1, s)) return false;
  std::string operation;
  c.set_event("");
  if (a.trim.asks(s.stream)) {
    set_bounds(a.trim, s->size() + 1, a.trimming);
    trim_some(*s, *a.trim.policy, {}, References(*s).at_once(c), a.trimming, operation);
    a.trimmed |= a.trimming.gone != 0;
    return operation.empty() || operate(c, 1, s, operation);
  }
  Stream::add_trim(operation, s->id_at(kTrimmedAtOnce - 1));
  a.trimmed = true;
  if (a.trim.limit != 0) a.trim.limit -= kTrimmedAtOnce;  // more than that were to go
  return operate(c, 1, s, operation);
}

// The first of all that go do so before it is added; it is told the other way round, as of others.
awaitable<void> xadd_deferred(Context& c) {
  Adding adding;
  if (!adding.parse(c)) co_return;
  const uint64_t errors = c.reply.errors();
  co_await in_turns(c, [&] {
    if (!add_entry(c, adding)) return trim_before(c, adding);
    const bool failed = c.reply.errors() != errors;
    if (adding.trimmed && failed) c.add_event(Events::kStream, "xtrim", c.ns(), c.args[1]);
    return false;
  });
}

void xtrim(Context& c) {
  Trim trim;
  if (parse_options(c, trim, nullptr) == 0) return;
  StreamView s;
  if (!find(c, 1, s)) return;
  if (!s) return c.reply.integer(0);
  std::string operation;
  uint64_t gone;
  if (trim.asks(s.stream)) {
    Trimming t = begin(trim);
    set_bounds(trim, s->size(), t);
    trim_some(*s, *trim.policy, {}, References(*s).at_once(c), t, operation);
    if (!is_whole(c, t)) return t.more && !c.in_exec ? c.defer() : void();
    gone = t.gone;
  } else {
    gone = trim_entries(s.stream, trim, {}, 0, operation);
    if (gone > kTrimmedAtOnce && !c.in_exec) return c.defer();
    if (!may_trim(c, s.stream, gone)) return;
  }
  if (gone != 0 && !operate(c, 1, s, operation)) return;
  c.reply.integer(static_cast<int64_t>(gone));
}

// A turn of it. Returns how many went; `to` is the last of all that go, found in the first turn.
uint64_t trim_some(Context& c, const Trim& trim, std::optional<StreamId>& to) {
  StreamView s;
  if (!find(c, 1, s) || !s || s->size() == 0) return 0;
  std::string operation;
  if (!to) {
    const uint64_t gone = trim_entries(s.stream, trim, {}, 0, operation);
    if (gone == 0) return 0;
    to = s->id_at(gone - 1);
  }
  uint64_t gone = *to == kStreamIdMax ? s->size() : s->rank(to->next());
  gone = std::min(gone, kTrimmedAtOnce);
  if (gone == 0) return 0;
  operation.clear();
  Stream::add_trim(operation, s->id_at(gone - 1));
  return operate(c, 1, s, operation) ? gone : 0;
}

// The same where groups are asked. False: that was all, or the end of it.
bool trim_referred(Context& c, const Trim& trim, Trimming& t, uint64_t& gone) {
  StreamView s;
  if (!find(c, 1, s) || !s) return false;
  set_bounds(trim, s->size(), t);
  std::string operation;
  trim_some(*s, *trim.policy, {}, References(*s).at_once(c), t, operation);
  if (!operation.empty() && !operate(c, 1, s, operation)) return false;
  gone += t.gone;
  return t.more;
}

awaitable<void> xtrim_deferred(Context& c) {
  Trim trim;
  if (parse_options(c, trim, nullptr) == 0) co_return;
  const uint64_t before = c.reply.due();
  const bool asks = trim.policy.value_or(Refs::kKeep) != Refs::kKeep;
  Trimming trimming = begin(trim);
  std::optional<StreamId> to;
  uint64_t gone = 0;
  co_await in_turns(c, [&] {
    if (asks) return trim_referred(c, trim, trimming, gone);
    const uint64_t some = trim_some(c, trim, to);
    gone += some;
    return some == kTrimmedAtOnce;
  });
  // It may hold something else by now, and that was answered.
  if (c.reply.due() == before) c.reply.integer(static_cast<int64_t>(gone));
}

constexpr std::string_view kGroup = "stream";
constexpr uint32_t kStore = kWrite | kDenyOom | kFast | kLongArgs;
constexpr KeySpec kDeletesFromKey[] = {{.flags = kKeyReadWrite | kKeyDelete}};
constexpr Row kRows[] = {
    {"xadd", -5, kStore, kUpdatesKey, xadd, xadd_deferred, kGroup,
     "Appends a new message to a stream. Creates the key if it doesn't exist.", "5.0.0"},
    {"xtrim", -4, kWrite, kDeletesFromKey, xtrim, xtrim_deferred, kGroup,
     "Deletes messages from the beginning of a stream.", "5.0.0"},
};

}  // namespace
std::span<const Row> stream_add_rows() { return kRows; }

}  // namespace cairn::kv

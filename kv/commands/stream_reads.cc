// XREAD and XREADGROUP.
#include <algorithm>

#include "core/base/text.h"
#include "kv/commands/stream_view.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

struct Read {
  bool by_group = false;           // XREADGROUP
  size_t group = 0, consumer = 0;  // words
  uint64_t most = 0;               // entries of each stream; 0: all
  bool no_ack = false, blocks = false;
  size_t first = 0, streams = 0;  // words that are keys; as many IDs follow
};

bool fail(Context& c, std::string_view text) {
  c.reply.error(text);
  return false;
}

bool parse_timeout(Context& c, size_t word) {
  int64_t ms;
  if (!c.integer(word, ms, "ERR timeout is not an integer or out of range")) return false;
  if (ms < 0) return fail(c, "ERR timeout is negative");
  return ms <= INT64_MAX - c.now_ms() || fail(c, "ERR timeout is out of range");
}

bool parse_streams(Context& c, size_t first, Read& read) {
  const size_t words = c.args.size() - first;
  if (words % 2 != 0) {
    return fail(c,
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be "
                "specified.");
  }
  read.first = first;
  read.streams = words / 2;
  return true;
}

bool parse(Context& c, Read& read) {
  const auto& args = c.args;
  for (size_t i = 1; i < args.size() && read.streams == 0; i++) {
    const size_t more = args.size() - 1 - i;
    if (more >= 1 && equals_ignoring_case(args[i], "block")) {
      if (!parse_timeout(c, ++i)) return false;
      read.blocks = true;
    } else if (more >= 1 && equals_ignoring_case(args[i], "count")) {
      int64_t count;
      if (!c.integer(++i, count)) return false;
      read.most = static_cast<uint64_t>(std::max<int64_t>(count, 0));
    } else if (more >= 1 && equals_ignoring_case(args[i], "streams")) {
      if (!parse_streams(c, i + 1, read)) return false;
    } else if (more >= 2 && equals_ignoring_case(args[i], "group")) {
      if (!read.by_group) {
        return fail(c,
                    "ERR The GROUP option is only supported by XREADGROUP. You called XREAD "
                    "instead.");
      }
      read.group = i + 1;
      read.consumer = i + 2;
      i += 2;
    } else if (equals_ignoring_case(args[i], "noack")) {
      if (!read.by_group) {
        return fail(c,
                    "ERR The NOACK option is only supported by XREADGROUP. You called XREAD "
                    "instead.");
      }
      read.no_ack = true;
    } else {
      c.syntax_error();
      return false;
    }
  }
  if (read.streams == 0) return fail(c, "ERR syntax error");
  return !read.by_group || read.group != 0 || fail(c, "ERR Missing GROUP option for XREADGROUP");
}

// One of the streams, and what of it is answered.
struct Source {
  size_t key = 0;         // its word
  StreamId after;         // the ID given
  bool newest = false;    // > : what the group has not delivered
  bool answered = false;  // with the entries from `from` to `to`, or those of `history`
  StreamId from, to = kStreamIdMax;
  uint64_t entries = 0;  // delivered by a group
  std::vector<StreamId> history;
};
using Sources = absl::InlinedVector<Source, 1>;

bool parse_id(Context& c, const Read& read, size_t i, Source& source) {
  source.key = read.first + i;
  const size_t word = source.key + read.streams;
  StreamView s;
  if (!find(c, source.key, s)) return false;
  if (read.by_group && (!s || s->group(c.args[read.group]) == nullptr)) {
    return fail(c, cat("NOGROUP No such key '", shown(c.args[source.key]), "' or consumer group '",
                       shown(c.args[read.group]), "' in XREADGROUP with GROUP option"));
  }
  if (c.args[word] == "$") {
    if (read.by_group) {
      return fail(c,
                  "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the "
                  "history of this consumer by specifying a proper ID, or use the > ID to get new "
                  "messages. The $ ID would just return an empty result set.");
    }
    if (s) source.after = s->state().last;
    return true;
  }
  if (c.args[word] == ">") {
    source.newest = true;
    return read.by_group ||
           fail(c,
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP "
                "<group> <consumer> option.");
  }
  return stream_id(c, word, source.after);
}

// ---- what a group delivers ----

// False after it answered an error, here and below.
bool deliver_newest(Context& c, const Read& read, Source& source, const StreamView& s,
                    const StreamGroup& group) {
  if (s->size() == 0 || s->top_id() <= group.last() || source.to <= group.last()) return true;
  source.answered = true;
  source.from = group.last().next();
  absl::InlinedVector<StreamId, 16> ids;
  Stream::Walk walk(s->tree(), source.from, source.to);
  for (StreamEntry e; (read.most == 0 || ids.size() < read.most) && walk.next(e);) {
    ids.push_back(e.id);
  }
  if (ids.empty()) return source.answered = false, true;
  source.to = ids.back();
  source.entries = ids.size();
  const std::string_view name = c.args[read.consumer];
  const StreamConsumer* before = group.consumer(name);
  const int64_t now = c.now_ms();
  int64_t active = now;
  if (read.no_ack) active = before == nullptr ? StreamConsumer::kNever : before->active_ms;
  std::string operation;
  operation.reserve(group.name().size() + name.size() + 64 + ids.size() * 4);
  Stream::add_group_name(operation, group.name());
  Stream::add_group(operation, source.to, s->read_after(group.last(), group.entries_read(), ids));
  Stream::add_consumer(operation, name, now, active);
  if (!read.no_ack) Stream::add_pending(operation, now, 1, ids);
  if (before == nullptr) made_consumer(c, source.key);
  return operate(c, source.key, s, operation);
}

// What is pending with the consumer already, once more.
bool deliver_history(Context& c, const Read& read, Source& source, const StreamView& s,
                     const StreamGroup& group) {
  source.answered = true;
  const std::string_view name = c.args[read.consumer];
  const StreamConsumer* consumer = group.consumer(name);
  const int64_t now = c.now_ms();
  std::string operation;
  Stream::add_group_name(operation, group.name());
  if (consumer == nullptr) made_consumer(c, source.key);
  Stream::add_consumer(operation, name, now,
                       consumer == nullptr ? StreamConsumer::kNever : consumer->active_ms);
  if (consumer != nullptr) {
    Deliveries again(operation, now);
    auto it = consumer->pending.upper_bound(source.after);
    for (; it != consumer->pending.end(); ++it) {
      if (read.most != 0 && source.history.size() == read.most) break;
      source.history.push_back(*it);
      if (s->find(*it)) again.add(*it, group.pending().find(*it)->second.times + 1);
    }
  }
  source.entries = source.history.size();
  if (consumer != nullptr && source.history.empty()) {
    consumer->seen_ms = now;
    return true;
  }
  return operate(c, source.key, s, operation);
}

bool deliver(Context& c, const Read& read, Source& source) {
  StreamView s;
  if (!find(c, source.key, s)) return false;
  if (!read.by_group) {
    source.answered = s && s->size() > 0 && s->top_id() > source.after;
    if (source.answered) source.from = source.after.next();
    return true;
  }
  const StreamGroup& group = *s->group(c.args[read.group]);
  return source.newest ? deliver_newest(c, read, source, s, group)
                       : deliver_history(c, read, source, s, group);
}

// Who asks is a consumer from then on, though there was nothing for him.
bool note_attempt(Context& c, const Read& read, const Source& source) {
  StreamView s;
  if (!find(c, source.key, s)) return false;
  const std::string_view name = c.args[read.consumer];
  if (const StreamConsumer* there = s->group(c.args[read.group])->consumer(name)) {
    there->seen_ms = c.now_ms();
    return true;
  }
  std::string operation;
  Stream::add_group_name(operation, c.args[read.group]);
  Stream::add_consumer(operation, name, c.now_ms(), StreamConsumer::kNever);
  made_consumer(c, source.key);
  return operate(c, source.key, s, operation);
}

// ---- the answer ----

void reply_history(Reply& reply, const Stream::Tree& tree, std::span<const StreamId> ids) {
  for (const StreamId& id : ids) {
    Stream::Walk walk(tree, id, id);
    StreamEntry e;
    if (walk.next(e)) {
      reply_entry(reply, e);
      continue;
    }
    reply.array(2);  // it was deleted meanwhile
    reply_id(reply, id);
    reply.null_array();
  }
}

// Entries that are pending, of a stream as it was.
class History final : public Series {
 public:
  History(const Stream& stream, std::vector<StreamId> ids)
      : snapshot_(stream.snapshot()), ids_(std::move(ids)) {}
  static constexpr size_t kAtOnce = 128;
  bool next(Reply& reply) override {
    const size_t n = std::min(kAtOnce, ids_.size() - at_);
    const bool there = snapshot_.read([&](const Stream::Tree& tree) {
      reply_history(reply, tree, std::span(ids_).subspan(at_, n));
    });
    at_ += n;
    return there && at_ < ids_.size();
  }
  bool lost() const override { return snapshot_.lost(); }
  size_t bytes() const override { return ids_.capacity() * sizeof(StreamId); }

 private:
  const Snapshot<Stream::Tree> snapshot_;
  const std::vector<StreamId> ids_;
  size_t at_ = 0;
};

void reply_source(Context& c, const Read& read, Source& source) {
  c.reply.bulk(c.args[source.key]);
  StreamView s;
  if (!find(c, source.key, s)) return;
  if (!read.by_group || source.newest) {
    reply_entries(c, *s, source.from, source.to, read.most);
    return;
  }
  const size_t n = source.history.size();
  c.reply.array(n);
  if (n <= History::kAtOnce) return reply_history(c.reply, s->tree(), source.history);
  c.reply.series(std::make_unique<History>(*s, std::move(source.history)), n);
}

void read_streams(Context& c, const Read& read) {
  Sources sources(read.streams);
  for (size_t i = 0; i < read.streams; i++) {
    if (!parse_id(c, read, i, sources[i])) return;
  }
  size_t answered = 0;
  for (Source& source : sources) {
    if (!deliver(c, read, source)) return;
    answered += source.answered;
  }
  // Here one that blocks would begin to wait for its keys, and be served by what is above.
  if (answered == 0 && read.blocks && !c.in_exec) {
    return c.reply.error(cat("ERR ", upper(c.row.name),
                             " does not wait yet: there is nothing to read, and BLOCK is "
                             "not offered so far"));
  }
  for (Source& source : sources) {
    if (read.by_group && !source.answered && !note_attempt(c, read, source)) return;
  }
  if (answered == 0) return c.reply.null_array();
  const bool pairs = c.session.resp == 3;
  pairs ? c.reply.map(answered) : c.reply.array(answered);
  for (Source& source : sources) {
    if (!source.answered) continue;
    if (!pairs) c.reply.array(2);
    reply_source(c, read, source);
  }
}

void xread(Context& c) {
  Read read;
  if (parse(c, read)) read_streams(c, read);
}

// ---- in turns ----

// What a group delivered in a turn, of the stream as it was then.
struct Slice {
  Slice(const Stream& stream, const Source& source) : snapshot(stream.snapshot()), source(source) {}
  Snapshot<Stream::Tree> snapshot;
  Source source;
};

class Slices final : public Series {
 public:
  explicit Slices(std::vector<Slice> slices) : slices_(std::move(slices)) {}
  bool next(Reply& reply) override {
    Slice& slice = slices_[at_];
    bool ended = true;
    const bool there = slice.snapshot.read([&](const Stream::Tree& tree) {
      ended = slice.source.newest ? reply_some(reply, tree, slice.source)
                                  : reply_some_history(reply, tree, slice.source.history);
    });
    lost_ |= !there;
    if (ended) at_++;
    return there && at_ < slices_.size();
  }
  bool lost() const override { return lost_; }
  size_t bytes() const override {
    size_t ids = 0;
    for (auto& s : slices_) ids += s.source.history.capacity();
    return slices_.capacity() * sizeof(Slice) + ids * sizeof(StreamId);
  }

 private:
  static constexpr size_t kAtOnce = 512;
  // Whether that was all of it.
  static bool reply_some(Reply& reply, const Stream::Tree& tree, Source& source) {
    Stream::Walk walk(tree, source.from, source.to);
    StreamEntry e;
    for (size_t n = 0; n < kAtOnce && walk.next(e); n++) {
      reply_entry(reply, e);
      if (e.id == source.to) return true;
      source.from = e.id.next();
    }
    return false;
  }
  bool reply_some_history(Reply& reply, const Stream::Tree& tree,
                          const std::vector<StreamId>& ids) {
    const size_t n = std::min(kAtOnce, ids.size() - history_at_);
    reply_history(reply, tree, std::span(ids).subspan(history_at_, n));
    history_at_ += n;
    if (history_at_ < ids.size()) return false;
    history_at_ = 0;
    return true;
  }

  std::vector<Slice> slices_;
  size_t at_ = 0, history_at_ = 0;
  bool lost_ = false;
};

constexpr uint64_t kDeliveredAtOnce = 4096;

// Whether a group may have so much to deliver that it is done in turns: a million entries took
// their thread, and all who need the stripe, for 0.3 s.
bool is_large(Context& c, const Read& read) {
  if (read.streams != 1 || (read.most != 0 && read.most <= kDeliveredAtOnce)) return false;
  Entry* entry = c.find(c.args[read.first]);
  if (entry == nullptr || entry->type() != ValueType::kStream) return false;
  const auto& stream = *static_cast<const Stream*>(entry->collection());
  const StreamGroup* group = stream.group(c.args[read.group]);
  if (group == nullptr) return false;
  if (c.args[read.first + 1] == ">") {
    return stream.size() - stream.rank(group->last()) > kDeliveredAtOnce;
  }
  const StreamConsumer* consumer = group->consumer(c.args[read.consumer]);
  return consumer != nullptr && consumer->pending.size() > kDeliveredAtOnce;
}

enum class Turned : uint8_t { kMore, kAll, kFailed };

// A turn of it: what is delivered is in `slices` then, and `source` says where to go on.
Turned deliver_some(Context& c, const Read& read, StripeLocks& locks, Source& source, uint64_t left,
                    std::vector<Slice>& slices) {
  Context::Turn turn(c, locks);
  if (Status writes = c.store.check_write(false); !writes.ok()) {
    c.status_error(writes);
    return Turned::kFailed;
  }
  const bool begins = slices.empty();
  StreamView s;
  if (begins) {
    if (!parse_id(c, read, 0, source) || !find(c, source.key, s)) return Turned::kFailed;
    source.to = s->top_id();  // what is added meanwhile is for another time
  } else {
    // Gone, or another one by now: what was delivered is the answer.
    Entry* entry = c.find(c.args[source.key]);
    if (entry == nullptr || entry->type() != ValueType::kStream) return Turned::kAll;
    s = {entry, static_cast<const Stream*>(entry->collection())};
    if (s->group(c.args[read.group]) == nullptr) return Turned::kAll;
  }
  Read part = read;
  part.most = std::min(left, kDeliveredAtOnce);
  Source some = source;
  some.answered = false;
  if (!deliver(c, part, some) || !turn.commit()) return Turned::kFailed;
  if (some.entries == 0) return Turned::kAll;
  slices.emplace_back(*s, some);
  if (!some.newest) source.after = some.history.back();
  return some.entries < part.most || some.entries == left ? Turned::kAll : Turned::kMore;
}

awaitable<void> read_in_turns(Context& c, const Read& read) {
  const std::vector<KeyHash> hashes{c.request.keys[0].hash};
  const Faults::Keys values{{c.session.ns, c.args[read.first]}};
  const auto executor = co_await asio::this_coro::executor;
  std::vector<Slice> slices;
  Source source;
  uint64_t left = read.most == 0 ? UINT64_MAX : read.most, n = 0;
  for (Turned turned = Turned::kMore; turned == Turned::kMore;) {
    if (c.given_up()) co_return;
    {
      StripeLocks locks(c.store);
      Status locked = co_await c.store.faults().lock_with_values(locks, hashes, values);
      if (!locked.ok()) {
        c.status_error(locked);
        co_return;
      }
      turned = deliver_some(c, read, locks, source, left, slices);
    }
    if (turned == Turned::kFailed) co_return;
    if (!slices.empty()) {
      left -= turned == Turned::kMore ? slices.back().source.entries : 0;
    }
    (void)c.store.memory().help();
    if (c.store.log().backlogged()) co_await c.store.log().wait_for_backlog();
    co_await asio::post(executor, asio::use_awaitable);
  }
  for (auto& s : slices) n += s.source.entries;
  if (n == 0 && source.newest) co_return c.reply.null_array();
  const bool pairs = c.session.resp == 3;
  pairs ? c.reply.map(1) : c.reply.array(1);
  if (!pairs) c.reply.array(2);
  c.reply.bulk(c.args[read.first]);
  c.reply.array(n);
  if (n > 0) c.reply.series(std::make_unique<Slices>(std::move(slices)), n);
}

// What it changes in several streams is one change.
void xreadgroup(Context& c) {
  Read read;
  read.by_group = true;
  if (!parse(c, read)) return;
  if (!c.in_exec && (read.streams > 1 || is_large(c, read))) return c.defer();
  read_streams(c, read);
}

awaitable<void> xreadgroup_deferred(Context& c) {
  Read read;
  read.by_group = true;
  if (!parse(c, read)) co_return;
  if (read.streams == 1) co_return co_await read_in_turns(c, read);
  std::vector<KeyHash> hashes;
  Faults::Keys values;
  for (const Key& key : c.request.keys) {
    if (std::find(hashes.begin(), hashes.end(), key.hash) != hashes.end()) continue;
    hashes.push_back(key.hash);
    values.emplace_back(c.session.ns, key.name);
  }
  StripeLocks locks(c.store);
  Status locked = co_await c.store.faults().lock_with_values(locks, hashes, values);
  if (!locked.ok()) {
    c.status_error(locked);
    co_return;
  }
  Context::Turn turn(c, locks, Shape::kSeveral);
  if (Status writes = c.store.check_write(false); !writes.ok()) {
    c.status_error(writes);
    co_return;
  }
  read_streams(c, read);
  (void)turn.commit();
}

constexpr std::string_view kGroup = "stream";
constexpr KeySpec kReadsStreams[] = {
    {.flags = kKeyReadOnly | kKeyAccess, .keyword = "STREAMS", .last = -1, .limit = 2}};
// A group's user reads entries; what is changed beside is the group.
constexpr KeySpec kReadsStreamsByGroup[] = {
    {.flags = kKeyReadOnly | kKeyAccess, .first = 4, .keyword = "STREAMS", .last = -1, .limit = 2},
    {.flags = kKeyReadWrite | kKeyAgain, .first = 4, .keyword = "STREAMS", .last = -1, .limit = 2}};
constexpr Row kRows[] = {
    {"xread", -4, kReadOnly, kReadsStreams, xread, nullptr, kGroup,
     "Returns messages from multiple streams with IDs greater than the ones requested.", "5.0.0"},
    {"xreadgroup", -7, kWrite, kReadsStreamsByGroup, xreadgroup, xreadgroup_deferred, kGroup,
     "Returns new or historical messages from a stream for a consumer in a group.", "5.0.0"},
};

}  // namespace
std::span<const Row> stream_read_rows() { return kRows; }

}  // namespace cairn::kv

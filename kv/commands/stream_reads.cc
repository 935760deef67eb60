// XREAD and XREADGROUP, which may wait.
#include <algorithm>

#include "core/base/text.h"
#include "kv/commands/blocking.h"
#include "kv/commands/stream_view.h"
#include "kv/engine/engine.h"
#include "kv/engine/errand.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

struct Read {
  bool by_group = false;           // XREADGROUP
  size_t group = 0, consumer = 0;  // words
  uint64_t most = 0;               // entries of each stream; 0: all
  bool no_ack = false, blocks = false;
  int64_t timeout_ms = 0;  // 0: no limit
  // Of a door's errand alone (errand.h):
  bool by_door = false;
  bool tells = false;             // READY: it is answered nothing as soon as there is something
  uint64_t pending_max = 0;       // MAXPENDING: no more with the consumer at once; 0: any number
  size_t first = 0, streams = 0;  // words that are keys; as many IDs follow
};

bool fail(Context& c, std::string_view text) {
  c.reply.error(text);
  return false;
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

// An option that no client can say.
bool parse_for_door(Context& c, size_t& i, Read& read) {
  if (!read.by_door) return false;
  if (c.args[i] == "ready") return read.tells = true;
  const bool named = c.args[i] == "maxpending" && i + 1 < c.args.size();
  const auto most = named ? parse_int<uint64_t>(c.args[i + 1]) : std::nullopt;
  if (!most) return false;
  read.pending_max = *most;
  i++;
  return true;
}

bool parse(Context& c, Read& read) {
  const auto& args = c.args;
  read.by_door = c.session.id == kNoClient;
  for (size_t i = 1; i < args.size() && read.streams == 0; i++) {
    const size_t more = args.size() - 1 - i;
    if (more >= 1 && equals_ignoring_case(args[i], "block")) {
      if (!milliseconds_to_wait(c, ++i, read.timeout_ms)) return false;
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
    } else if (!parse_for_door(c, i, read)) {
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
  bool there = false;     // something is
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
  source.there = bool(s);
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

// So many the consumer may be given, who may be none yet.
uint64_t room_of(uint64_t pending_max, const StreamConsumer* consumer) {
  if (pending_max == 0) return UINT64_MAX;
  const uint64_t pending = consumer == nullptr ? 0 : consumer->pending.size();
  return pending_max - std::min<uint64_t>(pending, pending_max);
}

// False after it answered an error, here and below.
bool deliver_newest(Context& c, const Read& read, Source& source, const StreamView& s,
                    const StreamGroup& group) {
  if (s->size() == 0 || s->top_id() <= group.last() || source.to <= group.last()) return true;
  const std::string_view name = c.args[read.consumer];
  const StreamConsumer* before = group.consumer(name);
  const uint64_t most =
      std::min(read.most == 0 ? UINT64_MAX : read.most, room_of(read.pending_max, before));
  if (most == 0) return true;
  source.answered = true;
  source.from = group.last().next();
  absl::InlinedVector<StreamId, 16> ids;
  Stream::Walk walk(s->tree(), source.from, source.to);
  for (StreamEntry e; ids.size() < most && walk.next(e);) ids.push_back(e.id);
  if (ids.empty()) return source.answered = false, true;
  source.to = ids.back();
  source.entries = ids.size();
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
  return operate_beside(c, source.key, s, operation);
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
  return operate_beside(c, source.key, s, operation);
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
  return operate_beside(c, source.key, s, operation);
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

void announce_streams(Context& c, size_t count) {
  c.session.resp == 3 ? c.reply.map(count) : c.reply.array(count);
}

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

// ---- in turns ----

// What a group delivered in a turn, of the stream as it was then.
struct Slice {
  Slice(const Stream& stream, Source source)
      : snapshot(stream.snapshot()), source(std::move(source)) {}
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

// What the group of one stream may have to deliver.
uint64_t to_deliver(Context& c, const Read& read, const Source& source) {
  StreamView s;
  const StreamGroup* group = look_for_group(c, s, source.key, read.group);
  if (group == nullptr) return 0;
  if (source.newest) {  // exactly: where it is none, the command waits
    return s->top_id() > group->last() ? s->size() - s->rank(group->last().next()) : 0;
  }
  const StreamConsumer* consumer = group->consumer(c.args[read.consumer]);
  return consumer == nullptr ? 0 : consumer->pending.size();
}

// Whether that is so much in all streams that it is done in turns: a million entries took their
// thread, and all who need the stripe, for 0.3 s.
bool is_large(Context& c, const Read& read, const Sources& sources) {
  if (read.most != 0 && read.most <= kDeliveredAtOnce / read.streams) return false;
  uint64_t sum = 0;
  for (const Source& source : sources) {
    const uint64_t all = to_deliver(c, read, source);
    sum += read.most == 0 ? all : std::min(all, read.most);
    if (sum > kDeliveredAtOnce) return true;
  }
  return false;
}

// One of the streams, and what was delivered of it so far.
struct Delivery {
  Source source;  // where to go on
  uint64_t left = 0, entries = 0;
  bool begun = false, answered = false;
  std::vector<Slice> slices;
};

enum class Turned : uint8_t { kMore, kAll, kFailed };

// False: it cannot begin, and answered why, or is not to: others have delivered before it, so that
// no error is an answer any more.
bool begin_delivery(Context& c, const Read& read, size_t i, bool first, Delivery& d) {
  StreamView s;
  if (!first && look_for_group(c, s, read.first + i, read.group) == nullptr) return false;
  if (!parse_id(c, read, i, d.source) || !find(c, d.source.key, s)) return false;
  d.source.to = s->top_id();  // what is added meanwhile is for another time
  d.left = read.most == 0 ? UINT64_MAX : read.most;
  d.begun = true;
  return true;
}

// A turn of the stream that was named at i; `first`: nothing was delivered of any yet.
Turned deliver_some(Context& c, const Read& read, StripeLocks& locks, size_t i, bool first,
                    Delivery& d) {
  Context::Turn turn(c, locks);
  if (Status writes = c.store.check_write(false); !writes.ok()) {
    c.status_error(writes);
    return Turned::kFailed;
  }
  if (!d.begun && !begin_delivery(c, read, i, first, d)) {
    return first ? Turned::kFailed : Turned::kAll;
  }
  StreamView s;  // gone, or another one by now: what was delivered is the answer
  if (look_for_group(c, s, d.source.key, read.group) == nullptr) return Turned::kAll;
  Read part = read;
  part.most = std::min(d.left, kDeliveredAtOnce);
  Source some = d.source;
  if (!deliver(c, part, some)) return Turned::kFailed;
  // What it was to have, others may have taken.
  const bool nothing = d.slices.empty() && !some.answered;
  if (nothing && !note_attempt(c, read, some)) return Turned::kFailed;
  if (!turn.commit()) return Turned::kFailed;
  d.answered |= some.answered;
  if (some.entries == 0) return Turned::kAll;
  d.entries += some.entries;
  d.left -= some.entries;
  if (!some.newest) d.source.after = some.history.back();
  const bool all = some.entries < part.most || d.left == 0;
  d.slices.emplace_back(*s, std::move(some));
  return all ? Turned::kAll : Turned::kMore;
}

// False if it failed, or its connection ends; then it answered.
awaitable<bool> deliver_in_turns(Context& c, const Read& read, size_t i, bool first, Delivery& d) {
  const Key& key = c.request.keys[i];
  const std::vector<KeyHash> hashes{key.hash};
  const Faults::Keys values{{c.session.ns, key.name}};
  const auto executor = co_await asio::this_coro::executor;
  for (Turned turned = Turned::kMore; turned == Turned::kMore;) {
    if (c.given_up()) co_return false;
    {
      StripeLocks locks(c.store);
      Status locked = co_await c.store.faults().lock_with_values(locks, hashes, values);
      if (!locked.ok()) {
        c.status_error(locked);
        co_return false;
      }
      turned = deliver_some(c, read, locks, i, first && d.slices.empty(), d);
    }
    if (turned == Turned::kFailed) co_return false;
    (void)c.store.memory().help();
    if (c.store.log().backlogged()) co_await c.store.log().wait_for_backlog();
    co_await asio::post(executor, asio::use_awaitable);
  }
  co_return true;
}

// One stream after the other. False if it did not answer: there was nothing any more, and it may
// wait for more.
awaitable<bool> read_in_turns(Context& c, const Read& read) {
  std::vector<Delivery> all(read.streams);
  size_t answered = 0;
  for (size_t i = 0; i < read.streams; i++) {
    if (!co_await deliver_in_turns(c, read, i, answered == 0, all[i])) co_return true;
    answered += all[i].answered ? 1 : 0;
  }
  if (answered == 0) {
    if (!read.blocks) c.reply.null_array();
    co_return !read.blocks;
  }
  announce_streams(c, answered);
  for (Delivery& d : all) {
    if (!d.answered) continue;
    if (c.session.resp != 3) c.reply.array(2);
    c.reply.bulk(c.args[d.source.key]);
    c.reply.array(d.entries);
    if (d.entries > 0) c.reply.series(std::make_unique<Slices>(std::move(d.slices)), d.entries);
  }
  co_return true;
}

// ---- the commands ----

// As in Redis, one that waited is answered with the stream that something came to, and no other.
template <bool kByGroup>
class Reading final : public Awaited {
 public:
  Read read;
  bool waits = false;  // it may: this is the second half
  bool large = false;  // begin() left all of it for turns

  bool parse(Context& c) {
    read.by_group = kByGroup;
    return kv::parse(c, read);
  }
  static void nothing(Context& c) { c.reply.null_array(); }

  ValueType type() const override { return ValueType::kStream; }
  bool hears_loss() const override { return kByGroup || read.by_door; }

  bool begin(Context& c) override {
    sources_.assign(read.streams, Source());
    for (size_t i = 0; i < read.streams; i++) {
      if (!parse_id(c, read, i, sources_[i])) return true;
    }
    // For the second time, as Redis looks: for all of them first, and for each again.
    for (const Source& source : sources_) {
      c.engine.count_hit(source.there);
      if (!source.there) c.add_event(Events::kKeyMiss, "keymiss", c.ns(), c.args[source.key]);
    }
    if (kByGroup && !c.in_exec && is_large(c, read, sources_)) return large = true;
    size_t answered = 0;
    for (Source& source : sources_) {
      if (!deliver(c, read, source)) return true;
      answered += source.answered;
    }
    const bool begins_to_wait = answered == 0 && read.blocks && !c.in_exec;
    if (begins_to_wait && !waits) return false;  // before anything changed
    for (Source& source : sources_) {
      if (kByGroup && !source.answered && !note_attempt(c, read, source)) return true;
    }
    if (answered == 0) return begins_to_wait ? false : (nothing(c), true);
    if (read.tells) return nothing(c), true;
    announce_streams(c, answered);
    for (Source& source : sources_) {
      if (source.answered) reply(c, source);
    }
    return true;
  }

  bool wants(const Entry* entry, size_t word) const override {
    const bool there = entry != nullptr && entry->type() == ValueType::kStream;
    if (!there) return kByGroup || (read.by_door && entry != nullptr);  // it is another type now
    const auto& stream = *static_cast<const Stream*>(entry->collection());
    StreamId after = source_of(word).after;
    if (kByGroup) {
      const StreamGroup* group = stream.group(group_);
      if (group == nullptr) return true;
      if (room_of(read.pending_max, group->consumer(consumer_)) == 0) return false;
      after = group->last();
    }
    return stream.size() > 0 && stream.top_id() > after;
  }

  void serve(Context& c, size_t word) override {
    Source source;
    source.key = word;
    source.after = source_of(word).after;
    source.newest = kByGroup;
    if (kByGroup && lost(c, word)) return;
    if (!deliver(c, read, source)) return;
    if (read.tells) return nothing(c);
    announce_streams(c, 1);
    reply(c, source);
  }

  void name_group(std::string_view group, std::string_view consumer) {
    group_ = group;
    consumer_ = consumer;
  }

 private:
  const Source& source_of(size_t word) const { return sources_[word - read.first]; }
  void reply(Context& c, Source& source) {
    if (c.session.resp != 3) c.reply.array(2);
    reply_source(c, read, source);
  }
  // Whether there is no such group any more; then it answered so.
  bool lost(Context& c, size_t word) const {
    Entry* entry = c.find(c.args[word]);
    if (entry == nullptr || entry->type() != ValueType::kStream) {
      return !fail(c, "UNBLOCKED the stream key no longer exists");
    }
    const auto& stream = *static_cast<const Stream*>(entry->collection());
    if (stream.group(c.args[read.group]) != nullptr) return false;
    return !fail(c, "NOGROUP the consumer group this client was blocked on no longer exists");
  }

  Sources sources_;
  std::string_view group_, consumer_;
};

void xread(Context& c) {
  Reading<false> reading;
  if (!reading.parse(c) || reading.begin(c)) return;
  c.defer();
}

awaitable<void> xread_deferred(Context& c) {
  Reading<false> reading;
  if (!reading.parse(c)) co_return;
  reading.waits = true;
  co_await c.engine.wait_for(c, reading, reading.read.timeout_ms);
}

// What it changes in several streams is one change.
void xreadgroup(Context& c) {
  Reading<true> reading;
  if (!reading.parse(c)) return;
  const bool several = !c.in_exec && reading.read.streams > 1;
  if (several || !reading.begin(c) || reading.large) c.defer();
}

awaitable<void> xreadgroup_deferred(Context& c) {
  for (bool answered = false; !answered;) {
    Reading<true> reading;
    if (!reading.parse(c)) co_return;
    reading.waits = true;
    reading.name_group(c.args[reading.read.group], c.args[reading.read.consumer]);
    co_await c.engine.wait_for(c, reading, reading.read.timeout_ms);
    answered = !reading.large;
    if (!answered) answered = co_await read_in_turns(c, reading.read);
  }
}

constexpr std::string_view kGroup = "stream";
constexpr KeySpec::Option kOptions[] = {{"block", 1}, {"count", 1}, {"group", 2}};
constexpr KeySpec streams(uint16_t flags, int first) {
  return {.flags = flags,
          .first = first,
          .keyword = "STREAMS",
          .options = kOptions,
          .last = -1,
          .limit = 2};
}
constexpr KeySpec kReadsStreams[] = {streams(kKeyReadOnly | kKeyAccess, 1)};
// A group's user reads entries; what is changed beside is the group.
constexpr KeySpec kReadsStreamsByGroup[] = {streams(kKeyReadOnly | kKeyAccess, 4),
                                            streams(kKeyReadWrite | kKeyAgain, 4)};
constexpr Row kRows[] = {
    {"xread", -4, kReadOnly | kBlocking, kReadsStreams, xread, xread_deferred, kGroup,
     "Returns messages from multiple streams with IDs greater than the ones requested.", "5.0.0"},
    {"xreadgroup", -7, kWrite | kBlocking, kReadsStreamsByGroup, xreadgroup, xreadgroup_deferred,
     kGroup, "Returns new or historical messages from a stream for a consumer in a group.",
     "5.0.0"},
};

}  // namespace
std::span<const Row> stream_read_rows() { return kRows; }

}  // namespace cairn::kv

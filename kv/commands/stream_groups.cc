// XGROUP, XACK and XPENDING.
#include <algorithm>
#include <set>

#include "core/base/text.h"
#include "kv/commands/stream_view.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {

const StreamGroup* find_group(Context& c, const StreamView& view, size_t key, size_t group) {
  const StreamGroup* found = view ? view->group(c.args[group]) : nullptr;
  if (found == nullptr) {
    c.reply.error(cat("NOGROUP No such key '", shown(c.args[key]), "' or consumer group '",
                      shown(c.args[group]), "'"));
  }
  return found;
}

bool look_for_stream(Context& c, size_t key, StreamView& view) {
  Entry* entry = c.look(c.args[key]);
  if (entry == nullptr || entry->type() != ValueType::kStream) return false;
  view = {entry, static_cast<const Stream*>(entry->collection())};
  return true;
}

const StreamGroup* look_for_group(Context& c, StreamView& view, size_t key, size_t group) {
  return look_for_stream(c, key, view) ? view->group(c.args[group]) : nullptr;
}

void subcommand_syntax_error(Context& c) {
  const std::string_view name = c.row.name.substr(0, c.row.name.find('|'));
  c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                    shown(c.args[1].substr(0, 128)), "'. Try ", upper(name), " HELP."));
}

namespace {

// ---- XGROUP key group, from word 2 on ----

struct GroupOptions {
  bool make_stream = false;
  int64_t read = StreamGroup::kUnknown;
};

bool parse(Context& c, bool may_make, GroupOptions& options) {
  for (size_t i = 5; i < c.args.size(); i++) {
    if (may_make && equals_ignoring_case(c.args[i], "mkstream")) {
      options.make_stream = true;
    } else if (i + 1 < c.args.size() && equals_ignoring_case(c.args[i], "entriesread")) {
      if (!c.integer(++i, options.read)) return false;
      if (options.read < 0 && options.read != StreamGroup::kUnknown) {
        c.reply.error("ERR value for ENTRIESREAD must be positive or -1");
        return false;
      }
    } else {
      subcommand_syntax_error(c);
      return false;
    }
  }
  return true;
}

// False after it answered that the stream, or the group, is not there.
bool find_stream(Context& c, StreamView& s) {
  if (!find(c, 2, s)) return false;
  if (s) return true;
  c.reply.error(
      "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to "
      "use the MKSTREAM option to create an empty stream automatically.");
  return false;
}

bool find_group(Context& c, StreamView& s, const StreamGroup*& group) {
  if (!find_stream(c, s)) return false;
  group = s->group(c.args[3]);
  if (group != nullptr) return true;
  c.reply.error(cat("NOGROUP No such consumer group '", shown(c.args[3]), "' for key name '",
                    shown(c.args[2]), "'"));
  return false;
}

std::string about_group(std::string_view name) {
  std::string operation;
  Stream::add_group_name(operation, name);
  return operation;
}

void xgroup_create(Context& c) {
  GroupOptions options;
  if (!parse(c, true, options)) return;
  StreamView s;
  if (options.make_stream ? !find(c, 2, s) : !find_stream(c, s)) return;
  StreamId last;
  if (c.args[4] == "$") {
    if (s) last = s->state().last;
  } else if (!stream_id(c, 4, last)) {
    return;
  }
  if (s && s->group(c.args[3]) != nullptr) {
    return c.reply.error("BUSYGROUP Consumer Group name already exists");
  }
  std::string operation;
  if (!s) Stream::add_state(operation, {});
  operation += about_group(c.args[3]);
  Stream::add_group(operation, last, options.read);
  const bool done = s ? operate_beside(c, 2, s, operation) : operate(c, 2, s, operation);
  if (done) c.reply.ok();
}

void xgroup_setid(Context& c) {
  GroupOptions options;
  if (!parse(c, false, options)) return;
  StreamView s;
  const StreamGroup* group;
  if (!find_group(c, s, group)) return;
  StreamId last = s->state().last;
  if (c.args[4] != "$" && !stream_id(c, 4, last, 0, false)) return;
  std::string operation = about_group(c.args[3]);
  Stream::add_group(operation, last, options.read);
  if (operate_beside(c, 2, s, operation)) c.reply.ok();
}

// Acknowledges the first kPendingAtOnce of what is pending. That is no event: what the command is
// to do may not come about yet.
template <class Pending, class IdOf>
bool forget_some(Context& c, const StreamView& s, const Pending& pending, IdOf id_of) {
  std::vector<StreamId> ids;
  for (auto it = pending.begin(); ids.size() < kPendingAtOnce; ++it) ids.push_back(id_of(*it));
  std::string operation = about_group(c.args[3]);
  Stream::add_acknowledged(operation, ids);
  c.set_event("");
  return operate_beside(c, 2, s, operation);
}

// Whether an EXEC may take away what is pending, of which it keeps a copy until it is done; answers
// if not.
bool may_forget(Context& c, uint64_t image_bytes) {
  if (!c.in_exec || image_bytes <= c.store.log().record_bytes_max()) return true;
  c.status_error(absl::ResourceExhaustedError(
      "too many pending entries to be removed at once within a transaction"));
  return false;
}

void destroy_group(Context& c, const StreamView& s) {
  std::string operation = about_group(c.args[3]);
  Stream::add_group_gone(operation);
  c.set_event(c.row.event.name);
  if (operate_beside(c, 2, s, operation)) c.reply.integer(1);
}

void xgroup_destroy(Context& c) {
  StreamView s;
  if (!find_stream(c, s)) return;
  const StreamGroup* group = s->group(c.args[3]);
  if (group == nullptr) return c.reply.integer(0);
  if (group->pending().size() > kPendingAtOnce && !c.in_exec) return c.defer();
  if (may_forget(c, group->image_bytes())) destroy_group(c, s);
}

// A million pending entries took their thread, and all who need the stripe, for 0.2 s: they go
// first, some at a time.
awaitable<void> xgroup_destroy_deferred(Context& c) {
  co_await in_turns(c, [&c] {
    StreamView s;
    if (!find_stream(c, s)) return false;
    const StreamGroup* group = s->group(c.args[3]);
    if (group == nullptr) return c.reply.integer(0), false;
    if (group->pending().size() <= kPendingAtOnce) return destroy_group(c, s), false;
    return forget_some(c, s, group->pending(), [](auto& p) { return p.first; });
  });
}

void xgroup_createconsumer(Context& c) {
  StreamView s;
  const StreamGroup* group;
  if (!find_group(c, s, group)) return;
  if (group->consumer(c.args[4]) != nullptr) return c.reply.integer(0);
  std::string operation = about_group(c.args[3]);
  Stream::add_consumer(operation, c.args[4], c.now_ms(), StreamConsumer::kNever);
  if (operate_beside(c, 2, s, operation)) c.reply.integer(1);
}

// What is pending with it goes too; `gone` of that went before.
void delete_consumer(Context& c, const StreamView& s, const StreamConsumer& consumer,
                     uint64_t gone) {
  gone += consumer.pending.size();
  std::string operation = about_group(c.args[3]);
  Stream::add_consumer_gone(operation, c.args[4]);
  c.set_event(c.row.event.name);
  if (operate_beside(c, 2, s, operation)) c.reply.integer(static_cast<int64_t>(gone));
}

void xgroup_delconsumer(Context& c) {
  StreamView s;
  const StreamGroup* group;
  if (!find_group(c, s, group)) return;
  const StreamConsumer* consumer = group->consumer(c.args[4]);
  if (consumer == nullptr) return c.reply.integer(0);
  if (consumer->pending.size() > kPendingAtOnce && !c.in_exec) return c.defer();
  const size_t all = std::max<size_t>(1, group->pending().size());
  const uint64_t of_each = group->image_bytes() / all;
  if (may_forget(c, of_each * consumer->pending.size())) delete_consumer(c, s, *consumer, 0);
}

awaitable<void> xgroup_delconsumer_deferred(Context& c) {
  uint64_t gone = 0;
  co_await in_turns(c, [&] {
    StreamView s;
    const StreamGroup* group;
    if (gone > 0) {
      group = look_for_group(c, s, 2, 3);
    } else if (!find_group(c, s, group)) {
      return false;
    }
    const StreamConsumer* consumer = group == nullptr ? nullptr : group->consumer(c.args[4]);
    if (consumer == nullptr) return c.reply.integer(static_cast<int64_t>(gone)), false;
    if (consumer->pending.size() <= kPendingAtOnce) {
      return delete_consumer(c, s, *consumer, gone), false;
    }
    gone += kPendingAtOnce;
    return forget_some(c, s, consumer->pending, [](StreamId id) { return id; });
  });
}

// ---- XACK ----

void xack(Context& c) {
  StreamView s;
  if (!find(c, 1, s)) return;
  const StreamGroup* group = s ? s->group(c.args[2]) : nullptr;
  if (group == nullptr) return c.reply.integer(0);
  absl::InlinedVector<StreamId, 8> ids;
  for (size_t i = 3; i < c.args.size(); i++) {
    StreamId id;
    if (!stream_id(c, i, id)) return;
    if (group->pending().contains(id)) ids.push_back(id);
  }
  if (ids.size() > 1) {
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  }
  if (ids.empty()) return c.reply.integer(0);
  std::string operation = about_group(c.args[2]);
  Stream::add_acknowledged(operation, ids);
  if (operate_beside(c, 1, s, operation)) c.reply.integer(static_cast<int64_t>(ids.size()));
}

// ---- XPENDING ----

void reply_summary(Context& c, const StreamGroup& group) {
  Reply& reply = c.reply;
  const auto& pending = group.pending();
  reply.array(4);
  reply.integer(static_cast<int64_t>(pending.size()));
  if (pending.empty()) {
    reply.null();
    reply.null();
    return reply.null_array();
  }
  reply_id(reply, pending.begin()->first);
  reply_id(reply, pending.rbegin()->first);
  size_t n = 0;
  for (auto& [name, consumer] : group.consumers()) n += !consumer->pending.empty();
  reply.array(n);
  for (auto& [name, consumer] : group.consumers()) {
    if (consumer->pending.empty()) continue;
    reply.array(2);
    reply.bulk(name);
    reply.bulk(cat(consumer->pending.size()));
  }
}

struct Listed {
  StreamId id;
  const std::string* consumer;
  int64_t idle_ms;
  uint64_t times;
};

void reply_listed(Reply& reply, const Listed& l) {
  reply.array(4);
  reply_id(reply, l.id);
  reply.bulk(*l.consumer);
  reply.integer(l.idle_ms);
  reply.integer(static_cast<int64_t>(l.times));
}

// What an XPENDING asks for, and what was found of it so far.
struct Selection {
  StreamId from, to;  // of what is to be looked at still
  int64_t min_idle_ms = 0, count = 0;
  size_t consumer = 0;  // a word; 0: all of them

  std::vector<Listed> found;
  std::set<std::string, std::less<>> names;  // of their consumers, which may go

  // Looks at so many at most; whether that was all.
  bool look(Context& c, const StreamGroup& group, size_t most);
  // Lowers the count to what is there, and returns how many bytes it takes to find so many.
  uint64_t limit(Context& c, const StreamGroup& group);

 private:
  bool take(StreamId id, const StreamGroup::Pending& p, int64_t now_ms);
};

// False: that is the last one.
bool Selection::take(StreamId id, const StreamGroup::Pending& p, int64_t now_ms) {
  if (min_idle_ms <= 0 || now_ms - p.since_ms >= min_idle_ms) {
    const std::string& name = p.consumer->name;
    const bool same = !found.empty() && *found.back().consumer == name;
    const std::string* kept = same ? found.back().consumer : &*names.insert(name).first;
    found.push_back({id, kept, std::max<int64_t>(0, now_ms - p.since_ms), p.times});
  }
  if (id == to) return false;
  from = id.next();
  return found.size() < static_cast<uint64_t>(count);
}

bool Selection::look(Context& c, const StreamGroup& group, size_t most) {
  if (count == 0 || from > to) return true;
  const int64_t now = c.now_ms();
  if (consumer != 0) {
    const StreamConsumer* one = group.consumer(c.args[consumer]);
    if (one == nullptr) return true;
    for (auto it = one->pending.lower_bound(from); most > 0; ++it, most--) {
      if (it == one->pending.end() || *it > to) return true;
      if (!take(*it, group.pending().find(*it)->second, now)) return true;
    }
    return false;
  }
  for (auto it = group.pending().lower_bound(from); most > 0; ++it, most--) {
    if (it == group.pending().end() || it->first > to) return true;
    if (!take(it->first, it->second, now)) return true;
  }
  return false;
}

uint64_t Selection::limit(Context& c, const StreamGroup& group) {
  constexpr uint64_t kNameBytes = 96;  // in the set, beside the text
  const StreamConsumer* one = consumer == 0 ? nullptr : group.consumer(c.args[consumer]);
  const uint64_t all = consumer == 0    ? group.pending().size()
                       : one == nullptr ? 0
                                        : one->pending.size();
  count = static_cast<int64_t>(std::min(static_cast<uint64_t>(count), all));
  const uint64_t consumers = consumer == 0 ? group.consumers().size() : 1;
  return static_cast<uint64_t>(count) * sizeof(Listed) + consumers * kNameBytes +
         group.name_bytes();
}

class Listing final : public Series {
 public:
  explicit Listing(Selection selection) : selection_(std::move(selection)) {}
  static constexpr size_t kAtOnce = 512;
  bool next(Reply& reply) override {
    const auto& found = selection_.found;
    const size_t end = std::min(found.size(), at_ + kAtOnce);
    for (; at_ < end; at_++) reply_listed(reply, found[at_]);
    return at_ < found.size();
  }
  size_t bytes() const override { return selection_.found.capacity() * sizeof(Listed); }

 private:
  Selection selection_;
  size_t at_ = 0;
};

void reply_selection(Context& c, Selection selection) {
  const size_t n = selection.found.size();
  c.reply.array(n);
  if (n > Listing::kAtOnce) {
    return c.reply.series(std::make_unique<Listing>(std::move(selection)), n);
  }
  for (const Listed& l : selection.found) reply_listed(c.reply, l);
}

bool parse(Context& c, Selection& want) {
  const size_t words = c.args.size();
  if (words != 3 && (words < 6 || words > 9)) return c.syntax_error(), false;
  if (words == 3) return true;
  size_t first = 3;
  if (equals_ignoring_case(c.args[3], "idle")) {
    if (!c.integer(4, want.min_idle_ms)) return false;
    if (words < 8) return c.syntax_error(), false;
    first = 5;
  }
  if (!c.integer(first + 2, want.count)) return false;
  want.count = std::max<int64_t>(want.count, 0);
  if (!interval_ids(c, first, first + 1, want.from, want.to)) return false;
  if (first + 3 < words) want.consumer = first + 3;
  return true;
}

void xpending(Context& c) {
  Selection want;
  if (!parse(c, want)) return;
  StreamView s;
  if (!find(c, 1, s)) return;
  const StreamGroup* group = kv::find_group(c, s, 1, 2);
  if (group == nullptr) return;
  if (c.args.size() == 3) return reply_summary(c, *group);
  if (!want.look(c, *group, c.in_exec ? SIZE_MAX : kPendingAtOnce)) return c.defer();
  reply_selection(c, std::move(want));
}

// Looking at a million took their thread, and all who need the stripe, for 0.2 s.
awaitable<void> xpending_deferred(Context& c) {
  Selection want;
  if (!parse(c, want)) co_return;
  const uint64_t before = c.reply.due();
  uint64_t bytes = 0;
  co_await in_turns(c, [&] {
    StreamView s;
    if (!find(c, 1, s)) return false;
    if (const StreamGroup* group = kv::find_group(c, s, 1, 2)) bytes = want.limit(c, *group);
    return false;
  });
  if (c.reply.due() != before || !c.failure().empty()) co_return;
  const auto share = co_await c.workspace(bytes);
  if (share == nullptr) co_return;
  want.found.reserve(static_cast<size_t>(want.count));
  co_await in_turns(c, [&] {
    StreamView s;
    if (!find(c, 1, s)) return false;
    const StreamGroup* group = kv::find_group(c, s, 1, 2);
    return group != nullptr && !want.look(c, *group, kPendingAtOnce);
  });
  if (c.reply.due() == before) reply_selection(c, std::move(want));
}

constexpr std::string_view kGroup = "stream";
constexpr KeySpec kDeletesFromSecond[] = {{.flags = kKeyReadWrite | kKeyDelete, .first = 2}};
constexpr KeySpec kInsertsIntoSecond[] = {{.flags = kKeyReadWrite | kKeyInsert, .first = 2}};
constexpr KeySpec kAcknowledgesInKey[] = {{.flags = kKeyReadWrite | kKeyUpdate | kKeyLooked}};
constexpr KeySpec kUpdatesSecond[] = {{.flags = kKeyReadWrite | kKeyUpdate, .first = 2}};
constexpr Row kRows[] = {
    {"xgroup",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kGroup,
     "A container for consumer groups commands.",
     "5.0.0"},
    {"xgroup|create", -5, kWrite | kDenyOom, kInsertsIntoSecond, xgroup_create, nullptr, kGroup,
     "Creates a consumer group.", "5.0.0"},
    {"xgroup|createconsumer", 5, kWrite | kDenyOom, kInsertsIntoSecond, xgroup_createconsumer,
     nullptr, kGroup, "Creates a consumer in a consumer group.", "6.2.0"},
    {"xgroup|delconsumer", 5, kWrite, kDeletesFromSecond, xgroup_delconsumer,
     xgroup_delconsumer_deferred, kGroup, "Deletes a consumer from a consumer group.", "5.0.0"},
    {"xgroup|destroy", 4, kWrite, kDeletesFromSecond, xgroup_destroy, xgroup_destroy_deferred,
     kGroup, "Destroys a consumer group.", "5.0.0"},
    {"xgroup|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "5.0.0"},
    {"xgroup|setid", -5, kWrite, kUpdatesSecond, xgroup_setid, nullptr, kGroup,
     "Sets the last-delivered ID of a consumer group.", "5.0.0"},
    {"xack", -4, kWrite | kFast, kAcknowledgesInKey, xack, nullptr, kGroup,
     "Returns the number of messages that were successfully acknowledged by the consumer group "
     "member of a stream.",
     "5.0.0"},
    {"xpending", -3, kReadOnly, kReadsKey, xpending, xpending_deferred, kGroup,
     "Returns the information and entries from a stream consumer group's pending entries list.",
     "5.0.0"},
};

}  // namespace
std::span<const Row> stream_group_rows() { return kRows; }

}  // namespace cairn::kv

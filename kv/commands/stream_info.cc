// XINFO.
#include <algorithm>

#include "core/base/text.h"
#include "kv/commands/stream_view.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

bool find_stream(Context& c, StreamView& s) {
  if (!find(c, 2, s)) return false;
  if (!s) c.reply.error("ERR no such key");
  return bool(s);
}

void reply_count(Reply& reply, std::string_view name, uint64_t n) {
  reply.bulk(name);
  reply.integer(static_cast<int64_t>(n));
}

void reply_known(Reply& reply, std::string_view name, int64_t n) {
  reply.bulk(name);
  n == StreamGroup::kUnknown ? reply.null() : reply.integer(n);
}

void reply_named_id(Reply& reply, std::string_view name, StreamId id) {
  reply.bulk(name);
  reply_id(reply, id);
}

// The first seven pairs of XINFO STREAM. The nodes are those that Redis would have at least.
void reply_state(Reply& reply, const Stream& s) {
  const uint64_t blocks = s.blocks();
  reply_count(reply, "length", s.size());
  reply_count(reply, "radix-tree-keys", blocks);
  reply_count(reply, "radix-tree-nodes", blocks + 1);
  reply_named_id(reply, "last-generated-id", s.state().last);
  reply_named_id(reply, "max-deleted-entry-id", s.state().max_deleted);
  reply_count(reply, "entries-added", s.state().added);
  reply_named_id(reply, "recorded-first-entry-id", s.first_id());
}

void reply_end(Reply& reply, std::string_view name, const Stream& s, bool last) {
  reply.bulk(name);
  Stream::Walk walk(s.tree(), kStreamIdMin, kStreamIdMax, last);
  StreamEntry e;
  walk.next(e) ? reply_entry(reply, e) : reply.null();
}

void reply_consumer_in_full(Reply& reply, const StreamGroup& group, const StreamConsumer& consumer,
                            uint64_t most) {
  reply.map(5);
  reply.bulk("name");
  reply.bulk(consumer.name);
  reply_count(reply, "seen-time", static_cast<uint64_t>(consumer.seen_ms));
  reply_count(reply, "active-time", static_cast<uint64_t>(consumer.active_ms));
  reply_count(reply, "pel-count", consumer.pending.size());
  reply.bulk("pending");
  uint64_t n = std::min<uint64_t>(consumer.pending.size(), most);
  reply.array(n);
  for (auto it = consumer.pending.begin(); n > 0; ++it, n--) {
    const StreamGroup::Pending& p = group.pending().find(*it)->second;
    reply.array(3);
    reply_id(reply, *it);
    reply.integer(p.since_ms);
    reply.integer(static_cast<int64_t>(p.times));
  }
}

void reply_group_in_full(Reply& reply, const Stream& s, const StreamGroup& group, uint64_t most) {
  reply.map(7);
  reply.bulk("name");
  reply.bulk(group.name());
  reply_named_id(reply, "last-delivered-id", group.last());
  reply_known(reply, "entries-read", group.entries_read());
  reply_known(reply, "lag", s.lag(group));
  reply_count(reply, "pel-count", group.pending().size());
  reply.bulk("pending");
  uint64_t n = std::min<uint64_t>(group.pending().size(), most);
  reply.array(n);
  for (auto it = group.pending().begin(); n > 0; ++it, n--) {
    reply.array(4);
    reply_id(reply, it->first);
    reply.bulk(it->second.consumer->name);
    reply.integer(it->second.since_ms);
    reply.integer(static_cast<int64_t>(it->second.times));
  }
  reply.bulk("consumers");
  reply.array(group.consumers().size());
  for (auto& [name, consumer] : group.consumers()) {
    reply_consumer_in_full(reply, group, *consumer, most);
  }
}

void xinfo_stream(Context& c) {
  StreamView s;
  if (!find_stream(c, s)) return;
  const size_t options = c.args.size() - 3;
  Reply& reply = c.reply;
  if (options == 0) {
    reply.map(10);
    reply_state(reply, *s);
    reply_count(reply, "groups", s->groups().size());
    reply_end(reply, "first-entry", *s, false);
    return reply_end(reply, "last-entry", *s, true);
  }
  int64_t count = 10;
  if ((options != 1 && options != 3) || !equals_ignoring_case(c.args[3], "full") ||
      (options == 3 && !equals_ignoring_case(c.args[4], "count"))) {
    return subcommand_syntax_error(c);
  }
  if (options == 3 && !c.integer(5, count)) return;
  if (count < 0) count = 10;
  reply.map(9);
  reply_state(reply, *s);
  reply.bulk("entries");
  reply_entries(c, *s, kStreamIdMin, kStreamIdMax, static_cast<uint64_t>(count));
  reply.bulk("groups");
  reply.array(s->groups().size());
  const uint64_t most = count == 0 ? UINT64_MAX : static_cast<uint64_t>(count);
  for (auto& [name, group] : s->groups()) reply_group_in_full(reply, *s, *group, most);
}

void xinfo_groups(Context& c) {
  StreamView s;
  if (!find_stream(c, s)) return;
  Reply& reply = c.reply;
  reply.array(s->groups().size());
  for (auto& [name, group] : s->groups()) {
    reply.map(6);
    reply.bulk("name");
    reply.bulk(name);
    reply_count(reply, "consumers", group->consumers().size());
    reply_count(reply, "pending", group->pending().size());
    reply_named_id(reply, "last-delivered-id", group->last());
    reply_known(reply, "entries-read", group->entries_read());
    reply_known(reply, "lag", s->lag(*group));
  }
}

void xinfo_consumers(Context& c) {
  StreamView s;
  if (!find_stream(c, s)) return;
  const StreamGroup* group = s->group(c.args[3]);
  if (group == nullptr) {
    return c.reply.error(cat("NOGROUP No such consumer group '", shown(c.args[3]),
                             "' for key name '", shown(c.args[2]), "'"));
  }
  const int64_t now = c.now_ms();
  Reply& reply = c.reply;
  reply.array(group->consumers().size());
  for (auto& [name, consumer] : group->consumers()) {
    reply.map(4);
    reply.bulk("name");
    reply.bulk(name);
    reply_count(reply, "pending", consumer->pending.size());
    reply_count(reply, "idle",
                static_cast<uint64_t>(std::max<int64_t>(0, now - consumer->seen_ms)));
    const bool never = consumer->active_ms == StreamConsumer::kNever;
    reply.bulk("inactive");
    reply.integer(never ? -1 : std::max<int64_t>(0, now - consumer->active_ms));
  }
}

constexpr std::string_view kGroup = "stream";
constexpr KeySpec kReadsSecond[] = {{.flags = kKeyReadOnly | kKeyAccess, .first = 2}};
constexpr Row kRows[] = {
    {"xinfo",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kGroup,
     "A container for stream introspection commands.",
     "5.0.0"},
    {"xinfo|consumers", 4, kReadOnly, kReadsSecond, xinfo_consumers, nullptr, kGroup,
     "Returns a list of the consumers in a consumer group.", "5.0.0"},
    {"xinfo|groups", 3, kReadOnly, kReadsSecond, xinfo_groups, nullptr, kGroup,
     "Returns a list of the consumer groups of a stream.", "5.0.0"},
    {"xinfo|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "5.0.0"},
    {"xinfo|stream", -3, kReadOnly, kReadsSecond, xinfo_stream, nullptr, kGroup,
     "Returns information about a stream.", "5.0.0"},
};

}  // namespace
std::span<const Row> stream_info_rows() { return kRows; }

}  // namespace cairn::kv

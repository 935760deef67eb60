// XINFO.
#include <algorithm>
#include <deque>
#include <set>

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

// ---- XINFO STREAM FULL ----

// What it tells of the groups: looked at in turns, and answered in parts afterwards.
class InFull final : public Series {
 public:
  explicit InFull(uint64_t most) : most_(most) {}
  // About how many bytes it takes to look at all of them.
  uint64_t bytes_for(const Stream& s) const;
  // Looks at so much more; whether that was all.
  bool look(const Stream& s, size_t looks);
  size_t groups() const { return groups_.size(); }
  bool next(Reply& reply) override;
  size_t bytes() const override { return seen_ * sizeof(Pending); }

 private:
  struct Pending {
    StreamId id;
    int64_t since_ms;
    uint64_t times;
    const std::string* consumer;
  };
  struct Consumer {
    std::string name;
    int64_t seen_ms, active_ms;
    uint64_t count;
    std::vector<Pending> pending;
    bool whole = false;
  };
  struct Group {
    std::string name;
    StreamId last;
    int64_t read, lag;
    uint64_t count;
    enum : uint8_t { kPending, kConsumers, kWhole } stage = kPending;  // looked at
    std::vector<Pending> pending;
    std::deque<Consumer> consumers;
    std::set<std::string, std::less<>> names;  // of consumers that may have gone
  };
  enum Step : uint8_t { kGroup, kGroupPending, kConsumer, kConsumerPending };

  static void look_at_pending(Group& g, const StreamGroup& group, uint64_t most, size_t& looks);
  static void look_at_consumers(Group& g, const StreamGroup& group, uint64_t most, size_t& looks);
  void step(Reply& reply);

  const uint64_t most_;  // pending entries of a group, and of a consumer
  std::deque<Group> groups_;
  size_t seen_ = 0;
  // Answered so far.
  Step step_ = kGroup;
  size_t group_ = 0, consumer_ = 0, pending_ = 0;
};

uint64_t InFull::bytes_for(const Stream& s) const {
  constexpr uint64_t kNameBytes = 96;  // in a set, beside the text
  uint64_t bytes = 0;
  for (auto& [name, group] : s.groups()) {
    const uint64_t pending = group->pending().size(), consumers = group->consumers().size();
    const uint64_t of_consumers = most_ > pending ? pending : std::min(pending, most_ * consumers);
    bytes += sizeof(Group) + name.size() + consumers * (sizeof(Consumer) + kNameBytes) +
             2 * group->name_bytes() + (std::min(most_, pending) + of_consumers) * sizeof(Pending);
  }
  return bytes;
}

bool InFull::look(const Stream& s, size_t looks) {
  while (looks > 0) {
    const size_t before = looks;
    if (groups_.empty() || groups_.back().stage == Group::kWhole) {
      const auto it =
          groups_.empty() ? s.groups().begin() : s.groups().upper_bound(groups_.back().name);
      if (it == s.groups().end()) return true;
      const StreamGroup& group = *it->second;
      groups_.push_back({it->first,
                         group.last(),
                         group.entries_read(),
                         s.lag(group),
                         group.pending().size(),
                         Group::kPending,
                         {},
                         {},
                         {}});
      looks--;
    }
    Group& g = groups_.back();
    const StreamGroup* group = s.group(g.name);
    if (group == nullptr) {
      g.stage = Group::kWhole;  // it went: that much was seen of it
    } else if (g.stage == Group::kPending) {
      look_at_pending(g, *group, most_, looks);
    } else {
      look_at_consumers(g, *group, most_, looks);
    }
    seen_ += before - looks;
  }
  return false;
}

void InFull::look_at_pending(Group& g, const StreamGroup& group, uint64_t most, size_t& looks) {
  const auto& all = group.pending();
  auto it = g.pending.empty() ? all.begin() : all.upper_bound(g.pending.back().id);
  for (; it != all.end() && g.pending.size() < most; ++it, looks--) {
    if (looks == 0) return;
    const StreamGroup::Pending& p = it->second;
    const std::string* name = &*g.names.insert(p.consumer->name).first;
    g.pending.push_back({it->first, p.since_ms, p.times, name});
  }
  g.stage = Group::kConsumers;
}

void InFull::look_at_consumers(Group& g, const StreamGroup& group, uint64_t most, size_t& looks) {
  if (g.consumers.empty() || g.consumers.back().whole) {
    const auto& all = group.consumers();
    const auto it = g.consumers.empty() ? all.begin() : all.upper_bound(g.consumers.back().name);
    if (it == all.end()) {
      g.stage = Group::kWhole;
      return;
    }
    if (looks == 0) return;
    const StreamConsumer& c = *it->second;
    g.consumers.push_back({c.name, c.seen_ms, c.active_ms, c.pending.size(), {}, false});
    looks--;
  }
  Consumer& c = g.consumers.back();
  if (const StreamConsumer* there = group.consumer(c.name)) {
    auto it = c.pending.empty() ? there->pending.begin()
                                : there->pending.upper_bound(c.pending.back().id);
    for (; it != there->pending.end() && c.pending.size() < most; ++it, looks--) {
      if (looks == 0) return;
      const StreamGroup::Pending& p = group.pending().find(*it)->second;
      c.pending.push_back({*it, p.since_ms, p.times, nullptr});
    }
  }
  c.whole = true;
}

bool InFull::next(Reply& reply) {
  constexpr int kAtOnce = 512;
  for (int n = 0; n < kAtOnce && group_ < groups_.size(); n++) step(reply);
  return group_ < groups_.size();
}

void InFull::step(Reply& reply) {
  const Group& g = groups_[group_];
  switch (step_) {
    case kGroup:
      reply.map(7);
      reply.bulk("name");
      reply.bulk(g.name);
      reply_named_id(reply, "last-delivered-id", g.last);
      reply_known(reply, "entries-read", g.read);
      reply_known(reply, "lag", g.lag);
      reply_count(reply, "pel-count", g.count);
      reply.bulk("pending");
      reply.array(g.pending.size());
      step_ = kGroupPending;
      pending_ = consumer_ = 0;
      return;
    case kGroupPending:
      if (pending_ < g.pending.size()) {
        const Pending& p = g.pending[pending_++];
        reply.array(4);
        reply_id(reply, p.id);
        reply.bulk(*p.consumer);
        reply.integer(p.since_ms);
        return reply.integer(static_cast<int64_t>(p.times));
      }
      reply.bulk("consumers");
      reply.array(g.consumers.size());
      step_ = kConsumer;
      return;
    case kConsumer: {
      if (consumer_ == g.consumers.size()) {
        group_++;
        step_ = kGroup;
        return;
      }
      const Consumer& c = g.consumers[consumer_];
      reply.map(5);
      reply.bulk("name");
      reply.bulk(c.name);
      reply_count(reply, "seen-time", static_cast<uint64_t>(c.seen_ms));
      reply_count(reply, "active-time", static_cast<uint64_t>(c.active_ms));
      reply_count(reply, "pel-count", c.count);
      reply.bulk("pending");
      reply.array(c.pending.size());
      step_ = kConsumerPending;
      pending_ = 0;
      return;
    }
    case kConsumerPending: {
      const Consumer& c = g.consumers[consumer_];
      if (pending_ == c.pending.size()) {
        consumer_++;
        step_ = kConsumer;
        return;
      }
      const Pending& p = c.pending[pending_++];
      reply.array(3);
      reply_id(reply, p.id);
      reply.integer(p.since_ms);
      return reply.integer(static_cast<int64_t>(p.times));
    }
  }
}

// The count that a FULL names; false after an error.
bool parse_full(Context& c, uint64_t& most) {
  const size_t options = c.args.size() - 3;
  int64_t count = 10;
  if ((options != 1 && options != 3) || !equals_ignoring_case(c.args[3], "full") ||
      (options == 3 && !equals_ignoring_case(c.args[4], "count"))) {
    subcommand_syntax_error(c);
    return false;
  }
  if (options == 3 && !c.integer(5, count)) return false;
  most = count < 0 ? 10 : static_cast<uint64_t>(count);
  return true;
}

void reply_entries_in_full(Context& c, const Stream& s, uint64_t most) {
  c.reply.map(9);
  reply_state(c.reply, s);
  c.reply.bulk("entries");
  reply_entries(c, s, kStreamIdMin, kStreamIdMax, most);
}

void reply_groups_in_full(Reply& reply, std::unique_ptr<InFull> full) {
  const size_t n = full->groups();
  reply.bulk("groups");
  reply.array(n);
  if (n > 0) reply.series(std::move(full), n);
}

void xinfo_stream(Context& c) {
  StreamView s;
  if (!find_stream(c, s)) return;
  Reply& reply = c.reply;
  if (c.args.size() == 3) {
    reply.map(10);
    reply_state(reply, *s);
    reply_count(reply, "groups", s->groups().size());
    reply_end(reply, "first-entry", *s, false);
    return reply_end(reply, "last-entry", *s, true);
  }
  uint64_t most;
  if (!parse_full(c, most)) return;
  auto full = std::make_unique<InFull>(most == 0 ? UINT64_MAX : most);
  if (!full->look(*s, c.in_exec ? SIZE_MAX : kPendingAtOnce)) return c.defer();
  reply_entries_in_full(c, *s, most);
  reply_groups_in_full(reply, std::move(full));
}

// A million pending entries took their thread, and all who need the stripe, for 0.5 s.
awaitable<void> xinfo_stream_deferred(Context& c) {
  uint64_t most;
  if (!parse_full(c, most)) co_return;
  auto full = std::make_unique<InFull>(most == 0 ? UINT64_MAX : most);
  const uint64_t before = c.reply.due();
  uint64_t bytes = 0;
  co_await in_turns(c, [&] {
    StreamView s;
    if (find_stream(c, s)) bytes = full->bytes_for(*s);
    return false;
  });
  if (c.reply.due() != before || !c.failure().empty()) co_return;
  const auto share = co_await c.workspace(bytes);
  if (share == nullptr) co_return;
  bool whole = false;
  co_await in_turns(c, [&] {
    StreamView s;
    if (!find_stream(c, s)) return false;
    whole = full->look(*s, kPendingAtOnce);
    if (whole) reply_entries_in_full(c, *s, most);  // not before: the stream may go until then
    return !whole;
  });
  if (whole) reply_groups_in_full(c.reply, std::move(full));
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
    {"xinfo|stream", -3, kReadOnly, kReadsSecond, xinfo_stream, xinfo_stream_deferred, kGroup,
     "Returns information about a stream.", "5.0.0"},
};

}  // namespace
std::span<const Row> stream_info_rows() { return kRows; }

}  // namespace cairn::kv

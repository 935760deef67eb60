// XCLAIM and XAUTOCLAIM: what was delivered to one consumer becomes another's.
#include <algorithm>

#include "core/base/text.h"
#include "kv/commands/stream_view.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

// What a command claims, and the operation that says so.
struct Claims {
  std::vector<StreamId> claimed, gone;  // gone: deleted from the stream
  std::string pending;
};

// Consumer `word` is there from then on; it got something, or tried to.
bool record(Context& c, const StreamView& s, const StreamGroup& group, size_t word,
            const std::optional<StreamId>& last, const Claims& claims) {
  const StreamConsumer* consumer = group.consumer(c.args[word]);
  const int64_t now = c.now_ms();
  if (consumer != nullptr && !last && claims.claimed.empty() && claims.gone.empty()) {
    consumer->seen_ms = now;
    return true;
  }
  std::string operation;
  Stream::add_group_name(operation, group.name());
  if (last) Stream::add_group(operation, *last, group.entries_read());
  int64_t active = now;
  if (claims.claimed.empty()) {
    active = consumer == nullptr ? StreamConsumer::kNever : consumer->active_ms;
  }
  Stream::add_consumer(operation, c.args[word], now, active);
  if (consumer == nullptr) made_consumer(c, 1);
  operation += claims.pending;
  if (!claims.gone.empty()) Stream::add_acknowledged(operation, claims.gone);
  return operate_beside(c, 1, s, operation);
}

// Entries that are there: all of them were just claimed.
void reply_claimed(Context& c, const Stream& stream, std::span<const StreamId> ids, bool just_ids) {
  c.reply.array(ids.size());
  for (const StreamId& id : ids) {
    if (just_ids) {
      reply_id(c.reply, id);
    } else {
      reply_entry(c.reply, *stream.find(id));
    }
  }
}

// ---- XCLAIM ----

struct Claim {
  int64_t min_idle_ms = 0;
  std::vector<StreamId> ids;
  int64_t since_ms = -1, times = -1;
  bool force = false, just_ids = false;
  StreamId last;
};

bool parse_option(Context& c, size_t& i, Claim& claim) {
  const std::string_view word = c.args[i];
  const bool more = i + 1 < c.args.size();
  if (equals_ignoring_case(word, "force")) {
    claim.force = true;
  } else if (equals_ignoring_case(word, "justid")) {
    claim.just_ids = true;
  } else if (more && equals_ignoring_case(word, "idle")) {
    int64_t idle;
    if (!c.integer(++i, idle, "ERR Invalid IDLE option argument for XCLAIM")) return false;
    if (__builtin_sub_overflow(c.now_ms(), idle, &claim.since_ms)) claim.since_ms = INT64_MAX;
  } else if (more && equals_ignoring_case(word, "time")) {
    return c.integer(++i, claim.since_ms, "ERR Invalid TIME option argument for XCLAIM");
  } else if (more && equals_ignoring_case(word, "retrycount")) {
    return c.integer(++i, claim.times, "ERR Invalid RETRYCOUNT option argument for XCLAIM");
  } else if (more && equals_ignoring_case(word, "lastid")) {
    return stream_id(c, ++i, claim.last);
  } else {
    c.reply.error(cat("ERR Unrecognized XCLAIM option '", shown(word), "'"));
    return false;
  }
  return true;
}

bool parse(Context& c, Claim& claim) {
  if (!c.integer(4, claim.min_idle_ms, "ERR Invalid min-idle-time argument for XCLAIM")) {
    return false;
  }
  claim.min_idle_ms = std::max<int64_t>(claim.min_idle_ms, 0);
  size_t i = 5;
  for (; i < c.args.size(); i++) {
    const auto id = parse_id(c.args[i], 0);
    if (!id) break;
    claim.ids.push_back(*id);
  }
  for (; i < c.args.size(); i++) {
    if (!parse_option(c, i, claim)) return false;
  }
  const int64_t now = c.now_ms();
  if (claim.since_ms < 0 || claim.since_ms > now) claim.since_ms = now;
  return true;
}

void xclaim(Context& c) {
  StreamView s;
  if (!find(c, 1, s)) return;
  const StreamGroup* group = find_group(c, s, 1, 2);
  if (group == nullptr) return;
  Claim claim;
  if (!parse(c, claim)) return;
  Claims claims;
  {
    // An ID that is named twice is claimed as the first time left it.
    absl::btree_map<StreamId, std::optional<std::pair<int64_t, uint64_t>>> now_pending;
    Deliveries deliveries(claims.pending, c.now_ms());
    for (const StreamId& id : claim.ids) {
      const auto known = now_pending.find(id);
      const auto it = group->pending().find(id);
      std::optional<std::pair<int64_t, uint64_t>> before;  // since, times
      if (known != now_pending.end()) {
        before = known->second;
      } else if (it != group->pending().end()) {
        before = {it->second.since_ms, it->second.times};
      }
      if (!s->find(id)) {
        if (!before) continue;
        claims.gone.push_back(id);
        now_pending[id] = std::nullopt;
        continue;
      }
      if (!before && !claim.force) continue;
      if (before && claim.min_idle_ms > 0 && c.now_ms() - before->first < claim.min_idle_ms) {
        continue;
      }
      uint64_t times = before ? before->second : 1;
      if (claim.times >= 0) {
        times = static_cast<uint64_t>(claim.times);
      } else if (!claim.just_ids) {
        times++;
      }
      deliveries.add(id, claim.since_ms, times);
      now_pending[id] = {claim.since_ms, times};
      claims.claimed.push_back(id);
    }
  }
  std::optional<StreamId> last;
  if (claim.last > group->last()) last = claim.last;
  if (!record(c, s, *group, 3, last, claims)) return;
  reply_claimed(c, *s, claims.claimed, claim.just_ids);
}

// ---- XAUTOCLAIM ----

struct AutoClaim {
  static constexpr uint64_t kLooksPerCount = 10;
  int64_t min_idle_ms = 0;
  uint64_t left = 100, looks = 0;  // entries, and how many are looked at for that
  bool just_ids = false;
  StreamId from;  // where to go on; 0-0: that was all
  bool done = false;
  std::vector<StreamId> gone;
};

bool parse(Context& c, AutoClaim& a) {
  constexpr std::string_view kCountError = "ERR COUNT must be > 0";
  constexpr int64_t kCountMax = INT64_MAX / 16;
  int64_t count = 100;
  if (!c.integer(4, a.min_idle_ms, "ERR Invalid min-idle-time argument for XAUTOCLAIM") ||
      !interval_start(c, 5, a.from)) {
    return false;
  }
  for (size_t i = 6; i < c.args.size(); i++) {
    if (i + 1 < c.args.size() && equals_ignoring_case(c.args[i], "count")) {
      if (!c.integer(++i, count, kCountError)) return false;
      if (count < 1 || count > kCountMax) return c.reply.error(kCountError), false;
    } else if (equals_ignoring_case(c.args[i], "justid")) {
      a.just_ids = true;
    } else {
      return c.syntax_error(), false;
    }
  }
  a.left = static_cast<uint64_t>(count);
  a.looks = a.left * AutoClaim::kLooksPerCount;
  return true;
}

// The next ones, of at most so many that are looked at. False: the store refused.
bool claim_some(Context& c, const StreamView& s, const StreamGroup& group, uint64_t looks_max,
                AutoClaim& a, std::vector<StreamId>& claimed) {
  Claims claims;
  auto it = group.pending().lower_bound(a.from);
  {
    Deliveries deliveries(claims.pending, c.now_ms());
    for (; it != group.pending().end() && a.left > 0 && a.looks > 0 && looks_max > 0; ++it) {
      a.looks--;
      looks_max--;
      const auto& [id, p] = *it;
      if (!s->find(id)) {
        claims.gone.push_back(id);
        a.left--;
        continue;
      }
      if (a.min_idle_ms > 0 && c.now_ms() - p.since_ms < a.min_idle_ms) continue;
      deliveries.add(id, a.just_ids ? p.times : p.times + 1);
      claims.claimed.push_back(id);
      a.left--;
    }
  }
  const bool ended = it == group.pending().end();
  a.from = ended ? kStreamIdMin : it->first;
  a.done = ended || a.left == 0 || a.looks == 0;
  if (!record(c, s, group, 3, std::nullopt, claims)) return false;
  a.gone.insert(a.gone.end(), claims.gone.begin(), claims.gone.end());
  claimed = std::move(claims.claimed);
  return true;
}

void reply_gone(Context& c, const AutoClaim& a) {
  c.reply.array(a.gone.size());
  for (const StreamId& id : a.gone) reply_id(c.reply, id);
}

void xautoclaim(Context& c) {
  AutoClaim a;
  if (!parse(c, a)) return;
  StreamView s;
  if (!find(c, 1, s)) return;
  const StreamGroup* group = find_group(c, s, 1, 2);
  if (group == nullptr) return;
  // Half a million in one go took their thread for 0.8 s.
  const uint64_t pending = group->pending().size();
  const bool large =
      std::min(a.left, pending) > kPendingAtOnce || std::min(a.looks, pending) > 4 * kPendingAtOnce;
  if (large && !c.in_exec) return c.defer();
  std::vector<StreamId> claimed;
  if (!claim_some(c, s, *group, UINT64_MAX, a, claimed)) return;
  c.reply.array(3);
  reply_id(c.reply, a.from);
  reply_claimed(c, *s, claimed, a.just_ids);
  reply_gone(c, a);
}

// What was claimed in turns, each of the stream as it was then.
class ClaimedInTurns final : public Series {
 public:
  explicit ClaimedInTurns(bool just_ids) : just_ids_(just_ids) {}
  void add(const Stream& stream, std::vector<StreamId> ids) {
    if (ids.empty()) return;
    count_ += ids.size();
    parts_.push_back({stream.snapshot(), std::move(ids)});
  }
  uint64_t count() const { return count_; }

  bool next(Reply& reply) override {
    const Part& part = parts_[at_];
    const std::span<const StreamId> ids =
        std::span(part.ids).subspan(in_part_, std::min(kAtOnce, part.ids.size() - in_part_));
    if (just_ids_) {
      for (const StreamId& id : ids) reply_id(reply, id);
    } else {
      lost_ = !part.snapshot.read([&](const Stream::Tree& tree) {
        for (const StreamId& id : ids) {
          Stream::Walk walk(tree, id, id);
          StreamEntry e;
          walk.next(e);
          reply_entry(reply, e);
        }
      });
    }
    in_part_ += ids.size();
    if (in_part_ == part.ids.size()) {
      in_part_ = 0;
      at_++;
    }
    return !lost_ && at_ < parts_.size();
  }
  bool lost() const override { return lost_; }
  size_t bytes() const override { return count_ * sizeof(StreamId); }

 private:
  static constexpr size_t kAtOnce = 128;
  struct Part {
    Snapshot<Stream::Tree> snapshot;
    std::vector<StreamId> ids;
  };
  const bool just_ids_;
  std::vector<Part> parts_;
  uint64_t count_ = 0;
  size_t at_ = 0, in_part_ = 0;
  bool lost_ = false;
};

awaitable<void> xautoclaim_deferred(Context& c) {
  AutoClaim a;
  if (!parse(c, a)) co_return;
  auto all = std::make_unique<ClaimedInTurns>(a.just_ids);
  const uint64_t before = c.reply.due();
  bool begun = false;
  co_await in_turns(c, [&] {
    StreamView s;
    // Gone since the first turn, it has no more of them.
    const StreamGroup* group = begun ? look_for_group(c, s, 1, 2) : nullptr;
    if (!begun && find(c, 1, s)) group = find_group(c, s, 1, 2);
    if (group == nullptr) return a.from = kStreamIdMin, false;
    begun = true;
    std::vector<StreamId> claimed;
    if (!claim_some(c, s, *group, kPendingAtOnce, a, claimed)) return false;
    all->add(*s, std::move(claimed));
    return !a.done;
  });
  if (c.reply.due() != before) co_return;
  const uint64_t n = all->count();
  c.reply.array(3);
  reply_id(c.reply, a.from);
  c.reply.array(n);
  if (n > 0) c.reply.series(std::move(all), n);
  reply_gone(c, a);
}

constexpr std::string_view kGroup = "stream";
constexpr KeySpec kClaimsFromKey[] = {{.flags = kKeyReadWrite | kKeyUpdate | kKeyLooked}};
constexpr KeySpec kDeletesFromKey[] = {{.flags = kKeyReadWrite | kKeyDelete | kKeyLooked}};
constexpr Row kRows[] = {
    {"xclaim", -6, kWrite | kFast, kClaimsFromKey, xclaim, nullptr, kGroup,
     "Changes, or acquires, ownership of a message in a consumer group, as if the message was "
     "delivered a consumer group member.",
     "5.0.0"},
    {"xautoclaim", -6, kWrite | kFast, kDeletesFromKey, xautoclaim, xautoclaim_deferred, kGroup,
     "Changes, or acquires, ownership of messages in a consumer group, as if the messages were "
     "delivered to as consumer group member.",
     "6.2.0"},
};

}  // namespace
std::span<const Row> stream_claim_rows() { return kRows; }

}  // namespace cairn::kv

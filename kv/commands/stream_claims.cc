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

void xautoclaim(Context& c) {
  constexpr std::string_view kCountError = "ERR COUNT must be > 0";
  constexpr int64_t kCountMax = INT64_MAX / 16;
  constexpr uint64_t kLooksPerCount = 10;
  // COUNT says how many at most, and the cursor where to go on: half a million in one go took their
  // thread for 0.8 s.
  constexpr uint64_t kClaimedAtOnce = 4096, kLooksAtOnce = 4 * kClaimedAtOnce;
  int64_t min_idle, count = 100;
  StreamId from;
  bool just_ids = false;
  if (!c.integer(4, min_idle, "ERR Invalid min-idle-time argument for XAUTOCLAIM") ||
      !interval_start(c, 5, from)) {
    return;
  }
  for (size_t i = 6; i < c.args.size(); i++) {
    if (i + 1 < c.args.size() && equals_ignoring_case(c.args[i], "count")) {
      if (!c.integer(++i, count, kCountError)) return;
      if (count < 1 || count > kCountMax) return c.reply.error(kCountError);
    } else if (equals_ignoring_case(c.args[i], "justid")) {
      just_ids = true;
    } else {
      return c.syntax_error();
    }
  }
  StreamView s;
  if (!find(c, 1, s)) return;
  const StreamGroup* group = find_group(c, s, 1, 2);
  if (group == nullptr) return;
  Claims claims;
  auto left = std::min(static_cast<uint64_t>(count), kClaimedAtOnce);
  uint64_t looks = std::min(left * kLooksPerCount, kLooksAtOnce);
  auto it = group->pending().lower_bound(from);
  {
    Deliveries deliveries(claims.pending, c.now_ms());
    for (; it != group->pending().end() && left > 0 && looks > 0; ++it, looks--) {
      const auto& [id, p] = *it;
      if (!s->find(id)) {
        claims.gone.push_back(id);
        left--;
        continue;
      }
      if (min_idle > 0 && c.now_ms() - p.since_ms < min_idle) continue;
      deliveries.add(id, just_ids ? p.times : p.times + 1);
      claims.claimed.push_back(id);
      left--;
    }
  }
  const StreamId next = it == group->pending().end() ? kStreamIdMin : it->first;
  if (!record(c, s, *group, 3, std::nullopt, claims)) return;
  c.reply.array(3);
  reply_id(c.reply, next);
  reply_claimed(c, *s, claims.claimed, just_ids);
  c.reply.array(claims.gone.size());
  for (const StreamId& id : claims.gone) reply_id(c.reply, id);
}

constexpr std::string_view kGroup = "stream";
constexpr KeySpec kClaimsFromKey[] = {{.flags = kKeyReadWrite | kKeyUpdate | kKeyLooked}};
constexpr KeySpec kDeletesFromKey[] = {{.flags = kKeyReadWrite | kKeyDelete | kKeyLooked}};
constexpr Row kRows[] = {
    {"xclaim", -6, kWrite | kFast, kClaimsFromKey, xclaim, nullptr, kGroup,
     "Changes, or acquires, ownership of a message in a consumer group, as if the message was "
     "delivered a consumer group member.",
     "5.0.0"},
    {"xautoclaim", -6, kWrite | kFast, kDeletesFromKey, xautoclaim, nullptr, kGroup,
     "Changes, or acquires, ownership of messages in a consumer group, as if the messages were "
     "delivered to as consumer group member.",
     "6.2.0"},
};

}  // namespace
std::span<const Row> stream_claim_rows() { return kRows; }

}  // namespace cairn::kv

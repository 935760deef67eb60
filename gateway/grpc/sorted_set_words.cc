// The requests about sorted sets (collection_words.h).
#include <algorithm>
#include <cmath>

#include "gateway/grpc/word_parts.h"

namespace cairn::rpc {

namespace {

std::string lowest(const v1::ScoreRange& r) {
  if (r.has_min()) return text_of(r.min());
  return r.has_above() ? cat("(", text_of(r.above())) : "-inf";
}

std::string highest(const v1::ScoreRange& r) {
  if (r.has_max()) return text_of(r.max());
  return r.has_below() ? cat("(", text_of(r.below())) : "+inf";
}

std::string lowest(const v1::MemberRange& r) {
  if (r.has_min()) return cat("[", r.min());
  return r.has_above() ? cat("(", r.above()) : "-";
}

std::string highest(const v1::MemberRange& r) {
  if (r.has_max()) return cat("[", r.max());
  return r.has_below() ? cat("(", r.below()) : "+";
}

bool is_range(const v1::ScoreRange& r) {  // what is not set is 0
  return !std::isnan(r.min()) && !std::isnan(r.above()) && !std::isnan(r.max()) &&
         !std::isnan(r.below());
}

template <class Range>
void add_ends(kv::Args& to, const Range& range, bool reverse = false) {
  const std::string low = lowest(range), high = highest(range);
  to.add_copy(reverse ? high : low);
  to.add_copy(reverse ? low : high);
}

void add_ends(kv::Args& to, const v1::RankRange& range) {
  to.add_copy(cat(range.start()));
  to.add_copy(cat(range.has_stop() ? range.stop() : -1));
}

// What ZRANGE and ZRANGESTORE have behind the key.
template <class Request>
grpc::Status add_range(kv::Args& to, const Request& q) {
  if (q.has_scores()) {
    add_ends(to, q.scores(), q.reverse());
    to.add("byscore");
  } else if (q.has_members()) {
    add_ends(to, q.members(), q.reverse());
    to.add("bylex");
  } else {
    add_ends(to, q.ranks());
  }
  if (q.reverse()) to.add("rev");
  if (q.offset() != 0 || q.limit() != 0) {
    if (!q.has_scores() && !q.has_members()) {
      return bad_argument("offset and limit go with scores or members", &q.key());
    }
    constexpr uint64_t kMost = INT64_MAX;
    to.add("limit");
    to.add_copy(cat(std::min(q.offset(), kMost)));
    to.add_copy(q.limit() == 0 ? "-1" : cat(std::min(q.limit(), kMost)));
  }
  return is_range(q.scores()) ? grpc::Status() : no_number(q.key());
}

// What all that combine have behind their keys.
template <class Request>
grpc::Status add_weights(kv::Args& to, const Request& q, int keys) {
  constexpr std::string_view kWords[] = {"", "sum", "min", "max"};
  if (!v1::Aggregate_IsValid(q.aggregate())) return bad_argument("unknown enum value", &q.key());
  const bool aggregates = q.aggregate() != v1::AGGREGATE_UNSPECIFIED;
  if (q.operation() == v1::SET_OPERATION_DIFFERENCE && (aggregates || q.weights_size() > 0)) {
    return bad_argument("a difference has neither weights nor an aggregate", &q.key());
  }
  if (q.weights_size() > 0) {
    if (q.weights_size() != keys) return bad_argument("as many weights as keys", &q.key());
    to.add("weights");
    for (const double weight : q.weights()) {
      if (std::isnan(weight)) return no_number(q.key());
      to.add_copy(text_of(weight));
    }
  }
  if (aggregates) {
    to.add("aggregate");
    to.add(kWords[q.aggregate()]);
  }
  return check_count(keys, q.key());
}

}  // namespace

grpc::Status say(const v1::SortedSetAddRequest& q, kv::Args& to) {
  using Request = v1::SortedSetAddRequest;
  constexpr std::string_view kWords[] = {"", "nx", "xx", "gt", "lt"};
  if (!Request::Only_IsValid(q.only())) return bad_argument("unknown enum value", &q.key());
  begin(to, "zadd", q.key());
  if (q.only() != Request::ONLY_UNSPECIFIED) to.add(kWords[q.only()]);
  to.add("ch");
  for (auto& m : q.members()) {
    if (std::isnan(m.score())) return no_number(q.key());
    to.add_copy(text_of(m.score()));
    to.add(m.member());
  }
  return check_count(q.members_size(), q.key());
}

grpc::Status say(const v1::SortedSetRemoveRequest& q, kv::Args& to) {
  return about(to, "zrem", q.key(), q.members());
}

grpc::Status say(const v1::SortedSetIncrementRequest& q, kv::Args& to) {
  begin(to, "zincrby", q.key());
  to.add_copy(text_of(q.by()));
  to.add(q.member());
  return std::isnan(q.by()) ? no_number(q.key()) : grpc::Status();
}

grpc::Status say(const v1::SortedSetScoreRequest& q, kv::Args& to) {
  return about(to, "zmscore", q.key(), q.members());
}

grpc::Status say(const v1::SortedSetRankRequest& q, kv::Args& to) {
  begin(to, q.reverse() ? "zrevrank" : "zrank", q.key());
  to.add(q.member());
  return {};
}

grpc::Status say(const v1::SortedSetCountRequest& q, kv::Args& to) {
  if (q.has_scores() && q.has_members()) return bad_argument("scores or members", &q.key());
  if (!q.has_scores() && !q.has_members()) return about(to, "zcard", q.key());
  begin(to, q.has_members() ? "zlexcount" : "zcount", q.key());
  if (q.has_members()) {
    add_ends(to, q.members());
  } else {
    add_ends(to, q.scores());
  }
  return is_range(q.scores()) ? grpc::Status() : no_number(q.key());
}

grpc::Status say(const v1::SortedSetRangeRequest& q, kv::Args& to) {
  begin(to, "zrange", q.key());
  grpc::Status status = add_range(to, q);
  to.add("withscores");
  return status;
}

grpc::Status say(const v1::SortedSetPopRequest& q, kv::Args& to) {
  if (q.wait_ms() != 0) {
    to.add("bzmpop");
    add_wait(to, q.wait_ms());
    begin(to, "1", q.key());
    to.add(q.highest() ? "max" : "min");
    to.add("count");
  } else {
    begin(to, q.highest() ? "zpopmax" : "zpopmin", q.key());
  }
  return add_count(to, q.count(), 1, q.key());
}

grpc::Status say(const v1::SortedSetRemoveRangeRequest& q, kv::Args& to) {
  if (q.has_ranks()) {
    begin(to, "zremrangebyrank", q.key());
    add_ends(to, q.ranks());
  } else if (q.has_scores()) {
    begin(to, "zremrangebyscore", q.key());
    add_ends(to, q.scores());
  } else if (q.has_members()) {
    begin(to, "zremrangebylex", q.key());
    add_ends(to, q.members());
  } else {
    return bad_argument("set ranks, scores or members", &q.key());
  }
  return is_range(q.scores()) ? grpc::Status() : no_number(q.key());
}

grpc::Status say(const v1::SortedSetRangeIntoRequest& q, kv::Args& to) {
  begin(to, "zrangestore", q.key());
  to.add(q.from());
  return add_range(to, q);
}

grpc::Status say(const v1::SortedSetCombineRequest& q, kv::Args& to) {
  grpc::Status status = add_operation(to, q.operation(), q.key(), "zunion", "zinter", "zdiff");
  if (!status.ok()) return status;
  const int keys = 1 + q.others_size();
  to.add_copy(cat(keys));
  to.add(q.key().key());
  add(to, q.others());
  status = add_weights(to, q, keys);
  to.add("withscores");
  return status;
}

grpc::Status say(const v1::SortedSetCombineIntoRequest& q, kv::Args& to) {
  grpc::Status status =
      add_operation(to, q.operation(), q.key(), "zunionstore", "zinterstore", "zdiffstore");
  if (!status.ok()) return status;
  to.add(q.key().key());
  to.add_copy(cat(q.from_size()));
  add(to, q.from());
  return add_weights(to, q, q.from_size());
}

void hear(const v1::SortedSetAddRequest&, kv::Values& values, v1::SortedSetAddResponse& a) {
  a.set_changed(values.number());
}
void hear(const v1::SortedSetRemoveRequest&, kv::Values& values, v1::SortedSetRemoveResponse& a) {
  a.set_removed(values.number());
}
void hear(const v1::SortedSetIncrementRequest&, kv::Values& values,
          v1::SortedSetIncrementResponse& a) {
  a.set_score(values.real().value_or(0));
}
void hear(const v1::SortedSetScoreRequest& q, kv::Values& values, v1::SortedSetScoreResponse& a) {
  (void)values.count();
  for (const std::string& name : q.members()) {
    auto* member = a.add_members();
    member->set_member(name);
    const auto score = values.real();
    member->set_found(score.has_value());
    member->set_score(score.value_or(0));
  }
}
void hear(const v1::SortedSetRankRequest&, kv::Values& values, v1::SortedSetRankResponse& a) {
  if (values.is_null()) return;
  a.set_found(true);
  a.set_rank(values.number());
}

void hear(const v1::SortedSetPopRequest& q, kv::Values& values, v1::SortedSetPopResponse& a) {
  const bool waits = q.wait_ms() != 0;
  if (waits) {
    if (values.is_null()) return;
    (void)values.count();
    (void)values.text();  // its key
  }
  for (uint64_t n = values.count() / (waits ? 1 : 2); n > 0 && !values.broken(); n--) {
    if (waits) (void)values.count();  // pairs
    auto* item = a.add_members();
    item->set_member(values.bytes_of_text());
    item->set_score(values.real().value_or(0));
  }
}
void hear(const v1::SortedSetRemoveRangeRequest&, kv::Values& values,
          v1::SortedSetRemoveRangeResponse& a) {
  a.set_removed(values.number());
}

size_t take_item(kv::Values& values, v1::SortedSetRangeResponse& a) {
  auto* item = a.add_members();
  item->set_member(values.bytes_of_text());
  item->set_score(values.real().value_or(0));
  return item->member().size() + kItemRoom;
}

}  // namespace cairn::rpc

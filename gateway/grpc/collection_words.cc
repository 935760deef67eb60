#include "gateway/grpc/collection_words.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "gateway/grpc/call.h"

namespace cairn::rpc {

namespace {

constexpr size_t kItemRoom = 16;  // what a message takes for an item beside its bytes, about

// The shortest text that is read as this very number.
std::string text_of(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value);
  return {text, end.ptr};
}

template <class Words>
void add(kv::Args& to, const Words& words) {
  for (const std::string& word : words) to.add(word);
}

void begin(kv::Args& to, std::string_view name, const v1::Key& key) {
  to.add(name);
  to.add(key.key());
}

grpc::Status check_count(int count, const v1::Key& key) {
  return count >= 1 && count <= kKeysMax ? grpc::Status()
                                         : bad_argument("1 to 1000 of them in a request", &key);
}

// So many of a request that says 0 for `usual`; above 1,000: wrong.
grpc::Status add_count(kv::Args& to, uint32_t count, uint32_t usual, const v1::Key& key) {
  to.add_copy(cat(count == 0 ? usual : count));
  return count <= static_cast<uint32_t>(kKeysMax) ? grpc::Status()
                                                  : bad_argument("count is at most 1000", &key);
}

grpc::Status no_number(const v1::Key& key) { return bad_argument("NaN is no number here", &key); }

bool is_number(std::string_view text) {
  return text.find_first_not_of("0123456789") == text.npos && parse_int<uint64_t>(text).has_value();
}

// "MS-SEQ" or "MS".
bool is_id(std::string_view id) {
  const size_t dash = id.find('-');
  return is_number(id.substr(0, dash)) && (dash == id.npos || is_number(id.substr(dash + 1)));
}

grpc::Status bad_id(const v1::Key& key) {
  return bad_argument("an ID is MS-SEQ or MS, two numbers or one", &key);
}

template <class Ids>
grpc::Status add_ids(kv::Args& to, const Ids& ids, const v1::Key& key) {
  for (const std::string& id : ids) {
    if (!is_id(id)) return bad_id(key);
  }
  add(to, ids);
  return check_count(ids.size(), key);
}

// Command, key, and so many words.
template <class Words>
grpc::Status about(kv::Args& to, std::string_view name, const v1::Key& key, const Words& words) {
  begin(to, name, key);
  add(to, words);
  return check_count(words.size(), key);
}

grpc::Status about(kv::Args& to, std::string_view name, const v1::Key& key) {
  begin(to, name, key);
  return {};
}

// Empty names are good for Redis; here they are what was forgotten.
template <class Request>
grpc::Status check_group(const Request& q, const v1::Key& key) {
  bool named = !q.group().empty();
  if constexpr (requires { q.consumer(); }) named &= !q.consumer().empty();
  return named ? grpc::Status() : bad_argument("a group and a consumer have names", &key);
}

template <class Fields>
grpc::Status add_fields(kv::Args& to, const Fields& fields, const v1::Key& key) {
  for (const v1::HashField& field : fields) {
    to.add(field.name());
    to.add(field.value());
  }
  return check_count(fields.size(), key);
}

}  // namespace

// ---- hashes ----

grpc::Status say(const v1::HashSetRequest& q, kv::Args& to) {
  begin(to, "hset", q.key());
  return add_fields(to, q.fields(), q.key());
}

grpc::Status say(const v1::HashGetRequest& q, kv::Args& to) {
  return about(to, "hmget", q.key(), q.names());
}

grpc::Status say(const v1::HashDeleteRequest& q, kv::Args& to) {
  return about(to, "hdel", q.key(), q.names());
}

grpc::Status say(const v1::HashIncrementRequest& q, kv::Args& to) {
  begin(to, q.has_integer() ? "hincrby" : "hincrbyfloat", q.key());
  to.add(q.name());
  to.add_copy(q.has_integer() ? cat(q.integer()) : text_of(q.real()));
  if (q.by_case() == v1::HashIncrementRequest::BY_NOT_SET) {
    return bad_argument("set integer or real", &q.key());
  }
  return q.has_real() && !std::isfinite(q.real())
             ? bad_argument("an increment is a finite number", &q.key())
             : grpc::Status();
}

grpc::Status say(const v1::HashCountRequest& q, kv::Args& to) { return about(to, "hlen", q.key()); }
grpc::Status say(const v1::HashScanRequest& q, kv::Args& to) {
  return about(to, "hgetall", q.key());
}

void hear(const v1::HashSetRequest&, kv::Values& values, v1::HashSetResponse& a) {
  a.set_added(values.number());
}

void hear(const v1::HashGetRequest& q, kv::Values& values, v1::HashGetResponse& a) {
  (void)values.count();
  for (const std::string& name : q.names()) {
    auto* field = a.add_fields();
    field->set_name(name);
    auto value = values.text();
    field->set_found(value.has_value());
    if (value) field->set_value(*std::move(value));
  }
}

void hear(const v1::HashDeleteRequest&, kv::Values& values, v1::HashDeleteResponse& a) {
  a.set_deleted(values.number());
}

void hear(const v1::HashIncrementRequest& q, kv::Values& values, v1::HashIncrementResponse& a) {
  if (q.has_integer()) return a.set_integer(values.integer());
  a.set_real(values.real().value_or(0));
}

namespace {
void add_fields_behind(kv::Args& to, const google::protobuf::RepeatedPtrField<std::string>& names) {
  to.add("fields");
  to.add_copy(cat(names.size()));
  add(to, names);
}
}  // namespace

grpc::Status say(const v1::HashExpireRequest& q, kv::Args& to) {
  using Request = v1::HashExpireRequest;
  constexpr std::string_view kWords[] = {"", "nx", "xx", "gt", "lt"};
  if (!Request::Only_IsValid(q.only())) return bad_argument("unknown enum value", &q.key());
  const bool limited = q.only() != Request::ONLY_UNSPECIFIED;
  if (q.when_case() == Request::WHEN_NOT_SET || (q.has_never() && !q.never())) {
    return bad_argument("set ttl_ms, expires_at_ms or never", &q.key());
  }
  if (q.has_never()) {
    begin(to, "hpersist", q.key());
    if (limited) return bad_argument("only goes with a time", &q.key());
  } else {
    begin(to, q.has_ttl_ms() ? "hpexpire" : "hpexpireat", q.key());
    to.add_copy(cat(q.has_ttl_ms() ? q.ttl_ms() : q.expires_at_ms()));
    if (limited) to.add(kWords[q.only()]);
  }
  add_fields_behind(to, q.names());
  return check_count(q.names_size(), q.key());
}

grpc::Status say(const v1::HashGetExpiryRequest& q, kv::Args& to) {
  begin(to, "hpexpiretime", q.key());
  add_fields_behind(to, q.names());
  return check_count(q.names_size(), q.key());
}

void hear(const v1::HashExpireRequest&, kv::Values& values, v1::HashExpireResponse& a) {
  using Answer = v1::HashExpireResponse;
  for (uint64_t n = values.count(); n > 0 && !values.broken(); n--) {
    switch (values.integer()) {
      case -2:
        a.add_outcomes(Answer::OUTCOME_NO_FIELD);
        break;
      case 1:
        a.add_outcomes(Answer::OUTCOME_DONE);
        break;
      case 2:
        a.add_outcomes(Answer::OUTCOME_DELETED);
        break;
      default:
        a.add_outcomes(Answer::OUTCOME_LEFT);
    }
  }
}

void hear(const v1::HashGetExpiryRequest& q, kv::Values& values, v1::HashGetExpiryResponse& a) {
  (void)values.count();
  for (const std::string& name : q.names()) {
    auto* field = a.add_fields();
    field->set_name(name);
    const int64_t at_ms = values.integer();  // -1: it stays, -2: there is none
    field->set_found(at_ms != -2);
    field->set_expires_at_ms(std::max<int64_t>(at_ms, 0));
  }
}

size_t take_item(kv::Values& values, v1::HashScanResponse& a) {
  auto* field = a.add_fields();
  field->set_name(values.bytes_of_text());
  field->set_value(values.bytes_of_text());
  return field->name().size() + field->value().size() + kItemRoom;
}

// ---- lists ----

grpc::Status say(const v1::ListPushRequest& q, kv::Args& to) {
  if (!v1::ListEnd_IsValid(q.end())) return bad_argument("unknown end", &q.key());
  return about(to, q.end() == v1::LIST_END_HEAD ? "lpush" : "rpush", q.key(), q.values());
}

namespace {
std::string_view end_or(v1::ListEnd end, v1::ListEnd usual) {
  const v1::ListEnd which = end == v1::LIST_END_UNSPECIFIED ? usual : end;
  return which == v1::LIST_END_TAIL ? "right" : "left";
}

// How long to wait, in seconds: the word of those commands.
void add_wait(kv::Args& to, uint64_t ms) {
  constexpr uint64_t kLongestMs = uint64_t{1} << 40;
  ms = std::min(ms, kLongestMs);
  const std::string part = cat(1000 + ms % 1000);
  to.add_copy(cat(ms / 1000, ".", std::string_view(part).substr(1)));
}
}  // namespace

grpc::Status say(const v1::ListPopRequest& q, kv::Args& to) {
  if (!v1::ListEnd_IsValid(q.end())) return bad_argument("unknown end", &q.key());
  if (q.wait_ms() != 0) {
    to.add("blmpop");
    add_wait(to, q.wait_ms());
    begin(to, "1", q.key());
    to.add(end_or(q.end(), v1::LIST_END_HEAD));
    to.add("count");
    return add_count(to, q.count(), 1, q.key());
  }
  begin(to, q.end() == v1::LIST_END_TAIL ? "rpop" : "lpop", q.key());
  return add_count(to, q.count(), 1, q.key());
}

grpc::Status say(const v1::ListRangeRequest& q, kv::Args& to) {
  begin(to, "lrange", q.key());
  to.add_copy(cat(q.start()));
  to.add_copy(cat(q.has_stop() ? q.stop() : -1));
  return {};
}

grpc::Status say(const v1::ListCountRequest& q, kv::Args& to) { return about(to, "llen", q.key()); }

grpc::Status say(const v1::ListSetRequest& q, kv::Args& to) {
  begin(to, "lset", q.key());
  to.add_copy(cat(q.index()));
  to.add(q.value());
  return {};
}

grpc::Status say(const v1::ListInsertRequest& q, kv::Args& to) {
  begin(to, "linsert", q.key());
  to.add(q.after() ? "after" : "before");
  to.add(q.pivot());
  to.add(q.value());
  return {};
}

grpc::Status say(const v1::ListRemoveRequest& q, kv::Args& to) {
  if (!v1::ListEnd_IsValid(q.end())) return bad_argument("unknown end", &q.key());
  const auto count = static_cast<int64_t>(std::min<uint64_t>(q.count(), INT64_MAX));
  begin(to, "lrem", q.key());
  to.add_copy(cat(q.end() == v1::LIST_END_TAIL ? -count : count));
  to.add(q.value());
  return {};
}

grpc::Status say(const v1::ListTrimRequest& q, kv::Args& to) {
  begin(to, "ltrim", q.key());
  to.add_copy(cat(q.start()));
  to.add_copy(cat(q.has_stop() ? q.stop() : -1));
  return {};
}

grpc::Status say(const v1::ListMoveRequest& q, kv::Args& to) {
  if (!v1::ListEnd_IsValid(q.end()) || !v1::ListEnd_IsValid(q.to_end())) {
    return bad_argument("unknown end", &q.key());
  }
  begin(to, q.wait_ms() != 0 ? "blmove" : "lmove", q.key());
  to.add(q.to());
  to.add(end_or(q.end(), v1::LIST_END_HEAD));
  to.add(end_or(q.to_end(), v1::LIST_END_TAIL));
  if (q.wait_ms() != 0) add_wait(to, q.wait_ms());
  return {};
}

void hear(const v1::ListPushRequest&, kv::Values& values, v1::ListPushResponse& a) {
  a.set_count(values.number());
}

void hear(const v1::ListPopRequest& q, kv::Values& values, v1::ListPopResponse& a) {
  if (q.wait_ms() != 0) {
    if (values.is_null()) return;
    (void)values.count();
    (void)values.text();  // its key
  }
  for (uint64_t n = values.count(); n > 0 && !values.broken(); n--) {
    a.add_values(values.bytes_of_text());
  }
}

void hear(const v1::ListSetRequest&, kv::Values& values, v1::ListSetResponse&) {
  (void)values.text();
}

void hear(const v1::ListInsertRequest&, kv::Values& values, v1::ListInsertResponse& a) {
  const int64_t count = values.integer();  // -1: no such element, 0: no list
  a.set_inserted(count > 0);
  a.set_count(static_cast<uint64_t>(std::max<int64_t>(count, 0)));
}

void hear(const v1::ListRemoveRequest&, kv::Values& values, v1::ListRemoveResponse& a) {
  a.set_removed(values.number());
}

void hear(const v1::ListTrimRequest&, kv::Values& values, v1::ListTrimResponse&) {
  (void)values.text();
}

void hear(const v1::ListMoveRequest&, kv::Values& values, v1::ListMoveResponse& a) {
  auto value = values.text();
  a.set_found(value.has_value());
  if (value) a.set_value(*std::move(value));
}

size_t take_item(kv::Values& values, v1::ListRangeResponse& a) {
  a.add_values(values.bytes_of_text());
  return a.values(a.values_size() - 1).size() + kItemRoom;
}

// ---- sets ----

grpc::Status say(const v1::SetAddRequest& q, kv::Args& to) {
  return about(to, "sadd", q.key(), q.members());
}
grpc::Status say(const v1::SetRemoveRequest& q, kv::Args& to) {
  return about(to, "srem", q.key(), q.members());
}
grpc::Status say(const v1::SetContainsRequest& q, kv::Args& to) {
  return about(to, "smismember", q.key(), q.members());
}
grpc::Status say(const v1::SetCountRequest& q, kv::Args& to) { return about(to, "scard", q.key()); }
grpc::Status say(const v1::SetMembersRequest& q, kv::Args& to) {
  return about(to, "smembers", q.key());
}

grpc::Status say(const v1::SetPopRequest& q, kv::Args& to) {
  begin(to, "spop", q.key());
  return add_count(to, q.count(), 1, q.key());
}

grpc::Status say(const v1::SetRandomRequest& q, kv::Args& to) {
  begin(to, "srandmember", q.key());
  const int64_t count = q.count() == 0 ? 1 : q.count();
  to.add_copy(cat(q.with_repetition() ? -count : count));
  return check_count(static_cast<int>(std::min<int64_t>(count, INT32_MAX)), q.key());
}

grpc::Status say(const v1::SetMoveRequest& q, kv::Args& to) {
  begin(to, "smove", q.key());
  to.add(q.to());
  to.add(q.member());
  return {};
}

namespace {
using Keys = google::protobuf::RepeatedPtrField<std::string>;

// The command of an operation, of those for a union, an intersection and a difference.
grpc::Status add_operation(kv::Args& to, v1::SetOperation operation, const v1::Key& key,
                           std::string_view of_union, std::string_view of_intersection,
                           std::string_view of_difference) {
  switch (operation) {
    case v1::SET_OPERATION_UNION:
      to.add(of_union);
      return {};
    case v1::SET_OPERATION_INTERSECTION:
      to.add(of_intersection);
      return {};
    case v1::SET_OPERATION_DIFFERENCE:
      to.add(of_difference);
      return {};
    default:
      return bad_argument("set the operation", &key);
  }
}
}  // namespace

grpc::Status say(const v1::SetCombineRequest& q, kv::Args& to) {
  grpc::Status status = add_operation(to, q.operation(), q.key(), "sunion", "sinter", "sdiff");
  if (!status.ok()) return status;
  to.add(q.key().key());
  add(to, q.others());
  return check_count(1 + q.others_size(), q.key());
}

grpc::Status say(const v1::SetCombineIntoRequest& q, kv::Args& to) {
  grpc::Status status =
      add_operation(to, q.operation(), q.key(), "sunionstore", "sinterstore", "sdiffstore");
  if (!status.ok()) return status;
  to.add(q.key().key());
  add(to, q.from());
  return check_count(q.from_size(), q.key());
}

void hear(const v1::SetPopRequest&, kv::Values& values, v1::SetPopResponse& a) {
  for (uint64_t n = values.count(); n > 0 && !values.broken(); n--) {
    a.add_members(values.bytes_of_text());
  }
}
void hear(const v1::SetRandomRequest&, kv::Values& values, v1::SetRandomResponse& a) {
  for (uint64_t n = values.count(); n > 0 && !values.broken(); n--) {
    a.add_members(values.bytes_of_text());
  }
}
void hear(const v1::SetMoveRequest&, kv::Values& values, v1::SetMoveResponse& a) {
  a.set_moved(values.integer() != 0);
}
void hear(const v1::SetAddRequest&, kv::Values& values, v1::SetAddResponse& a) {
  a.set_added(values.number());
}
void hear(const v1::SetRemoveRequest&, kv::Values& values, v1::SetRemoveResponse& a) {
  a.set_removed(values.number());
}
void hear(const v1::SetContainsRequest&, kv::Values& values, v1::SetContainsResponse& a) {
  for (uint64_t n = values.count(); n > 0 && !values.broken(); n--) {
    a.add_contained(values.integer() != 0);
  }
}

size_t take_item(kv::Values& values, v1::SetMembersResponse& a) {
  a.add_members(values.bytes_of_text());
  return a.members(a.members_size() - 1).size() + kItemRoom;
}

// ---- sorted sets ----

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

// ---- streams ----

grpc::Status say(const v1::StreamAppendRequest& q, kv::Args& to) {
  begin(to, "xadd", q.key());
  if (q.max_count() > INT64_MAX) return bad_argument("max_count is too large", &q.key());
  if (q.max_count() != 0) {
    to.add("maxlen");
    to.add(q.about() ? "~" : "=");
    to.add_copy(cat(q.max_count()));
  }
  if (!q.id().empty() && !is_id(q.id())) return bad_id(q.key());
  to.add(q.id().empty() ? std::string_view("*") : q.id());
  uint64_t bytes = kItemRoom;
  for (auto& f : q.fields()) bytes += f.name().size() + f.value().size() + kItemRoom;
  if (bytes > kEntryBytesMax) return too_large("an entry has 4,000,000 bytes at most", &q.key());
  return add_fields(to, q.fields(), q.key());
}

grpc::Status say(const v1::StreamDeleteRequest& q, kv::Args& to) {
  begin(to, "xdel", q.key());
  return add_ids(to, q.ids(), q.key());
}

grpc::Status say(const v1::StreamCountRequest& q, kv::Args& to) {
  return about(to, "xlen", q.key());
}

grpc::Status say(const v1::StreamRangeRequest& q, kv::Args& to) {
  begin(to, q.reverse() ? "xrevrange" : "xrange", q.key());
  for (const std::string* id : {&q.start(), &q.end()}) {
    if (!id->empty() && !is_id(*id)) return bad_id(q.key());
  }
  const std::string_view start = q.start().empty() ? std::string_view("-") : q.start();
  const std::string_view end = q.end().empty() ? std::string_view("+") : q.end();
  to.add(q.reverse() ? end : start);
  to.add(q.reverse() ? start : end);
  if (q.limit() == 0) return {};
  to.add("count");
  to.add_copy(cat(std::min<uint64_t>(q.limit(), INT64_MAX)));
  return {};
}

grpc::Status check(const v1::StreamReadRequest& q) {
  if (q.has_after()) return is_id(q.after()) ? grpc::Status() : bad_id(q.key());
  return q.new_ones() ? grpc::Status() : bad_argument("set after or new_ones", &q.key());
}

void say_wait(const v1::StreamReadRequest& q, const std::string& after, kv::Args& to) {
  for (auto word : {"xread", "ready", "block", "0", "streams"}) to.add(word);
  to.add(q.key().key());
  to.add(after);
}

void say_next(const v1::StreamReadRequest& q, const std::string& after, kv::Args& to) {
  for (auto word : {"xread", "count", "1000", "streams"}) to.add(word);
  to.add(q.key().key());
  to.add(after);
}

grpc::Status check(const v1::StreamReadGroupRequest& q) {
  if (q.count() > static_cast<uint32_t>(kKeysMax)) {
    return bad_argument("count is at most 1000", &q.key());
  }
  return check_group(q, q.key());
}

namespace {
void begin_group(const v1::StreamReadGroupRequest& q, kv::Args& to) {
  to.add("xreadgroup");
  to.add("group");
  to.add(q.group());
  to.add(q.consumer());
}
}  // namespace

void say_pending(const v1::StreamReadGroupRequest& q, const std::string& after, kv::Args& to) {
  begin_group(q, to);
  for (auto word : {"count", "1", "streams"}) to.add(word);
  to.add(q.key().key());
  to.add(after);
}

void say_next(const v1::StreamReadGroupRequest& q, kv::Args& to) {
  begin_group(q, to);
  to.add("maxpending");
  to.add_copy(cat(q.max_pending() == 0 ? kPendingUsual : q.max_pending()));
  to.add("count");
  (void)add_count(to, q.count(), kPerMessageUsual, q.key());
  for (auto word : {"block", "0", "streams"}) to.add(word);
  to.add(q.key().key());
  to.add(">");
}

grpc::Status say(const v1::StreamCreateGroupRequest& q, kv::Args& to) {
  to.add("xgroup");
  begin(to, "create", q.key());
  to.add(q.group());
  if (grpc::Status named = check_group(q, q.key()); !named.ok()) return named;
  if (!q.after().empty() && !is_id(q.after())) return bad_id(q.key());
  to.add(q.after().empty() ? std::string_view("$") : q.after());
  if (q.create_stream()) to.add("mkstream");
  return {};
}

grpc::Status say(const v1::StreamDeleteGroupRequest& q, kv::Args& to) {
  to.add("xgroup");
  begin(to, "destroy", q.key());
  to.add(q.group());
  return check_group(q, q.key());
}

grpc::Status say(const v1::StreamAcknowledgeRequest& q, kv::Args& to) {
  begin(to, "xack", q.key());
  to.add(q.group());
  if (grpc::Status named = check_group(q, q.key()); !named.ok()) return named;
  return add_ids(to, q.ids(), q.key());
}

grpc::Status say(const v1::StreamClaimRequest& q, kv::Args& to) {
  begin(to, "xautoclaim", q.key());
  to.add(q.group());
  to.add(q.consumer());
  if (grpc::Status named = check_group(q, q.key()); !named.ok()) return named;
  to.add_copy(cat(std::min<uint64_t>(q.idle_ms(), INT64_MAX)));
  if (!q.start().empty() && !is_id(q.start())) return bad_id(q.key());
  to.add(q.start().empty() ? std::string_view("0") : q.start());
  to.add("count");
  return add_count(to, q.count(), kPerMessageUsual, q.key());
}

void hear(const v1::StreamAppendRequest&, kv::Values& values, v1::StreamAppendResponse& a) {
  a.set_id(values.bytes_of_text());
}
void hear(const v1::StreamDeleteRequest&, kv::Values& values, v1::StreamDeleteResponse& a) {
  a.set_deleted(values.number());
}
void hear(const v1::StreamCreateGroupRequest&, kv::Values& values, v1::StreamCreateGroupResponse&) {
  (void)values.text();
}
void hear(const v1::StreamDeleteGroupRequest&, kv::Values& values,
          v1::StreamDeleteGroupResponse& a) {
  a.set_deleted(values.integer() != 0);
}
void hear(const v1::StreamAcknowledgeRequest&, kv::Values& values,
          v1::StreamAcknowledgeResponse& a) {
  a.set_acknowledged(values.number());
}
void hear(const v1::StreamClaimRequest&, kv::Values& values, v1::StreamClaimResponse& a) {
  (void)values.count();
  std::string next = values.bytes_of_text();
  if (next != "0-0") a.set_next(std::move(next));
  for (uint64_t n = values.count(); n > 0 && !values.broken(); n--) {
    (void)take_item(values, *a.add_entries());
  }
}

size_t take_item(kv::Values& values, v1::StreamEntry& entry) {
  (void)values.count();
  entry.set_id(values.bytes_of_text());
  size_t bytes = entry.id().size() + kItemRoom;
  if (values.is_cut()) return entry.set_too_large(true), bytes;
  if (values.is_null()) return entry.set_deleted(true), bytes;
  for (uint64_t n = values.count() / 2; n > 0 && !values.broken(); n--) {
    auto* field = entry.add_fields();
    field->set_name(values.bytes_of_text());
    field->set_value(values.bytes_of_text());
    bytes += field->name().size() + field->value().size() + kItemRoom;
  }
  if (bytes <= kEntryBytesMax) return bytes;
  entry.clear_fields();
  entry.set_too_large(true);
  return entry.id().size() + kItemRoom;
}

// ---- errors ----

namespace {
struct Wording {
  std::string_view begin;  // of Redis's text
  grpc::StatusCode code;
  std::string_view reason;
};
constexpr Wording kWordings[] = {
    {"OOM ", grpc::RESOURCE_EXHAUSTED, "OUT_OF_MEMORY"},
    {"MISCONF ", grpc::UNAVAILABLE, "READ_ONLY"},
    {"BUSY ", grpc::UNAVAILABLE, "BUSY"},
    {"IOERR ", grpc::DATA_LOSS, "DAMAGED"},
    {"NOGROUP ", grpc::NOT_FOUND, "NO_SUCH_GROUP"},
    {"BUSYGROUP ", grpc::ALREADY_EXISTS, "GROUP_EXISTS"},
    {"UNBLOCKED the bucket", grpc::NOT_FOUND, "NO_SUCH_NAMESPACE"},
    {"UNBLOCKED ", grpc::NOT_FOUND, "NO_SUCH_GROUP"},
    {"ERR hash value is not a", grpc::FAILED_PRECONDITION, "NOT_A_NUMBER"},
    {"ERR increment", grpc::OUT_OF_RANGE, "OVERFLOW"},
    {"ERR resulting score", grpc::OUT_OF_RANGE, "OVERFLOW"},
    {"ERR index out of range", grpc::OUT_OF_RANGE, "NO_SUCH_ELEMENT"},
    {"ERR no such key", grpc::NOT_FOUND, "NO_SUCH_KEY"},
    {"ERR the answer is too large", grpc::OUT_OF_RANGE, "TOO_LARGE"},
    {"ERR The ID specified in XADD is equal", grpc::FAILED_PRECONDITION, "ID_NOT_GREATER"},
    {"ERR The stream has exhausted", grpc::FAILED_PRECONDITION, "ID_NOT_GREATER"},
    {"ERR The XGROUP subcommand requires", grpc::NOT_FOUND, "NO_SUCH_KEY"},
    {"ERR internal", grpc::INTERNAL, "INTERNAL"},
    {"ERR the command touched", grpc::INTERNAL, "INTERNAL"},
    {"ERR too many ", grpc::RESOURCE_EXHAUSTED, "TOO_LARGE"},
    {"ERR an argument of ", grpc::RESOURCE_EXHAUSTED, "TOO_LARGE"},
    {"ERR the connection ends", grpc::CANCELLED, "CANCELLED"},
};
}  // namespace

grpc::Status error_of_command(std::string_view text, const v1::Key& key) {
  if (text.starts_with("WRONGTYPE ")) {
    return error(grpc::FAILED_PRECONDITION, "WRONG_TYPE", "the key holds another type", &key);
  }
  const std::string_view words = text.substr(std::min(text.find(' '), text.size() - 1) + 1);
  for (const Wording& w : kWordings) {
    if (text.starts_with(w.begin)) return error(w.code, w.reason, words, &key);
  }
  return bad_argument(words, &key);
}

}  // namespace cairn::rpc

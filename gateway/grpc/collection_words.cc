#include "gateway/grpc/collection_words.h"

#include <algorithm>
#include <cmath>

#include "gateway/grpc/word_parts.h"

namespace cairn::rpc {

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
    {"NOPERM ", grpc::PERMISSION_DENIED, "PERMISSION_DENIED"},
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

// The requests about streams (collection_words.h).
#include <algorithm>

#include "core/base/errors.h"
#include "gateway/grpc/word_parts.h"

namespace cairn::rpc {

namespace {

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

// Empty names are good for Redis; here they are what was forgotten.
template <class Request>
grpc::Status check_group(const Request& q, const v1::Key& key) {
  bool named = !q.group().empty();
  if constexpr (requires { q.consumer(); }) named &= !q.consumer().empty();
  return named ? grpc::Status() : bad_argument("a group and a consumer have names", &key);
}

}  // namespace

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

}  // namespace cairn::rpc

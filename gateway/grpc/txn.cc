#include "gateway/grpc/txn.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"

namespace cairn::rpc {

TxnCall::Place TxnCall::place(const v1::Key& key, Access access, bool value, grpc::Status& status) {
  Place at{&key, find_namespace(store_, by_, access, key, status), 0};
  if (at.ns == nullptr) return at;
  at.ns = spaces_.try_emplace(key.namespace_(), at.ns).first->second;
  at.hash = at.ns->hash(key.key());
  hashes_.push_back(at.hash);
  if (value) looked_at_.emplace_back(at.ns, key.key());
  return at;
}

grpc::Status TxnCall::check() {
  int keys = request_.compare_size();
  for (auto* list : {&request_.then(), &request_.otherwise()}) {
    for (auto& op : *list) keys += op.has_copy() ? 2 : 1;
  }
  if (keys > kKeysMax) return bad_argument("at most 1000 keys");
  grpc::Status status = check_durability(request_.durability());
  for (auto& compare : request_.compare()) {
    if (compare.value().size() > kInlineBytesMax) {
      return bad_argument("a value is compared with at most 65536 bytes", &compare.key());
    }
    compared_.push_back(place(compare.key(), Access::kRead, compare.has_value(), status));
    if (!status.ok()) return status;
  }
  for (auto [list, out] :
       {std::pair{&request_.then(), &then_}, {&request_.otherwise(), &otherwise_}}) {
    for (auto& op : *list) {
      status = check_operation(op, out->emplace_back());
      if (!status.ok()) return status;
    }
  }
  if (writes_) status = error_of(store_.check_write(true));
  return status;
}

grpc::Status TxnCall::check_operation(const v1::TxnOp& op, Operation& out) {
  grpc::Status status;
  out.op = &op;
  writes_ |= !op.has_get();
  switch (op.op_case()) {
    case v1::TxnOp::kPut:
      status = check_expiry(store_,
                            {op.put().ttl_ms(), op.put().expires_at_ms(), op.put().keep_expiry()});
      if (status.ok()) out.at = place(op.put().key(), Access::kWrite, false, status);
      if (op.put().value().size() > store_.options().extent_threshold) {
        out.large = std::make_unique<objects::Upload>(store_, op.put().value().size());
      }
      return status;
    case v1::TxnOp::kDelete:
      out.at = place(op.delete_().key(), Access::kDelete, false, status);
      return status;
    case v1::TxnOp::kGet:
      out.at = place(op.get().key(), Access::kRead, true, status);
      return status;
    case v1::TxnOp::kCopy:
      out.from = place(op.copy().from(), Access::kRead, true, status);
      if (status.ok()) out.at = place(op.copy().to(), Access::kWrite, false, status);
      return status;
    case v1::TxnOp::OP_NOT_SET:
      break;
  }
  return bad_argument("an operation that is none");
}

bool TxnCall::run_in_place(grpc::Status& status, Lsn& rests_on) {
  for (auto* list : {&then_, &otherwise_}) {
    if (std::any_of(list->begin(), list->end(), [](auto& o) { return o.large != nullptr; })) {
      return false;
    }
  }
  if (!has_room_for_answer(shared_)) return false;
  StripeLocks lock(store_);
  lock.lock(hashes_);
  Faults::Keys cold = looked_at_;
  store_.faults().keep_cold(cold);
  if (!cold.empty()) return false;
  status = apply(lock, rests_on);
  return true;
}

awaitable<grpc::Status> TxnCall::run() {
  uint64_t gets = 0;
  for (auto* list : {&then_, &otherwise_}) {
    gets += std::count_if(list->begin(), list->end(), [](auto& o) { return o.op->has_get(); });
  }
  grpc::Status status = co_await room_for_answer(
      shared_, context_, std::min<uint64_t>(gets * kInlineBytesMax, kAnswerBytesMax));
  if (!status.ok()) co_return status;
  for (auto* list : {&then_, &otherwise_}) {
    for (Operation& o : *list) {
      if (o.large == nullptr) continue;
      Status stored = co_await o.large->append(as_bytes(o.op->put().value()));
      if (stored.ok()) stored = co_await o.large->finish();
      if (!stored.ok()) co_return error_of(stored, o.at.key);
    }
  }
  Lsn rests_on;
  {
    StripeLocks lock(store_);
    Status locked = co_await store_.faults().lock_with_values(lock, hashes_, looked_at_);
    if (!locked.ok()) co_return error_of(locked);
    if (context_.IsCancelled()) co_return cancelled();
    status = apply(lock, rests_on);
  }
  grpc::Status durable = co_await settled(store_, rests_on);
  co_return durable.ok() ? status : durable;
}

grpc::Status TxnCall::apply(const StripeLocks& lock, Lsn& rests_on) {
  Transaction t(store_, &lock, Shape::kSeveral, wish_of(request_.durability()));
  answer_.set_succeeded(compare(t));
  grpc::Status status;
  for (Operation& o : answer_.succeeded() ? then_ : otherwise_) {
    if (status.ok()) status = perform(o, t);
  }
  constexpr uint64_t kVersionBytes = 11;  // of each value, which has none yet
  if (status.ok() && answer_.ByteSizeLong() + read_.size() * kVersionBytes > kAnswerBytesMax) {
    status = too_large("get fewer values at once");
  }
  if (status.ok()) {  // else nothing was done
    const auto lsn = t.commit();
    status = write_error_of(lsn.status());
    if (lsn.ok()) answer_.set_version(lsn->value());
  }
  rests_on = paced(store_, t.seen(), Lsn(answer_.version()));
  if (!status.ok()) return status;  // what this call had put, and read, may be gone again
  for (auto& [value, entry] : read_) {
    value->set_version(entry->version().value());
    if (request_.durable()) rests_on = std::max(rests_on, entry->version());
  }
  return status;
}

bool TxnCall::compare(Transaction& t) {
  bool all = true;
  for (size_t i = 0; i < compared_.size(); i++) {
    const v1::Compare& wanted = request_.compare(static_cast<int>(i));
    const Place& at = compared_[i];
    const Entry* e = t.find(*at.ns, at.key->key(), at.hash);
    all &= holds(wanted.condition(), e);
    if (wanted.has_value()) {
      all &= e != nullptr && e->is_string() && !e->is_blob() && e->value() == wanted.value();
    }
  }
  return all;
}

grpc::Status TxnCall::perform(Operation& o, Transaction& t) {
  if (o.at.ns->dropped) return no_such_namespace(o.at.key);
  auto* result = answer_.add_results();
  Entry* e = t.find(*o.at.ns, o.at.key->key(), o.at.hash);
  if (o.op->has_get()) {
    if (e == nullptr) return {};
    if (!e->is_string()) return error_of(wrong_type(), o.at.key);
    if (e->is_blob() || e->value_size > kInlineBytesMax) {
      return too_large("use Objects.Download", o.at.key);
    }
    result->set_found(true);
    result->mutable_value()->set_expires_at_ms(e->expire_ms());
    result->mutable_value()->set_value(std::string(e->value()));
    read_.emplace_back(result->mutable_value(), e);
    return {};
  }
  if (o.op->has_delete_()) {
    result->set_found(e != nullptr);
    return e == nullptr ? grpc::Status()
                        : write_error_of(t.remove(*o.at.ns, o.at.hash, e), o.at.key);
  }
  if (o.op->has_put()) return put(o, e, t);
  const Entry* from = t.find(*o.from.ns, o.from.key->key(), o.from.hash);
  result->set_found(from != nullptr);
  if (from == nullptr) return {};
  if (!from->is_string()) return error_of(wrong_type(), o.from.key);
  return write_error_of(copy(o, from, t), o.at.key);
}

grpc::Status TxnCall::put(Operation& o, const Entry* old, Transaction& t) {
  const v1::TxnOp::PutOp& put = o.op->put();
  grpc::Status checked;
  const int64_t expire =
      expiry_of(t.now(), {put.ttl_ms(), put.expires_at_ms(), put.keep_expiry()}, old, checked);
  if (!checked.ok()) return checked;
  RecordView r;
  if (o.large) {
    r = o.large->record(*o.at.ns, put.key().key(), "", expire);
  } else {
    r.ns = o.at.ns->id;
    r.key = put.key().key();
    r.value = put.value();
    r.expire_ms = expire;
    if (expire != 0) r.flags |= kRecordHasExpiry;
  }
  Status done = t.put(*o.at.ns, o.at.hash, r);
  if (done.ok() && o.large) o.large->gave_away();
  return write_error_of(done, o.at.key);
}

Status TxnCall::copy(const Operation& o, const Entry* from, Transaction& t) {
  RecordView r = from->record(o.at.ns->id);
  r.key = o.at.key->key();
  if (o.op->copy().drop_expiry()) {
    r.expire_ms = 0;
    r.flags &= static_cast<uint8_t>(~kRecordHasExpiry);
  }
  if (!from->is_blob()) return t.put(*o.at.ns, o.at.hash, r);
  const BlobRef blob = *BlobRef::decode(from->value());
  store_.extents().ref(blob);
  Status done = t.put(*o.at.ns, o.at.hash, r);
  if (!done.ok()) store_.extents().unref(blob);
  return done;
}

}  // namespace cairn::rpc

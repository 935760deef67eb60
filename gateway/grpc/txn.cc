#include "gateway/grpc/txn.h"

#include <google/protobuf/descriptor.h>

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
  if (value || at.ns->versions() != nullptr) looked_at_.emplace_back(at.ns, key.key());
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
      Operation& operation = out->emplace_back();
      status = check_operation(op, operation);
      if (!status.ok()) return status;
      if (operation.step != nullptr) keys += static_cast<int>(operation.step->other_keys());
      if (keys > kKeysMax) return bad_argument("at most 1000 keys");
    }
  }
  if (writes_) status = error_of(store_.check_write(true));
  return status;
}

grpc::Status TxnCall::check_operation(const v1::TxnOp& op, Operation& out) {
  grpc::Status status;
  out.op = &op;
  if (ask(op, out, status)) return status;
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
    default:
      break;
  }
  return bad_argument("an operation that is none");
}

template <class Answer, class Request>
void TxnCall::ask(const Request& request, Operation& out, grpc::Status& status) {
  const CollectionWishes wishes = wishes_of(request);
  if ((wishes.condition != nullptr && wishes.condition->ByteSizeLong() != 0) ||
      wishes.durability != v1::DURABILITY_UNSPECIFIED || wishes.durable) {
    status =
        bad_argument("condition, durability and durable are the transaction's", &request.key());
    return;
  }
  if (wait_ms_of(request) != 0) {
    status = bad_argument("a transaction does not wait", &request.key());
    return;
  }
  out.step = std::make_unique<CollectionStep>(store_);
  CollectionStep& step = *out.step;
  status = step.ask<Answer>(shared_, request);
  if (status.ok()) out.at = place(request.key(), step.access(), false, status);
  if (status.ok()) status = step.enter(shared_, by_, out.at.ns);
  if (!status.ok()) return;
  step.command.add_keys(hashes_, looked_at_);
  writes_ |= step.command.writes();
}

bool TxnCall::ask(const v1::TxnOp& op, Operation& out, grpc::Status& status) {
  using Op = v1::TxnOp;
  switch (op.op_case()) {
    case Op::kHashSet:
      ask<v1::HashSetResponse>(op.hash_set(), out, status);
      break;
    case Op::kHashGet:
      ask<v1::HashGetResponse>(op.hash_get(), out, status);
      break;
    case Op::kHashDelete:
      ask<v1::HashDeleteResponse>(op.hash_delete(), out, status);
      break;
    case Op::kHashIncrement:
      ask<v1::HashIncrementResponse>(op.hash_increment(), out, status);
      break;
    case Op::kHashCount:
      ask<v1::HashCountResponse>(op.hash_count(), out, status);
      break;
    case Op::kListPush:
      ask<v1::ListPushResponse>(op.list_push(), out, status);
      break;
    case Op::kListPop:
      ask<v1::ListPopResponse>(op.list_pop(), out, status);
      break;
    case Op::kListCount:
      ask<v1::ListCountResponse>(op.list_count(), out, status);
      break;
    case Op::kSetAdd:
      ask<v1::SetAddResponse>(op.set_add(), out, status);
      break;
    case Op::kSetRemove:
      ask<v1::SetRemoveResponse>(op.set_remove(), out, status);
      break;
    case Op::kSetContains:
      ask<v1::SetContainsResponse>(op.set_contains(), out, status);
      break;
    case Op::kSetCount:
      ask<v1::SetCountResponse>(op.set_count(), out, status);
      break;
    case Op::kSortedSetAdd:
      ask<v1::SortedSetAddResponse>(op.sorted_set_add(), out, status);
      break;
    case Op::kSortedSetRemove:
      ask<v1::SortedSetRemoveResponse>(op.sorted_set_remove(), out, status);
      break;
    case Op::kSortedSetIncrement:
      ask<v1::SortedSetIncrementResponse>(op.sorted_set_increment(), out, status);
      break;
    case Op::kSortedSetScore:
      ask<v1::SortedSetScoreResponse>(op.sorted_set_score(), out, status);
      break;
    case Op::kSortedSetRank:
      ask<v1::SortedSetRankResponse>(op.sorted_set_rank(), out, status);
      break;
    case Op::kSortedSetCount:
      ask<v1::SortedSetCountResponse>(op.sorted_set_count(), out, status);
      break;
    case Op::kStreamAppend:
      ask<v1::StreamAppendResponse>(op.stream_append(), out, status);
      break;
    case Op::kStreamDelete:
      ask<v1::StreamDeleteResponse>(op.stream_delete(), out, status);
      break;
    case Op::kStreamCount:
      ask<v1::StreamCountResponse>(op.stream_count(), out, status);
      break;
    case Op::kStreamAcknowledge:
      ask<v1::StreamAcknowledgeResponse>(op.stream_acknowledge(), out, status);
      break;
    case Op::kHashExpire:
      ask<v1::HashExpireResponse>(op.hash_expire(), out, status);
      break;
    case Op::kHashGetExpiry:
      ask<v1::HashGetExpiryResponse>(op.hash_get_expiry(), out, status);
      break;
    case Op::kListSet:
      ask<v1::ListSetResponse>(op.list_set(), out, status);
      break;
    case Op::kListInsert:
      ask<v1::ListInsertResponse>(op.list_insert(), out, status);
      break;
    case Op::kListRemove:
      ask<v1::ListRemoveResponse>(op.list_remove(), out, status);
      break;
    case Op::kListTrim:
      ask<v1::ListTrimResponse>(op.list_trim(), out, status);
      break;
    case Op::kListMove:
      ask<v1::ListMoveResponse>(op.list_move(), out, status);
      break;
    case Op::kSetPop:
      ask<v1::SetPopResponse>(op.set_pop(), out, status);
      break;
    case Op::kSetMove:
      ask<v1::SetMoveResponse>(op.set_move(), out, status);
      break;
    case Op::kSetCombineInto:
      ask<v1::SetCombineIntoResponse>(op.set_combine_into(), out, status);
      break;
    case Op::kSortedSetPop:
      ask<v1::SortedSetPopResponse>(op.sorted_set_pop(), out, status);
      break;
    case Op::kSortedSetRemoveRange:
      ask<v1::SortedSetRemoveRangeResponse>(op.sorted_set_remove_range(), out, status);
      break;
    case Op::kSortedSetRangeInto:
      ask<v1::SortedSetRangeIntoResponse>(op.sorted_set_range_into(), out, status);
      break;
    case Op::kSortedSetCombineInto:
      ask<v1::SortedSetCombineIntoResponse>(op.sorted_set_combine_into(), out, status);
      break;
    default:
      return false;
  }
  has_steps_ = true;
  return true;
}

bool TxnCall::run_in_place(grpc::Status& status, Lsn& rests_on) {
  if (has_steps_) return false;
  for (auto* list : {&then_, &otherwise_}) {
    if (std::any_of(list->begin(), list->end(), [](auto& o) { return o.large != nullptr; })) {
      return false;
    }
  }
  if (!has_room_for_answer(shared_)) return false;
  StripeLocks lock(store_);
  if (!lock.lock_idle(hashes_)) return false;
  Faults::Keys cold = looked_at_;
  store_.faults().keep_cold(cold);
  if (!cold.empty()) return false;
  status = apply(lock, nullptr, rests_on);
  return true;
}

awaitable<grpc::Status> TxnCall::run() {
  uint64_t most = 0;
  for (auto* list : {&then_, &otherwise_}) {
    for (const Operation& o : *list) {
      if (o.op->has_get()) most += kInlineBytesMax;
      if (o.step != nullptr && o.step->may_be_large) most += kAnswerBytesMax;
    }
  }
  grpc::Status status =
      co_await room_for_answer(shared_, context_, std::min<uint64_t>(most, kAnswerBytesMax));
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
  const Executor loop = co_await asio::this_coro::executor;
  std::optional<kv::Errand> errand;
  if (has_steps_) errand.emplace(kv::engine_of(*shared_.engines, loop));
  {
    StripeLocks lock(store_);
    Status locked = co_await store_.faults().lock_with_values(lock, hashes_, looked_at_);
    if (!locked.ok()) co_return error_of(locked);
    if (context_.IsCancelled()) co_return cancelled();
    status = apply(lock, errand ? &*errand : nullptr, rests_on);
  }
  if (errand) {
    co_await errand->serve(wish_of(request_.durability()));
    rests_on = std::max(rests_on, errand->seen());
  }
  grpc::Status durable = co_await settled(store_, rests_on);
  co_return durable.ok() ? status : durable;
}

grpc::Status TxnCall::apply(StripeLocks& lock, kv::Errand* errand, Lsn& rests_on) {
  Transaction t(store_, &lock, Shape::kSeveral, wish_of(request_.durability()));
  if (errand != nullptr) {
    t.set_committer(errand->committer());
    t.names_changes();
  }
  answer_.set_succeeded(compare(t));
  grpc::Status status;
  for (Operation& o : answer_.succeeded() ? then_ : otherwise_) {
    if (!status.ok()) break;
    status = o.step == nullptr ? perform(o, t) : perform(*o.step, *o.op, lock, *errand, t);
    if (status.ok() && errand != nullptr && o.step == nullptr) tell(o, *errand);
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
  Lsn seen = t.seen();
  if (errand != nullptr) {
    errand->end(status.ok());
    seen = std::max(seen, errand->seen());
  }
  rests_on = paced(store_, seen, Lsn(answer_.version()));
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
      const bool at_hand = e != nullptr && e->is_string() && !e->is_blob();
      const auto value = at_hand ? objects::value_of(store_, e) : absl::NotFoundError("");
      all &= value.ok() && *value == wanted.value();
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
    if (e->is_blob() || e->value_bytes() > kInlineBytesMax) {
      return too_large("use Objects.Download", o.at.key);
    }
    auto value = objects::value_of(store_, e);
    if (!value.ok()) return error_of(value.status(), o.at.key);
    result->set_found(true);
    result->mutable_value()->set_expires_at_ms(e->expire_ms());
    result->mutable_value()->set_value(*std::move(value));
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
  if (o.at.ns->encrypts() && !encrypted_size(from->meta())) return only_encrypted(o.at.key);
  return write_error_of(copy(o, from, t), o.at.key);
}

grpc::Status TxnCall::perform(CollectionStep& step, const v1::TxnOp& op, StripeLocks& lock,
                              kv::Errand& errand, Transaction& t) {
  if (step.ns->dropped) return no_such_namespace(step.key);
  // The answers of operations have their numbers.
  using google::protobuf::FieldDescriptor;
  auto* result = answer_.add_results();
  const FieldDescriptor* field = result->GetDescriptor()->FindFieldByNumber(op.op_case());
  google::protobuf::Message* answer = result->GetReflection()->MutableMessage(result, field);
  grpc::Status status = step.run(errand, lock, t, answer, step_bytes_);
  step_bytes_ += answer->ByteSizeLong();
  return status;
}

// What it changed, as other doors' changes are told (kv/engine/events.h).
void TxnCall::tell(const Operation& o, kv::Errand& errand) const {
  const bool found = answer_.results(answer_.results_size() - 1).found();
  const std::string& key = o.at.key->key();
  if (o.op->has_put() || (o.op->has_copy() && found)) {
    errand.did(kv::Events::kString, "set", *o.at.ns, key);
  } else if (o.op->has_delete_() && found) {
    errand.did(kv::Events::kGeneric, "del", *o.at.ns, key);
  }
}

grpc::Status TxnCall::put(Operation& o, const Entry* old, Transaction& t) {
  const v1::TxnOp::PutOp& put = o.op->put();
  grpc::Status checked;
  const int64_t expire = expiry_of(t.now(), {put.ttl_ms(), put.expires_at_ms(), put.keep_expiry()},
                                   old, o.at.ns.get(), checked);
  if (!checked.ok()) return checked;
  if (o.at.ns->encrypts()) return only_encrypted(o.at.key);
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

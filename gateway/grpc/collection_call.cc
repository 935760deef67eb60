#include "gateway/grpc/collection_call.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "core/base/text.h"
#include "core/store/transaction.h"

namespace cairn::rpc {

void CollectionStep::find_row(const Shared& shared) {
  command.find_row(shared.engines->front()->table());
  const auto words = command.words().words();
  kv::for_each_key(command.request.row->keys, words,
                   [&](size_t word, const kv::KeySpec&, uint16_t flags) {
                     if (words[word].data() == key->key().data()) {
                       access_ = access_ | kv::access_of(flags);
                     } else {
                       others_.push_back({words[word], kv::access_of(flags)});
                     }
                   });
  if (may_be_large) access_ = access_ | Access::kRead;
}

bool CollectionStep::has_list(const google::protobuf::Descriptor& answer) {
  for (int i = 0; i < answer.field_count(); i++) {
    if (answer.field(i)->is_repeated()) return true;
  }
  return false;
}

grpc::Status CollectionStep::enter(const Shared& shared, const Caller& by) {
  grpc::Status status;
  NamespacePtr found = find_namespace(shared.store, by, access_, *key, status);
  return found == nullptr ? status : enter(shared, by, std::move(found));
}

grpc::Status CollectionStep::enter(const Shared& shared, const Caller& by, NamespacePtr in) {
  for (const Other& other : others_) {
    v1::Key one;
    one.set_namespace_(key->namespace_());
    one.set_key(std::string(other.name));
    grpc::Status status = check_key(one);
    if (status.ok()) status = by.permit(other.access, one);
    if (!status.ok()) return status;
  }
  ns = std::move(in);
  hash = ns->hash(key->key());
  command.enter(*shared.engines->front(), ns);
  return {};
}

bool CollectionStep::may(const Caller& by) const {
  return by.may(access_, ns->name, key->key()) &&
         std::all_of(others_.begin(), others_.end(), [&](const Other& other) {
           return by.may(other.access, ns->name, other.name);
         });
}

grpc::Status CollectionStep::run(kv::Errand& errand, StripeLocks& locks, Transaction& txn,
                                 google::protobuf::Message* answer, uint64_t beside) {
  // At once a command answers little more than a piece of it; for a stream that is what was counted
  // before it was made.
  constexpr uint64_t kHeldMax = 32 << 20;
  kv::Values& values = command.values;
  values.set_limit(kHeldMax, answer == nullptr ? UINT64_MAX : kAnswerBytesMax);
  const std::string failure = errand.run(command, locks, txn);
  if (!txn.status().ok()) return write_error_of(txn.status(), key);
  if (!failure.empty()) return error_of_command(failure, *key);
  if (values.overflowed()) return too_large("ask for less at once", key);
  if (answer == nullptr) return {};
  values.keep_locks();
  hear(values, *answer);
  if (values.overflowed()) return too_large("ask for less at once", key);
  if (values.broken()) return error(grpc::INTERNAL, "INTERNAL", "unexpected answer", key);
  if (values.lost()) return too_large("ask for less at once", key);
  return answer->ByteSizeLong() + beside > kAnswerBytesMax ? too_large("ask for less at once", key)
                                                           : grpc::Status();
}

namespace {

// Under the locks; the answer rests on `rests_on`.
grpc::Status apply(const Shared& shared, CollectionStep& step, const CollectionWishes& wishes,
                   kv::Errand& errand, StripeLocks& locks, google::protobuf::Message* answer,
                   Lsn& rests_on) {
  Store& store = shared.store;
  Transaction t(store, &locks, Shape::kSeveral, wish_of(wishes.durability));
  t.set_committer(errand.committer());
  t.names_changes();
  const Entry* before = t.find(*step.ns, step.key->key(), step.hash);
  rests_on = t.seen();
  if (step.ns->dropped) return no_such_namespace(step.key);
  if (wishes.condition != nullptr && !holds(*wishes.condition, before)) {
    return condition_failed(*step.key);
  }
  grpc::Status status = step.run(errand, locks, t, answer);
  Lsn version;
  if (status.ok()) {
    const auto done = t.commit();
    status = write_error_of(done.status(), step.key);
    if (done.ok()) version = *done;
  }
  errand.end(status.ok());
  rests_on = paced(store, std::max(t.seen(), errand.seen()), version);
  if (!status.ok()) return status;
  if (step.name_version) step.name_version(*answer, version);
  if (wishes.durable) {
    const Entry* e = t.find(*step.ns, step.key->key(), step.hash);
    if (e != nullptr) rests_on = std::max(rests_on, e->version());
  }
  return status;
}

}  // namespace

awaitable<grpc::Status> perform(const Shared& shared, Context& context, CollectionStep& step,
                                CollectionWishes wishes, google::protobuf::Message* answer) {
  Store& store = shared.store;
  grpc::Status status = check_durability(wishes.durability);
  if (!status.ok()) co_return status;
  const bool at_once = step.may_be_large && has_room_for_answer(shared);
  if (step.may_be_large && !at_once) {
    status = co_await room_for_answer(shared, context, kAnswerBytesMax);
    if (!status.ok()) co_return status;
  }
  const Executor loop = co_await asio::this_coro::executor;
  kv::Errand errand(kv::engine_of(*shared.engines, loop));
  std::vector<KeyHash> hashes;
  Faults::Keys values;
  step.command.add_keys(hashes, values);
  Lsn rests_on;
  {
    StripeLocks locks(store);
    Status locked = co_await store.faults().lock_with_values(locks, hashes, values);
    if (locked.ok() && step.command.writes()) {
      locked = store.check_write((step.command.request.row->flags & kv::kDenyOom) != 0);
    }
    if (!locked.ok()) co_return error_of(locked, step.key);
    if (context.IsCancelled()) co_return cancelled(step.key);
    status = apply(shared, step, wishes, errand, locks, answer, rests_on);
  }
  co_await errand.serve(wish_of(wishes.durability));
  rests_on = std::max(rests_on, errand.seen());
  if (at_once && status.ok()) answered(shared, context, answer->ByteSizeLong());
  const grpc::Status durable = co_await settled(store, rests_on);
  co_return durable.ok() ? status : durable;
}

}  // namespace cairn::rpc

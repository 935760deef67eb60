#include "gateway/grpc/kv_service.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/store/transaction.h"
#include "gateway/grpc/txn.h"

namespace cairn::rpc {

KeyValueService::KeyValueService(const Shared& shared) : Service(shared) {
  unary("/cairn.v1.KeyValue/Get", Access::kRead, &KeyValueService::get);
  unary("/cairn.v1.KeyValue/Put", Access::kWrite, &KeyValueService::put);
  unary("/cairn.v1.KeyValue/Delete", Access::kDelete, &KeyValueService::remove);
  unary("/cairn.v1.KeyValue/BatchGet", Access::kRead, &KeyValueService::batch_get);
  unary("/cairn.v1.KeyValue/Txn",
        Access::kRead | Access::kWrite | Access::kInsert | Access::kDelete, &KeyValueService::txn);
  unary("/cairn.v1.KeyValue/Scan", Access::kList | Access::kRead, &KeyValueService::scan);
}

namespace {

void fill_opened(objects::Opened& o, v1::Value* value) {
  value->set_version(o.info.version.value());
  value->set_expires_at_ms(o.info.expire_ms);
  if (o.reader == nullptr) value->set_value(std::move(o.inline_bytes));
}

}  // namespace

// ---- one value ----

Unary* KeyValueService::get(Context* c, const Caller& by, const v1::GetRequest* q,
                            v1::GetResponse* a) {
  grpc::Status status;
  NamespacePtr ns = find_namespace(store_, by, Access::kRead, q->key(), status);
  if (ns == nullptr) return finish(c, store_, status);
  if (store_.busy().is_busy(ns->hash(q->key().key()))) {
    return spawn(c, shared_, *a, get_from_disk(c, std::move(ns), q, a));
  }
  auto opened = objects::try_open(store_, *ns, q->key().key(), std::nullopt);
  if (!opened.ok()) {
    return finish(c, store_, error_of(opened.status(), &q->key()), rests_on(opened.status()));
  }
  if (opened->reader != nullptr || opened->cold ||
      (opened->info.size > kSmallAnswerBytes && !has_room_for_answer(shared_))) {
    return spawn(c, shared_, *a, get_from_disk(c, std::move(ns), q, a));
  }
  fill_opened(*opened, a->mutable_value());
  return finish(c, shared_, *a, {}, q->durable() ? opened->info.version : opened->info.seen);
}

awaitable<grpc::Status> KeyValueService::get_from_disk(Context* c, NamespacePtr ns,
                                                       const v1::GetRequest* q,
                                                       v1::GetResponse* a) {
  const v1::Key& key = q->key();
  // Who waits for room holds nothing meanwhile, so the value may be another, and larger, after
  // that.
  StatusOr<objects::Opened> o = absl::UnknownError("");
  for (uint64_t room_bytes = 0;;) {
    grpc::Status idle = co_await until_idle(store_, key);
    if (!idle.ok()) co_return idle;
    auto info = objects::stat(store_, *ns, key.key());
    if (!info.ok()) co_return co_await refused(store_, info.status(), key);
    if (info->size > kValueBytesMax) co_return too_large("use Objects.Download", &key);
    if (info->size > room_bytes) {
      grpc::Status room = co_await room_for_answer(shared_, *c, info->size - room_bytes);
      if (!room.ok()) co_return room;
      room_bytes = info->size;
    }
    o = co_await objects::open(store_, *ns, key.key(), std::nullopt);
    if (!o.ok()) co_return co_await refused(store_, o.status(), key);
    if (o->info.size <= room_bytes) break;
  }
  fill_opened(*o, a->mutable_value());
  if (o->reader != nullptr) {
    auto bytes = co_await o->reader->read_all(kValueBytesMax);
    if (!bytes.ok()) co_return error_of(bytes.status(), &key);
    a->mutable_value()->set_value(std::move(*bytes));
  }
  co_return co_await settled(store_, q->durable() ? o->info.version : o->info.seen);
}

Unary* KeyValueService::put(Context* c, const Caller& by, const v1::PutRequest* q,
                            v1::PutResponse* a) {
  if (q->value().size() > kValueBytesMax) {
    return finish(c, store_, too_large("use Objects.Upload", &q->key()));
  }
  const bool is_large = q->value().size() > store_.options().extent_threshold;
  if (is_large || is_encrypted(store_, q->key())) {
    return spawn(c, store_, put_large(c, by, q, a));
  }
  if (is_busy(store_, q->key())) return spawn(c, store_, put_when_idle(by, q, a));
  RecordView r;
  r.value = q->value();
  Lsn lsn;
  grpc::Status status = publish(by, *q, r, *a, lsn);
  return finish(c, store_, status, paced(store_, lsn, Lsn(a->version())));
}

awaitable<grpc::Status> KeyValueService::put_when_idle(Caller by, const v1::PutRequest* q,
                                                       v1::PutResponse* a) {
  grpc::Status status = co_await until_idle(store_, q->key());
  if (!status.ok()) co_return status;
  RecordView r;
  r.value = q->value();
  Lsn lsn;
  status = publish(by, *q, r, *a, lsn);
  grpc::Status durable = co_await settled(store_, paced(store_, lsn, Lsn(a->version())));
  co_return durable.ok() ? status : durable;
}

awaitable<grpc::Status> KeyValueService::put_large(Context* c, Caller by, const v1::PutRequest* q,
                                                   v1::PutResponse* a) {
  grpc::Status status;
  const NamespacePtr ns = find_namespace(store_, by, Access::kWrite, q->key(), status);
  if (ns == nullptr) co_return status;
  objects::Upload upload(store_, q->value().size());
  Status stored = objects::encrypt_by_default(store_, *ns, upload);
  if (stored.ok()) stored = co_await upload.append(as_bytes(q->value()));
  if (stored.ok()) stored = co_await upload.finish();
  if (!stored.ok()) co_return error_of(stored, &q->key());
  if (c->IsCancelled()) co_return cancelled(&q->key());
  status = co_await until_idle(store_, q->key());
  if (!status.ok()) co_return status;
  Lsn lsn;
  ObjectMeta meta;
  meta.encryption = upload.encryption();
  const std::string encoded = meta.empty() ? "" : meta.encode();
  status = publish(by, *q, upload.record(store_.database(0), q->key().key(), encoded, 0), *a, lsn);
  if (status.ok()) upload.gave_away();
  grpc::Status durable = co_await settled(store_, paced(store_, lsn, Lsn(a->version())));
  co_return durable.ok() ? status : durable;
}

// Publishes a value whose bytes are in place; `r` has them, not yet key and expiry. The answer
// rests on `lsn`.
grpc::Status KeyValueService::publish(const Caller& by, const v1::PutRequest& q, RecordView r,
                                      v1::PutResponse& a, Lsn& lsn) {
  grpc::Status status = check_durability(q.durability());
  const ExpiryWish wish{q.ttl_ms(), q.expires_at_ms(), q.keep_expiry()};
  if (status.ok()) status = check_expiry(store_, wish);
  NamespacePtr ns =
      status.ok() ? find_namespace(store_, by, Access::kWrite, q.key(), status) : nullptr;
  if (ns == nullptr) return status;
  if (Status s = store_.check_write(true); !s.ok()) return error_of(s, &q.key());
  if (ns->encrypts() && r.meta.empty()) return only_encrypted(&q.key());
  r.ns = ns->id;
  r.key = q.key().key();
  KeyHash hash = ns->hash(r.key);
  StripeLocks lock(store_, hash);
  Transaction t(store_, &lock, Shape::kOne, wish_of(q.durability()));
  Entry* e = t.find(*ns, r.key, hash);
  lsn = t.seen();
  if (!holds(q.condition(), e)) return condition_failed(q.key());
  r.expire_ms = expiry_of(t.now(), wish, e, ns.get(), status);
  if (!status.ok()) return status;
  if (r.expire_ms != 0) r.flags |= kRecordHasExpiry;
  if (Status s = t.put(*ns, hash, r); !s.ok()) return write_error_of(s, &q.key());
  const auto put = t.commit();
  if (!put.ok()) return write_error_of(put.status(), &q.key());
  a.set_version(put->value());
  lsn = t.seen();
  return {};
}

Unary* KeyValueService::remove(Context* c, const Caller& by, const v1::DeleteRequest* q,
                               v1::DeleteResponse* a) {
  if (is_busy(store_, q->key())) return spawn(c, store_, remove_when_idle(by, q, a));
  Lsn lsn;
  const grpc::Status status = remove_now(by, *q, *a, lsn);
  return finish(c, store_, status, lsn);
}

awaitable<grpc::Status> KeyValueService::remove_when_idle(Caller by, const v1::DeleteRequest* q,
                                                          v1::DeleteResponse* a) {
  grpc::Status status = co_await until_idle(store_, q->key());
  if (!status.ok()) co_return status;
  Lsn lsn;
  status = remove_now(by, *q, *a, lsn);
  grpc::Status durable = co_await settled(store_, lsn);
  co_return durable.ok() ? status : durable;
}

// The answer rests on `lsn`.
grpc::Status KeyValueService::remove_now(const Caller& by, const v1::DeleteRequest& q,
                                         v1::DeleteResponse& a, Lsn& lsn) {
  grpc::Status status = check_durability(q.durability());
  NamespacePtr ns =
      status.ok() ? find_namespace(store_, by, Access::kDelete, q.key(), status) : nullptr;
  if (ns == nullptr) return status;
  if (Status s = store_.check_write(false); !s.ok()) return error_of(s, &q.key());
  KeyHash hash = ns->hash(q.key().key());
  StripeLocks lock(store_, hash);
  Transaction t(store_, &lock, Shape::kOne, wish_of(q.durability()));
  Entry* e = t.find(*ns, q.key().key(), hash);
  if (!holds(q.condition(), e)) {
    status = condition_failed(q.key());
  } else if (e != nullptr) {
    (void)t.remove(*ns, hash, e);
    const auto removed = t.commit();
    if (!removed.ok()) return write_error_of(removed.status(), &q.key());
    a.set_deleted(true);
    a.set_version(removed->value());
  }
  lsn = paced(store_, t.seen(), Lsn(a.version()));
  return status;
}

// ---- several values ----

namespace {

// BatchGet: the keys of a request, and their values at one moment.
struct Batch {
  const Shared& shared;
  Context& context;
  Store& store;
  const Caller by;
  const v1::BatchGetRequest& request;
  v1::BatchGetResponse& answer;
  Faults::Keys keys;
  std::vector<KeyHash> hashes;
  Lsn newest;

  grpc::Status check() {
    grpc::Status status;
    if (request.keys_size() > kKeysMax) return bad_argument("at most 1000 keys");
    for (auto& key : request.keys()) {
      NamespacePtr ns = find_namespace(store, by, Access::kRead, key, status);
      if (ns == nullptr) return status;
      hashes.push_back(ns->hash(key.key()));
      keys.emplace_back(std::move(ns), key.key());
    }
    return status;
  }
  // Under the locks of all keys, with all values in memory.
  grpc::Status read(const StripeLocks& lock) {
    uint64_t total = 0;
    Transaction t(store, &lock, Shape::kOne);
    for (size_t i = 0; i < keys.size(); i++) {
      const v1::Key& key = request.keys(static_cast<int>(i));
      auto* entry = answer.add_entries();
      *entry->mutable_key() = key;
      const Entry* e = t.find(*keys[i].first, key.key(), hashes[i]);
      newest = std::max(newest, t.seen());
      total += key.ByteSizeLong() + 64;
      if (e != nullptr) {
        if (request.durable()) newest = std::max(newest, e->version());
        if (!e->is_string()) return error_of(wrong_type(), &key);
        if (e->is_blob() || e->value_bytes() > kInlineBytesMax) {
          return too_large("use Objects.Download", &key);
        }
        total += e->value_bytes();
      }
      if (total > kAnswerBytesMax) return too_large("get fewer values at once", &key);
      if (e == nullptr) continue;
      entry->mutable_value()->set_version(e->version().value());
      entry->mutable_value()->set_expires_at_ms(e->expire_ms());
      auto value = objects::value_of(store, e);
      if (!value.ok()) return error_of(value.status(), &key);
      entry->mutable_value()->set_value(*std::move(value));
    }
    return {};
  }
  awaitable<grpc::Status> read_from_disk() {
    const uint64_t most = std::min<uint64_t>(keys.size() * kInlineBytesMax, kAnswerBytesMax);
    grpc::Status status = co_await room_for_answer(shared, context, most);
    if (!status.ok()) co_return status;
    {
      StripeLocks lock(store);
      Status locked = co_await store.faults().lock_with_values(lock, hashes, keys);
      if (!locked.ok()) co_return error_of(locked);
      status = read(lock);
    }
    grpc::Status durable = co_await settled(store, newest);
    co_return durable.ok() ? status : durable;
  }
};

}  // namespace

Unary* KeyValueService::batch_get(Context* c, const Caller& by, const v1::BatchGetRequest* q,
                                  v1::BatchGetResponse* a) {
  auto batch = std::make_unique<Batch>(Batch{shared_, *c, store_, by, *q, *a, {}, {}, {}});
  grpc::Status status = batch->check();
  if (!status.ok()) return finish(c, store_, status);
  if (has_room_for_answer(shared_)) {
    StripeLocks lock(store_);
    const bool idle = lock.lock_idle(batch->hashes);
    Faults::Keys cold = batch->keys;
    if (idle) store_.faults().keep_cold(cold);
    if (idle && cold.empty()) {
      status = batch->read(lock);
      lock.unlock();
      return finish(c, shared_, *a, status, batch->newest);
    }
  }
  auto work = [](std::unique_ptr<Batch> batch) -> awaitable<grpc::Status> {
    co_return co_await batch->read_from_disk();
  };
  return spawn(c, shared_, *a, work(std::move(batch)));
}

Unary* KeyValueService::txn(Context* c, const Caller& by, const v1::TxnRequest* q,
                            v1::TxnResponse* a) {
  auto call = std::make_unique<TxnCall>(shared_, *c, by, *q, *a);
  grpc::Status status = call->check();
  if (!status.ok()) return finish(c, store_, status);
  Lsn rests_on;
  if (call->run_in_place(status, rests_on)) {
    return finish(c, shared_, *a, status, rests_on);
  }
  auto work = [](std::unique_ptr<TxnCall> call) -> awaitable<grpc::Status> {
    co_return co_await call->run();
  };
  return spawn(c, shared_, *a, work(std::move(call)));
}

// ---- scanning ----

namespace {

// Adds what was found to a page, unless it does not fit any more.
bool add_item(const objects::ListItem& found, std::string value, uint64_t& total,
              v1::ScanResponse* page) {
  total += found.key.size() + value.size() + 64;
  if (total > kAnswerBytesMax) return false;
  auto* item = page->add_items();
  item->set_key(found.key);
  item->set_version(found.version.value());
  item->set_size_bytes(found.size);
  item->set_expires_at_ms(found.expire_ms);
  item->set_type(type_of(found.type));
  item->set_value(std::move(value));
  return true;
}

}  // namespace

Unary* KeyValueService::scan(Context* c, const Caller& by, const v1::ScanRequest* q,
                             v1::ScanResponse* a) {
  grpc::Status status;
  const Access access = q->with_values() ? Access::kList | Access::kRead : Access::kList;
  NamespacePtr ns = find_namespace(store_, by, access, q->namespace_(), status);
  if (ns == nullptr) return finish(c, store_, status);
  if (q->page_size() > static_cast<uint32_t>(kKeysMax)) {
    return finish(c, store_, bad_argument("page_size is at most 1000"));
  }
  return spawn(c, shared_, *a, scan_from_disk(c, std::move(ns), q, a));
}

awaitable<grpc::Status> KeyValueService::scan_from_disk(Context* c, NamespacePtr ns,
                                                        const v1::ScanRequest* q,
                                                        v1::ScanResponse* a) {
  objects::ListQuery query;
  query.prefix = q->prefix();
  query.after = q->page_token();
  query.limit = q->page_size() == 0 ? 100 : q->page_size();
  query.collections = true;
  const uint64_t each = q->with_values() ? kInlineBytesMax : kItemBytes;
  grpc::Status room = co_await room_for_answer(
      shared_, *c, std::min<uint64_t>(query.limit * each, kAnswerBytesMax));
  if (!room.ok()) co_return room;
  auto listed = co_await objects::list(store_, ns, query);
  if (!listed.ok()) co_return error_of(listed.status());
  objects::ListPage page = std::move(*listed);
  Lsn newest = page.newest;
  uint64_t total = 0;
  std::string last = q->page_token();
  for (auto& found : page.items) {
    std::string value;
    if (q->with_values() && found.type == ValueType::kString && found.size <= kInlineBytesMax) {
      auto opened = co_await objects::open(store_, *ns, found.key, std::nullopt);
      if (absl::IsNotFound(opened.status()) || is_wrong_type(opened.status())) continue;  // since
      // Of what only its customer's key opens the value is not shown.
      const bool closed = absl::IsInvalidArgument(opened.status());
      if (!opened.ok() && !closed) co_return error_of(opened.status());
      if (opened.ok()) {
        found.version = opened->info.version;
        found.size = opened->info.size;
        found.expire_ms = opened->info.expire_ms;
        newest = std::max(newest, opened->info.seen);
        if (opened->reader == nullptr && found.size <= kInlineBytesMax) {
          value = std::move(opened->inline_bytes);
        }
      }
    }
    if (!add_item(found, std::move(value), total, a)) {
      page.truncated = true;  // the page ends early
      page.next = last;
      break;
    }
    last = found.key;
    if (q->durable()) newest = std::max(newest, found.version);
  }
  if (page.truncated) a->set_next_page_token(page.next);
  co_return co_await settled(store_, newest);
}

}  // namespace cairn::rpc

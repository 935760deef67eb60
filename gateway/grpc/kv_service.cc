#include "gateway/grpc/kv_service.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>

#include "core/errors.h"
#include "core/text.h"
#include "gateway/grpc/door.h"

namespace cairn::rpc {

namespace {

Wish wish_of(v1::Durability d) {
  return d == v1::DURABILITY_EVERYSEC ? Wish::kNone : Wish::kDurable;
}

// The value of an entry, unless it is larger than `limit`.
bool fill_inline(const Entry* e, v1::Value* value, uint64_t limit) {
  value->set_version(e->version().value());
  value->set_expires_at_ms(e->expire_ms());
  if (e->is_blob() || e->value_size > limit) return false;
  value->set_value(std::string(e->value()));
  return true;
}

void fill_opened(objects::Opened& o, v1::Value* value) {
  value->set_version(o.info.version.value());
  value->set_expires_at_ms(o.info.expire_ms);
  if (o.reader == nullptr) value->set_value(std::move(o.inline_bytes));
}

grpc::Status too_large(const v1::Key& key) {
  return error(grpc::OUT_OF_RANGE, "TOO_LARGE",
               "the value does not fit in a message; use Objects.Download", &key);
}

}  // namespace

KeyValueService::Unary* KeyValueService::Get(Context* c, const v1::GetRequest* q,
                                             v1::GetResponse* a) {
  grpc::Status status = authorize(*c, shared_.users);
  NamespacePtr ns = status.ok() ? find_namespace(store_, q->key(), status) : nullptr;
  if (ns == nullptr) return finish(c, store_, status);
  auto opened = objects::try_open(store_, *ns, q->key().key(), std::nullopt);
  if (!opened.ok()) {
    return finish(c, store_, error_of(opened.status(), &q->key()), rests_on(opened.status()));
  }
  if (opened->info.size > kValueBytesMax) return finish(c, store_, too_large(q->key()));
  if (opened->reader == nullptr && !opened->cold) {
    fill_opened(*opened, a->mutable_value());
    return finish(c, store_, {}, opened->info.seen);
  }
  auto work = [](Store& store, NamespacePtr ns, const v1::Key& key,
                 v1::GetResponse* a) -> awaitable<grpc::Status> {
    auto o = co_await objects::open(store, *ns, key.key(), std::nullopt);
    if (!o.ok()) co_return co_await refused(store, o.status(), key);
    if (o->info.size > kValueBytesMax) co_return too_large(key);
    fill_opened(*o, a->mutable_value());
    if (o->reader != nullptr) {
      auto bytes = co_await o->reader->read_all(kValueBytesMax);
      if (!bytes.ok()) co_return error_of(bytes.status(), &key);
      a->mutable_value()->set_value(std::move(*bytes));
    }
    co_return co_await settled(store, o->info.seen);
  };
  return spawn(c, store_, work(store_, std::move(ns), q->key(), a));
}

// Publishes a value whose bytes are in place; `r` has them, not yet key and expiry.
grpc::Status KeyValueService::publish(const v1::PutRequest& q, RecordView r, v1::PutResponse& a,
                                      Lsn& lsn) {
  grpc::Status status;
  NamespacePtr ns = find_namespace(store_, q.key(), status);
  if (ns == nullptr) return status;
  r.expire_ms = expiry_of(store_, q.ttl_ms(), q.expires_at_ms(), status);
  if (!status.ok()) return status;
  if (Status s = store_.check_write(true); !s.ok()) return error_of(s, &q.key());
  r.ns = ns->id;
  r.key = q.key().key();
  KeyHash hash = ns->hash(r.key);
  StripeLocks lock(store_, hash);
  Transaction t(store_, &lock, Shape::kOne, wish_of(q.durability()));
  Entry* e = t.find(*ns, r.key, hash);
  status = check(q.condition(), e, q.key());
  lsn = t.seen();
  if (!status.ok()) return status;
  if (q.keep_expiry() && e != nullptr) r.expire_ms = e->expire_ms();
  if (r.expire_ms != 0) r.flags |= kRecordHasExpiry;
  if (Status s = t.put(*ns, hash, r); !s.ok()) return error_of(s, &q.key());
  a.set_version(t.commit()->value());
  lsn = t.seen();
  return {};
}

awaitable<grpc::Status> KeyValueService::put_large(const v1::PutRequest* q, v1::PutResponse* a) {
  objects::Upload upload(store_, q->value().size());
  Status stored = co_await upload.append(as_bytes(q->value()));
  if (stored.ok()) stored = co_await upload.finish();
  if (!stored.ok()) co_return error_of(stored, &q->key());
  Lsn lsn;
  grpc::Status status =
      publish(*q, upload.record(store_.database(0), q->key().key(), "", 0), *a, lsn);
  if (status.ok()) upload.gave_away();
  grpc::Status durable = co_await settled(store_, lsn);
  co_return durable.ok() ? status : durable;
}

KeyValueService::Unary* KeyValueService::Put(Context* c, const v1::PutRequest* q,
                                             v1::PutResponse* a) {
  grpc::Status status = authorize(*c, shared_.users);
  if (!status.ok()) return finish(c, store_, status);
  if (q->value().size() > store_.options().extent_threshold) {
    return spawn(c, store_, put_large(q, a));
  }
  RecordView r;
  r.value = q->value();
  Lsn lsn;
  status = publish(*q, r, *a, lsn);
  return finish(c, store_, status, lsn);
}

KeyValueService::Unary* KeyValueService::Delete(Context* c, const v1::DeleteRequest* q,
                                                v1::DeleteResponse* a) {
  grpc::Status status = authorize(*c, shared_.users);
  NamespacePtr ns = status.ok() ? find_namespace(store_, q->key(), status) : nullptr;
  if (ns == nullptr) return finish(c, store_, status);
  if (Status s = store_.check_write(false); !s.ok()) {
    return finish(c, store_, error_of(s, &q->key()));
  }
  KeyHash hash = ns->hash(q->key().key());
  Lsn lsn, seen;
  {
    StripeLocks lock(store_, hash);
    Transaction t(store_, &lock, Shape::kOne, wish_of(q->durability()));
    Entry* e = t.find(*ns, q->key().key(), hash);
    status = check(q->condition(), e, q->key());
    if (status.ok() && e != nullptr) {
      (void)t.remove(*ns, hash, e);
      auto removed = t.commit();
      if (removed.ok()) {
        lsn = *removed;
      } else {
        status = error_of(removed.status(), &q->key());
      }
    }
    seen = t.seen();
  }
  a->set_deleted(lsn.valid());
  a->set_version(lsn.value());
  return finish(c, store_, status, seen);
}

awaitable<grpc::Status> KeyValueService::get_all(const v1::BatchGetRequest* q,
                                                 v1::BatchGetResponse* a) {
  grpc::Status status;
  Faults::Keys keys;
  std::vector<KeyHash> hashes;
  for (auto& key : q->keys()) {
    NamespacePtr ns = find_namespace(store_, key, status);
    if (ns == nullptr) co_return status;
    hashes.push_back(ns->hash(key.key()));
    keys.emplace_back(std::move(ns), key.key());
  }
  Lsn newest;
  uint64_t total = 0;
  {
    StripeLocks lock(store_);
    Status locked = co_await store_.faults().lock_with_values(lock, hashes, keys);
    if (!locked.ok()) co_return error_of(locked);
    Transaction t(store_, &lock, Shape::kOne);
    for (int i = 0; i < q->keys_size(); i++) {
      auto* entry = a->add_entries();
      *entry->mutable_key() = q->keys(i);
      auto at = static_cast<size_t>(i);
      Entry* e = t.find(*keys[at].first, q->keys(i).key(), hashes[at]);
      newest = t.seen();
      if (e == nullptr) continue;
      if (!e->is_string()) co_return error_of(wrong_type(), &q->keys(i));
      total += e->is_blob() ? 0 : e->value_size;
      if (!fill_inline(e, entry->mutable_value(), kInlineBytesMax) || total > kValueBytesMax) {
        co_return too_large(q->keys(i));
      }
    }
  }
  co_return co_await settled(store_, newest);
}

KeyValueService::Unary* KeyValueService::BatchGet(Context* c, const v1::BatchGetRequest* q,
                                                  v1::BatchGetResponse* a) {
  grpc::Status status = authorize(*c, shared_.users);
  if (status.ok() && q->keys_size() > 1000) {
    status = error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", "at most 1000 keys");
  }
  if (!status.ok()) return finish(c, store_, status);
  return spawn(c, store_, get_all(q, a));
}

namespace {
const v1::Key* key_of(const v1::TxnOp& op) {
  switch (op.op_case()) {
    case v1::TxnOp::kPut:
      return &op.put().key();
    case v1::TxnOp::kDelete:
      return &op.delete_().key();
    case v1::TxnOp::kGet:
      return &op.get().key();
    case v1::TxnOp::kCopy:
      return &op.copy().to();
    default:
      return nullptr;
  }
}
}  // namespace

namespace {

using Uploads = absl::flat_hash_map<const v1::TxnOp*, std::unique_ptr<objects::Upload>>;

// Each name of a namespace stands for the same one throughout, though a bucket may be dropped and
// made again meanwhile; they stay while they are locked.
using Spaces = absl::flat_hash_map<std::string, NamespacePtr>;

// The operations of one transaction, under the locks of its keys.
class TxnRun {
 public:
  TxnRun(Store& store, Transaction& t, const Spaces& spaces, Uploads& uploads,
         v1::TxnResponse& answer)
      : store_(store), t_(t), spaces_(spaces), uploads_(uploads), answer_(answer) {}

  grpc::Status run(const v1::TxnOp& op) {
    auto* result = answer_.add_results();
    const v1::Key& key = *key_of(op);
    Namespace& ns = space(key);
    if (ns.dropped) {
      return error(grpc::NOT_FOUND, "NO_SUCH_NAMESPACE", "no such namespace", &key);
    }
    Entry* e = entry_at(key);
    if (op.has_get()) return get(key, e, result);
    if (op.has_put()) return put(op, ns, e);
    if (op.has_copy()) return copy(op.copy(), ns, result);
    result->set_found(e != nullptr);
    if (e == nullptr) return {};
    return error_of(t_.remove(ns, ns.hash(key.key()), e), &key);
  }
  // After the commit: what was read says under which version it can be found.
  void name_versions() {
    for (auto& [value, entry] : read_) value->set_version(entry->version().value());
  }
  Entry* entry_at(const v1::Key& key) {
    Namespace& ns = space(key);
    return t_.find(ns, key.key(), ns.hash(key.key()));
  }

 private:
  Namespace& space(const v1::Key& key) const { return *spaces_.at(key.namespace_()); }

  grpc::Status get(const v1::Key& key, const Entry* e, v1::TxnResponse::Result* result) {
    if (e == nullptr) return {};
    if (!e->is_string()) return error_of(wrong_type(), &key);
    result->set_found(true);
    if (!fill_inline(e, result->mutable_value(), kInlineBytesMax)) return too_large(key);
    read_.emplace_back(result->mutable_value(), e);
    return {};
  }

  grpc::Status put(const v1::TxnOp& op, Namespace& ns, const Entry* e) {
    const std::string& key = op.put().key().key();
    grpc::Status status;
    int64_t expire = expiry_of(store_, op.put().ttl_ms(), op.put().expires_at_ms(), status);
    if (!status.ok()) return status;
    if (op.put().keep_expiry() && e != nullptr) expire = e->expire_ms();
    objects::Upload& upload = *uploads_.at(&op);
    Status done = t_.put(ns, ns.hash(key), upload.record(ns, key, "", expire));
    if (done.ok()) upload.gave_away();
    return error_of(done, &op.put().key());
  }

  grpc::Status copy(const v1::TxnOp::CopyOp& q, Namespace& ns, v1::TxnResponse::Result* result) {
    Entry* from = entry_at(q.from());
    result->set_found(from != nullptr);
    if (from == nullptr) return {};
    if (!from->is_string()) return error_of(wrong_type(), &q.from());
    RecordView r = from->record(ns.id);
    r.key = q.to().key();
    std::optional<BlobRef> blob;
    if (from->is_blob()) {
      blob = BlobRef::decode(from->value());
      store_.extents().ref(*blob);
    }
    Status done = t_.put(ns, ns.hash(r.key), r);
    if (!done.ok() && blob) store_.extents().unref(*blob);
    return error_of(done, &q.to());
  }

  Store& store_;
  Transaction& t_;
  const Spaces& spaces_;
  Uploads& uploads_;
  v1::TxnResponse& answer_;
  std::vector<std::pair<v1::Value*, const Entry*>> read_;
};

}  // namespace

awaitable<grpc::Status> KeyValueService::transact(const v1::TxnRequest* q, v1::TxnResponse* a) {
  constexpr size_t kKeysMax = 1000;
  grpc::Status status;
  // Which keys; which values go to extents before anything is locked.
  std::vector<KeyHash> hashes;
  Spaces spaces;
  Faults::Keys looked_at;  // the keys whose values are
  auto add_key = [&](const v1::Key& key, bool value) {
    NamespacePtr ns = find_namespace(store_, key, status);
    if (ns == nullptr) return;
    ns = spaces.try_emplace(key.namespace_(), ns).first->second;
    hashes.push_back(ns->hash(key.key()));
    if (value) looked_at.emplace_back(ns, key.key());
  };
  for (auto& compare : q->compare()) add_key(compare.key(), compare.has_value());
  std::vector<const v1::TxnOp*> puts;
  bool writes = false;
  for (auto* ops : {&q->then(), &q->otherwise()}) {
    for (auto& op : *ops) {
      const v1::Key* key = key_of(op);
      if (key == nullptr) {
        co_return error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", "an empty operation");
      }
      add_key(*key, op.has_get());
      if (op.has_copy()) add_key(op.copy().from(), true);
      writes |= !op.has_get();
      if (op.has_put()) puts.push_back(&op);
    }
  }
  if (!status.ok()) co_return status;
  if (hashes.size() > kKeysMax) {
    co_return error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", "at most 1000 keys");
  }
  if (writes) {
    if (Status s = store_.check_write(true); !s.ok()) co_return error_of(s);
  }
  Uploads uploads;
  for (const v1::TxnOp* op : puts) {
    auto upload = std::make_unique<objects::Upload>(store_, op->put().value().size());
    Status stored = co_await upload->append(as_bytes(op->put().value()));
    if (stored.ok()) stored = co_await upload->finish();
    if (!stored.ok()) co_return error_of(stored, key_of(*op));
    uploads.emplace(op, std::move(upload));
  }
  Lsn seen;
  {
    StripeLocks lock(store_);
    Status locked = co_await store_.faults().lock_with_values(lock, hashes, looked_at);
    if (!locked.ok()) co_return error_of(locked);
    Transaction t(store_, &lock, Shape::kSeveral, wish_of(q->durability()));
    TxnRun run(store_, t, spaces, uploads, *a);
    bool holds = true;
    for (auto& compare : q->compare()) {
      Entry* e = run.entry_at(compare.key());
      holds &= check(compare.condition(), e, compare.key()).ok();
      if (compare.has_value()) {
        holds &= e != nullptr && e->is_string() && !e->is_blob() && e->value() == compare.value();
      }
    }
    a->set_succeeded(holds);
    for (auto& op : holds ? q->then() : q->otherwise()) {
      if (status.ok()) status = run.run(op);
    }
    // The size of the answer is known before the commit; versions are as long as they will be.
    const size_t versions = 16 * static_cast<size_t>(a->results_size() + 1);
    if (status.ok() && a->ByteSizeLong() + versions > kMessageBytesMax) {
      status = error(grpc::OUT_OF_RANGE, "TOO_LARGE", "the answer does not fit in a message");
    }
    if (status.ok()) {  // else nothing was done
      auto lsn = t.commit();
      status = error_of(lsn.status());
      if (lsn.ok()) a->set_version(lsn->value());
      run.name_versions();
    }
    seen = t.seen();
  }
  grpc::Status durable = co_await settled(store_, seen);
  co_return durable.ok() ? status : durable;
}

KeyValueService::Unary* KeyValueService::Txn(Context* c, const v1::TxnRequest* q,
                                             v1::TxnResponse* a) {
  grpc::Status status = authorize(*c, shared_.users);
  if (!status.ok()) return finish(c, store_, status);
  return spawn(c, store_, transact(q, a));
}

KeyValueService::Unary* KeyValueService::Scan(Context* c, const v1::ScanRequest* q,
                                              v1::ScanResponse* a) {
  grpc::Status status = authorize(*c, shared_.users);
  if (!status.ok()) return finish(c, store_, status);
  NamespacePtr ns = store_.find_namespace(q->namespace_().empty() ? "db0" : q->namespace_());
  if (ns == nullptr) {
    return finish(c, store_, error(grpc::NOT_FOUND, "NO_SUCH_NAMESPACE", "no such namespace"));
  }
  if (q->page_size() > 1000) {
    return finish(c, store_,
                  error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", "page_size is at most 1000"));
  }
  return spawn(c, store_, scan(std::move(ns), q, a));
}

awaitable<grpc::Status> KeyValueService::scan(NamespacePtr ns, const v1::ScanRequest* q,
                                              v1::ScanResponse* a) {
  objects::ListQuery query;
  query.prefix = q->prefix();
  query.after = q->page_token();
  query.limit = q->page_size() == 0 ? 100 : q->page_size();
  auto listed = co_await objects::list(store_, ns, query);
  if (!listed.ok()) co_return error_of(listed.status());
  objects::ListPage page = std::move(*listed);
  Lsn newest = page.newest;
  uint64_t total = 0;
  for (auto& found : page.items) {
    std::string value;
    if (q->with_values() && found.size <= kInlineBytesMax) {
      auto opened = co_await objects::open(store_, *ns, found.key, std::nullopt);
      if (absl::IsNotFound(opened.status())) continue;  // gone since
      if (!opened.ok()) co_return error_of(opened.status());
      found.version = opened->info.version;
      found.size = opened->info.size;
      newest = std::max(newest, opened->info.seen);
      if (opened->reader == nullptr) value = std::move(opened->inline_bytes);
    }
    if (total + value.size() >
        kValueBytesMax) {  // the page ends early; the token goes on from here
      page.truncated = true;
      page.next = a->items(a->items_size() - 1).key();
      break;
    }
    total += value.size();
    auto* item = a->add_items();
    item->set_key(found.key);
    item->set_version(found.version.value());
    item->set_size_bytes(found.size);
    item->set_expires_at_ms(found.expire_ms);
    item->set_value(std::move(value));
  }
  if (page.truncated) a->set_next_page_token(page.next);
  co_return co_await settled(store_, newest);
}

}  // namespace cairn::rpc

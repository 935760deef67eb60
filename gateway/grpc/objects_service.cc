#include "gateway/grpc/objects_service.h"

#include <algorithm>

#include "core/base/errors.h"
#include "gateway/auth/quotas.h"
#include "gateway/grpc/batch.h"
#include "gateway/grpc/upload.h"
#include "objects/multipart.h"

namespace cairn::rpc {

ObjectsService::ObjectsService(const Shared& shared) : Service(shared) {
  client_stream<v1::UploadRequest, v1::UploadResponse>(
      "/cairn.v1.Objects/Upload", Access::kWrite,
      [this](Context* c, const Caller& by, v1::UploadResponse* a) {
        return start_upload(shared_, by, c, a);
      });
  server_stream<v1::DownloadRequest, v1::DownloadResponse>(
      "/cairn.v1.Objects/Download", Access::kRead,
      [this](Context* c, const Caller& by, const v1::DownloadRequest* q) {
        return start_download(shared_, by, c, q);
      });
  server_stream<v1::GetBatchRequest, v1::GetBatchResponse>(
      "/cairn.v1.Objects/GetBatch", Access::kRead,
      [this](Context* c, const Caller& by, const v1::GetBatchRequest* q) {
        return start_batch(shared_, by, c, q);
      });
  unary("/cairn.v1.Objects/Stat", Access::kRead, &ObjectsService::stat);
  unary("/cairn.v1.Objects/List", Access::kList, &ObjectsService::list);
  unary("/cairn.v1.Objects/Find", Access::kList | Access::kRead, &ObjectsService::find);
  unary("/cairn.v1.Objects/Copy", Access::kRead | Access::kWrite, &ObjectsService::copy);
  unary("/cairn.v1.Objects/Delete", Access::kDelete, &ObjectsService::remove);
  unary("/cairn.v1.Objects/CreateBucket", Access::kInsert, &ObjectsService::create_bucket,
        "CreateBucket");
  unary("/cairn.v1.Objects/DeleteBucket", Access::kDelete, &ObjectsService::delete_bucket,
        "DeleteBucket");
  unary("/cairn.v1.Objects/ListBuckets", Access::kList, &ObjectsService::list_buckets);
}

// ---- objects ----

Unary* ObjectsService::stat(Context* c, const Caller& by, const v1::StatRequest* q,
                            v1::StatResponse* a) {
  grpc::Status status;
  NamespacePtr ns = find_namespace(store_, by, Access::kRead, q->key(), status);
  if (ns == nullptr) return finish(c, store_, status);
  if (is_busy(store_, q->key())) return spawn(c, store_, stat_when_idle(std::move(ns), q, a));
  auto info = objects::stat(store_, *ns, q->key().key());
  if (!info.ok()) {
    return finish(c, store_, error_of(info.status(), &q->key()), rests_on(info.status()));
  }
  fill(*info, q->key(), a->mutable_info());
  return finish(c, store_, {}, q->durable() ? info->version : info->seen);
}

awaitable<grpc::Status> ObjectsService::stat_when_idle(NamespacePtr ns, const v1::StatRequest* q,
                                                       v1::StatResponse* a) {
  grpc::Status status = co_await until_idle(store_, q->key());
  if (!status.ok()) co_return status;
  auto info = objects::stat(store_, *ns, q->key().key());
  if (!info.ok()) co_return co_await refused(store_, info.status(), q->key());
  fill(*info, q->key(), a->mutable_info());
  co_return co_await settled(store_, q->durable() ? info->version : info->seen);
}

Unary* ObjectsService::list(Context* c, const Caller& by, const v1::ListRequest* q,
                            v1::ListResponse* a) {
  grpc::Status status;
  NamespacePtr ns = find_namespace(store_, by, Access::kList, q->namespace_(), status);
  if (ns == nullptr) return finish(c, store_, status);
  if (q->page_size() > static_cast<uint32_t>(kKeysMax)) {
    return finish(c, store_, bad_argument("page_size is at most 1000"));
  }
  return spawn(c, shared_, *a, list_page(c, std::move(ns), q, a));
}

awaitable<grpc::Status> ObjectsService::list_page(Context* c, NamespacePtr ns,
                                                  const v1::ListRequest* q, v1::ListResponse* a) {
  objects::ListQuery query{q->prefix(), q->delimiter(), q->page_token(),
                           q->page_size() == 0 ? kKeysMax : q->page_size()};
  grpc::Status room = co_await room_for_answer(
      shared_, *c, std::min<uint64_t>(query.limit * kItemBytes, kAnswerBytesMax));
  if (!room.ok()) co_return room;
  auto listed = co_await objects::list(store_, ns, query);
  if (!listed.ok()) co_return error_of(listed.status());
  objects::ListPage page = std::move(*listed);
  uint64_t total = 0;
  std::string last;
  for (auto& item : page.items) {
    total += item.key.size() + item.etag.size() + ns->name.size() + 96;
    if (total > kAnswerBytesMax) {  // the page ends early
      page.truncated = true;
      page.next = last;
      break;
    }
    last = item.key;
    if (q->durable()) page.newest = std::max(page.newest, item.version);
    if (item.is_prefix) {
      a->add_common_prefixes(item.key);
      continue;
    }
    auto* o = a->add_objects();
    o->mutable_key()->set_namespace_(ns->name);
    o->mutable_key()->set_key(item.key);
    o->set_size_bytes(item.size);
    o->set_version(item.version.value());
    o->set_etag(item.etag);
    o->set_modified_at_ms(item.modified_ms);
    o->set_expires_at_ms(item.expire_ms);
  }
  if (page.truncated) a->set_next_page_token(page.next);
  co_return co_await settled(store_, page.newest);
}

Unary* ObjectsService::find(Context* c, const Caller& by, const v1::FindRequest* q,
                            v1::FindResponse* a) {
  grpc::Status status;
  NamespacePtr ns = find_namespace(store_, by, Access::kList, q->namespace_(), status);
  if (ns == nullptr) return finish(c, store_, status);
  if (q->page_size() > static_cast<uint32_t>(kKeysMax)) {
    return finish(c, store_, bad_argument("page_size is at most 1000"));
  }
  auto expression = objects::FindExpression::parse(q->expression());
  if (!expression.ok()) {
    return finish(c, store_, bad_argument(std::string(expression.status().message())));
  }
  return spawn(c, shared_, *a, find_page(c, by, std::move(ns), *std::move(expression), q, a));
}

// What is asked of an object is told to who may read it.
awaitable<grpc::Status> ObjectsService::find_page(Context* c, Caller by, NamespacePtr ns,
                                                  objects::FindExpression expression,
                                                  const v1::FindRequest* q, v1::FindResponse* a) {
  const objects::FindQuery query{q->prefix(), q->page_token(),
                                 q->page_size() == 0 ? kKeysMax : q->page_size()};
  grpc::Status room = co_await room_for_answer(shared_, *c, kAnswerBytesMax);
  if (!room.ok()) co_return room;
  auto found = co_await objects::find(store_, ns, expression, query);
  if (!found.ok()) co_return error_of(found.status());
  uint64_t total = 0;
  std::string last;
  for (const objects::Found& one : found->items) {
    if (!by.may(Access::kRead, ns->name, one.key)) continue;
    v1::Key key;
    key.set_namespace_(ns->name);
    key.set_key(one.key);
    fill(one.info, key, a->add_objects());
    total += a->objects().rbegin()->ByteSizeLong() + 8;
    if (total > kAnswerBytesMax) {  // the page ends early
      a->mutable_objects()->RemoveLast();
      found->truncated = true;
      found->next = last;
      break;
    }
    last = one.key;
  }
  if (found->truncated) a->set_next_page_token(found->next);
  co_return co_await settled(store_, found->newest);
}

Unary* ObjectsService::copy(Context* c, const Caller& by, const v1::CopyRequest* q,
                            v1::CopyResponse* a) {
  return spawn(c, store_, copy_bytes(c, by, q, a));
}

awaitable<grpc::Status> ObjectsService::copy_bytes(Context* c, Caller by, const v1::CopyRequest* q,
                                                   v1::CopyResponse* a) {
  grpc::Status status;
  NamespacePtr from = find_namespace(store_, by, Access::kRead, q->from(), status);
  NamespacePtr to =
      from == nullptr ? nullptr : find_namespace(store_, by, Access::kWrite, q->to(), status);
  if (to == nullptr) co_return status;
  objects::Conditions as_stored;
  as_stored.as_stored = true;
  const std::optional<objects::Range> whole;
  auto opened = co_await objects::open(store_, *from, q->from().key(), whole, as_stored, nullptr);
  if (!opened.ok()) co_return co_await refused(store_, opened.status(), q->from());
  if (Status s = store_.check_write(true); !s.ok()) co_return error_of(s, &q->to());
  objects::Upload upload(store_, 0);
  Status copied =
      objects::begin_copy(store_, *opened, "", objects::default_encryption(*to), upload);
  const bool shared = opened->stored.has_value();
  if (copied.ok()) copied = co_await upload.append_object(*opened);
  if (copied.ok()) copied = co_await upload.finish();
  if (!copied.ok()) co_return error_of(copied, &q->to());
  if (c->IsCancelled()) co_return cancelled(&q->to());
  ObjectMeta meta = opened->info.meta;
  if (!meta.empty()) meta.modified_ms = store_.now_ms();
  if (!shared && upload.encrypted() && !objects::has_md5_etag(upload.encrypted()->mode)) {
    meta.etag = objects::random_etag();
  }
  status = co_await until_idle(store_, q->to());
  if (!status.ok()) co_return status;
  auto put = objects::put(store_, *to, q->to().key(), upload, meta,
                          q->drop_expiry() ? 0 : opened->info.expire_ms,
                          conditions_of(q->condition()), Cause::kObjectCopy);
  if (!put.ok()) co_return co_await write_refused(store_, put.status(), q->to());
  a->set_version(put->version.value());
  co_return co_await settled(store_, paced(store_, put->seen, put->version));
}

Unary* ObjectsService::remove(Context* c, const Caller& by, const v1::DeleteObjectRequest* q,
                              v1::DeleteObjectResponse* a) {
  grpc::Status status;
  NamespacePtr ns = find_namespace(store_, by, Access::kDelete, q->key(), status);
  if (ns == nullptr) return finish(c, store_, status);
  if (is_busy(store_, q->key())) return spawn(c, store_, remove_when_idle(std::move(ns), q, a));
  auto lsn = objects::remove(store_, *ns, q->key().key(), conditions_of(q->condition()));
  if (!lsn.ok()) {
    return finish(c, store_, write_error_of(lsn.status(), &q->key()), rests_on(lsn.status()));
  }
  a->set_deleted(lsn->version.valid());
  a->set_version(lsn->version.value());
  return finish(c, store_, {}, lsn->seen);
}

awaitable<grpc::Status> ObjectsService::remove_when_idle(NamespacePtr ns,
                                                         const v1::DeleteObjectRequest* q,
                                                         v1::DeleteObjectResponse* a) {
  grpc::Status status = co_await until_idle(store_, q->key());
  if (!status.ok()) co_return status;
  auto lsn = objects::remove(store_, *ns, q->key().key(), conditions_of(q->condition()));
  if (!lsn.ok()) co_return co_await write_refused(store_, lsn.status(), q->key());
  a->set_deleted(lsn->version.valid());
  a->set_version(lsn->version.value());
  co_return co_await settled(store_, lsn->seen);
}

// ---- buckets ----

Unary* ObjectsService::create_bucket(Context* c, const Caller& by, const v1::CreateBucketRequest* q,
                                     v1::CreateBucketResponse*) {
  if (!objects::valid_bucket_name(q->name())) {
    return finish(c, store_,
                  bad_argument("a bucket's name has 3 to 63 of a-z, 0-9, '-' and '.', a letter "
                               "or digit at both ends, and is neither an IP address nor a "
                               "database's, as db7"));
  }
  grpc::Status status = by.permit(Access::kInsert, q->name());
  if (!status.ok()) return finish(c, store_, status);
  Properties set;
  set.charged_to = charged_for(shared_.users, *by.who);
  auto lsn = store_.create_bucket(q->name(), std::move(set));
  if (!lsn.ok()) return finish(c, store_, error_of(lsn.status()), rests_on(lsn.status()));
  return finish(c, store_, {}, *lsn);
}

Unary* ObjectsService::delete_bucket(Context* c, const Caller& by, const v1::DeleteBucketRequest* q,
                                     v1::DeleteBucketResponse*) {
  grpc::Status status = by.permit(Access::kDelete, q->name());
  if (!status.ok()) return finish(c, store_, status);
  auto lsn = objects::drop_bucket(store_, q->name());
  if (!lsn.ok()) return finish(c, store_, write_error_of(lsn.status()), rests_on(lsn.status()));
  return finish(c, store_, {}, *lsn);
}

Unary* ObjectsService::list_buckets(Context* c, const Caller& by, const v1::ListBucketsRequest* q,
                                    v1::ListBucketsResponse* a) {
  uint64_t total = 0;
  for (auto& b : store_.buckets()) {
    if (b->name <= q->page_token() || !by.may(Access::kList, b->name)) continue;
    total += b->name.size() + 32;
    const bool full =
        q->page_size() != 0 && static_cast<uint32_t>(a->buckets_size()) == q->page_size();
    if (full || total > kAnswerBytesMax) {
      a->set_next_page_token(a->buckets().rbegin()->name());
      break;
    }
    auto* out = a->add_buckets();
    out->set_name(b->name);
    out->set_created_at_ms(b->properties()->created_ms);
    out->set_keys(b->size());
  }
  return finish(c, shared_, *a, {}, store_.newest_name());
}

}  // namespace cairn::rpc

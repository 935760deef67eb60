#include "gateway/grpc/objects_service.h"

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>

#include "core/async.h"
#include "core/errors.h"
#include "core/text.h"
#include "gateway/grpc/door.h"
#include "objects/multipart.h"

namespace cairn::rpc {

namespace {

void fill(const objects::Info& info, const v1::Key& key, v1::ObjectInfo* out) {
  *out->mutable_key() = key;
  out->set_size_bytes(info.size);
  out->set_version(info.version.value());
  out->set_etag(info.etag);
  out->set_modified_at_ms(info.modified_ms);
  out->set_expires_at_ms(info.expire_ms);
  auto* m = out->mutable_metadata();
  m->set_content_type(info.meta.content_type);
  for (auto& [k, v] : info.meta.user) (*m->mutable_user())[k] = v;
  for (auto& [k, v] : info.meta.headers) (*m->mutable_headers())[k] = v;
  for (auto& [k, v] : info.meta.checksums) (*out->mutable_checksums())[k] = v;
}

objects::Conditions conditions_of(const v1::Condition& c) {
  objects::Conditions out;
  if (c.has_version()) out.if_version = Lsn(c.version());
  if (c.has_exists()) {
    if (c.exists()) {
      out.if_match = "*";
    } else {
      out.if_none_match = "*";
    }
  }
  return out;
}

// Turns the reactor's callbacks into something a coroutine can await: one operation at a time.
class Turn {
 public:
  template <class Start>
  awaitable<bool> run(Start start) {
    co_return co_await suspend<bool>([&](Resume<bool> resume) {
      done_ = std::move(resume);
      start();
    });
  }
  void finish(bool ok) {
    auto done = std::move(done_);
    done(ok);
  }

 private:
  Resume<bool> done_;
};

class UploadCall final : public grpc::ServerReadReactor<v1::UploadRequest> {
 public:
  UploadCall(Shared shared, grpc::CallbackServerContext* context, v1::UploadResponse* answer)
      : shared_(shared), store_(shared.store), context_(context), answer_(answer) {
    spawn_to_end(store_, run(), [this](const grpc::Status& status) { Finish(status); });
  }
  void OnReadDone(bool ok) override { turn_.finish(ok); }
  void OnDone() override { delete this; }

 private:
  awaitable<bool> read() {
    co_return co_await turn_.run([this] { StartRead(&message_); });
  }

  awaitable<grpc::Status> run() {
    grpc::Status status = authorize(*context_, shared_.users);
    if (!status.ok()) co_return status;
    bool got = co_await read();
    if (!got || !message_.has_header()) {
      co_return error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", "the first message holds the header");
    }
    const v1::UploadHeader header = message_.header();
    const v1::Key& key = header.key();
    NamespacePtr ns = find_namespace(store_, key, status);
    if (ns == nullptr) co_return status;
    const int64_t expire = expiry_of(store_, header.ttl_ms(), 0, status);
    if (!status.ok()) co_return status;
    if (Status s = store_.check_write(true); !s.ok()) co_return error_of(s, &key);
    if (header.size_bytes() > kBlobBytesMax) co_return error_of(value_too_long(), &key);
    objects::Upload upload(store_, header.size_bytes());
    upload.add_digest(objects::Algorithm::kMd5);
    std::vector<objects::Algorithm> declared;
    for (auto& [name, value] : header.checksums()) {
      auto algorithm =
          name == "md5" ? std::optional(objects::Algorithm::kMd5) : objects::algorithm_named(name);
      if (!algorithm) {
        co_return error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", cat("unknown checksum ", name),
                        &key);
      }
      declared.push_back(*algorithm);
      upload.add_digest(*algorithm);
    }
    for (;;) {
      got = co_await read();
      if (!got) break;
      if (!message_.has_data()) {
        co_return error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", "one header only", &key);
      }
      if (header.size_bytes() != 0 &&
          !is_within(upload.size(), message_.data().size(), header.size_bytes())) {
        co_return error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT",
                        "more bytes came than were declared", &key);
      }
      Status added = co_await upload.append(as_bytes(message_.data()));
      if (!added.ok()) co_return error_of(added, &key);
    }
    if (context_->IsCancelled()) co_return error(grpc::CANCELLED, "CANCELLED", "cancelled", &key);
    if (header.size_bytes() != 0 && upload.size() != header.size_bytes()) {
      co_return error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", "the size is not what was declared",
                      &key);
    }
    ObjectMeta meta;
    for (auto algorithm : declared) {
      std::string name(objects::name_of(algorithm));
      std::string computed = objects::base64(upload.digest(algorithm));
      if (computed != header.checksums().at(name)) {
        co_return error(grpc::DATA_LOSS, "CHECKSUM_MISMATCH", cat("the ", name, " does not match"),
                        &key);
      }
      if (name != "md5") meta.checksums[name] = computed;
    }
    Status finished = co_await upload.finish();
    if (!finished.ok()) co_return error_of(finished, &key);
    meta.content_type = header.metadata().content_type();
    for (auto& [k, v] : header.metadata().user()) meta.user[lower(k)] = v;
    for (auto& [k, v] : header.metadata().headers()) meta.headers[lower(k)] = v;
    meta.etag = objects::hex(upload.digest(objects::Algorithm::kMd5));
    meta.modified_ms = store_.now_ms();
    auto put = objects::put(store_, *ns, key.key(), upload, meta, expire,
                            conditions_of(header.condition()));
    if (!put.ok()) co_return co_await refused(store_, put.status(), key);
    objects::Info info;
    info.size = upload.size();
    info.version = put->version;
    info.modified_ms = meta.modified_ms;
    info.expire_ms = expire;
    info.etag = put->etag;
    info.meta = std::move(meta);
    fill(info, key, answer_->mutable_info());
    co_return co_await settled(store_, put->version);
  }

  Shared shared_;
  Store& store_;
  grpc::CallbackServerContext* const context_;
  v1::UploadResponse* const answer_;
  v1::UploadRequest message_;
  Turn turn_;
};

class DownloadCall final : public grpc::ServerWriteReactor<v1::DownloadResponse> {
 public:
  DownloadCall(Shared shared, grpc::CallbackServerContext* context, const v1::DownloadRequest* q)
      : shared_(shared), store_(shared.store), context_(context), request_(*q) {
    spawn_to_end(store_, run(), [this](const grpc::Status& status) { Finish(status); });
  }
  void OnWriteDone(bool ok) override { turn_.finish(ok); }
  void OnDone() override { delete this; }

 private:
  awaitable<bool> write() {
    co_return co_await turn_.run([this] { StartWrite(&message_); });
  }

  awaitable<grpc::Status> run() {
    grpc::Status status = authorize(*context_, shared_.users);
    if (!status.ok()) co_return status;
    const v1::Key& key = request_.key();
    NamespacePtr ns = find_namespace(store_, key, status);
    if (ns == nullptr) co_return status;
    std::optional<objects::Range> range;
    if (request_.offset() != 0 || request_.length() != 0) {
      range = objects::Range{request_.offset(), std::nullopt};
      if (request_.length() != 0) {
        range->last = capped_add(request_.offset(), request_.length() - 1);
      }
    }
    auto opened = co_await objects::open(store_, *ns, key.key(), range);
    if (!opened.ok()) co_return co_await refused(store_, opened.status(), key);
    status = co_await settled(store_, opened->info.seen);
    if (!status.ok()) co_return status;
    fill(opened->info, key, message_.mutable_info());
    bool sent = co_await write();
    if (!sent) co_return grpc::Status::CANCELLED;
    if (opened->reader == nullptr) {
      if (opened->inline_bytes.empty()) co_return grpc::Status();
      message_.set_data(std::move(opened->inline_bytes));
      sent = co_await write();
      co_return sent ? grpc::Status() : grpc::Status::CANCELLED;
    }
    while (opened->reader->left() > 0) {
      auto bytes = co_await opened->reader->next();
      if (!bytes.ok()) co_return error_of(bytes.status(), &key);
      message_.set_data(bytes->data(), bytes->size());
      sent = co_await write();
      if (!sent || context_->IsCancelled()) co_return grpc::Status::CANCELLED;
    }
    co_return grpc::Status();
  }

  Shared shared_;
  Store& store_;
  grpc::CallbackServerContext* const context_;
  const v1::DownloadRequest request_;
  v1::DownloadResponse message_;
  Turn turn_;
};

}  // namespace

grpc::ServerReadReactor<v1::UploadRequest>* ObjectsService::Upload(Context* c,
                                                                   v1::UploadResponse* a) {
  return new UploadCall(shared_, c, a);
}

grpc::ServerWriteReactor<v1::DownloadResponse>* ObjectsService::Download(
    Context* c, const v1::DownloadRequest* q) {
  return new DownloadCall(shared_, c, q);
}

ObjectsService::Unary* ObjectsService::Stat(Context* c, const v1::StatRequest* q,
                                            v1::StatResponse* a) {
  grpc::Status status = authorize(*c, shared_.users);
  NamespacePtr ns = status.ok() ? find_namespace(store_, q->key(), status) : nullptr;
  if (ns == nullptr) return finish(c, store_, status);
  auto info = objects::stat(store_, *ns, q->key().key());
  if (!info.ok()) {
    return finish(c, store_, error_of(info.status(), &q->key()), rests_on(info.status()));
  }
  fill(*info, q->key(), a->mutable_info());
  return finish(c, store_, {}, info->seen);
}

ObjectsService::Unary* ObjectsService::List(Context* c, const v1::ListRequest* q,
                                            v1::ListResponse* a) {
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
  return spawn(c, store_, list(std::move(ns), q, a));
}

awaitable<grpc::Status> ObjectsService::list(NamespacePtr ns, const v1::ListRequest* q,
                                             v1::ListResponse* a) {
  objects::ListQuery query{q->prefix(), q->delimiter(), q->page_token(),
                           q->page_size() == 0 ? 1000 : q->page_size()};
  auto listed = co_await objects::list(store_, ns, query);
  if (!listed.ok()) co_return error_of(listed.status());
  const objects::ListPage& page = *listed;
  for (auto& item : page.items) {
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

ObjectsService::Unary* ObjectsService::Copy(Context* c, const v1::CopyRequest* q,
                                            v1::CopyResponse* a) {
  grpc::Status status = authorize(*c, shared_.users);
  if (!status.ok()) return finish(c, store_, status);
  auto work = [](Store& store, const v1::CopyRequest* q,
                 v1::CopyResponse* a) -> awaitable<grpc::Status> {
    grpc::Status status;
    NamespacePtr from = find_namespace(store, q->from(), status);
    NamespacePtr to = from == nullptr ? nullptr : find_namespace(store, q->to(), status);
    if (to == nullptr) co_return status;
    auto opened = co_await objects::open(store, *from, q->from().key(), std::nullopt);
    if (!opened.ok()) co_return co_await refused(store, opened.status(), q->from());
    objects::Upload upload(store, 0);
    Status copied = co_await upload.append_object(*opened);
    if (copied.ok()) copied = co_await upload.finish();
    if (!copied.ok()) co_return error_of(copied, &q->to());
    ObjectMeta meta = opened->info.meta;
    if (!meta.empty()) meta.modified_ms = store.now_ms();
    auto put =
        objects::put(store, *to, q->to().key(), upload, meta, 0, conditions_of(q->condition()));
    if (!put.ok()) co_return co_await refused(store, put.status(), q->to());
    a->set_version(put->version.value());
    co_return co_await settled(store, put->version);
  };
  return spawn(c, store_, work(store_, q, a));
}

ObjectsService::Unary* ObjectsService::Delete(Context* c, const v1::DeleteObjectRequest* q,
                                              v1::DeleteObjectResponse* a) {
  grpc::Status status = authorize(*c, shared_.users);
  NamespacePtr ns = status.ok() ? find_namespace(store_, q->key(), status) : nullptr;
  if (ns == nullptr) return finish(c, store_, status);
  auto lsn = objects::remove(store_, *ns, q->key().key(), conditions_of(q->condition()));
  if (!lsn.ok()) {
    return finish(c, store_, error_of(lsn.status(), &q->key()), rests_on(lsn.status()));
  }
  a->set_deleted(lsn->version.valid());
  a->set_version(lsn->version.value());
  return finish(c, store_, {}, lsn->seen);
}

ObjectsService::Unary* ObjectsService::CreateBucket(Context* c, const v1::CreateBucketRequest* q,
                                                    v1::CreateBucketResponse*) {
  grpc::Status status = authorize(*c, shared_.users);
  if (!status.ok()) return finish(c, store_, status);
  if (!objects::valid_bucket_name(q->name()) || store_.find_namespace(q->name()) != nullptr) {
    bool exists = store_.find_namespace(q->name()) != nullptr;
    return finish(c, store_,
                  exists
                      ? error(grpc::ALREADY_EXISTS, "CONDITION_FAILED", "the bucket exists")
                      : error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", "not a valid bucket name"));
  }
  auto lsn = store_.create_bucket(q->name());
  if (!lsn.ok()) return finish(c, store_, error_of(lsn.status()), rests_on(lsn.status()));
  return finish(c, store_, {}, *lsn);
}

ObjectsService::Unary* ObjectsService::DeleteBucket(Context* c, const v1::DeleteBucketRequest* q,
                                                    v1::DeleteBucketResponse*) {
  grpc::Status status = authorize(*c, shared_.users);
  if (!status.ok()) return finish(c, store_, status);
  auto lsn = objects::drop_bucket(store_, q->name());
  if (!lsn.ok()) return finish(c, store_, error_of(lsn.status()), rests_on(lsn.status()));
  return finish(c, store_, {}, *lsn);
}

ObjectsService::Unary* ObjectsService::ListBuckets(Context* c, const v1::ListBucketsRequest*,
                                                   v1::ListBucketsResponse* a) {
  grpc::Status status = authorize(*c, shared_.users);
  if (!status.ok()) return finish(c, store_, status);
  for (auto& b : store_.buckets()) {
    auto* out = a->add_buckets();
    out->set_name(b->name);
    out->set_created_at_ms(b->created_ms);
    out->set_keys(b->size());
  }
  return finish(c, store_, {}, store_.newest_name());
}

}  // namespace cairn::rpc

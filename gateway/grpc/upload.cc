#include "gateway/grpc/upload.h"

#include "core/base/errors.h"
#include "core/base/text.h"
#include "gateway/grpc/object_writer.h"
#include "gateway/grpc/stream.h"
#include "objects/metadata.h"

namespace cairn::rpc {

namespace {

grpc::Status stalled(const v1::Key& key) {
  return error(grpc::DEADLINE_EXCEEDED, "STALLED", "the client did nothing for too long", &key);
}

using objects::Algorithm;

class UploadCall final : public grpc::ServerReadReactor<Parsed<v1::UploadRequest>> {
 public:
  UploadCall(const Shared& shared, Caller by, Context* context, v1::UploadResponse* answer)
      : store_(shared.store),
        by_(std::move(by)),
        context_(context),
        answer_(answer),
        turn_(shared.store.clock(), shared.patience_ms) {
    spawn_to_end(store_, run(), [this](const grpc::Status& status) { Finish(status); });
  }
  void OnReadDone(bool ok) override { turn_.finish(ok); }
  void OnDone() override { delete this; }

 private:
  awaitable<grpc::Status> run() {
    const Turn::End first = co_await read();
    if (first != Turn::End::kDone || !message_.whole || !message_.message.has_header()) {
      co_return first == Turn::End::kStalled ? stalled({})
                                             : bad_argument("the first message holds the header");
    }
    header_ = std::move(*message_.message.mutable_header());
    grpc::Status status;
    const NamespacePtr ns = find_namespace(store_, by_, Access::kWrite, key(), status);
    if (ns == nullptr) co_return status;
    status = check_expiry(store_, {header_.ttl_ms()});
    if (status.ok()) status = read_metadata();
    if (status.ok()) status = read_checksums();
    if (!status.ok()) co_return status;
    if (header_.size_bytes() > kBlobBytesMax) co_return error_of(value_too_long(), &key());
    if (Status s = store_.check_write(true); !s.ok()) co_return error_of(s, &key());
    const Status fits = objects::check_growth(store_, *ns, key().key(), header_.size_bytes());
    if (!fits.ok()) co_return error_of(fits, &key());
    objects::Upload upload(store_, header_.size_bytes());
    if (Status s = objects::encrypt_by_default(store_, *ns, upload); !s.ok()) {
      co_return error_of(s, &key());
    }
    upload.add_digest(declares_md5_ ? Algorithm::kMd5 : Algorithm::kCrc64nvme);
    for (auto& [algorithm, value] : declared_) upload.add_digest(algorithm);
    status = co_await receive(upload);
    if (!status.ok()) co_return status;
    co_return co_await publish(*ns, upload);
  }

  awaitable<Turn::End> read() {
    co_return co_await turn_.run([this] { StartRead(&message_); });
  }

  grpc::Status read_metadata() {
    auto& metadata = header_.metadata();
    meta_.content_type = metadata.content_type();
    for (auto& [k, v] : metadata.headers()) meta_.headers.emplace(lower(k), v);
    for (auto& [k, v] : metadata.user()) meta_.user.emplace(lower(k), v);
    if (meta_.headers.size() != metadata.headers().size() ||
        meta_.user.size() != metadata.user().size()) {
      return bad_argument("two names of the metadata differ in case alone", &key());
    }
    return error_of(objects::check_metadata(meta_), &key());
  }

  grpc::Status read_checksums() {
    for (auto& [name, value] : header_.checksums()) {
      auto algorithm = objects::algorithm_named(name);
      if (!algorithm) return bad_argument(cat("unknown checksum ", name), &key());
      declares_md5_ |= algorithm == Algorithm::kMd5;
      declared_.emplace_back(*algorithm, value);
    }
    return {};
  }

  // All bytes of the stream, as many as were announced and as their checksums say.
  awaitable<grpc::Status> receive(objects::Upload& upload) {
    const uint64_t announced = header_.size_bytes();
    for (;;) {
      const Turn::End end = co_await read();
      if (end == Turn::End::kStalled) co_return stalled(key());
      if (end == Turn::End::kOver) break;
      if (!message_.whole || !message_.message.has_data()) {
        co_return bad_argument("after the header come messages with data", &key());
      }
      const std::string& data = message_.message.data();
      if (announced != 0 && !is_within(upload.size(), data.size(), announced)) {
        co_return bad_argument("more bytes came than were announced", &key());
      }
      Status added = co_await upload.append(as_bytes(data));
      if (!added.ok()) co_return error_of(added, &key());
    }
    if (context_->IsCancelled()) co_return cancelled(&key());
    if (announced != 0 && upload.size() != announced) {
      co_return bad_argument("fewer bytes came than were announced", &key());
    }
    for (auto& [algorithm, value] : declared_) {
      const std::string_view name = objects::name_of(algorithm);
      if (objects::base64(upload.digest(algorithm)) != value) {
        co_return error(grpc::DATA_LOSS, "CHECKSUM_MISMATCH", cat("the ", name, " does not match"),
                        &key());
      }
      if (algorithm != Algorithm::kMd5) meta_.checksums.emplace(name, value);
    }
    Status finished = co_await upload.finish();
    if (context_->IsCancelled()) co_return cancelled(&key());
    co_return error_of(finished, &key());
  }

  awaitable<grpc::Status> publish(Namespace& ns, objects::Upload& upload) {
    meta_.etag = declares_md5_ ? objects::hex(upload.digest(Algorithm::kMd5))
                               : cat(objects::hex(upload.digest(Algorithm::kCrc64nvme)), "-1");
    if (upload.encrypted() && !objects::has_md5_etag(upload.encrypted()->mode)) {
      meta_.etag = objects::random_etag();
    }
    meta_.modified_ms = store_.now_ms();
    grpc::Status status;
    objects::Info info;
    Now now(store_.clock());
    info.expire_ms = expiry_of(now, {header_.ttl_ms()}, nullptr, &ns, status);
    if (status.ok()) status = co_await until_idle(store_, key());
    if (!status.ok()) co_return status;
    auto put = objects::put(store_, ns, key().key(), upload, meta_, info.expire_ms,
                            conditions_of(header_.condition()));
    if (!put.ok()) co_return co_await write_refused(store_, put.status(), key());
    info.size = upload.size();
    info.version = put->version;
    info.modified_ms = meta_.modified_ms;
    info.etag = put->etag;
    info.meta = std::move(meta_);
    fill(info, key(), answer_->mutable_info());
    co_return co_await settled(store_, paced(store_, put->seen, put->version));
  }

  const v1::Key& key() const { return header_.key(); }

  Store& store_;
  const Caller by_;
  Context* const context_;
  v1::UploadResponse* const answer_;
  Parsed<v1::UploadRequest> message_;
  v1::UploadHeader header_;
  ObjectMeta meta_;
  std::vector<std::pair<Algorithm, std::string>> declared_;
  bool declares_md5_ = false;
  Turn turn_;
};

class DownloadCall final : public ObjectWriter<v1::DownloadResponse> {
 public:
  DownloadCall(const Shared& shared, Caller by, Context* context,
               const v1::DownloadRequest* request)
      : ObjectWriter(shared, context),
        shared_(shared),
        store_(shared.store),
        by_(std::move(by)),
        request_(*request) {
    spawn_to_end(store_, run(), [this](const grpc::Status& status) { Finish(status); });
  }

 private:
  awaitable<grpc::Status> run() {
    const v1::Key& key = request_.key();
    grpc::Status status;
    NamespacePtr ns = find_namespace(store_, by_, Access::kRead, key, status);
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
    const objects::Info& info = opened->info;
    status = co_await settled(store_, request_.durable() ? info.version : info.seen);
    if (!status.ok()) co_return status;
    fill(opened->info, key, message_.mutable_info());
    const bool sent = co_await write();
    if (!sent) co_return grpc::Status::CANCELLED;
    // One message is under way at a time.
    const uint64_t left =
        opened->reader == nullptr ? opened->inline_bytes.size() : opened->reader->left();
    status = co_await room_for_answer(shared_, *context_, std::min(left, kChunkBytes));
    if (!status.ok()) co_return status;
    co_return co_await write_bytes(*opened, key);
  }

  const Shared& shared_;
  Store& store_;
  const Caller by_;
  const v1::DownloadRequest request_;
};

}  // namespace

void fill(const objects::Info& info, const v1::Key& key, v1::ObjectInfo* out) {
  using objects::as_utf8;
  *out->mutable_key() = key;
  out->set_size_bytes(info.size);
  out->set_version(info.version.value());
  out->set_etag(as_utf8(info.etag));
  out->set_modified_at_ms(info.modified_ms);
  out->set_expires_at_ms(info.expire_ms);
  auto* m = out->mutable_metadata();
  m->set_content_type(as_utf8(info.meta.content_type));
  for (auto& [k, v] : info.meta.user) (*m->mutable_user())[as_utf8(k)] = as_utf8(v);
  for (auto& [k, v] : info.meta.headers) (*m->mutable_headers())[as_utf8(k)] = as_utf8(v);
  for (auto& [k, v] : info.meta.checksums) (*out->mutable_checksums())[as_utf8(k)] = as_utf8(v);
}

grpc::ServerReadReactor<Parsed<v1::UploadRequest>>* start_upload(const Shared& shared,
                                                                 const Caller& by, Context* context,
                                                                 v1::UploadResponse* answer) {
  return new UploadCall(shared, by, context, answer);
}

grpc::ServerWriteReactor<v1::DownloadResponse>* start_download(const Shared& shared,
                                                               const Caller& by, Context* context,
                                                               const v1::DownloadRequest* request) {
  return new DownloadCall(shared, by, context, request);
}

}  // namespace cairn::rpc

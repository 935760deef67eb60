// Many objects in one answer, in the order in which they were asked for:
//
//   POST BUCKET?get-batch
//   <GetBatch><Object><Key>a</Key></Object>…<Missing>fail</Missing></GetBatch>
//
// The answer is a tar archive, made as it is sent, with one member for each Object; its name is the
// key. One with a VersionId is that version. What cannot be given is, by default, an empty member
// `__404__/KEY` (403 where the caller may not, 400 for a collection) with the error's code as an
// extended record CAIRN.error. With <Missing>fail</Missing> all are looked at first, and an error
// of the first that is not there takes the place of the archive; one that goes meanwhile ends it
// before its end.
#include <algorithm>

#include "core/base/audit.h"
#include "core/base/errors.h"
#include "core/base/text.h"
#include "gateway/http/s3/errors.h"
#include "gateway/http/s3/request_context.h"
#include "gateway/http/s3/service.h"
#include "objects/tar.h"
#include "objects/versions.h"

namespace cairn::s3 {

namespace {

namespace tar = objects::tar;

constexpr size_t kObjectsMax = 1000;
constexpr size_t kBodyMax = 4 << 20;

struct Wanted {
  std::string key;
  std::optional<std::string> version;
};

Error malformed() { return {"MalformedXML", ""}; }

Error parse(const std::string& text, std::vector<Wanted>& wanted, bool& fail) {
  XmlIn in;
  if (!in.parse(text, "GetBatch") || !only_elements(in.root(), "Object Missing")) {
    return malformed();
  }
  bool twice = false;
  if (const auto missing = single(in.root(), "Missing", twice)) {
    const auto how = text_of(missing);
    if (twice || !how || (*how != "fail" && *how != "continue")) return malformed();
    fail = *how == "fail";
  }
  for (auto node : in.root().children("Object")) {
    if (wanted.size() == kObjectsMax) return malformed();
    if (!only_elements(node, "Key VersionId")) return malformed();
    const auto key = single(node, "Key", twice), version = single(node, "VersionId", twice);
    const auto name = key ? text_of(key) : std::nullopt;
    if (twice || !name || name->empty()) return malformed();
    if (name->size() > objects::kObjectKeyMax) return {"KeyTooLongError", ""};
    Wanted& one = wanted.emplace_back(Wanted{*name, std::nullopt});
    if (!version) continue;
    one.version = text_of(version);
    if (!one.version || !is_version_id(*one.version)) return malformed();
  }
  return wanted.empty() || twice ? malformed() : Error{};
}

// Reads one after the other, for who may read them when it is their turn.
class Batch final : public http::Pieces {
 public:
  Batch(const Call& call, std::vector<Wanted> wanted, bool fail)
      : store_(call.store),
        bucket_(call.bucket),
        request_(call.request),
        auth_(call.auth),
        audit_(call.users == nullptr ? nullptr : call.users->audit()),
        wanted_(std::move(wanted)),
        fail_(fail) {}

  // What is wrong with one of them, if anything is, without its bytes.
  awaitable<Error> look_at(const Wanted& one) {
    std::optional<Version> version;
    if (Error e = may_read(one, version)) co_return e;
    auto info = objects::stat(store_, *bucket_, one.key, version);
    if (!info.ok()) co_return co_await error_at(one, info.status());
    if (info->meta.encryption.empty()) co_return Error{};
    // It is opened by a key that the request has not, or by one that is disabled.
    const auto encryption = objects::Encryption::decode(info->meta.encryption);
    if (!encryption) co_return Error{};  // damage shows when it is read
    const auto key = objects::open_data_key(store_, *encryption, "");
    if (!key.ok()) co_return co_await error_at(one, key.status());
    co_return Error{};
  }
  awaitable<Error> look_at_all() {
    for (const Wanted& one : wanted_) {
      Error e = co_await look_at(one);
      if (!e) continue;
      if (e.fields.empty()) e.fields = {{"Key", one.key}};
      co_return e;
    }
    co_return Error{};
  }

  awaitable<StatusOr<std::string>> next() override {
    constexpr size_t kPieceBytes = 256 << 10;
    const Executor executor = co_await asio::this_coro::executor;
    std::string out;
    while (out.size() < kPieceBytes) {
      if (opened_.reader != nullptr && opened_.reader->left() > 0) {
        auto bytes = co_await opened_.reader->next();
        if (!bytes.ok()) co_return bytes.status();
        out.append(reinterpret_cast<const char*>(bytes->data()), bytes->size());
        // Who waits for the client keeps nothing that others may need.
        opened_.reader->offer(0, executor);
        if (opened_.reader->left() == 0) out.append(tar::padding(opened_.info.size), '\0');
        continue;
      }
      opened_ = {};
      if (at_ == wanted_.size()) {
        if (ended_ && out.empty()) co_return absl::CancelledError("that was all");
        if (!ended_) out += tar::end();
        ended_ = true;
        break;
      }
      Status begun = co_await begin(wanted_[at_++], out);
      if (!begun.ok()) co_return begun;
    }
    co_return out;
  }

 private:
  Error may_read(const Wanted& one, std::optional<Version>& version) {
    const Action& action = one.version ? action::kGetObjectVersion : action::kGetObject;
    bool may = auth_.principal->may_all();
    if (!may) {
      const std::string* id = one.version ? &*one.version : nullptr;
      const RequestContext context(request_, auth_, {store_, bucket_->name, one.key, id});
      may = authorize(*auth_.principal, action, bucket_->name, one.key,
                      {request_.peer, request_.secure, &context});
    }
    if (audit_ != nullptr) {
      audit_->note(
          {"s3", auth_.principal->name(), request_.peer, action.name, bucket_->name, one.key, may});
    }
    if (!may) return {"AccessDenied", ""};
    if (!one.version) return {};
    version = objects::parse_version_id(*one.version);
    return version ? Error{} : Error{"NoSuchVersion", ""};
  }

  // Once what says so is durable.
  awaitable<Error> error_at(const Wanted& one, const Status& status) {
    Error e = error_of(status);
    if (objects::is_no_such_version(status)) e = {"NoSuchVersion", "", rests_on(status)};
    if (objects::marker_found(status) && one.version) {
      e = {"MethodNotAllowed", "", rests_on(status)};
    }
    // Whether a key is there is told to who may list.
    if (e.code == "NoSuchKey" && !may_list()) e = {"AccessDenied", "", e.rests_on};
    if (e.rests_on.valid()) {
      Status durable = co_await store_.log().wait_durable(e.rests_on);
      if (!durable.ok()) e = error_of(durable);
    }
    co_return e;
  }
  bool may_list() const {
    if (auth_.principal->may_all()) return true;
    const RequestContext context(request_, auth_, {store_, bucket_->name, {}});
    return authorize(*auth_.principal, action::kListBucket, bucket_->name, {},
                     {request_.peer, request_.secure, &context});
  }

  awaitable<Status> begin(const Wanted& one, std::string& out) {
    std::optional<Version> version;
    Error e = may_read(one, version);
    if (!e) {
      objects::Conditions conditions;
      conditions.version = version;
      auto opened =
          co_await objects::open(store_, *bucket_, one.key, std::nullopt, conditions, nullptr);
      if (opened.ok()) {
        opened_ = std::move(*opened);
      } else {
        e = co_await error_at(one, opened.status());
      }
    }
    if (e && fail_) co_return absl::AbortedError(std::string(e.code));
    if (e) {
      const std::string name = cat("__", http_status(e.code), "__/", one.key);
      out += tar::header({name, 0, 0, {{"CAIRN.error", std::string(e.code)}}});
      co_return absl::OkStatus();
    }
    const objects::Info& info = opened_.info;
    if (info.seen.valid() && !store_.log().is_durable(info.seen)) {
      Status durable = co_await store_.log().wait_durable(info.seen);
      if (!durable.ok()) co_return durable;
    }
    out += tar::header({one.key, info.size, info.modified_ms});
    if (opened_.reader == nullptr) {
      out += opened_.inline_bytes;
      out.append(tar::padding(info.size), '\0');
    }
    co_return absl::OkStatus();
  }

  Store& store_;
  const NamespacePtr bucket_;
  const http::Request& request_;
  const Authenticated auth_;
  Audit* const audit_;
  const std::vector<Wanted> wanted_;
  const bool fail_;
  size_t at_ = 0;
  bool ended_ = false;
  objects::Opened opened_;
};

awaitable<Error> get_batch(Call& c) {
  std::string text;
  if (Error e = co_await read_small(c, kBodyMax, text)) co_return e;
  std::vector<Wanted> wanted;
  bool fail = false;
  if (Error e = parse(text, wanted, fail)) co_return e;
  auto batch = std::make_unique<Batch>(c, std::move(wanted), fail);
  if (fail) {
    if (Error e = co_await batch->look_at_all()) co_return e;
  }
  c.response.set("Content-Type", "application/x-tar");
  c.response.pieces = std::move(batch);
  co_return Error{};
}

constexpr Row kRows[] = {
    {"GetBatch", action::kGetObject, "POST", Scope::kBucket, "get-batch", "", get_batch,
     "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "", true, true, true},
};

}  // namespace

std::span<const Row> batch_rows() { return kRows; }

}  // namespace cairn::s3

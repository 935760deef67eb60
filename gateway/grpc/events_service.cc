#include "gateway/grpc/events_service.h"

#include <absl/cleanup/cleanup.h>

#include "cairn/v1/events.pb.h"
#include "core/base/errors.h"
#include "core/log/log_pins.h"
#include "core/store/change_feed.h"
#include "gateway/grpc/collection_streams.h"
#include "objects/object.h"
#include "objects/versions.h"

namespace cairn::rpc {

namespace {

constexpr int64_t kTurnMs = 1000;   // to look whether somebody still wants it
constexpr int64_t kPulseMs = 5000;  // between messages, also where there is nothing to tell
constexpr uint64_t kPartBytes = 256 << 10;

v1::WatchEvent::Kind kind_of(FeedEvent::Kind kind) {
  switch (kind) {
    case FeedEvent::Kind::kPut:
    case FeedEvent::Kind::kPutBack:
      return v1::WatchEvent::PUT;
    case FeedEvent::Kind::kRemove:
      return v1::WatchEvent::REMOVE;
    case FeedEvent::Kind::kOperate:
      return v1::WatchEvent::CHANGE;
    case FeedEvent::Kind::kExpiry:
      return v1::WatchEvent::EXPIRY;
    case FeedEvent::Kind::kFlush:
      return v1::WatchEvent::FLUSH;
    case FeedEvent::Kind::kSwap:
      return v1::WatchEvent::SWAP;
    case FeedEvent::Kind::kDrop:
      return v1::WatchEvent::DROP;
    default:
      break;
  }
  return v1::WatchEvent::KIND_UNSPECIFIED;  // of none that is told
}

v1::WatchEvent::Cause cause_of(Cause cause) {
  switch (cause) {
    case Cause::kExpiry:
      return v1::WatchEvent::EXPIRED;
    case Cause::kEviction:
      return v1::WatchEvent::EVICTED;
    case Cause::kLifecycle:
      return v1::WatchEvent::LIFECYCLE;
    case Cause::kFormUpload:
      return v1::WatchEvent::FORM_UPLOAD;
    case Cause::kObjectCopy:
      return v1::WatchEvent::COPIED;
    case Cause::kPartsCompleted:
      return v1::WatchEvent::PARTS_COMPLETED;
    case Cause::kTagsPut:
    case Cause::kTagsDelete:
      return v1::WatchEvent::TAGS;
    case Cause::kAclPut:
      return v1::WatchEvent::ACL;
    case Cause::kLockPut:
      return v1::WatchEvent::LOCK;
    case Cause::kUser:
    case Cause::kCopy:
      break;
  }
  return v1::WatchEvent::USER;
}

grpc::Status gone(std::string_view why) { return error(grpc::OUT_OF_RANGE, "GONE", why); }

class WatchCall final : public ItemStream<v1::WatchResponse> {
 public:
  WatchCall(const Shared& shared, const Caller& by, Context* context,
            const v1::WatchRequest& request, std::atomic<size_t>& watches,
            const std::atomic<bool>& stopping)
      : ItemStream(shared, by, context),
        request_(request),
        watches_(watches),
        stopping_(stopping),
        store_(shared.store) {
    admitted_ = ++watches_ <= EventsService::kWatchesMax;
    spawn_to_end(shared.store, run_all(),
                 [this](const grpc::Status& status) { this->Finish(status); });
  }
  ~WatchCall() override { watches_--; }

 private:
  grpc::Status check() const {
    if (!admitted_) {
      return error(grpc::RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", "too many calls watch changes");
    }
    if (request_.prefix().size() > kKeyBytesMax) return bad_argument("prefix is too long");
    if (request_.all_namespaces() && !request_.namespace_().empty()) {
      return bad_argument("all_namespaces goes without a namespace");
    }
    const bool from = request_.from_is_case() == v1::WatchRequest::kFrom;
    if (request_.snapshot() && (from || request_.all_namespaces())) {
      return bad_argument("a snapshot is of one namespace, and begins now");
    }
    if (from && (request_.from() == 0 || request_.from() >= kLsnEnd)) {
      return bad_argument("from is no position");
    }
    return {};
  }

  awaitable<grpc::Status> run_all() {
    grpc::Status status = check();
    if (!status.ok()) co_return status;
    if (!request_.all_namespaces()) {
      ns_ = find_namespace(store_, by_, Access::kList, request_.namespace_(), status);
    }
    if (!status.ok()) co_return status;
    status = co_await settled(store_, store_.newest_name());
    if (!status.ok()) co_return status;
    ChangeFeed& feed = *shared_.feed;
    Lsn from = feed.now();
    if (request_.from_is_case() == v1::WatchRequest::kFrom) {
      if (Lsn(request_.from()) > from) co_return bad_argument("from is behind the end of the log");
      from = Lsn(request_.from());
      if (store_.log().stretch(from).gone)
        co_return gone("what follows `from` is gone from the log");
    }
    ChangeFeed::Cursor cursor(feed, from);
    if (of_databases() && !cursor.knows_databases()) co_return swapped();
    // From here on the client misses nothing.
    if (!co_await run([this] { this->StartSendInitialMetadata(); })) co_return cancelled();
    if (request_.snapshot()) {
      const LogPins::Pin pin(store_.pins(), from);
      status = co_await send_snapshot();
      if (!status.ok()) co_return status;
    }
    message_.set_snapshot_ends(request_.snapshot());
    status = co_await send(from);
    while (status.ok()) status = co_await send_next(cursor);
    co_return status;
  }

  // ---- what is there ----

  awaitable<grpc::Status> send_snapshot() {
    objects::ListQuery query;
    query.prefix = request_.prefix();
    query.collections = true;
    for (;;) {
      grpc::Status status = ended();
      if (status.ok()) status = co_await begin_message();
      if (!status.ok()) co_return status;
      auto page = co_await objects::list(store_, ns_, query);
      if (!page.ok()) co_return error_of(page.status());
      Lsn newest = page->newest;
      for (auto& item : page->items) {
        if (!by_.may(Access::kRead, ns_->name, item.key)) continue;
        status = co_await add(item, newest);
        if (status.ok() && message_.ByteSizeLong() > kPartBytes) {
          status = co_await settled(store_, newest);
          if (status.ok()) status = co_await send(Lsn());
        }
        if (!status.ok()) co_return status;
      }
      status = co_await settled(store_, newest);
      if (status.ok()) status = co_await send(Lsn());
      if (!status.ok()) co_return status;
      if (!page->truncated) co_return status;
      query.after = page->next;
    }
  }

  awaitable<grpc::Status> add(const objects::ListItem& item, Lsn& newest) {
    v1::WatchEvent e;
    e.set_kind(v1::WatchEvent::FOUND);
    e.set_type(type_of(item.type));
    e.set_size(item.size);
    e.set_version(item.version.value());
    e.set_time_ms(item.modified_ms);
    e.set_expires_at_ms(item.expire_ms);
    if (request_.with_values() && item.type == ValueType::kString && item.size <= kInlineBytesMax) {
      auto opened = co_await objects::open(store_, *ns_, item.key, std::nullopt);
      // What went meanwhile is told as a change.
      if (absl::IsNotFound(opened.status()) || is_wrong_type(opened.status())) {
        co_return grpc::Status();
      }
      // Of what only its customer's key opens the value is not shown.
      const bool closed = absl::IsInvalidArgument(opened.status());
      if (!opened.ok() && !closed) co_return error_of(opened.status());
      if (opened.ok()) {
        e.set_version(opened->info.version.value());
        e.set_size(opened->info.size);
        e.set_expires_at_ms(opened->info.expire_ms);
        newest = std::max(newest, opened->info.seen);
        if (opened->reader == nullptr && opened->info.size <= kInlineBytesMax) {
          e.set_value(std::move(opened->inline_bytes));
        }
      }
    }
    e.mutable_key()->set_namespace_(ns_->name);
    e.mutable_key()->set_key(item.key);
    e.set_ends(true);
    *message_.add_events() = std::move(e);
    co_return grpc::Status();
  }

  // ---- what changes ----

  awaitable<grpc::Status> send_next(ChangeFeed::Cursor& cursor) {
    grpc::Status status = ended();
    if (!status.ok()) co_return status;
    auto taken = co_await cursor.next(kTurnMs);
    if (absl::IsOutOfRange(taken.status())) {
      co_return gone("the log does not hold what was to be told next any more");
    }
    if (absl::IsCancelled(taken.status())) {
      co_return grpc::Status(grpc::UNAVAILABLE, "the server ends");
    }
    if (!taken.ok()) co_return error_of(taken.status());
    if (of_databases() && !cursor.knows_databases()) co_return swapped();
    bool dropped = false;
    uint64_t bytes = 0;
    const auto events = taken->events();
    for (size_t i = 0; i < events.size(); i++) {
      const FeedEvent& e = events[i];
      if (!concerns(e)) {
        // What is not told may end what is.
        if (e.ends && message_.events_size() > 0) {
          message_.mutable_events()->rbegin()->set_ends(true);
        }
        continue;
      }
      if (message_.events_size() == 0) status = co_await begin_message();
      if (!status.ok()) co_return status;
      bytes += fill(e, *message_.add_events());
      dropped |= ns_ != nullptr && e.kind == FeedEvent::Kind::kDrop;
      const bool together = i + 1 < events.size() && events[i + 1].lsn == e.lsn;
      if (bytes < kPartBytes || together) continue;
      status = co_await send(Lsn(e.lsn.value() + 1));
      if (!status.ok()) co_return status;
      bytes = 0;
    }
    const int64_t now = store_.now_ms();
    const bool silent = now - sent_ms_ >= kPulseMs || now < sent_ms_;
    if (message_.events_size() > 0 || silent) status = co_await send(cursor.at());
    if (status.ok() && dropped) co_return no_such_namespace();
    co_return status;
  }

  bool of_databases() const { return ns_ == nullptr || is_database(ns_->id); }
  static grpc::Status swapped() {
    return gone("databases were swapped since: which of them held what cannot be said");
  }
  bool concerns(const FeedEvent& e) const {
    using Kind = FeedEvent::Kind;
    if (e.kind == Kind::kSwap || (e.kind == Kind::kFlush && e.ns == nullptr)) {
      return of_databases();
    }
    if (ns_ != nullptr && e.id != ns_->id) return false;
    const bool named = e.kind == Kind::kFlush || e.kind == Kind::kDrop;
    if (!named && (!e.is_of_current() || !e.key.starts_with(request_.prefix()))) return false;
    if (e.ns == nullptr) return named;
    if (ns_ == nullptr && !by_.may(Access::kList, e.ns->name)) return false;
    return named || by_.may(Access::kRead, e.ns->name, e.key);
  }

  // Whether he is still who he was, and may list what he watches.
  grpc::Status still_permitted() const {
    if (ns_ != nullptr) return by_.permit(Access::kList, ns_->name);
    const bool may = authorize(*by_.who, {by_.action.door, by_.action.name, Access::kNone}, {}, {},
                               {by_.address, by_.secure});
    return may ? grpc::Status()
               : error(grpc::PERMISSION_DENIED, "PERMISSION_DENIED", "this user may not do that");
  }

  // About how many bytes it takes.
  uint64_t fill(const FeedEvent& e, v1::WatchEvent& out) const {
    using Kind = FeedEvent::Kind;
    out.set_kind(kind_of(e.kind));
    out.set_cause(cause_of(e.cause));
    out.set_version(e.lsn.value());
    out.set_time_ms(e.wall_ms);
    out.set_ends(e.ends);
    if (e.ns != nullptr) {
      out.mutable_key()->set_namespace_(e.ns->name);
      out.mutable_key()->set_key(std::string(e.key));
    }
    const bool is_put = e.kind == Kind::kPut || e.kind == Kind::kPutBack;
    if (is_put || e.kind == Kind::kOperate) out.set_type(type_of(e.type));
    if (e.kind != Kind::kRemove) out.set_expires_at_ms(e.expire_ms);
    if (e.version) out.set_version_id(objects::version_id(*e.version));
    const bool whole = is_put && e.type == ValueType::kString;
    if (whole) out.set_size(e.size);
    const bool at_hand = !e.is_blob && !e.is_encrypted;
    if (whole && request_.with_values() && at_hand && e.size <= kInlineBytesMax) {
      out.set_value(std::string(e.value));
    }
    return 64 + e.key.size() + out.value().size();
  }

  // ---- both ----

  grpc::Status ended() const {
    if (stopping_) return grpc::Status(grpc::UNAVAILABLE, "the server ends");
    return context_->IsCancelled() ? cancelled() : still_permitted();
  }
  awaitable<grpc::Status> send(Lsn position) {
    message_.set_position(position.value());
    const uint64_t bytes = message_.ByteSizeLong();
    hold(bytes);
    message_goes(shared_, *context_, bytes);
    const bool sent = co_await run([this] { this->StartWrite(&message_); });
    message_ = v1::WatchResponse();
    hold(0);
    sent_ms_ = store_.now_ms();
    co_return sent ? grpc::Status() : cancelled();
  }

  const v1::WatchRequest request_;
  std::atomic<size_t>& watches_;
  const std::atomic<bool>& stopping_;
  Store& store_;
  NamespacePtr ns_;  // null: all
  v1::WatchResponse message_;
  int64_t sent_ms_ = 0;
  bool admitted_ = false;
};

}  // namespace

EventsService::EventsService(const Shared& shared) : Service(shared) {
  server_stream<v1::WatchRequest, v1::WatchResponse>(
      "/cairn.v1.Events/Watch", Access::kList | Access::kRead,
      [this](Context* c, const Caller& by,
             const v1::WatchRequest* q) -> grpc::ServerWriteReactor<v1::WatchResponse>* {
        return new WatchCall(shared_, by, c, *q, watches_, stopping_);
      });
}

}  // namespace cairn::rpc

#include "gateway/grpc/call.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cassert>

#include "core/base/async.h"
#include "core/base/audit.h"
#include "core/base/errors.h"
#include "core/base/limits.h"
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/store/auth_failure.h"
#include "gateway/auth/credentials.h"
#include "gateway/grpc/connections.h"

namespace cairn::rpc {

namespace {

// "ipv4:127.0.0.1:1234" or "ipv6:%5B::1%5D:1234", as gRPC writes it.
bool is_loopback(std::string_view peer) {
  return peer.starts_with("ipv4:127.") || peer.starts_with("ipv6:%5B::1%5D:") ||
         peer.starts_with("ipv6:[::1]:") || peer.starts_with("ipv6:%5B::ffff:127.");
}

// The beginning of a text in UTF-8, without part of a character at its end.
std::string_view begin_of(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) end--;
  return text.substr(0, end);
}

constexpr std::string_view kDefaultSpace = "db0";

grpc::Status denied(const v1::Key* key) {
  return error(grpc::PERMISSION_DENIED, "PERMISSION_DENIED", "this user may not do that", key);
}

}  // namespace

namespace {

// Who calls; null if that is not shown, or `busy`. A connection that he called over is no
// stranger's. The first call with a password of the table waits for its hash, on gRPC's thread: of
// a few at a time, so that the others' threads are free for who is known.
PrincipalPtr caller_of(grpc::CallbackServerContext& context, const Shared& shared, bool& busy) {
  auto& metadata = context.client_metadata();
  if (metadata.count("authorization") != 1) return nullptr;  // of two, which?
  const auto it = metadata.find("authorization");
  auto who =
      authenticate_at_once(shared.users, {it->second.data(), it->second.size()}, context.peer());
  busy = !who.ok();
  if (busy || *who == nullptr) return nullptr;
  shared.connections.trust(context);
  return *std::move(who);
}

void note_circumstances(grpc::CallbackServerContext& context, const Shared& shared,
                        Caller& caller) {
  caller.audit = shared.users.audit();
  // Nothing will be asked.
  if (caller.who == nullptr || (caller.who->may_all() && caller.audit == nullptr)) return;
  // "ipv4:1.2.3.4:5", "ipv6:[::1]:5", whose brackets may be written %5B and %5D.
  std::string peer = context.peer();
  const size_t colon = peer.find(':');
  if (peer.starts_with("ip") && colon != peer.npos) {
    peer.erase(0, colon + 1);
    for (auto [code, bracket] : {std::pair("%5B", "["), std::pair("%5D", "]")}) {
      if (const size_t at = peer.find(code); at != peer.npos) peer.replace(at, 3, bracket);
    }
    caller.address = std::move(peer);
  }
  for (const auto& type : context.auth_context()->FindPropertyValues("transport_security_type")) {
    caller.secure = caller.secure || type == "ssl";
  }
}

grpc::Status admit_stranger(grpc::CallbackServerContext& context, const Shared& shared) {
  if (shared.connections.serve_without(context)) return {};
  return error(grpc::RESOURCE_EXHAUSTED, "TOO_MANY_CALLS",
               "too many calls at once without credentials");
}

}  // namespace

grpc::Status admit_anybody(grpc::CallbackServerContext& context, const Shared& shared,
                           Caller& caller) {
  bool busy = false;
  caller.who = caller_of(context, shared, busy);
  note_circumstances(context, shared, caller);
  return caller.who != nullptr ? grpc::Status() : admit_stranger(context, shared);
}

grpc::Status admit(grpc::CallbackServerContext& context, const Shared& shared, Caller& caller) {
  bool busy = false;
  caller.who = caller_of(context, shared, busy);
  if (busy) {
    return error(grpc::UNAVAILABLE, "TOO_MANY_LOGINS",
                 "another password is being checked; try again");
  }
  note_circumstances(context, shared, caller);
  const Action& action = caller.action;
  if (caller.who == nullptr) {
    grpc::Status served = admit_stranger(context, shared);
    const bool open = action.access == Access::kNone && shared.open_on_loopback;
    if (open && is_loopback(context.peer())) return served;
    auto& metadata = context.client_metadata();
    const auto it = metadata.find("authorization");
    if (it != metadata.end()) {
      note_auth_failure(shared.users, shared.store.options().report, alarm::kAuthGrpc,
                        claimed_user({it->second.data(), it->second.size()}), context.peer());
      return error(grpc::UNAUTHENTICATED, "UNAUTHENTICATED", "wrong user or password");
    }
    return error(grpc::UNAUTHENTICATED, "UNAUTHENTICATED",
                 "send the metadata authorization: Bearer PASSWORD or Basic base64(USER:PASSWORD)");
  }
  const Circumstances from{caller.address, caller.secure};
  const Action by_itself{action.door, action.name, action.access & Access::kAdmin};
  const bool may = cairn::authorize(*caller.who, by_itself, {}, {}, from);
  // What touches keys is noted with each of them.
  if (caller.audit != nullptr && (!may || by_itself.access == action.access)) {
    caller.audit->note({"grpc", caller.who->name(), caller.address, action.name, {}, {}, may});
  }
  return may ? grpc::Status() : denied(nullptr);
}

bool Caller::may(Access access, std::string_view space, std::string_view key) const {
  const bool named = (access & action.access) == access && who != nullptr;
#ifdef CAIRN_DEBUG
  assert(named && "a method touched what its row does not name");
#endif
  if (space.empty()) space = kDefaultSpace;
  const bool may = named && authorize(*who, {action.door, action.name, access, action.s3}, space,
                                      key, {address, secure});
  if (audit != nullptr && who != nullptr) {
    audit->note({"grpc", who->name(), address, action.name, space, key, may});
  }
  return may;
}

grpc::Status Caller::permit(Access access, std::string_view space) const {
  return may(access, space) ? grpc::Status() : denied(nullptr);
}

grpc::Status Caller::permit(Access access, const v1::Key& key) const {
  return may(access, key.namespace_(), key.key()) ? grpc::Status() : denied(&key);
}

namespace {
// A text may name a key or a group, of any bytes; a client could not parse a string field with
// them.
std::string readable(std::string_view text) {
  constexpr std::string_view kReplacement = "\xef\xbf\xbd";
  std::string out;
  while (!text.empty()) {
    uint32_t c;
    const size_t n = decode_utf8(text, c);
    out += n == 0 ? kReplacement : text.substr(0, n);
    text.remove_prefix(std::max<size_t>(n, 1));
  }
  return out;
}
}  // namespace

grpc::Status only_encrypted(const v1::Key* key) {
  return error(grpc::FAILED_PRECONDITION, "ENCRYPTED_BUCKET",
               "the bucket wants values encrypted, which this call does not do: use Put or "
               "Objects.Upload",
               key);
}

grpc::Status error(grpc::StatusCode code, std::string_view reason, std::string_view message,
                   const v1::Key* key) {
  constexpr size_t kTextMax = 256, kNameMax = 64, kKeyMax = 256;
  v1::ErrorDetail detail;
  detail.set_reason(std::string(reason));
  if (key != nullptr) {
    detail.set_namespace_(std::string(begin_of(key->namespace_(), kNameMax)));
    detail.set_key(key->key().substr(0, kKeyMax));
  }
  const std::string text = readable(begin_of(message, kTextMax));
  v1::ErrorStatus status;
  status.set_code(code);
  status.set_message(text);
  status.add_details()->PackFrom(detail);
  return {code, text, status.SerializeAsString()};
}

grpc::Status bad_argument(std::string_view message, const v1::Key* key) {
  return error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", message, key);
}

grpc::Status no_such_namespace(const v1::Key* key) {
  return error(grpc::NOT_FOUND, "NO_SUCH_NAMESPACE", "no such bucket or database", key);
}

grpc::Status condition_failed(const v1::Key& key) {
  return error(grpc::FAILED_PRECONDITION, "CONDITION_FAILED", "a condition did not hold", &key);
}

grpc::Status too_large(std::string_view instead, const v1::Key* key) {
  return error(grpc::OUT_OF_RANGE, "TOO_LARGE", cat("it does not fit in a message; ", instead),
               key);
}

grpc::Status error_of(const Status& status, const v1::Key* key) {
  std::string text(status.message());
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return {};
    case absl::StatusCode::kNotFound:
      return error(grpc::NOT_FOUND, "NO_SUCH_KEY", text, key);
    case absl::StatusCode::kFailedPrecondition:
      if (is_wrong_type(status)) return error(grpc::FAILED_PRECONDITION, "WRONG_TYPE", text, key);
      return error(grpc::FAILED_PRECONDITION, "CONDITION_FAILED", text, key);
    case absl::StatusCode::kPermissionDenied:
      return error(grpc::PERMISSION_DENIED, "PERMISSION_DENIED", text, key);
    case absl::StatusCode::kOutOfRange:
      return error(grpc::OUT_OF_RANGE, "BAD_ARGUMENT", text, key);
    case absl::StatusCode::kInvalidArgument:
      return error(grpc::INVALID_ARGUMENT, "BAD_ARGUMENT", text, key);
    case absl::StatusCode::kAlreadyExists:
      return error(grpc::ALREADY_EXISTS, "CONDITION_FAILED", text, key);
    case absl::StatusCode::kResourceExhausted:
      return error(grpc::RESOURCE_EXHAUSTED,
                   is_disk_full(status)        ? "DISK_FULL"
                   : is_out_of_memory(status)  ? "OUT_OF_MEMORY"
                   : is_quota_exceeded(status) ? "QUOTA_EXCEEDED"
                                               : "TOO_LARGE",
                   text, key);
    case absl::StatusCode::kUnavailable:
      return error(grpc::UNAVAILABLE, held_too_long_by(status).empty() ? "READ_ONLY" : "BUSY", text,
                   key);
    case absl::StatusCode::kDataLoss:
      return error(grpc::DATA_LOSS, "DAMAGED", text, key);
    case absl::StatusCode::kCancelled:
      return error(grpc::CANCELLED, "CANCELLED", text, key);
    default:
      return error(grpc::INTERNAL, "INTERNAL", text, key);
  }
}

grpc::Status write_error_of(const Status& status, const v1::Key* key) {
  return absl::IsNotFound(status) ? no_such_namespace(key) : error_of(status, key);
}

namespace {
NamespacePtr named(Store& store, std::string_view name) {
  return store.find_namespace(name.empty() ? kDefaultSpace : name);
}
}  // namespace

namespace {
// Whether what a change of the key replaces is kept as a version, and on disk: it is read first.
bool keeps_cold(Store& store, Namespace& ns, const std::string& key) {
  if (ns.versions() == nullptr || !store.has_cold()) return false;
  const KeyHash hash = ns.hash(key);
  StripeLocks lock(store);
  if (!lock.lock_idle(hash)) return true;
  const Entry* e = ns.index->find(key, hash);
  return e != nullptr && e->is_cold();
}
}  // namespace

bool is_busy(Store& store, const v1::Key& key) {
  if (!store.busy().any() && !store.has_cold()) return false;
  const NamespacePtr ns = named(store, key.namespace_());
  if (ns == nullptr) return false;
  return store.busy().is_busy(ns->hash(key.key())) || keeps_cold(store, *ns, key.key());
}

bool is_encrypted(Store& store, const v1::Key& key) {
  const NamespacePtr ns = named(store, key.namespace_());
  return ns != nullptr && ns->encrypts();
}

awaitable<grpc::Status> until_idle(Store& store, const v1::Key& key) {
  if (!store.busy().any() && !store.has_cold()) co_return grpc::Status();
  const NamespacePtr ns = named(store, key.namespace_());
  if (ns == nullptr) co_return grpc::Status();  // which whoever asks will find
  Status ready = co_await store.busy().until_idle(ns->hash(key.key()));
  if (ready.ok() && keeps_cold(store, *ns, key.key())) {
    ready = co_await store.faults().fetch(ns, key.key());
  }
  co_return error_of(ready, &key);
}

NamespacePtr find_namespace(Store& store, const Caller& by, Access access, const std::string& name,
                            grpc::Status& status) {
  status = by.permit(access, name);
  if (!status.ok()) return nullptr;
  NamespacePtr ns = named(store, name);
  if (ns == nullptr) status = no_such_namespace();
  return ns;
}

grpc::Status check_key(const v1::Key& key) {
  return key.key().empty() || key.key().size() > kKeyBytesMax
             ? bad_argument("a key has 1 to 65535 bytes", &key)
             : grpc::Status();
}

NamespacePtr find_namespace(Store& store, const Caller& by, Access access, const v1::Key& key,
                            grpc::Status& status) {
  status = check_key(key);
  if (status.ok()) status = by.permit(access, key);
  if (!status.ok()) return nullptr;
  NamespacePtr ns = named(store, key.namespace_());
  if (ns == nullptr) status = no_such_namespace(&key);
  return ns;
}

bool holds(const v1::Condition& c, const Entry* e) {
  const uint64_t version = e == nullptr ? 0 : e->version().value();
  return (!c.has_version() || c.version() == version) &&
         (!c.has_exists() || c.exists() == (e != nullptr));
}

objects::Conditions conditions_of(const v1::Condition& c) {
  objects::Conditions out;
  if (c.has_version()) out.if_version = Lsn(c.version());
  if (c.has_exists()) out.if_exists = c.exists();
  return out;
}

grpc::Status check_durability(v1::Durability durability) {
  return v1::Durability_IsValid(durability) ? grpc::Status() : bad_argument("unknown durability");
}

v1::ValueType type_of(ValueType type) {
  switch (type) {
    case ValueType::kString:
      return v1::VALUE_TYPE_STRING;
    case ValueType::kHash:
      return v1::VALUE_TYPE_HASH;
    case ValueType::kList:
      return v1::VALUE_TYPE_LIST;
    case ValueType::kSet:
      return v1::VALUE_TYPE_SET;
    case ValueType::kSortedSet:
      return v1::VALUE_TYPE_SORTED_SET;
    case ValueType::kStream:
      return v1::VALUE_TYPE_STREAM;
  }
  return v1::VALUE_TYPE_UNSPECIFIED;
}

int64_t expiry_of(Now& now, const ExpiryWish& wish, const Entry* entry, const Namespace* ns,
                  grpc::Status& status) {
  if (wish.keep && (wish.ttl_ms != 0 || wish.at_ms != 0)) {
    status = bad_argument("keep_expiry goes with neither ttl_ms nor expires_at_ms");
    return 0;
  }
  const bool wishes = wish.ttl_ms != 0 || wish.at_ms != 0;
  if (wish.keep && entry != nullptr) return entry->expire_ms();
  if (!wishes) return ns == nullptr ? 0 : ns->default_expiry_ms(now);
  int64_t at = wish.at_ms;
  bool bad = wish.ttl_ms < 0 || wish.at_ms < 0 || (wish.ttl_ms != 0 && wish.at_ms != 0);
  if (wish.ttl_ms != 0) bad |= __builtin_add_overflow(wish.ttl_ms, now.ms(), &at);
  if (bad) {
    status = bad_argument("set one of ttl_ms and expires_at_ms, and not below zero");
    return 0;
  }
  return at;
}

grpc::Status check_expiry(Store& store, const ExpiryWish& wish) {
  grpc::Status status;
  Now now(store.clock());
  expiry_of(now, wish, nullptr, nullptr, status);
  return status;
}

grpc::ServerUnaryReactor* finish(grpc::CallbackServerContext* context, Store& store,
                                 grpc::Status status, Lsn rests_on) {
  auto* reactor = context->DefaultReactor();
  if (rests_on.valid()) (void)store.memory().help();
  rests_on = std::max(rests_on, store.newest_name());
  if (!rests_on.valid() || store.log().is_durable(rests_on)) {
    reactor->Finish(status);
  } else {
    store.log().when_durable(rests_on, store.any_executor(),
                             [reactor, status = std::move(status)](Status durable) {
                               reactor->Finish(durable.ok() ? status : error_of(durable));
                             });
  }
  return reactor;
}

grpc::ServerUnaryReactor* finish(grpc::CallbackServerContext* context, const grpc::Status& status) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(status);
  return reactor;
}

// A refusal may rest on a namespace that is there, or is not.
static awaitable<grpc::Status> to_end(Store& store, awaitable<grpc::Status> work) {
  grpc::Status status = co_await std::move(work);
  if (status.ok()) co_return status;
  grpc::Status durable = co_await settled(store, Lsn());
  co_return durable.ok() ? status : durable;
}

void spawn_to_end(Store& store, awaitable<grpc::Status> work,
                  std::function<void(const grpc::Status&)> finish) {
  cairn::spawn(store.any_executor(), "a gRPC call", to_end(store, std::move(work)), finish,
               [finish](const Status& failure) {
                 spdlog::error("{}", std::string(failure.message()));
                 finish(error(grpc::INTERNAL, "INTERNAL", "unexpected"));
               });
}

grpc::ServerUnaryReactor* spawn(grpc::CallbackServerContext* context, Store& store,
                                awaitable<grpc::Status> work) {
  auto* reactor = context->DefaultReactor();
  spawn_to_end(store, std::move(work),
               [reactor](const grpc::Status& status) { reactor->Finish(status); });
  return reactor;
}

awaitable<grpc::Status> settled(Store& store, Lsn lsn) {
  if (lsn.valid()) (void)store.memory().help();
  lsn = std::max(lsn, store.newest_name());
  if (!lsn.valid() || store.log().is_durable(lsn)) co_return grpc::Status();
  Status durable = co_await store.log().wait_durable(lsn);
  co_return error_of(durable);
}

// gRPC holds the message, and the bytes that it makes of it.
static constexpr uint64_t kHeldOfAnswer = 2;

awaitable<grpc::Status> room_for_answer(const Shared& shared, grpc::CallbackServerContext& context,
                                        uint64_t bytes) {
  const uint64_t most = limits::answers(shared.store.memory_bytes());
  if (bytes <= kSmallAnswerBytes) co_return grpc::Status();
  const bool room =
      co_await shared.connections.wait_for_answers(context, kHeldOfAnswer * bytes, most);
  if (room) co_return grpc::Status();
  co_return error(grpc::RESOURCE_EXHAUSTED, "ANSWERS_NOT_TAKEN",
                  "clients do not take what they were answered; try again");
}

bool has_room_for_answer(const Shared& shared) {
  return shared.connections.has_room(limits::answers(shared.store.memory_bytes()));
}

void answered(const Shared& shared, grpc::CallbackServerContext& context, uint64_t bytes) {
  if (bytes <= kSmallAnswerBytes) return;
  shared.connections.count_answer(context, kHeldOfAnswer * bytes);
}

void message_goes(const Shared& shared, grpc::CallbackServerContext& context, uint64_t bytes) {
  shared.connections.answer_goes(context, kHeldOfAnswer * bytes);
}

void answer_keeps(const Shared& shared, grpc::CallbackServerContext& context, uint64_t bytes) {
  shared.connections.lower_answer(context, kHeldOfAnswer * bytes);
}

void answer_goes(const Shared& shared, grpc::CallbackServerContext& context,
                 const google::protobuf::Message& answer, const grpc::Status& status) {
  const uint64_t bytes = status.ok() ? answer.ByteSizeLong() : 0;
  shared.connections.answer_goes(context, bytes <= kSmallAnswerBytes ? 0 : kHeldOfAnswer * bytes);
}

grpc::ServerUnaryReactor* finish(grpc::CallbackServerContext* context, const Shared& shared,
                                 const google::protobuf::Message& answer, grpc::Status status,
                                 Lsn rests_on) {
  const uint64_t bytes = answer.ByteSizeLong();
  if (!status.ok() || bytes <= kSmallAnswerBytes) {
    return finish(context, shared.store, std::move(status), rests_on);
  }
  answered(shared, *context, bytes);
  const Lsn newest = std::max(rests_on, shared.store.newest_name());
  if (newest.valid() && !shared.store.log().is_durable(newest)) {
    return spawn(context, shared, answer, settled(shared.store, rests_on));
  }
  answer_goes(shared, *context, answer, status);
  return finish(context, status);
}

grpc::ServerUnaryReactor* spawn(grpc::CallbackServerContext* context, const Shared& shared,
                                const google::protobuf::Message& answer,
                                awaitable<grpc::Status> work) {
  auto* reactor = context->DefaultReactor();
  spawn_to_end(shared.store, std::move(work),
               [reactor, context, &shared, &answer](const grpc::Status& status) {
                 answer_goes(shared, *context, answer, status);
                 reactor->Finish(status);
               });
  return reactor;
}

grpc::Status cancelled(const v1::Key* key) {
  return error(grpc::CANCELLED, "CANCELLED", "cancelled", key);
}

awaitable<grpc::Status> refused(Store& store, const Status& status, const v1::Key& key) {
  grpc::Status durable = co_await settled(store, rests_on(status));
  if (!durable.ok()) co_return durable;
  co_return error_of(status, &key);
}

awaitable<grpc::Status> write_refused(Store& store, const Status& status, const v1::Key& key) {
  grpc::Status durable = co_await settled(store, rests_on(status));
  if (!durable.ok()) co_return durable;
  co_return write_error_of(status, &key);
}

}  // namespace cairn::rpc

// What the services share: credentials, errors, conditions, and the two ways to finish a call.
//
// Threads: any.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "cairn/v1/common.pb.h"
#include "core/store/store.h"
#include "core/store/users.h"
#include "objects/object.h"

namespace cairn {
class ChangeFeed;
}
namespace cairn::kv {
class Engine;
}

namespace cairn::rpc {

inline constexpr int kMessageBytesMax = 4 << 20;
inline constexpr uint64_t kAnswerBytesMax = kMessageBytesMax - (64 << 10);  // of what varies in it
inline constexpr uint64_t kValueBytesMax = 3 << 20;                         // in Get and Put
inline constexpr uint64_t kInlineBytesMax = 64 << 10;  // values where there are several
inline constexpr uint64_t kItemBytes = 1 << 10;        // of one in a listing, about
inline constexpr int kKeysMax = 1000;                  // in one call

class Connections;

struct Shared {
  Store& store;
  const Users& users;
  Connections& connections;
  // With a stream whose client does nothing.
  int64_t patience_ms = 60'000;
  // Who calls over a loopback address may call without credentials what touches nothing: he may see
  // what is served.
  bool open_on_loopback = false;
  // What runs commands, one for each loop of the store; null where there are no collections.
  const std::vector<std::unique_ptr<kv::Engine>>* engines = nullptr;
  ChangeFeed* feed = nullptr;  // of the store's changes
};

// Who calls which method. He was asked for the method by its name when the call began, and for all
// of the server if it is about that; for each key, and each namespace as a whole, he is asked when
// it is looked up, which is the only way to it.
struct Caller {
  PrincipalPtr who;          // null only where nothing is touched
  Action action;             // with all that the method does to any key
  std::string address = {};  // where he calls from, and whether over TLS; empty for who may all
  bool secure = false;
  Audit* audit = nullptr;  // where it is noted; null: nowhere

  // Whether he may do this to a key; without a key, to the namespace as a whole.
  bool may(Access access, std::string_view space, std::string_view key = {}) const;
  // The same, as PERMISSION_DENIED.
  grpc::Status permit(Access access, std::string_view space) const;
  grpc::Status permit(Access access, const v1::Key& key) const;
};

// UNAUTHENTICATED unless the call carries good credentials; PERMISSION_DENIED unless who they are
// of may call the method. Sets caller.who.
grpc::Status admit(grpc::CallbackServerContext& context, const Shared& shared, Caller& caller);
// For a method that everybody may call. RESOURCE_EXHAUSTED for a stranger who has too many calls.
grpc::Status admit_anybody(grpc::CallbackServerContext& context, const Shared& shared,
                           Caller& caller);

// The error of a call. What came from the client is cut: clients take trailers of 8 KiB at most.
// Of a write that would store as it is what the bucket wants encrypted.
grpc::Status only_encrypted(const v1::Key* key);
grpc::Status error(grpc::StatusCode code, std::string_view reason, std::string_view message,
                   const v1::Key* key = nullptr);
grpc::Status bad_argument(std::string_view message, const v1::Key* key = nullptr);
grpc::Status no_such_namespace(const v1::Key* key = nullptr);
grpc::Status condition_failed(const v1::Key& key);
// It does not fit in a message; `instead` says what to do.
grpc::Status too_large(std::string_view instead, const v1::Key* key = nullptr);
// The one table from the store's errors to gRPC's. What is not found is a key for who reads, a
// namespace for who writes.
grpc::Status error_of(const Status& status, const v1::Key* key = nullptr);
grpc::Status write_error_of(const Status& status, const v1::Key* key = nullptr);

// Whether a script holds the key for long (core/store/busy.h); until it does not any more, or the
// error if that takes too long. Or whether its value has to come back from disk before it is kept
// as a version.
bool is_busy(Store& store, const v1::Key& key);
// Whether what is put there is to be encrypted: how that is done, which its caller is not told
// before he was asked.
bool is_encrypted(Store& store, const v1::Key& key);
awaitable<grpc::Status> until_idle(Store& store, const v1::Key& key);
// The namespace of that name, to do this to it as a whole; "" is db0. Null, with `error` set, if
// there is none or the caller may not.
NamespacePtr find_namespace(Store& store, const Caller& by, Access access, const std::string& name,
                            grpc::Status& error);
grpc::Status check_key(const v1::Key& key);
// The namespace that a key names, to do this to the key, which is checked.
NamespacePtr find_namespace(Store& store, const Caller& by, Access access, const v1::Key& key,
                            grpc::Status& error);
// Whether the condition holds for what is there.
bool holds(const v1::Condition& condition, const Entry* entry);
objects::Conditions conditions_of(const v1::Condition& condition);
// INVALID_ARGUMENT if an enum has a value without a name.
grpc::Status check_durability(v1::Durability durability);
inline Wish wish_of(v1::Durability d) {
  return d == v1::DURABILITY_EVERYSEC ? Wish::kNone : Wish::kDurable;
}
v1::ValueType type_of(ValueType type);

// When a value that is written at that time expires, in Unix milliseconds, 0 for never; sets
// `error` if the wishes contradict each other or make no time. All that one transaction writes has
// the time of the transaction: what was put with one ttl_ms goes at one moment. `ns`: whose default
// holds where nothing is wished; null: none.
struct ExpiryWish {
  int64_t ttl_ms = 0, at_ms = 0;
  bool keep = false;  // what the key has
};
int64_t expiry_of(Now& now, const ExpiryWish& wish, const Entry* entry, const Namespace* ns,
                  grpc::Status& error);
// The error of the same before there is a transaction.
grpc::Status check_expiry(Store& store, const ExpiryWish& wish);

// What the answer of a write rests on that saw and wrote this. While the log, or the store, has
// more in memory than it should, that is the write itself, though nobody wished it durable: so that
// no client writes faster than the device.
inline Lsn paced(Store& store, Lsn seen, Lsn written) {
  return store.log().congested() || store.memory().overrun() ? std::max(seen, written) : seen;
}
// Finishes when what the answer rests on is durable, and which namespaces there are; a refusal
// rests on what was judged.
grpc::ServerUnaryReactor* finish(grpc::CallbackServerContext* context, Store& store,
                                 grpc::Status status, Lsn rests_on = Lsn());
// Runs the rest of a call on an I/O loop; `finish` gets INTERNAL if an exception leaves it.
void spawn_to_end(Store& store, awaitable<grpc::Status> work,
                  std::function<void(const grpc::Status&)> finish);
grpc::ServerUnaryReactor* spawn(grpc::CallbackServerContext* context, Store& store,
                                awaitable<grpc::Status> work);
awaitable<grpc::Status> settled(Store& store, Lsn lsn);
// At once: of what no namespace has to do with.
grpc::ServerUnaryReactor* finish(grpc::CallbackServerContext* context, const grpc::Status& status);
// Before an answer of so many bytes is made: RESOURCE_EXHAUSTED if clients do not take what they
// were answered (Connections::wait_for_answers).
awaitable<grpc::Status> room_for_answer(const Shared& shared, grpc::CallbackServerContext& context,
                                        uint64_t bytes);
// Whether it can be made at once; if so it is counted after, with answered(). Small ones are not.
inline constexpr uint64_t kSmallAnswerBytes = 4 << 10;
bool has_room_for_answer(const Shared& shared);
void answered(const Shared& shared, grpc::CallbackServerContext& context, uint64_t bytes);
// A message of a long answer goes: it holds so many bytes, and its client is waited for.
void message_goes(const Shared& shared, grpc::CallbackServerContext& context, uint64_t bytes);
// It has gone, or was not made: the call holds so many bytes from here on.
void answer_keeps(const Shared& shared, grpc::CallbackServerContext& context, uint64_t bytes);
// Just before the call is finished: the answer counts as large as it is from here on, and its
// client is waited for.
void answer_goes(const Shared& shared, grpc::CallbackServerContext& context,
                 const google::protobuf::Message& answer, const grpc::Status& status);
// As finish() and spawn(), with both, for calls whose answer may be large.
grpc::ServerUnaryReactor* finish(grpc::CallbackServerContext* context, const Shared& shared,
                                 const google::protobuf::Message& answer, grpc::Status status,
                                 Lsn rests_on = Lsn());
grpc::ServerUnaryReactor* spawn(grpc::CallbackServerContext* context, const Shared& shared,
                                const google::protobuf::Message& answer,
                                awaitable<grpc::Status> work);
// The error for a status of an operation on a key, once what it rests on is durable.
awaitable<grpc::Status> refused(Store& store, const Status& status, const v1::Key& key);
awaitable<grpc::Status> write_refused(Store& store, const Status& status, const v1::Key& key);
// Of a write whose client does not want it any more: he may have made another since.
grpc::Status cancelled(const v1::Key* key = nullptr);

}  // namespace cairn::rpc

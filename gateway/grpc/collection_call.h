// One operation on a collection: a call by itself (perform), one of a transaction (txn.h), or the
// beginning of a long answer (collection_streams.h).
//
// Threads: one at a time; perform() on a loop of the store.
#pragma once

#include <functional>
#include <memory>
#include <type_traits>

#include "gateway/grpc/collection_words.h"
#include "gateway/grpc/method.h"

namespace cairn::rpc {

struct CollectionStep {
  explicit CollectionStep(Store& store) : command(store) {}

  // From the request, which outlives it. What is asked of the caller is what the command does.
  template <class Request>
  grpc::Status ask(const Shared& shared, const Request& q) {
    key = &q.key();
    constexpr bool kEntries = std::is_same_v<Request, v1::StreamRangeRequest> ||
                              std::is_same_v<Request, v1::StreamClaimRequest>;
    if constexpr (kEntries) command.values.set_array_limit(kEntryBytesMax);
    grpc::Status status = say(q, command.words());
    if (status.ok()) find_row(shared);
    return status;
  }
  // The same, of one that will be answered in a message.
  template <class Answer, class Request>
  grpc::Status ask(const Shared& shared, const Request& q) {
    hear = [&q](kv::Values& values, google::protobuf::Message& answer) {
      rpc::hear(q, values, static_cast<Answer&>(answer));
    };
    may_be_large = has_list(*Answer::descriptor());
    if constexpr (requires(Answer & a) { a.set_version(0); }) {
      name_version = [](google::protobuf::Message& answer, Lsn version) {
        static_cast<Answer&>(answer).set_version(version.value());
      };
    }
    return ask(shared, q);
  }
  // Once it was asked: finds the namespace, if the caller may, and the keys in it.
  grpc::Status enter(const Shared& shared, const Caller& by);
  // The same where the namespace was found, to do what access() says to `key`.
  grpc::Status enter(const Shared& shared, const Caller& by, NamespacePtr in);

  Access access() const { return access_; }  // to `key`
  size_t other_keys() const { return others_.size(); }
  // Runs it in the transaction, and puts what it answered into `answer`, which must fit in a
  // message beside `beside` bytes. The locks cover its keys (command.add_keys). An error: the
  // transaction comes to nothing.
  grpc::Status run(kv::Errand& errand, StripeLocks& locks, Transaction& txn,
                   google::protobuf::Message* answer, uint64_t beside = 0);

  const v1::Key* key = nullptr;
  kv::Command command;
  NamespacePtr ns;
  KeyHash hash = 0;
  bool may_be_large = false;  // its answer, which has users' data
  std::function<void(kv::Values&, google::protobuf::Message&)> hear;
  std::function<void(google::protobuf::Message&, Lsn)> name_version;

  // Whether the caller may do so to all its keys. Any thread, while it waits.
  bool may(const Caller& by) const;

 private:
  struct Other {  // key, beside the first
    std::string_view name;
    Access access;
  };
  void find_row(const Shared& shared);
  static bool has_list(const google::protobuf::Descriptor& answer);
  Access access_ = Access::kNone;
  std::vector<Other> others_;
};

// What a request wishes beside.
struct CollectionWishes {
  const v1::Condition* condition = nullptr;
  v1::Durability durability = v1::DURABILITY_UNSPECIFIED;
  bool durable = false;
};
template <class Request>
CollectionWishes wishes_of(const Request& q) {
  CollectionWishes wishes;
  if constexpr (requires { q.condition(); }) {
    wishes.condition = &q.condition();
    wishes.durability = q.durability();
  }
  if constexpr (requires { q.durable(); }) wishes.durable = q.durable();
  return wishes;
}
template <class Request>
bool has_condition(const Request& q) {
  return q.condition().ByteSizeLong() != 0;
}
// How long a request waits for what it asks for.
template <class Request>
uint64_t wait_ms_of(const Request& q) {
  if constexpr (requires { q.wait_ms(); }) return q.wait_ms();
  return 0;
}

// Does it, as one transaction; returns when all that the answer rests on is durable. Without
// `answer` what the command answered is left in the step.
awaitable<grpc::Status> perform(const Shared& shared, Context& context, CollectionStep& step,
                                CollectionWishes wishes, google::protobuf::Message* answer);

}  // namespace cairn::rpc

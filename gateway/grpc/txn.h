// One transaction of cairn.v1.KeyValue: comparisons, then one of two lists of operations, all under
// the locks of their keys at one moment.
//
// It happens whole or not at all: what is refused is refused before the commit, an answer that does
// not fit in a message included. Operations on collections are commands that run in it
// (collection_call.h); then its changes are told by their names, and it runs on a loop.
// Threads: one at a time; gRPC's if everything is at hand, an I/O loop's if not.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <memory>
#include <string>
#include <vector>

#include "cairn/v1/kv.pb.h"
#include "core/store/store.h"
#include "core/store/transaction.h"
#include "gateway/grpc/call.h"
#include "gateway/grpc/collection_call.h"

namespace cairn::rpc {

class TxnCall {
 public:
  // Request and answer outlive the call.
  TxnCall(const Shared& shared, grpc::CallbackServerContext& context, Caller by,
          const v1::TxnRequest& request, v1::TxnResponse& answer)
      : shared_(shared),
        context_(context),
        store_(shared.store),
        by_(std::move(by)),
        request_(request),
        answer_(answer) {}

  // What can be said without locks. Before all else.
  grpc::Status check();
  // Runs it, if it needs no disk before its answer is known; false: use run(). The answer rests on
  // what `rests_on` names, a refusal too.
  bool run_in_place(grpc::Status& status, Lsn& rests_on);
  // The same on an I/O loop, whatever it needs.
  awaitable<grpc::Status> run();

 private:
  struct Place {  // of a key
    const v1::Key* key = nullptr;
    NamespacePtr ns;
    KeyHash hash = 0;
  };
  struct Operation {
    const v1::TxnOp* op;
    Place at;                                // copy: to
    Place from;                              // of a copy
    std::unique_ptr<objects::Upload> large;  // put: a value that goes to extents
    std::unique_ptr<CollectionStep> step;    // of a collection
  };

  Place place(const v1::Key& key, Access access, bool value, grpc::Status& status);
  grpc::Status check_operation(const v1::TxnOp& op, Operation& out);
  // An operation of a collection; false: it is none.
  bool ask(const v1::TxnOp& op, Operation& out, grpc::Status& status);
  template <class Answer, class Request>
  void ask(const Request& request, Operation& out, grpc::Status& status);
  // `errand`: of the collections, if it has operations of any.
  grpc::Status apply(StripeLocks& lock, kv::Errand* errand, Lsn& rests_on);
  bool compare(Transaction& t);
  grpc::Status perform(Operation& operation, Transaction& t);
  grpc::Status perform(CollectionStep& step, const v1::TxnOp& op, StripeLocks& lock,
                       kv::Errand& errand, Transaction& t);
  void tell(const Operation& operation, kv::Errand& errand) const;
  grpc::Status put(Operation& operation, const Entry* old, Transaction& t);
  Status copy(const Operation& operation, const Entry* from, Transaction& t);

  const Shared& shared_;
  grpc::CallbackServerContext& context_;
  Store& store_;
  const Caller by_;
  const v1::TxnRequest& request_;
  v1::TxnResponse& answer_;
  std::vector<Place> compared_;
  std::vector<Operation> then_, otherwise_;
  std::vector<KeyHash> hashes_;
  // Each name stands for the same namespace throughout, though a bucket may be dropped and made
  // again meanwhile.
  absl::flat_hash_map<std::string, NamespacePtr> spaces_;
  std::vector<std::pair<v1::Value*, const Entry*>> read_;  // to be named once committed
  Faults::Keys looked_at_;                                 // the keys whose values are
  bool writes_ = false;
  bool has_steps_ = false;
  uint64_t step_bytes_ = 0;  // of the answers about collections, so far
};

}  // namespace cairn::rpc

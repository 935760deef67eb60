// What buckets and databases say of who may use them, compiled, so that a request parses nothing:
// the policy, the access control list, and what limits both. authorize() asks here by name.
//
// Threads: a BucketAccess is constant; the table is for any thread. It changes under the
// keyspace's names lock, with the properties.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "core/base/mutex.h"
#include "core/store/policy.h"
#include "core/store/properties.h"

namespace cairn {

struct BucketAccess {
  using PolicyPtr = std::shared_ptr<const policy::Policy>;
  PolicyPtr policy;   // null: none
  PolicyPtr denials;  // for strangers in its place, if it may not be public: null, or what denies
  PolicyPtr acl;      // null: it grants nothing to anybody
  bool restricts_public = false;  // then `denials` holds
  bool has_acls = false;          // those of objects count
  bool ignores_public_acls = false;
  bool requester_pays = false;  // no stranger does
  bool unreadable = false;  // the policy is none that this program knows: it denies all but root
  bool denies() const;

  // Null: nobody gets or loses anything by it.
  static std::shared_ptr<const BucketAccess> compile(std::string_view name, const Properties& set);
};
using BucketAccessPtr = std::shared_ptr<const BucketAccess>;

class BucketAccessTable {
 public:
  // Null: nothing is said of it.
  BucketAccessPtr find(std::string_view name) const;
  void set(std::string_view name, BucketAccessPtr access);
  bool any() const { return count_.load(std::memory_order_acquire) > 0; }
  // Whether any denies anything: who may do all is asked for nothing else.
  bool any_denies() const { return denying_.load(std::memory_order_acquire) > 0; }

 private:
  mutable SmallMutex mutex_;
  std::map<std::string, BucketAccessPtr, std::less<>> all_ ABSL_GUARDED_BY(mutex_);
  std::atomic<size_t> count_{0}, denying_{0};  // of all_
};

}  // namespace cairn

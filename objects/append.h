// Appending to an object: what comes is put behind what its key holds, whose bytes are shared where
// they lie in extents. Each time makes one part more, which can be read by its number; the ETag is
// then of no bytes, and has the form that clients do not take for an MD5.
//
// Threads and errors as in objects/object.h.
#pragma once

#include "objects/object.h"

namespace cairn::objects {

inline constexpr size_t kAppendPartsMax = 10000;

class Append {
 public:
  // `offset`: where the client thinks that the object ends; 0 also where there is none.
  // `size_hint`: what it says will come; 0 if it says nothing.
  Append(Store& store, Namespace& ns, std::string_view key, uint64_t offset, uint64_t size_hint);

  // InvalidArgument "InvalidWriteOffset", "TooManyParts"; and as check_conditions() has it. `wish`:
  // of an object that is made; one that is there stays encrypted as it is, with the same customer's
  // key.
  awaitable<Status> begin(const Conditions& conditions, const EncryptionWish& wish);
  // What is there already; null: the object is made. After begin().
  const Info* before() const { return before_ ? &*before_ : nullptr; }
  // The algorithm of its checksum, which goes on with what comes; empty: it has none.
  std::string algorithm() const;
  // Takes what comes, which its digests are of. After begin().
  Upload& upload() { return upload_; }
  // Publishes it, once the upload is finished. `fresh` is the metadata of an object that is made;
  // one that is there keeps its own, and its expiry unless another is given. Aborted: another value
  // came meanwhile, of the same size.
  StatusOr<PutResult> put(ObjectMeta fresh, std::optional<int64_t> expire_ms,
                          const VersionLock& lock = {});
  const ObjectMeta& meta() const { return meta_; }  // as it was put

 private:
  void join();
  Store& store_;
  Namespace& ns_;
  const std::string key_;
  const uint64_t offset_;
  Conditions conditions_;
  std::optional<Info> before_;
  ObjectMeta meta_;
  Upload upload_;
};

}  // namespace cairn::objects

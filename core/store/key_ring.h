// The keys under which the data keys of encrypted objects are sealed (objects/encryption.h). They
// are records of the system namespace, each sealed under the store's master key, and open in memory
// alone. A key is never removed. A new version of it seals what comes from then on; those before it
// open what they sealed.
//
//   "k/" ID = u8 1  field*                           the contents of a record, in its meta part
//   tag 1   = i64 created_ms   tag 2 = description   tag 3 = u8 state   1 enabled, 2 disabled
//   tag 4   = u8 purpose       1 SSE-S3, 2 SSE-KMS where no key is named; missing: what users name
//   tag 5   = i64 created_ms  sealed                 a version, the first one first; sealed (see
//                                                    sealing.h) of "kms:ID:NUMBER"
//   tag 6   = u8 1                                   it was given up: see load()
//
// Errors: NotFound (no such key), FailedPrecondition (it is disabled), DataLoss (it, or what it is
// to open, cannot be read), Unavailable (there is no master key yet, or it is sealed under
// another), and those of writing.
//
// Threads: any.
#pragma once

#include <absl/functional/function_ref.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/mutex.h"
#include "core/base/report.h"
#include "core/base/types.h"
#include "core/store/sealing.h"

namespace cairn {

class Keyspace;

inline constexpr std::string_view kRingPrefix = "k/";

class KeyRing {
 public:
  static constexpr size_t kKeysMax = 10'000, kVersionsMax = 1000, kDescriptionMax = 8192;
  enum class Purpose : uint8_t { kNamed = 0, kS3 = 1, kKms = 2 };
  struct Version {
    int64_t created_ms = 0;
    std::string sealed;
    std::optional<MasterKey> key;  // nothing: the master key does not open it
  };
  struct Key {
    std::string id;  // as a UUID is written
    std::string description;
    int64_t created_ms = 0;
    bool enabled = true;
    Purpose purpose = Purpose::kNamed;
    std::vector<Version> versions;
  };
  using KeyPtr = std::shared_ptr<const Key>;

  explicit KeyRing(Keyspace& keyspace) : keyspace_(keyspace) {}
  KeyRing(const KeyRing&) = delete;
  // Reads the records, of a store that is open. FailedPrecondition, with what to do: there are keys
  // that the master key does not open, and it is no `repair`, which gives them up: they are kept,
  // and later starts go on without them, until their master key is back and opens them.
  Status load(const MasterKey& master, bool repair, const Report& report);
  // From here on there are keys: what the master key is is known for good (sealing.h).
  void begin();

  // Under the newest version of a key; `of`: what it belongs to. Opened again by the same.
  struct Sealed {
    std::string key_id;
    uint32_t version = 0;
    std::string bytes;
  };
  StatusOr<Sealed> seal(std::string_view key_id, std::string_view text, std::string_view of) const;
  StatusOr<std::string> open(const Sealed& sealed, std::string_view of) const;

  // The one for a purpose, which is made if there is none that the master key opens.
  StatusOr<KeyPtr> standard(Purpose purpose);
  StatusOr<KeyPtr> find(std::string_view id) const;
  std::vector<KeyPtr> list() const;  // by id

  // What an answer about a change waits for.
  struct Changed {
    KeyPtr key;
    Lsn lsn;
  };
  StatusOr<Changed> create(std::string_view description);
  StatusOr<Changed> rotate(std::string_view id);
  StatusOr<Changed> enable(std::string_view id, bool enabled);
  StatusOr<Changed> describe(std::string_view id, std::string_view description);

 private:
  struct Table {
    std::map<std::string, KeyPtr, std::less<>> keys;
    KeyPtr standard[3];  // by purpose

    void put(KeyPtr key) {
      KeyPtr& standard_one = standard[static_cast<size_t>(key->purpose)];
      if (standard_one == nullptr || standard_one->id == key->id) standard_one = key;
      keys[key->id] = std::move(key);
    }
  };
  std::shared_ptr<const Table> table() const {
    MutexLock lock(table_mutex_);
    return table_;
  }
  StatusOr<Changed> create(std::string_view description, Purpose purpose)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(changing_);
  StatusOr<Changed> change(std::string_view id, absl::FunctionRef<Status(Key&)> edit);
  StatusOr<Changed> write(Key key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(changing_);
  Version make_version(const Key& key) const;

  Keyspace& keyspace_;
  Mutex changing_;
  MasterKey master_;                     // constant once it is loaded
  std::shared_ptr<const Table> loaded_;  // until begin()
  mutable SmallMutex table_mutex_;
  std::shared_ptr<const Table> table_ ABSL_GUARDED_BY(table_mutex_);  // null: not begun
};

}  // namespace cairn

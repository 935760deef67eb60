// What a large collection is called in the log, and which key it has now.
//
// The records of a small collection name its key, and renaming it writes it again. A large one has
// an identity, which is never used again: its records name that, and one record more (RecordType::
// kName) says under which key it is found. So a rename is one such record, whatever it holds, and
// no record of it is ever mistaken for one of what has the old name, or had the new one, since:
//
//  1. An identity belongs to one collection for life: in any order, its records make nothing else.
//  2. A key has the collection that its newest name record says, unless something newer than that
//     took the key's place or removed it: name records compete with puts and deletions alone.
//  3. All of a collection is in records under its identity before the first record names it: one
//     without a name is none, and counts for nothing after a crash.
//  4. The newest name record is not older than the oldest record that is needed: whoever writes the
//     collection again, under the lock of its key, ends with a name record.
//
// One that is still being made (CollectionCopy) is the key of its identity in the namespace of
// identities: it has no name record before it is whole.
//
// Threads: any; the fields of an Identity under the lock of its key's stripe.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/mutex.h"
#include "core/base/plant.h"
#include "core/base/types.h"

namespace cairn {

// The namespace of identities in the log: no door knows it, and what is in it when the store opens
// is nothing.
inline constexpr NamespaceId kIdentities{17};

// The value of a name record:
//   name = u64 identity  u64 from  u64 to  (u32 namespace  key)?
//   from, to: in the records from one LSN to the other lies all of it, as it was then; a repair
//             that went over some of them knows it in part alone
//   namespace, key: what it was called before, and is no more
struct NameRecord {
  uint64_t identity = 0;
  Lsn from, to;
  NamespaceId old_ns;  // invalid: it had no other name
  std::string_view old_key = {};

  std::string encode() const {
    std::string out;
    auto put = [&](const auto& v) { out.append(reinterpret_cast<const char*>(&v), sizeof(v)); };
    put(identity);
    put(from.value());
    put(to.value());
    if (!old_ns.valid()) return out;
    put(old_ns.value());
    out.append(old_key);
    return out;
  }
  static std::optional<NameRecord> decode(std::string_view in) {
    uint64_t head[3];
    if (in.size() < sizeof(head)) return std::nullopt;
    std::memcpy(head, in.data(), sizeof(head));
    in.remove_prefix(sizeof(head));
    NameRecord r{head[0], Lsn(head[1]), Lsn(head[2]), {}, {}};
    if (in.empty()) return r;
    uint32_t ns;
    if (in.size() < sizeof(ns)) return std::nullopt;
    std::memcpy(&ns, in.data(), sizeof(ns));
    r.old_ns = NamespaceId(ns);
    r.old_key = in.substr(sizeof(ns));
    return r;
  }
};

// Which key has which identity. An entry may be gone, or flushed and not yet freed: whoever looks
// takes the key's lock and sees whether it still is the collection's.
class Identities {
 public:
  using Name = std::pair<NamespaceId, std::string>;

  // `epoch`: of this life of the store; no other has the same.
  uint64_t next(uint32_t epoch) { return uint64_t{epoch} << 32 | ++last_; }
  void set(uint64_t id, NamespaceId ns, std::string_view key) {
    MutexLock lock(mutex_);
    names_[id] = {ns, std::string(key)};
  }
  void drop(uint64_t id) {
    MutexLock lock(mutex_);
    names_.erase(id);
  }
  std::optional<Name> name_of(uint64_t id) const {
    MutexLock lock(mutex_);
    auto it = names_.find(id);
    if (it == names_.end()) return std::nullopt;
    return it->second;
  }
  std::vector<uint64_t> all() const {  // in order
    MutexLock lock(mutex_);
    std::vector<uint64_t> ids;
    ids.reserve(names_.size());
    for (auto& item : names_) ids.push_back(item.first);
    std::sort(ids.begin(), ids.end());
    return ids;
  }

 private:
  std::atomic<uint32_t> last_{0};
  mutable Mutex mutex_;
  absl::flat_hash_map<uint64_t, Name> names_ ABSL_GUARDED_BY(mutex_);
};

// What is done to a collection while somebody copies it: in the order in which it was done, and no
// longer once the collection is gone. Under the lock of its key's stripe.
class Followed {
 public:
  static constexpr uint64_t kBytesMax = 64 << 20;
  void add(std::string_view operation) {
    bytes_ += operation.size() + sizeof(std::string);
    if (lost()) return operations_.clear();
    operations_.emplace_back(operation);
  }
  bool lost() const { return bytes_ > kBytesMax; }  // more than that was done since the last look
  std::vector<std::string> take() {
    bytes_ = 0;
    return std::exchange(operations_, {});
  }

 private:
  std::vector<std::string> operations_;
  uint64_t bytes_ = 0;
};

// A collection's own; it is known by it as long as this lives.
class Identity {
 public:
  Identity(std::shared_ptr<Identities> all, uint64_t id, NamespaceId ns, std::string_view key)
      : all_(std::move(all)), id_(id) {
    all_->set(id_, ns, key);
  }
  ~Identity() { all_->drop(id_); }
  Identity(const Identity&) = delete;
  Identity& operator=(const Identity&) = delete;

  uint64_t id() const { return id_; }
  // What its records in the log have as their key.
  std::string_view key() const { return key_of(id_); }
  static std::string_view key_of(const uint64_t& id) {
    return {reinterpret_cast<const char*>(&id), sizeof(id)};
  }
  static std::optional<uint64_t> of_key(std::string_view key) {
    uint64_t id;
    if (key.size() != sizeof(id)) return std::nullopt;
    std::memcpy(&id, key.data(), sizeof(id));
    return id;
  }
  void rename(NamespaceId ns, std::string_view key) {
    if (!planted(Bug::kRenameNotNoted)) all_->set(id_, ns, key);
  }
  // Who is told what is done to it, as long as they live.
  void follow(const std::shared_ptr<Followed>& followed) {
    forget_gone();
    followed_.push_back(followed);
  }
  bool is_followed(const Followed* followed) const {
    return std::any_of(followed_.begin(), followed_.end(),
                       [&](auto& f) { return f.lock().get() == followed; });
  }
  void done(std::string_view operation) {
    if (followed_.empty()) return;
    forget_gone();
    for (auto& f : followed_) f.lock()->add(operation);
  }
  Lsn from, to;  // as in the name record

 private:
  void forget_gone() {
    std::erase_if(followed_, [](auto& f) { return f.expired(); });
  }
  const std::shared_ptr<Identities> all_;
  const uint64_t id_;
  std::vector<std::weak_ptr<Followed>> followed_;
};

}  // namespace cairn

// The store's lives and those who use it: world.cc has the lives and the laws, clients.cc what is
// done to keys, collections.cc to hashes, lists and sets, buckets.cc to buckets, listings and
// multipart uploads, versions.cc to buckets that keep versions.
//
// All of it runs on one thread, and what a client notes of a change it notes before anybody else
// runs: so the model is as far as the store at any moment, and what comes back of it after a crash
// is decided by LSN alone.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/extents/blob_writer.h"
#include "core/store/store.h"
#include "core/store/transaction.h"
#include "objects/multipart.h"
#include "tests/sim/damage.h"
#include "tests/sim/model.h"
#include "tests/sim/sim_volume.h"
#include "tests/sim/world.h"

namespace cairn::sim {

class World : public ChangeListener {
 public:
  World(uint64_t seed, int crashes)
      : seed_(seed),
        long_(seed % 20 == 0),
        stays_full_(seed % 20 == 7),
        long_elements_(seed % 4 == 1),
        versions_(seed % 3 == 1),
        rng_(seed),
        crashes_(long_ ? 3 : crashes) {}

  void run() {
    for (life_ = 0; life_ <= crashes_; life_++) live(life_ == crashes_);
  }
  void changed(std::span<const cairn::Change> changes, cairn::Committer* by) override;
  Seen seen;
  uint64_t trace = 0;  // of every call to the volume and its outcome

 private:
  static constexpr uint64_t kSegmentBytes = 64 << 10;
  static constexpr uint64_t kOfAKind = 8;  // keys of each kind in each; the last two are large
  struct Heard {
    Key key;
    What what;
    Lsn lsn;
    bool goes_on;
  };

  uint64_t pick(uint64_t n) { return rng_() % n; }
  [[noreturn]] void wrong(const std::string& what) const { fail(seed_, what); }

  // ---- lives (world.cc) ----
  void live(bool last);
  void turn_clock(bool running);
  StoreOptions make_options();
  void look_at_damage(const StoreOptions& options, bool clean, const Superblocks* older);
  void note_superblocks();
  awaitable<void> close_under(std::vector<awaitable<void>> work);
  static awaitable<void> together(std::vector<awaitable<void>> work);
  void count(Store& store);

  // ---- laws (world.cc) ----
  void settle(const Proven& proven);
  awaitable<void> calm();
  awaitable<void> relieve();
  bool remove(const Key& key);
  std::string space() const;
  awaitable<void> check();
  void check_key(const Key& key, const Value& value, const std::optional<Value>& got, Lsn since);
  void check_count();
  void check_buckets();
  void check_live(const Key& key, const Value& value);
  void check_sweep();
  void check_ended(const std::string& id);
  void check_parts();
  awaitable<void> check_now();
  awaitable<void> follow();
  awaitable<void> check_followed();
  bool changed_since(const Key& key, Lsn since) const;

  // ---- what is done (clients.cc) ----
  awaitable<void> client(uint64_t steps);
  awaitable<bool> step(Lsn& lsn);
  awaitable<bool> remove_one(NamespacePtr ns, std::string key, Lsn& lsn);
  awaitable<bool> put_blob(NamespacePtr ns, std::string key, Lsn& lsn);
  bool put_small(Namespace& ns, const std::string& key, Lsn& lsn);
  awaitable<bool> rest_on(NamespacePtr ns, std::string key);
  awaitable<bool> change_several(Lsn& lsn);
  using Keys = std::vector<std::pair<NamespacePtr, std::string>>;
  bool change_in(Transaction& t, const Keys& keys, size_t i, bool large, std::vector<Change>& made,
                 uint64_t& bytes);
  awaitable<bool> change_collection(NamespacePtr ns, std::string key, Lsn& lsn);
  bool change_collection(Transaction& t, Namespace& ns, const std::string& key, Change& change);
  bool change_hash(Transaction& t, Namespace& ns, const std::string& key, Entry* e, Change& change);
  // What is done to a list, a set or a sorted set, which may not be there yet; empty: nothing.
  std::string some_change(const std::string& key, const Entry* e);
  uint64_t element_bytes(bool large);
  std::string change_list(const Collection* c, bool large);
  std::string change_set(const Collection* c, bool large);
  std::string change_sorted_set(const Collection* c, bool large);
  void note_lapse(const cairn::Change& change, const Key& key);
  Fields some_times(Fields fields);
  awaitable<bool> rename_collection(Lsn& lsn);
  awaitable<bool> copy_collection(Lsn& lsn);
  // `e` is found under another key from now on.
  void rename(Transaction& t, Namespace& from, Entry* e, Namespace& to, const std::string& key,
              std::vector<Change>& made);
  bool take_group(std::vector<Change>& made, Lsn& lsn);
  void choose_fields(const std::string& key, const Entry* e, bool unset, Change& change);
  bool swap_databases(Lsn& lsn);
  bool change_expiry(Namespace& ns, const std::string& key, Lsn& lsn);
  Status expire(Transaction& t, Namespace& ns, Entry* e, Change& change);
  awaitable<Status> append_part(BlobWriter& writer, NamespacePtr ns, std::string& bytes);
  // `pause_ms`: between opening a blob and reading it, as a slow client does.
  awaitable<std::optional<Value>> read(NamespacePtr ns, std::string key, int64_t pause_ms = 0);
  std::string content(size_t size);
  std::string some_key() { return cat_key("key", pick(40)); }
  // A key says what it holds: "list3" a list.
  std::string some_collection() { return cat_key(some_kind(), pick(kOfAKind)); }
  const char* some_kind() {
    static constexpr const char* kKinds[] = {"hash", "hash", "hash", "list", "set", "zset"};
    return kKinds[pick(std::size(kKinds))];
  }
  static std::string_view kind_of(std::string_view key) { return key.substr(0, key.size() - 1); }
  static bool is_collection(std::string_view key) { return !key.starts_with("key"); }
  static bool is_large(std::string_view key) { return key.back() >= '6'; }
  static std::string cat_key(const char* prefix, uint64_t n) { return prefix + std::to_string(n); }
  NamespacePtr some_space();
  NamespacePtr find_space(uint32_t id) const;

  // Whether a write was refused for want of space, which ends by itself, or of its bucket.
  bool refused(const Status& status);
  // Whether the volume would not read: the data is refused, and there.
  bool unread(const Status& status);
  // Notes what a transaction of one change did. False: the client is done.
  bool take(const StatusOr<Lsn>& done, const Change& change, Lsn& lsn);
  void acknowledge(Lsn lsn) { acked_ = std::max(acked_, lsn); }

  // ---- buckets (buckets.cc) ----
  awaitable<bool> use_buckets(Lsn& lsn);
  bool create_bucket(Lsn& lsn);
  bool drop_bucket(Lsn& lsn);
  bool set_tag(Lsn& lsn);
  awaitable<bool> multipart(Lsn& lsn);
  bool begin_upload(Namespace& ns, Lsn& lsn);
  awaitable<bool> put_part(NamespacePtr ns, objects::UploadInfo upload, Lsn& lsn);
  awaitable<bool> complete(NamespacePtr ns, objects::UploadInfo upload, Lsn& lsn);
  // What the model holds of a namespace now: its keys that are not expired.
  std::map<std::string, Value> now_in(uint32_t ns) const;
  std::map<std::string, Value> now_in_all(uint32_t ns) const;  // the same, from all namespaces
  awaitable<bool> check_listing(NamespacePtr ns);
  // Notes what the store told of; `content` is what the keys that were put hold.
  void note_heard(const std::vector<Heard>& heard, const std::string& content, Lsn& lsn);
  void note_put(Namespace& ns, const std::string& key, Lsn lsn, const std::string& bytes);

  // ---- buckets that keep versions (versions.cc) ----
  static bool keeps_versions(const Namespace& ns);
  State now() const;  // of versions alone, with what is not proven
  NamespacePtr some_kept_bucket();
  awaitable<bool> use_versions(Lsn& lsn);
  awaitable<bool> fetch_kept(NamespacePtr ns, Status why);
  bool make_kept_bucket(Lsn& lsn);
  bool drop_kept_bucket(Namespace& ns, Lsn& lsn);
  bool set_versioning(Namespace& ns, Lsn& lsn);
  bool set_object_lock(Namespace& ns, Lsn& lsn);
  VersionLock some_lock();
  bool lock_version(Namespace& ns, const std::string& key, Lsn& lsn, Status& why);
  awaitable<bool> put_kept_blob(NamespacePtr ns, std::string key, Lsn& lsn);
  bool note_version(const Namespace& ns, const std::string& key, Kept kept,
                    const StatusOr<Lsn>& done, Lsn& lsn);
  bool change_kept(Namespace& ns, const std::string& key, uint64_t what, Lsn& lsn, Status& why);
  void note_kept_expiry(const cairn::Change& change, const Key& key);
  awaitable<bool> check_versions();
  bool take_versions(const Key& key);

  const uint64_t seed_;
  const bool long_;           // few lives, long ones, on a volume that is nearly full
  const bool stays_full_;     // the volume, from the second life on
  const bool long_elements_;  // some do not fit into a segment
  const bool versions_;       // there are buckets that keep versions
  Rng rng_;
  const int crashes_;
  Disk disk_;
  int64_t now_ms_ = 1'700'000'000'000;
  Scheduler* scheduler_ = nullptr;
  Store* store_ = nullptr;
  State state_;  // proven
  Ever ever_;
  std::map<Lsn, Change> changes_;             // of this life, in log order
  std::vector<Heard> heard_;                  // of changes that the store told of
  std::map<Lsn, std::vector<Heard>> groups_;  // of several, by the last
  std::map<std::string, std::string> parts_;  // by ETag: what was uploaded
  std::set<uint32_t> ids_;                    // of all buckets that there were
  Lsn acked_, durable_floor_;
  std::set<Lsn> followed_;  // what a live tail of the log has given in this life
  Lsn followed_from_, followed_to_;
  bool follows_ = false, unreadable_ = false;
  std::vector<Superblocks> older_;  // as they were at moments of this life and of those before
  uint64_t next_value_ = 1;
  uint32_t epoch_ = 0;
  int life_ = 0;
  bool was_full_ = false, had_reserve_ = false;
  bool unread_ = false;  // the value read last
};

}  // namespace cairn::sim

#include "kv/commands/digest.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "kv/commands/blob_edit.h"
#include "kv/commands/dump.h"
#include "kv/commands/key_walk.h"
#include "kv/commands/set_view.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"
#include "kv/types/digest.h"
#include "kv/types/hash.h"
#include "kv/types/list.h"
#include "kv/types/stream.h"

namespace cairn::kv {

namespace {

// ---- a large collection, part by part ----

class Parts {
 public:
  virtual ~Parts() = default;
  virtual bool next(Digest& digest) = 0;  // false after the last
  virtual bool lost() const { return false; }
};

constexpr uint64_t kPartMembers = 1000;

class ListParts final : public Parts {
 public:
  explicit ListParts(const List& list) : snapshot_(list.snapshot()), size_(list.size()) {}
  bool next(Digest& digest) override {
    const uint64_t n = std::min(kPartMembers, size_ - at_);
    lost_ = !snapshot_.read([&](const List::Tree& tree) {
      List::walk(tree, at_, n, [&](std::string_view element) {
        digest.mix(element);
        return true;
      });
    });
    at_ += n;
    return !lost_ && at_ < size_;
  }
  bool lost() const override { return lost_; }

 private:
  const Snapshot<List::Tree> snapshot_;
  const uint64_t size_;
  uint64_t at_ = 0;
  bool lost_ = false;
};

// Of a set or a hash.
class TableParts final : public Parts {
 public:
  TableParts(Store& store, KeyHash key, const Set& set)
      : store_(store),
        walk_(std::make_unique<MemberTable::Walk>(*set.table(), MemberTable::kNoTime, key)) {}
  TableParts(Store& store, KeyHash key, const Hash& hash, int64_t now_ms)
      : store_(store), is_set_(false), walk_(std::make_unique<Hash::Walk>(hash, now_ms, key)) {}
  bool next(Digest& digest) override {
    StripeLocks lock(store_);
    lock_set_of(*walk_, lock);
    return walk_->next([&](std::string_view member, std::string_view value) {
      is_set_ ? digest.add(member) : digest.add_field(member, value);
    });
  }
  bool lost() const override { return walk_->lost(); }

 private:
  Store& store_;
  const bool is_set_ = true;
  const std::unique_ptr<MemberTable::Walk> walk_;
};

class SortedParts final : public Parts {
 public:
  explicit SortedParts(const SortedSet& set) : view_(set) {}
  bool next(Digest& digest) override {
    const uint64_t n = std::min(kPartMembers, view_.size() - at_);
    lost_ = !view_.for_each(at_, n, false,
                            [&](const SortedSet::Item& item) { digest.add_scored(item); });
    at_ += n;
    return !lost_ && at_ < view_.size();
  }
  bool lost() const override { return lost_; }

 private:
  const SortedSet::View view_;
  uint64_t at_ = 0;
  bool lost_ = false;
};

class StreamParts final : public Parts {
 public:
  explicit StreamParts(const Stream& stream) : snapshot_(stream.snapshot()), size_(stream.size()) {}
  bool next(Digest& digest) override {
    if (at_ == size_) return false;  // it may be empty
    lost_ = !snapshot_.read([&](const Stream::Tree& tree) {
      uint64_t within = 0, most = at_ + kPartMembers;
      for (auto block = tree.at_rank(at_, within); block && at_ < most; block.next()) {
        digest.mix_block(**block);
        at_ += (*block)->count();
      }
    });
    return !lost_ && at_ < size_;
  }
  bool lost() const override { return lost_; }

 private:
  const Snapshot<Stream::Tree> snapshot_;
  const uint64_t size_;
  uint64_t at_ = 0;
  bool lost_ = false;
};

std::unique_ptr<Parts> parts_of(Context& c, KeyHash hash, const Entry* e) {
  const Collection& value = *e->collection();
  switch (e->type()) {
    case ValueType::kHash:
      return std::make_unique<TableParts>(c.store, hash, static_cast<const Hash&>(value),
                                          c.now_ms());
    case ValueType::kList:
      return std::make_unique<ListParts>(static_cast<const List&>(value));
    case ValueType::kSet:
      return std::make_unique<TableParts>(c.store, hash, static_cast<const Set&>(value));
    case ValueType::kSortedSet:
      return std::make_unique<SortedParts>(static_cast<const SortedSet&>(value));
    default:
      return std::make_unique<StreamParts>(static_cast<const Stream&>(value));
  }
}

// ---- one value ----

bool is_at_once(const Entry* e) { return !e->is_blob() && (e->is_string() || is_small(e)); }

void add_at_once(Digest& digest, const Entry* e, int64_t now_ms) {
  digest.begin(e->type());
  if (e->is_string()) {
    digest.mix(e->value());
  } else {
    digest.add_all(e->type(), *e->collection(), now_ms);
  }
  digest.end(e->has_expiry());
}

awaitable<Status> mix_text(Store& store, const BlobRef& blob, Digest& digest) {
  Sha1Stream sha1;
  BlobReader reader(store.extents(), blob, 0, blob.size);
  while (reader.left() > 0) {
    auto bytes = co_await reader.next();
    if (!bytes.ok()) co_return bytes.status();
    sha1.update({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  }
  digest.mix(sha1.finish());
  co_return absl::OkStatus();
}

// What is left to be done of a value without its lock.
struct Taken {
  HeldValue text;
  std::unique_ptr<Parts> parts;
  bool expires = false;
};

enum class Had : uint8_t { kYes, kAbsent, kRefused };

// kRefused: after it answered the error.
awaitable<Had> take(Context& c, const NamespacePtr& ns, std::string_view key, Digest& digest,
                    Taken& taken) {
  const std::vector<KeyHash> hashes{ns->hash(key)};
  const Faults::Keys values{{ns, key}};
  StripeLocks locks(c.store);
  const Status locked = co_await c.store.faults().lock_with_values(locks, hashes, values);
  if (!locked.ok()) {
    c.status_error(locked);
    co_return Had::kRefused;
  }
  Context::Turn turn(c, locks);
  const Entry* e = c.txn->find(*ns, key, hashes[0]);
  if (e == nullptr) co_return Had::kAbsent;
  if (is_at_once(e)) {
    add_at_once(digest, e, c.now_ms());
    co_return Had::kYes;
  }
  digest.begin(e->type());
  taken.expires = e->has_expiry();
  if (e->is_blob()) {
    taken.text.hold(c.store, e);
  } else {
    taken.parts = parts_of(c, hashes[0], e);
  }
  co_return Had::kYes;
}

// Goes on with `digest`, unless there is no such key.
awaitable<Had> add_value(Context& c, const NamespacePtr& ns, std::string_view key, Digest& digest) {
  constexpr int kTries = 3;
  for (int tries = 0; tries < kTries; tries++) {
    Digest made = digest;
    Taken taken;
    const Had had = co_await take(c, ns, key, made, taken);
    if (had != Had::kYes) co_return had;
    if (taken.text.blob) {
      const Status read = co_await mix_text(c.store, *taken.text.blob, made);
      if (!read.ok()) {
        c.status_error(read);
        co_return Had::kRefused;
      }
    }
    if (taken.parts != nullptr) {
      while (taken.parts->next(made)) {
        co_await between_turns(c);
        if (c.given_up()) co_return Had::kRefused;
      }
      if (taken.parts->lost()) continue;
    }
    made.end(taken.expires);
    digest = made;
    co_return Had::kYes;
  }
  c.reply.error("ERR the value changes faster than it can be read");
  co_return Had::kRefused;
}

// ---- all keys of a database ----

class AllKeys {
 public:
  AllKeys(Context& c, NamespaceId held) : c_(c), walk_(c, held) {}
  // False after it answered an error.
  awaitable<bool> look() {
    constexpr uint64_t kTurnKeys = 1000;
    while (!walk_.at_end()) {
      if (c_.given_up()) co_return false;
      if (!step()) {
        const Status idle = co_await c_.store.busy().until_idle(walk_.place());
        if (idle.ok()) continue;
        c_.status_error(idle);
        co_return false;
      }
      for (const std::string& key : later_) {
        Digest pair;
        pair.mix(key);
        const Had had = co_await add_value(c_, walk_.holder().shared_from_this(), key, pair);
        if (had == Had::kRefused) co_return false;
        if (had == Had::kYes) add(pair);
      }
      if (looked_ < kTurnKeys) continue;
      looked_ = 0;
      co_await between_turns(c_);
    }
    c_.saw_all(walk_.holder());
    co_return true;
  }
  bool any() const { return any_; }
  const Digest& sum() const { return sum_; }

 private:
  // Some keys; those whose values take longer are left. False: their stripe is busy.
  bool step() {
    later_.clear();
    looked_++;
    return walk_.step([this](const Namespace&, const Entry* e) {
      looked_++;
      if (e->is_cold() || !is_at_once(e)) {
        later_.emplace_back(e->key());
        return;
      }
      Digest pair;
      pair.mix(e->key());
      add_at_once(pair, e, c_.now_ms());
      add(pair);
    });
  }
  void add(const Digest& pair) {
    sum_.add(pair);
    any_ = true;
  }

  Context& c_;
  HeldWalk walk_;
  uint64_t looked_ = 0;
  std::vector<std::string> later_;
  Digest sum_;
  bool any_ = false;
};

}  // namespace

awaitable<void> debug_digest(Context& c) {
  Digest all;
  const auto held = held_by_databases(c);
  for (uint32_t i = 0; i < held.size(); i++) {
    AllKeys keys(c, held[i]);
    const bool looked = co_await keys.look();
    if (!looked) co_return;
    if (!keys.any()) continue;
    all.mix(std::string{'\0', '\0', static_cast<char>(i >> 8), static_cast<char>(i)});
    all.add_sum(keys.sum());
  }
  c.reply.simple(all.hex());
}

awaitable<void> debug_digest_values(Context& c) {
  std::vector<std::string> found;
  for (size_t i = 2; i < c.args.size(); i++) {
    Digest digest;
    const Had had = co_await add_value(c, c.session.ns, c.args[i], digest);
    if (had == Had::kRefused) co_return;
    found.push_back(digest.hex());
    if (c.given_up()) co_return;
  }
  c.reply.array(found.size());
  for (const std::string& text : found) c.reply.simple(text);
}

}  // namespace cairn::kv

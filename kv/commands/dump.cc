// DUMP: a value as Redis serializes it.
//
// A small one is answered at once. Of a large one the payload is made in turns, of the value as it
// was at one moment, and lies in extents until it was sent: an answer says first how long it is,
// and its checksum is at its end.
#include "kv/commands/dump.h"

#include <boost/asio/post.hpp>

#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "core/store/collection_copy.h"
#include "core/store/plaintext.h"
#include "kv/commands/blob_edit.h"
#include "kv/commands/set_view.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"
#include "kv/types/list.h"
#include "kv/types/rdb_write.h"

namespace cairn::kv {

namespace {

// ---- a large collection, part by part ----

class Parts {
 public:
  virtual ~Parts() = default;
  virtual bool next(std::string& out) = 0;  // false after the last
  virtual bool lost() const { return false; }
  uint16_t version = rdb::kVersionPlain;
};

constexpr size_t kPartBytes = 64 << 10;

class ListParts final : public Parts {
 public:
  explicit ListParts(const List& list)
      : snapshot_(list.snapshot()), blocks_(list.block_count()), size_(list.size()) {}
  bool next(std::string& out) override {
    if (at_ == 0) rdb::add_head(out, rdb::kListQuicklist2, blocks_);
    lost_ = !snapshot_.read([&](const List::Tree& tree) {
      uint64_t within = 0;
      for (auto c = tree.at_rank(at_, within); c && out.size() < kPartBytes; c.next()) {
        rdb::add_block(out, *c);
        at_ += c->count();
      }
    });
    return !lost_ && at_ < size_;
  }
  bool lost() const override { return lost_; }

 private:
  const Snapshot<List::Tree> snapshot_;
  const uint64_t blocks_, size_;
  uint64_t at_ = 0;
  bool lost_ = false;
};

// Of a set or a hash.
class TableParts final : public Parts {
 public:
  TableParts(Store& store, KeyHash key, const Set& set)
      : store_(store),
        walk_(std::make_unique<MemberTable::Walk>(*set.table(), MemberTable::kNoTime, key)) {
    rdb::add_head(head_, rdb::kSet, set.size());
  }
  TableParts(Store& store, KeyHash key, const Hash& hash, int64_t now_ms)
      : store_(store),
        is_set_(false),
        walk_(std::make_unique<Hash::Walk>(hash, now_ms, key, true)) {
    const size_t size = hash.size(now_ms);
    if (hash.any_timed(now_ms)) {
      version = rdb::kVersionTimes;
      first_ms_ = std::max(hash.next_due(), now_ms);
      rdb::add_times_head(head_, first_ms_, size);
    } else {
      rdb::add_head(head_, rdb::kHash, size);
    }
  }
  bool next(std::string& out) override {
    out.append(head_);
    head_.clear();
    StripeLocks lock(store_);
    lock_set_of(*walk_, lock);
    return walk_->next_timed([&](std::string_view member, std::string_view value, int64_t until) {
      if (version == rdb::kVersionTimes) {
        return rdb::add_timed(out, first_ms_, {member, value, until});
      }
      rdb::add_string(out, member);
      if (!is_set_) rdb::add_string(out, value);
    });
  }
  bool lost() const override { return walk_->lost(); }

 private:
  Store& store_;
  const bool is_set_ = true;
  const std::unique_ptr<MemberTable::Walk> walk_;
  std::string head_;
  int64_t first_ms_ = 0;
};

class SortedParts final : public Parts {
 public:
  explicit SortedParts(const SortedSet& set) : view_(set) {}
  bool next(std::string& out) override {
    constexpr uint64_t kStep = 1000;
    if (done_ == 0) rdb::add_head(out, rdb::kZset2, view_.size());
    const uint64_t n = std::min(kStep, view_.size() - done_);
    lost_ = !view_.for_each(view_.size() - 1 - done_, n, true,
                            [&](const SortedSet::Item& item) { rdb::add_scored(out, item); });
    done_ += n;
    return !lost_ && done_ < view_.size();
  }
  bool lost() const override { return lost_; }

 private:
  const SortedSet::View view_;
  uint64_t done_ = 0;
  bool lost_ = false;
};

// Entries are read from a snapshot; groups have none. Where many are pending in these, they are
// read in turns between which nothing may change; after that failed, at once.
class StreamParts final : public Parts {
 public:
  StreamParts(Context& c, NamespacePtr ns, const Entry* entry, bool at_once)
      : c_(c),
        ns_(std::move(ns)),
        key_(entry->key()),
        hash_(ns_->hash(key_)),
        version_(entry->version()) {
    stream_ = static_cast<const Stream*>(entry->collection());
    snapshot_.emplace(stream_->snapshot());
    blocks_ = stream_->blocks();
    size_ = stream_->size();
    rdb::add_stream_state(state_, *stream_);
    groups_.emplace(*stream_);
    const bool stays = CollectionCopy::is_for(c.store, entry);  // in memory, where it is
    if (at_once || !stays || !groups_->step(state_, kGroupsAtOnce)) {
      while (groups_->step(state_, SIZE_MAX)) {
      }
      groups_.reset();
    }
  }
  bool next(std::string& out) override {
    if (!begun_) rdb::add_head(out, rdb::kStream2, blocks_);
    begun_ = true;
    if (at_ < size_) {
      lost_ = !snapshot_->read([&](const Stream::Tree& tree) {
        uint64_t within = 0;
        for (auto b = tree.at_rank(at_, within); b && out.size() < kPartBytes; b.next()) {
          rdb::add_block(out, **b);
          at_ += (*b)->count();
        }
      });
      return !lost_;
    }
    if (!state_.empty()) {
      out.append(state_);
      state_.clear();
      return groups_.has_value();
    }
    return groups_ && next_groups(out);
  }
  bool lost() const override { return lost_; }

 private:
  static constexpr size_t kGroupsAtOnce = 512 << 10;

  bool next_groups(std::string& out) {
    StripeLocks locks(c_.store, hash_);
    Context::Turn turn(c_, locks);
    const Entry* e = c_.txn->find(*ns_, key_, hash_);
    lost_ = e == nullptr || e->is_cold() || e->collection() != stream_ || e->version() != version_;
    return !lost_ && groups_->step(out, kPartBytes);
  }

  Context& c_;
  const NamespacePtr ns_;
  const std::string key_;
  const KeyHash hash_;
  const Lsn version_;
  const Stream* stream_;
  std::optional<Snapshot<Stream::Tree>> snapshot_;
  std::optional<rdb::StreamGroups> groups_;
  std::string state_;
  uint64_t blocks_ = 0, size_ = 0, at_ = 0;
  bool begun_ = false, lost_ = false;
};

}  // namespace

bool is_small(const Entry* e) {
  constexpr uint64_t kAtOnceMax = 256 << 10;
  const Collection& c = *e->collection();
  if (c.image_bytes() <= kAtOnceMax) return true;
  switch (e->type()) {  // a single one of these may be long
    case ValueType::kHash:
      return static_cast<const Hash&>(c).is_compact();
    case ValueType::kList:
      return static_cast<const List&>(c).is_small();
    case ValueType::kSet:
      return static_cast<const Set&>(c).table() == nullptr;
    case ValueType::kSortedSet:
      return static_cast<const SortedSet&>(c).is_compact();
    default:
      return false;
  }
}

namespace {

std::unique_ptr<Parts> parts_of(Context& c, const NamespacePtr& ns, const Entry* e, bool at_once) {
  const Collection& value = *e->collection();
  const KeyHash hash = ns->hash(e->key());
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
      return std::make_unique<StreamParts>(c, ns, e, at_once);
  }
}

// ---- on its way into extents ----

class Writer {
 public:
  Writer(Store& store, uint64_t bytes_max) : writer_(store.extents(), 0), bytes_max_(bytes_max) {}
  awaitable<Status> add(std::string_view bytes) {
    if (writer_.size() + bytes.size() + rdb::kFooterBytes > bytes_max_) {
      co_return absl::ResourceExhaustedError("the payload would be longer than a word may be");
    }
    crc_ = rdb::crc64(crc_, bytes);
    co_return co_await writer_.append(as_bytes(bytes));
  }
  awaitable<StatusOr<BlobRef>> finish(uint16_t version) {
    const std::string footer = rdb::footer(version, crc_);
    const Status added = co_await writer_.append(as_bytes(footer));
    if (!added.ok()) co_return added;
    co_return co_await writer_.finish();
  }

 private:
  BlobWriter writer_;
  const uint64_t bytes_max_;
  uint64_t crc_ = 0;
};

awaitable<Status> write_text(Store& store, const BlobRef& blob, Writer& writer) {
  std::string head(1, '\0');
  rdb::add_length(head, blob.size);
  Status status = co_await writer.add(head);
  BlobReader reader(store.extents(), blob, 0, blob.size);
  while (status.ok() && reader.left() > 0) {
    auto bytes = co_await reader.next();
    if (!bytes.ok()) co_return bytes.status();
    status = co_await writer.add({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  }
  co_return status;
}

awaitable<Status> write_parts(Context& c, Parts& parts, Writer& writer) {
  const auto executor = co_await asio::this_coro::executor;
  std::string part;
  for (bool more = true; more;) {
    if (c.session.ends()) co_return absl::CancelledError("the connection ends");
    more = parts.next(part);
    if (more && part.size() < kPartBytes) continue;
    const Status status = co_await writer.add(part);
    if (!status.ok()) co_return status;
    part.clear();
    co_await asio::post(executor, asio::use_awaitable);
  }
  co_return absl::OkStatus();
}

std::string with_footer(std::string out, uint16_t version) {
  out.append(rdb::footer(version, rdb::crc64(0, out)));
  return out;
}

// What is encrypted and at hand.
Dumped open_text(Context& c, const Entry* e, HeldPayload& payload) {
  const auto text = plaintext_of(c.store.keys(), e->meta(), e->value());
  if (text.ok()) {
    std::string out;
    rdb::add_text(out, *text);
    payload.text = with_footer(std::move(out), rdb::kVersionPlain);
    return Dumped::kMade;
  }
  if (absl::IsFailedPrecondition(text.status())) return Dumped::kClosed;
  c.status_error(text.status());
  return Dumped::kRefused;
}

// What a payload is made of, as it is at one moment.
struct Taken {
  HeldValue text;
  std::unique_ptr<Parts> parts;
};

awaitable<Dumped> take(Context& c, const PayloadOf& what, bool at_once, Taken& taken,
                       HeldPayload& payload) {
  const KeyHash hash = what.ns->hash(what.key);
  const std::vector<KeyHash> hashes{hash};
  const Faults::Keys values{{what.ns, what.key}};
  StripeLocks locks(c.store);
  const Status locked =
      co_await c.store.faults().lock_with_values(locks, hashes, values, what.patience);
  if (!locked.ok()) {
    c.status_error(locked);
    co_return Dumped::kRefused;
  }
  Context::Turn turn(c, locks);
  if (what.held && what.ns->stored() != *what.held) co_return Dumped::kMoved;
  const Entry* e = c.txn->find(*what.ns, what.key, hash);
  if (e == nullptr) co_return Dumped::kAbsent;
  const bool encrypted = is_encrypted(e);
  if (encrypted && !what.opens) {
    c.status_error(absl::FailedPreconditionError(std::string(kEncrypted)));
    co_return Dumped::kRefused;
  }
  payload.expire_ms = e->has_expiry() ? e->expire_ms() : 0;
  payload.version = e->version();
  if (e->is_blob()) {
    if (encrypted) payload.meta = e->meta();
    taken.text.hold(c.store, e);
  } else if (encrypted) {
    co_return open_text(c, e, payload);
  } else if (auto text = payload_at_once(e, c.now_ms())) {
    payload.text = *std::move(text);
  } else {
    taken.parts = parts_of(c, what.ns, e, at_once);
  }
  co_return Dumped::kMade;
}

}  // namespace

HeldPayload::~HeldPayload() {
  if (blob) store.extents().unref(*blob);
}

bool add_body_at_once(std::string& out, const Entry* e, int64_t now_ms, uint16_t& version,
                      bool whole) {
  version = rdb::kVersionPlain;
  if (e->is_blob() || is_encrypted(e)) return false;
  if (const Collection* collection = e->collection()) {
    if (!whole && !is_small(e)) return false;
    version = rdb::add_value(out, e->type(), *collection, now_ms);
  } else {
    rdb::add_text(out, e->value());
  }
  return true;
}

std::optional<std::string> payload_at_once(const Entry* e, int64_t now_ms, bool whole) {
  std::string out;
  uint16_t version;
  if (!add_body_at_once(out, e, now_ms, version, whole)) return std::nullopt;
  return with_footer(std::move(out), version);
}

awaitable<Dumped> payload_in_turns(Context& c, const PayloadOf& what, HeldPayload& payload) {
  constexpr int kTries = 3;
  for (int tries = 1; tries <= kTries; tries++) {
    Taken taken;
    const Dumped how = co_await take(c, what, tries == kTries, taken, payload);
    if (how != Dumped::kMade || !payload.text.empty()) co_return how;
    if (taken.text.blob && what.bare_strings) {
      payload.blob = std::exchange(taken.text.blob, std::nullopt);
      payload.is_bare = true;
      co_return Dumped::kMade;
    }
    Writer writer(c.store, what.bytes_max);
    Status status;
    if (taken.parts == nullptr) {
      status = co_await write_text(c.store, *taken.text.blob, writer);
    } else {
      status = co_await write_parts(c, *taken.parts, writer);
    }
    if (c.given_up()) co_return Dumped::kRefused;
    if (status.ok() && taken.parts != nullptr && taken.parts->lost()) continue;
    if (status.ok()) {
      auto blob = co_await writer.finish(taken.parts == nullptr ? rdb::kVersionPlain
                                                                : taken.parts->version);
      if (blob.ok()) {
        payload.blob = *std::move(blob);
        co_return Dumped::kMade;
      }
      status = blob.status();
    }
    c.status_error(status);
    co_return Dumped::kRefused;
  }
  c.reply.error("ERR the value changes faster than it can be read");
  co_return Dumped::kRefused;
}

awaitable<Dumped> payload_in_turns(Context& c, std::string_view key, HeldPayload& payload) {
  const PayloadOf what{
      .ns = c.session.ns, .key = key, .bytes_max = c.engine.server().proto_max_bulk_len};
  const Dumped how = co_await payload_in_turns(c, what, payload);
  if (how != Dumped::kRefused) c.engine.count_hit(how != Dumped::kAbsent);  // it was read, once
  co_return how;
}

namespace {

void dump(Context& c) {
  Entry* e = c.find(c.args[1]);
  if (e == nullptr) return c.reply.null();
  const Collection* collection = e->collection();
  const uint64_t most = text_at_once_max(c.store.memory_bytes());
  const bool whole = c.in_exec && collection != nullptr && collection->image_bytes() <= most;
  if (const auto payload = payload_at_once(e, c.now_ms(), whole)) return c.reply.bulk(*payload);
  if (!c.in_exec || collection != nullptr) return c.defer();
  const auto text = text_at_once(c, e);
  if (!text) return;
  std::string out;
  rdb::add_text(out, *text);
  c.reply.bulk(with_footer(std::move(out), rdb::kVersionPlain));
}

awaitable<void> dump_deferred(Context& c) {
  HeldPayload payload(c.store);
  const Dumped how = co_await payload_in_turns(c, c.args[1], payload);
  if (how == Dumped::kRefused) co_return;
  if (how == Dumped::kAbsent) co_return c.reply.null();
  if (!payload.blob) co_return c.reply.bulk(payload.text);
  c.reply.stream(
      std::make_unique<BlobReader>(c.store.extents(), *payload.blob, 0, payload.blob->size));
}

constexpr Row kRows[] = {
    {"dump", 2, kReadOnly, kReadsKey, dump, dump_deferred, "generic",
     "Returns a serialized representation of the value stored at a key.", "2.6.0"},
};

}  // namespace
std::span<const Row> dump_rows() { return kRows; }

}  // namespace cairn::kv

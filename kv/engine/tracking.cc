#include "kv/engine/tracking.h"

#include <algorithm>

#include "core/base/limits.h"
#include "core/base/text.h"
#include "kv/engine/channels.h"
#include "kv/engine/engine.h"

namespace cairn::kv {

namespace {

// Of a key in the table, with its first reader, beside a long name; of each other reader.
constexpr int64_t kKeyBytes = 96, kReaderBytes = 16;
constexpr size_t kNameInPlace = 15;
// Of a prefix, in the table and its client's.
constexpr uint64_t kPrefixBytes = 256;

int64_t bytes_of(const std::string& key, size_t readers) {
  const size_t text = key.size() > kNameInPlace ? key.size() + 1 : 0;
  return kKeyBytes + static_cast<int64_t>(text) +
         kReaderBytes * static_cast<int64_t>(readers > 0 ? readers - 1 : 0);
}

using Text = std::shared_ptr<const std::string>;
Text text_of(std::string text) { return std::make_shared<const std::string>(std::move(text)); }

// Owned by nobody, so that outboxes do not count who holds them.
Text unowned(const std::string& text) { return {Text(), &text}; }
const std::string kPushHead = "2\r\n$10\r\ninvalidate\r\n";
const std::string kMessageHead = "3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
const std::string kNull = "_\r\n", kOldNull = "$-1\r\n";
const std::string kBrokenHead = "2\r\n$21\r\ntracking-redir-broken\r\n";

Text list_of(std::span<const std::string_view> keys) {
  std::string text = cat("*", keys.size(), "\r\n");
  for (std::string_view key : keys) append(text, "$", key.size(), "\r\n", key, "\r\n");
  return text_of(std::move(text));
}

// Whoever commits changes for a client says who that is; 0: it is no client of this door.
uint64_t client_of(Committer* by) {
  const auto* ready = dynamic_cast<const ReadyKeys*>(by);
  return ready == nullptr ? 0 : ready->client;
}

}  // namespace

// ---- the client's part ----

Tracker::Tracker(Session& session) : id_(session.id), session_(&session) {}

bool Tracker::remembers() const {
  const uint32_t flags = flags_.load(std::memory_order_relaxed);
  if ((flags & kOn) == 0 || (flags & kBroadcast) != 0) return false;
  const bool said = (flags & kCaching) != 0;
  return ((flags & kOptIn) == 0 || said) && ((flags & kOptOut) == 0 || !said);
}

int64_t Tracker::redirect() const {
  return has(kOn) ? static_cast<int64_t>(redirect_.load(std::memory_order_relaxed)) : -1;
}

std::string Tracker::letters() const {
  return cat(has(kOn) ? "t" : "", has(kBroken) ? "R" : "", has(kBroadcast) ? "B" : "");
}

TrackerOf::~TrackerOf() {
  Tracker& t = *tracker_;
  Session* session = nullptr;
  {
    MutexLock lock(t.mutex_);
    session = t.session_;
  }
  if (t.tracking_ != nullptr) (void)t.tracking_->leave(*session, SIZE_MAX);
  MutexLock lock(t.mutex_);
  t.session_ = nullptr;
}

// ---- telling ----

// What is told: keys, or that all of them are to be forgotten.
struct Tracking::Message {
  Text body, old;  // in RESP3 and in RESP2
};

// Tells clients, and keeps those to whom others redirect until all locks are given back: it may be
// the last one that holds them, and their end takes locks too.
class Tracking::Telling {
 public:
  explicit Telling(Tracking& tracking) : channels_(tracking.channels_) {}

  void tell(Tracker& tracker, const Message& message) {
    MutexLock lock(tracker.mutex_);
    if (tracker.session_ == nullptr) return;
    const uint64_t redirect = tracker.redirect_.load(std::memory_order_relaxed);
    if (redirect == 0) {
      (void)push(*tracker.session_, message, false);
      return;
    }
    if (std::shared_ptr<Session> target = tracker.target_.lock()) {
      const bool taken = push(*target, message, true);
      kept_.push_back(std::move(target));
      if (taken) return;
    }
    tracker.flags_.fetch_or(Tracker::kBroken, std::memory_order_relaxed);
    Session& session = *tracker.session_;
    MutexLock its(session.mutex);
    if (session.listed_resp < 3) return;
    (void)channels_.push(session, {unowned(kBrokenHead), text_of(cat(":", redirect, "\r\n"))});
  }
  // Which keys were changed by whom: all of a call by one.
  bool skips(const Tracker& tracker, uint64_t by) const {
    return by != 0 && tracker.id_ == by && tracker.has(Tracker::kNoLoop);
  }

 private:
  // False: it is gone.
  bool push(Session& session, const Message& message, bool redirected) {
    MutexLock lock(session.mutex);  // it speaks this protocol until it has the message
    if (session.listed_resp > 2) {
      return channels_.push(session, {unowned(kPushHead), message.body});
    }
    // In RESP2 nothing can come to a client that does not listen.
    if (!redirected || !session.subscriptions.any_seen()) return !session.outbox.closed();
    return channels_.push(session, {unowned(kMessageHead), message.old});
  }

  Channels& channels_;
  std::vector<std::shared_ptr<Session>> kept_;
};

void Tracking::tell_readers(std::string_view key, const Readers& readers, uint64_t by,
                            Telling& telling) {
  Message message;
  for (const TrackerPtr& reader : readers) {
    // What was remembered before it began to broadcast is nothing to it now.
    if (!reader->has(Tracker::kOn) || reader->has(Tracker::kBroadcast)) continue;
    if (telling.skips(*reader, by)) continue;
    if (message.body == nullptr) message.body = message.old = list_of({&key, 1});
    telling.tell(*reader, message);
  }
}

void Tracking::changed(std::span<const Change> changes, Committer* by) {
  if (!any() || changes.empty()) return;
  Telling telling(*this);
  // What expires or is evicted nobody has done.
  const uint64_t client = changes[0].cause == Cause::kUser ? client_of(by) : 0;
  bool flushed = false;
  for (const Change& c : changes) {
    if (c.unseen || c.cause == Cause::kCopy || c.ns->id == kSystemNamespace) continue;
    if (!c.of_all()) {
      forget(c.key, client, telling);
    } else if (!std::exchange(flushed, true)) {
      flush(telling);
    }
  }
  if (prefixes() > 0) broadcast(changes, client, telling);
}

void Tracking::flush(Telling& telling) {
  retire();
  const Message all{unowned(kNull), unowned(kOldNull)};
  MutexLock lock(clients_mutex_);
  for (const TrackerPtr& tracker : trackers_) telling.tell(*tracker, all);
}

// ---- prefixes ----

// All that the key begins with, each but once. They stand in order: the nearest one before the key
// either is one of them, or shows how much of the key the next one can be at most.
void Tracking::match(std::string_view key, std::vector<Prefixes::value_type*>& found) {
  for (auto it = prefixes_.upper_bound(key); it != prefixes_.begin();) {
    --it;
    const std::string_view text = it->first;
    const auto parted = std::mismatch(text.begin(), text.end(), key.begin(), key.end()).first;
    auto common = static_cast<size_t>(parted - text.begin());
    if (common == text.size()) {
      found.push_back(&*it);
      if (common-- == 0) return;
    }
    it = prefixes_.upper_bound(key.substr(0, common));
  }
}

void Tracking::broadcast(std::span<const Change> changes, uint64_t by, Telling& telling) {
  std::vector<Prefixes::value_type*> found, told;
  MutexLock lock(prefixes_mutex_);
  for (const Change& c : changes) {
    if (c.of_all() || c.unseen || c.cause == Cause::kCopy || c.ns->id == kSystemNamespace) continue;
    found.clear();
    match(c.key, found);
    for (auto* p : found) {
      auto& keys = p->second.keys;
      if (keys.empty()) told.push_back(p);
      keys.push_back(c.key);
    }
  }
  // Prefixes in order, and their keys, as redis-server tells them.
  std::sort(told.begin(), told.end(), [](auto* a, auto* b) { return a->first < b->first; });
  for (auto* p : told) {
    auto& keys = p->second.keys;
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    const Text list = list_of(keys);
    keys = {};
    for (const TrackerPtr& tracker : p->second.trackers) {
      if (!telling.skips(*tracker, by)) telling.tell(*tracker, {list, list});
    }
  }
}

void Tracking::add_prefix(const TrackerPtr& tracker, std::string_view text) {
  if (!tracker->prefixes_.emplace(text).second) return;
  tracker->bytes_ += kPrefixBytes + 2 * text.size();
  MutexLock lock(prefixes_mutex_);
  prefixes_[std::string(text)].trackers.insert(tracker);
  prefixes_count_.store(prefixes_.size(), std::memory_order_relaxed);
}

// ---- who tracks ----

Tracking::Tracking(Store& store, Channels& channels, const std::atomic<uint64_t>& keys_max)
    : store_(store), channels_(channels), keys_max_(keys_max), shards_(kShards) {
  store.listeners().add(*this);
}

Tracking::~Tracking() = default;

void Tracking::enable(Session& session, const Options& options) {
  const TrackerPtr& tracker = session.tracker.shared();
  Tracker& t = *tracker;
  const bool begins = !t.has(Tracker::kOn);
  {
    MutexLock lock(session.mutex);
    session.listed_resp = session.resp;
  }
  {
    MutexLock lock(t.mutex_);
    t.target_ = options.target;
    t.redirect_.store(options.redirect, std::memory_order_relaxed);
    const uint32_t said = t.flags_.load(std::memory_order_relaxed) & Tracker::kCaching;
    t.flags_.store(Tracker::kOn | options.flags | said, std::memory_order_relaxed);
  }
  t.tracking_ = this;
  if (begins) {
    MutexLock lock(clients_mutex_);
    trackers_.insert(tracker);
    clients_.fetch_add(1, std::memory_order_relaxed);
    store_.listeners().interest(1);
  }
  if ((options.flags & Tracker::kBroadcast) == 0) return;
  if (options.prefixes.empty()) add_prefix(tracker, "");
  for (std::string_view prefix : options.prefixes) add_prefix(tracker, prefix);
}

bool Tracking::leave(Session& session, size_t most) {
  const TrackerPtr& tracker = session.tracker.shared();
  Tracker& t = *tracker;
  if (t.has(Tracker::kOn)) {
    t.flags_.store(0, std::memory_order_relaxed);
    MutexLock lock(clients_mutex_);
    trackers_.erase(tracker);
    clients_.fetch_sub(1, std::memory_order_relaxed);
    store_.listeners().interest(-1);
    if (trackers_.empty()) retire();  // nobody hears of changes any more
  }
  if (t.prefixes_.empty()) return false;
  MutexLock lock(prefixes_mutex_);
  for (; most > 0 && !t.prefixes_.empty(); most--) {
    const auto own = t.prefixes_.begin();
    const auto it = prefixes_.find(*own);
    it->second.trackers.erase(tracker);
    if (it->second.trackers.empty()) prefixes_.erase(it);
    t.bytes_ -= kPrefixBytes + 2 * own->size();
    t.prefixes_.erase(own);
  }
  prefixes_count_.store(prefixes_.size(), std::memory_order_relaxed);
  return !t.prefixes_.empty();
}

// ---- the table ----

void Tracking::count(size_t shard, const std::string& key, const Readers& readers, int sign) {
  const int64_t bytes = sign * bytes_of(key, readers.size());
  store_.memory_count().add(shard, bytes);
  bytes_.fetch_add(static_cast<uint64_t>(bytes), std::memory_order_relaxed);
}

void Tracking::remember(std::string_view key, const TrackerPtr& tracker) {
  tracker->remembered_++;
  constexpr size_t kMany = 8;  // readers, among whom some may be gone
  const size_t at = shard_of(key);
  Shard& shard = shards_[at];
  MutexLock lock(shard.mutex);
  auto it = shard.keys.find(key);
  if (it == shard.keys.end()) {
    it = shard.keys.emplace(key, Readers{tracker}).first;
    keys_.fetch_add(1, std::memory_order_relaxed);
    shard.items++;
    return count(at, it->first, it->second, 1);
  }
  Readers& readers = it->second;
  auto place = std::lower_bound(readers.begin(), readers.end(), tracker);
  if (place != readers.end() && *place == tracker) return;
  count(at, it->first, readers, -1);
  const size_t before = readers.size();
  if (before >= kMany && (before & (before - 1)) == 0) {
    const auto gone = [](const TrackerPtr& r) { return !r->has(Tracker::kOn); };
    readers.erase(std::remove_if(readers.begin(), readers.end(), gone), readers.end());
    place = std::lower_bound(readers.begin(), readers.end(), tracker);
  }
  readers.insert(place, tracker);
  shard.items += readers.size() - before;
  count(at, it->first, readers, 1);
}

bool Tracking::remembered(std::string_view key, const TrackerPtr& tracker) {
  Shard& shard = shards_[shard_of(key)];
  MutexLock lock(shard.mutex);
  const auto it = shard.keys.find(key);
  return it != shard.keys.end() &&
         std::binary_search(it->second.begin(), it->second.end(), tracker);
}

void Tracking::forget(std::string_view key, uint64_t by, Telling& telling) {
  if (keys() == 0) return;
  const size_t at = shard_of(key);
  Shard& shard = shards_[at];
  Keys::node_type taken;
  {
    MutexLock lock(shard.mutex);
    const auto it = shard.keys.find(key);
    if (it == shard.keys.end()) return;
    taken = shard.keys.extract(it);
    shard.items -= taken.mapped().size();
  }
  const Readers& readers = taken.mapped();
  keys_.fetch_sub(1, std::memory_order_relaxed);
  count(at, taken.key(), readers, -1);
  tell_readers(key, readers, by, telling);
}

// All of it at once; it is freed later, since it may be much, and locks are held.
void Tracking::retire() {
  for (Shard& shard : shards_) {
    Keys gone;
    {
      MutexLock lock(shard.mutex);
      gone.swap(shard.keys);
      shard.items = 0;
    }
    if (gone.empty()) continue;
    keys_.fetch_sub(gone.size(), std::memory_order_relaxed);
    MutexLock lock(retired_mutex_);
    retired_.push_back(std::move(gone));
    any_retired_ = true;
  }
}

uint64_t Tracking::items() {
  uint64_t sum = 0;
  for (Shard& shard : shards_) {
    MutexLock lock(shard.mutex);
    sum += shard.items;
  }
  return sum;
}

bool Tracking::too_much() const {
  const uint64_t most = keys_max_.load(std::memory_order_relaxed);
  return (most != 0 && keys() > most) ||
         bytes_.load(std::memory_order_relaxed) > limits::workspace(store_.memory_bytes());
}

bool Tracking::evict_one() {
  const uint64_t random = store_.random();
  for (size_t i = 0; i < kShards; i++) {
    Shard& shard = shards_[(random + i) % kShards];
    std::string key;
    {
      MutexLock lock(shard.mutex);
      const Keys& keys = shard.keys;
      if (keys.empty()) continue;
      const size_t buckets = keys.bucket_count();
      size_t bucket = (random >> 8) % buckets;
      const bool sparse = keys.size() < buckets / 8;  // it was larger once
      while (!sparse && keys.bucket_size(bucket) == 0) bucket = (bucket + 1) % buckets;
      key = sparse ? keys.begin()->first : keys.begin(bucket)->first;
    }
    Telling telling(*this);
    forget(key, 0, telling);
    return true;
  }
  return false;
}

void Tracking::tidy(size_t most) {
  for (size_t n = 0; n < most && too_much(); n++) {
    if (!evict_one()) break;
  }
  if (!any_retired_.load(std::memory_order_relaxed)) return;
  MutexLock lock(retired_mutex_);
  for (; most > 0 && !retired_.empty(); most--) {
    Keys& keys = retired_.back();
    const auto node = keys.extract(keys.begin());
    count(shard_of(node.key()), node.key(), node.mapped(), -1);
    if (keys.empty()) retired_.pop_back();
  }
  if (retired_.empty()) any_retired_ = false;
}

// ---- around commands ----

void Tracking::note(const TrackerPtr& tracker, const Request& request, bool later) {
  for (const Key& key : request.keys) {
    if (key.ns == nullptr) continue;
    if (later) {
      tracker->noted_.emplace(key.name);
    } else {
      remember(key.name, tracker);
    }
  }
}

// What the transaction has read until now and changes from here on is told at its end.
void Tracking::overwrites(const TrackerPtr& tracker, const Context& c) {
  auto& noted = tracker->noted_;
  if ((c.row.flags & kWholeSpace) != 0) {
    for (const std::string& key : noted) remember(key, tracker);
    return noted.clear();
  }
  for (const Key& key : c.request.keys) {
    if ((key.flags & kKeyChanges) == 0 || noted.erase(key.name) == 0) continue;
    remember(key.name, tracker);
  }
}

namespace {
// Scripts are their commands.
bool reads(const Row& row) { return (row.flags & kReadOnly) != 0 && row.group != "scripting"; }

// Whether one of the prefixes of a client that broadcasts is the key's: none begins with another,
// so it can only be the last one before it.
bool covers(const Tracker& tracker, std::string_view key) {
  if (!tracker.has(Tracker::kOn) || !tracker.has(Tracker::kBroadcast)) return false;
  const auto after = tracker.prefixes().upper_bound(key);
  return after != tracker.prefixes().begin() && key.starts_with(*std::prev(after));
}
}  // namespace

void Tracking::runs(Context& c) {
  const TrackerPtr& tracker = c.session.tracker.shared();
  if ((c.row.flags & kWrite) != 0 && !tracker->noted_.empty()) overwrites(tracker, c);
  if (!reads(c.row)) return;
  // What may answer later than it reads is told again behind that, in broadcast mode too.
  if (c.row.run_deferred != nullptr && !c.in_exec) {
    for (const Key& key : c.request.keys) {
      if (key.ns != nullptr && covers(*tracker, key.name)) tracker->noted_.emplace(key.name);
    }
  }
  if (!tracker->remembers()) return;
  note(tracker, c.request, c.in_exec);
  // As redis-server 7.0: a script that reads anything has read all that it declares.
  if (c.script != nullptr) note(tracker, *c.script, true);
}

void Tracking::ran(Session& session, const Row* row, bool again, bool over) {
  constexpr size_t kAtOnce = 100;
  const TrackerPtr& tracker = session.tracker.shared();
  if (!tracker->noted_.empty()) {
    // Of who broadcasts: only until it is answered.
    const bool wanted = tracker->has(Tracker::kOn) && (!over || !tracker->has(Tracker::kBroadcast));
    for (const std::string& key : tracker->noted_) {
      if (wanted && !again) remember(key, tracker);
    }
    tracker->noted_.clear();
  }
  if (over) command_over(*tracker, session, row);
  tidy(kAtOnce + std::exchange(tracker->remembered_, 0));
}

void Tracking::answered(Session& session, const Request& request) {
  const TrackerPtr& tracker = session.tracker.shared();
  if (reads(*request.row)) {
    Telling telling(*this);
    for (const Key& key : request.keys) {
      if (key.ns == nullptr || (!tracker->remembers() && !covers(*tracker, key.name))) continue;
      if (remembered(key.name, tracker)) continue;
      const Text list = list_of({&key.name, 1});
      telling.tell(*tracker, {list, list});
    }
  }
  command_over(*tracker, session, request.row);
}

// CLIENT CACHING is for the next command, or the next transaction.
void Tracking::command_over(Tracker& tracker, const Session& session, const Row* row) {
  if (!tracker.has(Tracker::kCaching) || session.in_multi) return;
  if (row != nullptr && row->name.starts_with("client|")) return;
  tracker.flags_.fetch_and(~uint32_t{Tracker::kCaching}, std::memory_order_relaxed);
}

}  // namespace cairn::kv

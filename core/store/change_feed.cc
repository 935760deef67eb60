#include "core/store/change_feed.h"

#include <algorithm>

#include "core/extents/blob_ref.h"
#include "core/index/identities.h"
#include "core/log/record_parts.h"
#include "core/store/value.h"

namespace cairn {

std::span<const FeedEvent> ChangeFeed::Taken::events() const {
  if (batch_ == nullptr) return {};
  const auto& all = batch_->events;
  const auto first = std::lower_bound(all.begin(), all.end(), from_,
                                      [](const FeedEvent& e, Lsn lsn) { return e.lsn < lsn; });
  return std::span(all).subspan(static_cast<size_t>(first - all.begin()));
}

// ---- reading ----

ChangeFeed::Reader::Reader(Keyspace& keyspace, Lsn from)
    : keyspace_(keyspace), tail_(keyspace.volume_, keyspace.log_, keyspace.lives_, from) {
  // A swap takes all stripes: any one will do, and one that is busy would have to give way.
  StripeLocks lock(keyspace);
  bool locked = false;
  for (uint64_t i = 0; i < 64 && !locked; i++) {
    locked = lock.lock_idle(hash_key({reinterpret_cast<const char*>(&i), sizeof(i)}, 1));
  }
  if (!locked) lock.lock(KeyHash{0});
  if (keyspace.swap_record_ < from || !keyspace.swap_record_.valid()) {
    holdings_ = keyspace.holdings();
  }
}

NamespacePtr ChangeFeed::Reader::find(NamespaceId stored, NamespaceId& id) {
  id = stored;
  if (const uint32_t number = database_number(stored); number != UINT32_MAX) {
    if (!holdings_) return nullptr;
    for (uint32_t i = 0; i < keyspace_.databases(); i++) {
      if (holdings_->held_by(i) != number) continue;
      Namespace& ns = keyspace_.database(i);
      id = ns.id;
      return ns.shared_from_this();
    }
    return nullptr;
  }
  NamespacePtr& known = buckets_[stored.value()];
  if (known == nullptr) known = keyspace_.namespace_by_id(stored);
  return known;
}

namespace {
// Whether it has other metadata, and is the same object.
bool amends(const RecordView& r) {
  return r.cause == Cause::kTagsPut || r.cause == Cause::kTagsDelete || r.cause == Cause::kAclPut ||
         r.cause == Cause::kLockPut;
}

// Of a record of a bucket's companion; false: it is told of elsewhere, or of nobody's doing.
bool take_version(const RecordView& r, FeedEvent& e, std::string& key) {
  using Kind = FeedEvent::Kind;
  const auto tag = version_in(r.meta);
  auto name = key_of_version(r.key);
  e.version = version_of_key(r.key);
  if (!tag || !name || !e.version) return false;
  key = std::move(*name);
  e.version->marker = tag->version.marker;
  if (r.type == RecordType::kDelete) {
    e.kind = Kind::kVersionRemove;
    return true;
  }
  e.kind = e.version->marker ? Kind::kMarker : Kind::kVersionPut;
  return r.type == RecordType::kPut && (e.version->marker || amends(r));
}
}  // namespace

void ChangeFeed::Reader::take(const RecordView& r, Lsn lsn, Batch& batch) {
  const size_t before = batch.events.size();
  translate(r, lsn, batch);
  // What is not told may end what is.
  if (before > 0 && batch.events.size() == before && !r.goes_on) batch.events.back().ends = true;
}

void ChangeFeed::Reader::translate(const RecordView& r, Lsn lsn, Batch& batch) {
  using Kind = FeedEvent::Kind;
  if (r.type == RecordType::kSwap) {  // a copy, too, says what holds there
    holdings_ = Holdings::decode(r.value);
  }
  if (r.cause == Cause::kCopy || r.ns == kSystemNamespace) return;
  FeedEvent e;
  e.lsn = lsn;
  e.written = r.has_origin() ? r.version : lsn;
  e.cause = r.cause;
  e.ends = !r.goes_on;
  e.type = static_cast<ValueType>(r.flags >> 4);
  e.expire_ms = r.has_expiry() ? r.expire_ms : 0;
  NamespaceId stored = r.ns;
  std::string_view key = r.key;
  std::string versioned;
  if (is_versions(r.ns)) {
    if (!take_version(r, e, versioned)) return;
    stored = bucket_of(r.ns);
    key = versioned;
  } else if (const auto tag = version_in(r.meta); tag && tag->bucket == r.ns) {
    e.version = tag->version;
  }
  switch (r.type) {
    case RecordType::kPut:
      if (e.is_of_current() && r.has_origin() && !amends(r)) e.kind = Kind::kPutBack;
      if (e.type != ValueType::kString) break;
      e.is_blob = r.is_blob();
      e.meta = r.meta;
      e.size = e.is_blob ? BlobRef::size_of(r.value) : r.value.size();
      if (const auto size = encrypted_size(r.meta)) {
        e.is_encrypted = true;
        e.size = *size;
      } else if (!e.is_blob) {
        e.value = r.value;
      }
      break;
    case RecordType::kDelete:
      if (e.is_of_current()) e.kind = Kind::kRemove;
      break;
    case RecordType::kOperation:
      e.kind = Kind::kOperate;
      break;
    case RecordType::kOperationPart: {
      const auto place = PartPlace::decode(r.meta);
      if (!place || place->offset != 0) return;
      e.kind = Kind::kOperate;
      break;
    }
    case RecordType::kName: {
      e.kind = Kind::kPut;
      const auto name = NameRecord::decode(r.value);
      if (!name || !name->old_ns.valid()) break;
      FeedEvent gone;
      gone.kind = Kind::kRemove;
      gone.lsn = lsn;
      gone.ends = false;
      gone.ns = find(name->old_ns, gone.id);
      gone.key = batch.texts.emplace_back(name->old_key);
      if (gone.ns != nullptr) batch.events.push_back(std::move(gone));
      break;
    }
    case RecordType::kExpiry:
      e.kind = Kind::kExpiry;
      break;
    case RecordType::kNamespaceFlush:
      e.kind = Kind::kFlush;
      break;
    case RecordType::kSwap:
      e.kind = Kind::kSwap;
      batch.events.push_back(std::move(e));
      return;
    case RecordType::kNamespaceDrop:
      e.kind = Kind::kDrop;
      break;
    case RecordType::kNamespace:
      return;
  }
  std::optional<Identities::Name> named;
  if (stored == kIdentities) {
    const auto identity = Identity::of_key(key);
    if (identity) named = keyspace_.identities_->name_of(*identity);
    if (!named) return;  // it is gone, which is told of its key
    stored = named->first;
    key = named->second;
  }
  if (stored.valid()) e.ns = find(stored, e.id);
  const bool of_all = e.kind == Kind::kFlush && !stored.valid();
  if (e.ns == nullptr && !of_all && e.kind != Kind::kDrop) return;
  // What a record holds lies together, so that one copy takes all of it.
  std::string& text = batch.texts.emplace_back();
  text.reserve(key.size() + e.meta.size() + e.value.size());
  text.append(key).append(e.meta).append(e.value);
  const std::string_view all = text;
  e.key = all.substr(0, key.size());
  const size_t meta = e.meta.size(), value = e.value.size();
  e.meta = all.substr(key.size(), meta);
  e.value = all.substr(key.size() + meta, value);
  batch.bytes += text.size() + sizeof(FeedEvent) + sizeof(std::string);
  batch.events.push_back(std::move(e));
}

awaitable<StatusOr<ChangeFeed::BatchPtr>> ChangeFeed::Reader::next(bool waits) {
  const Lsn from = tail_.at();
  auto records = StatusOr<std::span<const LogRecord>>(std::span<const LogRecord>());
  if (waits) {
    records = co_await tail_.next();
  } else {
    records = co_await tail_.next_of_now();
  }
  if (!records.ok()) co_return records.status();
  auto batch = std::make_shared<Batch>();
  batch->from = from;
  batch->to = tail_.at();
  for (const LogRecord& l : *records) take(l.record, l.lsn, *batch);
  const int64_t wall_ms = records->empty() ? 0 : keyspace_.log().time_of(records->front().lsn);
  for (FeedEvent& e : batch->events) e.wall_ms = wall_ms;
  co_return batch;
}

// ---- for all cursors ----

void ChangeFeed::add_cursor() {
  cursor_count_++;
  {
    MutexLock lock(mutex_);
    if (running_ || stopping_) return;
    running_ = true;
    failed_ = absl::OkStatus();
  }
  spawn(keyspace_.any_executor(), "the feed of changes", run());
}

void ChangeFeed::forget() {
  kept_.clear();
  kept_bytes_ = 0;
  begin_ = end_ = Lsn();
}

bool ChangeFeed::goes_on(const Status& read) {
  MutexLock lock(mutex_);
  if (read.ok() && !stopping_ && cursor_count_ > 0) return true;
  running_ = false;
  failed_ = read;
  forget();
  return false;
}

void ChangeFeed::keep(BatchPtr batch) {
  MutexLock lock(mutex_);
  end_ = batch->to;
  if (batch->events.empty()) return;
  kept_bytes_ += batch->bytes;
  kept_.push_back(std::move(batch));
  while (kept_bytes_ > kKeptBytes && kept_.size() > 1) {
    kept_bytes_ -= kept_.front()->bytes;
    begin_ = kept_.front()->to;
    kept_.pop_front();
  }
}

// Waits for a frame, and takes those that are there with it.
awaitable<Status> ChangeFeed::read_some(Reader& reader) {
  uint64_t bytes = 0;
  for (bool waits = true; bytes < kKeptBytes / 4; waits = false) {
    const Lsn before = reader.at();
    auto batch = co_await reader.next(waits);
    if (!batch.ok()) co_return batch.status();
    if (!waits && reader.at() == before) break;
    bytes += (*batch)->bytes;
    keep(std::move(*batch));
  }
  co_return absl::OkStatus();
}

awaitable<void> ChangeFeed::run() {
  std::optional<Reader> reader;
  Status status;
  while (goes_on(status)) {
    if (!reader) {
      const Lsn from = keyspace_.log().tail();
      reader.emplace(keyspace_, from);
      MutexLock lock(mutex_);
      forget();
      begin_ = end_ = from;
    }
    more_.notify();
    // Each who waits is woken: many of them for some frames together.
    constexpr size_t kMany = 64;
    constexpr int64_t kTogetherMs = 50;
    if (const size_t waiting = cursors(); waiting > kMany) {
      const auto ms = static_cast<int64_t>(waiting / kMany);
      co_await keyspace_.clock().sleep_ms(std::min(ms, kTogetherMs));
    }
    status = co_await read_some(*reader);
    if (absl::IsOutOfRange(status)) {  // the cleaner was quicker
      reader.reset();
      status = absl::OkStatus();
    }
  }
  more_.notify();
  stopped_.notify();
}

awaitable<void> ChangeFeed::stop() {
  stopping_ = true;
  more_.notify();
  co_await stopped_.until([this] {
    MutexLock lock(mutex_);
    return !running_;
  });
}

ChangeFeed::BatchPtr ChangeFeed::find(Lsn at, bool& behind) const {
  behind = !end_.valid() || at < begin_;
  if (behind || at >= end_) return nullptr;
  const auto it = std::upper_bound(kept_.begin(), kept_.end(), at,
                                   [](Lsn lsn, const BatchPtr& b) { return lsn < b->to; });
  return it == kept_.end() ? nullptr : *it;
}

// ---- one cursor ----

ChangeFeed::Cursor::Cursor(ChangeFeed& feed, Lsn from) : feed_(feed), at_(from) {
  if (from < feed.now()) {
    reader_ = std::make_unique<Reader>(feed.keyspace_, from);
    knows_databases_ = reader_->knows_databases();
  }
  feed.add_cursor();
}

ChangeFeed::Cursor::~Cursor() { feed_.remove_cursor(); }

void ChangeFeed::Cursor::skip_to_oldest() {
  Log& log = feed_.keyspace_.log();
  const auto oldest = log.oldest_sealed();
  const SegmentId first = oldest ? oldest->first : log.open_segment();
  at_ = std::max(at_, Lsn(first.value() * log.segment_bytes()));
  reader_.reset();
}

awaitable<StatusOr<ChangeFeed::Taken>> ChangeFeed::Cursor::next(int64_t ms) {
  Clock& clock = feed_.keyspace_.clock();
  const int64_t until = clock.now_ms() + ms;
  for (;;) {
    if (feed_.stopping_) co_return absl::CancelledError("the feed ends");
    bool behind = false, running = false;
    BatchPtr batch;
    Lsn end;
    {
      MutexLock lock(feed_.mutex_);
      if (!feed_.failed_.ok()) co_return feed_.failed_;
      batch = feed_.find(at_, behind);
      end = feed_.end_;
      running = feed_.running_;
    }
    if (batch != nullptr) {
      reader_.reset();
      const Lsn from = at_;
      at_ = batch->to;
      Taken taken(std::move(batch), from);
      if (!taken.events().empty()) co_return taken;
      continue;
    }
    if (!behind && at_ < end) {  // nothing in there is told
      at_ = end;
      reader_.reset();
    }
    const int64_t left = until - clock.now_ms();
    if (left <= 0) co_return Taken();
    // What is behind the end of the log is for the feed to read.
    if (behind && running && at_ < feed_.keyspace_.log().durable()) {
      if (reader_ == nullptr) {
        reader_ = std::make_unique<Reader>(feed_.keyspace_, at_);
        knows_databases_ &= reader_->knows_databases();
      }
      const Lsn from = at_;
      auto read = co_await reader_->next(false);
      if (!read.ok()) co_return read.status();
      at_ = (*read)->to;
      Taken taken(std::move(*read), from);
      if (!taken.events().empty()) co_return taken;
      continue;
    }
    if (behind && running) {
      co_await feed_.keyspace_.log().wait_for_more(at_, left);
      continue;
    }
    co_await feed_.more_.until(
        [&] {
          MutexLock lock(feed_.mutex_);
          return feed_.stopping_ || !feed_.failed_.ok() || feed_.end_ > at_ || !feed_.running_;
        },
        clock, left);
    MutexLock lock(feed_.mutex_);
    if (!feed_.running_ && feed_.failed_.ok()) co_return absl::CancelledError("the feed ends");
  }
}

}  // namespace cairn

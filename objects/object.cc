#include "objects/object.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "objects/hashers.h"
#include "objects/versions.h"

namespace cairn::objects {

bool valid_bucket_name(std::string_view name) {
  if (name.size() < 3 || name.size() > 63) return false;
  auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (!alnum(name.front()) || !alnum(name.back())) return false;
  bool digits_and_dots = true;
  for (size_t i = 0; i < name.size(); i++) {
    char c = name[i];
    if (!alnum(c) && c != '-' && c != '.') return false;
    const bool mark = c == '-' || c == '.';
    if (mark && (c == '.' ? !alnum(name[i - 1]) : name[i - 1] == '.')) return false;
    digits_and_dots &= (c >= '0' && c <= '9') || c == '.';
  }
  if (name.substr(0, 2) == "db" && name.find_first_not_of("0123456789", 2) == name.npos) {
    return false;  // a numbered database, now or one day
  }
  if (digits_and_dots && std::count(name.begin(), name.end(), '.') == 3) return false;  // an IP
  // Beginnings and ends that S3 keeps for itself ("Bucket naming rules").
  constexpr std::string_view kHeads[] = {"xn--", "sthree-", "amzn-s3-demo-"};
  constexpr std::string_view kTails[] = {"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"};
  return std::none_of(std::begin(kHeads), std::end(kHeads),
                      [&](auto head) { return name.starts_with(head); }) &&
         std::none_of(std::begin(kTails), std::end(kTails),
                      [&](auto tail) { return name.ends_with(tail); });
}

namespace {
std::string etag_of(std::string_view etag, Lsn version) {
  if (!etag.empty()) return std::string(etag);
  std::string digits(16, '0');
  uint64_t v = version.value();
  for (size_t i = 16; i-- > 0; v >>= 4) digits[i] = "0123456789abcdef"[v & 15];
  return cat("0000000000000000", digits, "-0");
}

uint64_t size_of(const Entry& e) {
  return e.is_blob() ? BlobRef::size_of(e.value()) : e.value_bytes();
}

int64_t modified_at(const Store& store, int64_t modified_ms, Lsn version) {
  return modified_ms != 0 ? modified_ms : store.log().time_of(version);
}
}  // namespace

std::string etag_of(const ObjectMeta& meta, Lsn version) { return etag_of(meta.etag, version); }

Info info_of(Store& store, const Entry* e) {
  Info info;
  info.size = size_of(*e);
  if (e->has_meta()) info.size = encrypted_size(e->meta()).value_or(info.size);
  info.version = e->version();
  info.expire_ms = e->expire_ms();
  if (auto meta = ObjectMeta::decode(e->meta())) info.meta = std::move(*meta);
  info.modified_ms = modified_at(store, info.meta.modified_ms, e->version());
  info.etag = etag_of(info.meta, e->version());
  return info;
}

namespace {
// If-Match compares strongly: a weak ETag matches nothing. RFC 9110, 13.1.1.
bool any_etag(std::string_view list, std::string_view etag, bool weakly) {
  while (!list.empty()) {
    size_t comma = list.find(',');
    std::string_view one = list.substr(0, comma);
    list = comma == list.npos ? "" : list.substr(comma + 1);
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    if (one == "*") return true;
    if (one.substr(0, 2) == "W/" && weakly) one.remove_prefix(2);
    if (one.size() >= 2 && one.front() == '"' && one.back() == '"') {
      one = one.substr(1, one.size() - 2);
    }
    if (one == etag) return true;
  }
  return false;
}
}  // namespace

namespace {
struct Judged {
  Verdict verdict = Verdict::kGo;
  std::string_view by = {};  // the header
};
Judged judged(const Conditions& c, const Info* now) {
  if (c.if_version && (now == nullptr ? Lsn() : now->version) != *c.if_version) {
    return {Verdict::kFailed};
  }
  if (c.if_exists && *c.if_exists != (now != nullptr)) return {Verdict::kFailed};
  if (!c.if_match.empty()) {
    if (now == nullptr || !any_etag(c.if_match, now->etag, false)) {
      return {Verdict::kFailed, "If-Match"};
    }
  } else if (c.if_unmodified_since_s && now != nullptr &&
             now->modified_ms / 1000 > *c.if_unmodified_since_s) {
    return {Verdict::kFailed, "If-Unmodified-Since"};
  }
  if (c.if_modified_at_s && now != nullptr && now->modified_ms / 1000 != *c.if_modified_at_s) {
    return {Verdict::kFailed, "x-amz-if-match-last-modified-time"};
  }
  if (c.if_size && now != nullptr && now->size != *c.if_size) {
    return {Verdict::kFailed, "x-amz-if-match-size"};
  }
  if (!c.if_none_match.empty()) {
    if (now != nullptr && any_etag(c.if_none_match, now->etag, true)) {
      return {Verdict::kNotModified, "If-None-Match"};
    }
  } else if (c.if_modified_since_s && now != nullptr &&
             now->modified_ms / 1000 <= *c.if_modified_since_s) {
    return {Verdict::kNotModified, "If-Modified-Since"};
  }
  return {};
}
}  // namespace

Verdict judge(const Conditions& conditions, const Info* now) {
  return judged(conditions, now).verdict;
}
std::string_view unmet(const Conditions& conditions, const Info* now) {
  return judged(conditions, now).by;
}

namespace {
// RFC 9110, 13.1.5: a strong comparison, since ranges of two values must not be put together. A
// date is none: a value may have changed again in that second (8.8.2.2).
bool range_counts(const Conditions& c, const Info& now) {
  return c.if_range.empty() || c.if_range == cat("\"", now.etag, "\"");
}
}  // namespace

namespace {
constexpr const char* kMarkerKey = "cairn/delete-marker";
constexpr const char* kNoVersionKey = "cairn/no-version";

Status about_marker(Status status, const MarkerFound& found) {
  const std::string ms(reinterpret_cast<const char*>(&found.modified_ms), 8);
  status.SetPayload(kMarkerKey, absl::Cord(cat(ms, found.version_id)));
  return status;
}

// What a read is of.
StatusOr<Transaction::FoundVersion> look(Store& store, Transaction& t, Namespace& ns,
                                         std::string_view key, KeyHash hash,
                                         const std::optional<Version>& version) {
  if (!version) {
    Entry* e = t.find(ns, key, hash);
    if (e != nullptr) return Transaction::FoundVersion{&ns, e, {}};
    const Status absent = absl::NotFoundError("no such key");
    if (ns.versions() == nullptr) return resting_on(absent, t.seen());
    const auto newest = t.find_newest(ns, key, hash);
    if (newest.entry == nullptr || !newest.version.marker) return resting_on(absent, t.seen());
    const MarkerFound found{version_id(newest.version), info_of(store, newest.entry).modified_ms};
    return resting_on(about_marker(absent, found), t.seen());
  }
  auto found = t.find_version(ns, key, hash, *version);
  if (found.entry == nullptr) {
    Status absent = absl::NotFoundError("no such version");
    absent.SetPayload(kNoVersionKey, absl::Cord());
    return resting_on(absent, t.seen());
  }
  if (found.version.marker) {
    const MarkerFound marker{version_id(found.version), info_of(store, found.entry).modified_ms};
    const Status is = absl::FailedPreconditionError("the version is a delete marker");
    return resting_on(about_marker(is, marker), t.seen());
  }
  return found;
}

Info info_in(Store& store, const Namespace& bucket, const Transaction::FoundVersion& found) {
  Info info = info_of(store, found.entry);
  if (bucket.versions() != nullptr) {
    info.version_id = version_id(store.version_of(*found.ns, found.entry));
    info.lock = store.lock_of(*found.ns, found.entry);
  }
  return info;
}
}  // namespace

std::optional<MarkerFound> marker_found(const Status& status) {
  const auto payload = status.GetPayload(kMarkerKey);
  if (!payload) return std::nullopt;
  const std::string bytes(*payload);
  MarkerFound found{bytes.substr(8)};
  std::memcpy(&found.modified_ms, bytes.data(), 8);
  return found;
}
bool is_no_such_version(const Status& status) {
  return status.GetPayload(kNoVersionKey).has_value();
}

StatusOr<Info> stat(Store& store, Namespace& ns, std::string_view key,
                    const std::optional<Version>& version) {
  KeyHash hash = ns.hash(key);
  StripeLocks lock(store, hash);
  Transaction t(store, &lock, Shape::kOne);
  auto found = look(store, t, ns, key, hash, version);
  if (!found.ok()) return found.status();
  if (!found->entry->is_string()) return resting_on(wrong_type(), t.seen());
  Info info = info_in(store, ns, *found);
  info.seen = t.seen();
  return info;
}

awaitable<StatusOr<Opened>> open(Store& store, Namespace& ns, std::string_view key,
                                 const std::optional<Range>& range) {
  const Conditions none;
  co_return co_await open(store, ns, key, range, none, nullptr);
}

awaitable<StatusOr<Opened>> open(Store& store, Namespace& ns, std::string_view key,
                                 const std::optional<Range>& range, const Conditions& conditions,
                                 Verdict* verdict) {
  const NamespacePtr held = ns.shared_from_this();
  constexpr int kTries = 3;  // then memory holds still
  std::optional<MemoryKeeper::Hold> hold;
  for (int tries = 0;; tries++) {
    if (store.busy().any()) {
      hold.reset();  // memory is not to stand still for so long
      Status idle = co_await store.busy().until_idle(ns.hash(key));
      if (!idle.ok()) co_return idle;
    }
    if (tries >= kTries && !hold) hold.emplace(store.memory());
    auto opened = try_open(store, ns, key, range, conditions, verdict);
    if (!opened.ok() || !opened->cold) co_return opened;
    Status fetched = co_await store.faults().fetch(opened->cold_in, std::move(opened->cold_key));
    if (!fetched.ok()) co_return fetched;
  }
}

Status check_growth(Store& store, Namespace& ns, std::string_view key, uint64_t bytes) {
  if (!ns.metered()) return absl::OkStatus();
  const auto more = [](uint64_t n) {
    return static_cast<int64_t>(std::min<uint64_t>(n, kBlobBytesMax));
  };
  Growth growth{0, more(bytes)};
  const KeyHash hash = ns.hash(key);
  StripeLocks lock(store, hash);
  const Entry* e = ns.index->find(key, hash);
  if (e != nullptr && ns.versions() == nullptr) growth.bytes -= Keyspace::quota_bytes(e);
  if (e == nullptr) growth.keys = 1;
  return Keyspace::check_quota(ns, growth);
}

namespace {

Status damaged() {
  return absl::DataLossError("how the value is encrypted cannot be read, or is not what it is");
}

// What try_open() finds under the lock. `encryption`: the bytes are the ciphertext of the range.
StatusOr<Opened> look_and_open(Store& store, Namespace& ns, std::string_view key,
                               const std::optional<Range>& range, const Conditions& conditions,
                               Verdict* verdict, std::optional<Encryption>& encryption) {
  KeyHash hash = ns.hash(key);
  StripeLocks lock(store, hash);
  Transaction t(store, &lock, Shape::kOne);
  auto found = look(store, t, ns, key, hash, conditions.version);
  if (!found.ok()) return found.status();
  Entry* e = found->entry;
  if (!e->is_string()) return resting_on(wrong_type(), t.seen());
  Opened o;
  o.info = info_in(store, ns, *found);
  o.info.seen = t.seen();
  Verdict v = judge(conditions, &o.info);
  if (verdict != nullptr) *verdict = v;
  if (v != Verdict::kGo) {
    if (verdict == nullptr) {
      return resting_on(absl::FailedPreconditionError("a condition did not hold"), t.seen());
    }
    return o;
  }
  StoredRange stored;
  uint64_t size = o.info.size;
  if (!o.info.meta.encryption.empty()) {
    encryption = Encryption::decode(o.info.meta.encryption);
    const uint64_t bytes = e->is_blob() ? BlobRef::size_of(e->value()) : e->value_bytes();
    if (!encryption || encryption->stored_bytes() != bytes) {
      return resting_on(damaged(), t.seen());
    }
    if (conditions.as_stored) size = bytes;
  } else if (!conditions.customer_key.empty()) {
    return resting_on(absl::InvalidArgumentError("InvalidRequest The encryption parameters are not "
                                                 "applicable to this object."),
                      t.seen());
  }
  o.length = size;
  o.partial = range.has_value() && range_counts(conditions, o.info);
  if (o.partial) {
    if (range->first) {
      if (*range->first >= size || range->last.value_or(UINT64_MAX) < *range->first) {
        return resting_on(absl::OutOfRangeError("the range starts past the end"), t.seen());
      }
      o.offset = *range->first;
      o.length = std::min(range->last.value_or(size - 1), size - 1) - o.offset + 1;
    } else {
      if (*range->last == 0 || size == 0) {
        return resting_on(absl::OutOfRangeError("an empty range"), t.seen());
      }
      o.length = std::min(*range->last, size);
      o.offset = size - o.length;
    }
  }
  stored.offset = o.offset;
  stored.length = o.length;
  if (encryption && !conditions.as_stored) stored = stored_range(*encryption, o.offset, o.length);
  if (e->is_blob()) {
    o.reader = std::make_unique<BlobReader>(store.extents(), *BlobRef::decode(e->value()),
                                            stored.offset, stored.length);
  } else if (e->is_cold()) {
    o.cold = true;
    o.cold_in = found->ns->shared_from_this();
    o.cold_key = e->key();
  } else {
    e->touch();
    o.inline_bytes = std::string(e->value().substr(stored.offset, stored.length));
  }
  return o;
}

}  // namespace

StatusOr<Opened> try_open(Store& store, Namespace& ns, std::string_view key,
                          const std::optional<Range>& range, const Conditions& conditions,
                          Verdict* verdict) {
  std::optional<Encryption> encryption;
  auto found = look_and_open(store, ns, key, range, conditions, verdict, encryption);
  if (!found.ok() || !encryption) return found;
  Opened& o = *found;
  if (conditions.as_stored) {
    o.stored = std::move(encryption);
    return found;
  }
  const auto data_key = open_data_key(store, *encryption, conditions.customer_key);
  if (!data_key.ok()) return resting_on(data_key.status(), o.info.seen);
  if (o.cold) return found;
  if (o.reader != nullptr) {
    o.reader = decrypting(std::move(o.reader),
                          Decryption(*std::move(encryption), *data_key, o.offset, o.length));
    return found;
  }
  auto plain = decrypt(*encryption, *data_key, o.inline_bytes, o.offset, o.length);
  if (!plain.ok()) return resting_on(plain.status(), o.info.seen);
  o.inline_bytes = *std::move(plain);
  return found;
}

StatusOr<std::string> value_of(Store& store, const Entry* entry) {
  std::string value(entry->value());
  if (!entry->has_meta() || !encrypted_size(entry->meta())) return value;
  const auto meta = ObjectMeta::decode(entry->meta());
  const auto encryption = meta ? Encryption::decode(meta->encryption) : std::nullopt;
  if (!encryption || encryption->stored_bytes() != value.size()) return damaged();
  const auto key = open_data_key(store, *encryption, "");
  if (!key.ok()) return key.status();
  return decrypt(*encryption, *key, value, 0, encryption->size());
}

// ---- uploads ----

Upload::Upload(Store& store, uint64_t size_hint, Hashers* hashers)
    : store_(store), size_hint_(size_hint), digests_(std::make_shared<HashStream>(hashers)) {
  if (size_hint_ > store_.options().extent_threshold) {
    writer_ = std::make_unique<BlobWriter>(store_.extents(), size_hint_);
  }
}

Upload::~Upload() {
  digests_->abandon();
  if (blob_ && !given_) store_.extents().unref(*blob_);
}

void Upload::add_digest(Algorithm algorithm) { digests_->add(algorithm); }

std::string Upload::digest(Algorithm algorithm) { return digests_->digest(algorithm); }

awaitable<void> Upload::hashed() { return digests_->below(0); }

bool Upload::has_digests() const { return !digests_->empty(); }

uint64_t Upload::stored_size() const {
  if (blob_) return blob_->size;
  return writer_ ? writer_->size() : small_used_;
}

awaitable<Status> Upload::move_to_extents() {
  writer_ = std::make_unique<BlobWriter>(store_.extents(), 0);
  Status moved =
      co_await writer_->append(as_bytes(std::string_view(small_).substr(0, small_used_)));
  if (!moved.ok()) co_return moved;
  small_.clear();
  small_.shrink_to_fit();
  co_return absl::OkStatus();
}

uint64_t Upload::size() const { return encryption_ ? encryption_->size() : stored_size(); }

void Upload::encrypt(NewEncryption with) {
  if (!encryption_) encryption_ = std::move(with.encryption);
  Segment segment;
  fill_random(segment.salt.data(), segment.salt.size());
  cipher_.emplace(with.key, segment, Cipher::Does::kEncrypt);
  encryption_->segments.push_back(segment);
  if (stored_size() != 0 || size_hint_ > kBlobBytesMax) return;
  segment.size = size_hint_;
  size_hint_ = size_hint_ == 0 ? 0 : segment.stored_bytes();
  if (size_hint_ > store_.options().extent_threshold) {
    writer_ = std::make_unique<BlobWriter>(store_.extents(), size_hint_);
  }
}

awaitable<Status> Upload::end_frame() {
  const auto tag = cipher_->end();
  frame_++;
  frame_used_ = 0;
  co_return co_await append_stored(as_bytes(std::string_view(tag.data(), tag.size())));
}

awaitable<StatusOr<MutableBytes>> Upload::prepare() {
  if (frame_used_ == kFrameBytes) {
    Status ended = co_await end_frame();
    if (!ended.ok()) co_return ended;
  }
  constexpr size_t kUnhashedMax = 2 << 20;  // what comes in may be so far ahead
  if (digests_->waiting_bytes() > kUnhashedMax) co_await digests_->below(kUnhashedMax);
  auto room = co_await prepare_stored();
  if (!room.ok()) co_return room;
  room_ = *room;
  if (cipher_) room_ = room_.first(std::min<uint64_t>(room_.size(), kFrameBytes - frame_used_));
  co_return room_;
}

awaitable<StatusOr<MutableBytes>> Upload::prepare_stored() {
  if (size_hint_ > kBlobBytesMax) co_return value_too_long();
  const uint64_t threshold = store_.options().extent_threshold;
  if (!writer_ && small_used_ == threshold) {
    Status moved = co_await move_to_extents();
    if (!moved.ok()) co_return moved;
  }
  if (writer_) co_return co_await writer_->prepare();
  if (small_.size() == small_used_) {
    // What was announced has to come before it takes much.
    constexpr uint64_t kFirst = 16 << 10, kGrowth = 4, kLeast = 4096;
    const uint64_t wanted = std::min(std::max<uint64_t>(size_hint_, kLeast), kFirst);
    small_.resize(std::min<uint64_t>(threshold, std::max(wanted, small_used_ * kGrowth)));
  }
  co_return MutableBytes{reinterpret_cast<std::byte*>(small_.data()) + small_used_,
                         small_.size() - small_used_};
}

void Upload::commit(size_t bytes) {
  // What is encrypted where it lies is hashed before.
  digests_->update(room_.first(bytes), writer_ && !cipher_ ? writer_->chunk() : nullptr);
  if (cipher_ && bytes > 0) {
    if (frame_used_ == 0) cipher_->begin(frame_, false);
    cipher_->update(room_.first(bytes), room_.data());
    frame_used_ += bytes;
    encryption_->segments.back().size += bytes;
  }
  commit_stored(bytes);
  room_ = room_.subspan(bytes);
}

void Upload::commit_stored(size_t bytes) {
  if (writer_) {
    writer_->commit(bytes);
  } else {
    small_used_ += bytes;
  }
}

awaitable<Status> Upload::append(Bytes data) { return append_to(*this, data); }

awaitable<Status> Upload::append_stored(Bytes data) {
  while (!data.empty()) {
    auto room = co_await prepare_stored();
    if (!room.ok()) co_return room.status();
    const size_t n = std::min(room->size(), data.size());
    std::memcpy(room->data(), data.data(), n);
    commit_stored(n);
    data = data.subspan(n);
  }
  co_return absl::OkStatus();
}

awaitable<Status> Upload::append_object(Opened& source) {
  if (source.stored) {
    assert(!cipher_ && digests_->empty() && (encryption_ || stored_size() == 0));
    if (!encryption_) {
      encryption_ = *source.stored;
    } else {
      const auto& segments = source.stored->segments;
      encryption_->segments.insert(encryption_->segments.end(), segments.begin(), segments.end());
    }
  }
  if (source.reader == nullptr) co_return co_await append(as_bytes(source.inline_bytes));
  const bool seen = !digests_->empty() || cipher_ || source.reader->shared() == nullptr;
  if (!seen) {  // no bytes need to be
    if (!writer_) {
      Status moved = co_await move_to_extents();
      if (!moved.ok()) co_return moved;
    }
    co_return co_await writer_->append_range(*source.reader->shared(), source.offset,
                                             source.length);
  }
  while (source.reader->left() > 0) {
    auto bytes = co_await source.reader->next();
    if (!bytes.ok()) co_return bytes.status();
    Status added = co_await append(*bytes);
    if (!added.ok()) co_return added;
  }
  co_return absl::OkStatus();
}

Status encrypt_by_default(Store& store, const Namespace& ns, Upload& upload) {
  const EncryptionWish wish = default_encryption(ns);
  if (wish.mode == EncryptionMode::kNone) return absl::OkStatus();
  auto made = make_encryption(store, wish);
  if (!made.ok()) return made.status();
  upload.encrypt(*std::move(made));
  return absl::OkStatus();
}

Status begin_copy(Store& store, Opened& source, std::string_view source_key, EncryptionWish wish,
                  Upload& to) {
  if (source.stored) {
    const Encryption& is = *source.stored;
    const auto key = open_data_key(store, is, source_key);
    if (!key.ok()) return resting_on(key.status(), source.info.seen);
    if (wish.mode == EncryptionMode::kNone) wish = wish_like(is);
    if (!to.has_digests() && is.meets(store, wish)) return absl::OkStatus();
    source.length = is.size();
    if (source.reader != nullptr) {
      source.reader = decrypting(std::move(source.reader), Decryption(is, *key, 0, source.length));
    } else {
      auto plain = decrypt(is, *key, source.inline_bytes, 0, source.length);
      if (!plain.ok()) return plain.status();
      source.inline_bytes = *std::move(plain);
    }
    source.stored.reset();
  }
  if (wish.mode == EncryptionMode::kNone) return absl::OkStatus();
  auto made = make_encryption(store, wish);
  if (!made.ok()) return made.status();
  to.encrypt(*std::move(made));
  return absl::OkStatus();
}

awaitable<Status> Upload::finish() {
  if (cipher_ && frame_used_ > 0) {
    Status ended = co_await end_frame();
    if (!ended.ok()) co_return ended;
  }
  if (cipher_) {
    cipher_->begin(frame_, true);
    Status ended = co_await end_frame();
    if (!ended.ok()) co_return ended;
    cipher_.reset();
  }
  if (!writer_) co_return absl::OkStatus();
  auto blob = co_await writer_->finish();
  co_await hashed();
  if (!blob.ok()) co_return blob.status();
  blob_ = std::move(*blob);
  encoded_ = blob_->encode();
  co_return absl::OkStatus();
}

RecordView Upload::record(Namespace& ns, std::string_view key, std::string_view meta,
                          int64_t expire_ms) {
  RecordView r;
  r.ns = ns.id;
  r.key = key;
  r.meta = meta;
  r.value = blob_ ? std::string_view(encoded_) : std::string_view(small_).substr(0, small_used_);
  if (blob_) r.flags |= kRecordIsBlob;
  if (expire_ms != 0) r.flags |= kRecordHasExpiry;
  r.expire_ms = expire_ms;
  return r;
}

Status check_conditions(Store& store, const Conditions& conditions, const Entry* entry, Lsn seen) {
  if (conditions.empty()) return absl::OkStatus();
  std::optional<Info> now;
  if (entry != nullptr) now = info_of(store, entry);
  return check_conditions(conditions, now ? &*now : nullptr, seen);
}

Status check_conditions(const Conditions& conditions, const Info* now, Lsn seen) {
  if (!conditions.if_match.empty() && now == nullptr) {
    return resting_on(absl::NotFoundError("NoSuchKey"), seen);
  }
  if (const Judged judge = judged(conditions, now); judge.verdict != Verdict::kGo) {
    return resting_on(absl::FailedPreconditionError(
                          cat("a condition did not hold", judge.by.empty() ? "" : ": ", judge.by)),
                      seen);
  }
  return absl::OkStatus();
}

StatusOr<PutResult> put(Store& store, Namespace& ns, std::string_view key, Upload& upload,
                        const ObjectMeta& meta, int64_t expire_ms, const Conditions& conditions,
                        Cause cause, const VersionLock& lock) {
  if (Status s = store.check_write(true); !s.ok()) return s;
  if (Status s = check_meta(meta); !s.ok()) return s;
  if (Status s = check_tags(meta.tags, TagsOf::kObject); !s.ok()) return s;
  std::string encoded;
  if (std::string encryption = upload.encryption(); encryption == meta.encryption) {
    encoded = meta.empty() ? "" : meta.encode();
  } else {  // of what it was copied from, or of nothing yet
    ObjectMeta own = meta;
    own.encryption = std::move(encryption);
    encoded = own.empty() ? "" : own.encode();
  }
  KeyHash hash = ns.hash(key);
  StripeLocks stripe(store, hash);
  Transaction t(store, &stripe, Shape::kOne, Wish::kDurable, cause);
  t.lock_versions(lock);
  if (!conditions.empty()) {
    const Entry* e = t.find(ns, key, hash);
    if (Status s = check_conditions(store, conditions, e, t.seen()); !s.ok()) return s;
  }
  Status done = t.put(ns, hash, upload.record(ns, key, encoded, expire_ms));
  if (!done.ok()) return done;
  upload.gave_away();
  auto lsn = t.commit();
  return PutResult{*lsn, t.seen(), etag_of(meta, *lsn), t.made() ? version_id(*t.made()) : ""};
}

namespace {
// Attempts a change of what is there, when nobody holds the key for long, and again once what it
// has to read has come back from disk.
awaitable<StatusOr<PutResult>> until_done(Store& store, Namespace& ns, std::string_view key,
                                          absl::FunctionRef<StatusOr<PutResult>()> attempt) {
  const NamespacePtr held = ns.shared_from_this();
  Refetch refetch(store);
  for (;;) {
    if (Status s = store.check_write(true); !s.ok()) co_return s;
    if (store.busy().any()) {
      Status idle = co_await store.busy().until_idle(ns.hash(key));
      if (!idle.ok()) co_return idle;
    }
    auto tried = attempt();
    if (tried.ok()) co_return *tried;
    Status status = tried.status();
    const bool again = co_await refetch.again(status);
    if (!again) co_return status;
  }
}

StatusOr<PutResult> try_change_meta(Store& store, Namespace& ns, std::string_view key,
                                    absl::FunctionRef<void(ObjectMeta&)> change, Cause cause,
                                    const std::optional<Version>& version) {
  const KeyHash hash = ns.hash(key);
  StripeLocks lock(store, hash);
  Transaction t(store, &lock, Shape::kOne, Wish::kDurable, cause);
  auto found = look(store, t, ns, key, hash, version);
  if (!found.ok()) return found.status();
  Entry* e = found->entry;
  if (!e->is_string()) return resting_on(wrong_type(), t.seen());
  Info info = info_in(store, ns, *found);
  const std::string before = info.meta.encode();
  change(info.meta);
  if (info.meta.encode() == before) {
    return PutResult{info.version, t.seen(), info.etag, info.version_id};
  }
  if (!e->is_blob() && e->is_cold()) return value_on_disk(found->ns->id, e->key());
  // What a value has from its record, as one of the Redis door, it keeps.
  info.meta.etag = info.etag;
  info.meta.modified_ms = info.modified_ms;
  const std::string encoded = info.meta.encode();
  if (ns.versions() != nullptr) {
    Status done = t.amend(*found->ns, found->ns->hash(e->key()), e, encoded);
    if (!done.ok()) return done;
    const Lsn lsn = *t.commit();
    return PutResult{lsn, t.seen(), info.etag, info.version_id};
  }
  const std::string value(e->value());  // the entry is overwritten
  RecordView record = e->record(ns.stored());
  record.key = key;
  record.meta = encoded;
  record.value = value;
  std::optional<BlobRef> shared;
  if (e->is_blob()) {
    shared = BlobRef::decode(value);
    store.extents().ref(*shared);
  }
  Status done = t.put(ns, hash, record);
  if (!done.ok()) {
    if (shared) store.extents().unref(*shared);
    return done;
  }
  const Lsn lsn = *t.commit();
  return PutResult{lsn, t.seen(), info.etag};
}
}  // namespace

awaitable<StatusOr<PutResult>> set_tags(Store& store, Namespace& ns, std::string_view key,
                                        const Tags& tags, Cause cause) {
  const std::optional<Version> current;
  co_return co_await set_tags(store, ns, key, tags, cause, current);
}

awaitable<StatusOr<PutResult>> set_tags(Store& store, Namespace& ns, std::string_view key,
                                        const Tags& tags, Cause cause,
                                        const std::optional<Version>& version) {
  if (Status s = check_tags(tags, TagsOf::kObject); !s.ok()) co_return s;
  const auto change = [&tags](ObjectMeta& meta) { meta.tags = tags; };
  co_return co_await change_meta(store, ns, key, change, cause, version);
}

awaitable<StatusOr<PutResult>> change_meta(Store& store, Namespace& ns, std::string_view key,
                                           absl::FunctionRef<void(ObjectMeta&)> change, Cause cause,
                                           const std::optional<Version>& version) {
  const auto attempt = [&] { return try_change_meta(store, ns, key, change, cause, version); };
  co_return co_await until_done(store, ns, key, attempt);
}

namespace {
StatusOr<PutResult> try_set_lock(Store& store, Namespace& ns, std::string_view key,
                                 const std::optional<Version>& version, const LockChange& change,
                                 bool bypass_governance) {
  const KeyHash hash = ns.hash(key);
  StripeLocks stripe(store, hash);
  Transaction t(store, &stripe, Shape::kOne, Wish::kDurable, Cause::kLockPut);
  auto found = look(store, t, ns, key, hash, version);
  if (!found.ok()) return found.status();
  if (!found->entry->is_string()) return resting_on(wrong_type(), t.seen());
  found->version = store.version_of(*found->ns, found->entry);
  Info info = info_in(store, ns, *found);
  VersionLock lock = info.lock;
  if (change.hold) lock.hold = *change.hold;
  if (change.retained) {
    lock.retention = change.retained->retention;
    lock.until_ms = change.retained->until_ms;
  }
  const PutResult same{info.version, t.seen(), info.etag, info.version_id};
  if (lock == info.lock) return same;
  // What a value has from its record, as one of the Redis door, it keeps.
  info.meta.etag = info.etag;
  info.meta.modified_ms = info.modified_ms;
  Status done = t.change_lock(*found, info.meta.encode(), lock, bypass_governance);
  if (!done.ok()) return done;
  const Lsn lsn = *t.commit();
  return PutResult{lsn, t.seen(), info.etag, info.version_id};
}
}  // namespace

awaitable<StatusOr<PutResult>> set_lock(Store& store, Namespace& ns, std::string_view key,
                                        const std::optional<Version>& version,
                                        const LockChange& change, bool bypass_governance) {
  const auto attempt = [&] {
    return try_set_lock(store, ns, key, version, change, bypass_governance);
  };
  co_return co_await until_done(store, ns, key, attempt);
}

StatusOr<Removed> remove(Store& store, Namespace& ns, std::string_view key,
                         const Conditions& conditions) {
  if (Status s = store.check_write(false); !s.ok()) return s;
  KeyHash hash = ns.hash(key);
  StripeLocks lock(store, hash);
  Transaction t(store, &lock, Shape::kOne);
  if (conditions.version) {
    const auto found = t.find_version(ns, key, hash, *conditions.version);
    if (Status s = check_conditions(store, conditions, found.entry, t.seen()); !s.ok()) return s;
    auto removed =
        t.remove_version(ns, hash, key, *conditions.version, conditions.bypass_governance);
    if (!removed.ok()) return removed.status();
    return Removed{*t.commit(), t.seen(), version_id(*conditions.version),
                   *removed && found.version.marker};
  }
  Entry* e = t.find(ns, key, hash);
  if (Status s = check_conditions(store, conditions, e, t.seen()); !s.ok()) return s;
  if (ns.versions() != nullptr && (e == nullptr || e->is_string())) {
    (void)t.mark(ns, hash, key);
  } else if (e != nullptr) {
    (void)t.remove(ns, hash, e);
  }
  auto lsn = t.commit();
  if (!lsn.ok()) return lsn.status();
  if (!t.made()) return Removed{*lsn, t.seen()};
  return Removed{*lsn, t.seen(), version_id(*t.made()), t.made()->marker};
}

// ---- listing ----

namespace {
// First name after all that begin with `prefix`.
template <class Order>
auto seek_past(const Order& order, std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (prefix.empty()) return order.end();
  prefix.back()++;
  return order.lower_bound(std::string_view(prefix));
}

// Its names are in order. One turn: goes on from `from`, a key, unless that is empty; it stays
// empty where the page is complete. What a listing passes over is not bounded by its page, and all
// who change names wait meanwhile. False: the names are another database's since `swaps` was noted,
// which an empty `from` does, or are not in order, and the page has to begin anew.
bool list_some(Store& store, Namespace& ns, const ListQuery& q, std::string& from, uint64_t& swaps,
               ListPage& page) {
  constexpr int kPassedMax = 4096;
  const int64_t now = store.now_ms();
  MutexLock lock(ns.order_mutex);
  if (from.empty()) swaps = ns.order_swaps;
  if (swaps != ns.order_swaps || !ns.ordered()) return false;
  page.newest = std::max(page.newest, Lsn(ns.removed.load()));  // what is not listed may be gone
  auto in_prefix = [&](std::string_view key) { return key.substr(0, q.prefix.size()) == q.prefix; };
  // The common prefix that a key falls into, or nothing.
  auto group_of = [&](std::string_view key) -> std::string_view {
    if (q.delimiter.empty()) return {};
    size_t at = key.find(q.delimiter, q.prefix.size());
    return at == key.npos ? std::string_view() : key.substr(0, at + q.delimiter.size());
  };
  using Iterator = decltype(ns.order)::const_iterator;
  Iterator it = ns.order.lower_bound(std::string_view(from.empty() ? q.prefix : from));
  if (from.empty() && !q.after.empty() && q.after >= q.prefix) {
    it = ns.order.upper_bound(std::string_view(q.after));
    if (in_prefix(q.after)) {
      // A page that ended with a common prefix goes on after all of it.
      std::string_view group = group_of(q.after);
      if (!group.empty() && group == q.after) it = seek_past(ns.order, std::string(group));
    }
  }
  from.clear();
  for (int passed = 0; it != ns.order.end() && in_prefix((*it)->key());) {
    const Entry* e = *it;
    if (e->expired(now) || (!e->is_string() && !q.collections)) {
      if (e->wished()) page.newest = std::max(page.newest, e->lsn());
      if (++passed > kPassedMax) {
        from = e->key();
        return true;
      }
      ++it;
      continue;
    }
    const bool ends =
        page.key_bytes > kPageKeyBytes && page.items.back().key.size() <= kLastKeyBytes;
    if (page.items.size() >= q.limit || ends) {
      page.truncated = true;
      break;
    }
    if (e->wished()) page.newest = std::max(page.newest, e->lsn());
    ListItem item;
    if (std::string_view group = group_of(e->key()); !group.empty()) {
      item.key = group;
      item.is_prefix = true;
      page.key_bytes += item.key.size();
      page.items.push_back(std::move(item));
      it = seek_past(ns.order, page.items.back().key);
      continue;
    }
    const MetaSummary meta = summary_of(e->meta());
    item.key = e->key();
    page.key_bytes += item.key.size();
    item.type = e->type();
    item.size = e->is_string() ? meta.encrypted_size.value_or(size_of(*e)) : 0;
    item.version = e->version();
    item.etag = etag_of(meta.etag, item.version);
    item.modified_ms = modified_at(store, meta.modified_ms, item.version);
    item.expire_ms = e->expire_ms();
    item.checksum_algorithm = meta.checksum_algorithm;
    item.composite_checksum = meta.checksum.find('-') != meta.checksum.npos;
    page.items.push_back(std::move(item));
    ++it;
  }
  if (page.truncated && !page.items.empty()) page.next = page.items.back().key;
  return true;
}

}  // namespace

awaitable<StatusOr<ListPage>> list(Store& store, NamespacePtr ns, const ListQuery& query) {
  auto executor = co_await asio::this_coro::executor;
  for (;;) {
    Status ordered = co_await store.ensure_ordered(ns);
    if (!ordered.ok()) co_return ordered;
    ListPage page;
    std::string from;
    uint64_t swaps = 0;
    bool whole = list_some(store, *ns, query, from, swaps, page);
    while (whole && !from.empty()) {
      co_await asio::post(executor, asio::use_awaitable);
      whole = list_some(store, *ns, query, from, swaps, page);
    }
    if (whole) co_return page;
  }
}

}  // namespace cairn::objects

#include "objects/append.h"

#include "core/base/errors.h"
#include "core/base/text.h"
#include "objects/multipart.h"
#include "objects/rename.h"

namespace cairn::objects {

Append::Append(Store& store, Namespace& ns, std::string_view key, uint64_t offset,
               uint64_t size_hint)
    : store_(store), ns_(ns), key_(key), offset_(offset), upload_(store, offset + size_hint) {}

awaitable<Status> Append::begin(const Conditions& conditions, const EncryptionWish& wish) {
  conditions_ = conditions;
  Conditions as_stored;
  as_stored.as_stored = true;
  as_stored.customer_key = wish.customer_key;
  const std::optional<Range> whole;
  auto opened = co_await open(store_, ns_, key_, whole, as_stored, nullptr);
  const bool absent = absl::IsNotFound(opened.status());
  if (!opened.ok() && !absent) co_return opened.status();
  if (!absent) before_ = opened->info;
  const Lsn seen = absent ? rests_on(opened.status()) : before_->seen;
  if (Status s = check_conditions(conditions_, before(), seen); !s.ok()) co_return s;
  if (offset_ != (before_ ? before_->size : 0)) {
    co_return resting_on(absl::InvalidArgumentError("InvalidWriteOffset"), seen);
  }
  conditions_.if_version = before_ ? before_->version : Lsn();
  if (before_) {
    if (before_->meta.part_sizes.size() >= kAppendPartsMax) {
      co_return resting_on(absl::InvalidArgumentError("TooManyParts"), seen);
    }
    Status shared = co_await upload_.append_object(*opened);
    if (!shared.ok()) co_return shared;
    if (opened->stored) {
      auto key = open_data_key(store_, *opened->stored, wish.customer_key);
      if (!key.ok()) co_return resting_on(key.status(), seen);
      upload_.encrypt({*opened->stored, *key});
    } else if (wish.mode != EncryptionMode::kNone) {
      co_return resting_on(
          absl::InvalidArgumentError("InvalidRequest The object is not encrypted, and what comes "
                                     "is to be: copy it onto itself first."),
          seen);
    }
  } else if (wish.mode != EncryptionMode::kNone) {
    auto made = make_encryption(store_, wish);
    if (!made.ok()) co_return made.status();
    upload_.encrypt(*std::move(made));
  }
  upload_.add_digest(Algorithm::kMd5);
  if (const auto known = algorithm_named(algorithm())) upload_.add_digest(*known);
  co_return absl::OkStatus();
}

std::string Append::algorithm() const {
  if (!before_ || before_->meta.checksums.empty()) return "";
  return before_->meta.checksums.begin()->first;
}

// Of what was there and what came: parts, checksum, ETag.
void Append::join() {
  const Info& before = *before_;
  const std::string tail_md5 = hex(upload_.digest(Algorithm::kMd5));
  const uint64_t tail_size = upload_.size() - before.size;
  const auto algorithm = algorithm_named(this->algorithm());
  // Those of other algorithms, which a gRPC upload may have brought, are not carried on.
  if (meta_.checksums.size() > 1)
    meta_.checksums.erase(std::next(meta_.checksums.begin()), meta_.checksums.end());
  const std::string tail = algorithm ? upload_.digest(*algorithm) : "";
  if (before.size == 0 && before.meta.part_sizes.empty()) {
    meta_.etag = tail_md5;
    if (algorithm) meta_.checksums.begin()->second = base64(tail);
    return;
  }
  const bool was_whole = meta_.part_sizes.empty();
  if (was_whole) meta_.part_sizes.push_back(before.size);
  meta_.part_sizes.push_back(tail_size);
  const size_t count = meta_.part_sizes.size();
  meta_.etag = cat(hex(digest_of(Algorithm::kMd5, cat(before.etag, tail_md5))), "-", count);
  if (!algorithm) return;
  std::string& checksum = meta_.checksums.begin()->second;
  const bool full = checksum.find('-') == checksum.npos;
  const auto raw = full ? base64_decode(checksum) : std::nullopt;
  std::string of_parts = was_whole ? raw.value_or("") : meta_.extra[kPartChecksums];
  if (of_parts.size() != (count - 1) * tail.size()) {  // it cannot be told any more
    meta_.checksums.clear();
    meta_.extra.erase(kPartChecksums);
    return;
  }
  of_parts += tail;
  checksum = full && is_crc(*algorithm) ? base64(combine_crc(*algorithm, *raw, tail, tail_size))
                                        : cat(base64(digest_of(*algorithm, of_parts)), "-", count);
  meta_.extra[kPartChecksums] = std::move(of_parts);
}

StatusOr<PutResult> Append::put(ObjectMeta fresh, std::optional<int64_t> expire_ms,
                                const VersionLock& lock) {
  if (before_) {
    meta_ = before_->meta;
    meta_.extra.erase("upload");  // it is no more what that upload made
    forget_renaming(meta_);
    join();
  } else {
    meta_ = std::move(fresh);
    meta_.etag = hex(upload_.digest(Algorithm::kMd5));
  }
  meta_.modified_ms = store_.now_ms();
  const int64_t expiry = expire_ms ? *expire_ms : before_ ? before_->expire_ms : 0;
  auto put =
      objects::put(store_, ns_, key_, upload_, meta_, expiry, conditions_, Cause::kUser, lock);
  if (put.ok() || !absl::IsFailedPrecondition(put.status())) return put;
  const auto now = stat(store_, ns_, key_);
  if ((now.ok() ? now->size : 0) != offset_) {
    return resting_on(absl::InvalidArgumentError("InvalidWriteOffset"), rests_on(put.status()));
  }
  return resting_on(absl::AbortedError("another value came meanwhile"), rests_on(put.status()));
}

}  // namespace cairn::objects

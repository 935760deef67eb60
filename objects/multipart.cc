#include "objects/multipart.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <tuple>

#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "objects/versions.h"

namespace cairn::objects {

std::string upload_name(const Namespace& bucket, std::string_view key, std::string_view id) {
  return cat("u/", bucket.id.value(), "/", key, std::string_view("\0", 1), id);
}

std::optional<UploadName> parse_upload_name(std::string_view name) {
  if (!name.starts_with("u/")) return std::nullopt;
  const size_t slash = name.find('/', 2), nul = name.rfind('\0');
  if (slash == name.npos || nul == name.npos || nul < slash) return std::nullopt;
  auto bucket = parse_int<uint32_t>(name.substr(2, slash - 2));
  if (!bucket) return std::nullopt;
  return UploadName{*bucket, name.substr(slash + 1, nul - slash - 1), name.substr(nul + 1)};
}

namespace {

std::string part_key(std::string_view id, unsigned number) {
  char digits[16];
  std::snprintf(digits, sizeof(digits), "%05u", number);
  return cat("p/", id, "/", digits);
}

// Entries of the system namespace with a prefix, in order. `removed`: what an answer rests on that
// says by them what there is not.
std::vector<std::string> keys_with(Store& store, std::string_view prefix, Lsn* removed = nullptr) {
  std::vector<std::string> keys;
  Namespace& ns = store.system();
  MutexLock lock(ns.order_mutex);
  if (removed != nullptr) *removed = Lsn(ns.removed.load());
  for (auto it = ns.order.lower_bound(prefix);
       it != ns.order.end() && (*it)->key().substr(0, prefix.size()) == prefix; ++it) {
    keys.emplace_back((*it)->key());
  }
  return keys;
}

}  // namespace

StatusOr<PutUpload> create_upload(Store& store, const Namespace& bucket, std::string_view key,
                                  ObjectMeta meta) {
  if (Status s = store.check_write(true); !s.ok()) return s;
  std::string raw(16, '\0');
  uint64_t words[2] = {store.random(), store.random()};
  std::memcpy(raw.data(), words, 16);
  PutUpload made{hex(raw), Lsn()};
  if (Status s = check_meta(meta); !s.ok()) return s;
  if (Status s = check_tags(meta.tags, TagsOf::kObject); !s.ok()) return s;
  meta.extra["started"] = cat(store.now_ms());
  std::string encoded = meta.encode();
  std::string name = upload_name(bucket, key, made.id);
  RecordView r;
  r.ns = kSystemNamespace;
  r.key = name;
  r.meta = encoded;
  KeyHash hash = store.system().hash(name);
  StripeLocks lock(store, hash);
  // Buckets are dropped under all locks: an upload is there before, and swept, or it is refused.
  if (bucket.dropped) {
    return resting_on(absl::NotFoundError("NoSuchBucket"), store.newest_name());
  }
  Transaction t(store, &lock, Shape::kOne);
  if (Status s = t.put(store.system(), hash, r); !s.ok()) return s;
  made.version = *t.commit();
  return made;
}

StatusOr<UploadInfo> find_upload(Store& store, const Namespace& bucket, std::string_view key,
                                 std::string_view id) {
  std::string name = upload_name(bucket, key, id);
  KeyHash hash = store.system().hash(name);
  StripeLocks lock(store, hash);
  Transaction t(store, &lock, Shape::kOne);
  Entry* e = t.find(store.system(), name, hash);
  if (e == nullptr) return resting_on(absl::NotFoundError("no such upload"), t.seen());
  UploadInfo info;
  info.key = key;
  info.id = id;
  info.meta = ObjectMeta::decode(e->meta()).value_or(ObjectMeta());
  info.started_ms = parse_int<int64_t>(info.meta.extra["started"]).value_or(0);
  info.seen = t.seen();
  return info;
}

StatusOr<PutResult> put_part(Store& store, const Namespace& bucket, std::string_view key,
                             std::string_view id, unsigned number, Upload& bytes, ObjectMeta meta) {
  if (Status s = store.check_write(true); !s.ok()) return s;
  Namespace& system = store.system();
  std::string upload = upload_name(bucket, key, id), part = part_key(id, number);
  meta.modified_ms = store.now_ms();
  meta.encryption = bytes.encryption();
  std::string encoded = meta.encode();
  StripeLocks lock(store);
  lock.lock(std::array{system.hash(upload), system.hash(part)});
  Transaction t(store, &lock, Shape::kOne);
  if (t.find(system, upload, system.hash(upload)) == nullptr && !planted(Bug::kPartOfNoUpload)) {
    return resting_on(absl::NotFoundError("no such upload"), t.seen());
  }
  Status done = t.put(system, system.hash(part), bytes.record(system, part, encoded, 0));
  if (!done.ok()) return done;
  bytes.gave_away();
  const Lsn version = *t.commit();
  return PutResult{version, t.seen(), meta.etag};
}

PartList list_parts(Store& store, std::string_view id) {
  PartList list;
  for (auto& name : keys_with(store, cat("p/", id, "/"), &list.newest)) {
    auto info = stat(store, store.system(), name);
    list.newest = std::max(list.newest, info.ok() ? info->seen : rests_on(info.status()));
    if (!info.ok()) continue;
    list.parts.push_back(
        {parse_int<unsigned>(std::string_view(name).substr(name.size() - 5)).value_or(0),
         info->size, info->etag, info->modified_ms, info->meta.checksums});
  }
  return list;
}

UploadPage list_uploads(Store& store, const Namespace& bucket, std::string_view prefix,
                        std::string_view delimiter, std::string_view key_marker,
                        std::string_view id_marker, size_t limit) {
  UploadPage page;
  const std::string base = cat("u/", bucket.id.value(), "/");
  std::string last_group;
  for (auto& name : keys_with(store, cat(base, prefix), &page.newest)) {
    std::string_view rest = std::string_view(name).substr(base.size());
    size_t nul = rest.rfind('\0');
    if (nul == rest.npos) continue;
    std::string_view key = rest.substr(0, nul), id = rest.substr(nul + 1);
    if (!key_marker.empty() &&
        (key < key_marker || (key == key_marker && (id_marker.empty() || id <= id_marker)))) {
      continue;
    }
    size_t at = delimiter.empty() ? key.npos : key.find(delimiter, prefix.size());
    std::string group(at == key.npos ? "" : key.substr(0, at + delimiter.size()));
    if (!group.empty() && (group == last_group || group == key_marker)) continue;
    if (page.uploads.size() + page.prefixes.size() >= limit) {
      page.truncated = limit > 0;
      break;
    }
    if (!group.empty()) {
      page.prefixes.push_back(last_group = group);
      continue;
    }
    auto info = find_upload(store, bucket, key, id);
    page.newest = std::max(page.newest, info.ok() ? info->seen : rests_on(info.status()));
    if (info.ok()) page.uploads.push_back(std::move(*info));
  }
  return page;
}

namespace {
// Removes an upload and its parts, after `publish` put the object, if there is one: all or nothing.
StatusOr<Lsn> end_upload(Store& store, const Namespace& bucket, std::string_view key,
                         std::string_view id, Namespace* publish_ns,
                         const std::function<Status(Transaction&)>& publish) {
  Namespace& system = store.system();
  const std::string upload = upload_name(bucket, key, id);
  for (;;) {
    std::vector<std::string> parts = keys_with(store, cat("p/", id, "/"));
    std::vector<KeyHash> hashes{system.hash(upload)};
    for (auto& p : parts) hashes.push_back(system.hash(p));
    if (publish_ns != nullptr) hashes.push_back(publish_ns->hash(key));
    StripeLocks lock(store);
    lock.lock(hashes);
    Transaction t(store, &lock, Shape::kSeveral, Wish::kDurable,
                  publish ? Cause::kPartsCompleted : Cause::kUser);
    Entry* e = t.find(system, upload, system.hash(upload));
    if (e == nullptr) return resting_on(absl::NotFoundError("no such upload"), t.seen());
    // No part comes while the upload's stripe is held; one may have come before.
    if (keys_with(store, cat("p/", id, "/")) != parts) continue;
    if (Status s = publish ? publish(t) : absl::OkStatus(); !s.ok()) return s;
    for (auto& p : parts) {
      if (planted(Bug::kPartsLeftBehind) && &p == &parts.back()) continue;
      Entry* part = t.find(system, p, system.hash(p));
      if (part != nullptr) (void)t.remove(system, system.hash(p), part);
    }
    (void)t.remove(system, system.hash(upload), e);
    return t.commit();
  }
}
}  // namespace

StatusOr<Lsn> abort_upload(Store& store, const Namespace& bucket, std::string_view key,
                           std::string_view id) {
  return end_upload(store, bucket, key, id, nullptr, nullptr);
}

namespace {
Status check_expected(const Expected& e, const Completed& done, const ObjectMeta& meta) {
  const uint64_t size =
      std::accumulate(meta.part_sizes.begin(), meta.part_sizes.end(), uint64_t{0});
  if (e.size && *e.size != size) {
    return absl::InvalidArgumentError(
        cat("InvalidRequest the object has ", size, " bytes, and not x-amz-mp-object-size"));
  }
  if (!e.checksum_type.empty() &&
      (done.checksum.empty() || (e.checksum_type == "FULL_OBJECT") != done.full_object)) {
    return absl::InvalidArgumentError("InvalidRequest the upload has another checksum type");
  }
  if (e.checksum.empty()) return absl::OkStatus();
  if (e.algorithm != done.checksum_algorithm) {
    return absl::InvalidArgumentError("InvalidRequest the upload has another checksum algorithm");
  }
  // A composite one may come without the number of its parts.
  if (e.checksum == done.checksum ||
      cat(e.checksum, "-", meta.part_sizes.size()) == done.checksum) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      cat("BadDigest The ", e.algorithm, " you specified did not match the calculated checksum."));
}
// What the completion said, if this upload made the object that is there now, of these parts: a
// client that did not get the answer asks again. S3 does likewise (CompleteMultipartUpload).
std::optional<Completed> completed_before(Store& store, Namespace& bucket, std::string_view key,
                                          std::string_view id,
                                          const std::vector<CompletePart>& parts) {
  auto now = stat(store, bucket, key);
  if (!now.ok() || now->meta.extra["upload"] != id) return std::nullopt;
  Digest etag(Algorithm::kMd5);
  for (const CompletePart& part : parts) {
    const auto raw = unhex(part.etag);
    if (!raw) return std::nullopt;
    etag.update(as_bytes(*raw));
  }
  if (cat(hex(etag.finish()), "-", parts.size()) != now->etag) return std::nullopt;
  Completed done;
  done.put = {now->version, now->seen, now->etag, now->version_id};
  if (!now->meta.checksums.empty()) {
    std::tie(done.checksum_algorithm, done.checksum) = *now->meta.checksums.begin();
    done.full_object = done.checksum.find('-') == done.checksum.npos;
  }
  return done;
}
}  // namespace

std::string part_checksum(const ObjectMeta& meta, size_t index) {
  const auto all = meta.extra.find(kPartChecksums);
  const size_t count = meta.part_sizes.size();
  if (all == meta.extra.end() || count == 0 || all->second.size() % count != 0) return "";
  const size_t width = all->second.size() / count;
  return index < count ? base64(all->second.substr(index * width, width)) : "";
}

// "2 1 1700000000000": retention, hold, until when.
std::string encode_lock(const VersionLock& lock) {
  return cat(static_cast<int>(lock.retention), " ", static_cast<int>(lock.hold), " ",
             lock.until_ms);
}

static VersionLock decode_lock(std::string_view text) {
  VersionLock lock;
  if (text.size() < 5) return lock;
  lock.retention = static_cast<Retention>(text[0] - '0');
  lock.hold = static_cast<LegalHold>(text[2] - '0');
  lock.until_ms = parse_int<int64_t>(text.substr(4)).value_or(0);
  return lock;
}

awaitable<StatusOr<Completed>> complete_upload(Store& store, Namespace& bucket,
                                               std::string_view key, std::string_view id,
                                               std::vector<CompletePart> parts,
                                               Conditions conditions, Expected expected,
                                               uint64_t part_bytes_min) {
  if (parts.empty()) co_return absl::InvalidArgumentError("MalformedXML no parts");
  const bool in_order = std::adjacent_find(parts.begin(), parts.end(), [](auto& a, auto& b) {
                          return a.number >= b.number;
                        }) == parts.end();
  auto upload = find_upload(store, bucket, key, id);
  if (absl::IsNotFound(upload.status())) {
    if (auto before = completed_before(store, bucket, key, id, parts)) co_return *before;
  }
  if (!upload.ok()) co_return upload.status();
  Lsn seen = upload->seen;  // what a refusal rests on
  if (!in_order) co_return resting_on(absl::InvalidArgumentError("InvalidPartOrder"), seen);
  const auto refuse = [&seen](const std::string& why) {
    return resting_on(absl::InvalidArgumentError(why), seen);
  };
  ObjectMeta meta = upload->meta;
  meta.extra = {{"upload", std::string(id)}};
  for (const char* kept : {kAcl, kRedirect}) {
    auto it = upload->meta.extra.find(kept);
    if (it != upload->meta.extra.end()) meta.extra.insert(*it);
  }
  const auto algorithm = algorithm_named(upload->meta.extra["algorithm"]);
  const bool full = upload->meta.extra["type"] == "FULL_OBJECT";
  Upload object(store, 0);
  if (!upload->meta.encryption.empty()) {
    auto encryption = Encryption::decode(upload->meta.encryption);
    if (!encryption) co_return absl::DataLossError("how the upload is encrypted cannot be read");
    object.continues(*std::move(encryption));
  }
  Digest etag(Algorithm::kMd5);
  Conditions as_stored;
  as_stored.as_stored = true;
  std::string composite, running;
  for (size_t i = 0; i < parts.size(); i++) {
    const std::string name = part_key(id, parts[i].number);
    const std::optional<Range> whole;
    auto part = co_await open(store, store.system(), name, whole, as_stored, nullptr);
    seen = std::max(seen, part.ok() ? part->info.seen : rests_on(part.status()));
    if (absl::IsNotFound(part.status())) co_return refuse(cat("InvalidPart ", parts[i].number));
    if (!part.ok()) co_return part.status();  // it is there, and cannot be read now
    if (part->info.etag != parts[i].etag) {
      co_return refuse(cat("InvalidPart ", parts[i].number));
    }
    for (auto& [name, value] : parts[i].checksums) {
      auto have = part->info.meta.checksums.find(name);
      if (have == part->info.meta.checksums.end() || have->second != value) {
        co_return refuse(cat("InvalidPart ", parts[i].number));
      }
    }
    if (i + 1 < parts.size() && part->info.size < part_bytes_min) {
      co_return refuse(cat("EntityTooSmall ", parts[i].number, " ", part->info.size));
    }
    const auto raw = unhex(part->info.etag);
    if (!raw) co_return absl::DataLossError("a part's ETag is no MD5");
    etag.update(as_bytes(*raw));
    if (algorithm) {
      auto have = part->info.meta.checksums.find(std::string(name_of(*algorithm)));
      auto value =
          have == part->info.meta.checksums.end() ? std::nullopt : base64_decode(have->second);
      if (!value) co_return refuse(cat("InvalidPart ", parts[i].number));
      composite += *value;
      if (is_crc(*algorithm)) {
        running = i == 0 ? *value : combine_crc(*algorithm, running, *value, part->info.size);
      }
    }
    meta.part_sizes.push_back(part->info.size);
    if (part->stored.has_value() == upload->meta.encryption.empty()) {
      co_return absl::DataLossError("a part is not encrypted as its upload is");
    }
    Status added = co_await object.append_object(*part);
    if (!added.ok()) co_return added;
  }
  Completed done;
  meta.etag = cat(hex(etag.finish()), "-", parts.size());
  meta.modified_ms = store.now_ms();
  if (algorithm) {
    done.checksum_algorithm = name_of(*algorithm);
    done.full_object = full && is_crc(*algorithm);
    done.checksum = done.full_object
                        ? base64(running)
                        : cat(base64(digest_of(*algorithm, composite)), "-", parts.size());
    meta.checksums[done.checksum_algorithm] = done.checksum;
    meta.extra[kPartChecksums] = composite;
  }
  if (Status s = check_expected(expected, done, meta); !s.ok()) co_return resting_on(s, seen);
  Status finished = co_await object.finish();
  if (!finished.ok()) co_return finished;
  meta.encryption = object.encryption();
  std::string encoded = meta.encode();
  std::optional<Version> made;
  const auto ttl_s = parse_int<int64_t>(upload->meta.extra[kUploadTtl]);
  const VersionLock lock = decode_lock(upload->meta.extra[kUploadLock]);
  Now now(store.clock());
  const int64_t expire_ms =
      ttl_s ? meta.modified_ms + *ttl_s * 1000 : bucket.default_expiry_ms(now);
  std::function<Status(Transaction&)> publish = [&](Transaction& t) -> Status {
    KeyHash hash = bucket.hash(key);
    if (!conditions.empty()) {
      const Entry* e = t.find(bucket, key, hash);
      if (Status s = check_conditions(store, conditions, e, t.seen()); !s.ok()) return s;
    }
    t.lock_versions(lock);
    Status put = t.put(bucket, hash, object.record(bucket, key, encoded, expire_ms));
    if (put.ok()) object.gave_away();
    made = t.made();
    return put;
  };
  const NamespacePtr held = bucket.shared_from_this();
  Refetch refetch(store);
  StatusOr<Lsn> lsn;
  Status status;
  bool again = true;
  while (again) {
    lsn = end_upload(store, bucket, key, id, &bucket, publish);
    status = lsn.status();
    again = co_await refetch.again(status);
  }
  if (!status.ok()) co_return status;
  done.put = {*lsn, *lsn, meta.etag, made ? version_id(*made) : ""};
  co_return done;
}

namespace {
StatusOr<Lsn> abort_all(Store& store, const Namespace& bucket) {
  Lsn newest;
  for (auto& name : keys_with(store, cat("u/", bucket.id.value(), "/"))) {
    auto upload = parse_upload_name(name);
    if (!upload) continue;
    auto lsn = abort_upload(store, bucket, upload->key, upload->id);
    if (lsn.ok()) newest = std::max(newest, *lsn);
    if (!lsn.ok() && !absl::IsNotFound(lsn.status())) return lsn.status();
  }
  return newest;
}

Status remove_record(Store& store, const std::string& name) {
  Namespace& system = store.system();
  KeyHash hash = system.hash(name);
  StripeLocks lock(store, hash);
  Transaction t(store, &lock, Shape::kOne);
  Entry* e = t.find(system, name, hash);
  if (e == nullptr) return absl::OkStatus();
  if (Status s = t.remove(system, hash, e); !s.ok()) return s;
  return t.commit().status();
}
}  // namespace

StatusOr<Lsn> drop_bucket(Store& store, std::string_view name) {
  const NamespacePtr bucket = store.find_namespace(name);
  auto dropped = store.drop_bucket(name);
  if (!dropped.ok() || bucket == nullptr) return dropped;
  auto aborted = abort_all(store, *bucket);
  if (!aborted.ok()) return aborted;
  return std::max(*dropped, *aborted);
}

Status sweep_uploads(Store& store) {
  // Clients come meanwhile. What belongs to something is listed before that: what is in one list
  // and not in the next has lost it, and is not yet to get it.
  const std::vector<std::string> parts = keys_with(store, "p/"), uploads = keys_with(store, "u/");
  std::set<uint32_t> buckets;
  for (auto& b : store.buckets()) buckets.insert(b->id.value());
  for (uint32_t i = 0; i < store.databases(); i++) buckets.insert(store.database(i).id.value());
  std::set<std::string, std::less<>> open;
  for (auto& name : uploads) {
    auto upload = parse_upload_name(name);
    if (upload && buckets.contains(upload->bucket)) {
      open.emplace(upload->id);
    } else if (Status s = remove_record(store, name); !s.ok()) {
      return s;
    }
  }
  for (auto& name : parts) {
    if (open.contains(std::string_view(name).substr(2, name.rfind('/') - 2))) continue;
    if (Status s = remove_record(store, name); !s.ok()) return s;
  }
  return absl::OkStatus();
}

}  // namespace cairn::objects

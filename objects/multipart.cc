#include "objects/multipart.h"

#include <algorithm>
#include <cstdio>

#include "core/text.h"

namespace cairn::objects {

namespace {

std::string upload_key(const Namespace& bucket, std::string_view key, std::string_view id) {
  return cat("u/", bucket.id.value(), "/", key, std::string_view("\0", 1), id);
}
std::string part_key(std::string_view id, unsigned number) {
  char digits[16];
  std::snprintf(digits, sizeof(digits), "%05u", number);
  return cat("p/", id, "/", digits);
}

// Entries of the system namespace with a prefix, in order.
std::vector<std::string> keys_with(Store& store, std::string_view prefix) {
  std::vector<std::string> keys;
  Namespace& ns = store.system();
  MutexLock lock(ns.order_mutex);
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
  meta.extra["started"] = cat(store.now_ms());
  std::string encoded = meta.encode();
  std::string name = upload_key(bucket, key, made.id);
  RecordView r;
  r.ns = kSystemNamespace;
  r.key = name;
  r.meta = encoded;
  KeyHash hash = store.system().hash(name);
  StripeLocks lock(store, hash);
  Transaction t(store, &lock, Shape::kOne);
  if (Status s = t.put(store.system(), hash, r); !s.ok()) return s;
  made.version = *t.commit();
  return made;
}

StatusOr<UploadInfo> find_upload(Store& store, const Namespace& bucket, std::string_view key,
                                 std::string_view id) {
  std::string name = upload_key(bucket, key, id);
  KeyHash hash = store.system().hash(name);
  StripeLocks lock(store, hash);
  Now now(store.clock());
  Entry* e = store.find(store.system(), name, hash, now);
  if (e == nullptr) return absl::NotFoundError("no such upload");
  UploadInfo info;
  info.key = key;
  info.id = id;
  info.meta = ObjectMeta::decode(e->meta()).value_or(ObjectMeta());
  info.started_ms = parse_int<int64_t>(info.meta.extra["started"]).value_or(0);
  return info;
}

StatusOr<PutResult> put_part(Store& store, const Namespace& bucket, std::string_view key,
                             std::string_view id, unsigned number, Upload& bytes, ObjectMeta meta) {
  if (Status s = store.check_write(true); !s.ok()) return s;
  Namespace& system = store.system();
  std::string upload = upload_key(bucket, key, id), part = part_key(id, number);
  meta.modified_ms = store.now_ms();
  std::string encoded = meta.encode();
  StripeLocks lock(store);
  lock.lock(std::array{system.hash(upload), system.hash(part)});
  Transaction t(store, &lock, Shape::kOne);
  if (t.find(system, upload, system.hash(upload)) == nullptr) {
    return absl::NotFoundError("no such upload");
  }
  Status done = t.put(system, system.hash(part), bytes.record(system, part, encoded, 0));
  if (!done.ok()) return done;
  bytes.gave_away();
  return PutResult{*t.commit(), meta.etag};
}

StatusOr<std::vector<PartInfo>> list_parts(Store& store, std::string_view id) {
  std::vector<PartInfo> parts;
  for (auto& name : keys_with(store, cat("p/", id, "/"))) {
    auto info = stat(store, store.system(), name);
    if (!info.ok()) continue;
    parts.push_back(
        {parse_int<unsigned>(std::string_view(name).substr(name.size() - 5)).value_or(0),
         info->size, info->etag, info->modified_ms, info->meta.checksums});
  }
  return parts;
}

UploadPage list_uploads(Store& store, const Namespace& bucket, std::string_view prefix,
                        std::string_view delimiter, std::string_view key_marker,
                        std::string_view id_marker, size_t limit) {
  UploadPage page;
  const std::string base = cat("u/", bucket.id.value(), "/");
  std::string last_group;
  for (auto& name : keys_with(store, cat(base, prefix))) {
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
      page.truncated = true;
      break;
    }
    if (!group.empty()) {
      page.prefixes.push_back(last_group = group);
      continue;
    }
    auto info = find_upload(store, bucket, key, id);
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
  const std::string upload = upload_key(bucket, key, id);
  for (;;) {
    std::vector<std::string> parts = keys_with(store, cat("p/", id, "/"));
    std::vector<KeyHash> hashes{system.hash(upload)};
    for (auto& p : parts) hashes.push_back(system.hash(p));
    if (publish_ns != nullptr) hashes.push_back(publish_ns->hash(key));
    StripeLocks lock(store);
    lock.lock(hashes);
    Transaction t(store, &lock, Shape::kSeveral);
    Entry* e = t.find(system, upload, system.hash(upload));
    if (e == nullptr) return absl::NotFoundError("no such upload");
    // No part comes while the upload's stripe is held; one may have come before.
    if (keys_with(store, cat("p/", id, "/")) != parts) continue;
    if (Status s = publish ? publish(t) : absl::OkStatus(); !s.ok()) return s;
    for (auto& p : parts) {
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

awaitable<StatusOr<Completed>> complete_upload(Store& store, Namespace& bucket,
                                               std::string_view key, std::string_view id,
                                               std::vector<CompletePart> parts,
                                               Conditions conditions,
                                               std::string declared_checksum) {
  auto upload = find_upload(store, bucket, key, id);
  if (!upload.ok()) co_return upload.status();
  if (parts.empty()) co_return absl::InvalidArgumentError("MalformedXML no parts");
  ObjectMeta meta = upload->meta;
  meta.extra.clear();
  const auto algorithm = algorithm_named(upload->meta.extra["algorithm"]);
  const bool full = upload->meta.extra["type"] == "FULL_OBJECT";
  Upload object(store, 0);
  Digest etag(Algorithm::kMd5);
  std::string composite, running;
  for (size_t i = 0; i < parts.size(); i++) {
    if (i > 0 && parts[i].number <= parts[i - 1].number) {
      co_return absl::InvalidArgumentError("InvalidPartOrder");
    }
    const std::string name = part_key(id, parts[i].number);
    auto part = co_await open(store, store.system(), name, std::nullopt);
    if (!part.ok()) {
      co_return absl::InvalidArgumentError(cat("InvalidPart ", parts[i].number));
    }
    if (part->info.etag != parts[i].etag) {
      co_return absl::InvalidArgumentError(cat("InvalidPart ", parts[i].number));
    }
    for (auto& [name, value] : parts[i].checksums) {
      auto have = part->info.meta.checksums.find(name);
      if (have == part->info.meta.checksums.end() || have->second != value) {
        co_return absl::InvalidArgumentError(cat("InvalidPart ", parts[i].number));
      }
    }
    if (i + 1 < parts.size() && part->info.size < kPartBytesMin) {
      co_return absl::InvalidArgumentError("EntityTooSmall");
    }
    std::string raw;
    for (size_t k = 0; k + 1 < part->info.etag.size(); k += 2) {
      raw.push_back(static_cast<char>(
          parse_int<int>(std::string_view(part->info.etag).substr(k, 2), 16).value_or(0)));
    }
    etag.update(as_bytes(raw));
    if (algorithm) {
      auto have = part->info.meta.checksums.find(std::string(name_of(*algorithm)));
      auto value =
          have == part->info.meta.checksums.end() ? std::nullopt : base64_decode(have->second);
      if (!value) co_return absl::InvalidArgumentError(cat("InvalidPart ", parts[i].number));
      composite += *value;
      if (is_crc(*algorithm)) {
        running = i == 0 ? *value : combine_crc(*algorithm, running, *value, part->info.size);
      }
    }
    meta.part_sizes.push_back(part->info.size);
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
    if (!declared_checksum.empty() && declared_checksum != done.checksum) {
      co_return absl::InvalidArgumentError("BadDigest");
    }
    meta.checksums[done.checksum_algorithm] = done.checksum;
  }
  Status finished = co_await object.finish();
  if (!finished.ok()) co_return finished;
  std::string encoded = meta.encode();
  std::function<Status(Transaction&)> publish = [&](Transaction& t) -> Status {
    KeyHash hash = bucket.hash(key);
    if (!conditions.empty()) {
      Entry* e = t.find(bucket, key, hash);
      std::optional<Info> now;
      if (e != nullptr) now = info_of(store, e);
      if (!conditions.if_match.empty() && !now) return absl::NotFoundError("no such key");
      if (judge(conditions, now ? &*now : nullptr) != Verdict::kGo) {
        return absl::FailedPreconditionError("a condition did not hold");
      }
    }
    Status put = t.put(bucket, hash, object.record(bucket, key, encoded, 0));
    if (put.ok()) object.gave_away();
    return put;
  };
  auto lsn = end_upload(store, bucket, key, id, &bucket, publish);
  if (!lsn.ok()) co_return lsn.status();
  done.put = {*lsn, meta.etag};
  co_return done;
}

}  // namespace cairn::objects

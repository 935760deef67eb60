#include "objects/rename.h"

#include <array>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "objects/versions.h"

namespace cairn::objects {

namespace {

// In ObjectMeta::extra: 8 bytes of the token's digest, 8 of the source's.
constexpr const char* kRenamed = "renamed";
constexpr std::string_view kSourceCondition = "x-amz-rename-source-";
std::string mark_of(const Renaming& r) {
  constexpr size_t kBytes = 8;
  return digest_of(Algorithm::kSha256, r.token).substr(0, kBytes) +
         digest_of(Algorithm::kSha256, r.from).substr(0, kBytes);
}

}  // namespace

void forget_renaming(ObjectMeta& meta) { meta.extra.erase(kRenamed); }

namespace {

// Nothing: the value left memory, and has to come back first.
StatusOr<std::optional<PutResult>> try_rename(Store& store, Namespace& ns, const Renaming& r) {
  const KeyHash from = ns.hash(r.from), to = ns.hash(r.to);
  StripeLocks lock(store);
  lock.lock(std::array{from, to});
  Transaction t(store, &lock, Shape::kSeveral);
  Entry* source = t.find(ns, r.from, from);
  const Entry* target = t.find(ns, r.to, to);
  std::optional<Info> at_target;
  if (target != nullptr) at_target = info_of(store, target);
  const std::string mark = r.token.empty() ? "" : mark_of(r);
  if (at_target && !mark.empty()) {
    const std::string& done = at_target->meta.extra[kRenamed];
    if (done == mark) return PutResult{at_target->version, t.seen(), at_target->etag};
    if (!done.empty() && done.substr(0, done.size() / 2) == mark.substr(0, mark.size() / 2)) {
      return resting_on(absl::InvalidArgumentError("IdempotencyParameterMismatch"), t.seen());
    }
  }
  if (source == nullptr) return resting_on(absl::NotFoundError("no such key"), t.seen());
  if (!source->is_string()) return resting_on(wrong_type(), t.seen());
  Info info = info_of(store, source);
  if (Status s = check_conditions(r.of_source, &info, t.seen()); !s.ok()) {
    return resting_on(
        absl::FailedPreconditionError(
            cat("a condition did not hold: ", kSourceCondition, unmet(r.of_source, &info))),
        t.seen());
  }
  if (Status s = check_conditions(r.of_target, at_target ? &*at_target : nullptr, t.seen());
      !s.ok()) {
    return s;
  }
  if (r.of_target.if_modified_since_s && !at_target) {  // S3: if it exists, and was modified
    return resting_on(absl::FailedPreconditionError("a condition did not hold: If-Modified-Since"),
                      t.seen());
  }
  if (!source->is_blob() && source->is_cold()) return std::nullopt;
  // What a value has from its record, as one of the Redis door, it keeps.
  info.meta.etag = info.etag;
  info.meta.modified_ms = info.modified_ms;
  forget_renaming(info.meta);
  if (!mark.empty()) info.meta.extra[kRenamed] = mark;
  const std::string encoded = info.meta.encode();
  RecordView record = source->record(ns.stored());
  record.key = r.to;
  record.meta = encoded;
  std::optional<BlobRef> shared;
  if (source->is_blob()) {
    shared = BlobRef::decode(source->value());
    store.extents().ref(*shared);
  }
  if (Status s = t.put(ns, to, record); !s.ok()) {
    if (shared) store.extents().unref(*shared);
    return s;
  }
  if (Status s = t.remove(ns, from, source); !s.ok()) return s;
  const Entry* renamed = t.find(ns, r.to, to);
  if (auto newest = t.commit(); !newest.ok()) return newest.status();
  return PutResult{renamed->version(), t.seen(), info.etag};
}

}  // namespace

awaitable<StatusOr<PutResult>> rename(Store& store, Namespace& ns, const Renaming& renaming) {
  const NamespacePtr held = ns.shared_from_this();
  constexpr int kTries = 3;  // then memory holds still
  std::optional<MemoryKeeper::Hold> hold;
  Refetch refetch(store);
  for (int tries = 0;; tries++) {
    if (Status s = store.check_write(true); !s.ok()) co_return s;
    if (store.busy().any()) {
      hold.reset();
      for (const std::string* key : {&renaming.from, &renaming.to}) {
        Status idle = co_await store.busy().until_idle(ns.hash(*key));
        if (!idle.ok()) co_return idle;
      }
    }
    if (tries >= kTries && !hold) hold.emplace(store.memory());
    auto tried = try_rename(store, ns, renaming);
    Status status = tried.status();
    const bool again = co_await refetch.again(status);
    if (again) continue;
    if (!status.ok()) co_return status;
    if (*tried) co_return **tried;
    std::string name(renaming.from);
    Status fetched = co_await store.faults().fetch(held, std::move(name));
    if (!fetched.ok()) co_return fetched;
  }
}

}  // namespace cairn::objects

// What quotas are asked, and how they are set.
#include "core/store/quota.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/store/keyspace.h"
#include "core/store/transaction.h"

namespace cairn {

// ---- what there is ----

Usage Namespace::usage() const {
  const auto held = [](const Namespace& ns) {
    const int64_t bytes = ns.held_.bytes.load(std::memory_order_relaxed);
    return Usage{static_cast<uint64_t>(std::max<int64_t>(bytes, 0)), ns.size()};
  };
  Usage all = held(*this);
  if (const Namespace* companion = versions()) {
    const Usage more = held(*companion);
    all.bytes += more.bytes;
    all.keys += more.keys;
  }
  return all;
}

static std::optional<std::string> exceeded(const Usage& used, const Growth& growth, bool counted,
                                           const QuotaLimits& limits) {
  const auto over = [counted](uint64_t used, int64_t grown, uint64_t limit) {
    if (grown <= 0 || limit == QuotaLimits::kNone) return false;
    const uint64_t more = counted ? 0 : static_cast<uint64_t>(grown);
    return used > limit || more > limit - used;
  };
  if (over(used.bytes, growth.bytes, limits.bytes())) return cat(limits.bytes(), " bytes");
  if (over(used.keys, growth.keys, limits.keys())) return cat(limits.keys(), " keys");
  return std::nullopt;
}

std::optional<std::string> Namespace::exceeds(const Growth& own, const Growth& of_user,
                                              bool counted) const {
  if (auto limit = exceeded(usage(), own, counted, limits_)) {
    return cat(*limit, " for '", name, "'");
  }
  if (meter_ == nullptr) return std::nullopt;
  auto limit = exceeded(meter_->usage(), of_user, counted, meter_->limits);
  if (limit) *limit += cat(" for the user who has '", name, "'");
  return limit;
}

static Status judged(const std::optional<std::string>& exceeded) {
  if (!exceeded) return absl::OkStatus();
  return quota_exceeded(cat("the quota of ", *exceeded, " is used up"));
}

Status Keyspace::check_quota(const Namespace& ns, const Growth& growth) {
  return ns.metered() ? judged(ns.exceeds(growth, growth, false)) : absl::OkStatus();
}

// ---- what is set ----

std::shared_ptr<UserMeter> Keyspace::meter(std::string_view user_id) {
  if (user_id.empty()) return nullptr;
  auto it = meters_.find(user_id);
  if (it == meters_.end()) {
    it = meters_.emplace(std::string(user_id), std::make_shared<UserMeter>()).first;
  }
  return it->second;
}

void Keyspace::set_user_quota(std::string_view user_id, const Quota& quota) {
  MutexLock lock(names_mutex_);
  if (quota.empty() && meters_.find(user_id) == meters_.end()) return;
  meter(user_id)->limits.set(quota);
}

Usage Keyspace::usage_of_user(std::string_view user_id) const {
  MutexLock lock(names_mutex_);
  const auto it = meters_.find(user_id);
  return it == meters_.end() ? Usage() : it->second->usage();
}

// ---- what a transaction does ----

void Transaction::note_growth(const Namespace& ns, const Growth& growth) {
  if (!ns.metered() || !asks_quotas_) return;
  const Namespace& whose = ns.bucket_ == nullptr ? ns : *ns.bucket_;
  for (auto& [grown, by] : work_->grown) {
    if (grown != &whose) continue;
    by += growth;
    return;
  }
  work_->grown.emplace_back(&whose, growth);
}

void Transaction::place(Namespace& ns, KeyHash hash, Entry* old, Entry* entry) {
  if (ns.metered()) [[unlikely]] {
    const auto bytes = [](const Entry* e) { return e == nullptr ? 0 : Keyspace::quota_bytes(e); };
    note_growth(ns,
                {int64_t{entry != nullptr} - int64_t{old != nullptr}, bytes(entry) - bytes(old)});
  }
  keyspace_.place(ns, hash, old, entry);
}

Status Transaction::freely(absl::FunctionRef<Status()> change) {
  const bool asked = std::exchange(asks_quotas_, false);
  Status done = change();
  asks_quotas_ = asked;
  return done;
}

// All that it did is in the counts already.
Status Transaction::check_quotas() {
  for (const auto& [ns, growth] : work_->grown) {
    Growth of_user;
    for (const auto& [other, by] : work_->grown) {
      if (other->meter_ == ns->meter_) of_user += by;
    }
    if (Status s = judged(ns->exceeds(growth, of_user, true)); !s.ok()) return refuse(s);
  }
  return absl::OkStatus();
}

Status Transaction::check_swap(const Namespace& a, const Namespace& b) {
  const Growth more{static_cast<int64_t>(b.size() - a.size()), b.index->bytes() - a.index->bytes()};
  const bool same_user = a.meter_ == b.meter_;
  const auto judge = [&](const Namespace& ns, const Growth& growth) {
    if (!ns.metered() || !asks_quotas_) return absl::OkStatus();
    return judged(ns.exceeds(growth, same_user ? Growth() : growth, false));
  };
  Status fits = judge(a, more);
  if (fits.ok()) fits = judge(b, {-more.keys, -more.bytes});
  return fits.ok() ? fits : refuse(fits);
}

}  // namespace cairn

#include "objects/lifecycle.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <vector>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "objects/multipart.h"
#include "objects/versions.h"

namespace cairn::objects {

namespace {
constexpr int64_t kNever = INT64_MAX;

// Whether the rule is about this object, beside its key.
bool fits(const LifecycleRule& rule, const Info& info) {
  if (rule.larger_than && info.size <= *rule.larger_than) return false;
  if (rule.smaller_than && info.size >= *rule.smaller_than) return false;
  return std::all_of(rule.tags.begin(), rule.tags.end(), [&](auto& tag) {
    const auto it = info.meta.tags.find(tag.first);
    return it != info.meta.tags.end() && it->second == tag.second;
  });
}

bool concerned(const Namespace& ns, std::string_view key) {
  const auto properties = ns.properties();
  return std::any_of(properties->lifecycle.begin(), properties->lifecycle.end(),
                     [&](const LifecycleRule& rule) { return rule.concerns(key); });
}

int64_t at_midnight(int64_t ms, int64_t day_ms) { return (ms + day_ms - 1) / day_ms * day_ms; }

// When the rule takes what was written then, if it takes what is current.
int64_t expires_at(const LifecycleRule& rule, int64_t written_ms, int64_t day_ms) {
  if (rule.date_ms) return *rule.date_ms;
  return rule.days ? at_midnight(written_ms + *rule.days * day_ms, day_ms) : kNever;
}
}  // namespace

std::optional<Expiration> expiration_of(const Properties& properties, std::string_view key,
                                        const Info& info, int64_t day_ms) {
  std::optional<Expiration> first;
  for (const LifecycleRule& rule : properties.lifecycle) {
    if (!rule.concerns(key) || !fits(rule, info)) continue;
    const int64_t at = expires_at(rule, info.modified_ms, day_ms);
    if (at != kNever && (!first || at < first->at_ms)) first = {at, rule.id};
  }
  return first;
}

std::optional<Expiration> abort_of(const Properties& properties, std::string_view key,
                                   int64_t started_ms, int64_t day_ms) {
  std::optional<Expiration> first;
  for (const LifecycleRule& rule : properties.lifecycle) {
    if (!rule.concerns(key) || !rule.upload_days) continue;
    const int64_t at = at_midnight(started_ms + *rule.upload_days * day_ms, day_ms);
    if (!first || at < first->at_ms) first = {at, rule.id};
  }
  return first;
}

// ---- what is to be looked at, and when ----

int64_t Lifecycle::midnight(int64_t ms) const { return at_midnight(ms, day_ms_); }

void Lifecycle::note(Item item, int64_t due_ms) {
  if (due_ms == kNever) return;
  MutexLock lock(mutex_);
  due_[due_ms].insert(std::move(item));
}

void Lifecycle::changed(std::span<const Change> changes, Committer* /*by*/) {
  for (const Change& c : changes) {
    if (c.cause == Cause::kCopy || c.of_all()) continue;
    const int64_t now = store_.now_ms();
    if (c.ns->id == kSystemNamespace) {
      const auto upload = c.what == What::kPut ? parse_upload_name(c.key) : std::nullopt;
      if (!upload) continue;  // whether it is of a bucket with rules is seen then
      note({upload->bucket, true, std::string(c.key)}, midnight(now));
    } else if (c.ns->is_bucket() && concerned(*c.ns, c.key)) {
      note({c.ns->id.value(), false, std::string(c.key)}, midnight(now));
    }
  }
}

std::optional<Lifecycle::Item> Lifecycle::next_due(int64_t now_ms) {
  MutexLock lock(mutex_);
  while (!due_.empty() && due_.begin()->first <= now_ms) {
    auto& items = due_.begin()->second;
    if (items.empty()) {
      due_.erase(due_.begin());
      continue;
    }
    Item item = std::move(items.extract(items.begin()).value());
    return item;
  }
  return std::nullopt;
}

// ---- what becomes of a key ----

// The current one goes, if it is still this value; false: it is not, or cannot go now.
awaitable<bool> Lifecycle::expire(NamespacePtr ns, std::string key, Lsn version) {
  Refetch refetch(store_);
  for (;;) {
    Status status;
    {
      const KeyHash hash = ns->hash(key);
      StripeLocks lock(store_);
      if (!lock.lock_idle(hash)) co_return false;
      Transaction t(store_, &lock, Shape::kOne, Wish::kNone, Cause::kLifecycle);
      Entry* e = t.find(*ns, key, hash);
      if (e == nullptr || !e->is_string() || e->version() != version) co_return true;
      status = t.remove(*ns, hash, e);
      if (status.ok()) status = t.commit().status();
    }
    const bool again = co_await refetch.again(status);
    if (!again) co_return status.ok();
  }
}

awaitable<bool> Lifecycle::take(NamespacePtr ns, std::string key, Version version) {
  Refetch refetch(store_);
  for (;;) {
    Status status;
    {
      const KeyHash hash = ns->hash(key);
      StripeLocks lock(store_);
      if (!lock.lock_idle(hash)) co_return false;
      Transaction t(store_, &lock, Shape::kOne, Wish::kNone, Cause::kLifecycle);
      status = t.remove_version(*ns, hash, key, version).status();
      if (status.ok()) status = t.commit().status();
    }
    const bool again = co_await refetch.again(status);
    if (!again) co_return status.ok();
  }
}

// What a turn found of a key, and where the next goes on.
struct Lifecycle::Found {
  std::optional<Lsn> expired;   // the current one is due, which is this value
  std::vector<Version> taken;   // those that are due
  int64_t next_ms = kNever;     // when more of what was looked at is due
  uint64_t below = UINT64_MAX;  // versions with a smaller number are to be looked at yet
  uint64_t since = 0;           // number of the newest above these
  size_t noncurrent = 0;        // so many of those above are not current
  bool end = false;
};

awaitable<int64_t> Lifecycle::look(NamespacePtr ns, std::string key) {
  constexpr size_t kTurn = 256;
  auto executor = co_await asio::this_coro::executor;
  looks_.fetch_add(1, std::memory_order_relaxed);
  Found f;
  while (!f.end && !stopping_) {
    {
      const KeyHash hash = ns->hash(key);
      StripeLocks lock(store_);
      if (!lock.lock_idle(hash)) co_return store_.now_ms() + 1000;
      const auto properties = ns->properties();
      const int64_t now = store_.now_ms();
      const auto due = [&](int64_t at) {
        if (at <= now) return true;
        f.next_ms = std::min(f.next_ms, at);
        return false;
      };
      if (f.below == UINT64_MAX) {
        const Entry* e = ns->index->find(key, hash);
        if (e != nullptr && e->is_string() && !e->expired(now)) {
          const Info info = info_of(store_, e);
          for (const LifecycleRule& rule : properties->lifecycle) {
            if (!rule.concerns(key) || !fits(rule, info)) continue;
            const int64_t at = expires_at(rule, info.modified_ms, day_ms_);
            if (at != kNever && due(at)) f.expired = e->version();
          }
          f.since = store_.version_of(*ns, e).number;
        }
      }
      Namespace* versions = ns->versions();
      if (versions == nullptr) {
        f.end = true;
      }
      for (size_t i = 0; i < kTurn && !f.end; i++) {
        const Entry* e = Keyspace::newest_version(*versions, key, f.below);
        if (e == nullptr) {
          f.end = true;
          break;
        }
        const Version version = store_.version_of(*versions, e);
        f.below = version.number;
        const bool newest = f.since == 0;
        const int64_t since_ms = static_cast<int64_t>((newest ? version.number : f.since) / 1000);
        f.since = version.number;
        const Info info = version.marker ? Info() : info_of(store_, e);
        const bool alone = newest && version.marker &&
                           Keyspace::newest_version(*versions, key, version.number) == nullptr;
        bool goes = false;
        for (const LifecycleRule& rule : properties->lifecycle) {
          if (!rule.concerns(key)) continue;
          if (version.marker ? rule.has_filter() : !fits(rule, info)) continue;
          if (alone) {
            const int64_t at = rule.markers ? now : expires_at(rule, since_ms, day_ms_);
            if (at != kNever && due(at)) goes = true;
          } else if (newest && version.marker) {
            // Nobody tells of a version that a client removes: it is looked for day by day.
            if (rule.markers || rule.days || rule.date_ms) due(midnight(now + 1));
          } else if (!newest && rule.noncurrent_days && f.noncurrent >= rule.newer_noncurrent) {
            goes |= due(midnight(since_ms + *rule.noncurrent_days * day_ms_));
          }
        }
        if (!newest) f.noncurrent++;
        if (goes) f.taken.push_back(version);
      }
    }
    if (!f.end) co_await asio::post(executor, asio::use_awaitable);
  }
  bool all = true;
  // The oldest first, so that none becomes current that is to go.
  for (auto v = f.taken.rbegin(); v != f.taken.rend() && !stopping_; ++v) {
    const bool gone = co_await take(ns, key, *v);
    all = all && gone;
  }
  if (f.expired) {
    const bool gone = co_await expire(ns, key, *f.expired);
    all = all && gone;
  }
  // What is locked, or could not be read or written now, comes again; so does what has become of
  // the key otherwise: of its versions a marker may be left, which is alone now.
  const bool any = f.expired || !f.taken.empty();
  if (any) f.next_ms = std::min(f.next_ms, midnight(store_.now_ms() + (all ? 1 : day_ms_)));
  co_return f.next_ms;
}

int64_t Lifecycle::look_at_upload(const Namespace& ns, const std::string& name) {
  const auto upload = parse_upload_name(name);
  if (!upload) return kNever;
  looks_.fetch_add(1, std::memory_order_relaxed);
  const auto found = find_upload(store_, ns, upload->key, upload->id);
  if (!found.ok()) return kNever;
  const auto due = abort_of(*ns.properties(), upload->key, found->started_ms, day_ms_);
  if (!due) return kNever;
  if (due->at_ms > store_.now_ms()) return due->at_ms;
  const auto aborted = abort_upload(store_, ns, upload->key, upload->id);
  const bool gone = aborted.ok() || absl::IsNotFound(aborted.status());
  return gone ? kNever : store_.now_ms() + day_ms_;
}

// ---- the work ----

// All keys of a bucket are due now: they are looked at, and put where they belong.
awaitable<void> Lifecycle::pass(NamespacePtr ns) {
  auto executor = co_await asio::this_coro::executor;
  VersionQuery query;
  for (bool more = true; more && !stopping_ && !ns->dropped;) {
    auto page = co_await list_versions(store_, ns, query);
    if (!page.ok()) co_return;
    const int64_t now = store_.now_ms();
    std::string last;
    for (auto& item : page->items) {
      if (item.key == last && !last.empty()) continue;
      last = item.key;
      if (!concerned(*ns, item.key)) continue;
      note({ns->id.value(), false, item.key}, now);
    }
    more = page->truncated;
    if (more) query.after = page->items.back().key;
    co_await asio::post(executor, asio::use_awaitable);
  }
  const auto uploads = list_uploads(store_, *ns, "", "", "", "", SIZE_MAX);
  for (auto& upload : uploads.uploads) {
    if (!concerned(*ns, upload.key)) continue;
    note({ns->id.value(), true, upload_name(*ns, upload.key, upload.id)}, store_.now_ms());
  }
}

// Few buckets have rules, and the look at one that has none costs the copy of a pointer.
awaitable<void> Lifecycle::look_for_rules() {
  std::map<uint32_t, std::vector<LifecycleRule>> before;
  before.swap(rules_);
  std::vector<NamespacePtr> changed;
  for (auto& ns : store_.buckets()) {
    const auto properties = ns->properties();
    if (properties->lifecycle.empty()) continue;
    const auto known = before.find(ns->id.value());
    if (known == before.end() || known->second != properties->lifecycle) changed.push_back(ns);
    rules_.emplace(ns->id.value(), properties->lifecycle);
  }
  store_.listeners().interest(static_cast<int>(rules_.size()) - static_cast<int>(before.size()));
  for (auto& ns : changed) co_await pass(ns);
}

awaitable<void> Lifecycle::run() {
  constexpr int kTurn = 64;
  auto executor = co_await asio::this_coro::executor;
  while (!stopping_) {
    co_await look_for_rules();
    int turns = 0;
    for (auto item = next_due(store_.now_ms()); item && !stopping_;
         item = next_due(store_.now_ms())) {
      const NamespacePtr ns = store_.namespace_by_id(NamespaceId(item->bucket));
      if (ns == nullptr || ns->properties()->lifecycle.empty()) continue;
      int64_t next = 0;
      if (item->upload) {
        next = look_at_upload(*ns, item->name);
      } else {
        next = co_await look(ns, item->name);
      }
      note(std::move(*item), next);
      if (++turns % kTurn != 0) continue;
      if (store_.log().backlogged()) co_await store_.log().wait_for_backlog();
      co_await asio::post(executor, asio::use_awaitable);
    }
    co_await store_.clock().sleep_ms(std::min<int64_t>(1000, std::max<int64_t>(day_ms_ / 10, 20)));
  }
}

}  // namespace cairn::objects

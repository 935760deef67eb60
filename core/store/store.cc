#include "core/store/store.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cassert>
#include <mutex>
#include <random>
#include <thread>

#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/store/transaction.h"

namespace cairn {

// ---- locks ----

void StripeLocks::lock(KeyHash hash) {
  assert(!any());
  one_ = static_cast<uint32_t>(stripe_of(hash));
  (*store_.stripes_)[one_].mutex.lock();
}

void StripeLocks::lock(std::span<const KeyHash> hashes) {
  assert(!any());
  for (KeyHash h : hashes) many_.push_back(static_cast<uint32_t>(stripe_of(h)));
  std::sort(many_.begin(), many_.end());
  many_.erase(std::unique(many_.begin(), many_.end()), many_.end());
  for (uint32_t s : many_) (*store_.stripes_)[s].mutex.lock();
}

void StripeLocks::lock_all() {
  assert(!any());
  for (auto& s : *store_.stripes_) s.mutex.lock();
  all_ = true;
}

void StripeLocks::unlock() {
  if (all_) {
    for (auto& s : *store_.stripes_) s.mutex.unlock();
    all_ = false;
  }
  if (one_ != kNone) (*store_.stripes_)[std::exchange(one_, kNone)].mutex.unlock();
  for (uint32_t s : many_) (*store_.stripes_)[s].mutex.unlock();
  many_.clear();
}

// ---- opening ----

Store::Store(Volume& volume, Clock& clock, ChunkPool& pool, std::vector<Executor> executors,
             StoreOptions options)
    : volume_(volume),
      clock_(clock),
      pool_(pool),
      executors_(std::move(executors)),
      options_(options),
      durability_(options.durability),
      memory_bytes_(options.memory_bytes),
      manifest_(volume),
      log_(volume, clock, manifest_, executors_.front(), options.report),
      extents_(volume, clock, pool, manifest_, executors_.front(), options.report),
      cleaner_(*this, volume),
      compactor_(*this),
      checkpointer_(*this, volume),
      memory_(*this),
      backpressure_(log_, memory_, clock),
      faults_(*this),
      random_state_(options.random_seed != 0
                        ? options.random_seed
                        : (uint64_t{std::random_device{}()} << 32 | std::random_device{}())),
      stripes_(std::make_unique<std::array<Stripe, kStripes>>()) {
  extents_.set_debt_max(options_.extent_debt_bytes);
  log_.set_relieved([this] { backpressure_.look(); });
  extents_.set_taken([this](uint64_t bytes) { log_.note_taken(bytes); });
  hash_seed_ = random();
  make_databases();
}

void Store::make_databases() {
  for (uint32_t i = 0; i < kDatabases; i++) {
    databases_[i] = std::make_shared<Namespace>(NamespaceId(i), cat("db", i), Properties{},
                                                hash_seed_, memory_.shared_count());
  }
  system_ = std::make_shared<Namespace>(kSystemNamespace, ".system", Properties{}, hash_seed_,
                                        memory_.shared_count());
  system_->order_end = Namespace::kAllHashes;
  unnamed_ = std::make_shared<Namespace>(kIdentities, ".unnamed", Properties{}, hash_seed_,
                                         memory_.shared_count());
}

Store::~Store() { drop_waiters(); }  // coroutines may hold readers and writers of the extents

void Store::drop_waiters() {
  log_.drop_waiters();
  backpressure_.drop();
  faults_.drop_waiters();
  extents_.drop_waiters();
  manifest_.drop_waiters();
  stopped_.drop();
  background_.drop();
  for (auto& ns : spaces()) ns->order_built.drop();
}

uint64_t Store::random() {  // splitmix64
  uint64_t x = random_state_.fetch_add(0x9e3779b97f4a7c15ULL) + 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

Executor Store::any_executor() { return executors_[next_executor_++ % executors_.size()]; }

awaitable<Status> Store::close() {
  stopping_ = true;
  stopped_.notify();
  extents_.stop_waiting();  // who lets go of what is deleted ends too
  co_await background_.ended();
  Status status = co_await log_.close();
  // Without one the start takes longer; on a full volume it would take the room of deletions.
  if (status.ok() && !log_.full()) (void)co_await checkpointer_.write();
  if (status.ok()) {
    manifest_.note_proven(log_.durable());
    manifest_.change([](ManifestState& m) { m.clean_stop = true; });
    (void)co_await manifest_.save();
  }
  co_await release_dead();
  co_await extents_.close();
  co_return status;
}

int64_t Store::average_ttl_ms(const Namespace& ns) {
  constexpr size_t kSample = 128, kLook = 1024;  // in all; in one stripe
  if (ns.volatile_keys.load(std::memory_order_relaxed) <= 0) return 0;
  const int64_t now = clock_.now_ms();
  const size_t first = random() % kStripes;
  double sum = 0;
  size_t seen = 0;
  for (size_t i = 0; i < kStripes && seen < kSample; i++) {
    const size_t s = (first + i) % kStripes;
    if ((*stripes_)[s].next_due.load(std::memory_order_relaxed) == INT64_MAX) continue;
    StripeLocks lock(*this, KeyHash{s} << (64 - kStripeBits));
    size_t looked = 0;
    for (const ExpiryItem& item : (*stripes_)[s].expiry) {
      if (looked++ == kLook) break;
      if (item.index != ns.index.get() || !item.entry->has_expiry()) continue;
      sum += static_cast<double>(std::max<int64_t>(item.entry->expire_ms() - now, 0));
      seen++;
    }
  }
  return seen == 0 ? 0 : static_cast<int64_t>(sum / static_cast<double>(seen));
}

Store::Health Store::health() const {
  Health health;
  auto add = [&](bool serves, std::string problem) {
    health.ready &= serves;
    health.problems.push_back(std::move(problem));
  };
  if (loading()) {
    add(false, cat("loading ", loading_percent(), "%"));
    return health;
  }
  const Status put = log_.admit(Need::kPut);
  if (Status log = log_.trouble(); !log.ok()) add(put.ok(), std::string(log.message()));
  if (memory_.exhausted()) add(true, "memory is used up, and commands that need some are refused");
  if (Status s = extents_.trouble(); !s.ok()) {
    add(true, cat("a file for large values failed and is not written any more: ", s.message()));
  }
  if (Status s = cleaner_.stats().status; !s.ok() && !absl::IsCancelled(s)) {
    add(true, cat("the log cannot be cleaned: ", s.message()));
  }
  for (uint32_t file : extents_.missing_files()) {
    add(true, cat(to_string({FileKind::kExtents, file}), " is missing, with the values in it"));
  }
  uint64_t lost_bytes = 0;
  for (const LsnRange& range : manifest_.state().lost) lost_bytes += range.to - range.from;
  if (lost_bytes > 0) add(true, cat("up to ", lost_bytes, " bytes of the log's records are lost"));
  return health;
}

Status Store::check_write(bool grows) const {
  if (Status s = log_.admit(grows ? Need::kPut : Need::kDelete); !s.ok()) return s;
  if (grows && memory_.exhausted()) {
    return out_of_memory("command not allowed when used memory > 'maxmemory'.");
  }
  return absl::OkStatus();
}

}  // namespace cairn

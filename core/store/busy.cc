#include "core/store/busy.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/store/keyspace.h"

namespace cairn {

Busy::HolderPtr Busy::holder_of(size_t stripe) const {
  MutexLock lock(mutex_);
  for (auto hold = all_.rbegin(); hold != all_.rend(); ++hold) {  // before it one may be ending
    if (hold->locks->covers_stripe(static_cast<uint32_t>(stripe))) return hold->holder;
  }
  return nullptr;
}

// It is asked to give way to him, and whoever was asked before is not any more.
void Busy::ask(Unwilling& who, HolderPtr holder) {
  if (holder == who.asked) return;
  if (holder != nullptr) holder->unwilling_.fetch_add(1);
  if (who.asked != nullptr && who.asked->unwilling_.fetch_sub(1) == 1) {
    who.asked->unwilling_.notify_all();
  }
  who.asked = std::move(holder);
}

void Busy::lock_anyway(uint32_t stripe) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  SmallMutex& mutex = mutexes_(stripe);
  Unwilling me{stripe, nullptr};
  {
    MutexLock lock(mutex_);
    unwilling_.push_back(&me);
    for (const Hold& hold : all_) {
      if (hold.locks->covers_stripe(stripe)) ask(me, hold.holder);
    }
  }
  do {
    mutex.wait_while_busy();
  } while (!mutex.lock_unless_busy());
  MutexLock lock(mutex_);
  unwilling_.remove(&me);
  ask(me, nullptr);
}

void Busy::begin(const StripeLocks& locks, HolderPtr holder) {
  int64_t never = 0;
  holder->since_ms_.compare_exchange_strong(never, clock_.now_ms());
  MutexLock lock(mutex_);
  all_.push_back({&locks, std::move(holder)});
  ask_all(all_.back());
  holds_.fetch_add(1);
}

// Who waits for a stripe that one has let go may find that the next has it.
void Busy::ask_all(const Hold& hold) {
  for (Unwilling* who : unwilling_) {
    if (hold.locks->covers_stripe(who->stripe)) ask(*who, hold.holder);
  }
}

void Busy::widen(const StripeLocks& locks, absl::FunctionRef<void()> change) {
  MutexLock lock(mutex_);
  change();
  for (const Hold& hold : all_) {
    if (hold.locks == &locks) ask_all(hold);
  }
}

void Busy::end(const StripeLocks& locks) {
  MutexLock lock(mutex_);
  all_.remove_if([&](const Hold& hold) { return hold.locks == &locks; });
  holds_.fetch_sub(1);
}

Busy::HolderPtr Busy::met(std::span<const uint32_t> stripes) const {
  for (uint32_t s : stripes) {
    if (!mutexes_(s).is_busy()) continue;
    if (HolderPtr holder = holder_of(s)) return holder;
  }
  return nullptr;
}

awaitable<Status> Busy::until(std::vector<uint32_t> stripes, Patience patience) {
  const auto idle = [&] {
    return std::none_of(stripes.begin(), stripes.end(),
                        [&](uint32_t s) { return mutexes_(s).is_busy(); });
  };
  const int64_t begun_ms = clock_.now_ms();
  while (!idle()) {
    const HolderPtr holder = met(stripes);
    if (holder == nullptr) continue;  // it has let go just now
    const int64_t most = patience == Patience::kEndless ? 0 : patience_ms.load();
    if (most == 0) {
      co_await idle_.until(idle);
      break;
    }
    // Or one after the other holds one of them, none for long.
    const int64_t held_ms = clock_.now_ms() - std::min(holder->since_ms_.load(), begun_ms);
    const int64_t left = most - std::max<int64_t>(held_ms, 0);  // the clock may be set back
    if (left <= 0) co_return held_too_long(holder->who);
    (void)co_await idle_.until(idle, clock_, std::min(left, kPatienceMsMax));
  }
  co_return absl::OkStatus();
}

awaitable<Status> Busy::until_idle(std::span<const KeyHash> hashes, Patience patience) {
  if (!any()) co_return absl::OkStatus();
  std::vector<uint32_t> stripes;
  for (KeyHash h : hashes) stripes.push_back(static_cast<uint32_t>(stripe_of(h)));
  co_return co_await until(std::move(stripes), patience);
}

awaitable<Status> Busy::until_idle(KeyHash hash, Patience patience) {
  if (!any()) co_return absl::OkStatus();
  std::vector<uint32_t> stripes(1, static_cast<uint32_t>(stripe_of(hash)));
  co_return co_await until(std::move(stripes), patience);
}

awaitable<Status> Busy::until_all_idle(Patience patience) {
  if (!any()) co_return absl::OkStatus();
  std::vector<uint32_t> stripes(kStripes);
  for (size_t s = 0; s < kStripes; s++) stripes[s] = static_cast<uint32_t>(s);
  co_return co_await until(std::move(stripes), patience);
}

}  // namespace cairn

#include "kv/types/member_table.h"

#include <atomic>
#include <cstring>

#include "core/base/limits.h"
#include "core/base/mutex.h"
#include "kv/types/text_set.h"

namespace cairn::kv {

// ---- members ----

const Entry* MemberTable::put(std::string_view member, std::string_view value, int64_t until_ms,
                              KeyHash hash, const Entry* was) {
  auto* old = const_cast<Entry*>(was);
  RecordView record;
  record.key = member;
  record.value = value;
  record.expire_ms = until_ms;
  if (until_ms != kForEver) record.flags = kRecordHasExpiry;
  item_bytes_ += member.size() + value.size();
  if (old != nullptr) {
    keep(old, hash);
    item_bytes_ -= member.size() + old->value_bytes();
    if (old->assign(record, stamp())) return old;
    entry_bytes_ -= old->bytes();
  }
  Entry* made = Entry::make(record, stamp());
  entry_bytes_ += made->bytes();
  if (old == nullptr) {
    index_.insert(made, hash);
  } else {
    index_.replace(old, made, hash);
    Entry::destroy(old);
  }
  return made;
}

void MemberTable::remove(const Entry* which, KeyHash hash) {
  auto* e = const_cast<Entry*>(which);
  keep(e, hash);
  index_.remove(e, hash);
  item_bytes_ -= e->key().size() + e->value_bytes();
  entry_bytes_ -= e->bytes();
  Entry::destroy(e);
}

const Entry* MemberTable::random(uint64_t random, int64_t now_ms, bool some_due) const {
  constexpr int kTriesMax = 64;
  for (int tries = 0; tries < kTriesMax || !some_due; tries++) {
    const Entry* e = index_.random(0, random);
    if (e != nullptr && !e->expired(now_ms)) return e;
    random = random * 6364136223846793005 + 1;
  }
  // Nearly all of it is due: then the next that is not, from a place by chance.
  const Entry* found = nullptr;
  const auto look = [&](const Entry* e) { found = e->expired(now_ms) ? found : e; };
  KeyHash at = random & (UINT64_MAX >> kStripeBits);
  while (found == nullptr) at = index_.walk(0, at, look);
  return found;
}

// ---- as it was ----

struct MemberTable::State {
  // By all walks of the process together: for readers who stand still while what they read is
  // changed or deleted.
  static inline std::atomic<uint64_t> kept_by_all{0};

  Mutex mutex;  // with whoever destroys the table once its collection left the store
  const MemberTable* table ABSL_GUARDED_BY(mutex);  // null: all that is left is kept
  const Lsn begun;       // entries with this stamp or a later one are not what was there
  const int64_t now_ms;  // what was due by then is not either
  const bool walks, times;
  KeyHash at ABSL_GUARDED_BY(mutex) = 0;    // what lies before was handed out or is kept
  std::string kept ABSL_GUARDED_BY(mutex);  // items, for a walk
  size_t kept_at ABSL_GUARDED_BY(mutex) = 0;
  TextSet gone ABSL_GUARDED_BY(mutex);  // the same, for a look back
  uint64_t kept_bytes ABSL_GUARDED_BY(mutex) = 0;
  bool lost ABSL_GUARDED_BY(mutex) = false;  // it would have had to keep too much
  std::atomic<bool> ended{false};
  std::atomic<KeyHash> key;

  State(const MemberTable* table, Lsn begun, int64_t now_ms, bool walks, bool times, KeyHash key)
      : table(table), begun(begun), now_ms(now_ms), walks(walks), times(times), key(key) {}
  ~State() { kept_by_all -= kept_bytes; }

  bool shows(const Entry* e) const { return e->lsn() < begun && !e->expired(now_ms); }
  void keep(const Entry* e) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (lost) return;
    if (walks) {
      append_item(kept, e->key());
      append_item(kept, e->value());
      const int64_t until_ms = e->expire_ms();
      if (times) kept.append(reinterpret_cast<const char*>(&until_ms), sizeof(until_ms));
    } else {
      gone.add(e->key());
    }
    const uint64_t before = kept_bytes;
    kept_bytes = walks ? kept.size() : gone.memory_bytes();
    if (kept_by_all += kept_bytes - before; kept_by_all <= limits::kKeptBytesMax) return;
    lost = true;
    table = nullptr;
    drop_kept();
  }
  void drop_kept() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    kept_by_all -= kept_bytes;
    kept_bytes = 0;
    kept = std::string();
    kept_at = 0;
    gone.clear();
  }
  // Hands a stretch of the table out.
  template <class Fn>
  void step(Fn fn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    at = table->index_.walk(0, at, [&](const Entry* e) {
      if (shows(e)) fn(e);
    });
    if (at == 0) table = nullptr;
  }
  void end() {
    ended.store(true, std::memory_order_release);
    MutexLock lock(mutex);
    drop_kept();
  }
};

std::shared_ptr<MemberTable::State> MemberTable::begin(int64_t now_ms, KeyHash key, bool walks,
                                                       bool times) const {
  begun_++;
  auto state = std::make_shared<State>(this, stamp(), now_ms, walks, times, key);
  if (states_ == nullptr) states_ = std::make_unique<States>();
  states_->push_back(state);
  return state;
}

MemberTable::Walk::Walk(const MemberTable& table, int64_t now_ms, KeyHash key, bool times)
    : state_(table.begin(now_ms, key, true, times)) {}
MemberTable::Walk::~Walk() { state_->end(); }
KeyHash MemberTable::Walk::key() const { return state_->key.load(std::memory_order_acquire); }
bool MemberTable::Walk::lost() const {
  MutexLock lock(state_->mutex);
  return state_->lost;
}

bool MemberTable::Walk::next(Visit visit) {
  return next_timed([&](auto member, auto value, int64_t) { visit(member, value); });
}

bool MemberTable::Walk::next_timed(VisitTimed visit) {
  constexpr int kKeptMax = 512;  // in one step
  State& s = *state_;
  MutexLock lock(s.mutex);
  if (s.kept_at == s.kept.size()) {
    if (s.table != nullptr)
      s.step([&](const Entry* e) { visit(e->key(), e->value(), e->expire_ms()); });
  } else {
    std::string_view rest = std::string_view(s.kept).substr(s.kept_at), f, v;
    for (int i = 0; i < kKeptMax && take_item(rest, f) && take_item(rest, v); i++) {
      int64_t until_ms = kForEver;
      if (s.times) {
        std::memcpy(&until_ms, rest.data(), sizeof(until_ms));
        rest.remove_prefix(sizeof(until_ms));
      }
      visit(f, v, until_ms);
    }
    s.kept_at = s.kept.size() - rest.size();
    if (rest.empty()) s.drop_kept();
  }
  return s.table != nullptr || s.kept_at < s.kept.size();
}

MemberTable::Past::Past(const MemberTable& table, int64_t now_ms, KeyHash key)
    : state_(table.begin(now_ms, key, false, false)) {}
MemberTable::Past::~Past() { state_->end(); }
KeyHash MemberTable::Past::key() const { return state_->key.load(std::memory_order_acquire); }
bool MemberTable::Past::lost() const {
  MutexLock lock(state_->mutex);
  return state_->lost;
}

bool MemberTable::Past::had(std::string_view member) const {
  State& s = *state_;
  MutexLock lock(s.mutex);
  const Entry* e = s.table == nullptr ? nullptr : s.table->find(member);
  return (e != nullptr && s.shows(e)) || s.gone.contains(member);
}

void MemberTable::moved(KeyHash hash) {
  if (!in_use()) return;
  for (auto& state : *states_) state->key.store(hash, std::memory_order_release);
}

// For walks that have not come to an entry that is about to change.
void MemberTable::keep(const Entry* old, KeyHash hash) const {
  if (!in_use()) return;
  for (auto& state : *states_) {
    MutexLock lock(state->mutex);
    if (state->table != nullptr && hash >= state->at && state->shows(old)) state->keep(old);
  }
}

bool MemberTable::in_use() const {
  if (states_ == nullptr) return false;
  std::erase_if(*states_, [](auto& s) { return s->ended.load(std::memory_order_acquire); });
  if (states_->empty()) states_.reset();
  return states_ != nullptr;
}

MemberTable::~MemberTable() {
  if (!in_use()) return;
  for (auto& state : *states_) {
    MutexLock lock(state->mutex);
    while (state->table != nullptr) {  // keep() may end it
      state->step([&](const Entry* e) ABSL_NO_THREAD_SAFETY_ANALYSIS { state->keep(e); });
    }
  }
}

}  // namespace cairn::kv

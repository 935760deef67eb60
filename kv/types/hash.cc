#include "kv/types/hash.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstring>

#include "core/base/limits.h"
#include "core/base/mutex.h"

namespace cairn::kv {

namespace {
enum Kind : char { kSet = 1, kDelete = 2, kSetUntil = 3, kUntil = 4 };

void add(std::string& out, std::string_view s) {
  if (s.size() < 255) {
    out.push_back(static_cast<char>(s.size()));
  } else {
    auto n = static_cast<uint32_t>(s.size());
    out.push_back(static_cast<char>(255));
    out.append(reinterpret_cast<const char*>(&n), 4);
  }
  out.append(s);
}

// Takes a string off the front; false if there is none.
bool take(std::string_view& in, std::string_view& s) {
  if (in.empty()) return false;
  uint32_t n = static_cast<uint8_t>(in[0]);
  in.remove_prefix(1);
  if (n == 255) {
    if (in.size() < 4) return false;
    std::memcpy(&n, in.data(), 4);
    in.remove_prefix(4);
  }
  if (n > in.size()) return false;
  s = in.substr(0, n);
  in.remove_prefix(n);
  return true;
}

void add(std::string& out, int64_t until_ms) {
  out.append(reinterpret_cast<const char*>(&until_ms), sizeof(until_ms));
}

bool take(std::string_view& in, int64_t& until_ms) {
  if (in.size() < sizeof(until_ms)) return false;
  std::memcpy(&until_ms, in.data(), sizeof(until_ms));
  in.remove_prefix(sizeof(until_ms));
  return until_ms >= 0;
}

// Takes what an operation of this kind says of one field; false if that is none.
bool take(char kind, std::string_view& in, Hash::Item& item) {
  item.until_ms = Hash::kForEver;
  if ((kind == kSetUntil || kind == kUntil) && !take(in, item.until_ms)) return false;
  if (!take(in, item.field) || item.field.size() > kKeyBytesMax) return false;
  return (kind != kSet && kind != kSetUntil) || take(in, item.value);
}

RecordView field_record(const Hash::Item& item) {
  RecordView r;
  r.key = item.field;
  r.value = item.value;
  r.expire_ms = item.until_ms;
  if (item.until_ms != Hash::kForEver) r.flags = kRecordHasExpiry;
  return r;
}

}  // namespace

// ---- operations ----

void Hash::add_set(std::string& operation, std::string_view field, std::string_view value) {
  if (operation.empty()) operation.push_back(kSet);
  add(operation, field);
  add(operation, value);
}

void Hash::add_set_until(std::string& operation, std::string_view field, std::string_view value,
                         int64_t until_ms) {
  if (operation.empty()) operation.push_back(kSetUntil);
  add(operation, until_ms);
  add(operation, field);
  add(operation, value);
}

void Hash::add_until(std::string& operation, std::string_view field, int64_t until_ms) {
  if (operation.empty()) operation.push_back(kUntil);
  add(operation, until_ms);
  add(operation, field);
}

void Hash::add_delete(std::string& operation, std::string_view field) {
  if (operation.empty()) operation.push_back(kDelete);
  add(operation, field);
}

bool Hash::has_times(std::string_view operation) {
  return !operation.empty() && operation[0] == kSetUntil;
}

bool Hash::apply(std::string_view operation) {
  const bool applied = apply_items(operation);
  note_times();
  return applied;
}

bool Hash::apply_items(std::string_view operation) {
  if (operation.empty()) return true;
  const char kind = operation[0];
  if (kind < kSet || kind > kUntil) return false;
  operation.remove_prefix(1);
  Item item;
  while (!operation.empty()) {
    if (!take(kind, operation, item)) return false;
    if (kind == kDelete) {
      remove(item.field);
    } else if (kind == kUntil) {
      set_until(item.field, item.until_ms);
    } else {
      set(item);
    }
  }
  return true;
}

void Hash::inverse(std::string_view operation, std::vector<std::string>& undo) const {
  if (operation.empty()) return;
  std::string set, unset, until;
  const char kind = operation[0];
  operation.remove_prefix(1);
  Item item;
  while (take(kind, operation, item)) {
    const auto old = find(item.field, kNoTime);
    if (old && kind == kUntil) {
      add_until(until, item.field, old->until_ms);
    } else if (old) {
      add_set_until(set, item.field, old->value, old->until_ms);
    } else if (kind != kUntil) {
      add_delete(unset, item.field);
    }
  }
  for (std::string* o : {&unset, &set, &until}) {
    if (!o->empty()) undo.push_back(std::move(*o));
  }
}

size_t Hash::expire(int64_t now_ms, size_t most, std::string& operation) const {
  constexpr size_t kBytesMax = 64 << 10;  // of names; one is more only by itself
  size_t n = 0;
  const auto more = [&] { return n < most && operation.size() < kBytesMax; };
  if (table_) {
    const auto& order = times()->order;
    for (auto it = order.begin(); it != order.end() && it->first <= now_ms && more(); ++it, n++) {
      add_delete(operation, it->second->key());
    }
    return n;
  }
  std::string_view rest = bytes_;
  for (Item item; more() && take_item(rest, item);) {
    if (!item.is_due(now_ms)) continue;
    add_delete(operation, item.field);
    n++;
  }
  return n;
}

// ---- times ----

void Hash::make_times() {
  if (due() != nullptr) return;
  const std::string before = std::move(bytes_);
  bytes_ = std::string();
  std::string_view rest = before;
  for (Item item; take_item(rest, item);) {
    add(bytes_, item.until_ms);
    add(bytes_, item.field);
    add(bytes_, item.value);
  }
  set_due(std::make_unique<Times>());
}

// For a small one it looks at all of its fields, which are not many.
void Hash::note_times() {
  Times* t = times();
  if (t == nullptr) return;
  int64_t next = INT64_MAX, last = 0;
  if (table_) {
    t->timed = t->order.size();
    if (t->timed > 0) {
      next = t->order.begin()->first;
      last = t->order.rbegin()->first;
    }
  } else {
    t->timed = 0;
    each([&](const Item& item) {
      if (item.until_ms == kForEver) return;
      t->timed++;
      next = std::min(next, item.until_ms);
      last = std::max(last, item.until_ms);
    });
  }
  t->next.store(next, std::memory_order_relaxed);
  t->gone.store(t->timed > 0 && t->timed == count_ ? last : INT64_MAX, std::memory_order_relaxed);
}

void Hash::add_to_order(const Entry* e) {
  if (!e->has_expiry()) return;
  times()->order.emplace(e->expire_ms(), e);
  times()->due += e->expire_ms() <= times()->counted_ms;
}

void Hash::take_from_order(const Entry* e) {
  if (!e->has_expiry()) return;
  times()->order.erase({e->expire_ms(), e});
  times()->due -= e->expire_ms() <= times()->counted_ms;
}

// ---- what is there ----

bool Hash::take_item(std::string_view& in, Item& item) const {
  item.until_ms = kForEver;
  return (due() == nullptr || take(in, item.until_ms)) && take(in, item.field) &&
         take(in, item.value);
}

template <class Fn>
void Hash::each(Fn fn) const {
  if (table_) return table_->for_each(0, [&](const Entry* e) { fn(item_of(e)); });
  std::string_view rest = bytes_;
  for (Item item; take_item(rest, item);) fn(item);
}

size_t Hash::size(int64_t now_ms) const {
  if (next_due() > now_ms) return count_;
  size_t due = 0;
  if (!table_) each([&](const Item& item) { due += item.is_due(now_ms); });
  if (!table_) return count_ - due;
  Times& t = *times();
  if (now_ms < t.counted_ms) t.due = 0, t.counted_ms = 0;  // a clock went back
  auto it = t.order.lower_bound({t.counted_ms + 1, nullptr});
  for (; it != t.order.end() && it->first <= now_ms; ++it) t.due++;
  t.counted_ms = now_ms;
  return count_ - t.due;
}

uint64_t Hash::memory_bytes() const {
  uint64_t bytes = sizeof(Hash) + (bytes_.capacity() > 15 ? bytes_.capacity() : 0) + entry_bytes_ +
                   (table_ ? sizeof(Index) + table_->table_bytes() : 0);
  if (const Times* t = times()) {  // nodes are three quarters full
    bytes += sizeof(Times) + t->order.size() * sizeof(*t->order.begin()) * 4 / 3;
  }
  return bytes;
}

size_t Hash::item_head() const {
  constexpr size_t kLengths = 2;  // about
  return kLengths + (any_timed() ? sizeof(int64_t) : 0);
}

uint64_t Hash::image_bytes() const { return 1 + item_bytes_ + count_ * item_head(); }

// ---- walks ----

struct Hash::Walk::State {
  // By all walks of the process together: for readers who stand still while what they read is
  // changed or deleted.
  static inline std::atomic<uint64_t> kept_by_all{0};

  Mutex mutex;  // with whoever destroys the hash once it left the store
  const Index* table ABSL_GUARDED_BY(mutex);  // null: all that is left is kept
  const Lsn begun;       // entries with this stamp or a later one are not what was there
  const int64_t now_ms;  // what was due by then is not either
  KeyHash at ABSL_GUARDED_BY(mutex) = 0;    // what lies before was handed out or is kept
  std::string kept ABSL_GUARDED_BY(mutex);  // items
  size_t kept_at ABSL_GUARDED_BY(mutex) = 0;
  bool lost ABSL_GUARDED_BY(mutex) = false;  // it would have had to keep too much
  std::atomic<bool> ended{false};
  std::atomic<KeyHash> key;

  State(const Index* table, Lsn begun, int64_t now_ms, KeyHash key)
      : table(table), begun(begun), now_ms(now_ms), key(key) {}
  ~State() { kept_by_all -= kept.size(); }

  bool shows(const Entry* e) const { return e->lsn() < begun && !e->expired(now_ms); }
  void keep(const Entry* e) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (lost) return;
    const size_t before = kept.size();
    add(kept, e->key());
    add(kept, e->value());
    if (kept_by_all += kept.size() - before; kept_by_all <= limits::kKeptBytesMax) return;
    lost = true;
    table = nullptr;
    drop_kept();
  }
  void drop_kept() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    kept_by_all -= kept.size();
    kept = std::string();
    kept_at = 0;
  }
  // Hands a stretch of the table out.
  template <class Fn>
  void step(Fn fn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    at = table->walk(0, at, [&](const Entry* e) {
      if (shows(e)) fn(e);
    });
    if (at == 0) table = nullptr;
  }
};

Hash::Walk::Walk(const Hash& hash, int64_t now_ms, KeyHash key) {
  assert(hash.table_ != nullptr);
  hash.walks_begun_++;
  state_ = std::make_shared<State>(hash.table_.get(), hash.stamp(), now_ms, key);
  if (hash.walks_ == nullptr) hash.walks_ = std::make_unique<Walks>();
  hash.walks_->push_back(state_);
}

Hash::Walk::~Walk() {
  state_->ended.store(true, std::memory_order_release);
  MutexLock lock(state_->mutex);
  state_->drop_kept();
}

bool Hash::Walk::lost() const {
  MutexLock lock(state_->mutex);
  return state_->lost;
}

KeyHash Hash::Walk::key() const { return state_->key.load(std::memory_order_acquire); }

void Hash::moved(KeyHash hash) {
  if (!in_use()) return;
  for (auto& walk : *walks_) walk->key.store(hash, std::memory_order_release);
}

bool Hash::Walk::next(const Visit& visit) {
  constexpr int kKeptMax = 512;  // in one step
  State& s = *state_;
  MutexLock lock(s.mutex);
  if (s.kept_at == s.kept.size()) {
    if (s.table != nullptr) s.step([&](const Entry* e) { visit(e->key(), e->value()); });
  } else {
    std::string_view rest = std::string_view(s.kept).substr(s.kept_at), f, v;
    for (int i = 0; i < kKeptMax && take(rest, f) && take(rest, v); i++) visit(f, v);
    s.kept_at = s.kept.size() - rest.size();
    if (rest.empty()) s.drop_kept();
  }
  return s.table != nullptr || s.kept_at < s.kept.size();
}

// For walks that have not come to an entry that is about to change.
void Hash::keep(const Entry* old, KeyHash hash) const {
  if (!in_use()) return;
  for (auto& walk : *walks_) {
    MutexLock lock(walk->mutex);
    if (walk->table != nullptr && hash >= walk->at && walk->shows(old)) walk->keep(old);
  }
}

bool Hash::in_use() const {
  if (walks_ == nullptr) return false;
  std::erase_if(*walks_, [](auto& walk) { return walk->ended.load(std::memory_order_acquire); });
  if (walks_->empty()) walks_.reset();
  return walks_ != nullptr;
}

Hash::~Hash() {
  if (!in_use()) return;
  for (auto& walk : *walks_) {
    MutexLock lock(walk->mutex);
    while (walk->table != nullptr) {  // keep() may end it
      walk->step([&](const Entry* e) ABSL_NO_THREAD_SAFETY_ANALYSIS { walk->keep(e); });
    }
  }
}

// ---- fields ----

std::optional<Hash::Item> Hash::find(std::string_view field, int64_t now_ms) const {
  if (table_) {
    const Entry* e = table_->find(field, table_->hash(field));
    if (e == nullptr || e->expired(now_ms)) return std::nullopt;
    return item_of(e);
  }
  std::string_view rest = bytes_;
  for (Item item; take_item(rest, item);) {
    if (item.field == field) return item.is_due(now_ms) ? std::nullopt : std::optional(item);
  }
  return std::nullopt;
}

void Hash::set(const Item& item) {
  if (item.until_ms != kForEver) make_times();
  const auto& [field, value, until_ms] = item;
  if (field.size() > kListpackValue || value.size() > kListpackValue) plain_ = false;
  if (table_) return set_in_table(item);
  if (replace(item)) return;
  if (count_ < kCompactEntries && bytes_.size() + field.size() + value.size() < kCompactBytes) {
    if (due() != nullptr) add(bytes_, until_ms);
    add(bytes_, field);
    add(bytes_, value);
    count_++;
    item_bytes_ += field.size() + value.size();
    return;
  }
  spread();
  set_in_table(item);
}

// In the place where the field is, if it is there and there is room.
bool Hash::replace(const Item& item) {
  std::string_view rest = bytes_;
  Item old;
  for (const char* at = rest.data(); take_item(rest, old); at = rest.data()) {
    if (old.field != item.field) continue;
    if (bytes_.size() + item.value.size() >= kCompactBytes + old.value.size()) return false;
    item_bytes_ += item.value.size() - old.value.size();
    const auto begin = static_cast<size_t>(at - bytes_.data());
    const auto end = static_cast<size_t>(rest.data() - bytes_.data());
    std::string made;
    if (due() != nullptr) add(made, item.until_ms);
    add(made, item.field);
    add(made, item.value);
    bytes_.replace(begin, end - begin, made);
    return true;
  }
  return false;
}

void Hash::set_in_table(const Item& item) {
  const KeyHash hash = table_->hash(item.field);
  const RecordView record = field_record(item);
  Entry* old = table_->find(item.field, hash);
  item_bytes_ += item.field.size() + item.value.size();
  if (old != nullptr) {
    keep(old, hash);
    take_from_order(old);
    item_bytes_ -= item.field.size() + old->value_size;
    if (old->assign(record, stamp())) return add_to_order(old);
    entry_bytes_ -= old->bytes();
  }
  Entry* made = Entry::make(record, stamp());
  entry_bytes_ += made->bytes();
  add_to_order(made);
  if (old == nullptr) {
    table_->insert(made, hash);
    if (++count_ > kListpackEntries) plain_ = false;
  } else {
    table_->replace(old, made, hash);
    Entry::destroy(old);
  }
}

void Hash::set_until(std::string_view field, int64_t until_ms) {
  if (until_ms != kForEver) make_times();
  if (due() == nullptr) return;
  if (table_) {
    auto item = find(field, kNoTime);
    if (!item || item->until_ms == until_ms) return;
    const std::string value(item->value);  // the entry is written over
    return set_in_table({field, value, until_ms});
  }
  std::string_view rest = bytes_;
  Item item;
  for (const char* at = rest.data(); take_item(rest, item); at = rest.data()) {
    if (item.field != field) continue;
    std::memcpy(bytes_.data() + (at - bytes_.data()), &until_ms, sizeof(until_ms));
    return;
  }
}

void Hash::remove(std::string_view field) {
  if (table_) {
    const KeyHash hash = table_->hash(field);
    Entry* e = table_->find(field, hash);
    if (e == nullptr) return;
    keep(e, hash);
    take_from_order(e);
    table_->remove(e, hash);
    count_--;
    item_bytes_ -= e->key_size + e->value_size;
    entry_bytes_ -= e->bytes();
    Entry::destroy(e);
    return;
  }
  std::string_view rest = bytes_;
  Item item;
  for (const char* at = rest.data(); take_item(rest, item); at = rest.data()) {
    if (item.field != field) continue;
    item_bytes_ -= item.field.size() + item.value.size();
    count_--;
    bytes_.erase(static_cast<size_t>(at - bytes_.data()), static_cast<size_t>(rest.data() - at));
    return;
  }
}

void Hash::spread() {
  table_ = std::make_unique<Index>(seed_, nullptr, true);
  const std::string bytes = std::move(bytes_);
  bytes_ = std::string();
  count_ = 0;
  item_bytes_ = 0;
  std::string_view rest = bytes;
  for (Item item; take_item(rest, item);) set_in_table(item);
}

void Hash::for_each(int64_t now_ms, const Visit& visit) const {
  each([&](const Item& item) {
    if (!item.is_due(now_ms)) visit(item.field, item.value);
  });
}

template <class Fn>
uint64_t Hash::scan(uint64_t cursor, size_t count, Fn fn) const {
  if (!table_) {
    each(fn);
    return 0;
  }
  std::vector<Entry*> page;
  const KeyHash next = table_->scan(0, cursor << 16, count, page);
  for (const Entry* e : page) fn(item_of(e));
  return next >> 16;
}

uint64_t Hash::scan(uint64_t cursor, size_t count, int64_t now_ms, const Visit& visit) const {
  return scan(cursor, count, [&](const Item& item) {
    if (!item.is_due(now_ms)) visit(item.field, item.value);
  });
}

uint64_t Hash::save(uint64_t cursor, uint64_t bytes, std::string& operation) const {
  constexpr uint64_t kPageMax = 256;
  const bool timed = any_timed();
  const uint64_t average = (item_bytes_ + count_ * item_head()) / std::max<size_t>(count_, 1);
  auto page = static_cast<size_t>(std::clamp<uint64_t>(bytes / (average + 1), 1, kPageMax));
  const size_t begin = operation.size();
  const uint64_t most = capped_add(bytes, bytes);
  const auto add = [&](const Item& item) {
    if (timed) {
      add_set_until(operation, item.field, item.value, item.until_ms);
    } else {
      add_set(operation, item.field, item.value);
    }
  };
  for (;;) {
    const size_t before = operation.size();
    const uint64_t next = scan(cursor, page, add);
    const uint64_t size = operation.size() - begin;
    // A field that is much larger than the others is a part of its own.
    if (size > most && (page > 1 || before > begin)) {
      operation.resize(before);
      if (page == 1) return cursor;
      page = 1;
      continue;
    }
    cursor = next;
    if (cursor == 0 || size >= bytes) return cursor;
  }
}

bool Hash::free_some() {
  constexpr size_t kStep = 1000;
  if (!table_) return false;
  std::vector<Entry*> page;
  table_->scan(0, 0, kStep, page);
  for (Entry* e : page) {
    take_from_order(e);
    table_->remove(e, table_->hash(e->key()));
    Entry::destroy(e);
  }
  return page.size() >= kStep;
}

std::pair<std::string_view, std::string_view> Hash::random(uint64_t random, int64_t now_ms) const {
  if (!table_) {
    size_t skip = random % size(now_ms);
    std::string_view rest = bytes_;
    for (Item item; take_item(rest, item);) {
      if (!item.is_due(now_ms) && skip-- == 0) return {item.field, item.value};
    }
    return {};
  }
  constexpr int kTriesMax = 64;
  for (int tries = 0; tries < kTriesMax || next_due() > now_ms; tries++) {
    const Entry* e = table_->random(0, random);
    if (e != nullptr && !e->expired(now_ms)) return {e->key(), e->value()};
    random = random * 6364136223846793005 + 1;
  }
  // Nearly all of it is due: then the next that is not, from a place by chance.
  const Entry* found = nullptr;
  const auto look = [&](const Entry* e) { found = e->expired(now_ms) ? found : e; };
  KeyHash at = random & (UINT64_MAX >> kStripeBits);
  while (found == nullptr) at = table_->walk(0, at, look);
  return {found->key(), found->value()};
}

}  // namespace cairn::kv

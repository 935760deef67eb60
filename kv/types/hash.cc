#include "kv/types/hash.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstring>

#include "core/base/limits.h"
#include "core/base/mutex.h"

namespace cairn::kv {

namespace {

enum Kind : char { kSet = 1, kDelete = 2 };
constexpr size_t kItemHead = 2;  // about, in an image

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

RecordView field_record(std::string_view field, std::string_view value) {
  RecordView r;
  r.key = field;
  r.value = value;
  return r;
}

}  // namespace

void Hash::add_set(std::string& operation, std::string_view field, std::string_view value) {
  if (operation.empty()) operation.push_back(kSet);
  add(operation, field);
  add(operation, value);
}

void Hash::add_delete(std::string& operation, std::string_view field) {
  if (operation.empty()) operation.push_back(kDelete);
  add(operation, field);
}

bool Hash::apply(std::string_view operation) {
  if (operation.empty()) return false;
  const char kind = operation[0];
  operation.remove_prefix(1);
  std::string_view field, value;
  while (!operation.empty()) {
    if (!take(operation, field) || field.size() > kKeyBytesMax) return false;
    if (kind == kSet) {
      if (!take(operation, value)) return false;
      set(field, value);
    } else if (kind == kDelete) {
      remove(field);
    } else {
      return false;
    }
  }
  return true;
}

void Hash::inverse(std::string_view operation, std::vector<std::string>& undo) const {
  std::string set, unset;
  const char kind = operation[0];
  operation.remove_prefix(1);
  std::string_view field, value;
  while (take(operation, field)) {
    if (kind == kSet) take(operation, value);
    if (auto old = get(field)) {
      add_set(set, field, *old);
    } else {
      add_delete(unset, field);
    }
  }
  if (!unset.empty()) undo.push_back(std::move(unset));
  if (!set.empty()) undo.push_back(std::move(set));
}

uint64_t Hash::memory_bytes() const {
  return sizeof(Hash) + (bytes_.capacity() > 15 ? bytes_.capacity() : 0) + entry_bytes_ +
         (table_ ? sizeof(Index) + table_->table_bytes() : 0);
}

uint64_t Hash::image_bytes() const { return 1 + item_bytes_ + count_ * kItemHead; }

// ---- walks ----

namespace {
// What all walks of the process keep together: for readers who stand still while what they read is
// changed or deleted.
std::atomic<uint64_t> kept_by_all{0};
}  // namespace

struct Hash::Walk::State {
  Mutex mutex;  // with whoever destroys the hash once it left the store
  const Index* table ABSL_GUARDED_BY(mutex);  // null: all that is left is kept
  const Lsn begun;  // entries with this stamp or a later one are not what was there
  KeyHash at ABSL_GUARDED_BY(mutex) = 0;    // what lies before was handed out or is kept
  std::string kept ABSL_GUARDED_BY(mutex);  // items
  size_t kept_at ABSL_GUARDED_BY(mutex) = 0;
  bool lost ABSL_GUARDED_BY(mutex) = false;  // it would have had to keep too much
  std::atomic<bool> ended{false};
  std::atomic<KeyHash> key;

  State(const Index* table, Lsn begun, KeyHash key) : table(table), begun(begun), key(key) {}
  ~State() { kept_by_all -= kept.size(); }

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
      if (e->lsn() < begun) fn(e);
    });
    if (at == 0) table = nullptr;
  }
};

Hash::Walk::Walk(const Hash& hash, KeyHash key) {
  assert(hash.table_ != nullptr);
  hash.walks_begun_++;
  state_ = std::make_shared<State>(hash.table_.get(), hash.stamp(), key);
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
    if (walk->table != nullptr && hash >= walk->at && old->lsn() < walk->begun) walk->keep(old);
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

std::optional<std::string_view> Hash::get(std::string_view field) const {
  if (table_) {
    const Entry* e = table_->find(field, table_->hash(field));
    if (e == nullptr) return std::nullopt;
    return e->value();
  }
  std::string_view rest = bytes_, f, v;
  while (take(rest, f) && take(rest, v)) {
    if (f == field) return v;
  }
  return std::nullopt;
}

void Hash::set(std::string_view field, std::string_view value) {
  if (!table_) {
    if (field.size() > kListpackValue || value.size() > kListpackValue) plain_ = false;
    if (replace(field, value)) return;
    if (count_ >= kListpackEntries) plain_ = false;
    if (count_ < kCompactEntries && bytes_.size() + field.size() + value.size() < kCompactBytes) {
      add(bytes_, field);
      add(bytes_, value);
      count_++;
      item_bytes_ += field.size() + value.size();
      return;
    }
    spread();
  }
  const KeyHash hash = table_->hash(field);
  Entry* old = table_->find(field, hash);
  item_bytes_ += field.size() + value.size();
  if (old != nullptr) {
    keep(old, hash);
    item_bytes_ -= field.size() + old->value_size;
    if (old->assign(field_record(field, value), stamp())) return;
    entry_bytes_ -= old->bytes();
  }
  Entry* made = Entry::make(field_record(field, value), stamp());
  entry_bytes_ += made->bytes();
  if (old == nullptr) {
    table_->insert(made, hash);
    count_++;
  } else {
    table_->replace(old, made, hash);
    Entry::destroy(old);
  }
}

// In the place where the field is, if it is there and there is room.
bool Hash::replace(std::string_view field, std::string_view value) {
  std::string_view rest = bytes_, f, v;
  while (take(rest, f)) {
    const char* at = rest.data();
    take(rest, v);
    if (f != field) continue;
    if (bytes_.size() + value.size() >= kCompactBytes + v.size()) return false;
    item_bytes_ += value.size() - v.size();
    std::string item;
    add(item, value);
    bytes_.replace(static_cast<size_t>(at - bytes_.data()), static_cast<size_t>(rest.data() - at),
                   item);
    return true;
  }
  return false;
}

void Hash::remove(std::string_view field) {
  if (table_) {
    const KeyHash hash = table_->hash(field);
    Entry* e = table_->find(field, hash);
    if (e == nullptr) return;
    keep(e, hash);
    table_->remove(e, hash);
    count_--;
    item_bytes_ -= e->key_size + e->value_size;
    entry_bytes_ -= e->bytes();
    Entry::destroy(e);
    return;
  }
  std::string_view rest = bytes_, f, v;
  for (const char* at = rest.data(); take(rest, f) && take(rest, v); at = rest.data()) {
    if (f != field) continue;
    item_bytes_ -= f.size() + v.size();
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
  std::string_view rest = bytes, f, v;
  while (take(rest, f) && take(rest, v)) set(f, v);
}

void Hash::for_each(const Visit& visit) const {
  if (table_) {
    table_->for_each(0, [&](Entry* e) { visit(e->key(), e->value()); });
    return;
  }
  std::string_view rest = bytes_, f, v;
  while (take(rest, f) && take(rest, v)) visit(f, v);
}

uint64_t Hash::scan(uint64_t cursor, size_t count, const Visit& visit) const {
  if (!table_) {
    for_each(visit);
    return 0;
  }
  std::vector<Entry*> page;
  const KeyHash next = table_->scan(0, cursor << 16, count, page);
  for (Entry* e : page) visit(e->key(), e->value());
  return next >> 16;
}

uint64_t Hash::save(uint64_t cursor, uint64_t bytes, std::string& operation) const {
  constexpr uint64_t kPageMax = 256;
  const uint64_t average = (item_bytes_ + count_) / std::max<size_t>(count_, 1);
  auto page = static_cast<size_t>(std::clamp<uint64_t>(bytes / (average + 1), 1, kPageMax));
  const size_t begin = operation.size();
  const uint64_t most = capped_add(bytes, bytes);
  auto each = [&](std::string_view f, std::string_view v) { add_set(operation, f, v); };
  for (;;) {
    const size_t before = operation.size();
    const uint64_t next = scan(cursor, page, each);
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

bool Hash::shed() {
  constexpr size_t kStep = 1000;
  if (!table_) return false;
  std::vector<Entry*> page;
  table_->scan(0, 0, kStep, page);
  for (Entry* e : page) {
    table_->remove(e, table_->hash(e->key()));
    Entry::destroy(e);
  }
  return page.size() >= kStep;
}

std::pair<std::string_view, std::string_view> Hash::random(uint64_t random) const {
  if (table_) {
    const Entry* e = nullptr;
    while ((e = table_->random(0, random)) == nullptr) random = random * 6364136223846793005 + 1;
    return {e->key(), e->value()};
  }
  std::string_view rest = bytes_, f, v;
  for (size_t i = random % count_ + 1; i > 0; i--) {
    take(rest, f);
    take(rest, v);
  }
  return {f, v};
}

}  // namespace cairn::kv

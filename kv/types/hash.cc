#include "kv/types/hash.h"

#include <algorithm>
#include <cstring>

#include "kv/types/text_set.h"
#include "kv/types/thresholds.h"

namespace cairn::kv {

namespace {
enum Kind : char { kSet = 1, kDelete = 2, kSetUntil = 3, kUntil = 4 };

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
  if (!take_item(in, item.field)) return false;
  return (kind != kSet && kind != kSetUntil) || take_item(in, item.value);
}

}  // namespace

// ---- operations ----

void Hash::add_set(std::string& operation, std::string_view field, std::string_view value) {
  if (operation.empty()) operation.push_back(kSet);
  append_item(operation, field);
  append_item(operation, value);
}

void Hash::add_set_until(std::string& operation, std::string_view field, std::string_view value,
                         int64_t until_ms) {
  if (operation.empty()) operation.push_back(kSetUntil);
  add(operation, until_ms);
  append_item(operation, field);
  append_item(operation, value);
}

void Hash::add_until(std::string& operation, std::string_view field, int64_t until_ms) {
  if (operation.empty()) operation.push_back(kUntil);
  add(operation, until_ms);
  append_item(operation, field);
}

void Hash::add_delete(std::string& operation, std::string_view field) {
  if (operation.empty()) operation.push_back(kDelete);
  append_item(operation, field);
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
  const bool makes = !table_ && bytes_.empty() && (kind == kSet || kind == kSetUntil);
  if (makes && operation.size() <= kCompactBytes) bytes_.reserve(operation.size());
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
  if (makes) bytes_.fit();  // what came twice is there once
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
  std::string_view rest = bytes_.view();
  for (Item item; more() && take_field(rest, item);) {
    if (!item.is_due(now_ms)) continue;
    add_delete(operation, item.field);
    n++;
  }
  return n;
}

// ---- times ----

void Hash::make_times() {
  if (times() != nullptr) return;
  std::string timed;
  each([&](const Item& item) {
    add(timed, kForEver);
    append_item(timed, item.field);
    append_item(timed, item.value);
  });
  if (!table_) bytes_.assign(timed);
  times_.store(new Times, std::memory_order_release);
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
  t->gone.store(t->timed > 0 && t->timed == count() ? last : INT64_MAX, std::memory_order_relaxed);
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

bool Hash::take_field(std::string_view& in, Item& item) const {
  item.until_ms = kForEver;
  return (times() == nullptr || take(in, item.until_ms)) && take_item(in, item.field) &&
         take_item(in, item.value);
}

template <class Fn>
void Hash::each(Fn fn) const {
  if (table_) return table_->for_each([&](const Entry* e) { fn(item_of(e)); });
  std::string_view rest = bytes_.view();
  for (Item item; take_field(rest, item);) fn(item);
}

size_t Hash::size(int64_t now_ms) const {
  if (next_due() > now_ms) return count();
  size_t due = 0;
  if (!table_) each([&](const Item& item) { due += item.is_due(now_ms); });
  if (!table_) return count_ - due;
  Times& t = *times();
  if (now_ms < t.counted_ms) t.due = 0, t.counted_ms = 0;  // a clock went back
  auto it = t.order.lower_bound({t.counted_ms + 1, nullptr});
  for (; it != t.order.end() && it->first <= now_ms; ++it) t.due++;
  t.counted_ms = now_ms;
  return count() - t.due;
}

uint64_t Hash::memory_bytes() const {
  uint64_t bytes = sizeof(Hash) + bytes_.memory_bytes() + (table_ ? table_->memory_bytes() : 0);
  if (const Times* t = times()) {  // nodes are three quarters full
    bytes += sizeof(Times) + t->order.size() * sizeof(*t->order.begin()) * 4 / 3;
  }
  return bytes;
}

size_t Hash::item_head() const {
  constexpr size_t kLengths = 2;  // about
  return kLengths + (any_timed() ? sizeof(int64_t) : 0);
}

uint64_t Hash::image_bytes() const {
  if (table_) return 1 + table_->item_bytes() + count() * item_head();
  const bool forgets = times() != nullptr && !any_timed();  // times that are none any more
  return 1 + bytes_.size() - (forgets ? count() * sizeof(int64_t) : 0);
}

// ---- fields ----

std::optional<Hash::Item> Hash::find(std::string_view field, int64_t now_ms) const {
  if (table_) {
    const Entry* e = table_->find(field);
    if (e == nullptr || e->expired(now_ms)) return std::nullopt;
    return item_of(e);
  }
  std::string_view rest = bytes_.view();
  for (Item item; take_field(rest, item);) {
    if (item.field == field) return item.is_due(now_ms) ? std::nullopt : std::optional(item);
  }
  return std::nullopt;
}

void Hash::set(const Item& item) {
  if (item.until_ms != kForEver) make_times();
  const auto& [field, value, until_ms] = item;
  if (hash_thresholds.too_long(std::max(field.size(), value.size()))) plain_ = false;
  if (table_) return set_in_table(item);
  if (replace(item)) return;
  if (count_ < kCompactEntries && bytes_.size() + field.size() + value.size() < kCompactBytes) {
    put_in_bytes(bytes_.size(), 0, item);
    count_++;
    if (hash_thresholds.too_many(count())) plain_ = false;
    return;
  }
  spread();
  set_in_table(item);
}

// In the place where the field is, if it is there and there is room.
bool Hash::replace(const Item& item) {
  std::string_view rest = bytes_.view();
  Item old;
  for (const char* at = rest.data(); take_field(rest, old); at = rest.data()) {
    if (old.field != item.field) continue;
    if (bytes_.size() + item.value.size() >= kCompactBytes + old.value.size()) return false;
    put_in_bytes(static_cast<size_t>(at - bytes_.data()), static_cast<size_t>(rest.data() - at),
                 item);
    return true;
  }
  return false;
}

void Hash::put_in_bytes(size_t at, size_t gone, const Item& item) {
  const auto& [field, value, until_ms] = item;
  const size_t time = times() == nullptr ? 0 : sizeof(until_ms);
  char* to = bytes_.splice(at, gone, time + item_size(field) + item_size(value));
  if (time > 0) std::memcpy(to, &until_ms, time);
  put_item(to + time, field);
  put_item(to + time + item_size(field), value);
}

void Hash::set_in_table(const Item& item) {
  const KeyHash hash = table_->hash(item.field);
  const Entry* old = table_->find(item.field, hash);
  if (old != nullptr) take_from_order(old);
  add_to_order(table_->put(item.field, item.value, item.until_ms, hash, old));
  if (hash_thresholds.too_many(table_->size())) plain_ = false;
}

void Hash::set_until(std::string_view field, int64_t until_ms) {
  if (until_ms != kForEver) make_times();
  if (times() == nullptr) return;
  if (table_) {
    auto item = find(field, kNoTime);
    if (!item || item->until_ms == until_ms) return;
    const std::string value(item->value);  // the entry is written over
    return set_in_table({field, value, until_ms});
  }
  std::string_view rest = bytes_.view();
  Item item;
  for (const char* at = rest.data(); take_field(rest, item); at = rest.data()) {
    if (item.field != field) continue;
    std::memcpy(bytes_.data() + (at - bytes_.data()), &until_ms, sizeof(until_ms));
    return;
  }
}

void Hash::remove(std::string_view field) {
  if (table_) {
    const KeyHash hash = table_->hash(field);
    const Entry* e = table_->find(field, hash);
    if (e == nullptr) return;
    take_from_order(e);
    table_->remove(e, hash);
    return;
  }
  std::string_view rest = bytes_.view();
  Item item;
  for (const char* at = rest.data(); take_field(rest, item); at = rest.data()) {
    if (item.field != field) continue;
    count_--;
    bytes_.splice(static_cast<size_t>(at - bytes_.data()), static_cast<size_t>(rest.data() - at),
                  0);
    return;
  }
}

void Hash::spread() {
  table_.make();
  std::string_view rest = bytes_.view();
  for (Item item; take_field(rest, item);) set_in_table(item);
  bytes_.clear();
  count_ = 0;
}

void Hash::for_each(int64_t now_ms, const Visit& visit) const {
  each([&](const Item& item) {
    if (!item.is_due(now_ms)) visit(item.field, item.value);
  });
}

void Hash::for_each_item(int64_t now_ms, absl::FunctionRef<void(const Item&)> visit) const {
  each([&](const Item& item) {
    if (!item.is_due(now_ms)) visit(item);
  });
}

template <class Fn>
uint64_t Hash::scan(uint64_t cursor, size_t count, Fn fn) const {
  if (!table_) {
    each(fn);
    return 0;
  }
  return table_->scan(cursor, count, [&](const Entry* e) { fn(item_of(e)); });
}

uint64_t Hash::scan(uint64_t cursor, size_t count, int64_t now_ms, const Visit& visit) const {
  return scan(cursor, count, [&](const Item& item) {
    if (!item.is_due(now_ms)) visit(item.field, item.value);
  });
}

uint64_t Hash::save(uint64_t cursor, uint64_t bytes, std::string& operation) const {
  const bool timed = any_timed();
  const uint64_t average = image_bytes() / std::max<size_t>(count(), 1);
  const auto add = [&](const Item& item) {
    if (timed) {
      add_set_until(operation, item.field, item.value, item.until_ms);
    } else {
      add_set(operation, item.field, item.value);
    }
  };
  return save_in_parts(cursor, bytes, average, operation,
                       [&](uint64_t from, size_t n) { return scan(from, n, add); });
}

bool Hash::free_some() {
  return table_ && table_->free_some([&](const Entry* e) { take_from_order(e); });
}

std::pair<std::string_view, std::string_view> Hash::random(uint64_t random, int64_t now_ms) const {
  if (table_) {
    const Entry* e = table_->random(random, now_ms, next_due() <= now_ms);
    return {e->key(), e->value()};
  }
  size_t skip = random % size(now_ms);
  std::string_view rest = bytes_.view();
  for (Item item; take_field(rest, item);) {
    if (!item.is_due(now_ms) && skip-- == 0) return {item.field, item.value};
  }
  return {};
}

}  // namespace cairn::kv

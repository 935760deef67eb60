#include "kv/types/set.h"

#include <charconv>
#include <cstring>

#include "core/base/text.h"
#include "kv/types/text_set.h"
#include "kv/types/thresholds.h"

namespace cairn::kv {

namespace {
enum Kind : char { kThere = 1, kGone = 2, kIntegers = 3 };

// Of a member whose text is that of the integer and of nothing else.
std::optional<int64_t> integer_of(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  const std::string_view digits = text[0] == '-' ? text.substr(1) : text;
  if (digits.empty() || (digits[0] == '0' && text.size() > 1)) return std::nullopt;
  return parse_int<int64_t>(text);
}

std::string_view text_of(int64_t value, Set::Digits& digits) {
  const char* end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  return {digits.data(), static_cast<size_t>(end - digits.data())};
}

template <class Int>
int64_t read(const char* at) {
  Int v;
  std::memcpy(&v, at, sizeof(v));
  return v;
}
int64_t read_integer(const char* at, uint8_t width) {
  return width == 2 ? read<int16_t>(at) : width == 4 ? read<int32_t>(at) : read<int64_t>(at);
}

uint8_t width_of(int64_t value) {
  if (value == static_cast<int16_t>(value)) return 2;
  return value == static_cast<int32_t>(value) ? 4 : 8;
}
constexpr size_t kTextMax[] = {0, 0, 6, 0, 11, 0, 0, 0, 20};  // of an integer, by its width
constexpr size_t kHead = 1;                                   // of an item, about

}  // namespace

// ---- operations ----

void Set::add_there(std::string& operation, std::string_view member) {
  if (operation.empty()) operation.push_back(kThere);
  append_item(operation, member);
}

void Set::add_gone(std::string& operation, std::string_view member) {
  if (operation.empty()) operation.push_back(kGone);
  append_item(operation, member);
}

std::string Set::all_there(std::string_view items) {
  std::string operation;
  operation.reserve(1 + items.size());
  operation.push_back(kThere);
  operation.append(items);
  return operation;
}

bool Set::apply(std::string_view operation) {
  if (operation.empty()) return true;
  const char kind = operation[0];
  operation.remove_prefix(1);
  if (kind == kIntegers) return apply_integers(operation);
  if (kind != kThere && kind != kGone) return false;
  std::string_view member;
  while (!operation.empty()) {
    if (!take_item(operation, member)) return false;
    if (kind == kThere) {
      add(member);
      if (count_ == 1 && width_ == 0 && operation.size() < kCompactBytes) {
        bytes_.reserve(bytes_.size() + operation.size());
      }
    } else {
      remove(member);
    }
  }
  return true;
}

bool Set::apply_integers(std::string_view operation) {
  if (operation.empty()) return false;
  const auto width = static_cast<uint8_t>(operation[0]);
  operation.remove_prefix(1);
  if ((width != 2 && width != 4 && width != 8) || operation.size() % width != 0) return false;
  if (take_integers(operation, width)) return true;
  Digits digits;
  for (size_t at = 0; at < operation.size(); at += width) {
    add(text_of(read_integer(operation.data() + at, width), digits));
  }
  return true;
}

// All at once where there is nothing yet and they are as they lie here.
bool Set::take_integers(std::string_view integers, uint8_t width) {
  const size_t n = integers.size() / width;
  if (table_ || count_ > 0 || n > kIntsetEntries || n == 0) return false;
  for (size_t i = 1; i < n; i++) {
    const char* at = integers.data() + i * width;
    if (read_integer(at - width, width) >= read_integer(at, width)) return false;
  }
  bytes_.assign(integers);
  count_ = static_cast<uint16_t>(n);
  width_ = width;
  return true;
}

void Set::inverse(std::string_view operation, std::vector<std::string>& undo) const {
  if (operation.empty()) return;
  std::string changed;
  const char kind = operation[0];
  operation.remove_prefix(1);
  if (kind == kIntegers) {
    const auto width = static_cast<uint8_t>(operation[0]);
    operation.remove_prefix(1);
    Digits digits;
    for (size_t at = 0; at < operation.size(); at += width) {
      const std::string_view member = text_of(read_integer(operation.data() + at, width), digits);
      if (!contains(member)) add_gone(changed, member);
    }
  } else {
    std::string_view member;
    while (take_item(operation, member)) {
      const bool there = contains(member);
      if (kind == kThere && !there) add_gone(changed, member);
      if (kind == kGone && there) add_there(changed, member);
    }
  }
  if (!changed.empty()) undo.push_back(std::move(changed));
}

uint64_t Set::memory_bytes() const {
  return sizeof(Set) + bytes_.memory_bytes() + (table_ ? table_->memory_bytes() : 0);
}

uint64_t Set::image_bytes() const {
  if (table_) return 1 + table_->item_bytes() + table_->size() * kHead;
  return 1 + (width_ != 0) + bytes_.size();
}

uint64_t Set::item_bytes() const {
  if (table_) return table_->item_bytes();
  return width_ != 0 ? count_ * kTextMax[width_] : bytes_.size();
}

uint64_t Set::save(uint64_t cursor, uint64_t bytes, std::string& operation) const {
  if (!table_) {
    if (count_ == 0) return 0;
    operation.push_back(width_ != 0 ? kIntegers : kThere);
    if (width_ != 0) operation.push_back(static_cast<char>(width_));
    operation.append(bytes_.view());
    return 0;
  }
  const uint64_t average = table_->item_bytes() / std::max<size_t>(table_->size(), 1) + kHead;
  return save_in_parts(cursor, bytes, average, operation, [&](uint64_t from, size_t n) {
    return scan(from, n, [&](std::string_view member) { add_there(operation, member); });
  });
}

// ---- the bytes of a small one ----

int64_t Set::integer(size_t i) const { return read_integer(bytes_.data() + i * width_, width_); }

size_t Set::place_of(int64_t value) const {
  size_t first = 0;
  for (size_t n = count_; n > 0;) {
    const size_t half = n / 2;
    if (integer(first + half) < value) {
      first += half + 1;
      n -= half + 1;
    } else {
      n = half;
    }
  }
  return first;
}

size_t Set::find_item(std::string_view member) const {
  std::string_view rest = bytes_.view(), other;
  for (const char* at = rest.data(); take_item(rest, other); at = rest.data()) {
    if (other == member) return static_cast<size_t>(at - bytes_.data());
  }
  return std::string_view::npos;
}

// ---- members ----

bool Set::contains(std::string_view member) const {
  if (table_) return table_->find(member) != nullptr;
  if (width_ == 0) return find_item(member) != std::string_view::npos;
  const auto value = integer_of(member);
  if (!value) return false;
  const size_t i = place_of(*value);
  return i < count_ && integer(i) == *value;
}

void Set::add(std::string_view member) {
  if (table_) return add_to_table(member);
  if (holds_integers()) {
    const auto value = integer_of(member);
    if (value && add_integer(*value)) return;
    if (value || !leave_integers(member.size())) {
      spread();
      return add_to_table(member);
    }
  }
  add_to_bytes(member);
}

// False if there are too many.
bool Set::add_integer(int64_t value) {
  const uint8_t width = width_of(value);
  if (count_ == 0) width_ = width;
  const size_t i = place_of(value);
  if (i < count_ && integer(i) == value) return true;
  if (count_ == kIntsetEntries) {
    plain_ = false;
    return false;
  }
  if (width > width_) widen(width);
  std::memcpy(bytes_.splice(i * width_, 0, width_), &value, width_);
  count_++;
  return true;
}

void Set::widen(uint8_t width) {
  std::string wide;
  for (size_t i = 0; i < count_; i++) {
    const int64_t value = integer(i);
    wide.append(reinterpret_cast<const char*>(&value), width);
  }
  bytes_.assign(wide);
  width_ = width;
}

bool Set::fits(size_t member_bytes) const {
  return count_ < kCompactEntries && bytes_.size() + member_bytes < kCompactBytes;
}

// Another member comes that is no integer; false if that is too much for a small one.
bool Set::leave_integers(size_t member_bytes) {
  if (count_ >= kCompactEntries) return false;
  std::string items;
  Digits digits;
  for (size_t i = 0; i < count_; i++) append_item(items, text_of(integer(i), digits));
  if (items.size() + member_bytes >= kCompactBytes) return false;
  bytes_.assign(items);
  width_ = 0;
  return true;
}

void Set::add_to_bytes(std::string_view member) {
  if (set_thresholds.too_long(member.size())) plain_ = false;
  if (find_item(member) != std::string_view::npos) return;
  if (!fits(member.size())) {
    spread();
    return add_to_table(member);
  }
  put_item(bytes_.splice(bytes_.size(), 0, item_size(member)), member);
  count_++;
  if (set_thresholds.too_many(count_)) plain_ = false;
}

void Set::add_to_table(std::string_view member) {
  const KeyHash hash = table_->hash(member);
  if (table_->find(member, hash) != nullptr) return;
  table_->put(member, {}, MemberTable::kForEver, hash, nullptr);
  if (set_thresholds.too_many(table_->size()) || set_thresholds.too_long(member.size())) {
    plain_ = false;
  }
}

void Set::spread() {
  table_.make();
  for_each_in_bytes([&](std::string_view member) {
    table_->put(member, {}, MemberTable::kForEver, table_->hash(member), nullptr);
  });
  bytes_.clear();
  count_ = 0;
  width_ = 0;
}

void Set::remove(std::string_view member) {
  if (table_) {
    const KeyHash hash = table_->hash(member);
    const Entry* e = table_->find(member, hash);
    if (e != nullptr) table_->remove(e, hash);
    return;
  }
  size_t at, bytes;
  if (width_ != 0) {
    const auto value = integer_of(member);
    const size_t i = value ? place_of(*value) : count_;
    if (i == count_ || integer(i) != *value) return;
    at = i * width_;
    bytes = width_;
  } else {
    at = find_item(member);
    if (at == std::string_view::npos) return;
    bytes = item_size(member);
  }
  bytes_.splice(at, bytes, 0);
  if (--count_ == 0) width_ = 0;
}

void Set::for_each(Visit visit) const {
  if (table_) return table_->for_each([&](const Entry* e) { visit(e->key()); });
  for_each_in_bytes(visit);
}

void Set::for_each_in_bytes(Visit visit) const {
  if (width_ != 0) {
    Digits digits;
    for (size_t i = 0; i < count_; i++) visit(text_of(integer(i), digits));
    return;
  }
  std::string_view rest = bytes_.view(), member;
  while (take_item(rest, member)) visit(member);
}

KeyHash Set::walk(KeyHash from, Visit visit) const {
  if (table_) return table_->walk(from, [&](const Entry* e) { visit(e->key()); });
  for_each(visit);
  return 0;
}

std::unique_ptr<Set> Set::copy_of_small() const {
  auto copy = std::make_unique<Set>(table_.seed());
  copy->bytes_.assign(bytes_.view());
  copy->count_ = count_;
  copy->width_ = width_;
  return copy;
}

uint64_t Set::scan(uint64_t cursor, size_t count, Visit visit) const {
  if (table_) return table_->scan(cursor, count, [&](const Entry* e) { visit(e->key()); });
  for_each(visit);
  return 0;
}

std::string_view Set::random(uint64_t random, Digits& digits) const {
  if (table_) return table_->random(random, MemberTable::kNoTime, false)->key();
  size_t skip = random % count_;
  if (width_ != 0) return text_of(integer(skip), digits);
  std::string_view rest = bytes_.view(), member;
  while (take_item(rest, member) && skip-- > 0) {
  }
  return member;
}

}  // namespace cairn::kv

#include "kv/types/sorted_set.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/base/types.h"
#include "kv/types/member_table.h"
#include "kv/types/thresholds.h"

namespace cairn::kv {

namespace {
using Item = SortedSet::Item;
enum Kind : char { kScore = 1, kGone = 2, kRangeGone = 3 };

template <class T>
void add_bytes(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <class T>
bool take_bytes(std::string_view& in, T& value) {
  if (in.size() < sizeof(value)) return false;
  std::memcpy(&value, in.data(), sizeof(value));
  in.remove_prefix(sizeof(value));
  return true;
}

bool same(double a, double b) {  // -0 is not 0
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

template <class Int>
bool add_integer(std::string& out, double score) {
  if (!(score >= -128.0 * (uint64_t{1} << 8 * (sizeof(Int) - 1)) &&
        score < 128.0 * (uint64_t{1} << 8 * (sizeof(Int) - 1)))) {
    return false;
  }
  const auto integer = static_cast<Int>(score);
  if (!same(integer, score)) return false;
  out.push_back(sizeof(Int));
  add_bytes(out, integer);
  return true;
}

void add(std::string& out, double score) {
  if (add_integer<int8_t>(out, score) || add_integer<int16_t>(out, score)) return;
  if (add_integer<int32_t>(out, score)) return;
  out.push_back(sizeof(score));
  add_bytes(out, score);
}

template <class Int>
bool take_integer(std::string_view& in, double& score) {
  Int integer;
  if (!take_bytes(in, integer)) return false;
  score = integer;
  return true;
}

// Takes a score off the front; false if there is none.
bool take(std::string_view& in, double& score) {
  if (in.empty()) return false;
  const char width = in[0];
  in.remove_prefix(1);
  if (width == 1) return take_integer<int8_t>(in, score);
  if (width == 2) return take_integer<int16_t>(in, score);
  if (width == 4) return take_integer<int32_t>(in, score);
  return width == 8 && take_bytes(in, score) && !std::isnan(score);
}

void add(std::string& out, std::string_view s) {
  if (s.size() < 255) {
    out.push_back(static_cast<char>(s.size()));
  } else {
    out.push_back(static_cast<char>(255));
    add_bytes(out, static_cast<uint32_t>(s.size()));
  }
  out.append(s);
}

bool take(std::string_view& in, std::string_view& s) {
  if (in.empty()) return false;
  uint32_t n = static_cast<uint8_t>(in[0]);
  in.remove_prefix(1);
  if (n == 255 && !take_bytes(in, n)) return false;
  if (n > in.size()) return false;
  s = in.substr(0, n);
  in.remove_prefix(n);
  return true;
}

bool take(std::string_view& in, Item& item) {
  return take(in, item.score) && take(in, item.member);
}

void add(std::string& out, const Item& item) {
  add(out, item.score);
  add(out, item.member);
}

double score_of(const Entry* e) {
  double score;
  std::memcpy(&score, e->value().data(), sizeof(score));
  return score;
}

// Readers of a snapshot look at the key alone.
void set_score(Entry* e, double score) {
  std::memcpy(const_cast<char*>(e->value().data()), &score, sizeof(score));
}

Entry* make_entry(const Item& item) {
  RecordView r;
  r.key = item.member;
  r.value = {reinterpret_cast<const char*>(&item.score), sizeof(item.score)};
  return Entry::make(r, Lsn());
}

}  // namespace

// ---- operations ----

void SortedSet::add_score(std::string& operation, const Item& item) {
  if (operation.empty()) operation.push_back(kScore);
  add(operation, item);
}

void SortedSet::add_gone(std::string& operation, std::string_view member) {
  if (operation.empty()) operation.push_back(kGone);
  add(operation, member);
}

std::string SortedSet::range_gone(const Item& first, const Item& last) {
  std::string operation(1, kRangeGone);
  add(operation, first);
  add(operation, last);
  return operation;
}

bool SortedSet::take_item(std::string_view& items, Item& item) { return take(items, item); }

bool SortedSet::apply(std::string_view operation) {
  if (operation.empty()) return true;
  const char kind = operation[0];
  operation.remove_prefix(1);
  Item item, last;
  if (kind == kRangeGone) {
    if (!take(operation, item) || !take(operation, last) || !operation.empty()) return false;
    remove_range(item, last);
    return true;
  }
  if (kind != kScore && kind != kGone) return false;
  const bool makes = kind == kScore && !large_ && bytes_.empty();
  if (makes && operation.size() <= kCompactBytes) bytes_.reserve(operation.size());
  while (!operation.empty()) {
    if (kind == kScore) {
      if (!take(operation, item)) return false;
      set(item);
    } else {
      if (!take(operation, item.member)) return false;
      remove(item.member);
    }
  }
  if (makes) bytes_.fit();  // what came twice is there once
  return true;
}

void SortedSet::inverse(std::string_view operation, std::vector<std::string>& undo) const {
  if (operation.empty()) return;
  std::string set, unset;
  const char kind = operation[0];
  operation.remove_prefix(1);
  Item item, last;
  if (kind == kRangeGone) {
    if (!take(operation, item) || !take(operation, last)) return;
    const uint64_t from = count_before([&](const Item& i) { return i < item; });
    const uint64_t to = count_before([&](const Item& i) { return !(last < i); });
    if (from < to) for_each(from, to - from, false, [&](const Item& i) { add_score(set, i); });
  } else {
    while (kind == kScore ? take(operation, item) : take(operation, item.member)) {
      if (const auto old = score(item.member)) {
        add_score(set, {*old, item.member});
      } else if (kind == kScore) {
        add_gone(unset, item.member);
      }
    }
  }
  for (std::string* o : {&unset, &set}) {
    if (!o->empty()) undo.push_back(std::move(*o));
  }
}

// ---- bytes ----

// False, with nothing changed but that the member may be gone, if it is too much for bytes.
bool SortedSet::set_in_bytes(const Item& item) {
  constexpr size_t kNowhere = SIZE_MAX;
  std::string_view rest = bytes_.view();
  size_t place = kNowhere, old_at = kNowhere, old_size = 0;
  for (size_t at = 0; !rest.empty(); at = bytes_.size() - rest.size()) {
    Item other;
    take(rest, other);
    if (other.member == item.member) {
      if (same(other.score, item.score)) return true;
      old_at = at;
      old_size = bytes_.size() - rest.size() - at;
    } else if (place == kNowhere && item < other) {
      place = at;
    }
    if (place != kNowhere && old_at != kNowhere) break;
  }
  if (place == kNowhere) place = bytes_.size();
  if (old_at != kNowhere) {
    bytes_.splice(old_at, old_size, 0);
    count_--;
    if (place > old_at) place -= old_size;
  }
  constexpr size_t kHead = 9 + 5;  // of an item, at most
  if (count_ >= kCompactEntries || bytes_.size() + kHead + item.member.size() > kCompactBytes)
    return false;
  std::string made;
  add(made, item);
  std::memcpy(bytes_.splice(place, 0, made.size()), made.data(), made.size());
  count_++;
  if (sorted_set_thresholds.too_many(count_)) plain_ = false;
  return true;
}

void SortedSet::spread() {
  large_.make();
  std::string_view rest = bytes_.view();
  for (Item item; !rest.empty() && take(rest, item);) set_in_table(item);
  bytes_.clear();
  count_ = 0;
}

void SortedSet::for_each_in(std::string_view bytes, uint64_t rank, uint64_t count, bool down,
                            Visit visit) {
  if (count == 0) return;
  std::vector<Item> passed;  // of which those that are wanted are visited from the end
  const uint64_t first = down ? rank + 1 - count : rank;
  Item item;
  for (uint64_t i = 0; i < first + count && take(bytes, item); i++) {
    if (i < first) continue;
    if (down) {
      passed.push_back(item);
    } else {
      visit(item);
    }
  }
  for (size_t i = passed.size(); i > 0; i--) visit(passed[i - 1]);
}

// ---- table and tree ----

SortedSet::Grave::~Grave() {
  for (Entry* e : entries) Entry::destroy(e);
  // One by one, since there may be many and each would wait for the next on the stack.
  while (later != nullptr && later.use_count() == 1) later = std::exchange(later->later, nullptr);
}

SortedSet::Tree::Cursor SortedSet::find(const Item& item, uint64_t& rank) const {
  return large_->order.tree.first_not(
      [&](const Ordered& o) {
        if (o.score != item.score) return o.score < item.score;
        return o.entry->key() < item.member;
      },
      rank);
}

void SortedSet::note_copies() {
  if (const uint64_t copied = large_->order.tree.take_copied_bytes(); copied > 0) {
    large_->snapshots.keep(copied);
  }
}

void SortedSet::set_in_table(const Item& item) {
  Large& l = *large_;
  const KeyHash hash = l.table.hash(item.member);
  Entry* e = l.table.find(item.member, hash);
  uint64_t rank;
  if (e == nullptr) {
    e = make_entry(item);
    l.entry_bytes += e->bytes();
    l.member_bytes += item.member.size();
    l.table.insert(e, hash);
    l.order.tree.insert(find(item, rank), {item.score, e});
    if (sorted_set_thresholds.too_many(size())) plain_ = false;
    return note_copies();
  }
  const double old = score_of(e);
  if (same(old, item.score)) return;
  set_score(e, item.score);
  const auto at = find({old, item.member}, rank);
  // Nearly always it passes others; if not, it can stay.
  auto neighbour = at;
  neighbour.next();
  bool stays = !neighbour || item < neighbour->item();
  if (stays && !at.is_first()) {
    neighbour = at;
    neighbour.prev();
    stays = neighbour->item() < item;
  }
  if (stays) {
    l.order.tree.change(at, [&](Ordered& o) { o.score = item.score; });
  } else {
    l.order.tree.erase(at);
    l.order.tree.insert(find(item, rank), {item.score, e});
  }
  note_copies();
}

void SortedSet::take_out(Entry* e) {
  Large& l = *large_;
  l.table.remove(e, l.table.hash(e->key()));
  const uint64_t bytes = e->bytes();
  l.entry_bytes -= bytes;
  l.member_bytes -= e->key().size();
  note_copies();
  auto& grave = l.order.grave;
  if (grave == nullptr) return Entry::destroy(e);
  grave->entries.push_back(e);
  l.snapshots.keep(bytes);
  if (!l.snapshots.any()) grave.reset();  // whoever is the last to hold it frees what is in it
}

void SortedSet::remove(std::string_view member) {
  if (large_) {
    Entry* e = large_->table.find(member, large_->table.hash(member));
    if (e == nullptr) return;
    uint64_t rank;
    large_->order.tree.erase(find({score_of(e), member}, rank));
    return take_out(e);
  }
  std::string_view rest = bytes_.view();
  Item item;
  for (size_t at = 0; !rest.empty() && take(rest, item); at = bytes_.size() - rest.size()) {
    if (item.member != member) continue;
    bytes_.splice(at, bytes_.size() - rest.size() - at, 0);
    count_--;
    return;
  }
}

void SortedSet::remove_range(const Item& first, const Item& last) {
  if (large_) {
    uint64_t from, within;
    const auto at = find(first, from);
    if (!(first < last)) {  // one, as ZPOPMIN takes
      Tree& tree = large_->order.tree;
      if (at && !(last < at->item())) take_out(const_cast<Entry*>(tree.erase(at).entry));
      return;
    }
    const uint64_t to = count_before([&](const Item& i) { return !(last < i); });
    for (uint64_t n = from; n < to; n++) {
      Tree& tree = large_->order.tree;
      take_out(const_cast<Entry*>(tree.erase(tree.at_rank(from, within)).entry));
    }
    return;
  }
  std::string_view rest = bytes_.view();
  size_t begin = bytes_.size(), end = 0;
  uint16_t n = 0;
  Item item;
  for (size_t at = 0; !rest.empty() && take(rest, item); at = bytes_.size() - rest.size()) {
    if (item < first || last < item) continue;
    begin = std::min(begin, at);
    end = bytes_.size() - rest.size();
    n++;
  }
  if (n > 0) bytes_.splice(begin, end - begin, 0);
  count_ -= n;
}

void SortedSet::set(const Item& item) {
  if (sorted_set_thresholds.too_long(item.member.size())) plain_ = false;
  if (!large_) {
    if (set_in_bytes(item)) return;
    spread();
  }
  set_in_table(item);
}

void SortedSet::for_each_in(const Tree& tree, uint64_t rank, uint64_t count, bool down,
                            Visit visit) {
  if (count == 0) return;
  uint64_t within;
  auto at = tree.at_rank(rank, within);
  for (;;) {
    visit(at->item());
    if (--count == 0) return;
    if (down) {
      at.prev();
    } else {
      at.next();
    }
  }
}

// ---- what is there ----

uint64_t SortedSet::memory_bytes() const {
  uint64_t bytes = sizeof(SortedSet) + bytes_.memory_bytes();
  if (large_) {
    bytes += sizeof(Large) + large_->entry_bytes + large_->table.table_bytes() +
             large_->order.tree.bytes();
  }
  return bytes;
}

uint64_t SortedSet::image_bytes() const {
  constexpr uint64_t kHead = 9 + 1;  // of most items
  return 1 + (large_ ? large_->member_bytes + size() * kHead : bytes_.size());
}

std::optional<double> SortedSet::score(std::string_view member) const {
  if (large_) {
    const Entry* e = large_->table.find(member, large_->table.hash(member));
    return e == nullptr ? std::nullopt : std::optional(score_of(e));
  }
  std::string_view rest = bytes_.view();
  for (Item item; !rest.empty() && take(rest, item);) {
    if (item.member == member) return item.score;
  }
  return std::nullopt;
}

std::optional<SortedSet::Place> SortedSet::place_of(std::string_view member) const {
  Place place{};
  if (large_) {
    const auto found = score(member);
    if (!found) return std::nullopt;
    place.score = *found;
    find({*found, member}, place.rank);
    return place;
  }
  std::string_view rest = bytes_.view();
  for (Item item; !rest.empty() && take(rest, item); place.rank++) {
    if (item.member != member) continue;
    place.score = item.score;
    return place;
  }
  return std::nullopt;
}

Item SortedSet::at(uint64_t rank) const {
  assert(rank < size());
  Item found;
  for_each(rank, 1, false, [&](const Item& item) { found = item; });
  return found;
}

uint64_t SortedSet::count_before(Before before) const {
  uint64_t rank = 0;
  if (large_) {
    large_->order.tree.first_not([&](const Ordered& o) { return before(o.item()); }, rank);
    return rank;
  }
  std::string_view rest = bytes_.view();
  for (Item item; !rest.empty() && take(rest, item) && before(item);) rank++;
  return rank;
}

void SortedSet::for_each(uint64_t rank, uint64_t count, bool down, Visit visit) const {
  if (large_) return for_each_in(large_->order.tree, rank, count, down, visit);
  for_each_in(bytes_.view(), rank, count, down, visit);
}

uint64_t SortedSet::scan(uint64_t cursor, size_t count, Visit visit) const {
  if (!large_) {
    for_each(visit);
    return 0;
  }
  std::vector<Entry*> page;
  const KeyHash next = large_->table.scan(0, cursor << 16, count, page);
  for (const Entry* e : page) visit({score_of(e), e->key()});
  return next >> 16;
}

uint64_t SortedSet::save(uint64_t cursor, uint64_t bytes, std::string& operation) const {
  const uint64_t average = image_bytes() / std::max<size_t>(size(), 1);
  return save_in_parts(cursor, bytes, average, operation, [&](uint64_t from, size_t n) {
    return scan(from, n, [&](const Item& item) { add_score(operation, item); });
  });
}

// ---- snapshots and the end ----

SortedSet::View::View(const SortedSet& of) : size_(of.size()) {
  if (!of.large_) {
    bytes_ = of.bytes_.view();
    return;
  }
  Order& order = of.large_->order;
  if (order.grave == nullptr || !order.grave->entries.empty()) {
    auto made = std::make_shared<Grave>();
    if (order.grave != nullptr) order.grave->later = made;
    order.grave = std::move(made);
  }
  snapshot_ = of.large_->snapshots.take(order);
}

bool SortedSet::View::for_each(uint64_t rank, uint64_t count, bool down, Visit visit) const {
  if (!snapshot_) {
    for_each_in(bytes_, rank, count, down, visit);
    return true;
  }
  return snapshot_->read([&](const Order& o) { for_each_in(o.tree, rank, count, down, visit); });
}

// The tree may point to what is freed: nobody reads it any more.
bool SortedSet::free_some() {
  constexpr size_t kStep = 1000;
  if (!large_) return false;
  std::vector<Entry*> page;
  large_->table.scan(0, 0, kStep, page);
  for (Entry* e : page) take_out(e);
  bool more = true;  // of the tree, whose leaves may be a quarter full
  for (size_t i = 0; more && i < kStep / 16; i++) more = large_->order.tree.free_some();
  return more || page.size() >= kStep;
}

SortedSet::~SortedSet() {
  if (!large_ || large_->order.grave == nullptr) return;
  auto& l = *large_;
  l.snapshots.keep(l.entry_bytes + l.order.tree.bytes());
  l.table.take_all(0, [&](Entry* e) { l.order.grave->entries.push_back(e); });
}

}  // namespace cairn::kv

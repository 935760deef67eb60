#include "kv/types/list.h"

#include <algorithm>
#include <cassert>

namespace cairn::kv {

namespace {

enum Step : char { kPut = 1, kErase = 2 };
constexpr size_t kPutHead = 1 + sizeof(int64_t) + sizeof(uint32_t);
// Numbers stay away from where they could overflow.
constexpr int64_t kNumberMax = int64_t{1} << 62;
// Between two blocks. A block takes at most 4096 numbers: so there are 2^44 blocks from a first to
// a last number, and for each of them room for some 64 times as many elements as it has.
constexpr int64_t kGap = int64_t{1} << 18;

template <class T>
void append_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
template <class T>
bool take_raw(std::string_view& in, T& value) {
  if (in.size() < sizeof(value)) return false;
  std::memcpy(&value, in.data(), sizeof(value));
  in.remove_prefix(sizeof(value));
  return true;
}

// The head of a step whose elements follow; end_put() then says how many bytes they are.
size_t begin_put(std::string& operation, int64_t first) {
  operation.push_back(kPut);
  append_raw(operation, first);
  append_raw(operation, uint32_t{0});
  return operation.size();
}
void end_put(std::string& operation, size_t begin) {
  const auto bytes = static_cast<uint32_t>(operation.size() - begin);
  std::memcpy(operation.data() + begin - sizeof(bytes), &bytes, sizeof(bytes));
}
void add_put(std::string& operation, int64_t first, std::string_view packed) {
  const size_t begin = begin_put(operation, first);
  operation.append(packed);
  end_put(operation, begin);
}
void add_erase(std::string& operation, int64_t first, int64_t end) {
  operation.push_back(kErase);
  append_raw(operation, first);
  append_raw(operation, end);
}

struct Change {
  char step = 0;
  int64_t first = 0, end = 0;
  uint32_t count = 0;
  std::string_view packed;
};

// Takes a step off the front; false if that is none.
bool take(std::string_view& in, Change& change) {
  change.step = in[0];
  in.remove_prefix(1);
  if (!take_raw(in, change.first) || change.first < -kNumberMax) return false;
  if (change.step == kErase) {
    return take_raw(in, change.end) && change.first < change.end && change.end <= kNumberMax;
  }
  uint32_t bytes;
  if (change.step != kPut || !take_raw(in, bytes) || bytes > in.size()) return false;
  change.packed = in.substr(0, bytes);
  in.remove_prefix(bytes);
  change.count = count_packed(change.packed);
  if (change.count == 0 || change.first > kNumberMax - int64_t{change.count}) return false;
  change.end = change.first + change.count;
  return true;
}

uint32_t within(const BlockRef& block, int64_t number) {
  return static_cast<uint32_t>(
      std::clamp<int64_t>(number - block.first(), 0, int64_t{block.count()}));
}

// Places from `first` to before `end` in a block, and what lies there.
struct Part {
  size_t from, to;
  uint32_t count;
  Part(const BlockRef& block, int64_t first, int64_t end)
      : from(block.offset(within(block, first))),
        to(block.offset(within(block, end))),
        count(within(block, end) - within(block, first)) {}
};

// Whether these elements can be part of that block: nothing is free between them.
bool touches(const BlockRef& block, int64_t first, int64_t end) {
  return block.first() <= end && block.end() >= first;
}

// Whether a block that they touch has room for these elements.
bool fits(const BlockRef& block, int64_t first, uint32_t count, std::string_view packed) {
  const Part old(block, first, first + count);
  return block.packed().size() - (old.to - old.from) + packed.size() <= BlockRef::kPackedMax;
}

void put_into(BlockRef& block, int64_t first, uint32_t count, std::string_view packed) {
  const Part old(block, first, first + count);
  block.splice(old.from, old.to, old.count, packed, count, std::min(first, block.first()));
}

// Takes the elements with numbers from `first` to before `end` off; they are at an end, or all
// that are in front of one.
void trim(BlockRef& block, int64_t first, int64_t end) {
  const Part gone(block, first, end);
  block.splice(gone.from, gone.to, gone.count, "", 0, gone.from == 0 ? end : block.first());
}

}  // namespace

// ---- what is there ----

List::~List() {
  if (large_) large_->snapshots.keep(large_->bytes());
}

bool List::free_some() {
  if (!large_) return false;
  large_->snapshots.keep(large_->bytes());
  large_->allocated = 0;
  large_->snapshots = {};
  return large_->tree.free_some();
}

std::string_view List::at(uint64_t index) const {
  if (!large_) return one_.at(static_cast<uint32_t>(index));
  uint64_t within;
  const auto c = place(index, within);
  return c->at(static_cast<uint32_t>(within));
}

bool List::exceeds(uint64_t index, uint64_t n, uint64_t bytes) const {
  if (!large_ || large_->packed <= bytes) return false;
  uint64_t within = 0, sum = 0;
  for (auto c = place(index, within); c && n > 0; c.next(), within = 0) {
    sum += c->packed().size();
    if (sum > bytes) return true;
    n -= std::min<uint64_t>(n, c->count() - within);
  }
  return false;
}

std::vector<BlockRef> List::blocks(uint64_t index, uint64_t n) const {
  if (!large_) return {one_};
  std::vector<BlockRef> blocks;
  uint64_t within = 0;
  for (auto c = place(index, within); c && n > 0; c.next(), within = 0) {
    blocks.push_back(*c);
    n -= std::min<uint64_t>(n, c->count() - within);
  }
  return blocks;
}

uint64_t List::memory_bytes() const {
  uint64_t bytes = sizeof(List);
  if (one_) bytes += one_.allocated_bytes();
  if (large_) bytes += sizeof(Large) + large_->bytes();
  return bytes;
}

uint64_t List::image_bytes() const {
  return packed_bytes() + kPutHead * (large_ ? large_->blocks : one_ ? 1 : 0);
}

List::Tree::Cursor List::place(uint64_t index, uint64_t& within) const {
  const Tree& tree = large_->tree;
  if (tree.empty()) return tree.end();
  if (index < tree.front().count()) {
    within = index;
    return tree.first();
  }
  const uint64_t size = large_->count, behind = size - tree.back().count();
  if (index >= behind && index < size) {
    within = index - behind;
    return tree.last();
  }
  return tree.at_rank(index, within);
}

// The first block with numbers from this one on.
List::Tree::Cursor List::block_from(int64_t number) const {
  const Tree& tree = large_->tree;
  if (tree.empty() || tree.back().end() <= number) return tree.end();
  // Nearly always it is at an end.
  if (tree.back().first() <= number) return tree.last();
  if (tree.front().end() > number) return tree.first();
  uint64_t rank;
  return large_->tree.first_not([&](const BlockRef& b) { return b.end() <= number; }, rank);
}

// fn(block), which returns false to stop, for the blocks with numbers from `first` to before `end`.
template <class Fn>
void List::each_block(int64_t first, int64_t end, Fn fn) const {
  if (one_ && one_.first() < end && one_.end() > first) fn(one_);
  if (!large_) return;
  for (auto c = block_from(first); c && c->first() < end; c.next()) {
    if (!fn(*c)) return;
  }
}

// ---- images and inverses ----

// A cursor is the next number; their first is none.
uint64_t List::save(uint64_t cursor, uint64_t bytes, std::string& operation) const {
  constexpr uint64_t kSign = uint64_t{1} << 63;
  const int64_t from = cursor == 0 ? -kNumberMax : static_cast<int64_t>(cursor ^ kSign);
  const size_t begin = operation.size();
  const uint64_t most = capped_add(bytes, bytes);
  const auto size = [&] { return operation.size() - begin; };
  uint64_t next = 0;
  each_block(from, kNumberMax, [&](const BlockRef& block) {
    const auto stop = [&](int64_t number) { return next = static_cast<uint64_t>(number) ^ kSign; };
    if (size() >= bytes) return stop(block.first()), false;
    int64_t number = std::max(from, block.first());
    if (number == block.first() && size() + kPutHead + block.packed().size() <= bytes) {
      add_put(operation, number, block.packed());
      return true;
    }
    const size_t before = operation.size(), put = begin_put(operation, number);
    const bool all = block.walk(within(block, number), UINT64_MAX, [&](std::string_view element) {
      const bool alone = operation.size() == put && before == begin;
      if (!alone && (size() >= bytes || size() + kv::packed_bytes(element.size()) > most)) {
        return stop(number), false;
      }
      pack(operation, element);
      number++;
      return true;
    });
    if (operation.size() == put) {
      operation.resize(before);
    } else {
      end_put(operation, put);
    }
    return all;
  });
  return next;
}

void List::add_range(int64_t first, int64_t end, std::string& operation) const {
  each_block(first, end, [&](const BlockRef& block) {
    const Part part(block, first, end);
    add_put(operation, std::max(first, block.first()),
            block.packed().substr(part.from, part.to - part.from));
    return true;
  });
}

// What each step speaks of is made again what it is now.
void List::inverse(std::string_view operation, std::vector<std::string>& undo) const {
  std::string back;
  Change change;
  while (!operation.empty() && take(operation, change)) {
    if (change.step == kPut) kv::add_erase(back, change.first, change.end);
    add_range(change.first, change.end, back);
  }
  if (!back.empty()) undo.push_back(std::move(back));
}

// ---- operations ----

void List::add_push(const List* list, bool left, std::span<const std::string_view> elements,
                    std::string& operation) {
  const BlockRef* edge = nullptr;
  if (list != nullptr && list->large_) {
    const Tree& tree = list->large_->tree;
    edge = left ? &tree.front() : &tree.back();
  } else if (list != nullptr && list->one_) {
    edge = &list->one_;
  }
  int64_t next = edge == nullptr ? 0 : left ? edge->first() : edge->end();
  size_t packed = edge == nullptr ? 0 : edge->packed().size();  // in the block at the end
  for (size_t i = 0; i < elements.size();) {
    size_t n = i;
    for (; n < elements.size(); n++) {
      const size_t more = kv::packed_bytes(elements[n].size());
      if (packed > 0 && packed + more > BlockRef::kPackedMax) break;
      packed += more;
    }
    const auto count = static_cast<int64_t>(n - i);
    if (count > 0) {
      const size_t begin = begin_put(operation, left ? next - count : next);
      if (left) {
        for (size_t k = n; k-- > i;) pack(operation, elements[k]);
      } else {
        for (size_t k = i; k < n; k++) pack(operation, elements[k]);
      }
      end_put(operation, begin);
      next += left ? -count : count;
    }
    if (n < elements.size()) {
      next += left ? -kGap : kGap;
      packed = 0;
    }
    i = n;
  }
}

int64_t List::add_block(int64_t first, uint32_t count, std::string_view packed,
                        std::string& operation) {
  add_put(operation, first, packed);
  return first + count + kGap;
}

void List::add_erase(uint64_t index, uint64_t n, std::string& operation) const {
  const auto number = [&](uint64_t i) {
    uint64_t within = i;
    const BlockRef& b = large_ ? *place(i, within) : one_;
    return b.first() + static_cast<int64_t>(within);
  };
  if (n == 0) return;
  const int64_t first = number(index);
  kv::add_erase(operation, first, n == 1 ? first + 1 : number(index + n - 1) + 1);
}

void List::add_set(uint64_t index, std::string_view element, std::string& operation) const {
  uint64_t within = index;
  const int64_t first = large_ ? place(index, within)->first() : one_.first();
  const size_t begin = begin_put(operation, first + static_cast<int64_t>(within));
  pack(operation, element);
  end_put(operation, begin);
}

void List::add_rotate(bool from_left, bool to_left, std::string& operation) const {
  const std::string_view element = at(from_left ? 0 : size() - 1);
  // Pushed first: the numbers of what is pushed are beyond those of what goes.
  if (from_left != to_left) add_push(this, to_left, {&element, 1}, operation);
  if (from_left != to_left) add_erase(from_left ? 0 : size() - 1, 1, operation);
}

// The block of an element, and the numbers around it that are free: from free_first to the block,
// and from the block to before free_end.
BlockRef List::block_at(uint64_t index, uint64_t& within, int64_t& free_first,
                        int64_t& free_end) const {
  free_first = -kNumberMax;
  free_end = kNumberMax;
  within = index;
  if (!large_) return one_;
  auto c = place(index, within);
  BlockRef block = *c;
  if (!c.is_first()) {
    auto before = c;
    before.prev();
    free_first = before->end();
  }
  c.next();
  if (c) free_end = c->first();
  return block;
}

void List::add_insert(uint64_t index, std::string_view element, std::string& operation) const {
  uint64_t within;
  int64_t free_first, free_end;
  BlockRef block = block_at(index, within, free_first, free_end);
  const auto w = static_cast<uint32_t>(within);
  const int64_t before = block.first() - free_first, behind = free_end - block.end();
  if (within == 0 && before > 0 && large_) {  // in front of a block: behind the one before
    const BlockRef& other = *place(index - 1, within);
    within = 0;
    if (other.packed().size() + kv::packed_bytes(element.size()) <= BlockRef::kPackedMax) {
      const size_t begin = begin_put(operation, other.end());
      pack(operation, element);
      return end_put(operation, begin);
    }
  }
  if (before == 0 && behind == 0) return renumber(index, element, operation);
  if (block.packed().size() + kv::packed_bytes(element.size()) > BlockRef::kPackedMax) {
    return add_divided(block, w, element, free_first, free_end, operation);
  }
  const size_t at = block.offset(w);
  const std::string_view head = block.packed().substr(0, at), tail = block.packed().substr(at);
  const bool to_front = behind == 0 || (before > 0 && head.size() < tail.size());
  const size_t begin = begin_put(operation, to_front ? block.first() - 1 : block.first() + w);
  if (to_front) operation.append(head);
  pack(operation, element);
  if (!to_front) operation.append(tail);
  end_put(operation, begin);
}

// An element comes into a block that is full: one side of it becomes a block of its own, in the
// middle of the free numbers there.
void List::add_divided(const BlockRef& block, uint32_t w, std::string_view element,
                       int64_t free_first, int64_t free_end, std::string& operation) const {
  const size_t at = block.offset(w);
  const std::string_view head = block.packed().substr(0, at), tail = block.packed().substr(at);
  const int64_t middle = block.first() + w;  // the number of the first element of the tail
  const bool has_before = block.first() > free_first, has_behind = free_end > block.end();
  const bool to_front = !has_behind || (has_before && head.size() < tail.size());
  const int64_t count = 1 + (to_front ? int64_t{w} : int64_t{block.count()} - w);
  // Of a list that is one block all numbers are free: not so far away that none are left.
  const int64_t low = to_front ? std::max(free_first, block.first() - kGap) : middle;
  const int64_t high = to_front ? middle : std::min(free_end, block.end() + kGap);
  const int64_t first = low + (high - low - count) / 2;
  if (to_front && w > 0) kv::add_erase(operation, block.first(), middle);
  if (!to_front && !tail.empty()) kv::add_erase(operation, middle, block.end());
  const size_t begin = begin_put(operation, first);
  if (to_front) operation.append(head);
  pack(operation, element);
  if (!to_front) operation.append(tail);
  end_put(operation, begin);
}

// All numbers around are taken: the blocks around, as many as it takes until there are many more
// numbers than elements, get others, spread evenly.
void List::renumber(uint64_t index, std::string_view element, std::string& operation) const {
  constexpr int64_t kSpare = 1 << 13;  // for each block
  uint64_t within;
  auto left = place(index, within), right = left;
  const BlockRef middle = *left;
  int64_t blocks = 1, count = 1 + int64_t{middle.count()};
  int64_t low = middle.first(), high = middle.end();
  const auto enough = [&] { return high - low - count >= blocks * kSpare; };
  while (!enough()) {
    if (left.is_first()) {
      low -= kGap;
    } else {
      left.prev();
      low = left->first();
      blocks++;
      count += left->count();
    }
    if (enough()) break;
    right.next();
    if (!right) {
      right = large_->tree.last();
      high += kGap;
    } else {
      high = right->end();
      blocks++;
      count += right->count();
    }
  }
  kv::add_erase(operation, low, high);
  const int64_t spare = (high - low - count) / (blocks + 1);
  int64_t next = low + spare;
  const int64_t last = right->first();
  for (auto c = left;; c.next()) {
    const size_t begin = begin_put(operation, next);
    if (c->first() == middle.first()) {
      const size_t at = c->offset(static_cast<uint32_t>(within));
      operation.append(c->packed().substr(0, at));
      pack(operation, element);
      operation.append(c->packed().substr(at));
      next++;
    } else {
      operation.append(c->packed());
    }
    end_put(operation, begin);
    next += c->count() + spare;
    if (c->first() == last) break;
  }
}

void List::add_remove(std::span<const uint64_t> indexes, std::string& operation) const {
  for (size_t i = 0; i < indexes.size();) {
    uint64_t within = indexes[i];
    const BlockRef& block = large_ ? *place(indexes[i], within) : one_;
    const uint64_t begin = indexes[i] - within;  // of the block
    size_t n = i;                                // behind those that are in it
    while (n < indexes.size() && indexes[n] < begin + block.count()) n++;
    const int64_t first = block.first() + static_cast<int64_t>(within);
    // At the front of it they just go; else what is left behind them moves up.
    const bool at_front = within == 0 && indexes[n - 1] == begin + (n - i) - 1;
    if (at_front) {
      kv::add_erase(operation, first, first + static_cast<int64_t>(n - i));
      i = n;
      continue;
    }
    const size_t put = begin_put(operation, first);
    uint64_t index = indexes[i];
    int64_t left = 0;
    size_t next = i;
    block.walk(static_cast<uint32_t>(within), UINT64_MAX, [&](std::string_view element) {
      if (next < n && indexes[next] == index) {
        next++;
      } else {
        pack(operation, element);
        left++;
      }
      index++;
      return true;
    });
    if (left == 0) {
      operation.resize(put - kPutHead);
    } else {
      end_put(operation, put);
    }
    kv::add_erase(operation, first + left, block.end());
    i = n;
  }
}

// ---- changes ----

bool List::apply(std::string_view operation) {
  Change change;
  bool good = true;
  while (good && !operation.empty()) {
    good = take(operation, change);
    if (!good) break;
    if (change.step == kPut) {
      put(change.first, change.count, change.packed);
    } else {
      erase(change.first, change.end);
    }
  }
  if (large_) large_->snapshots.keep(large_->tree.take_copied_bytes());
  if (large_ && large_->blocks <= 1) gather();
  return good;
}

void List::put(int64_t first, uint32_t count, std::string_view packed) {
  if (!large_ && put_in_one(first, count, packed)) return;
  if (!large_) spread();
  put_in_tree(first, count, packed);
}

void List::erase(int64_t first, int64_t end) {
  if (!large_ && erase_in_one(first, end)) return;
  if (!large_) spread();
  erase_in_tree(first, end);
}

bool List::put_in_one(int64_t first, uint32_t count, std::string_view packed) {
  if (!one_) {
    if (packed.size() > BlockRef::kPackedMax) return false;
    one_ = BlockRef(first, packed, count);
    return true;
  }
  if (!touches(one_, first, first + count) || !fits(one_, first, count, packed)) return false;
  put_into(one_, first, count, packed);
  return true;
}

bool List::erase_in_one(int64_t first, int64_t end) {
  if (!one_ || end <= one_.first() || first >= one_.end()) return true;
  if (first <= one_.first() && end >= one_.end()) {
    one_ = BlockRef();
    return true;
  }
  if (first > one_.first() && end < one_.end()) return false;
  trim(one_, first, end);
  return true;
}

void List::spread() {
  large_ = std::make_unique<Large>();
  if (one_) insert_block(large_->tree.end(), std::move(one_));
  one_ = BlockRef();
}

void List::gather() {
  Large& l = *large_;
  if (l.snapshots.any() || l.packed > BlockRef::kPackedMax / 2) return;
  if (l.blocks > 0) {
    one_ = *l.tree.first();
    l.tree = {};
    one_.fit();
  }
  large_.reset();
}

void List::insert_block(const Tree::Cursor& c, BlockRef block) {
  Large& l = *large_;
  l.blocks++;
  l.count += block.count();
  l.packed += block.packed().size();
  l.allocated += block.allocated_bytes();
  l.tree.insert(c, std::move(block));
}

void List::erase_block(const Tree::Cursor& c) {
  Large& l = *large_;
  const BlockRef block = l.tree.erase(c);
  l.blocks--;
  l.count -= block.count();
  l.packed -= block.packed().size();
  l.allocated -= block.allocated_bytes();
  if (block.is_shared()) l.snapshots.keep(block.allocated_bytes());
}

template <class Fn>
void List::change_block(const Tree::Cursor& c, Fn fn) {
  Large& l = *large_;
  l.tree.change(c, [&](BlockRef& block) {
    if (block.is_shared()) l.snapshots.keep(block.allocated_bytes());
    l.count -= block.count();
    l.packed -= block.packed().size();
    l.allocated -= block.allocated_bytes();
    fn(block);
    l.count += block.count();
    l.packed += block.packed().size();
    l.allocated += block.allocated_bytes();
  });
}

// Into the block at `c`, which they touch, and no other.
bool List::put_in_block(const Tree::Cursor& c, int64_t first, uint32_t count,
                        std::string_view packed) {
  if (!fits(*c, first, count, packed)) return false;
  change_block(c, [&](BlockRef& block) { put_into(block, first, count, packed); });
  return true;
}

void List::put_in_tree(int64_t first, uint32_t count, std::string_view packed) {
  const Tree& tree = large_->tree;
  const int64_t end = first + count;
  if (tree.empty()) return insert_blocks(first, count, packed);
  if (tree.back().end() <= first) {
    if (tree.back().end() == first && put_in_block(tree.last(), first, count, packed)) return;
    return insert_blocks(first, count, packed);
  }
  auto c = block_from(first);
  if (c->first() < end) {
    auto next = c;
    next.next();
    const bool alone = !next || next->first() >= end;
    if (alone && put_in_block(c, first, count, packed)) return;
    erase_in_tree(first, end);
    return insert_blocks(first, count, packed);
  }
  if (!c.is_first()) {
    auto before = c;
    before.prev();
    if (before->end() == first && put_in_block(before, first, count, packed)) return;
  }
  if (c->first() == end && put_in_block(c, first, count, packed)) return;
  insert_blocks(first, count, packed);
}

// Of numbers that are free.
void List::insert_blocks(int64_t first, uint32_t count, std::string_view packed) {
  while (count > 0) {
    uint32_t n = 0;
    const char* at = packed.data();
    while (n < count) {
      const std::string_view element = element_at(at);
      const auto size = static_cast<size_t>(behind(element) - packed.data());
      if (n > 0 && size > BlockRef::kPackedMax) break;
      at = behind(element);
      n++;
    }
    const auto size = static_cast<size_t>(at - packed.data());
    const Tree& tree = large_->tree;
    auto c = block_from(first);
    const bool at_back = !c, at_front = c && c.is_first();
    // One at an end grows; the one that was there does no more.
    if (at_back || at_front) {
      if (auto old = at_back ? tree.last() : tree.first()) {
        change_block(old, [](BlockRef& block) { block.fit(); });
        c = block_from(first);
      }
    }
    const auto grows = at_back    ? BlockRef::Grows::kBack
                       : at_front ? BlockRef::Grows::kFront
                                  : BlockRef::Grows::kNot;
    insert_block(c, BlockRef(first, packed.substr(0, size), n, grows));
    packed.remove_prefix(size);
    first += n;
    count -= n;
  }
}

void List::erase_in_tree(int64_t first, int64_t end) {
  for (;;) {
    auto c = block_from(first);
    if (!c || c->first() >= end) return;
    if (c->first() >= first && c->end() <= end) {
      erase_block(c);
      continue;
    }
    const int64_t behind = c->end();
    if (c->first() < first && behind > end) {  // what lies behind becomes a block
      const Part tail(*c, end, behind);
      BlockRef block(end, c->packed().substr(tail.from), tail.count);
      change_block(c, [&](BlockRef& b) { trim(b, first, behind); });
      c = block_from(first);
      return insert_block(c, std::move(block));
    }
    change_block(c, [&](BlockRef& b) { trim(b, first, end); });
    if (behind >= end) return;
  }
}

}  // namespace cairn::kv

#include "kv/types/stream_block.h"

#include <algorithm>
#include <cassert>

namespace cairn::kv {

namespace {
// Takes so many strings off the front.
bool skip(std::string_view& in, uint64_t n) {
  for (std::string_view s; n > 0; n--) {
    if (!take_bytes(in, s)) return false;
  }
  return true;
}
}  // namespace

StreamBlock::Ref StreamBlock::allocate(size_t capacity) {
  auto* block = new (::operator new(sizeof(StreamBlock) + capacity)) StreamBlock;
  block->capacity_ = static_cast<uint32_t>(capacity);
  return Ref(block);
}

StreamBlock::Ref StreamBlock::make(const StreamEntry& like, size_t room) {
  Ref ref = allocate(like.names.size() + room);
  StreamBlock& b = *ref.block_;
  b.base_ = b.last_ = like.id;
  b.fields_ = static_cast<uint32_t>(like.fields);
  b.size_ = b.names_size_ = static_cast<uint32_t>(like.names.size());
  std::memcpy(b.data(), like.names.data(), like.names.size());
  return ref;
}

bool StreamBlock::take_entry(std::string_view& in, StreamEntry& e) const {
  const auto own = static_cast<uint8_t>(in[0]);
  uint64_t ms, seq;
  in.remove_prefix(1);
  if (own > 1 || !take_varint(in, ms) || !take_varint(in, seq)) return false;
  if (__builtin_add_overflow(base_.ms, ms, &e.id.ms)) return false;
  e.id.seq = seq;
  if (ms == 0 && __builtin_add_overflow(base_.seq, seq, &e.id.seq)) return false;
  e.fields = fields_;
  e.names = names();
  if (own != 0 && (!take_varint(in, e.fields) || !take_bytes(in, e.names))) return false;
  const char* begin = in.data();
  if (!skip(in, e.fields)) return false;
  e.values = {begin, static_cast<size_t>(in.data() - begin)};
  return true;
}

void StreamBlock::encode(std::string& out, const StreamEntry& e) const {
  const bool own = e.names != names() || e.fields != fields_;
  out.push_back(own ? 1 : 0);
  add_varint(out, e.id.ms - base_.ms);
  add_varint(out, e.id.ms == base_.ms ? e.id.seq - base_.seq : e.id.seq);
  if (own) {
    add_varint(out, e.fields);
    add_bytes(out, e.names);
  }
  out.append(e.values);
}

// ---- in the log: ms seq fields names, bytes of the entries, entries ----

void StreamBlock::add_to(std::string& out) const {
  add_varint(out, base_.ms);
  add_varint(out, base_.seq);
  add_varint(out, fields_);
  add_bytes(out, names());
  add_bytes(out, entries());
}

void StreamBlock::add_entry_to(std::string& out, const StreamEntry& e) {
  add_varint(out, e.id.ms);
  add_varint(out, e.id.seq);
  add_varint(out, e.fields);
  add_bytes(out, e.names);
  add_varint(out, 3 + e.values.size());
  out.append(3, '\0');  // the block's names, its milliseconds, its number
  out.append(e.values);
}

bool StreamBlock::take_entry_alone(std::string_view& in, StreamEntry& e) {
  std::string_view rest = in, entry;
  if (!take_varint(rest, e.id.ms) || !take_varint(rest, e.id.seq) || !take_varint(rest, e.fields) ||
      !take_bytes(rest, e.names) || !take_bytes(rest, entry) || e.fields == 0 || entry.size() < 3 ||
      entry[0] != 0 || entry[1] != 0 || entry[2] != 0) {
    return false;
  }
  e.values = entry.substr(3);
  std::string_view names = e.names, values = e.values;
  if (!skip(names, e.fields) || !names.empty() || !skip(values, e.fields) || !values.empty()) {
    return false;
  }
  in = rest;
  return true;
}

void StreamBlock::add_range_to(std::string& out, StreamId from, StreamId to) const {
  Reader reader(*this);
  uint32_t begin = reader.at(), end = begin;
  for (StreamEntry e; reader.next(e) && e.id <= to; end = reader.at()) {
    if (e.id < from) begin = reader.at();
  }
  add_varint(out, base_.ms);
  add_varint(out, base_.seq);
  add_varint(out, fields_);
  add_bytes(out, names());
  add_bytes(out, entries().substr(begin, end - begin));
}

StreamBlock::Ref StreamBlock::take(std::string_view& in) {
  StreamEntry like;
  std::string_view entries, rest;
  const bool read = take_varint(in, like.id.ms) && take_varint(in, like.id.seq) &&
                    take_varint(in, like.fields) && take_bytes(in, like.names) &&
                    take_bytes(in, entries);
  rest = like.names;
  if (!read || !skip(rest, like.fields) || !rest.empty() || like.fields == 0 || entries.empty() ||
      like.names.size() + entries.size() > UINT32_MAX / 2) {
    return {};
  }
  Ref ref = make(like, entries.size());
  StreamBlock& b = *ref.block_;
  std::memcpy(b.data() + b.size_, entries.data(), entries.size());
  b.size_ += static_cast<uint32_t>(entries.size());
  rest = b.entries();
  for (StreamEntry e; !rest.empty(); b.count_++) {
    if (!b.take_entry(rest, e) || (b.count_ > 0 && e.id <= b.last_)) return {};
    std::string_view names = e.names;
    if (e.fields == 0 || !skip(names, e.fields) || !names.empty()) return {};
    b.last_ = e.id;
  }
  return ref;
}

// ---- reading ----

StreamId StreamBlock::first() const {
  StreamEntry e;
  Reader(*this).next(e);
  return e.id;
}

size_t StreamBlock::rank(StreamId id) const {
  if (id <= base_) return 0;
  if (id > last_) return count_;
  size_t n = 0;
  Reader reader(*this);
  for (StreamEntry e; reader.next(e) && e.id < id;) n++;
  return n;
}

std::optional<StreamEntry> StreamBlock::find(StreamId id) const {
  if (id < base_ || id > last_) return std::nullopt;
  Reader reader(*this);
  for (StreamEntry e; reader.next(e) && e.id <= id;) {
    if (e.id == id) return e;
  }
  return std::nullopt;
}

// ---- changing ----

StreamBlock& StreamBlock::own(Ref& ref, size_t capacity) {
  StreamBlock& old = *ref.block_;
  const bool shared = old.references_.load(std::memory_order_acquire) > 1;
  if (!shared && capacity <= old.capacity_) return old;
  // Grows by half and more, to what a full one takes.
  size_t room = std::max(capacity, size_t{64});
  if (room < kBytesMax) room = std::min(kBytesMax, std::max(room, old.capacity_ * size_t{2}));
  Ref made = allocate(room);
  StreamBlock& b = *made.block_;
  b.size_ = old.size_;
  b.names_size_ = old.names_size_;
  b.fields_ = old.fields_;
  b.count_ = old.count_;
  b.base_ = old.base_;
  b.last_ = old.last_;
  std::memcpy(b.data(), old.data(), old.size_);
  ref = std::move(made);
  return *ref.block_;
}

void StreamBlock::replace(Ref& ref, uint32_t begin, uint32_t end, std::string_view bytes) {
  const size_t size = ref->size_ - (end - begin) + bytes.size();
  StreamBlock& b = own(ref, std::max<size_t>(size, ref->size_));
  char* at = b.data() + b.names_size_;
  std::memmove(at + begin + bytes.size(), at + end, b.entries().size() - end);
  std::memcpy(at + begin, bytes.data(), bytes.size());
  b.size_ = static_cast<uint32_t>(size);
}

void StreamBlock::append(Ref& ref, const StreamEntry& e) {
  const bool own_names = e.names != ref->names() || e.fields != ref->fields_;
  constexpr size_t kHeadMax = 1 + 4 * 10;
  StreamBlock& b =
      own(ref, ref->size_ + kHeadMax + e.values.size() + (own_names ? e.names.size() : 0));
  char* at = b.data() + b.size_;
  const auto varint = [&at](uint64_t n) {
    for (; n >= 0x80; n >>= 7) *at++ = static_cast<char>(n | 0x80);
    *at++ = static_cast<char>(n);
  };
  const auto text = [&at](std::string_view s) {
    std::memcpy(at, s.data(), s.size());
    at += s.size();
  };
  *at++ = own_names ? 1 : 0;
  varint(e.id.ms - b.base_.ms);
  varint(e.id.ms == b.base_.ms ? e.id.seq - b.base_.seq : e.id.seq);
  if (own_names) {
    varint(e.fields);
    varint(e.names.size());
    text(e.names);
  }
  text(e.values);
  b.size_ = static_cast<uint32_t>(at - b.data());
  b.count_++;
  b.last_ = e.id;
}

void StreamBlock::put(Ref& ref, const StreamEntry& e) {
  assert(e.id >= ref->base_);
  Reader reader(*ref);
  uint32_t begin = reader.at(), end = begin;
  bool there = false;
  for (StreamEntry old; reader.next(old) && old.id <= e.id; end = reader.at()) {
    there = old.id == e.id;
    begin = there ? begin : reader.at();
  }
  std::string bytes;
  ref->encode(bytes, e);
  replace(ref, begin, end, bytes);
  if (!there) ref.block_->count_++;
  ref.block_->last_ = std::max(ref->last_, e.id);
}

void StreamBlock::remove(Ref& ref, StreamId from, StreamId to) {
  Reader reader(*ref);
  uint32_t begin = reader.at(), end = begin, gone = 0;
  StreamId before = ref->base_;
  for (StreamEntry e; reader.next(e) && e.id <= to; end = reader.at()) {
    if (e.id >= from) {
      gone++;
      continue;
    }
    before = e.id;
    begin = reader.at();
  }
  if (gone == 0) return;
  assert(gone < ref->count_);
  replace(ref, begin, end, {});
  StreamBlock& b = *ref.block_;
  b.count_ -= gone;
  if (begin == b.entries().size()) b.last_ = before;
  if (b.size_ < b.capacity_ / 2) shrink(ref);
}

StreamBlock::Ref StreamBlock::split(Ref& ref) {
  Reader reader(*ref);
  StreamEntry e;
  const size_t keep = ref->count_ / 2;
  StreamId last;
  uint32_t at = 0;
  Ref right;
  for (size_t i = 0; reader.next(e); i++) {
    if (i < keep) {
      last = e.id;
      at = reader.at();
    } else {
      if (i == keep) right = make(e, ref->size_ / 2);
      append(right, e);
    }
  }
  replace(ref, at, static_cast<uint32_t>(ref->entries().size()), {});
  StreamBlock& b = *ref.block_;
  b.count_ = static_cast<uint32_t>(keep);
  b.last_ = last;
  return right;
}

void StreamBlock::shrink(Ref& ref) {
  StreamBlock& old = *ref.block_;
  if (old.capacity_ - old.size_ < old.capacity_ / 16) return;
  Ref made = allocate(old.size_);
  StreamBlock& b = *made.block_;
  b.size_ = old.size_;
  b.names_size_ = old.names_size_;
  b.fields_ = old.fields_;
  b.count_ = old.count_;
  b.base_ = old.base_;
  b.last_ = old.last_;
  std::memcpy(b.data(), old.data(), old.size_);
  ref = std::move(made);
}

}  // namespace cairn::kv

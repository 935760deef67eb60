#include "core/index/index.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <new>

namespace cairn {

// ---- entries ----

void Entry::fill(const RecordView& r, Lsn at, uint8_t mark) {
  const bool wide = is_wide(r);
  set_lsn(at);
  value_size = wide ? kWide : static_cast<uint32_t>(r.value.size());
  key_size = wide ? 0 : static_cast<uint16_t>(r.key.size());
  flags = r.flags;
  set_marks(static_cast<uint8_t>(mark | (r.meta.empty() ? 0 : kHasMeta)));
  char* p = body();
  if (r.has_expiry()) {
    std::memcpy(p, &r.expire_ms, 8);
    p += 8;
  }
  if (r.has_origin()) {
    std::memcpy(p, &r.version, 8);
    p += 8;
  }
  if (has_meta()) {
    auto n = static_cast<uint32_t>(r.meta.size());
    std::memcpy(p, &n, 4);
    p += 4;
  }
  if (wide) {
    const Sizes sizes{static_cast<uint32_t>(r.key.size()), static_cast<uint32_t>(r.value.size())};
    std::memcpy(p, &sizes, sizeof(sizes));
    p += sizeof(sizes);
  }
  auto put = [&p](std::string_view s) {
    if (!s.empty()) std::memmove(p, s.data(), s.size());
    p += s.size();
  };
  put(r.key);
  put(r.meta);
  if (!is_cold()) put(r.value);
}

Entry* Entry::make(const RecordView& r, Lsn lsn) { return make(r, lsn, 0); }
Entry* Entry::make_cold(const RecordView& r, Lsn lsn) { return make(r, lsn, kCold); }

Entry* Entry::make_cold() const {
  RecordView r{RecordType::kPut, flags, {}, expire_ms(), key(), meta(), value()};
  r.version = version();
  const Collection* c = collection();
  if (c != nullptr && r.version != lsn()) r.flags |= kRecordHasOrigin;
  if (c != nullptr && c->share_.expires() != has_expiry()) r.flags |= kExpiryApart;
  Entry* cold = make(r, lsn(), kCold);
  if (c != nullptr) cold->value_size = c->share_.image_size();
  return cold;
}

Entry* Entry::make_hot(std::string_view value) const {
  assert(is_cold() && value.size() == value_bytes());
  RecordView r{RecordType::kPut, flags, {}, expire_ms(), key(), meta(), value};
  r.version = version();
  return make(r, lsn(), kFresh);
}

Entry* Entry::make(const RecordView& r, Lsn lsn, uint8_t mark) {
  size_t bytes = sizeof(Entry) + (is_wide(r) ? sizeof(Sizes) : 0) + (r.has_expiry() ? 8 : 0) +
                 (r.has_origin() ? 8 : 0) + (r.meta.empty() ? 0 : 4) + r.key.size() +
                 r.meta.size() + ((mark & kCold) ? 0 : r.value.size());
  auto* entry = new (entry_heap::allocate(bytes)) Entry;
  entry->fill(r, lsn, mark);
  return entry;
}

bool Entry::assign(const RecordView& r, Lsn at) {
  if (is_cold() || !is_string() || flags != r.flags || has_meta() == r.meta.empty() ||
      meta_size() != r.meta.size() || value_size != r.value.size() || is_wide()) {
    return false;
  }
  fill(r, at, marks());
  return true;
}

Entry* Entry::make(const RecordView& r, Lsn lsn, std::unique_ptr<Collection> collection) {
  RecordView held = r;
  Collection* pointer = collection.release();
  held.value = {reinterpret_cast<const char*>(&pointer), kPointerBytes};
  // The collection knows its version, and what its record says.
  held.flags &= static_cast<uint8_t>(~(kRecordHasOrigin | kExpiryApart));
  return make(held, lsn, 0);
}

Entry* Entry::make_hot(std::unique_ptr<Collection> collection) const {
  assert(is_cold());
  collection->set_version(version());
  Entry* hot = make({RecordType::kPut, flags, {}, expire_ms(), key(), meta(), {}}, lsn(),
                    std::move(collection));
  hot->set_marks(hot->marks() | kFresh);
  return hot;
}

Entry* Entry::with_expiry(int64_t at_ms) const {
  RecordView r{RecordType::kPut, flags, {}, at_ms, key(), meta(), {}};
  r.value = is_cold() ? std::string_view(body(), value_bytes()) : value();  // its size alone
  if (has_expiry() != (at_ms != 0)) {
    r.flags ^= kRecordHasExpiry;
    if (collection() == nullptr) r.flags ^= kExpiryApart;
  }
  r.version = version();
  Entry* other = make(r, lsn(), marks() & kCold);
  other->set_marks(marks());
  return other;
}

Entry* Entry::make_denser() {
  if (!is_string() || is_blob()) return nullptr;
  void* block = entry_heap::allocate_denser(this, own_bytes());
  if (block == nullptr) return nullptr;
  std::memcpy(block, this, own_bytes());
  return static_cast<Entry*>(block);
}

Collection* Entry::detach() {
  Collection* c = collection();
  if (c != nullptr) std::memset(const_cast<char*>(value().data()), 0, kPointerBytes);
  return c;
}

void Entry::destroy(Entry* entry) {
  delete entry->collection();
  entry_heap::release(entry, entry->own_bytes());
}

// ---- the table ----

Index::~Index() {
  for (size_t stripe = 0; stripe < kStripes; stripe++) take_all(stripe, Entry::destroy);
  for (auto& slot : blocks_) {
    if (slot.load() == nullptr) continue;
    if (counts_.heads) count(0, -static_cast<int64_t>(sizeof(PartBlock)));
    delete slot.load();
  }
}

void Index::count(size_t stripe, int64_t bytes) {
  table_bytes_.fetch_add(static_cast<uint64_t>(bytes), std::memory_order_relaxed);
  if (counts_.memory != nullptr) counts_.memory->add(stripe, bytes);
}

void Index::clear_stripe(size_t stripe) {
  PartBlock* block = blocks_[stripe / kBlockStripes].load();
  if (block == nullptr) return;
  Part& part = (*block)[stripe % kBlockStripes];
  for (size_t i = 0; i < part.size();) {
    Segment* s = part.at(i).segment();
    i += part.span(s);
    counts_.held->keys.fetch_sub(s->count, std::memory_order_relaxed);
    free_segment(stripe, s);
  }
  if (part.depth > 0) count(stripe, -static_cast<int64_t>(part.size() * sizeof(SegmentRef)));
  part = Part();
}

KeyHash hash_key(std::string_view key, uint64_t seed) {
  KeyHash h = XXH3_64bits_withSeed(key.data(), key.size(), seed);
  return h == 0 ? 1 : h;  // 0 ends a scan
}

Index::Part& Index::make_part(size_t stripe) {
  auto& slot = blocks_[stripe / kBlockStripes];
  PartBlock* block = slot.load(std::memory_order_acquire);
  if (block == nullptr) {
    auto* made = new PartBlock;
    if (slot.compare_exchange_strong(block, made, std::memory_order_acq_rel)) {
      block = made;
      if (counts_.heads || counts_.memory == nullptr) count(stripe, sizeof(PartBlock));
    } else {
      delete made;
    }
  }
  return (*block)[stripe % kBlockStripes];
}

Index::Segment* Index::make_segment(size_t stripe, uint32_t capacity, unsigned depth) {
  size_t bytes = sizeof(Segment) + capacity * sizeof(uint64_t);
  auto* s = static_cast<Segment*>(std::calloc(1, bytes));
  if (s == nullptr) throw std::bad_alloc();
  s->capacity = static_cast<uint16_t>(capacity);
  s->depth = static_cast<uint16_t>(depth);
  count(stripe, static_cast<int64_t>(bytes));
  return s;
}

void Index::free_segment(size_t stripe, Segment* s) {
  count(stripe, -static_cast<int64_t>(sizeof(Segment) + s->capacity * sizeof(uint64_t)));
  std::free(s);
}

void Index::place(Segment* s, uint64_t slot) {
  uint32_t i = home(tag(slot), s->capacity);
  while (s->slots[i] != 0) i = i + 1 == s->capacity ? 0 : i + 1;
  s->slots[i] = slot;
  s->count++;
}

Index::Segment* Index::resize(size_t stripe, Segment* s, uint32_t capacity) {
  Segment* bigger = make_segment(stripe, capacity, s->depth);
  for (uint32_t k = 0; k < s->capacity; k++) {
    if (s->slots[k] != 0) place(bigger, s->slots[k]);
  }
  free_segment(stripe, s);
  return bigger;
}

void Index::Part::set(size_t slot, SegmentRef ref) {
  const size_t n = span(ref.segment());
  const size_t first = slot & ~(n - 1);
  for (size_t i = first; i < first + n; i++) at(i) = ref;
}

// Stripes fill at one pace. With one size for all they would split together, and the memory they
// leave would find no taker: 113 resident bytes per key at 2 million keys instead of 111.5.
uint32_t Index::slots_max(size_t stripe) {
  return kSegmentSlotsMax / 2 +
         static_cast<uint32_t>((stripe * 0x9e3779b9u >> 16) % (kSegmentSlotsMax / 2 + 1));
}

void Index::grow(Part& part, KeyHash for_hash) {
  const size_t at = directory_slot(for_hash, part.depth);
  Segment* s = part.at(at).segment();
  const size_t stripe = stripe_of(for_hash);
  const uint32_t most = slots_max(stripe);
  if (s->capacity < most) {
    const uint32_t more = s->capacity / (loading.load(std::memory_order_relaxed) ? 2 : 8) + 2;
    const uint32_t capacity = std::min<uint32_t>(most, s->capacity + more);
    return part.set(at, SegmentRef(resize(stripe, s, capacity)));
  }
  if (s->depth == part.depth) {  // the directory is as deep as this segment: double it
    auto wider = std::make_unique<SegmentRef[]>(part.size() * 2);
    for (size_t i = 0; i < part.size() * 2; i++) wider[i] = part.at(i / 2);
    count(stripe, static_cast<int64_t>((part.depth == 0 ? 2 : part.size()) * sizeof(SegmentRef)));
    part.directory = std::move(wider);
    part.only = SegmentRef();
    part.depth++;
    return grow(part, for_hash);
  }
  // Split by the next hash bit. The bit is not in the slot, so the keys are hashed again.
  const unsigned depth = s->depth + 1u;
  Segment* half[2] = {nullptr, nullptr};
  uint32_t counts[2] = {0, 0};
  std::array<uint8_t, kSegmentSlotsMax> side{};
  for (uint32_t k = 0; k < s->capacity; k++) {
    if (s->slots[k] != 0) __builtin_prefetch(pointer(s->slots[k]) + 1);
  }
  for (uint32_t k = 0; k < s->capacity; k++) {
    if (s->slots[k] == 0) continue;
    side[k] = directory_slot(hash(pointer(s->slots[k])->key()), depth) & 1;
    counts[side[k]]++;
  }
  for (int i = 0; i < 2; i++) {
    half[i] = make_segment(stripe, std::min(slots_for(counts[i]), most), depth);
  }
  for (uint32_t k = 0; k < s->capacity; k++) {
    if (s->slots[k] != 0) place(half[side[k]], s->slots[k]);
  }
  const size_t first = at & ~(part.span(s) - 1);
  part.set(first, SegmentRef(half[0]));
  part.set(first + part.span(half[0]), SegmentRef(half[1]));
  free_segment(stripe, s);
}

void Index::reserve(size_t stripe, uint32_t keys) {
  Part& p = make_part(stripe);
  if (p.size() != 0) return;
  const auto slots = [&] { return slots_for(keys >> p.depth); };
  while (slots() > slots_max(stripe)) p.depth++;
  if (p.depth > 0) {
    p.directory = std::make_unique<SegmentRef[]>(p.size());
    count(stripe, static_cast<int64_t>(p.size() * sizeof(SegmentRef)));
  }
  for (size_t i = 0; i < size_t{1} << p.depth; i++) {
    p.at(i) = SegmentRef(make_segment(stripe, slots(), p.depth));
  }
}

void Index::fit(size_t stripe) {
  if (!touched(stripe)) return;
  Part& p = make_part(stripe);
  for (size_t i = 0; i < p.size();) {
    Segment* s = p.at(i).segment();
    const size_t next = i + p.span(s);
    const uint32_t slots = slots_for(s->count);
    if (slots_for(slots) < s->capacity) p.set(i, SegmentRef(resize(stripe, s, slots)));
    i = next;
  }
}

uint64_t* Index::find_slot(const Part& part, std::string_view key, KeyHash hash) {
  if (part.size() == 0) return nullptr;
  const SegmentRef ref = part.at(directory_slot(hash, part.depth));
  uint64_t* slots = ref.segment()->slots;
  const uint32_t capacity = ref.capacity();
  const uint16_t want = tag_of(hash);
  uint32_t i = home(want, capacity);
  while (slots[i] != 0) {
    if (tag(slots[i]) == want && pointer(slots[i])->key() == key) return &slots[i];
    i = i + 1 == capacity ? 0 : i + 1;
  }
  return nullptr;
}

void Index::prefetch(std::span<const KeyHash> hashes, bool insert) const {
  constexpr size_t kAtOnce = 32;
  constexpr uint32_t kProbesMax = 16;  // a hint may miss
  std::array<SegmentRef, kAtOnce> refs;
  for (; !hashes.empty(); hashes = hashes.subspan(std::min(kAtOnce, hashes.size()))) {
    const size_t n = std::min(kAtOnce, hashes.size());
    for (size_t i = 0; i < n; i++) __builtin_prefetch(part(stripe_of(hashes[i])));
    for (size_t i = 0; i < n; i++) {
      const Part* p = part(stripe_of(hashes[i]));
      refs[i] = SegmentRef();
      if (p == nullptr || p->size() == 0) continue;
      refs[i] = p->at(directory_slot(hashes[i], p->depth));
      __builtin_prefetch(refs[i].segment()->slots + home(tag_of(hashes[i]), refs[i].capacity()));
      if (insert) __builtin_prefetch(refs[i].segment());
    }
    for (size_t i = 0; i < n; i++) {
      if (!refs[i]) continue;
      const uint64_t* slots = refs[i].segment()->slots;
      const uint16_t want = tag_of(hashes[i]);
      uint32_t k = home(want, refs[i].capacity());
      for (uint32_t probe = 0; probe < kProbesMax && slots[k] != 0; probe++) {
        if (tag(slots[k]) == want) {
          const char* entry = reinterpret_cast<const char*>(pointer(slots[k]));
          __builtin_prefetch(entry);
          __builtin_prefetch(entry + kCacheLine);
          break;
        }
        k = k + 1 == refs[i].capacity() ? 0 : k + 1;
      }
    }
  }
}

Entry* Index::find(std::string_view key, KeyHash hash) const {
  const Part* p = part(stripe_of(hash));
  if (p == nullptr) return nullptr;
  uint64_t* slot = find_slot(*p, key, hash);
  return slot == nullptr ? nullptr : pointer(*slot);
}

void Index::insert(Entry* entry, KeyHash hash) {
  assert((reinterpret_cast<uintptr_t>(entry) >> 48) == 0);
  Part& p = make_part(stripe_of(hash));
  if (p.size() == 0) p.only = SegmentRef(make_segment(stripe_of(hash), kSegmentSlotsMin, 0));
  // At most 92 % full, and always one empty slot to end a search.
  for (;;) {
    Segment* s = p.at(directory_slot(hash, p.depth)).segment();
    if ((s->count + 1u) * 100 <= s->capacity * 92u && s->count + 1u < s->capacity) {
      place(s, slot_of(entry, hash));
      break;
    }
    grow(p, hash);
  }
  p.count++;
  counts_.held->keys.fetch_add(1, std::memory_order_relaxed);
}

void Index::replace(Entry* old, Entry* entry, KeyHash hash) {
  uint64_t* slot = find_slot(*part(stripe_of(hash)), old->key(), hash);
  assert(slot != nullptr);
  *slot = slot_of(entry, hash);
}

void Index::remove(Entry* entry, KeyHash hash) {
  Part& p = make_part(stripe_of(hash));
  Segment* s = p.at(directory_slot(hash, p.depth)).segment();
  uint64_t* slot = find_slot(p, entry->key(), hash);
  assert(slot != nullptr);
  // Close the gap: move back every later entry of the run that may lie there.
  auto i = static_cast<uint32_t>(slot - s->slots);
  for (uint32_t j = i;;) {
    j = j + 1 == s->capacity ? 0 : j + 1;
    if (s->slots[j] == 0) break;
    uint32_t h = home(tag(s->slots[j]), s->capacity);
    bool stays = i <= j ? (i < h && h <= j) : (i < h || h <= j);
    if (stays) continue;
    s->slots[i] = s->slots[j];
    i = j;
  }
  s->slots[i] = 0;
  s->count--;
  counts_.held->keys.fetch_sub(1, std::memory_order_relaxed);
  const size_t stripe = stripe_of(hash);
  if (--p.count == 0) return clear_stripe(stripe);  // keys that are gone take no memory
  if (s->capacity > kSegmentSlotsMin && s->count < s->capacity / 4) {
    const uint32_t half = std::max(s->capacity / 2u, kSegmentSlotsMin);
    p.set(directory_slot(hash, p.depth), SegmentRef(resize(stripe, s, half)));
  }
}

KeyHash Index::scan(size_t stripe, KeyHash from, size_t count, std::vector<Entry*>& out) const {
  const Part* p = part(stripe);
  if (p == nullptr || p->size() == 0) return 0;
  size_t i = stripe_of(from) == stripe ? directory_slot(from, p->depth) : 0;
  i &= ~(p->span(p->at(i).segment()) - 1);
  size_t found = 0;
  std::vector<std::pair<KeyHash, Entry*>> here;
  while (i < p->size()) {
    const Segment* s = p->at(i).segment();
    i += p->span(s);
    here.clear();
    for (uint32_t k = 0; k < s->capacity; k++) {
      if (s->slots[k] == 0) continue;
      Entry* e = pointer(s->slots[k]);
      // Two entries with equal place bits are taken together, so the low bits can be dropped.
      KeyHash place = hash(e->key()) & ~KeyHash{0xffff};
      if (place >= from) here.emplace_back(place, e);
    }
    std::sort(here.begin(), here.end(), [](auto& a, auto& b) { return a.first < b.first; });
    for (size_t k = 0; k < here.size(); k++) {
      if (found >= count && here[k].first != here[k - 1].first) return here[k].first;
      out.push_back(here[k].second);
      found++;
    }
    if (found >= count && i < p->size()) {
      KeyHash next = (KeyHash{stripe} << (64 - kStripeBits)) |
                     (p->depth == 0 ? 0 : (KeyHash{i} << (64 - kStripeBits - p->depth)));
      return next;
    }
  }
  return 0;
}

// One of a stripe's entries, each with the same chance, as `random` decides; null: there is none.
Entry* Index::random(size_t stripe, uint64_t random) const {
  const Part* p = part(stripe);
  if (p == nullptr || p->count == 0) return nullptr;
  auto draw = [&random] {  // splitmix64
    random += 0x9e3779b97f4a7c15ULL;
    uint64_t x = (random ^ (random >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
  };
  // Of all the slots that there would be if each segment were full-grown, some by chance, until one
  // is there and in use. The next one in use after it will not do: what follows a gap would be
  // drawn ten times as often as the rest. Most that are not there the directory alone tells: where
  // much is gone, to look into each segment took a third of SPOP.
  constexpr int kTriesMax = 1024;
  const uint64_t most = p->depth == 0 ? p->at(0).capacity() : kSegmentSlotsMax;
  for (int tries = 0; tries < kTriesMax; tries++) {
    const uint64_t drawn = draw();
    const size_t i = drawn & (p->size() - 1);
    const size_t slot = (drawn >> 32) * most >> 32;
    const SegmentRef ref = p->at(i);
    if (slot >= ref.capacity()) continue;
    const Segment* s = ref.segment();
    // The directory names it several times, perhaps, of which the first counts.
    if (s->slots[slot] != 0 && (i & (p->span(s) - 1)) == 0) return pointer(s->slots[slot]);
  }
  // Most are gone that it grew for: then counted.
  size_t skip = draw() % p->count;
  for (size_t i = 0; i < p->size();) {
    const Segment* s = p->at(i).segment();
    i += p->span(s);
    if (skip >= s->count) {
      skip -= s->count;
      continue;
    }
    for (size_t slot = 0;; slot++) {
      if (s->slots[slot] != 0 && skip-- == 0) return pointer(s->slots[slot]);
    }
  }
  return nullptr;
}

}  // namespace cairn

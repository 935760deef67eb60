// The memory index of one namespace: a hash table of entries, cut into kStripes parts by the top
// bits of the key's hash. Each part is guarded by the store's lock of that stripe.
//
// An entry is one allocation that holds the key, the version and the value; of a cold one the value
// is in the log alone (core/store/memory.h). The table holds 8 bytes per slot: 48 bits of pointer,
// whose lowest says that the entry is bare, and 16 bits of hash, in segments that grow by an eighth
// up to 256 to 512 slots, by stripe, and then split in two: no insert moves more than that.
//
// Order: every entry has a place in the order of its hash, which growth does not change. A SCAN
// cursor is such a place; entries that are there from its start to its end are seen exactly once.
//
// Threads: nothing here locks. Functions on a stripe need that stripe's lock.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/base/memory_count.h"
#include "core/base/types.h"
#include "core/index/collection.h"
#include "core/index/entry_heap.h"
#include "core/log/log_format.h"

namespace cairn {

inline constexpr unsigned kStripeBits = 12;
inline constexpr size_t kStripes = size_t{1} << kStripeBits;
inline constexpr size_t kKeyBytesMax = 65535;     // of a key in a namespace
inline constexpr uint32_t kSpilledBytesMin = 16;  // smaller values stay in memory

// On disk in the high nibble of a record's flags: never renumber.
enum class ValueType : uint8_t {
  kString = 0,
  kHash = 1,
  kList = 2,
  kSet = 3,
  kSortedSet = 4,
  kStream = 5,
};

using KeyHash = uint64_t;
KeyHash hash_key(std::string_view key, uint64_t seed);  // never 0
using KeyHasher = KeyHash (*)(std::string_view key, uint64_t seed);
inline size_t stripe_of(KeyHash hash) { return hash >> (64 - kStripeBits); }

// Layout: Entry, expiry (8, if any), version (8, if any), meta size (4, if any), sizes (8, if
// wide), key, meta, value. Wide is one whose key or value is longer than its fields can say:
// members and fields of collections may be (kv/types/member_table.h), keys are not. Packed, since a
// cold key may cost 24 bytes beyond its name: these 14, and 8 in a table that is 86 % full on
// average; 23.3 measured. One that the cleaner moved keeps its version as well, 8 more: what
// conditions and entity tags compare must not need a read.
struct [[gnu::packed]] Entry {
 private:
  uint64_t place_ : 56;  // the LSN in units of 8 bytes, which every record begins at
  uint8_t marks_;        // of this process alone: Marks, and in the upper half the heat

 public:
  uint32_t value_size : 24;  // kWide: what the sizes in front of the key say
  uint8_t flags;             // as in the record, and kExpiryApart
  uint16_t key_size;         // unless it is wide

  static constexpr uint32_t kWide = (uint32_t{1} << 24) - 1;
  static constexpr size_t kValueBytesMax = kWide - 1;  // of one that is not wide
  // In `flags`, and in those of a checkpoint's items, but never in a record's: the record at lsn()
  // has an expiry and the entry has none, or the other way round, since one of its own changed it
  // (RecordType::kExpiry). What the record takes is known by it. Of a collection in memory its
  // LogShare says the same.
  static constexpr uint8_t kExpiryApart = 8;
  Lsn lsn() const { return Lsn(uint64_t{place_} * 8); }  // where its record lies
  void set_lsn(Lsn lsn) {
    assert(lsn.value() % 8 == 0);
    place_ = lsn.value() / 8;
  }

  // Written under the stripe's lock, but a listing reads entries under the order's alone. What it
  // reads beside these does not change as long as an entry is in an order.
  enum Marks : uint8_t { kHasMeta = 1, kCold = 2, kFresh = 4, kWished = 8 };
  uint8_t marks() const { return __atomic_load_n(&marks_, __ATOMIC_RELAXED); }
  void set_marks(uint8_t marks) { __atomic_store_n(&marks_, marks, __ATOMIC_RELAXED); }
  static constexpr uint8_t kHeatUnit = 16, kHeatUsed = 3, kHeatMax = 15;

  bool has_meta() const { return marks() & kHasMeta; }
  bool is_cold() const { return marks() & kCold; }  // the value is in the log alone
  // Its writer wanted it durable: until it is, whatever rests on it waits. Of no matter afterwards.
  bool wished() const { return marks() & kWished; }
  void set_wished(bool wished) {
    set_marks(static_cast<uint8_t>(wished ? marks() | kWished : marks() & ~kWished));
  }
  // Nothing of it can leave memory, or too little to be worth a read. Constant for an entry.
  bool is_bare() const {
    return is_cold() || is_blob() || (is_string() && value_size < kSpilledBytesMin);
  }
  // How much the entry was used of late. The first use of a value that came back from disk is the
  // one that it came back for, and does not count.
  uint8_t heat() const { return marks() / kHeatUnit; }
  void touch() {
    if (marks() & kFresh) {
      set_marks(marks() & static_cast<uint8_t>(~kFresh));
    } else if (heat() < kHeatUsed) {
      set_marks(static_cast<uint8_t>(marks() + kHeatUnit));
    }
  }
  // The same where frequency counts: each step up takes twice as many uses as the one before.
  void touch_often(uint64_t random) {
    if (marks() & kFresh) {
      set_marks(marks() & static_cast<uint8_t>(~kFresh));
    } else if (heat() < kHeatMax && (random & ((uint64_t{1} << heat()) - 1)) == 0) {
      set_marks(static_cast<uint8_t>(marks() + kHeatUnit));
    }
  }
  void cool() { set_marks(static_cast<uint8_t>(marks() - kHeatUnit)); }

  bool is_blob() const { return flags & kRecordIsBlob; }
  bool has_expiry() const { return flags & kRecordHasExpiry; }
  bool expiry_apart() const { return flags & kExpiryApart; }
  // For a record that says what this entry is.
  uint8_t record_flags() const { return flags & static_cast<uint8_t>(~kExpiryApart); }
  ValueType type() const { return static_cast<ValueType>(flags >> 4); }
  bool is_string() const { return type() == ValueType::kString; }
  // The structure that the value is, if it is one and in memory; the entry owns it.
  Collection* collection() const {
    Collection* c = nullptr;
    if (!is_string() && !is_cold()) std::memcpy(&c, value().data(), kPointerBytes);
    return c;
  }
  Collection* detach();  // the caller owns it, and destroys the entry
  int64_t expire_ms() const {
    int64_t ms = 0;
    if (has_expiry()) std::memcpy(&ms, body(), 8);
    return ms;
  }
  // When it, or a part of what it holds, expires; INT64_MAX: never.
  int64_t due_ms() const {
    const int64_t due = has_expiry() ? expire_ms() : INT64_MAX;
    const Collection* c = collection();
    return c == nullptr ? due : std::min(due, c->next_due());
  }
  // Nothing is left of it: it expired, or all that it holds did.
  bool expired(int64_t now_ms) const {
    if (has_expiry() && expire_ms() <= now_ms) return true;
    const Collection* c = collection();
    return c != nullptr && c->gone_at() <= now_ms;
  }
  bool has_origin() const { return flags & kRecordHasOrigin; }
  // The LSN under which the value was written; the cleaner may have moved the record since.
  Lsn version() const {
    if (const Collection* c = collection()) return c->version_.load(std::memory_order_relaxed);
    if (!has_origin()) return lsn();
    Lsn v;  // the place is the cleaner's to change
    std::memcpy(&v, body() + (has_expiry() ? 8 : 0), 8);
    return v;
  }
  uint32_t meta_size() const {
    uint32_t n = 0;
    if (has_meta()) std::memcpy(&n, body() + (has_expiry() ? 8 : 0) + (has_origin() ? 8 : 0), 4);
    return n;
  }
  std::string_view key() const {
    if (is_wide()) [[unlikely]]
      return wide_key();
    return {body() + head_bytes(), key_size};
  }
  std::string_view meta() const { return {behind(key()), meta_size()}; }
  std::string_view value() const {
    assert(!is_cold());
    return {behind(meta()), value_bytes()};
  }
  size_t value_bytes() const { return is_wide() ? sizes().value : value_size; }
  size_t bytes() const {
    const Collection* c = collection();
    return entry_heap::allocated_bytes(own_bytes()) + (c == nullptr ? 0 : c->memory_bytes());
  }
  // To write the value anew; where it came from is left out.
  RecordView record(NamespaceId ns) const {
    auto f = static_cast<uint8_t>(record_flags() & ~kRecordHasOrigin);
    return {RecordType::kPut, f, ns, expire_ms(), key(), meta(), value()};
  }
  // Size of its record in the log.
  uint64_t record_bytes() const {
    return round_up(sizeof(RecordHeader) + (has_expiry() != expiry_apart() ? 8 : 0) +
                        (has_origin() ? 16 : 0) + key().size() + meta_size() + value_bytes(),
                    8);
  }

  // A new entry of a collection, with the key, meta and expiry of a record.
  static Entry* make(const RecordView& record, Lsn lsn, std::unique_ptr<Collection> collection);
  // A new entry with the contents of a put record of a string.
  static Entry* make(const RecordView& record, Lsn lsn);
  // The same without the value's bytes; record.value says how many there are.
  static Entry* make_cold(const RecordView& record, Lsn lsn);
  // A copy of this entry without its value.
  Entry* make_cold() const;
  // A copy of this cold entry with its value, fresh.
  Entry* make_hot(std::string_view value) const;
  Entry* make_hot(std::unique_ptr<Collection> collection) const;
  // The same entry, of the same record, with another expiry (0: none). A collection in memory is
  // that of both then, until one of them is detached.
  Entry* with_expiry(int64_t at_ms) const;
  // The same in place; it has an expiry, and is in no order.
  void set_expire_ms(int64_t at_ms) {
    assert(has_expiry() && at_ms != 0);
    std::memcpy(body(), &at_ms, 8);
  }
  // The same entry where its page is better used (core/index/entry_heap.h), or null if it lies well
  // or is no string or a blob; this one is to be destroyed.
  Entry* make_denser();
  // Whether its page had better become empty.
  bool lies_loosely() const { return entry_heap::is_loose(this, own_bytes()); }
  // Overwrites in place if the layout has the same size; false if it does not.
  bool assign(const RecordView& record, Lsn lsn);
  static void destroy(Entry* entry);

 private:
  size_t own_bytes() const {
    return sizeof(Entry) + head_bytes() + (is_wide() ? sizeof(Sizes) : 0) + key().size() +
           meta_size() + (is_cold() ? 0 : value_bytes());
  }
  struct Sizes {
    uint32_t key, value;
  };
  bool is_wide() const { return value_size == kWide; }
  static bool is_wide(const RecordView& record) {
    return record.key.size() > kKeyBytesMax || record.value.size() > kValueBytesMax;
  }
  Sizes sizes() const {  // of a wide one
    Sizes s;
    std::memcpy(&s, body() + head_bytes(), sizeof(s));
    return s;
  }
  std::string_view wide_key() const { return {body() + head_bytes() + sizeof(Sizes), sizes().key}; }
  static const char* behind(std::string_view s) { return s.data() + s.size(); }
  size_t head_bytes() const {
    return (has_expiry() ? 8 : 0) + (has_origin() ? 8 : 0) + (has_meta() ? 4 : 0);
  }
  const char* body() const { return reinterpret_cast<const char*>(this + 1); }
  char* body() { return reinterpret_cast<char*>(this + 1); }
  void fill(const RecordView& record, Lsn lsn, uint8_t mark);
  static Entry* make(const RecordView& record, Lsn lsn, uint8_t mark);
};
static_assert(sizeof(Entry) == 14);

class Namespace;

// What an index holds: how many keys, and how many bytes as quotas count them.
struct KeyCounts {
  std::atomic<uint64_t> keys{0};
  std::atomic<int64_t> bytes{0};
};

// Where an index tells others of its size, while it changes; both outlive it or are let go of.
struct IndexCounts {
  KeyCounts* held = nullptr;
  std::shared_ptr<MemoryCount> memory;
  // Whether the heads of its stripes are counted as memory. Those of the databases 0 to 15 are
  // not: they are at most 1.5 MB in all, part of what the process takes itself, and a limit that
  // they alone exceed would leave room for no key.
  bool heads = false;
  KeyHasher hasher = hash_key;
};

class Index {
 public:
  // `owner`: whose keys these are; the index does not look at it. `one_stripe`: all is in the
  // stripe 0.
  explicit Index(uint64_t hash_seed, Namespace* owner = nullptr, bool one_stripe = false,
                 IndexCounts counts = {})
      : owner(owner),
        hash_seed_(hash_seed),
        mask_(one_stripe ? UINT64_MAX >> kStripeBits : UINT64_MAX),
        counts_(std::move(counts)) {
    if (counts_.held == nullptr) counts_.held = &own_;
  }
  ~Index();
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  Namespace* owner;  // of a database another one after a swap, under the locks of all stripes
  std::atomic<bool> retired{false};  // its namespace goes on with another one
  // While a store loads, tables grow by half and not by an eighth, so that a key is moved twice on
  // its way in and not eight times; then each stripe is fitted to what it holds.
  std::atomic<bool> loading{false};

  KeyHash hash(std::string_view key) const { return counts_.hasher(key, hash_seed_) & mask_; }
  Entry* find(std::string_view key, KeyHash hash) const;
  // The key must not be there. The index owns the entry from now on.
  void insert(Entry* entry, KeyHash hash);
  // Puts `entry` where `old` with the same key was; the caller owns `old` again.
  void replace(Entry* old, Entry* entry, KeyHash hash);
  // The caller owns the entry again.
  void remove(Entry* entry, KeyHash hash);

  // So many keys will be inserted in a stripe: one that holds none gets the tables for them at
  // once, and need not grow to them step by step.
  void reserve(size_t stripe, uint32_t keys);
  // All of a stripe is there: tables that are much larger than that needs are made smaller.
  void fit(size_t stripe);
  // How many there are in a stripe, which needs its lock, and in all.
  uint32_t size(size_t stripe) const {
    const Part* p = part(stripe);
    return p == nullptr ? 0 : p->count;
  }
  uint64_t size() const { return counts_.held->keys.load(std::memory_order_relaxed); }
  // Of all its entries, as quotas count them: whoever changes an entry's says so.
  int64_t bytes() const { return counts_.held->bytes.load(std::memory_order_relaxed); }
  void add_bytes(int64_t bytes) { counts_.held->bytes.fetch_add(bytes, std::memory_order_relaxed); }
  // From now on it counts for itself, and the other count begins anew. Nobody changes it meanwhile.
  void keep_own_size() {
    own_.keys = counts_.held->keys.exchange(0);
    own_.bytes = counts_.held->bytes.exchange(0);
    counts_.held = &own_;
  }
  // Takes that back: it counts for all again, where `other` did, which is empty.
  void count_in_place_of(Index& other) {
    assert(other.size() == 0);
    std::swap(counts_.held, other.counts_.held);
    counts_.held->keys = own_.keys.load();
    counts_.held->bytes = own_.bytes.load();
    other.counts_.held = &other.own_;
  }
  // Each goes to the namespace of the other, and counts for that. Nobody changes them meanwhile.
  void trade_places(Index& other) {
    std::swap(owner, other.owner);
    counts_.held->keys = other.counts_.held->keys.exchange(size());
    counts_.held->bytes = other.counts_.held->bytes.exchange(bytes());
    std::swap(counts_.held, other.counts_.held);
  }
  uint64_t table_bytes() const { return table_bytes_.load(std::memory_order_relaxed); }
  // Stripes get their tables in blocks of so many. Whether that of this one ever held an entry: for
  // who goes through many small indexes. Needs no lock.
  static constexpr unsigned kBlockStripes = 64;
  bool touched(size_t stripe) const {
    return blocks_[stripe / kBlockStripes].load(std::memory_order_acquire) != nullptr;
  }

  // Calls fn(Entry*) for all entries of one stripe; fn may not change the table.
  template <class Fn>
  void for_each(size_t stripe, Fn fn) const {
    const Part* part = this->part(stripe);
    if (part == nullptr) return;
    for (size_t i = 0; i < part->size();) {
      const Segment* s = part->at(i).segment();
      for_each(s, fn);
      i += part->span(s);
    }
  }

  // Brings what find() of these keys will touch towards the processor, step by step for all of
  // them, so that their cache misses overlap; `insert` if they are likely not there and will be
  // inserted. Needs the locks of all their stripes.
  void prefetch(std::span<const KeyHash> hashes, bool insert = false) const;

  // Entries of one stripe in hash order, from `from` on: at least `count` if there are so many,
  // together with all that share the last one's place. Returns the place to go on from, or 0 if
  // the stripe has no more.
  KeyHash scan(size_t stripe, KeyHash from, size_t count, std::vector<Entry*>& out) const;
  // A walk over a stripe that others may change between its steps: each calls fn(Entry*) for a
  // stretch of the order, in no order, and returns the place where the next one begins, 0 after the
  // last. `from`: the stripe's first place, or what the step before returned. An entry that stays
  // is seen once. Unlike scan() it hashes and sorts nothing, but cannot begin anywhere.
  template <class Fn>
  KeyHash walk(size_t stripe, KeyHash from, Fn fn) const {
    const Part* p = part(stripe);
    if (p == nullptr || p->size() == 0) return 0;
    size_t i = directory_slot(from, p->depth);
    // Segments split, but are never joined: `from` is the first place of this one. Only a stripe
    // that became empty begins anew; all that is in it then was not seen yet.
    const Segment* s = p->at(i).segment();
    for_each(s, fn);
    i = (i & ~(p->span(s) - 1)) + p->span(s);
    if (i == p->size()) return 0;
    return KeyHash{stripe} << (64 - kStripeBits) | KeyHash{i} << (64 - kStripeBits - p->depth);
  }
  Entry* random(size_t stripe, uint64_t random) const;
  // Goes on from where the last sweep of this stripe ended, over so many slots, at most to its end
  // (`slots` says then how many are left);
  // fn(Entry*) may not change the table. Growth may make it skip entries or see some twice. True if
  // the end was reached. Without `bare` such entries are passed over untouched: where nine in ten
  // are cold, their cache misses were 45 % of the processor time of a store of reads.
  template <class Fn>
  bool sweep(size_t stripe, size_t& slots, bool bare, Fn fn) {
    auto* block = blocks_[stripe / kBlockStripes].load(std::memory_order_acquire);
    if (block == nullptr) return true;
    Part& part = (*block)[stripe % kBlockStripes];
    if (part.size() == 0) return true;
    size_t i = part.hand / kSegmentSlotsMax % part.size();
    i &= ~(part.span(part.at(i).segment()) - 1);
    uint32_t k = part.hand % kSegmentSlotsMax;
    std::array<Entry*, 32> found;  // on their way here
    while (slots > 0) {
      const Segment* s = part.at(i).segment();
      while (k < s->capacity && slots > 0) {
        size_t n = 0;
        for (; k < s->capacity && slots > 0 && n < found.size(); k++, slots--) {
          const uint64_t slot = s->slots[k];
          if (slot == 0 || (!bare && (slot & kBareBit) != 0)) continue;
          found[n++] = pointer(slot);
          __builtin_prefetch(found[n - 1]);
        }
        for (size_t j = 0; j < n; j++) fn(found[j]);
      }
      if (k < s->capacity) break;
      k = 0;
      i += part.span(s);
      if (i >= part.size()) {
        part.hand = 0;
        return true;
      }
    }
    part.hand = static_cast<uint32_t>(i * kSegmentSlotsMax + k);
    return false;
  }
  // Empties a stripe; fn(Entry*) gets each of its entries to own.
  template <class Fn>
  void take_all(size_t stripe, Fn fn) {
    for_each(stripe, fn);
    clear_stripe(stripe);
  }

 private:
  static constexpr uint32_t kSegmentSlotsMax = 512, kSegmentSlotsMin = 4;
  static constexpr size_t kCacheLine = 64;

  struct Segment {
    uint16_t capacity;
    uint16_t count;
    uint16_t depth;  // number of directory bits that all its entries share
    uint64_t slots[];
  };
  // A segment's address and, in the upper 16 bits, its capacity: a search need not read the head.
  class SegmentRef {
   public:
    SegmentRef() = default;
    explicit SegmentRef(Segment* s)
        : bits_(reinterpret_cast<uintptr_t>(s) | uint64_t{s->capacity} << 48) {}
    Segment* segment() const { return reinterpret_cast<Segment*>(bits_ & kPointerMask); }
    uint32_t capacity() const { return static_cast<uint32_t>(bits_ >> 48); }
    explicit operator bool() const { return bits_ != 0; }

   private:
    uint64_t bits_ = 0;
  };
  // Directory of 2^depth segments, by the next hash bits; the single one of depth 0 is kept here.
  struct Part {
    SegmentRef only;
    std::unique_ptr<SegmentRef[]> directory;
    uint8_t depth = 0;
    uint32_t hand = 0;   // of sweep(): directory slot and slot
    uint32_t count = 0;  // of entries
    size_t size() const { return depth == 0 && !only ? 0 : size_t{1} << depth; }
    const SegmentRef& at(size_t i) const { return depth == 0 ? only : directory[i]; }
    SegmentRef& at(size_t i) { return depth == 0 ? only : directory[i]; }
    // How many neighbours in the directory name this segment.
    size_t span(const Segment* s) const { return size_t{1} << (depth - s->depth); }
    // The segment that holds `slot` of the directory is now `ref`, wherever it is named.
    void set(size_t slot, SegmentRef ref);
  };
  using PartBlock = std::array<Part, kBlockStripes>;

  static constexpr uint64_t kPointerMask = 0xffff'ffff'ffffULL;
  static constexpr uint64_t kBareBit = 1;
  // The slot that a walk comes to a few steps after `k`: a hint what to fetch.
  static uint64_t ahead(const Segment* s, uint32_t k) {
    constexpr uint32_t kAhead = 8;
    return s->slots[std::min<uint32_t>(k + kAhead, s->capacity - 1u)];
  }
  static Entry* pointer(uint64_t slot) {
    return reinterpret_cast<Entry*>(slot & kPointerMask & ~kBareBit);
  }
  static uint64_t slot_of(const Entry* entry, KeyHash hash) {
    return reinterpret_cast<uintptr_t>(entry) | (entry->is_bare() ? kBareBit : 0) |
           (uint64_t{tag_of(hash)} << 48);
  }
  static uint16_t tag(uint64_t slot) { return static_cast<uint16_t>(slot >> 48); }
  static uint16_t tag_of(KeyHash hash) { return static_cast<uint16_t>(hash); }
  static uint32_t home(uint16_t tag, uint32_t capacity) { return (uint32_t{tag} * capacity) >> 16; }
  static size_t directory_slot(KeyHash hash, unsigned depth) {
    return depth == 0 ? 0 : (hash << kStripeBits) >> (64 - depth);
  }

  const Part* part(size_t stripe) const {
    auto* block = blocks_[stripe / kBlockStripes].load(std::memory_order_acquire);
    return block == nullptr ? nullptr : &(*block)[stripe % kBlockStripes];
  }
  template <class Fn>
  static void for_each(const Segment* s, Fn& fn) {
    for (uint32_t k = 0; k < s->capacity; k++) {
      __builtin_prefetch(pointer(ahead(s, k)));
      if (s->slots[k] != 0) fn(pointer(s->slots[k]));
    }
  }
  Part& make_part(size_t stripe);
  static uint32_t slots_max(size_t stripe);  // of its segments
  static uint32_t slots_for(uint32_t keys) { return keys + keys / 8 + kSegmentSlotsMin; }
  void count(size_t stripe, int64_t bytes);
  Segment* make_segment(size_t stripe, uint32_t capacity, unsigned depth);
  void free_segment(size_t stripe, Segment* segment);
  static void place(Segment* segment, uint64_t slot);
  Segment* resize(size_t stripe, Segment* segment, uint32_t capacity);
  void grow(Part& part, KeyHash hash);
  void clear_stripe(size_t stripe);  // the entries are not freed
  static uint64_t* find_slot(const Part& part, std::string_view key, KeyHash hash);

  const uint64_t hash_seed_;
  const KeyHash mask_;
  std::array<std::atomic<PartBlock*>, kStripes / kBlockStripes> blocks_{};
  KeyCounts own_;
  IndexCounts counts_;
  std::atomic<uint64_t> table_bytes_{0};
};

}  // namespace cairn

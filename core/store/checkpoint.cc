#include "core/store/checkpoint.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/checksum.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/log/foreign.h"
#include "core/store/keyspace.h"

namespace cairn {

namespace {

constexpr uint64_t kChunkFull = 1 << 20;
constexpr uint32_t kStripeMin = 16;       // keys, that it is worth saying how many there are
constexpr uint32_t kValueBytesMax = 512;  // a longer one costs a read when it is wanted
constexpr int64_t kLookMs = 200;

void put(std::string& out, const void* from, size_t n) {
  out.append(static_cast<const char*>(from), n);
}

bool has_value(ItemKind kind) { return kind != ItemKind::kCold && kind != ItemKind::kStripe; }

void encode(std::string& out, const CheckpointItem& item) {
  const RecordView& r = item.record;
  const ItemHeader h{item.lsn.value(),
                     r.ns.value(),
                     static_cast<uint32_t>(has_value(item.kind) ? r.value.size() : item.value_size),
                     static_cast<uint32_t>(r.meta.size()),
                     static_cast<uint16_t>(r.key.size()),
                     r.flags,
                     item.kind};
  put(out, &h, sizeof(h));
  if (r.has_expiry()) put(out, &r.expire_ms, 8);
  if (r.has_origin()) put(out, &r.version, 8);
  if (item.kind == ItemKind::kCollection || item.kind == ItemKind::kPart) {
    const uint32_t sizes[2] = {item.image_size, static_cast<uint32_t>(item.charges.size())};
    put(out, &item.oldest, 8);
    put(out, sizes, 8);
    for (auto& [lsn, bytes] : item.charges) {
      put(out, &lsn, 8);
      put(out, &bytes, 8);
    }
  }
  out.append(r.key);
  out.append(r.meta);
  out.append(r.value);
}

// Takes one item off the front; false if it does not fit.
bool decode(std::string_view& in, CheckpointItem& item) {
  ItemHeader h;
  auto take = [&](void* to, size_t n) {
    if (in.size() < n) return false;
    std::memcpy(to, in.data(), n);
    in.remove_prefix(n);
    return true;
  };
  if (!take(&h, sizeof(h))) return false;
  RecordView& r = item.record;
  item.kind = h.kind;
  item.lsn = Lsn(h.lsn);
  item.value_size = h.value_size;
  item.charges.clear();
  r.flags = h.flags;
  r.ns = NamespaceId(h.ns);
  if (r.has_expiry() && !take(&r.expire_ms, 8)) return false;
  if (r.has_origin() && !take(&r.version, 8)) return false;
  if (item.kind == ItemKind::kCollection || item.kind == ItemKind::kPart) {
    uint32_t sizes[2];
    if (!take(&item.oldest, 8) || !take(sizes, 8)) return false;
    item.image_size = sizes[0];
    if (uint64_t{sizes[1]} * 16 > in.size()) return false;
    for (uint32_t i = 0; i < sizes[1]; i++) {
      Lsn lsn;
      uint64_t bytes = 0;
      take(&lsn, 8);
      take(&bytes, 8);
      item.charges.emplace_back(lsn, bytes);
    }
  }
  const uint64_t value = has_value(h.kind) ? h.value_size : 0;
  if (uint64_t{h.key_size} + h.meta_size + value > in.size()) return false;
  r.key = in.substr(0, h.key_size);
  r.meta = in.substr(h.key_size, h.meta_size);
  r.value = in.substr(h.key_size + h.meta_size, value);
  in.remove_prefix(h.key_size + h.meta_size + value);
  return true;
}

}  // namespace

// A checkpoint being written.
struct Checkpointer::File {
  Volume& volume;
  Log& log;
  const uint64_t store;
  const FileId id;
  uint64_t at = 0;
  std::string payload;
  uint32_t payload_items = 0;
  std::vector<uint64_t> offsets;
  uint64_t items = 0;
  AlignedBuffer buffer;

  void add(const CheckpointItem& item) {
    encode(payload, item);
    payload_items++;
    items += item.kind != ItemKind::kStripe;
  }
  // Writes what was added as a chunk, once there is enough for one or if it is the `last`.
  awaitable<Status> flush(bool last = false);
};

// ---- reading ----

namespace {

uint64_t footer_offset(uint64_t file_bytes) {
  return file_bytes / kBlockBytes * kBlockBytes - kBlockBytes;
}

bool is_footer_of(const CheckpointFooter& f, uint64_t store, FileId file, uint64_t offset) {
  return f.magic == kFooterMagic && f.store == store &&
         header_intact(f, store, file.number, offset);
}

// Half of a checkpoint is nothing, whoever wrote it: it begins with a chunk, and has no footer.
awaitable<bool> is_foreign_checkpoint(Volume& volume, FileInfo file, uint64_t store) {
  if (!file.is_regular || file.id.number == UINT64_MAX) co_return true;
  if (file.size_bytes == 0) co_return false;
  if (file.size_bytes < kBlockBytes) co_return true;
  const uint64_t last = footer_offset(file.size_bytes);
  AlignedBuffer block(kBlockBytes);
  uint32_t magic = 0;
  auto n = co_await volume.read(file.id, 0, block.span(0, kBlockBytes));
  if (!n.ok() || *n < kBlockBytes) co_return true;
  std::memcpy(&magic, block.data(), sizeof(magic));
  const bool begins = magic == kChunkMagic || is_blank({block.data(), kBlockBytes});
  if (!begins && (magic != kFooterMagic || last > 0)) co_return true;
  n = co_await volume.read(file.id, last, block.span(0, kBlockBytes));
  if (!n.ok() || *n < kBlockBytes) co_return true;
  CheckpointFooter footer;
  std::memcpy(&footer, block.data(), sizeof(footer));
  co_return footer.magic == kFooterMagic && !is_footer_of(footer, store, file.id, last);
}

}  // namespace

awaitable<StatusOr<std::optional<FoundCheckpoint>>> find_checkpoint(Volume& volume, uint64_t store,
                                                                    std::vector<FileId>& others,
                                                                    std::vector<FileId>& foreign) {
  auto files = co_await volume.list();
  if (!files.ok()) co_return files.status();
  std::vector<FileInfo> found;
  for (const FileInfo& f : *files) {
    if (f.id.kind == FileKind::kCheckpoint) found.push_back(f);
  }
  std::sort(found.begin(), found.end(), [](auto& a, auto& b) { return a.id > b.id; });
  std::optional<FoundCheckpoint> newest;
  for (const FileInfo& f : found) {
    const bool is_none = co_await is_foreign_checkpoint(volume, f, store);
    (is_none ? foreign : others).push_back(f.id);
    if (is_none || newest || f.size_bytes < kBlockBytes) continue;
    const uint64_t footer_at = footer_offset(f.size_bytes);
    AlignedBuffer block(kBlockBytes);
    auto n = co_await volume.read(f.id, footer_at, block.span(0, kBlockBytes));
    if (!n.ok() || *n < kBlockBytes) continue;
    FoundCheckpoint c;
    c.file = f.id;
    std::memcpy(&c.footer, block.data(), sizeof(c.footer));
    if (!is_footer_of(c.footer, store, f.id, footer_at)) continue;
    if (c.footer.version < kCheckpointOldest || c.footer.version > kCheckpointVersion) {
      co_return absl::FailedPreconditionError(
          cat(to_string(f.id), " has format version ", c.footer.version,
              "; this program reads versions ", kCheckpointOldest, " to ", kCheckpointVersion));
    }
    const uint64_t index_bytes = footer_at - std::min(footer_at, c.footer.index_offset);
    if (c.footer.index_offset % kBlockBytes != 0 || c.footer.chunks > index_bytes / 8) continue;
    AlignedBuffer index(std::max(index_bytes, kBlockBytes));
    if (index_bytes > 0) {  // a store without anything in it has none
      n = co_await volume.read(f.id, c.footer.index_offset, index.span(0, index_bytes));
      if (!n.ok() || *n < index_bytes) continue;
    }
    const Bytes used{index.data(), c.footer.chunks * 8};
    if (crc32c(place_seed(store, f.id.number, c.footer.index_offset), used) != c.footer.index_crc) {
      continue;
    }
    c.offsets.resize(c.footer.chunks);
    if (!used.empty()) std::memcpy(c.offsets.data(), used.data(), used.size());
    c.offsets.push_back(c.footer.index_offset);
    if (!std::is_sorted(c.offsets.begin(), c.offsets.end())) continue;
    newest = std::move(c);
    others.pop_back();
  }
  co_return newest;
}

awaitable<Status> read_chunk(Volume& volume, const FoundCheckpoint& from, size_t i,
                             const std::function<void(const CheckpointItem&)>& fn) {
  const uint64_t at = from.offsets[i], bytes = from.offsets[i + 1] - at;
  const auto damage = [&] {
    return absl::DataLossError(cat(to_string(from.file), " is damaged at offset ", at));
  };
  if (bytes < kBlockBytes || bytes % kBlockBytes != 0 || bytes > UINT32_MAX) co_return damage();
  AlignedBuffer buffer(bytes);
  auto n = co_await volume.read(from.file, at, buffer.span(0, bytes));
  if (!n.ok()) co_return n.status();
  ChunkHeader h;
  std::memcpy(&h, buffer.data(), sizeof(h));
  if (*n < bytes || h.magic != kChunkMagic || h.payload_bytes > bytes - sizeof(h)) {
    co_return damage();
  }
  const uint32_t seed = place_seed(from.footer.store, from.file.number, at);
  const Bytes covered{buffer.data() + 8, sizeof(h) - 8 + h.payload_bytes};
  if (crc32c(seed, covered) != h.crc) co_return damage();
  std::string_view rest = as_text({buffer.data() + sizeof(h), h.payload_bytes});
  CheckpointItem item;
  for (uint32_t k = 0; k < h.items; k++) {
    if (!decode(rest, item)) co_return damage();
    if (item.kind == ItemKind::kStripe) {  // no more than the file has room for
      item.value_size = std::min(item.value_size, from.footer.index_offset / sizeof(ItemHeader));
    }
    fn(item);
  }
  co_return absl::OkStatus();
}

// ---- writing ----

bool Checkpointer::wanted() const {
  constexpr uint64_t kSegmentsMin = 4;
  const Log& log = keyspace_.log();
  if (!log.status().ok() || log.full()) return false;
  // What the newest began with was cleaned away: it no longer counts.
  const auto sealed = log.oldest_sealed();
  const SegmentId oldest = sealed ? sealed->first : log.open_segment();
  if (begin_.valid() && oldest.valid() && oldest.value() * log.segment_bytes() > begin_.value()) {
    return true;
  }
  const uint64_t grown = log.tail().value() - std::min(log.tail().value(), begin_.value());
  const uint64_t segments = std::max<uint64_t>(kSegmentsMin, log.sealed_segments() / 2);
  return grown >= segments * log.segment_bytes();
}

awaitable<void> Checkpointer::run() {
  while (!keyspace_.stopping_) {
    co_await keyspace_.rest(kLookMs);
    // The room is needed more elsewhere; also that of one which was cut off by a crash.
    if (keyspace_.log().full() && (begin_.valid() || !old_.empty())) {
      begin_ = Lsn();
      keyspace_.manifest_.change([](ManifestState& m) { m.checkpoint = UINT64_MAX; });
      Status struck = co_await keyspace_.manifest_.save();
      if (struck.ok()) (void)co_await remove_old();
    }
    const bool asked = asked_.load(std::memory_order_relaxed);
    const Status log = keyspace_.log().status();
    const bool can = log.ok() && !keyspace_.log().full();
    Status written = can ? absl::OkStatus() : absl::UnavailableError("no room, or no log");
    const bool writes = asked ? can : wanted();
    if (writes) written = co_await write();
    if (asked) {
      failed_.store(!written.ok(), std::memory_order_relaxed);
      asked_.store(false, std::memory_order_relaxed);
    }
    if (writes && !written.ok()) co_await keyspace_.rest(10 * kLookMs);
  }
}

awaitable<Status> Checkpointer::remove_old() {
  auto old = std::move(old_);
  old_.clear();
  Status status;
  for (FileId id : old) {
    Status removed = co_await volume_.remove(id);
    if (!removed.ok() && !absl::IsNotFound(removed)) status = removed;
  }
  // A crash may bring back what is not durably gone, and with it what it takes of a full volume.
  if (status.ok() && !old.empty()) status = co_await volume_.sync_directory();
  co_return status;
}

awaitable<Status> Checkpointer::File::flush(bool last) {
  if (payload_items == 0 || (payload.size() < kChunkFull && !last)) co_return absl::OkStatus();
  const uint64_t bytes = round_up(sizeof(ChunkHeader) + payload.size(), kBlockBytes);
  if (buffer.size() < bytes) buffer = AlignedBuffer(bytes);
  ChunkHeader h{kChunkMagic, 0, payload_items, static_cast<uint32_t>(payload.size())};
  std::memset(buffer.data() + bytes - kBlockBytes, 0, kBlockBytes);
  std::memcpy(buffer.data(), &h, sizeof(h));
  std::memcpy(buffer.data() + sizeof(h), payload.data(), payload.size());
  h.crc =
      crc32c(place_seed(store, id.number, at), {buffer.data() + 8, sizeof(h) - 8 + payload.size()});
  std::memcpy(buffer.data(), &h, sizeof(h));
  log.note_taken(bytes);
  Status wrote = co_await volume.write(id, at, {buffer.data(), bytes}, WriteMode::kPlain);
  if (!wrote.ok()) co_return wrote;
  offsets.push_back(at);
  at += bytes;
  payload.clear();
  payload_items = 0;
  co_return absl::OkStatus();
}

awaitable<Status> Checkpointer::write() {
  Log& log = keyspace_.log();
  File file{volume_, log, keyspace_.store_id(), {FileKind::kCheckpoint, number_++}};
  Lsn begin = log.replay_start();
  keyspace_.wait_for_locks();  // what lies before is in the index by then
  Status status = co_await volume_.create(file.id, 0);
  if (!status.ok()) co_return status;
  status = co_await fill(file);
  if (planted(Bug::kCheckpointBeginsLate)) begin = log.replay_start();
  const Lsn end = log.tail();
  if (status.ok() && !planted(Bug::kCheckpointTrustsTail)) {  // invariant 1
    status = co_await log.wait_durable(Lsn(end.value() - 1));
  }
  CheckpointFooter footer{};
  if (status.ok()) {
    const uint64_t used = file.offsets.size() * 8, bytes = round_up(used, kBlockBytes);
    footer.magic = kFooterMagic;
    footer.version = kCheckpointVersion;
    footer.store = file.store;
    footer.begin = begin.value();
    footer.end = end.value();
    footer.chunks = file.offsets.size();
    footer.index_offset = file.at;
    footer.items = file.items;
    footer.hash_seed = keyspace_.hash_seed_;
    footer.next_namespace = keyspace_.next_namespace();
    file.buffer = AlignedBuffer(std::max(bytes, kBlockBytes));
    std::memset(file.buffer.data(), 0, file.buffer.size());
    if (used > 0) std::memcpy(file.buffer.data(), file.offsets.data(), used);
    footer.index_crc =
        crc32c(place_seed(footer.store, file.id.number, file.at), {file.buffer.data(), used});
    status =
        co_await volume_.write(file.id, file.at, {file.buffer.data(), bytes}, WriteMode::kPlain);
    file.at += bytes;
  }
  if (status.ok()) status = co_await volume_.sync(file.id);
  if (status.ok()) {
    seal_header(footer, footer.store, file.id.number, file.at);
    std::memset(file.buffer.data(), 0, kBlockBytes);
    std::memcpy(file.buffer.data(), &footer, sizeof(footer));
    status = co_await volume_.write(file.id, file.at, {file.buffer.data(), kBlockBytes},
                                    WriteMode::kPlain);
  }
  if (status.ok()) status = co_await volume_.sync(file.id);
  if (status.ok()) status = co_await volume_.sync_directory();
  if (!status.ok()) {
    (void)co_await volume_.remove(file.id);
    co_return status;
  }
  keyspace_.manifest_.note_proven(log.durable());
  keyspace_.manifest_.change([&](ManifestState& m) { m.checkpoint = file.id.number; });
  Status named = co_await keyspace_.manifest_.save();  // before the ones that it names are removed
  if (!named.ok()) co_return named;
  begin_ = begin;
  written_++;
  (void)co_await remove_old();  // what is left of them is found at the next start
  old_.push_back(file.id);
  co_return absl::OkStatus();
}

awaitable<Status> Checkpointer::fill(File& file) {
  std::vector<NamespacePtr> spaces = keyspace_.spaces();
  for (auto& ns : spaces) {
    const auto [lsn, properties] = keyspace_.name_of(*ns);
    if (!lsn.valid() || planted(Bug::kCheckpointWithoutNames)) continue;
    const std::string value = properties->encode();
    CheckpointItem item;
    item.kind = ItemKind::kNamespace;
    item.lsn = lsn;
    item.record.ns = ns->id;
    item.record.key = ns->name;
    item.record.value = value;
    file.add(item);
  }
  for (auto& [lsn, ms] : keyspace_.log().times()) {
    CheckpointItem item;
    item.kind = ItemKind::kTime;
    item.lsn = Lsn(lsn);
    item.record.flags = kRecordHasExpiry;
    item.record.expire_ms = ms;
    file.add(item);
  }
  auto executor = co_await asio::this_coro::executor;
  (void)co_await keyspace_.busy().until_idle(KeyHash{0}, Busy::Patience::kEndless);
  {
    StripeLocks lock(keyspace_, KeyHash{0});
    const std::string holdings = keyspace_.holdings().encode();
    CheckpointItem item;
    item.kind = ItemKind::kSwap;
    item.lsn = keyspace_.swap_record_;
    item.record.value = holdings;
    if (item.lsn.valid() && !planted(Bug::kSwapForgotten)) file.add(item);
  }
  // Whether a stripe holds anything is asked under its lock: what a transaction under way has taken
  // out of it may come back. What it gets after it was looked at is in the log's tail.
  const auto touched = [this](Namespace& space, size_t stripe) {
    StripeLocks lock(keyspace_, KeyHash{stripe} << (64 - kStripeBits));  // the index stays
    return keyspace_.holder_of(space).index->touched(stripe);
  };
  for (size_t block = 0; block < kStripes; block += Index::kBlockStripes) {
    for (auto& ns : spaces) {
      if (keyspace_.busy().any()) {
        (void)co_await keyspace_.busy().until_idle(KeyHash{block} << (64 - kStripeBits),
                                                   Busy::Patience::kEndless);
      }
      if (is_versions(ns->id) && planted(Bug::kVersionsNotSaved)) continue;
      if (!touched(*ns, block)) continue;  // of 10,000 small buckets, nearly none is
      for (size_t stripe = block; stripe < block + Index::kBlockStripes; stripe++) {
        Status filled = co_await fill_stripe(file, *ns, stripe);
        if (!filled.ok()) co_return filled;
      }
      co_await asio::post(executor, asio::use_awaitable);
    }
    co_await asio::post(executor, asio::use_awaitable);
  }
  // They are not met under their names, which change: one could be missed under the old one and
  // under the new one, and then the log's tail has a rename and nothing else of it.
  std::vector<uint64_t> identities;
  if (!planted(Bug::kIdentitiesForgotten)) identities = keyspace_.identities_->all();
  for (uint64_t id : identities) {
    if (planted(Bug::kUnnamedForgotten) &&
        keyspace_.identities_->name_of(id)->first == kIdentities) {
      continue;
    }
    Status filled = co_await fill_parts(file, id, {}, {});
    if (!filled.ok()) co_return filled;
  }
  co_return co_await file.flush(true);
}

void Checkpointer::describe(const Collection& c, CheckpointItem& item) {
  item.oldest = c.share_.oldest();
  item.image_size = c.share_.image_size();
  item.charges.clear();
  for (size_t i = 0; i < c.share_.charge_count(); i++) item.charges.push_back(c.share_.charge(i));
  if (c.share_.expires() != item.record.has_expiry()) item.record.flags |= Entry::kExpiryApart;
}

awaitable<Status> Checkpointer::fill_stripe(File& file, Namespace& space, size_t stripe) {
  const KeyHash base = KeyHash{stripe} << (64 - kStripeBits);
  std::vector<std::string> large;
  auto executor = co_await asio::this_coro::executor;
  for (KeyHash from = base;;) {
    (void)co_await keyspace_.busy().until_idle(base, Busy::Patience::kEndless);
    {
      StripeLocks lock(keyspace_, base);
      Namespace& ns = planted(Bug::kCheckpointByNumber) ? space : keyspace_.holder_of(space);
      auto add = [&](const Entry* e) {
        CheckpointItem item;
        const Collection* c = e->collection();
        if (c != nullptr && c->identity() != nullptr) return;
        if (c != nullptr && c->image_bytes() > keyspace_.part_bytes()) {
          large.emplace_back(e->key());
          return;
        }
        item.lsn = e->lsn();
        item.record = {RecordType::kPut, e->flags,  ns.stored(), e->expire_ms(),
                       e->key(),         e->meta(), {}};
        item.record.version = e->version();
        std::string image;
        if (c != nullptr) {
          describe(*c, item);
          item.record.flags |= kRecordHasOrigin;
          image = c->image();
          item.record.value = image;
          item.kind = ItemKind::kCollection;
        } else if (e->is_cold() || (!e->is_blob() && e->value_bytes() > kValueBytesMax)) {
          item.kind = ItemKind::kCold;
          item.value_size = e->value_bytes();
        } else {
          item.record.value = e->value();
        }
        file.add(item);
      };
      if (const uint32_t keys = ns.index->size(stripe); from == base && keys >= kStripeMin) {
        CheckpointItem item;
        item.kind = ItemKind::kStripe;
        item.lsn = Lsn(stripe);
        item.record.ns = ns.stored();
        item.value_size = keys;
        file.add(item);
      }
      from = ns.dropped ? 0 : ns.index->walk(stripe, from, add);
    }
    Status wrote = co_await file.flush();
    if (!wrote.ok()) co_return wrote;
    if (from == 0) break;
    co_await asio::post(executor, asio::use_awaitable);
  }
  for (auto& key : large) {
    Status filled = co_await fill_parts(file, 0, space.id, key);
    if (!filled.ok()) co_return filled;
  }
  co_return absl::OkStatus();
}

awaitable<Status> Checkpointer::fill_parts(File& file, uint64_t identity, NamespaceId stored,
                                           std::string key) {
  Keyspace::Known which{identity, stored, std::move(key)};
  auto executor = co_await asio::this_coro::executor;
  uint64_t cursor = 0;
  const Collection* same = nullptr;
  for (;;) {
    if (!keyspace_.look_up(which)) co_return absl::OkStatus();
    const KeyHash hash = which.ns->hash(which.key);
    (void)co_await keyspace_.busy().until_idle(hash, Busy::Patience::kEndless);
    {
      StripeLocks lock(keyspace_, hash);
      Entry* e = Keyspace::entry_of(which, hash);
      if (e == nullptr) {
        Keyspace::Known now = which;
        if (keyspace_.look_up(now) && now != which) continue;  // renamed just now, or swapped
      }
      const Collection* c = e == nullptr ? nullptr : e->collection();
      // Deleted, or another one by now: the log says so, and what it is.
      if (c == nullptr || (same != nullptr && c != same)) co_return absl::OkStatus();
      same = c;
      std::string operation;
      cursor = c->save(cursor, keyspace_.part_bytes(), operation);
      CheckpointItem item;
      item.kind = ItemKind::kPart;
      item.lsn = e->lsn();
      item.record = {
          RecordType::kOperation, e->flags, which.stored, e->expire_ms(), e->key(), {}, operation};
      item.record.flags |= kRecordHasOrigin;
      item.record.version = e->version();
      Keyspace::set_subject(*c, item.record);
      describe(*c, item);
      file.add(item);
      if (cursor == 0 && identity != 0 && which.stored != kIdentities) add_name(file, *which.ns, e);
    }
    Status wrote = co_await file.flush();
    if (!wrote.ok()) co_return wrote;
    co_await asio::post(executor, asio::use_awaitable);
    if (cursor == 0) co_return absl::OkStatus();
  }
}

void Checkpointer::add_name(File& file, const Namespace& ns, const Entry* e) {
  const Identity& identity = *e->collection()->identity();
  const std::string name = NameRecord{identity.id(), identity.from, identity.to, {}}.encode();
  CheckpointItem item;
  item.kind = ItemKind::kName;
  item.lsn = e->lsn();
  item.record = {RecordType::kName, e->flags, ns.stored(), e->expire_ms(), e->key(), {}, name};
  item.record.flags |= kRecordHasOrigin;
  item.record.version = e->version();
  describe(*e->collection(), item);  // what its newest record says of the expiry
  file.add(item);
}

}  // namespace cairn

#include "core/extents/extents.h"

#include <algorithm>
#include <cassert>

#include "core/base/alarms.h"
#include "core/base/async.h"
#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/log/log_format.h"

namespace cairn {

namespace {
constexpr uint32_t kExtentMagic = 0x58454e43;  // "CNEX"
constexpr uint32_t kExtentVersion = 1;
constexpr uint64_t kPagesPerBlock = kExtentBlockBytes / kBlockBytes;

FileId file_id(uint32_t number) { return {FileKind::kExtents, number}; }
uint64_t data_offset(ExtentStore::Place place, uint64_t data) {
  return (uint64_t{place.page} + 1) * kBlockBytes + data;
}

Status damage(std::string_view what, uint32_t file, uint64_t offset) {
  return absl::DataLossError(cat(what, " in ", to_string(file_id(file)), " at offset ", offset));
}

// The header that was read from `place`; FailedPrecondition if a later program wrote it.
StatusOr<ExtentHeader> decode_header(Bytes page, uint64_t store, ExtentStore::Place place) {
  const uint64_t offset = uint64_t{place.page} * kBlockBytes;
  ExtentHeader h;
  if (page.size() < sizeof(h)) return damage("a missing extent", place.file, offset);
  std::memcpy(&h, page.data(), sizeof(h));
  if (h.magic != kExtentMagic || !header_intact(h, store, place.file, offset)) {
    return damage("a damaged extent header", place.file, offset);
  }
  if (h.version > kExtentVersion) {
    return absl::FailedPreconditionError(cat(to_string(file_id(place.file)), " has format version ",
                                             h.version, "; this program knows versions up to ",
                                             kExtentVersion));
  }
  if (h.data_bytes > kExtentDataMax) {
    return damage("a damaged extent header", place.file, offset);
  }
  return h;
}

// The operator learns of what a client will be told.
void tell(const Report& report, const Status& failed) {
  if (!report) return;
  if (absl::IsDataLoss(failed)) {
    report(Severity::kWarning, alarm::kDamage, cat("a value cannot be read: ", failed.message()));
  }
  if (is_disk_full(failed)) {
    report(Severity::kWarning, alarm::kRefused,
           cat("a large value is refused: ", failed.message()));
  }
}
}  // namespace

// ---- the store of extents ----

ExtentStore::ExtentStore(Volume& volume, Clock& clock, ChunkPool& pool, Manifest& manifest,
                         Executor executor, Report report)
    : volume_(volume),
      clock_(clock),
      pool_(pool),
      manifest_(manifest),
      executor_(std::move(executor)),
      report_(std::move(report)) {}

void ExtentStore::adopt(const BlobRef& blob) {
  MutexLock lock(mutex_);
  for (const Piece& p : blob.pieces) {
    if (p.is_hole()) continue;
    auto [it, fresh] = extents_.try_emplace(Place{p.file, p.header_page});
    if (fresh) files_[p.file].extents++;
    // Whole blocks: the checksum of the last one covers bytes that the piece may leave out.
    const uint64_t blocks =
        p.first_block +
        (planted(Bug::kExtentCutShort) ? p.length : round_up(p.length, kExtentBlockBytes)) /
            kExtentBlockBytes;
    if (fresh || !planted(Bug::kSharedCountedOnce)) it->second.refs++;
    it->second.pages =
        std::max(it->second.pages, static_cast<uint32_t>(1 + blocks * kPagesPerBlock));
  }
}

// Nothing depends on space that was to be given back.
void ExtentStore::note_kept(FileId file, const Status& freed) {
  if (freed.ok() || !report_) return;
  report_(Severity::kWarning, "extents",
          cat("space of ", to_string(file), " is not given back: ", freed.message()));
}

awaitable<Status> ExtentStore::start(uint64_t store, uint64_t file_bytes_max, bool keep) {
  store_ = store;
  file_bytes_max_ = file_bytes_max;
  auto files = co_await volume_.list();
  if (!files.ok()) co_return files.status();
  std::map<Place, uint32_t> live;
  {
    MutexLock lock(mutex_);
    for (auto& [place, extent] : extents_) live.emplace(place, extent.pages);
    for (auto it = live.begin(); it != live.end(); ++it) {  // no extent reaches into the next one
      auto next = std::next(it);
      if (next != live.end() && next->first.file == it->first.file) {
        it->second = std::min(it->second, next->first.page - it->first.page);
      }
      extents_.at(it->first).pages = it->second;
      files_.at(it->first.file).pages += it->second;
    }
  }
  // A number that was used once is never used again: what refers to a lost file must not find
  // another one in its place.
  uint32_t newest = manifest_.state().next_extent_file - 1;
  if (!live.empty()) newest = std::max(newest, live.rbegin()->first.file);
  for (const FileInfo& f : *files) {
    if (f.id.kind != FileKind::kExtents) continue;
    auto number = static_cast<uint32_t>(f.id.number);
    newest = std::max(newest, number);
    if (keep) continue;
    auto it = live.lower_bound(Place{number, 0});
    if (it == live.end() || it->first.file != number) {
      note_kept(f.id, co_await volume_.remove(f.id));
      continue;
    }
    uint64_t at = 0;  // everything between live extents is left over from before a crash
    for (; it != live.end() && it->first.file == number; ++it) {
      uint64_t begin = it->first.page * kBlockBytes;
      if (begin > at) {
        note_kept(f.id, co_await volume_.punch(f.id, at, begin - at));
      }
      at = std::max(at, begin + it->second * kBlockBytes);
    }
    if (f.size_bytes > at) {
      note_kept(f.id, co_await volume_.punch(f.id, at, round_up(f.size_bytes - at, kBlockBytes)));
    }
  }
  MutexLock lock(mutex_);
  for (auto& entry : files_) {
    const uint32_t number = entry.first;
    entry.second.sealed = true;
    bool there = std::any_of(files->begin(), files->end(),
                             [&](const FileInfo& f) { return f.id == file_id(number); });
    if (there) continue;
    entry.second.missing = true;
    missing_.push_back(number);
  }
  current_ = newest_ = newest;  // never appended to: the first allocation opens the next one
  current_pages_ = file_bytes_max_ / kBlockBytes;
  co_return absl::OkStatus();
}

uint64_t ExtentStore::extent_data_max() const {
  uint64_t room = (file_bytes_max_ - kBlockBytes) / kExtentBlockBytes * kExtentBlockBytes;
  return std::min(room, kExtentDataMax);
}

awaitable<void> ExtentStore::close() { co_await freeing_tasks_.ended(); }

awaitable<StatusOr<ExtentStore::Place>> ExtentStore::allocate(uint64_t data_bytes) {
  const uint64_t pages = 1 + round_up(data_bytes, kBlockBytes) / kBlockBytes;
  co_await wait_for_frees(pages * kBlockBytes);
  for (;;) {
    uint32_t open_number = 0;
    {
      MutexLock lock(mutex_);
      if (current_pages_ + pages <= file_bytes_max_ / kBlockBytes) {
        Place place{current_, static_cast<uint32_t>(current_pages_)};
        current_pages_ += pages;
        extents_[place] = {1, static_cast<uint32_t>(pages)};
        files_[current_].extents++;
        files_[current_].pages += pages;
        co_return place;
      }
      if (!opening_) {
        opening_ = true;
        open_number = ++newest_;
      }
    }
    if (open_number == 0) {
      co_await changed_.until([this] {
        MutexLock lock(mutex_);
        return !opening_;
      });
      continue;
    }
    Status made = co_await open_file(open_number);
    if (!made.ok()) co_return made;
  }
}

// The number is not used again if this fails: the file may be there or not.
awaitable<Status> ExtentStore::open_file(uint32_t number) {
  Status made = co_await manifest_.name_extent_file(number);
  if (made.ok()) made = co_await volume_.create(file_id(number), 0);
  if (made.ok()) {
    if (!planted(Bug::kNoExtentDirectorySync)) made = co_await volume_.sync_directory();
    if (!made.ok()) (void)co_await volume_.remove(file_id(number));
  }
  bool start = false;
  {
    MutexLock lock(mutex_);
    opening_ = false;
    if (made.ok()) {
      auto last = files_.find(current_);
      if (last != files_.end()) last->second.sealed = true;
      if (last != files_.end() && last->second.extents == 0) {
        start = free_later({current_, kWholeFile}, 0);
      }
      current_ = number;
      current_pages_ = 0;
      retired_ = false;
      files_[current_] = {};
    }
  }
  changed_.notify();
  if (start) freeing_tasks_.spawn(executor_, "giving extents back", free_extents());
  co_return made;
}

void ExtentStore::retire(uint32_t file, const Status& why) {
  MutexLock lock(mutex_);
  retire_locked(file, why);
}

void ExtentStore::retire_locked(uint32_t file, const Status& why) {
  if (report_) {
    report_(Severity::kError, "extents",
            cat(to_string(file_id(file)), " takes no more values: ", why.message()));
  }
  trouble_ = why;
  if (file != current_) return;
  current_pages_ = file_bytes_max_ / kBlockBytes;
  retired_ = true;
}

Status ExtentStore::trouble() const {
  MutexLock lock(mutex_);
  return trouble_;
}

awaitable<Status> ExtentStore::sync_file(uint32_t file) {
  uint64_t need = 0;
  for (;;) {
    bool run = false;
    {
      MutexLock lock(mutex_);
      SyncState& s = syncs_[file];
      if (!s.failed.ok()) co_return s.failed;  // a failed sync is final
      if (need == 0) need = s.begun + 1;
      if (s.done >= need) co_return absl::OkStatus();
      if (!s.running) {
        s.running = run = true;
        s.begun++;
      }
    }
    if (!run) {
      co_await changed_.until([&] {
        MutexLock lock(mutex_);
        return !syncs_[file].running;
      });
      continue;
    }
    Status synced = co_await volume_.sync(file_id(file));
    MutexLock lock(mutex_);
    SyncState& s = syncs_[file];
    s.running = false;
    s.done = s.begun;
    changed_.notify();
    if (synced.ok()) continue;
    s.failed = synced;
    retire_locked(file, synced);
  }
}

void ExtentStore::trim(Place place, uint64_t data_bytes) {
  MutexLock lock(mutex_);
  Extent& extent = extents_.at(place);
  auto pages = static_cast<uint32_t>(1 + round_up(data_bytes, kBlockBytes) / kBlockBytes);
  if (place.file == current_ && !retired_ && place.page + extent.pages == current_pages_) {
    current_pages_ = place.page + pages;
  }
  files_.at(place.file).pages -= extent.pages - pages;
  extent.pages = pages;
}

void ExtentStore::ref(const BlobRef& blob) {
  MutexLock lock(mutex_);
  for (const Piece& p : blob.pieces) {
    if (!p.is_hole()) extents_.at(Place{p.file, p.header_page}).refs++;
  }
}

void ExtentStore::unref(const BlobRef& blob) {
  for (const Piece& p : blob.pieces) {
    if (!p.is_hole()) unref_place({p.file, p.header_page});
  }
}

void ExtentStore::unref_place(Place place) {
  bool start = false;
  {
    MutexLock lock(mutex_);
    auto it = extents_.find(place);
    assert(it != extents_.end() && it->second.refs > 0);
    if (--it->second.refs > 0) return;
    const uint32_t pages = it->second.pages;
    extents_.erase(it);
    File& file = files_.at(place.file);
    file.pages -= pages;
    file.extents--;
    const bool whole = file.sealed && file.extents == 0;
    start = free_later(whole ? Place{place.file, kWholeFile} : place, pages);
  }
  if (start) freeing_tasks_.spawn(executor_, "giving extents back", free_extents());
}

// Whether one more has to be started who gives back.
bool ExtentStore::free_later(Place place, uint32_t pages) {
  if (place.page == kWholeFile) {
    files_.erase(place.file);
    syncs_.erase(place.file);
  }
  debt_ += int64_t{pages} * static_cast<int64_t>(kBlockBytes);
  to_free_.emplace_back(place, pages);
  if (freers_ >= kFreersMax) return false;
  freers_++;
  return true;
}

// Space that cannot be given back now is found again at the next start; nothing depends on it.
awaitable<void> ExtentStore::free_extents() {
  for (;;) {
    Place place;
    uint32_t pages;
    bool gone;
    {
      MutexLock lock(mutex_);
      if (to_free_.empty()) {
        freers_--;
        co_return;
      }
      std::tie(place, pages) = to_free_.front();
      to_free_.pop_front();
      gone = place.page != kWholeFile && !files_.contains(place.file);  // the whole file goes
    }
    if (place.page == kWholeFile) {
      (void)co_await volume_.remove(file_id(place.file));
    } else if (!gone) {
      (void)co_await volume_.punch(file_id(place.file), uint64_t{place.page} * kBlockBytes,
                                   uint64_t{pages} * kBlockBytes);
    }
    gave_back(uint64_t{pages} * kBlockBytes);
  }
}

// ---- what waits to be given back ----

void ExtentStore::expect_unref(uint64_t bytes) { debt_ += static_cast<int64_t>(bytes); }

void ExtentStore::expected_unref(uint64_t bytes) {
  if (debt_.fetch_sub(static_cast<int64_t>(bytes)) > debt_max_) changed_.notify();
}

void ExtentStore::gave_back(uint64_t bytes) {
  if (debt_.fetch_sub(static_cast<int64_t>(bytes)) <= debt_max_) return;
  {
    MutexLock lock(mutex_);
    credit_ = std::min(credit_ + static_cast<int64_t>(bytes), debt_max_);
  }
  changed_.notify();
}

void ExtentStore::stop_waiting() {
  if (patient_.exchange(false)) changed_.notify();
}

awaitable<void> ExtentStore::wait_for_frees(uint64_t bytes) {
  if (debt_ <= debt_max_ || !patient_) co_return;
  const int64_t price = static_cast<int64_t>(std::min<uint64_t>(bytes, debt_max_ / 4));
  co_await changed_.until([&] {
    if (debt_ <= debt_max_ || !patient_) return true;
    MutexLock lock(mutex_);
    if (credit_ < price) return false;
    credit_ -= price;
    return true;
  });
}

std::vector<uint32_t> ExtentStore::sparse_files() const {
  constexpr uint64_t kSparse = 8;        // at least 7 of 8 bytes are holes
  constexpr uint64_t kSmallPages = 256;  // of an extent, on average
  constexpr uint64_t kWorthWhile = 4;    // one file of so many, or the index is not searched
  MutexLock lock(mutex_);
  std::vector<uint32_t> sparse;
  for (auto& [number, file] : files_) {
    if (file.sealed && !file.missing && file.extents > 0 &&
        uint64_t{file.pages} * kBlockBytes <= file_bytes_max_ / kSparse &&
        file.pages <= file.extents * kSmallPages) {
      sparse.push_back(number);
    }
  }
  if (sparse.size() * kWorthWhile < files_.size()) sparse.clear();
  return sparse;
}

uint64_t ExtentStore::bytes_of(Place place) const {
  MutexLock lock(mutex_);
  return uint64_t{extents_.at(place).pages} * kBlockBytes;
}

awaitable<StatusOr<ExtentStore::Place>> ExtentStore::copy(Place from) {
  uint64_t bytes = bytes_of(from) - kBlockBytes;
  AlignedBuffer page(kBlockBytes);
  auto n = co_await volume_.read(file_id(from.file), uint64_t{from.page} * kBlockBytes,
                                 page.span(0, kBlockBytes));
  if (!n.ok()) co_return n.status();
  const auto header = decode_header({page.data(), *n}, store_, from);
  if (!header.ok()) co_return header.status();
  bytes = std::min<uint64_t>(bytes, header->data_bytes);
  const BlobRef whole{bytes, {{from.file, from.page, 0, static_cast<uint32_t>(bytes)}}};
  BlobReader reader(*this, whole, 0, bytes);
  BlobWriter writer(*this, bytes);
  while (reader.left() > 0) {
    auto data = co_await reader.next();
    if (!data.ok()) co_return data.status();
    Status added = co_await writer.append(*data);
    if (!added.ok()) co_return added;
  }
  auto made = co_await writer.finish();
  if (!made.ok()) co_return made.status();
  if (made->pieces.size() != 1) {
    unref(*made);
    co_return absl::ResourceExhaustedError("an extent is larger than new files take");
  }
  co_return Place{made->pieces[0].file, made->pieces[0].header_page};
}

ExtentStore::Stats ExtentStore::stats() const {
  MutexLock lock(mutex_);
  Stats s;
  s.files = files_.size();
  s.extents = extents_.size();
  for (auto& [place, extent] : extents_) s.live_bytes += uint64_t{extent.pages} * kBlockBytes;
  return s;
}

// ---- writing ----

struct BlobWriter::Shared final : ChunkPool::Holder {
  static constexpr int kInflightMax = 4;
  explicit Shared(BlobWriter& writer)
      : Holder(writer.store_.pool_, ChunkPool::Use::kWrite), writer(&writer) {}
  void give_back() override {
    if (writer != nullptr) writer->park();
  }
  BlobWriter* writer;  // null once it is gone
  Executor executor;   // of the writer
  int inflight = 0;
  BlobRef abandoned;  // by a writer that is gone: let go of when the last write has landed
  Status error;
  Gate landed;
};

BlobWriter::BlobWriter(ExtentStore& store, uint64_t size_hint)
    : store_(store), size_hint_(size_hint), shared_(std::make_shared<Shared>(*this)) {}

BlobWriter::~BlobWriter() {
  shared_->writer = nullptr;
  shared_->leave();
  if (chunk_ != nullptr) store_.pool_.give(chunk_, ChunkPool::Use::kWrite);
  if (open_) blob_.pieces.push_back({place_.file, place_.page, 0, 1});
  if (shared_->inflight > 0) {  // a write that landed in a hole would fill it again
    shared_->abandoned = std::move(blob_);
  } else {
    store_.unref(blob_);
  }
}

uint64_t BlobWriter::size() const { return blob_.size + (open_ ? filled_ : 0); }

void BlobWriter::add_piece(const Piece& piece) {
  if (piece.length == 0) return;
  blob_.pieces.push_back(piece);
  blob_.size += piece.length;
}

Status BlobWriter::check_room(uint64_t bytes) const {
  if (capped_add(size(), bytes) <= kBlobBytesMax && size_hint_ <= kBlobBytesMax &&
      blob_.pieces.size() < kPiecesMax) {
    return absl::OkStatus();
  }
  return value_too_long();
}

awaitable<Status> BlobWriter::open_extent() {
  if (Status room = check_room(1); !room.ok()) co_return room;
  uint64_t want = blob_.pieces.empty() ? 8 << 20 : kExtentDataMax;
  if (size_hint_ > size()) want = size_hint_ - size();
  want = std::min(round_up(want, kExtentBlockBytes), store_.extent_data_max());
  auto place = co_await store_.allocate(want);
  if (!place.ok()) {
    tell(store_.report_, place.status());
    co_return place.status();
  }
  place_ = *place;
  open_ = true;
  capacity_ = want;
  filled_ = written_ = 0;
  header_ = std::make_unique<ExtentHeader>();
  co_return absl::OkStatus();
}

void BlobWriter::rest() {
  if (chunk_ != nullptr) shared_->rest(shared_->executor);
}

// The chunk goes to somebody who needs it. Whole pages of it are written, the rest is kept.
void BlobWriter::park() {
  if (chunk_ == nullptr) return;
  std::byte* chunk = std::exchange(chunk_, nullptr);
  const size_t pages = chunk_used_ / kBlockBytes * kBlockBytes;
  const size_t end = std::max(pages, chunk_begin_);
  parked_.assign(as_text({chunk + end, chunk_used_ - end}));
  if (end == chunk_begin_) return store_.pool_.give(chunk, ChunkPool::Use::kWrite);
  const uint64_t offset = data_offset(place_, written_);
  written_ += end - chunk_begin_;
  send(chunk, offset, {chunk + chunk_begin_, end - chunk_begin_});
}

awaitable<void> BlobWriter::take_chunk() {
  shared_->executor = co_await asio::this_coro::executor;
  chunk_ = co_await store_.pool_.take(ChunkPool::Use::kWrite);
  shared_->wake();
  chunk_begin_ = chunk_used_ = written_ == 0 ? kBlockBytes : 0;
  std::memcpy(chunk_ + chunk_used_, parked_.data(), parked_.size());
  chunk_used_ += parked_.size();
  parked_.clear();
}

awaitable<StatusOr<MutableBytes>> BlobWriter::prepare() {
  shared_->wake();
  if (!shared_->error.ok()) co_return shared_->error;
  if (open_ && filled_ == capacity_) {
    Status ended = co_await end_extent();
    if (!ended.ok()) co_return ended;
  }
  if (!open_) {
    Status opened = co_await open_extent();
    if (!opened.ok()) co_return opened;
  }
  if (chunk_ != nullptr && chunk_used_ == kChunkBytes) {
    Status wrote = co_await write_chunk(false);
    if (!wrote.ok()) co_return wrote;
  }
  if (chunk_ == nullptr) co_await take_chunk();
  co_return MutableBytes{chunk_ + chunk_used_,
                         std::min<uint64_t>(kChunkBytes - chunk_used_, capacity_ - filled_)};
}

void BlobWriter::commit(size_t bytes) {
  while (bytes > 0) {
    uint64_t in_block = filled_ % kExtentBlockBytes;
    size_t n = std::min<uint64_t>(bytes, kExtentBlockBytes - in_block);
    if (in_block == 0) {
      block_crc_ = place_seed(store_.store_, place_.file, data_offset(place_, filled_));
    }
    block_crc_ = crc32c(block_crc_, {chunk_ + chunk_used_, n});
    header_->block_crc[filled_ / kExtentBlockBytes] = block_crc_;
    filled_ += n;
    chunk_used_ += n;
    bytes -= n;
  }
  rest();
}

awaitable<Status> BlobWriter::write_chunk(bool last) {
  const bool first = written_ == 0;
  std::byte* chunk = std::exchange(chunk_, nullptr);
  size_t from = chunk_begin_;
  size_t end = round_up(chunk_used_, kBlockBytes);
  std::memset(chunk + chunk_used_, 0, end - chunk_used_);
  uint64_t offset = data_offset(place_, written_);
  if (last && first) {  // the whole extent is in this chunk: header and data in one write
    std::memcpy(chunk, header_.get(), sizeof(ExtentHeader));
    from = 0;
    offset -= kBlockBytes;
  }
  written_ += chunk_used_ - chunk_begin_;
  co_await shared_->landed.until([&] { return shared_->inflight < Shared::kInflightMax; });
  send(chunk, offset, {chunk + from, end - from});
  co_return shared_->error;
}

// Writes beside what the writer does next, and gives the chunk back then.
void BlobWriter::send(std::byte* chunk, uint64_t offset, Bytes data) {
  shared_->inflight++;
  if (store_.taken_) store_.taken_(data.size());
  spawn(shared_->executor, "writing an extent",
        [](ExtentStore& store, std::shared_ptr<Shared> shared, uint32_t file, uint64_t offset,
           std::byte* chunk, Bytes data) -> awaitable<void> {
          Status wrote =
              co_await store.volume_.write(file_id(file), offset, data, WriteMode::kPlain);
          store.pool_.give(chunk, ChunkPool::Use::kWrite);
          if (!wrote.ok() && !absl::IsResourceExhausted(wrote) && !absl::IsUnavailable(wrote)) {
            store.retire(file, wrote);
          }
          if (!wrote.ok() && shared->error.ok()) {
            shared->error = wrote;
            tell(store.report_, wrote);  // once for a value
          }
          shared->inflight--;
          shared->landed.notify();
          if (shared->inflight == 0) store.unref(std::exchange(shared->abandoned, {}));
        }(store_, shared_, place_.file, offset, chunk, data));
}

awaitable<Status> BlobWriter::end_extent() {
  shared_->wake();
  if (!open_) co_return absl::OkStatus();
  if (filled_ == 0) {
    if (chunk_ != nullptr) {
      store_.pool_.give(std::exchange(chunk_, nullptr), ChunkPool::Use::kWrite);
    }
    open_ = false;
    store_.unref_place(place_);
    co_return absl::OkStatus();
  }
  header_->magic = kExtentMagic;
  header_->version = kExtentVersion;
  header_->data_bytes = static_cast<uint32_t>(filled_);
  header_->store = store_.store_;
  header_->file = place_.file;
  header_->page = place_.page;
  seal_header(*header_, store_.store_, place_.file, uint64_t{place_.page} * kBlockBytes);
  const bool with_header = written_ == 0;
  if (chunk_ == nullptr && !parked_.empty()) co_await take_chunk();
  if (chunk_ != nullptr) {
    Status wrote = co_await write_chunk(true);
    if (!wrote.ok()) co_return wrote;
  }
  if (!with_header) {
    AlignedBuffer page(kBlockBytes);
    std::memcpy(page.data(), header_.get(), sizeof(ExtentHeader));
    Status wrote =
        co_await store_.volume_.write(file_id(place_.file), uint64_t{place_.page} * kBlockBytes,
                                      {page.data(), kBlockBytes}, WriteMode::kPlain);
    if (!wrote.ok()) co_return wrote;
  }
  open_ = false;
  store_.trim(place_, filled_);
  add_piece({place_.file, place_.page, 0, static_cast<uint32_t>(filled_)});
  if (std::find(files_.begin(), files_.end(), place_.file) == files_.end()) {
    files_.push_back(place_.file);
  }
  co_return absl::OkStatus();
}

awaitable<Status> BlobWriter::append(Bytes data) {
  while (!data.empty()) {
    auto room = co_await prepare();
    if (!room.ok()) co_return room.status();
    size_t n = std::min(room->size(), data.size());
    std::memcpy(room->data(), data.data(), n);
    commit(n);
    data = data.subspan(n);
  }
  co_return absl::OkStatus();
}

awaitable<Status> BlobWriter::append_zeros(uint64_t length) {
  static const std::array<std::byte, kExtentBlockBytes> kZeros{};
  if (Status room = check_room(length); !room.ok()) co_return room;
  if (length < 4 * kExtentBlockBytes) {
    while (length > 0) {
      uint64_t n = std::min<uint64_t>(length, kZeros.size());
      Status added = co_await append({kZeros.data(), n});
      if (!added.ok()) co_return added;
      length -= n;
    }
    co_return absl::OkStatus();
  }
  Status ended = co_await end_extent();
  if (!ended.ok()) co_return ended;
  for (; length > 0; length -= blob_.pieces.back().length) {
    add_piece({0, 0, 0, static_cast<uint32_t>(std::min<uint64_t>(length, 1 << 30))});
  }
  co_return absl::OkStatus();
}

awaitable<Status> BlobWriter::append_range(const BlobRef& blob, uint64_t offset, uint64_t length) {
  uint64_t begin = 0;  // of the piece, in the blob
  for (const Piece& p : blob.pieces) {
    const uint64_t end = begin + p.length;
    if (length == 0 || offset >= end) {
      begin = end;
      continue;
    }
    uint64_t at = offset - begin;
    uint64_t n = std::min<uint64_t>(length, p.length - at);
    offset += n;
    length -= n;
    if (p.is_hole()) {
      Status zeros = co_await append_zeros(n);
      if (!zeros.ok()) co_return zeros;
      begin = end;
      continue;
    }
    uint64_t head = std::min(n, round_up(at, kExtentBlockBytes) - at);
    if (n - head < kExtentBlockBytes && n != blob.size) head = n;  // too little to share
    if (head > 0) {
      const uint64_t floor = at / kExtentBlockBytes * kExtentBlockBytes;
      Piece rest{p.file, p.header_page,
                 p.first_block + static_cast<uint32_t>(floor / kExtentBlockBytes),
                 static_cast<uint32_t>(p.length - floor)};
      BlobReader reader(store_, BlobRef{rest.length, {rest}}, at - floor, head);
      while (reader.left() > 0) {
        auto bytes = co_await reader.next();
        if (!bytes.ok()) co_return bytes.status();
        Status added = co_await append(*bytes);
        if (!added.ok()) co_return added;
      }
    }
    if (n > head) {
      Status ended = co_await end_extent();
      if (!ended.ok()) co_return ended;
      Piece shared{p.file, p.header_page,
                   p.first_block + static_cast<uint32_t>((at + head) / kExtentBlockBytes),
                   static_cast<uint32_t>(n - head)};
      Piece* last = blob_.pieces.empty() ? nullptr : &blob_.pieces.back();
      if (last != nullptr && last->file == shared.file && last->header_page == shared.header_page &&
          last->length % kExtentBlockBytes == 0 &&
          last->first_block + last->length / kExtentBlockBytes == shared.first_block) {
        last->length += shared.length;  // one reference holds both
        blob_.size += shared.length;
      } else {
        if (Status room = check_room(shared.length); !room.ok()) co_return room;
        store_.ref(BlobRef{shared.length, {shared}});
        add_piece(shared);
      }
    }
    begin = end;
  }
  if (length > 0) co_return absl::OutOfRangeError("the range ends after the blob");
  co_return absl::OkStatus();
}

awaitable<StatusOr<BlobRef>> BlobWriter::finish() {
  Status ended = co_await end_extent();
  co_await shared_->landed.until([&] { return shared_->inflight == 0; });
  if (ended.ok()) ended = shared_->error;
  if (!ended.ok()) co_return ended;
  for (uint32_t file : files_) {
    if (planted(Bug::kBlobBeforeBytes)) break;
    Status synced = co_await store_.sync_file(file);
    if (!synced.ok()) co_return synced;
  }
  if (blob_.pieces.size() > kPiecesMax) {
    co_return value_too_long();
  }
  co_return std::exchange(blob_, {});
}

// ---- reading ----

struct BlobReader::Fetch {
  Fetch(ChunkPool& pool, std::byte* chunk) : pool(pool), chunk(chunk) {}
  ~Fetch() {
    if (chunk != nullptr) pool.give(chunk, ChunkPool::Use::kRead);
  }
  ChunkPool& pool;
  std::byte* chunk;                      // null: to be waited for
  std::shared_ptr<ExtentHeader> header;  // in: if known; out: always, unless a hole
  Piece piece;
  uint64_t at = 0;  // first byte wanted, in the piece
  uint64_t length = 0;
  Bytes data;
  Status status;
  bool done = false;
  bool wanted = true;  // by its reader
  Gate ready;

  awaitable<void> run(ExtentStore& store) {
    if (chunk == nullptr) chunk = co_await pool.take(ChunkPool::Use::kRead);
    if (wanted) status = co_await read(store);
    if (absl::IsNotFound(status)) {
      status = absl::DataLossError(cat(to_string(file_id(piece.file)), " is missing"));
    }
    tell(store.report_, status);
    done = true;
    ready.notify();
  }

  awaitable<Status> read(ExtentStore& store) {
    const ExtentStore::Place place{piece.file, piece.header_page};
    const FileId file = file_id(piece.file);
    const uint64_t block0 = piece.first_block + at / kExtentBlockBytes;
    const uint64_t last = piece.first_block + (at + length - 1) / kExtentBlockBytes;
    const bool together = header == nullptr && block0 == 0;
    const uint64_t header_offset = uint64_t{place.page} * kBlockBytes;
    if (header == nullptr && !together) {
      auto n = co_await store.volume_.read(file, header_offset, {chunk, kBlockBytes});
      if (!n.ok()) co_return n.status();
      Status taken = take_header(store, {chunk, *n});
      if (!taken.ok()) co_return taken;
    }
    // Without the header the last block's length is not known: the piece tells enough.
    uint64_t data_end = header != nullptr
                            ? header->data_bytes
                            : uint64_t{piece.first_block} * kExtentBlockBytes + piece.length;
    data_end =
        std::min(std::max(data_end, block0 * kExtentBlockBytes), (last + 1) * kExtentBlockBytes);
    uint64_t begin = block0 * kExtentBlockBytes;
    const size_t skip = together ? kBlockBytes : 0;
    uint64_t want = round_up(data_end - begin, kBlockBytes) + skip;
    uint64_t offset = data_offset(place, begin) - skip;
    auto n = co_await store.volume_.read(file, offset, {chunk, want});
    if (!n.ok()) co_return n.status();
    if (*n < want) co_return damage("a block that ends early", piece.file, offset);
    if (together) {
      Status taken = take_header(store, {chunk, *n});
      if (!taken.ok()) co_return taken;
      uint64_t real_end = std::min<uint64_t>(header->data_bytes, (last + 1) * kExtentBlockBytes);
      if (real_end > data_end) {  // the piece ends inside a block: its checksum needs the rest
        uint64_t more = round_up(real_end - begin, kBlockBytes) + skip;
        if (more > want) {
          n = co_await store.volume_.read(file, offset + want, {chunk + want, more - want});
          if (!n.ok()) co_return n.status();
          if (*n < more - want) {
            co_return damage("a block that ends early", piece.file, offset + want);
          }
        }
        data_end = real_end;
      }
    }
    if (piece.first_block * kExtentBlockBytes + piece.length > header->data_bytes) {
      co_return damage("an extent shorter than its reference", piece.file, header_offset);
    }
    for (uint64_t b = block0; b <= last; b++) {
      uint64_t size = std::min(kExtentBlockBytes, header->data_bytes - b * kExtentBlockBytes);
      uint32_t crc =
          crc32c(place_seed(store.store_, place.file, data_offset(place, b * kExtentBlockBytes)),
                 {chunk + skip + (b - block0) * kExtentBlockBytes, size});
      if (crc != header->block_crc[b]) {
        co_return damage("a damaged block", piece.file, data_offset(place, b * kExtentBlockBytes));
      }
    }
    data = {chunk + skip + at % kExtentBlockBytes, length};
    co_return absl::OkStatus();
  }

  Status take_header(ExtentStore& store, Bytes page) {
    auto found = decode_header(page, store.store_, {piece.file, piece.header_page});
    if (found.ok()) header = std::make_shared<ExtentHeader>(*found);
    return found.status();
  }
};

// What of a reader the pool may call; outlives it.
struct BlobReader::Lender final : ChunkPool::Holder {
  explicit Lender(BlobReader& reader)
      : Holder(reader.store_.pool_, ChunkPool::Use::kRead), reader(&reader) {}
  void give_back() override {
    if (reader != nullptr) reader->give_back();
  }
  BlobReader* reader;  // null once it is gone
};

BlobReader::BlobReader(ExtentStore& store, BlobRef blob, uint64_t offset, uint64_t length)
    : store_(store), blob_(std::move(blob)), at_(offset), left_(length), ahead_left_(length) {
  assert(is_within(offset, length, blob_.size));
  if (!planted(Bug::kReaderNotCounted)) store_.ref(blob_);
  seek();
}

BlobReader::~BlobReader() {
  if (lender_ != nullptr) {
    lender_->reader = nullptr;
    lender_->leave();
  }
  if (ahead_ != nullptr) ahead_->wanted = false;
  if (current_ != nullptr) current_->wanted = false;
  if (!planted(Bug::kReaderNotCounted)) store_.unref(blob_);
}

void BlobReader::seek() {
  uint64_t offset = at_;
  piece_ = 0;
  while (piece_ < blob_.pieces.size() && offset >= blob_.pieces[piece_].length) {
    offset -= blob_.pieces[piece_++].length;
  }
  piece_at_ = offset;
  ahead_left_ = left_;
}

void BlobReader::offer(uint64_t bytes, const Executor& executor) {
  if (current_ == nullptr && ahead_ == nullptr) return;
  offered_ = bytes;
  if (lender_ == nullptr) lender_ = std::make_shared<Lender>(*this);
  lender_->rest(executor);
}

bool BlobReader::keep() { return lender_ == nullptr || lender_->wake(); }

void BlobReader::give_back() {
  if (ahead_ != nullptr) ahead_->wanted = false;
  current_ = ahead_ = nullptr;
  at_ -= offered_;
  left_ += offered_;
  seek();
}

void BlobReader::start_fetch() {
  constexpr uint64_t kFetchBytes = 15 * kExtentBlockBytes;  // with a header page: under a chunk
  const Piece& p = blob_.pieces[piece_];
  auto fetch = std::make_shared<Fetch>(store_.pool_, nullptr);
  fetch->piece = p;
  fetch->at = piece_at_;
  fetch->length = std::min<uint64_t>(
      {ahead_left_, p.length - piece_at_, kFetchBytes - piece_at_ % kExtentBlockBytes});
  piece_at_ += fetch->length;
  ahead_left_ -= fetch->length;
  if (piece_at_ == p.length) {
    piece_++;
    piece_at_ = 0;
  }
  if (header_ != nullptr && header_place_ == ExtentStore::Place{p.file, p.header_page}) {
    fetch->header = header_;
  }
  ahead_ = std::move(fetch);
}

// `chunk`: to read into; null: whoever runs the fetch waits for one.
void BlobReader::launch(const Executor& executor, std::byte* chunk) {
  static const std::array<std::byte, kExtentBlockBytes> kZeros{};
  start_fetch();
  ahead_->chunk = chunk;
  if (ahead_->piece.is_hole()) {
    if (ahead_->length > kZeros.size()) {  // give the rest back
      uint64_t back = ahead_->length - kZeros.size();
      ahead_->length -= back;
      ahead_left_ += back;
      if (piece_at_ == 0) {
        piece_--;
        piece_at_ = blob_.pieces[piece_].length;
      }
      piece_at_ -= back;
    }
    ahead_->data = {kZeros.data(), ahead_->length};
    ahead_->done = true;
    return;
  }
  spawn(executor, "reading an extent",
        [](ExtentStore& store, std::shared_ptr<Fetch> fetch) -> awaitable<void> {
          co_await fetch->run(store);
        }(store_, ahead_));
}

awaitable<StatusOr<Bytes>> BlobReader::next() {
  (void)keep();
  if (left_ == 0) co_return Bytes{};
  auto executor = co_await asio::this_coro::executor;
  current_ = nullptr;  // before a chunk is waited for
  if (ahead_ == nullptr) launch(executor, nullptr);
  current_ = std::move(ahead_);
  ahead_ = nullptr;
  const std::shared_ptr<Fetch> fetch = current_;
  co_await fetch->ready.until([&] { return fetch->done; });
  if (!fetch->status.ok()) co_return fetch->status;
  if (fetch->header != nullptr) {
    header_ = fetch->header;
    header_place_ = {fetch->piece.file, fetch->piece.header_page};
  }
  left_ -= fetch->length;
  at_ += fetch->length;
  if (ahead_left_ > 0) {
    std::byte* spare = store_.pool_.take_spare(ChunkPool::Use::kRead);
    if (spare != nullptr) launch(executor, spare);
  }
  co_return fetch->data;
}

awaitable<StatusOr<std::string>> BlobReader::read_all(uint64_t limit) {
  if (left_ > limit) co_return absl::ResourceExhaustedError("the value is too large for this");
  std::string out;
  out.reserve(left_);
  while (left_ > 0) {
    auto bytes = co_await next();
    if (!bytes.ok()) co_return bytes.status();
    out.append(as_text(*bytes));
  }
  current_ = nullptr;
  co_return out;
}

}  // namespace cairn

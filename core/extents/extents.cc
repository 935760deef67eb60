#include "core/extents/extents.h"

#include <algorithm>
#include <cassert>

#include "core/base/alarms.h"
#include "core/base/async.h"
#include "core/base/errors.h"
#include "core/base/plant.h"
#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "core/extents/extent_format.h"

namespace cairn {

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
void ExtentStore::tell(const Status& failed) const {
  if (!report_) return;
  if (absl::IsDataLoss(failed)) {
    report_(Severity::kWarning, alarm::kDamage, cat("a value cannot be read: ", failed.message()));
  }
  if (is_disk_full(failed)) {
    report_(Severity::kWarning, alarm::kRefused,
            cat("a large value is refused: ", failed.message()));
  }
}

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
    auto it = f.id.number < kExtentFilesEnd ? live.lower_bound(Place{number, 0}) : live.end();
    const bool needed = it != live.end() && it->first.file == number && f.is_regular;
    Whose whose = Whose::kOurs;
    if (!needed) whose = co_await cairn::whose(volume_, f, store);
    // Numbers are named before their files are made (Manifest::name_extent_file).
    const bool never_made = whose == Whose::kBlank && number >= manifest_.state().next_extent_file;
    if (whose == Whose::kForeign || never_made) {
      foreign_.push_back(f.id);
      continue;
    }
    newest = std::max(newest, number);
    if (keep) continue;
    if (!needed) {
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
                             [&](auto& f) { return f.id == file_id(number) && f.is_regular; });
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

}  // namespace cairn

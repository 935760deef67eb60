#include "tests/sim/sim_volume.h"

#include <algorithm>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/post.hpp>
#include <cstring>

#include "core/base/checksum.h"
#include "core/base/errors.h"
#include "core/base/text.h"

namespace cairn::sim {

namespace {
void apply(std::vector<std::byte>& to, uint64_t offset, Bytes data) {
  if (to.size() < offset + data.size()) to.resize(offset + data.size());
  if (!data.empty()) std::memcpy(to.data() + offset, data.data(), data.size());
}
}  // namespace

uint64_t Disk::used_bytes() const {
  uint64_t sum = rubble.size();
  for (auto& [id, f] : files) sum += f->block_count * kBlockBytes;
  return sum;
}

uint64_t Disk::File::missing(uint64_t offset, uint64_t length) const {
  uint64_t bytes = 0;
  for (uint64_t b = offset / kBlockBytes; b * kBlockBytes < offset + length; b++) {
    if (b >= blocks.size() || !blocks[b]) bytes += kBlockBytes;
  }
  return bytes;
}

void Disk::File::allocate(uint64_t offset, uint64_t length, bool on) {
  const uint64_t end = (offset + length + kBlockBytes - 1) / kBlockBytes;
  if (blocks.size() < end) blocks.resize(end);
  for (uint64_t b = offset / kBlockBytes; b < end; b++) {
    if (blocks[b] == on) continue;
    blocks[b] = on;
    block_count += on ? 1 : UINT64_MAX;
  }
}

void Disk::crash(Rng& rng) {
  auto coin = [&] { return rng() & 1; };
  for (auto& [id, file] : unlinked) {  // a removal that was not synced may not have happened
    if (file->linked && coin()) files.try_emplace(id, file);
  }
  unlinked.clear();
  for (auto it = files.begin(); it != files.end();) {
    if (!it->second->linked && coin()) {
      it = files.erase(it);
    } else {
      ++it;
    }
  }
  const uint64_t sector = coin() ? 512 : 4096;
  const unsigned mode = rng() % 4;  // all lost, all kept, whole writes, sectors
  for (auto& [id, file] : files) {
    std::shuffle(file->unsynced.begin(), file->unsynced.end(), rng);
    for (Write& w : file->unsynced) {
      if (mode == 0) continue;
      if (mode == 1 || (mode == 2 && coin())) {
        apply(file->durable, w.offset, w.data);
        continue;
      }
      if (mode == 2) continue;
      for (uint64_t at = 0; at < w.data.size(); at += sector) {
        if (coin()) continue;
        uint64_t n = std::min<uint64_t>(sector, w.data.size() - at);
        apply(file->durable, w.offset + at, Bytes(w.data).subspan(at, n));
      }
    }
    file->unsynced.clear();
    file->view = file->durable;
    file->linked = true;
  }
}

// ---- the scheduler ----

awaitable<void> Scheduler::pause() {
  co_await suspend<>([this](Resume<> resume) { ready_.push_back(std::move(resume)); });
}

awaitable<void> Scheduler::sleep_ms(int64_t ms) {
  co_await suspend<>(
      [this, ms](Resume<> resume) { timers_.emplace(now_ms_ + ms, std::move(resume)); });
}

bool Scheduler::run_until(const std::function<bool()>& done) {
  for (;;) {
    context_.restart();
    context_.poll();
    if (done()) return true;
    // Mostly the disk is faster than the clock; now and then it is not.
    if (!ready_.empty() && (timers_.empty() || rng_() % 16 != 0)) {
      size_t i = rng_() % ready_.size();
      auto wake = std::move(ready_[i]);
      ready_.erase(ready_.begin() + static_cast<ptrdiff_t>(i));
      wake();
    } else if (!timers_.empty()) {
      auto first = timers_.begin();
      now_ms_ = std::max(now_ms_, first->first);
      auto wake = std::move(first->second);
      timers_.erase(first);
      wake();
    } else {
      return false;
    }
  }
}

// ---- the volume ----

awaitable<void> SimVolume::call(char what, FileId file, uint64_t offset, Bytes data) {
  const uint64_t words[] = {trace_,
                            static_cast<uint64_t>(what),
                            static_cast<uint64_t>(file.kind),
                            file.number,
                            offset,
                            data.size(),
                            static_cast<uint64_t>(scheduler_.now_ms())};
  trace_ = crc32c(crc32c(static_cast<uint32_t>(trace_), data), std::as_bytes(std::span(words))) |
           calls_ << 32;
  if (++calls_ >= faults_.crash_at_call) crashed_ = true;
  co_await scheduler_.pause();
  if (crashed_) {  // the world has ended: nobody hears of this call
    for (;;) co_await scheduler_.sleep_ms(INT64_C(1) << 40);
  }
}

StatusOr<std::shared_ptr<Disk::File>> SimVolume::find(FileId file) {
  auto it = disk_.files.find(file);
  if (it == disk_.files.end()) return absl::NotFoundError(cat("no file ", to_string(file)));
  return it->second;
}

awaitable<Status> SimVolume::create(FileId file, uint64_t reserve_bytes) {
  if (disk_.files.contains(file)) co_return absl::AlreadyExistsError(to_string(file));
  const bool reuse = reserve_bytes > 0 && disk_.rubble.size() == reserve_bytes;
  if (disk_.used_bytes() + (reuse ? 0 : reserve_bytes) > disk_.capacity_bytes) {
    co_return disk_full("the volume is full");
  }
  auto made = std::make_shared<Disk::File>();
  // A reserve holds anything: here, now and then what another segment held.
  if (reuse) {
    if (rng_() % 2 == 0) made->view = std::move(disk_.rubble);
    disk_.rubble.clear();
  }
  made->view.resize(reserve_bytes);
  std::fill_n(made->view.begin(), std::min(reserve_bytes, kBlockBytes), std::byte{0});
  made->durable = made->view;
  made->allocate(0, reserve_bytes, true);
  disk_.files[file] = made;
  co_await call('c', file, reserve_bytes);
  co_return absl::OkStatus();
}

awaitable<Status> SimVolume::write(FileId file, uint64_t offset, Bytes data, WriteMode mode) {
  auto f = find(file);
  if (!f.ok()) co_return f.status();
  if (offset % kBlockBytes != 0 || data.size() % kBlockBytes != 0) {
    co_return absl::InvalidArgumentError("a write that is not aligned");
  }
  std::shared_ptr<Disk::File> to = *f;
  const uint64_t more = to->missing(offset, data.size());
  if (more > 0 && disk_.used_bytes() + more > disk_.capacity_bytes) {
    co_return disk_full("the volume is full");
  }
  to->allocate(offset, data.size(), true);
  const uint64_t id = disk_.next_write++;
  to->unsynced.push_back({id, offset, {data.begin(), data.end()}, false});
  co_await call('w', file, offset, data);
  auto mine = std::find_if(to->unsynced.begin(), to->unsynced.end(),
                           [&](const Disk::Write& w) { return w.id == id; });
  if (chance(faults_.write_error)) {
    mine->failed = true;
    co_return absl::DataLossError("EIO on write");
  }
  apply(to->view, offset, mine->data);
  to->bad.erase(to->bad.lower_bound(offset / kBlockBytes),
                to->bad.lower_bound((offset + data.size()) / kBlockBytes));
  mine->completed = true;
  if (mode == WriteMode::kDurable) {
    if (chance(faults_.sync_error)) co_return absl::DataLossError("EIO on sync");
    apply(to->durable, offset, mine->data);
    std::erase_if(to->unsynced,
                  [&](const Disk::Write& w) {  // this one, and what it covers for good
                    const bool ended = w.id < id && (w.failed || w.completed);
                    return w.id == id || (ended && w.offset >= offset &&
                                          w.offset + w.data.size() <= offset + data.size());
                  });
  }
  co_return absl::OkStatus();
}

awaitable<StatusOr<size_t>> SimVolume::read(FileId file, uint64_t offset, MutableBytes into) {
  auto f = find(file);
  if (!f.ok()) co_return f.status();
  std::shared_ptr<Disk::File> from = *f;
  co_await call('r', file, offset, {into.data(), 0});
  const auto bad = from->bad.lower_bound(offset / kBlockBytes);
  if (chance(faults_.read_error) ||
      (bad != from->bad.end() && *bad * kBlockBytes < offset + into.size())) {
    co_return absl::DataLossError(cat("EIO on read of ", to_string(file)));
  }
  if (offset >= from->view.size()) co_return size_t{0};
  size_t n = std::min<uint64_t>(into.size(), from->view.size() - offset);
  std::memcpy(into.data(), from->view.data() + offset, n);
  co_return n;
}

awaitable<Status> SimVolume::sync(FileId file) {
  auto f = find(file);
  if (!f.ok()) co_return f.status();
  std::shared_ptr<Disk::File> to = *f;
  std::vector<uint64_t> covered;  // invariant 1: only what had completed when the sync began
  for (auto& w : to->unsynced) {
    if (w.completed) covered.push_back(w.id);
  }
  co_await call('s', file);
  if (chance(faults_.sync_error)) {
    // As ext4 does: the pages count as clean from now on, with their bytes gone.
    std::erase_if(to->unsynced, [&](const Disk::Write& w) {
      return std::find(covered.begin(), covered.end(), w.id) != covered.end();
    });
    co_return absl::DataLossError("EIO on sync");
  }
  for (uint64_t id : covered) {
    auto w = std::find_if(to->unsynced.begin(), to->unsynced.end(),
                          [&](const Disk::Write& x) { return x.id == id; });
    if (w == to->unsynced.end()) continue;
    apply(to->durable, w->offset, w->data);
    to->unsynced.erase(w);
  }
  co_return absl::OkStatus();
}

awaitable<Status> SimVolume::sync_directory() {
  std::vector<std::shared_ptr<Disk::File>> covered;
  for (auto& [id, f] : disk_.files) covered.push_back(f);
  auto gone = disk_.unlinked;
  co_await call('d');
  for (auto& f : covered) f->linked = true;
  for (auto& [id, f] : gone) disk_.unlinked.erase(id);
  co_return absl::OkStatus();
}

awaitable<Status> SimVolume::punch(FileId file, uint64_t offset, uint64_t length) {
  auto f = find(file);
  if (!f.ok()) co_return f.status();
  std::shared_ptr<Disk::File> to = *f;
  if (offset >= to->view.size()) co_return absl::OkStatus();
  length = std::min(length, to->view.size() - offset);
  to->allocate(offset, length, false);
  const uint64_t id = disk_.next_write++;
  to->unsynced.push_back({id, offset, std::vector<std::byte>(length), true});
  apply(to->view, offset, to->unsynced.back().data);
  co_await call('p', file, offset + length);
  co_return absl::OkStatus();
}

awaitable<Status> SimVolume::recycle(FileId file) {
  if (auto f = find(file); f.ok()) disk_.rubble = (*f)->view;
  return remove(file);
}

awaitable<void> SimVolume::drop_recycled() {
  disk_.rubble.clear();
  co_return;
}

awaitable<Status> SimVolume::remove(FileId file) {
  auto f = find(file);
  if (!f.ok()) co_return f.status();
  disk_.unlinked[file] = *f;
  disk_.files.erase(file);
  co_await call('x', file);
  co_return absl::OkStatus();
}

awaitable<Status> SimVolume::keep_apart(FileId file) {
  auto f = find(file);
  if (!f.ok()) co_return f.status();
  disk_.aside.emplace_back(file, *f);
  disk_.files.erase(file);
  co_await call('a', file);
  co_return absl::OkStatus();
}

awaitable<StatusOr<std::vector<FileInfo>>> SimVolume::list() {
  co_await call('l');
  std::vector<FileInfo> all;
  for (auto& [id, f] : disk_.files) all.push_back({id, f->view.size()});
  co_return all;
}

awaitable<StatusOr<uint64_t>> SimVolume::free_bytes() {
  const uint64_t used = disk_.used_bytes();
  co_await call('f');
  co_return used > disk_.capacity_bytes ? 0 : disk_.capacity_bytes - used;
}

}  // namespace cairn::sim

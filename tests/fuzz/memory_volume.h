// A volume of bytes in memory that answers at once, for targets whose store has threads of its own
// and whose disk is beside the point. Threads: any.
#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "core/base/mutex.h"
#include "core/base/text.h"
#include "core/volume/volume.h"

namespace cairn::fuzz {

class MemoryVolume final : public Volume {
 public:
  awaitable<Status> create(FileId file, uint64_t reserve_bytes) override {
    MutexLock lock(mutex_);
    if (!files_.try_emplace(file, reserve_bytes, '\0').second) {
      co_return absl::AlreadyExistsError(to_string(file));
    }
    co_return absl::OkStatus();
  }
  awaitable<Status> write(FileId file, uint64_t offset, Bytes data, WriteMode) override {
    MutexLock lock(mutex_);
    auto it = files_.find(file);
    if (it == files_.end()) co_return absl::NotFoundError(to_string(file));
    if (it->second.size() < offset + data.size()) it->second.resize(offset + data.size());
    std::copy(data.begin(), data.end(), reinterpret_cast<std::byte*>(it->second.data()) + offset);
    co_return absl::OkStatus();
  }
  awaitable<StatusOr<size_t>> read(FileId file, uint64_t offset, MutableBytes into) override {
    MutexLock lock(mutex_);
    auto it = files_.find(file);
    if (it == files_.end()) co_return absl::NotFoundError(to_string(file));
    const Bytes all = as_bytes(it->second);
    const Bytes part = all.subspan(std::min<uint64_t>(offset, all.size()));
    const size_t n = std::min(part.size(), into.size());
    std::copy_n(part.begin(), n, into.begin());
    co_return n;
  }
  awaitable<Status> sync(FileId) override { co_return absl::OkStatus(); }
  awaitable<Status> sync_directory() override { co_return absl::OkStatus(); }
  awaitable<Status> punch(FileId file, uint64_t offset, uint64_t length) override {
    MutexLock lock(mutex_);
    auto it = files_.find(file);
    if (it == files_.end()) co_return absl::NotFoundError(to_string(file));
    const uint64_t size = it->second.size(), begin = std::min(offset, size);
    it->second.replace(begin, std::min(length, size - begin), std::min(length, size - begin), '\0');
    co_return absl::OkStatus();
  }
  awaitable<Status> remove(FileId file) override {
    MutexLock lock(mutex_);
    if (files_.erase(file) == 0) co_return absl::NotFoundError(to_string(file));
    co_return absl::OkStatus();
  }
  awaitable<Status> keep_apart(FileId file) override { return remove(file); }
  awaitable<StatusOr<std::vector<FileInfo>>> list() override {
    MutexLock lock(mutex_);
    std::vector<FileInfo> all;
    for (auto& [id, bytes] : files_) all.push_back({id, bytes.size()});
    co_return all;
  }
  awaitable<StatusOr<uint64_t>> free_bytes() override { co_return uint64_t{1} << 30; }

 private:
  Mutex mutex_;
  std::map<FileId, std::string> files_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::fuzz

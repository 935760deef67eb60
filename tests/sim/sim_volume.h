// A world in memory for the core to run in: a seeded disk and a clock, on one thread.
//
// Every volume call suspends its caller and ends when the scheduler picks it, in an order that the
// seed decides. A crash ends the world at a chosen call: what was not synced may be lost, kept, or
// torn by sectors of 512 or 4,096 bytes, each on its own. The disk survives into the next world.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "core/base/async.h"
#include "core/volume/volume.h"

namespace cairn::sim {

using Rng = std::mt19937_64;

// What is on the disk, apart from any running world.
class Disk {
 public:
  struct Write {
    uint64_t id;
    uint64_t offset;
    std::vector<std::byte> data;
    bool completed = false, failed = false;
  };
  struct File {
    std::vector<std::byte> durable;  // what a sync proved
    std::vector<std::byte> view;     // what a read sees
    std::set<uint64_t> bad;          // blocks that cannot be read until they are written
    std::vector<Write> unsynced;
    std::vector<bool> blocks;  // which have space
    uint64_t block_count = 0;
    // How many bytes of space a range would take that it has not, and gives or takes it.
    uint64_t missing(uint64_t offset, uint64_t length) const;
    void allocate(uint64_t offset, uint64_t length, bool on);
    bool linked = false;  // its directory entry was synced
  };

  std::map<FileId, std::shared_ptr<File>> files;
  std::map<FileId, std::shared_ptr<File>> unlinked;  // removed, directory not synced since
  std::vector<std::pair<FileId, std::shared_ptr<File>>> aside;
  // What the last removed segment held; its space goes to the next one.
  std::vector<std::byte> rubble;
  uint64_t capacity_bytes = UINT64_MAX;
  uint64_t next_write = 0;

  uint64_t used_bytes() const;
  // Loses, keeps and tears what was not synced.
  void crash(Rng& rng);
};

class Scheduler {
 public:
  Scheduler(asio::io_context& context, Rng& rng) : context_(context), rng_(rng) {}
  // Runs until `done` or nothing can run any more. False in the latter case.
  bool run_until(const std::function<bool()>& done);

  awaitable<void> pause();  // until the scheduler picks this coroutine
  awaitable<void> sleep_ms(int64_t ms);
  int64_t now_ms() const { return now_ms_; }
  void set_now_ms(int64_t now) { now_ms_ = now; }
  // What a clock on the wall says, which somebody may set; timers go on as they were.
  int64_t wall_ms() const { return now_ms_ + wall_ahead_ms_; }
  void turn_wall_ms(int64_t by) { wall_ahead_ms_ += by; }
  void clear() {
    ready_.clear();
    timers_.clear();
  }

 private:
  asio::io_context& context_;
  Rng& rng_;
  std::vector<Resume<>> ready_;
  std::multimap<int64_t, Resume<>> timers_;
  int64_t now_ms_ = 1'700'000'000'000, wall_ahead_ms_ = 0;
};

class SimClock final : public Clock {
 public:
  explicit SimClock(Scheduler& scheduler) : scheduler_(scheduler) {}
  int64_t now_ms() const override { return scheduler_.wall_ms(); }
  int64_t steady_ms() const override { return scheduler_.now_ms(); }
  awaitable<void> sleep_ms(int64_t ms) override { return scheduler_.sleep_ms(ms); }

 private:
  Scheduler& scheduler_;
};

struct Faults {
  uint64_t crash_at_call = UINT64_MAX;  // the world ends at this volume call
  double write_error = 0;               // chance that a write fails with EIO
  double sync_error = 0;
  double read_error = 0;
};

class SimVolume final : public Volume {
 public:
  SimVolume(Disk& disk, Scheduler& scheduler, Rng& rng, Faults faults = {})
      : disk_(disk), scheduler_(scheduler), rng_(rng), faults_(faults) {
    for (auto& [id, file] : disk_.files) {  // nobody waits for these any more
      for (auto& w : file->unsynced) w.failed = w.failed || !w.completed;
    }
  }

  bool crashed() const { return crashed_; }
  uint64_t calls() const { return calls_; }
  // A hash over all that was asked for, in order, and over what came before.
  uint64_t trace(uint64_t before) const { return trace_ ^ (before * 0x9e3779b97f4a7c15ULL); }

  awaitable<Status> create(FileId file, uint64_t reserve_bytes) override;
  awaitable<Status> write(FileId file, uint64_t offset, Bytes data, WriteMode mode) override;
  awaitable<StatusOr<size_t>> read(FileId file, uint64_t offset, MutableBytes into) override;
  awaitable<Status> sync(FileId file) override;
  awaitable<Status> sync_directory() override;
  awaitable<Status> punch(FileId file, uint64_t offset, uint64_t length) override;
  awaitable<Status> remove(FileId file) override;
  awaitable<Status> recycle(FileId file) override;
  awaitable<void> drop_recycled() override;
  awaitable<Status> keep_apart(FileId file) override;
  awaitable<StatusOr<std::vector<FileInfo>>> list() override;
  awaitable<StatusOr<uint64_t>> free_bytes() override;

 private:
  // Counts, suspends, and never returns once crashed.
  awaitable<void> call(char what, FileId file = {}, uint64_t offset = 0, Bytes data = {});
  bool chance(double p) { return p > 0 && std::uniform_real_distribution<>(0, 1)(rng_) < p; }
  StatusOr<std::shared_ptr<Disk::File>> find(FileId file);

  Disk& disk_;
  Scheduler& scheduler_;
  Rng& rng_;
  const Faults faults_;
  uint64_t calls_ = 0;
  uint64_t trace_ = 0;
  bool crashed_ = false;
};

}  // namespace cairn::sim

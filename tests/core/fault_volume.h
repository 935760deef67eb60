// A volume whose calls fail as a test says: the decorator of any other volume.
//
//   FaultVolume v(real);
//   v.fail_nth(Call::kSync, FileKind::kExtents, 3, absl::DataLossError("EIO"));   the third, once
//   v.fail_from(7, disk_full("ENOSPC"));                 every call of any kind from the seventh on
//
// Threads: the volume's.
#pragma once

#include <functional>
#include <optional>

#include "core/volume/volume.h"

namespace cairn {

enum class Call : uint8_t {
  kCreate,
  kSetAside,
  kWrite,
  kRead,
  kSync,
  kSyncDirectory,
  kPunch,
  kRemove,
  kList
};

class FaultVolume : public Volume {
 public:
  explicit FaultVolume(Volume& real) : real_(real) {}

  // Asked before every call, which fails with what it gives unless that is OK.
  using Fault = std::function<Status(Call, std::optional<FileId>)>;
  void set(Fault fault) { fault_ = std::move(fault); }
  void heal() { fault_ = nullptr; }
  // Awaited before every hole and removal.
  void delay_frees(std::function<awaitable<void>()> delay) { delay_ = std::move(delay); }
  uint64_t calls() const { return calls_; }
  int writing() const { return writing_; }  // writes that are under way

  // The n-th call that `concerns`, from 1, and if it lasts every one after it.
  void fail_nth(uint64_t n, bool lasts, Status with,
                std::function<bool(Call, std::optional<FileId>)> concerns) {
    set([=, seen = uint64_t{0}](Call call, std::optional<FileId> file) mutable {
      if (!concerns(call, file)) return absl::OkStatus();
      seen++;
      return seen == n || (lasts && seen > n) ? with : absl::OkStatus();
    });
  }

  awaitable<Status> create(FileId f, uint64_t bytes) override {
    Status s = ask(Call::kCreate, f);
    if (!s.ok()) co_return s;
    co_return co_await real_.create(f, bytes);
  }
  awaitable<Status> set_aside(FileId f, uint64_t bytes) override {
    Status s = ask(Call::kSetAside, f);
    if (!s.ok()) co_return s;
    co_return co_await real_.set_aside(f, bytes);
  }
  awaitable<Status> write(FileId f, uint64_t offset, Bytes data, WriteMode mode) override {
    Status s = ask(Call::kWrite, f);
    if (!s.ok()) co_return s;
    writing_++;
    s = co_await real_.write(f, offset, data, mode);
    writing_--;
    co_return s;
  }
  awaitable<StatusOr<size_t>> read(FileId f, uint64_t offset, MutableBytes into) override {
    Status s = ask(Call::kRead, f);
    if (!s.ok()) co_return s;
    co_return co_await real_.read(f, offset, into);
  }
  awaitable<Status> sync(FileId f) override {
    Status s = ask(Call::kSync, f);
    if (!s.ok()) co_return s;
    co_return co_await real_.sync(f);
  }
  awaitable<Status> sync_directory() override {
    Status s = ask(Call::kSyncDirectory, std::nullopt);
    if (!s.ok()) co_return s;
    co_return co_await real_.sync_directory();
  }
  awaitable<Status> punch(FileId f, uint64_t offset, uint64_t length) override {
    if (delay_) co_await delay_();
    Status s = ask(Call::kPunch, f);
    if (!s.ok()) co_return s;
    co_return co_await real_.punch(f, offset, length);
  }
  awaitable<Status> remove(FileId f) override {
    if (delay_) co_await delay_();
    Status s = ask(Call::kRemove, f);
    if (!s.ok()) co_return s;
    co_return co_await real_.remove(f);
  }
  awaitable<Status> keep_apart(FileId f) override { return real_.keep_apart(f); }
  awaitable<StatusOr<std::vector<FileInfo>>> list() override {
    Status s = ask(Call::kList, std::nullopt);
    if (!s.ok()) co_return s;
    co_return co_await real_.list();
  }
  awaitable<StatusOr<uint64_t>> free_bytes() override { return real_.free_bytes(); }

 private:
  Status ask(Call call, std::optional<FileId> file) {
    calls_++;
    return fault_ ? fault_(call, file) : absl::OkStatus();
  }

  Volume& real_;
  Fault fault_;
  std::function<awaitable<void>()> delay_;
  uint64_t calls_ = 0;
  int writing_ = 0;
};

}  // namespace cairn

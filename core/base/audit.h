// The audit log: who did what, to what, when and from where, and whether he was allowed to. One
// line of JSON each, as it happened:
//
//   {"time":"2026-01-31T12:00:00.123Z","door":"resp","user":"ada","address":"10.0.0.1:5000",
//    "action":"get","space":"db0","key":"user:1","allowed":true}
//   {"time":"…","door":"resp","user":"ada","address":"…","action":"login","allowed":false}
//   {"time":"…","lost":1200}     so many were not written: more came than may, or than the disk
//   took
//
// No value is in it, no password, and no word of a command but names of keys; a name is cut at 1
// KiB, and what is no UTF-8 of it is written as \u00XX.
//
// A door hands over a line and goes on: a thread of its own writes what has gathered, ten times a
// second. What waits is bounded in bytes, and what is taken each second in lines; what is more is
// counted. reopen() begins the file of that name anew, for who has moved it away.
//
// Threads: any.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "core/base/report.h"
#include "core/base/types.h"

namespace cairn {

class Audit {
 public:
  struct Entry {
    std::string_view door, user, address, action;
    std::string_view space = {}, key = {};
    bool allowed = true;
  };
  static constexpr size_t kWaitingBytesMax = 8 << 20;
  static constexpr uint64_t kPerSecond = 20'000;

  // Opens the file, mode 0600, at its end. `per_second`: 0 for no limit.
  static StatusOr<std::unique_ptr<Audit>> open(const std::string& path, uint64_t per_second,
                                               Report report);
  ~Audit();
  Audit(const Audit&) = delete;

  void note(const Entry& entry);
  void reopen();
  void flush();  // returns when what was noted before is in the file, or lost
  uint64_t lost() const;

 private:
  Audit(std::string path, int fd, uint64_t per_second, Report report);
  void run();
  void write(std::string_view lines, uint64_t lost);
  bool open_again();

  const std::string path_;
  const uint64_t per_second_;
  const Report report_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string waiting_;  // under mutex_, as are those below
  uint64_t lost_ = 0, lost_told_ = 0;
  int64_t second_ = 0;  // in which this many came:
  uint64_t of_second_ = 0;
  bool reopens_ = false, ends_ = false, flushes_ = false;

  // The thread's own.
  int fd_;
  bool failed_ = false;
  std::thread thread_;
};

}  // namespace cairn

#include "core/base/audit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <utility>

#include "core/base/text.h"
#include "core/base/utf8.h"

namespace cairn {
namespace {

int64_t now_ms() {
  using std::chrono::milliseconds;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(now).count();
}

void append_time(std::string& to, int64_t ms) {
  const time_t seconds = ms / 1000;
  tm utc{};
  gmtime_r(&seconds, &utc);
  char text[40];
  const size_t n = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  const int more = std::snprintf(text + n, sizeof(text) - n, ".%03dZ", static_cast<int>(ms % 1000));
  to.append(text, n + static_cast<size_t>(more));
}

void append_text(std::string& to, std::string_view name, std::string_view value) {
  constexpr size_t kBytesMax = 1024;
  append(to, ",\"", name, "\":\"");
  value = value.substr(0, kBytesMax);
  const bool whole = is_utf8(value);
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      to += '\\';
      to += c;
    } else if (byte < 0x20 || byte == 0x7f || (byte > 0x7f && !whole)) {
      char code[8];
      to.append(code, static_cast<size_t>(std::snprintf(code, sizeof(code), "\\u%04x", byte)));
    } else {
      to += c;
    }
  }
  to += '"';
}

StatusOr<int> open_file(const std::string& path) {
  // Opening a pipe that nobody reads would wait.
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
  if (fd < 0) return absl::InvalidArgumentError(cat(path, ": ", std::strerror(errno)));
  struct stat st {};
  if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) return fd;
  ::close(fd);
  return absl::InvalidArgumentError(cat(path, ": not a regular file"));
}

}  // namespace

StatusOr<std::unique_ptr<Audit>> Audit::open(const std::string& path, uint64_t per_second,
                                             Report report) {
  const auto fd = open_file(path);
  if (!fd.ok()) {
    return absl::InvalidArgumentError(cat("cannot write the audit log ", fd.status().message()));
  }
  return std::unique_ptr<Audit>(new Audit(path, *fd, per_second, std::move(report)));
}

Audit::Audit(std::string path, int fd, uint64_t per_second, Report report)
    : path_(std::move(path)),
      per_second_(per_second),
      report_(std::move(report)),
      fd_(fd),
      thread_([this] { run(); }) {}

Audit::~Audit() {
  {
    std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (fd_ >= 0) ::close(fd_);
}

void Audit::note(const Entry& entry) {
  const int64_t ms = now_ms();
  std::lock_guard lock(mutex_);
  if (std::exchange(second_, ms / 1000) != ms / 1000) of_second_ = 0;
  const bool too_many = per_second_ != 0 && ++of_second_ > per_second_;
  if (too_many || waiting_.size() >= kWaitingBytesMax) {
    lost_++;
    return;
  }
  waiting_ += "{\"time\":\"";
  append_time(waiting_, ms);
  waiting_ += '"';
  append_text(waiting_, "door", entry.door);
  append_text(waiting_, "user", entry.user);
  append_text(waiting_, "address", entry.address);
  append_text(waiting_, "action", entry.action);
  if (!entry.space.empty()) append_text(waiting_, "space", entry.space);
  if (!entry.key.empty()) append_text(waiting_, "key", entry.key);
  append(waiting_, ",\"allowed\":", entry.allowed ? "true" : "false", "}\n");
}

void Audit::reopen() {
  {
    std::lock_guard lock(mutex_);
    reopens_ = true;
  }
  changed_.notify_all();
}

void Audit::flush() {
  std::unique_lock lock(mutex_);
  flushes_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return !flushes_; });
}

uint64_t Audit::lost() const {
  std::lock_guard lock(mutex_);
  return lost_;
}

void Audit::run() {
  std::unique_lock lock(mutex_);
  for (bool last = false; !last;) {
    changed_.wait_for(lock, std::chrono::milliseconds(100),
                      [this] { return ends_ || reopens_ || flushes_; });
    last = ends_;
    const std::string lines = std::exchange(waiting_, {});
    const uint64_t lost = lost_ - lost_told_;
    bool flushes = flushes_;
    const bool reopens = std::exchange(reopens_, false);
    lock.unlock();
    if (write(lines) && lost != 0) tell(lost);
    if (reopens) {
      const Status s = open_again();
      if (!s.ok() && report_) {
        report_(Severity::kError, "audit",
                cat("cannot open again ", s.message(), "; the file that was open goes on"));
      }
    }
    lock.lock();
    if (std::exchange(flushes, false)) {
      flushes_ = false;
      changed_.notify_all();
    }
  }
}

Status Audit::open_again() {
  const auto fd = open_file(path_);
  if (!fd.ok()) return fd.status();
  end_torn_line();
  ::close(std::exchange(fd_, *fd));
  torn_bytes_ = 0;
  return absl::OkStatus();
}

// Takes off `left` what was written; false: the rest cannot be.
bool Audit::put(std::string_view& left) {
  while (!left.empty()) {
    const ssize_t n = ::write(fd_, left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const bool first = !std::exchange(failed_, true);
      if (first && report_) {
        report_(Severity::kError, "audit", cat("cannot write ", path_, ": ", std::strerror(errno)));
      }
      return false;
    }
    const std::string_view written = left.substr(0, static_cast<size_t>(n));
    const size_t end = written.rfind('\n');
    torn_bytes_ = end == written.npos ? torn_bytes_ + written.size() : written.size() - end - 1;
    left.remove_prefix(written.size());
  }
  if (std::exchange(failed_, false) && report_) {
    report_(Severity::kInfo, "audit", cat(path_, " is written again"));
  }
  return true;
}

// Nobody else writes the file; where it cannot be cut, as one that may only grow, the line ends.
void Audit::end_torn_line() {
  if (torn_bytes_ == 0) return;
  struct stat st {};
  const bool known = ::fstat(fd_, &st) == 0;
  const off_t whole = st.st_size - static_cast<off_t>(torn_bytes_);
  const bool cut = known && whole >= 0 && ::ftruncate(fd_, whole) == 0;
  if (cut || ::write(fd_, "\n", 1) == 1) torn_bytes_ = 0;
}

bool Audit::write(std::string_view lines) {
  if (lines.empty()) return true;
  end_torn_line();
  if (torn_bytes_ == 0 && put(lines)) return true;
  end_torn_line();
  const auto left = std::count(lines.begin(), lines.end(), '\n');
  std::lock_guard lock(mutex_);
  lost_ += static_cast<uint64_t>(left);
  return false;
}

void Audit::tell(uint64_t lost) {
  std::string told = "{\"time\":\"";
  append_time(told, now_ms());
  append(told, "\",\"lost\":", lost, "}\n");
  std::string_view left = told;
  end_torn_line();
  const bool is_told = torn_bytes_ == 0 && put(left);
  end_torn_line();
  if (!is_told) return;
  std::lock_guard lock(mutex_);
  lost_told_ += lost;
}

}  // namespace cairn

#include "core/base/audit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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

int open_file(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

}  // namespace

StatusOr<std::unique_ptr<Audit>> Audit::open(const std::string& path, uint64_t per_second,
                                             Report report) {
  const int fd = open_file(path);
  if (fd < 0) {
    return absl::InvalidArgumentError(
        cat("cannot write the audit log ", path, ": ", std::strerror(errno)));
  }
  return std::unique_ptr<Audit>(new Audit(path, fd, per_second, std::move(report)));
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
    const uint64_t lost = lost_ - std::exchange(lost_told_, lost_);
    bool flushes = flushes_;
    const bool reopens = std::exchange(reopens_, false);
    lock.unlock();
    if (!lines.empty() || lost != 0) write(lines, lost);
    if (reopens && !open_again() && report_) {
      report_(Severity::kError, "audit",
              cat("cannot open ", path_, " again: ", std::strerror(errno),
                  "; the file that was open goes on"));
    }
    lock.lock();
    if (std::exchange(flushes, false)) {
      flushes_ = false;
      changed_.notify_all();
    }
  }
}

bool Audit::open_again() {
  const int fd = open_file(path_);
  if (fd < 0) return false;
  ::close(std::exchange(fd_, fd));
  return true;
}

void Audit::write(std::string_view lines, uint64_t lost) {
  std::string told;
  if (lost != 0) {
    told = "{\"time\":\"";
    append_time(told, now_ms());
    append(told, "\",\"lost\":", lost, "}\n");
  }
  for (std::string_view part : {lines, std::string_view(told)}) {
    while (!part.empty()) {
      const ssize_t n = ::write(fd_, part.data(), part.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        const bool first = !std::exchange(failed_, true);
        if (first && report_) {
          report_(Severity::kError, "audit",
                  cat("cannot write ", path_, ": ", std::strerror(errno)));
        }
        std::lock_guard lock(mutex_);
        for (const char c : part) lost_ += c == '\n' ? 1 : 0;
        return;
      }
      part.remove_prefix(static_cast<size_t>(n));
    }
  }
  if (std::exchange(failed_, false) && report_) {
    report_(Severity::kInfo, "audit", cat(path_, " is written again"));
  }
}

}  // namespace cairn

// Access logs: a line for each request to a bucket that logs its accesses (BucketLogging), in the
// format of Amazon's server access logs, kept in memory and put as objects into the bucket that is
// to have them: every period, when one has become large, and at the end.
//
// Best effort, as at Amazon: what did not fit in memory, or its bucket did not take, is lost and
// counted, and a crash loses what was not put yet. What this puts is no request, so that no log
// logs itself.
//
// Threads: any.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/store/store.h"
#include "gateway/http/message.h"

namespace cairn::s3 {

struct Call;
struct Error;

class AccessLog {
 public:
  // Of an object, and of what is held in memory of all.
  static constexpr size_t kObjectBytes = 4 << 20, kHeldBytes = 16 << 20;

  AccessLog(Store& store, int64_t period_ms, std::string region)
      : store_(store), period_ms_(period_ms), region_(std::move(region)) {}

  // The store is open. Until stop(), which puts what there is.
  void start(const Executor& executor);
  awaitable<void> stop();

  // One more line, which ends with a newline, of a request to `source` at this time.
  void note(std::string_view source, const AccessLogging& to, int64_t time_ms,
            std::string_view line);

  uint64_t lost_lines() const { return lost_.load(std::memory_order_relaxed); }

 private:
  // What goes into one object: where to, as what, from which bucket, and of which day if the name
  // says it.
  using Kind = std::tuple<std::string, std::string, LogKeys, std::string, int64_t>;
  struct Lines {
    std::string text;
    uint64_t count = 0;
  };
  using All = std::map<Kind, Lines>;

  awaitable<void> run();
  awaitable<void> put_all();
  awaitable<Status> put(const Kind& kind, Lines& lines);
  std::string key_of(const Kind& kind) const;

  Store& store_;
  const int64_t period_ms_;
  const std::string region_;
  Mutex mutex_;
  All all_ ABSL_GUARDED_BY(mutex_);
  size_t held_ ABSL_GUARDED_BY(mutex_) = 0;  // bytes, with those that are being put
  bool failing_ = false;                     // the last try did, and it was reported
  std::atomic<uint64_t> lost_{0};
  std::atomic<bool> full_{false};  // one has become large
  std::atomic<bool> stopping_{false};
  Gate wake_;
  Tasks task_;
};

// What is known of a request before its answer leaves; its end makes a line of it.
class LoggedRequest {
 public:
  // Null: the bucket of the call logs no accesses.
  static std::unique_ptr<LoggedRequest> of(const Call& call, AccessLog* log, int64_t begun_ms,
                                           bool website);
  // The answer is made; `e` says that it is an error.
  void answered(const Error& e, const http::Response& response, std::string_view request_id);
  // `bytes` of its body have left.
  void left(uint64_t bytes);

 private:
  AccessLog* log_ = nullptr;
  Clock* clock_ = nullptr;
  std::shared_ptr<const Properties> properties_;
  std::string bucket_;
  std::string before_, behind_;         // of the line, around what is known last
  int64_t begun_ms_ = 0, made_ms_ = 0;  // steady
  int64_t time_ms_ = 0;
  std::string operation_, requester_, peer_, key_, uri_, referer_, agent_, version_, signature_,
      authentication_, host_, object_size_;
};

}  // namespace cairn::s3

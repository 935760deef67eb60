// Tells the targets of events (target.h) what the rules of buckets send them.
//
// For each target that a rule names, a coroutine follows the changes (core/store/change_feed.h),
// and sends what the rules want that its bucket has at that moment, in the order of the log, one
// delivery after the other. What was taken moves the target's position, which is kept in the store
// once a second and at the end: after a crash a target is told again what it was told last. A
// target that does not take a delivery is tried again, after 1 s, 2 s and so on up to a minute, for
// as long as a rule names it. Meanwhile the log keeps what it was not told, as far as
// `events-backlog` goes (core/log/log_pins.h); what is lost then is reported and counted. A message
// that it calls wrong (Outlet: InvalidArgument) is tried kRefusalsMax times, and passed over.
//
// Threads: any.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/async.h"
#include "core/base/mutex.h"
#include "core/log/log_pins.h"
#include "core/store/change_feed.h"
#include "gateway/events/outlet.h"

namespace cairn::events {

class Notifier {
 public:
  static constexpr int kRefusalsMax = 5;

  // From here on the log keeps all that it has, until start() knows who needs it: so before the
  // store opens. `owner`: of all buckets.
  Notifier(ChangeFeed& feed, const OutletParts& parts, std::vector<Target> targets,
           std::string owner, std::string region);
  // The store is open.
  awaitable<Status> start();
  // Notes how far everybody is; for deliveries under way it waits a little.
  awaitable<void> stop();

  ChangeFeed& feed() { return feed_; }
  const std::string& owner() const { return owner_; }
  const std::string& region() const { return region_; }
  std::vector<std::string> arns() const;
  // Around a change of a bucket's rules, which are to name these: what happens once it has begun
  // reaches them. InvalidArgument: one is none.
  awaitable<Status> begin_naming(std::vector<std::string> arns);
  void end_naming();

  struct Stats {
    std::string id;
    bool active = false;      // a rule names it
    uint64_t behind = 0;      // bytes of log that it has not been told of
    uint64_t sent = 0;        // events
    uint64_t failures = 0;    // tries that failed
    uint64_t refused = 0;     // events
    uint64_t lost_bytes = 0;  // of log, that it was not told of in time
  };
  std::vector<Stats> stats() const;

 private:
  struct Runner {
    Target target;
    std::string arn;
    std::unique_ptr<Outlet> outlet;
    std::atomic<uint64_t> sent{0}, failures{0}, refused{0}, lost_bytes{0};
    std::atomic<bool> active{false};
    std::atomic<uint64_t> turn{0};  // how often it became active
    std::atomic<uint64_t> done{0};  // LSN of what it is to be told next
    // Of mutex_.
    uint64_t saved = 0;  // in the store; 0: nothing is
    std::unique_ptr<LogPins::Pin> pin;
    // Of its coroutine.
    int64_t saved_ms = 0;
    bool failing = false;
    bool unsaved = false;  // it was told something since it was saved
  };

  awaitable<void> run(Runner& runner);
  awaitable<void> follow(Runner& runner, uint64_t turn);
  awaitable<bool> tell(Runner& runner, uint64_t turn, std::span<const FeedEvent> events);
  awaitable<bool> deliver(Runner& runner, uint64_t turn, const Delivery& delivery,
                          const FeedEvent& last);
  awaitable<std::optional<Lsn>> read_position(const Target& target);
  bool goes_on(const Runner& runner, uint64_t turn) const {
    return !stopping_ && runner.active && runner.turn == turn;
  }
  // All before `next` was told.
  void move(Runner& runner, uint64_t turn, Lsn next);
  void save_now_and_then(Runner& runner, uint64_t turn);
  Status activate(Runner& runner, Lsn from) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Status save(Runner& runner) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void forget(Runner& runner) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Targets that no rule names any more are told nothing.
  void look_at_rules();
  bool is_named(const std::string& arn) const;
  void report(Severity severity, const Runner& runner, std::string_view text) const;

  ChangeFeed& feed_;
  Store& store_;
  const std::string owner_, region_;
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> running_{0};
  Gate changed_;  // a runner's `active`, `stopping_` or `running_`
  mutable Mutex mutex_;
  size_t naming_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<LogPins::Pin> all_ ABSL_GUARDED_BY(mutex_);  // until start()
  std::vector<std::unique_ptr<Runner>> runners_;               // constant
};

}  // namespace cairn::events

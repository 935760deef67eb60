// Who is connected to the gRPC door and has shown no good credentials yet: strangers; and how many
// calls live.
//
// gRPC 1.51 bounds the streams of a connection that are open, and forgets at once those that its
// peer reset. Their calls it does not forget: it reads and parses as long as there are bytes, and
// lets no call end before it comes to a pause. Two connections that opened streams and reset them,
// without a password, made 2.7 GiB so. So the calls are counted where gRPC makes them, and when
// there are too many, the strangers that sent more than a little are cut off, in the middle of
// whatever they send; then it comes to its pause. A client with credentials is not cut off.
//
//   - kCallsMax calls live before strangers go, of those that showed no credentials, or not yet;
//     those whose bytes gRPC had read by then are more. A stranger that sent up to kStrangerBytes
//     stays. Who comes meanwhile waits for a moment, and is let in: he may have credentials.
//   - Of a stranger, kCallsOfStranger calls are served at once, and of all of them
//   kStrangerCallsMax
//     live; the one with the most goes for more. A call of his may last for `patience_ms`: then it
//     is asked to end, and the connection ends if it does not.
//   - kStrangersMax strangers: the oldest goes for a new one.
//
// So calls of strangers take nothing from who has credentials; the number of his own is not limited
// here. But what they are answered is: gRPC keeps an answer until its client has taken it, in no
// sum of ours and for as long as the client likes (300 answers of 3 MiB to one that took
// nothing: 1.8 GB). All but small ones are counted here until their call ends. Who is about to make
// one waits until there is room, in the order in which they came, except that a connection holds no
// more than it leaves to others: so one that takes nothing stops nobody else. What was counted is
// the most that the answer may have; once it is made, it counts as large as it is, and if it is not
// taken in time from then on, its call is cancelled. A call that is cancelled waits no longer. A
// long answer counts message by message, each until gRPC has passed it on (collection_streams.h).
//
// A connection's descriptor is gRPC's, who closes it. Here is a duplicate of a stranger's, since
// the number alone might be another connection's by now; it is closed with the next look after
// gRPC closed its own.
//
// Threads: any.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <grpcpp/server_context.h>

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/async.h"
#include "core/base/clock.h"
#include "core/base/mutex.h"
#include "core/base/types.h"

namespace cairn::rpc {

class Connections : public std::enable_shared_from_this<Connections> {
 public:
  static constexpr size_t kStrangersMax = 1'000;
  static constexpr int64_t kCallsMax = 4'096;
  static constexpr size_t kStrangerCallsMax = 2'048;
  static constexpr size_t kCallsOfStranger = 8;
  static constexpr uint64_t kStrangerBytes = 64 << 10;

  // Descriptors at or above `descriptors_below` are for the storage.
  Connections(Executor executor, Clock& clock, int descriptors_below, int64_t patience_ms = 60'000)
      : executor_(std::move(executor)),
        clock_(clock),
        descriptors_below_(descriptors_below),
        patience_ms_(patience_ms) {}
  ~Connections();
  Connections(const Connections&) = delete;

  // A new one, about to be handed to gRPC; false: there are too few descriptors.
  bool add(int descriptor, const asio::ip::tcp::endpoint& peer);
  // Before it is handed over: for a moment, while there are too many calls.
  awaitable<void> wait_for_room();

  // What gRPC makes the contexts of calls with, and so counts them here. The contexts below are
  // such.
  std::unique_ptr<grpc::ContextAllocator> contexts();
  // This call came with good credentials: its connection is no stranger's, now and later.
  void trust(grpc::CallbackServerContext& context);
  // This call came without. False: its connection is a stranger's who has too many.
  bool serve_without(grpc::CallbackServerContext& context);
  // After serve_without(): the call can end by itself when its time is over, and then does so. On
  // any thread, once at most, and perhaps when the call has ended. Never for who is no stranger.
  void when_over(grpc::CallbackServerContext& context, std::function<void()> end);
  // Before an answer of so many bytes is made, for this call: until those that were not taken yet
  // leave room, which is `most` for all of them. False: they did not in time.
  awaitable<bool> wait_for_answers(grpc::CallbackServerContext& context, uint64_t bytes,
                                   uint64_t most);
  // The answer is made and goes to gRPC now: from here on its client is waited for. It has so many
  // bytes of those that were counted.
  void answer_goes(grpc::CallbackServerContext& context, uint64_t bytes);
  // Of what was counted for this call so many bytes are left; its client is not waited for here.
  void lower_answer(grpc::CallbackServerContext& context, uint64_t bytes);
  // The same as wait_for_answers() for one that could be made at once.
  void count_answer(grpc::CallbackServerContext& context, uint64_t bytes);
  // Half at most is taken without standing in line, so that the rest goes by turns.
  bool has_room(uint64_t most) const {
    return answer_bytes_.load(std::memory_order_relaxed) < most / 2;
  }
  // Those that have shown no credentials.
  int64_t calls() const { return calls_.load(std::memory_order_relaxed); }

 private:
  class Contexts;
  class Call;
  struct Stranger {
    std::string peer;
    int duplicate;
    std::list<Call*> calls;  // those that came to serve_without(), the oldest first
  };
  using Place = std::list<Stranger>::iterator;
  struct Standing {  // a call in wait_for_answers()
    std::shared_ptr<Waiter> waiter;
    Call* call;
    uint64_t bytes, most;
    bool served = false;
  };

  void begin();
  void end();
  bool end(Call& call);  // false: it is deleted by others
  void count(Call& call, uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void lower(Call& call, uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // to so many
  void serve() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);  // who waits and has room now
  void wake_cancelled();
  void watch_if_nobody_does();
  void cancel_untaken();
  void vouch(Call& call);
  void too_many();
  static awaitable<void> watch(std::shared_ptr<Connections> self);
  bool look_after_all();  // false: there is nobody
  void forget_closed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Calls to end that are too old. Whose calls did not end when they were asked to is cut off.
  std::vector<std::function<void()>> overdue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void cut_who_has_most() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void drop(Place stranger, bool cut) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Executor executor_;
  Clock& clock_;
  const int descriptors_below_;
  const int64_t patience_ms_;
  std::atomic<int64_t> calls_{0};
  Gate room_;                             // calls_ is kCallsMax again
  std::atomic<int64_t> next_look_ns_{0};  // of too_many()
  std::atomic<size_t> strangers_count_{0};

  std::atomic<uint64_t> answer_bytes_{0};
  std::atomic<int> waiting_{0};  // in line_, and not served

  Mutex mutex_;
  std::list<Standing> line_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, uint64_t> held_by_ ABSL_GUARDED_BY(mutex_);  // by connection
  std::list<Call*> answers_ ABSL_GUARDED_BY(mutex_);  // calls with large ones, the oldest first
  bool watching_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<Stranger> strangers_ ABSL_GUARDED_BY(mutex_);  // the oldest first
  size_t stranger_calls_ ABSL_GUARDED_BY(mutex_) = 0;      // of all of them
  absl::flat_hash_map<std::string, Place> by_peer_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace cairn::rpc

#include "gateway/grpc/connections.h"

#include <fcntl.h>
#include <grpcpp/generic/async_generic_service.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>

#include "core/base/async.h"
#include "core/base/text.h"
#include "gateway/grpc/tcp_info.h"

namespace cairn::rpc {

namespace {

using asio::ip::tcp;

constexpr int64_t kLookMs = 500;  // between two looks at those who are late
// An answer that was not taken for so long is in the way of others who wait.
constexpr int64_t kPatienceForOthersMs = 10'000;

// The clock on the wall may be set ahead, and no call is to end for that.
int64_t steady_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// ADDRESS:PORT without brackets, escapes and scope, of the peer's name as gRPC writes it:
// "ipv4:127.0.0.1:1234", "ipv6:%5B::1%5D:1234".
std::string plain_peer(std::string_view peer) {
  const size_t scheme = peer.find(':');
  const size_t colon = peer.rfind(':');
  if (scheme == peer.npos || colon <= scheme) return std::string(peer);
  std::string_view address = peer.substr(scheme + 1, colon - scheme - 1);
  for (std::string_view open : {"%5B", "["}) {
    if (address.starts_with(open)) address.remove_prefix(open.size());
  }
  return cat(address.substr(0, address.find_first_of("%]")), peer.substr(colon));
}

std::string name_of(const tcp::endpoint& peer) {
  asio::ip::address address = peer.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  const std::string text = address.to_string();
  return cat(std::string_view(text).substr(0, text.find('%')), ":", peer.port());
}

// Ends a connection with a reset, and forgets what came in and was not read: shutdown() alone would
// have gRPC read megabytes more.
void disconnect(int descriptor) {
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  if (::connect(descriptor, &nobody, sizeof(nobody)) != 0) ::shutdown(descriptor, SHUT_RDWR);
}

}  // namespace

// A call, as long as gRPC has it.
class Connections::Call final : public grpc::CallbackServerContext {
 public:
  static Call& of(grpc::CallbackServerContext& context) { return static_cast<Call&>(context); }

  std::atomic<bool> vouched{false};          // it is not counted in calls_
  std::atomic<Stranger*> stranger{nullptr};  // set and cleared under the lock, as all that follows
  std::list<Call*>::iterator place;          // among the stranger's, if there is one
  int64_t due_ms = 0;                        // when it has to be over
  std::function<void()> end;                 // empty: it cannot end, or was asked to

  std::atomic<uint64_t> answer_bytes{0};    // counted; then, under the lock:
  std::list<Call*>::iterator answer_place;  // among answers_
  std::string peer;                         // whose part it is counted in
  int64_t answered_ms = INT64_MAX;          // since when it is gRPC's, and its client's to take
  bool cancelling = false, ended = false;
};

class Connections::Contexts final : public grpc::ContextAllocator {
 public:
  explicit Contexts(std::shared_ptr<Connections> connections)
      : connections_(std::move(connections)) {}
  grpc::CallbackServerContext* NewCallbackServerContext() override {
    auto* call = new Call;
    connections_->begin();
    return call;
  }
  // Of a method that does not exist, which gRPC answers by itself. Without one from here it makes
  // its own, and releases that here nevertheless.
  grpc::GenericCallbackServerContext* NewGenericCallbackServerContext() override {
    connections_->begin();
    return new grpc::GenericCallbackServerContext;
  }
  void Release(grpc::CallbackServerContext* context) override {
    if (auto* call = dynamic_cast<Call*>(context)) {
      if (connections_->end(*call)) delete call;
    } else {
      Release(static_cast<grpc::GenericCallbackServerContext*>(context));
    }
  }
  void Release(grpc::GenericCallbackServerContext* context) override {
    connections_->end();
    delete context;
  }

 private:
  const std::shared_ptr<Connections> connections_;
};

std::unique_ptr<grpc::ContextAllocator> Connections::contexts() {
  return std::make_unique<Contexts>(shared_from_this());
}

Connections::~Connections() {
  std::vector<std::shared_ptr<Waiter>> waiters;
  {
    MutexLock lock(mutex_);
    while (!strangers_.empty()) drop(strangers_.begin(), false);
    for (Standing& s : line_) waiters.push_back(s.waiter);
  }
  for (auto& waiter : waiters) waiter->drop();
}

// ---- calls ----

void Connections::begin() {
  const int64_t now = calls_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (now > kCallsMax) too_many();
}

void Connections::end() {
  if (calls_.fetch_sub(1) == kCallsMax + 1) room_.notify();
}

void Connections::vouch(Call& call) {
  if (!call.vouched.exchange(true)) end();
}

bool Connections::end(Call& call) {
  vouch(call);
  const uint64_t bytes = call.answer_bytes.load(std::memory_order_relaxed);
  if (call.stranger == nullptr && bytes == 0) return true;
  MutexLock lock(mutex_);
  if (Stranger* stranger = call.stranger; stranger != nullptr) {  // else dropped meanwhile
    stranger->calls.erase(call.place);
    stranger_calls_--;
  }
  if (bytes == 0) return true;
  lower(call, 0);
  call.ended = true;
  return !call.cancelling;
}

// ---- answers ----

void Connections::count(Call& call, uint64_t bytes) {
  answer_bytes_ += bytes;
  held_by_[call.peer] += bytes;
  if (call.answer_bytes.fetch_add(bytes) == 0) {
    call.answer_place = answers_.insert(answers_.end(), &call);
  }
}

void Connections::lower(Call& call, uint64_t bytes) {
  const uint64_t before = call.answer_bytes.load(std::memory_order_relaxed);
  if (bytes >= before) return;
  answer_bytes_ -= before - bytes;
  call.answer_bytes = bytes;
  if (bytes == 0) answers_.erase(call.answer_place);
  if (auto held = held_by_.find(call.peer); (held->second -= before - bytes) == 0) {
    held_by_.erase(held);
  }
  serve();
}

void Connections::serve() {
  for (Standing& s : line_) {
    if (s.served) continue;
    const auto held = held_by_.find(s.call->peer);
    const uint64_t free = s.most - std::min<uint64_t>(s.most, answer_bytes_);
    // No connection holds more than it leaves to others; those behind it may have room.
    if (held != held_by_.end() && held->second + s.bytes > free) continue;
    if (answer_bytes_ != 0 && s.bytes > free) return;
    s.served = true;
    waiting_--;
    count(*s.call, s.bytes);
    s.waiter->wake();
  }
}

awaitable<bool> Connections::wait_for_answers(grpc::CallbackServerContext& context, uint64_t bytes,
                                              uint64_t most) {
  Call& call = Call::of(context);
  if (bytes == 0) co_return true;
  auto waiter = std::make_shared<Waiter>();
  std::list<Standing>::iterator place;
  {
    std::string peer = context.peer();
    MutexLock lock(mutex_);
    if (call.peer.empty()) call.peer = std::move(peer);
    place = line_.insert(line_.end(), {waiter, &call, bytes, most});
    waiting_++;
    serve();
  }
  watch_if_nobody_does();
  const int64_t patience_ms = 2 * patience_ms_ + kLookMs;  // the oldest are cancelled before that
  (void)co_await waiter->wait(clock_, patience_ms);        // at once for who was served
  MutexLock lock(mutex_);
  const bool served = place->served;
  if (!served) waiting_--;
  line_.erase(place);
  serve();  // who stood behind it
  co_return served && !call.IsCancelled();
}

void Connections::count_answer(grpc::CallbackServerContext& context, uint64_t bytes) {
  if (bytes == 0) return;
  Call& call = Call::of(context);
  {
    std::string peer = context.peer();
    MutexLock lock(mutex_);
    if (call.peer.empty()) call.peer = std::move(peer);
    count(call, bytes);
  }
  watch_if_nobody_does();
}

void Connections::answer_goes(grpc::CallbackServerContext& context, uint64_t bytes) {
  Call& call = Call::of(context);
  if (call.answer_bytes.load(std::memory_order_relaxed) == 0) return;
  MutexLock lock(mutex_);
  call.answered_ms = steady_ms();
  lower(call, bytes);
}

void Connections::lower_answer(grpc::CallbackServerContext& context, uint64_t bytes) {
  Call& call = Call::of(context);
  if (call.answer_bytes.load(std::memory_order_relaxed) == 0) return;
  MutexLock lock(mutex_);
  call.answered_ms = INT64_MAX;
  lower(call, bytes);
}

void Connections::wake_cancelled() {
  MutexLock lock(mutex_);
  for (Standing& s : line_) {
    if (!s.served && s.call->IsCancelled()) s.waiter->cancel();
  }
}

void Connections::cancel_untaken() {
  const int64_t patience =
      waiting_ > 0 ? std::min(patience_ms_, kPatienceForOthersMs) : patience_ms_;
  const int64_t before = steady_ms() - patience;
  std::vector<Call*> late;
  {
    MutexLock lock(mutex_);
    for (Call* call : answers_) {
      if (call->cancelling || call->answered_ms > before) continue;
      call->cancelling = true;
      late.push_back(call);
    }
  }
  for (Call* call : late) {
    call->TryCancel();  // the call may end in here
    bool ended;
    {
      MutexLock lock(mutex_);
      call->cancelling = false;
      ended = call->ended;
    }
    if (ended) delete call;
  }
}

void Connections::trust(grpc::CallbackServerContext& context) {
  Call& call = Call::of(context);
  vouch(call);
  if (strangers_count_.load(std::memory_order_relaxed) == 0) return;
  const std::string name = plain_peer(context.peer());
  MutexLock lock(mutex_);
  auto found = by_peer_.find(name);
  if (found == by_peer_.end()) return;
  for (Call* other : found->second->calls) vouch(*other);
  drop(found->second, false);
}

bool Connections::serve_without(grpc::CallbackServerContext& context) {
  Call& call = Call::of(context);
  const std::string name = plain_peer(context.peer());
  MutexLock lock(mutex_);
  auto found = by_peer_.find(name);
  if (found == by_peer_.end()) {  // known by now, or cut off
    vouch(call);
    return true;
  }
  Stranger& stranger = *found->second;
  call.place = stranger.calls.insert(stranger.calls.end(), &call);
  call.stranger = &stranger;
  call.due_ms = steady_ms() + patience_ms_;
  const bool served = stranger.calls.size() <= kCallsOfStranger;
  if (++stranger_calls_ > kStrangerCallsMax) cut_who_has_most();
  return served;
}

void Connections::when_over(grpc::CallbackServerContext& context, std::function<void()> end) {
  Call& call = Call::of(context);
  MutexLock lock(mutex_);
  if (call.stranger != nullptr) call.end = std::move(end);
}

void Connections::cut_who_has_most() {
  auto most = strangers_.begin();
  for (auto it = strangers_.begin(); it != strangers_.end(); ++it) {
    if (it->calls.size() > most->calls.size()) most = it;
  }
  drop(most, true);
}

std::vector<std::function<void()>> Connections::overdue() {
  const int64_t now = steady_ms();
  std::vector<std::function<void()>> ends;
  for (auto it = strangers_.begin(); it != strangers_.end();) {
    const Place stranger = it++;
    bool cut = false;
    for (Call* call : stranger->calls) {
      if (now < call->due_ms) continue;
      cut |= call->end == nullptr;
      if (call->end == nullptr) continue;
      ends.push_back(std::exchange(call->end, nullptr));
      call->due_ms = now + patience_ms_;
    }
    if (cut) drop(stranger, true);
  }
  return ends;
}

// ---- connections ----

bool Connections::add(int descriptor, const tcp::endpoint& peer) {
  {
    MutexLock lock(mutex_);
    if (strangers_.size() >= kStrangersMax) forget_closed();
    if (strangers_.size() >= kStrangersMax) drop(strangers_.begin(), true);
    const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return false;
    if (copy >= descriptors_below_) {
      ::close(copy);
      return false;
    }
    std::string name = name_of(peer);
    if (auto old = by_peer_.find(name); old != by_peer_.end()) drop(old->second, false);
    strangers_.push_back({name, copy, {}});
    by_peer_[std::move(name)] = std::prev(strangers_.end());
    strangers_count_ = strangers_.size();
  }
  watch_if_nobody_does();
  return true;
}

// A connection that waits here is not in gRPC's hands, and adds no calls.
awaitable<void> Connections::wait_for_room() {
  constexpr int64_t kPatienceMs = 1000;
  (void)co_await room_.until([this] { return calls() <= kCallsMax; }, clock_, kPatienceMs);
}

void Connections::watch_if_nobody_does() {
  {
    MutexLock lock(mutex_);
    if (std::exchange(watching_, true)) return;
  }
  spawn(executor_, "watching gRPC connections", watch(shared_from_this()));
}

// As long as there are any: a duplicate keeps a descriptor that others may need.
awaitable<void> Connections::watch(std::shared_ptr<Connections> self) {
  for (bool any = true; any;) {
    co_await self->clock_.sleep_ms(kLookMs);
    self->cancel_untaken();
    self->wake_cancelled();
    any = self->look_after_all();
  }
}

bool Connections::look_after_all() {
  std::vector<std::function<void()>> ends;
  {
    MutexLock lock(mutex_);
    forget_closed();
    if (strangers_.empty() && answers_.empty() && line_.empty()) return watching_ = false;
    ends = overdue();
  }
  for (auto& end : ends) end();  // what it calls may come back here
  return true;
}

void Connections::forget_closed() {
  for (auto it = strangers_.begin(); it != strangers_.end();) {
    const Place stranger = it++;
    if (tcp_state(stranger->duplicate).closed) drop(stranger, false);
  }
}

// It runs on the thread that reads what makes the calls.
void Connections::too_many() {
  constexpr int64_t kPauseNs = 1'000'000;
  const int64_t now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                          std::chrono::steady_clock::now().time_since_epoch())
                          .count();
  int64_t next = next_look_ns_.load(std::memory_order_relaxed);
  if (now < next || !next_look_ns_.compare_exchange_strong(next, now + kPauseNs)) return;
  MutexLock lock(mutex_);
  for (auto it = strangers_.begin(); it != strangers_.end();) {
    const Place stranger = it++;
    if (tcp_state(stranger->duplicate).bytes_received > kStrangerBytes) drop(stranger, true);
  }
}

void Connections::drop(Place stranger, bool cut) {
  for (Call* call : stranger->calls) {
    call->end = nullptr;
    call->stranger = nullptr;  // last: from here on it may be gone
  }
  stranger_calls_ -= stranger->calls.size();
  if (cut) disconnect(stranger->duplicate);
  ::close(stranger->duplicate);
  by_peer_.erase(stranger->peer);
  strangers_.erase(stranger);
  strangers_count_ = strangers_.size();
}

}  // namespace cairn::rpc

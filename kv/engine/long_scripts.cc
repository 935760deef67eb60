#include "kv/engine/long_scripts.h"

#include <absl/cleanup/cleanup.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>

#include "core/base/errors.h"

namespace cairn::kv {

LongScripts::LongScripts(Server& server, std::vector<std::unique_ptr<Engine>>& engines,
                         size_t loops)
    : server_(server) {
  for (size_t i = loops; i < engines.size(); i++) {
    engines[i]->serve_from(*engines[i % loops]);
    engines_.push_back(engines[i].get());
  }
  server_.long_scripts = this;
  server_.store.memory().release_others_by([this] {
    const std::lock_guard lock(mutex_);
    releases_++;
    changed_.notify_all();
  });
}

namespace {
// An answer can be larger than all that a script may have: a table in a table, 60 deep, twice each.
uint64_t answer_max(const Server& server) {
  constexpr uint64_t kLeast = 64 << 20, kMost = 1 << 30;
  const uint64_t memory = server.store.memory_bytes();
  const uint64_t most = memory == 0 ? kMost : std::clamp(memory, kLeast, kMost);
  return std::min(most, server.client_limits.answer_max());
}
}  // namespace

awaitable<StatusOr<Engine::Outcome>> LongScripts::run(Session& session, Request& request,
                                                      Reply& reply) {
  const std::shared_ptr<Job> job(new Job{session, request});
  job->reply.set_limit(answer_max(server_));
  std::unique_ptr<Clock::Timer> patience;
  if (const int64_t most_ms = server_.store.busy().patience_ms; most_ms > 0) {
    const Executor executor = co_await asio::this_coro::executor;
    patience = server_.store.clock().call_after(executor, std::min(most_ms, Busy::kPatienceMsMax),
                                                [this, job] { give_up(job); });
  }
  session.away = true;
  // By reference: GCC 12 destroys what such a lambda holds once more than it was made.
  co_await suspend<>([this, &job](Resume<> wake) {
    job->wake = std::move(wake);
    begin(job);
  });
  session.away = false;
  const absl::Cleanup given = [this, &job] { note_given(*job); };
  if (!job->outcome.ok() || job->outcome->cold) co_return std::move(job->outcome);
  if (job->reply.overflowed()) {  // so it was taken back, and the error is as lost as the answer
    co_return absl::ResourceExhaustedError("the answer is too large, and nothing of it was done");
  }
  job->reply.give(reply);
  co_return std::move(job->outcome);
}

void LongScripts::note_given(const Job& job) {
  if (job.kept_bytes == 0) return;
  const std::lock_guard lock(mutex_);
  kept_bytes_ -= job.kept_bytes;
  changed_.notify_all();
}

bool LongScripts::may_begin() const {
  return !waiting_.empty() && kept_bytes_ <= server_.client_limits.together() / 2;
}

void LongScripts::begin(const std::shared_ptr<Job>& job) {
  const std::lock_guard lock(mutex_);
  if (stopping_) {
    job->outcome = absl::AbortedError("the server is about to stop");
    return job->wake();
  }
  waiting_.push_back(job);
  if (waiting_.size() > idle_ && threads_.size() < engines_.size()) {
    threads_.emplace_back([this, &engine = *engines_[threads_.size()]] { work(engine); });
  }
  changed_.notify_one();
}

void LongScripts::give_up(const std::shared_ptr<Job>& job) {
  {
    const std::lock_guard lock(mutex_);
    const auto it = std::find(waiting_.begin(), waiting_.end(), job);
    if (it == waiting_.end()) return;
    waiting_.erase(it);
  }
  const char* who = kBusyScript;
  (void)server_.running_scripts.oldest([&](const RunningScripts::Running& running) {
    if (running.function) who = kBusyFunction;
  });
  job->outcome = held_too_long(who);
  job->wake();
}

void LongScripts::stop() {
  server_.store.memory().release_others_by({});
  std::deque<std::shared_ptr<Job>> waiting;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    ending_ = true;
    waiting.swap(waiting_);
    changed_.notify_all();
  }
  for (auto& job : waiting) {
    job->outcome = absl::AbortedError("the server is about to stop");
    job->wake();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void LongScripts::work(Engine& engine) {
  std::unique_lock lock(mutex_);
  uint64_t released = releases_;
  for (;;) {
    idle_++;
    changed_.wait(lock, [&] { return stopping_ || may_begin() || released != releases_; });
    idle_--;
    if (std::exchange(released, releases_) != releases_ && !may_begin() && !stopping_) {
      lock.unlock();
      server_.store.options().release_memory();
      lock.lock();
      continue;
    }
    if (waiting_.empty()) return;
    const std::shared_ptr<Job> job = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    perform(engine, *job);
    lock.lock();
    kept_bytes_ += job->kept_bytes = job->reply.bytes();
    lock.unlock();
    job->wake();
    lock.lock();
  }
}

void LongScripts::perform(Engine& engine, Job& job) {
  Session::Lacking& lacking = *job.session.lacking;
  const auto holder = std::make_shared<Busy::Holder>(lacking.runs_long);
  for (int go = 0; go < kGoesMax; go++) {
    lacking.gave_way = false;
    job.outcome = engine.run_busy(job.session, job.request, job.reply, holder);
    if (!lacking.gave_way) return;
    holder->let_pass();
  }
  job.outcome = absl::AbortedError(
      "others came in between too often while the script ran, and nothing of it was done");
}

}  // namespace cairn::kv

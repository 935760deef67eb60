#include "kv/engine/long_scripts.h"

namespace cairn::kv {

LongScripts::LongScripts(Server& server, std::vector<std::unique_ptr<Engine>>& engines,
                         size_t loops)
    : server_(server) {
  for (size_t i = loops; i < engines.size(); i++) {
    engines[i]->serve_from(*engines[i % loops]);
    engines_.push_back(engines[i].get());
  }
  server_.long_scripts = this;
}

awaitable<StatusOr<Engine::Outcome>> LongScripts::run(Session& session, Request& request,
                                                      Reply& reply) {
  const std::shared_ptr<Job> job(new Job{session, request});
  job->reply.set_limit(server_.client_limits.answer_max());
  session.away = true;
  co_await suspend<>([this, job](Resume<> wake) {
    job->wake = std::move(wake);
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
  });
  session.away = false;
  if (job->outcome.ok() && !job->outcome->cold) job->reply.give(reply);
  co_return std::move(job->outcome);
}

void LongScripts::stop() {
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
  for (;;) {
    idle_++;
    changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    idle_--;
    if (waiting_.empty()) return;
    const std::shared_ptr<Job> job = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    perform(engine, *job);
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

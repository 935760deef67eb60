#include "gateway/grpc/health.h"

#include <algorithm>
#include <optional>

#include "gateway/grpc/connections.h"

namespace cairn::rpc {

// Says once how it is, which never changes, and stays until it is ended. Others may hold it for
// longer than gRPC does.
class HealthService::Watch final : public grpc::ServerWriteReactor<Answer>,
                                   public std::enable_shared_from_this<Watch> {
 public:
  explicit Watch(HealthService& of) : of_(of) {}

  void begin(Answer::ServingStatus status) {
    self_ = shared_from_this();
    {
      MutexLock lock(of_.mutex_);
      of_.watches_.insert(this);
    }
    answer_.set_status(status);
    StartWrite(&answer_);
  }
  // Now, or when what is on its way has left.
  void end(const grpc::Status& why) {
    {
      MutexLock lock(mutex_);
      if (!ending_) ending_ = why;
      if (writing_ || std::exchange(finished_, true)) return;
    }
    Finish(why);
  }

  void OnWriteDone(bool ok) override {
    std::optional<grpc::Status> why;
    {
      MutexLock lock(mutex_);
      writing_ = false;
      if (!ok && !ending_) ending_ = grpc::Status::CANCELLED;
      if (!ending_ || std::exchange(finished_, true)) return;
      why = ending_;
    }
    Finish(*why);
  }
  void OnCancel() override { end(grpc::Status::CANCELLED); }
  void OnDone() override {
    {
      MutexLock lock(of_.mutex_);
      of_.watches_.erase(this);
    }
    const auto last = std::move(self_);
  }

 private:
  HealthService& of_;
  std::shared_ptr<Watch> self_;  // gRPC's share
  Answer answer_;
  Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = true;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> ending_ ABSL_GUARDED_BY(mutex_);
};

HealthService::HealthService(const Shared& shared, std::vector<std::string> services)
    : Service(shared, For::kEverybody), services_(std::move(services)) {
  unary("/grpc.health.v1.Health/Check", Access::kNone, &HealthService::check);
  server_stream<Request, Answer>(
      "/grpc.health.v1.Health/Watch", Access::kNone,
      [this](Context* c, const Caller&, const Request* q) { return watch(c, *q); });
}

Unary* HealthService::check(Unary* c, const Caller&, const Request* q, Answer* a) {
  if (!serves(q->service())) {
    return finish(c, {grpc::NOT_FOUND, "no such service"});
  }
  a->set_status(Answer::SERVING);
  return finish(c, {});
}

grpc::ServerWriteReactor<HealthService::Answer>* HealthService::watch(Context* c,
                                                                      const Request& q) {
  const auto made = std::make_shared<Watch>(*this);
  shared_.connections.when_over(*c, [made = std::weak_ptr(made)] {
    if (auto watch = made.lock()) {
      watch->end({grpc::DEADLINE_EXCEEDED, "watch again; with credentials it lasts"});
    }
  });
  made->begin(serves(q.service()) ? Answer::SERVING : Answer::SERVICE_UNKNOWN);
  return made.get();
}

void HealthService::stop() {
  std::vector<std::shared_ptr<Watch>> all;
  {
    MutexLock lock(mutex_);
    for (Watch* watch : watches_) all.push_back(watch->shared_from_this());
  }
  for (auto& watch : all) watch->end({grpc::UNAVAILABLE, "the server ends"});
}

bool HealthService::serves(std::string_view name) const {
  return name.empty() || std::find(services_.begin(), services_.end(), name) != services_.end();
}

}  // namespace cairn::rpc

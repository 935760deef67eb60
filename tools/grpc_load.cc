// Load for the gRPC case of tools/bench, and the peer that it is compared with: a server that does
// nothing but what any gRPC server with callbacks must.
//
//   grpc_load echo                                   serves cairn.v1.KeyValue/Get, prints its port
//   grpc_load METHOD HOST:PORT PASSWORD COUNT INFLIGHT SIZE
//                                                    METHOD: get, put or everysec; prints ops/s and
//                                                    the p50 and p99 in microseconds
#include <absl/synchronization/mutex.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "cairn/v1/kv.grpc.pb.h"

namespace cairn {
namespace {

using std::chrono::steady_clock;

class Echo final : public v1::KeyValue::CallbackService {
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                v1::GetResponse* answer) override {
    answer->mutable_value()->set_value(request->key().key());
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

int echo() {
  Echo service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  auto server = builder.BuildAndStart();
  std::printf("ready grpc=127.0.0.1:%d\n", port);
  std::fflush(stdout);
  server->Wait();
  return 0;
}

struct Load {
  std::string method, password;
  size_t count = 0, size = 0;
  std::unique_ptr<v1::KeyValue::Stub> stub;
  std::atomic<size_t> next{0};
  std::atomic<size_t> failed{0};
  std::vector<double> micros;  // by number of the call
  std::mutex mutex;
  std::condition_variable ended;
  size_t running = 0;  // under the mutex
};

// One call after the other, until all are done.
class Lane {
 public:
  explicit Lane(Load& load) : load_(load) {}
  void step() {
    index_ = load_.next++;
    if (index_ >= load_.count) return leave();
    context_.emplace();
    context_->AddMetadata("authorization", "Bearer " + load_.password);
    begin_ = steady_clock::now();
    char key[24];
    std::snprintf(key, sizeof(key), "key:%012zu", index_ % 1000);
    auto done = [this](const grpc::Status& status) {
      load_.failed += !status.ok();
      load_.micros[index_] =
          std::chrono::duration<double, std::micro>(steady_clock::now() - begin_).count();
      step();
    };
    if (load_.method == "get") {
      get_.mutable_key()->set_key(key);
      load_.stub->async()->Get(&*context_, &get_, &got_, done);
    } else {
      put_.mutable_key()->set_key(key);
      put_.set_value(std::string(load_.size, 'v'));
      if (load_.method == "everysec") put_.set_durability(v1::DURABILITY_EVERYSEC);
      load_.stub->async()->Put(&*context_, &put_, &stored_, done);
    }
  }

 private:
  void leave() {
    std::lock_guard lock(load_.mutex);
    if (--load_.running == 0) load_.ended.notify_one();
  }
  Load& load_;
  size_t index_ = 0;
  std::optional<grpc::ClientContext> context_;
  steady_clock::time_point begin_;
  v1::GetRequest get_;
  v1::GetResponse got_;
  v1::PutRequest put_;
  v1::PutResponse stored_;
};

int run(char** argv) {
  Load load;
  load.method = argv[1];
  load.password = argv[3];
  load.count = std::strtoull(argv[4], nullptr, 10);
  load.running = std::strtoull(argv[5], nullptr, 10);
  load.size = std::strtoull(argv[6], nullptr, 10);
  load.micros.resize(load.count);
  load.stub =
      v1::KeyValue::NewStub(grpc::CreateChannel(argv[2], grpc::InsecureChannelCredentials()));
  std::vector<std::unique_ptr<Lane>> lanes;
  for (size_t i = 0; i < load.running; i++) lanes.push_back(std::make_unique<Lane>(load));
  const auto begin = steady_clock::now();
  for (auto& lane : lanes) lane->step();
  std::unique_lock lock(load.mutex);
  load.ended.wait(lock, [&] { return load.running == 0; });
  const double seconds = std::chrono::duration<double>(steady_clock::now() - begin).count();
  std::sort(load.micros.begin(), load.micros.end());
  std::printf("%.0f %.1f %.1f\n", static_cast<double>(load.count) / seconds,
              load.micros[load.count / 2], load.micros[load.count * 99 / 100]);
  if (load.failed > 0) std::fprintf(stderr, "%zu calls failed\n", load.failed.load());
  return load.failed > 0 ? 1 : 0;
}

}  // namespace
}  // namespace cairn

int main(int argc, char** argv) {
  // As cairnd: Debian's Abseil looks for cycles of locks at each that is taken.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "echo") return cairn::echo();
  if (argc == 7 && (what == "get" || what == "put" || what == "everysec")) return cairn::run(argv);
  std::fprintf(stderr, "usage: grpc_load echo | METHOD HOST:PORT PASSWORD COUNT INFLIGHT SIZE\n");
  return 2;
}

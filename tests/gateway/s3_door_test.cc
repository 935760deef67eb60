// The S3 door over a real store and real sockets, where a law needs to look inside.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <cerrno>
#include <filesystem>
#include <future>
#include <thread>

#include "core/volume/local_volume.h"
#include "gateway/http/door.h"
#include "gateway/http/s3/service.h"
#include "kv/types/type.h"
#include "tests/allocations.h"
#include "tests/gateway/aws_signer.h"

namespace cairn::s3 {
namespace {

struct S3Door : testing::Test {
  std::string directory = testing::TempDir() + "cairn-s3-XXXXXX";
  SystemClock clock;
  ChunkPool pool;
  net::Loops loops;
  net::Buffers buffers;
  std::unique_ptr<Volume> volume;
  std::thread thread;
  Users users{"root", "password", true};
  std::unique_ptr<Store> store;
  std::unique_ptr<Service> service;
  std::unique_ptr<http::Door> door;

  Status run(awaitable<Status> work) {
    std::promise<Status> result;
    asio::co_spawn(*loops.contexts.front(), std::move(work),
                   [&](std::exception_ptr, Status s) { result.set_value(std::move(s)); });
    return result.get_future().get();
  }
  void SetUp() override {
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    auto opened = LocalVolume::open({directory, true}, pool.memory());
    ASSERT_TRUE(opened.ok());
    volume = std::move(*opened);
    loops.contexts.push_back(std::make_unique<asio::io_context>(1));
    thread = std::thread([this] {
      auto work = asio::make_work_guard(*loops.contexts.front());
      loops.contexts.front()->run();
    });
    StoreOptions options;
    options.segment_bytes = 1 << 20;
    options.durability = Durability::kOff;
    options.collections = kv::collection_types();
    store = std::make_unique<Store>(*volume, clock, pool, loops.executors(), options);
    ASSERT_TRUE(run(store->open()).ok());
    service = std::make_unique<Service>(*store, users, "localhost", "us-east-1");
    door = std::make_unique<http::Door>(loops, buffers, [this](auto& request, auto& response) {
      return service->handle(request, response);
    });
    ASSERT_TRUE(door->listen({asio::ip::make_address("127.0.0.1"), 0}).ok());
    door->start();
  }
  void TearDown() override {
    door->stop();
    EXPECT_TRUE(run(store->close()).ok());
    loops.contexts.front()->stop();
    thread.join();
    store->drop_waiters();
    loops.contexts.clear();  // what still waits refers to the parts below
    door.reset();
    store.reset();
    std::filesystem::remove_all(directory);
  }

  // A request as it is sent.
  std::string text_of(std::string_view method, const std::string& path, std::string_view body = {},
                      const std::map<std::string, std::string>& headers = {}) {
    http::Request r;
    r.method = method;
    r.path = path;
    r.headers["host"] = "127.0.0.1";
    for (auto& [name, value] : headers) r.headers[name] = value;
    const std::string stamp = absl::FormatTime(
        "%E4Y%m%dT%H%M%SZ", absl::FromUnixMillis(clock.now_ms()), absl::UTCTimeZone());
    aws::Signer{"root", "password", stamp}.sign(r, aws::sha256(body));
    std::string out = cat(method, " ", path, " HTTP/1.1\r\n");
    for (auto& [name, value] : r.headers) append(out, name, ": ", value, "\r\n");
    append(out, "content-length: ", body.size(), "\r\n\r\n", body);
    return out;
  }
};

struct Client {
  explicit Client(const net::tcp::endpoint& to) {
    socket.connect(to);
    const timeval patience{60, 0};  // an answer that never comes fails the test
    ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  // The answer, with as many bytes of a body as its head says.
  std::string ask(std::string_view request) {
    asio::write(socket, asio::buffer(request));
    std::string got;
    size_t whole = std::string::npos;
    char bytes[4096];
    while (got.size() < whole) {
      const ssize_t n = ::recv(socket.native_handle(), bytes, sizeof(bytes), 0);
      if (n < 0 && errno == EINTR) continue;  // with patience the kernel does not go on by itself
      if (n <= 0) break;
      got.append(bytes, static_cast<size_t>(n));
      const size_t head = got.find("\r\n\r\n");
      if (head == got.npos || whole != got.npos) continue;
      constexpr std::string_view kLength = "\r\nContent-Length: ";
      const size_t at = got.find(kLength);
      const size_t length =
          at > head ? 0 : std::strtoul(got.c_str() + at + kLength.size(), nullptr, 10);
      whole = head + 4 + (request.starts_with("HEAD") ? 0 : length);
    }
    return got;
  }
  asio::io_context context;
  net::tcp::socket socket{context};
};

// Heads are read into the room of those before, signatures checked in that of the thread: what is
// left are frames of coroutines, the metadata of the object as it is decoded, and the value.
TEST_F(S3Door, ReadsTakeLittleMemory) {
  if (!kCountsAllocations) GTEST_SKIP() << "the sanitizer has an operator new of its own";
  static std::atomic<uint64_t> allocations;
  asio::post(*loops.contexts.front(), [] { count_allocations(&allocations); });
  Client client(door->local());
  ASSERT_TRUE(client.ask(text_of("PUT", "/bucket")).starts_with("HTTP/1.1 200"));
  const std::string body(4096, 'x');
  ASSERT_TRUE(client
                  .ask(text_of("PUT", "/bucket/photos/2026/image-0001.jpg", body,
                               {{"content-type", "application/octet-stream"},
                                {"x-amz-meta-camera", "of a brand whose name is long"}}))
                  .starts_with("HTTP/1.1 200"));
  for (const std::string method : {"GET", "HEAD"}) {
    const std::string request = text_of(method, "/bucket/photos/2026/image-0001.jpg");
    constexpr uint64_t kRequests = 200, kMost = 12;
    uint64_t least = UINT64_MAX;  // the store looks after itself meanwhile, by the clock
    for (int i = 0; i < 20 && least > kRequests * kMost; i++) {
      const uint64_t before = allocations;
      for (uint64_t k = 0; k < kRequests; k++) {
        const std::string got = client.ask(request);
        ASSERT_TRUE(got.starts_with("HTTP/1.1 200")) << got;
        ASSERT_EQ(got.ends_with(body), method == "GET");
      }
      least = std::min(least, allocations - before);
    }
    EXPECT_LE(least, kRequests * kMost) << method;
  }
}

}  // namespace
}  // namespace cairn::s3

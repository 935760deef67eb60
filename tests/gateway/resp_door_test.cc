// The Redis door over a real store and real sockets, where a law needs to look inside.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <filesystem>
#include <future>
#include <thread>

#include "core/local_volume.h"
#include "core/text.h"
#include "gateway/resp/door.h"

namespace cairn::resp {
namespace {

// A volume whose disk stands still while it is held.
struct HeldVolume : Volume {
  HeldVolume(Volume& real, Clock& clock) : real(real), clock(clock) {}
  Volume& real;
  Clock& clock;
  std::atomic<bool> held{false};

  awaitable<void> wait() {
    while (held) co_await clock.sleep_ms(1);
  }
  awaitable<Status> create(FileId f, uint64_t bytes) override { return real.create(f, bytes); }
  awaitable<Status> write(FileId f, uint64_t offset, Bytes data, WriteMode mode) override {
    co_await wait();
    co_return co_await real.write(f, offset, data, mode);
  }
  awaitable<StatusOr<size_t>> read(FileId f, uint64_t offset, MutableBytes into) override {
    return real.read(f, offset, into);
  }
  awaitable<Status> sync(FileId f) override {
    co_await wait();
    co_return co_await real.sync(f);
  }
  awaitable<Status> sync_directory() override { return real.sync_directory(); }
  awaitable<Status> punch(FileId f, uint64_t offset, uint64_t length) override {
    return real.punch(f, offset, length);
  }
  awaitable<Status> remove(FileId f) override { return real.remove(f); }
  awaitable<Status> set_aside(FileId f) override { return real.set_aside(f); }
  awaitable<StatusOr<std::vector<FileInfo>>> list() override { return real.list(); }
  awaitable<StatusOr<uint64_t>> free_bytes() override { return real.free_bytes(); }
};

// A clock on which a millisecond, what back-pressure waits at a time, does not pass while it is
// held.
struct HeldClock : Clock {
  SystemClock real;
  std::atomic<bool> held{false};
  int64_t now_ms() const override { return real.now_ms(); }
  awaitable<void> sleep_ms(int64_t ms) override {
    do {
      co_await real.sleep_ms(ms);
    } while (ms == 1 && held);
  }
};

struct DoorTest : testing::Test {
  std::string directory = testing::TempDir() + "cairn-door-XXXXXX";
  SystemClock disk_clock;
  HeldClock clock;
  ChunkPool pool;
  net::Loops loops;
  std::unique_ptr<Volume> real;
  std::unique_ptr<HeldVolume> volume;
  std::thread thread;
  const Users users{"root", "password", false};
  std::unique_ptr<Store> store;
  std::unique_ptr<kv::Server> server;
  const kv::Table table;
  std::vector<std::unique_ptr<kv::Engine>> engines;
  std::unique_ptr<Door> door;

  Status run(awaitable<Status> work) {
    std::promise<Status> result;
    asio::co_spawn(*loops.contexts.front(), std::move(work),
                   [&](std::exception_ptr, Status s) { result.set_value(std::move(s)); });
    return result.get_future().get();
  }

  // Of the test that has a second door; they live until nobody waits any more.
  std::unique_ptr<Store> loading;
  std::unique_ptr<kv::Server> other;
  std::vector<std::unique_ptr<kv::Engine>> own;
  std::unique_ptr<Door> closed;

  void SetUp() override {
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    auto opened = LocalVolume::open({directory, true}, pool.memory());
    ASSERT_TRUE(opened.ok());
    real = std::move(*opened);
    volume = std::make_unique<HeldVolume>(*real, disk_clock);
    loops.contexts.push_back(std::make_unique<asio::io_context>(1));
    thread = std::thread([this] {
      auto work = asio::make_work_guard(*loops.contexts.front());
      loops.contexts.front()->run();
    });
    StoreOptions options;
    options.segment_bytes = 1 << 20;
    options.durability = Durability::kOff;
    store = std::make_unique<Store>(*volume, clock, pool, loops.executors(), options);
    ASSERT_TRUE(run(store->open()).ok());
    server = std::make_unique<kv::Server>(*store, users);
    server->durability = Durability::kOff;
    server->auth_required = false;
    engines.push_back(std::make_unique<kv::Engine>(*server, table, engines));
    door = std::make_unique<Door>(loops, *server, engines);
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
    closed.reset();
    own.clear();
    other.reset();
    loading.reset();
    door.reset();
    store.reset();
    std::filesystem::remove_all(directory);
  }
};

struct Client {
  explicit Client(const net::tcp::endpoint& to) {
    socket.connect(to);
    const timeval patience{10, 0};  // an answer that never comes fails the test
    ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  void send(std::string_view text) { asio::write(socket, asio::buffer(text)); }
  // So many bytes, or those that came.
  std::string receive(size_t n) {
    std::string got(n, '\0');
    const ssize_t came = ::recv(socket.native_handle(), got.data(), n, MSG_WAITALL);
    return got.substr(0, static_cast<size_t>(std::max<ssize_t>(came, 0)));
  }
  asio::io_context context;
  net::tcp::socket socket{context};
};

TEST_F(DoorTest, ReadersDoNotWaitForALogThatIsCongested) {
  constexpr int kWrites = 120;  // 7 MB
  Client reader(door->local()), writer(door->local());
  reader.send("SET a 1\r\n");
  EXPECT_EQ(reader.receive(5), "+OK\r\n");
  volume->held = true;
  const std::string value(60000, 'x');
  for (int i = 0; i < kWrites; i++) {
    writer.send(cat("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$60000\r\n", value, "\r\n"));
    if (store->log().congested()) break;
  }
  while (!store->log().congested()) std::this_thread::yield();
  for (int i = 0; i < 3; i++) {
    reader.send("GET a\r\n");
    EXPECT_EQ(reader.receive(7), "$1\r\n1\r\n");
  }
  EXPECT_TRUE(store->log().congested());
  volume->held = false;
}

TEST_F(DoorTest, ReadersOfWhatIsThereDoNotWaitForMemory) {
  constexpr int kWrites = 60;  // 3.6 MB, fewer than congest the log
  Client reader(door->local()), writer(door->local());
  reader.send("SET a 1\r\n");
  EXPECT_EQ(reader.receive(5), "+OK\r\n");
  store->set_memory_bytes(2 << 20);
  volume->held = clock.held = true;  // nothing becomes durable, so nothing can leave memory
  const std::string value(60000, 'x');
  for (int i = 0; i < kWrites; i++) {
    writer.send(cat("*3\r\n$3\r\nSET\r\n$2\r\n", 10 + i, "\r\n$60000\r\n", value, "\r\n"));
    if (store->memory().overrun()) break;
  }
  while (!store->memory().overrun()) std::this_thread::yield();
  for (int i = 0; i < 3; i++) {
    reader.send("GET a\r\n");
    EXPECT_EQ(reader.receive(7), "$1\r\n1\r\n");
  }
  EXPECT_TRUE(store->memory().overrun());
  volume->held = clock.held = false;
}

// Commands that arrive in one packet are read before the first of them runs. Words of inline
// commands were views into the one text that the parser keeps: the later command overwrote the
// earlier one's, and the answer showed freed memory.
TEST_F(DoorTest, InlineCommandsOfOnePacketKeepTheirWords) {
  Client client(door->local());
  client.send("SET a 1\r\nSET b 2\r\n*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$1\r\n3\r\nSET d 4\r\n");
  EXPECT_EQ(client.receive(20), "+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
  client.send("GET a\r\nGET b\r\nGET c\r\nGET d\r\nINCR a\r\nINCR a\r\nPING\r\n");
  EXPECT_EQ(client.receive(43),
            "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n:2\r\n:3\r\n+PONG\r\n");
  EXPECT_EQ(store->database(0).size(), 4u);
}

// An empty word begins at the same byte as the one after it; its hash was taken for the other's.
TEST_F(DoorTest, EmptyInlineKeysAreKeysOfTheirOwn) {
  Client client(door->local());
  client.send("MSET \"\" 1 a 2\r\nMGET \"\" a b\r\nDEL \"\" a\r\n");
  EXPECT_EQ(client.receive(32), "+OK\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n:2\r\n");
  EXPECT_EQ(store->database(0).size(), 0u);
}

// Words longer than a small string, queued by MULTI and run when their packets are long gone.
TEST_F(DoorTest, QueuedCommandsKeepTheirWords) {
  Client client(door->local());
  const std::string value(50, 'v');
  client.send("MULTI\r\nSET a '" + value + "'\r\n");
  EXPECT_EQ(client.receive(14), "+OK\r\n+QUEUED\r\n");
  client.send("SET b 'x'\r\n");
  EXPECT_EQ(client.receive(9), "+QUEUED\r\n");
  client.send("EXEC\r\nGET a\r\n");
  EXPECT_EQ(client.receive(14 + 5 + 52), "*2\r\n+OK\r\n+OK\r\n$50\r\n" + value + "\r\n");
}

TEST_F(DoorTest, WhileAStoreLoadsItSaysSo) {
  // open() is never called
  loading = std::make_unique<Store>(*volume, clock, pool, loops.executors(), StoreOptions{});
  other = std::make_unique<kv::Server>(*loading, users);
  other->auth_required = false;
  own.push_back(std::make_unique<kv::Engine>(*other, table, own));
  closed = std::make_unique<Door>(loops, *other, own);
  ASSERT_TRUE(closed->listen({asio::ip::make_address("127.0.0.1"), 0}).ok());
  closed->start();
  Client client(closed->local());
  client.send("GET a\r\n");
  EXPECT_EQ(client.receive(8), "-LOADING");
}

}  // namespace
}  // namespace cairn::resp

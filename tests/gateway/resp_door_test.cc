// The Redis door over a real store and real sockets, where a law needs to look inside.
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <filesystem>
#include <future>
#include <thread>

#include "core/base/limits.h"
#include "core/base/text.h"
#include "core/volume/local_volume.h"
#include "gateway/resp/door.h"
#include "kv/types/type.h"
#include "tests/allocations.h"

namespace cairn::resp {
namespace {

// A volume whose disk stands still while it is held.
struct HeldVolume : Volume {
  HeldVolume(Volume& real, Clock& clock) : real(real), clock(clock) {}
  Volume& real;
  Clock& clock;
  std::atomic<bool> held{false};
  std::atomic<bool> reads_held{false};
  std::atomic<int> reads{0};  // of large values

  awaitable<void> wait() {
    while (held) co_await clock.sleep_ms(1);
  }
  awaitable<Status> create(FileId f, uint64_t bytes) override { return real.create(f, bytes); }
  awaitable<Status> write(FileId f, uint64_t offset, Bytes data, WriteMode mode) override {
    co_await wait();
    co_return co_await real.write(f, offset, data, mode);
  }
  awaitable<StatusOr<size_t>> read(FileId f, uint64_t offset, MutableBytes into) override {
    if (f.kind == FileKind::kExtents) {
      reads++;
      while (reads_held) co_await clock.sleep_ms(1);
    }
    co_return co_await real.read(f, offset, into);
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
  awaitable<Status> keep_apart(FileId f) override { return real.keep_apart(f); }
  awaitable<StatusOr<std::vector<FileInfo>>> list() override { return real.list(); }
  awaitable<StatusOr<uint64_t>> free_bytes() override { return real.free_bytes(); }
};

// A clock on which a millisecond, what back-pressure waits at a time, does not pass while it is
// held, and on which a second, at which the door looks after its clients, does at once while it is
// hurried. The time of day can be set ahead.
struct HeldClock : Clock {
  SystemClock real;
  std::atomic<bool> held{false}, hurried{false};
  std::atomic<int64_t> seconds{0}, ahead_ms{0};
  int64_t now_ms() const override { return real.now_ms() + ahead_ms; }
  awaitable<void> sleep_ms(int64_t ms) override {
    do {
      co_await real.sleep_ms(ms == 1000 && hurried ? 1 : ms);
    } while (ms == 1 && held);
    if (ms == 1000) seconds++;
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
  Users users{"root", "password", false};
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
    options.collections = kv::collection_types();
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
    if (closed) closed->stop();  // else its acceptor would outlive its loop
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
    size_t have = 0;
    while (have < n) {
      const ssize_t came = ::recv(socket.native_handle(), got.data() + have, n - have, 0);
      if (came < 0 && errno == EINTR)
        continue;  // with patience the kernel does not go on by itself
      if (came <= 0) break;
      have += static_cast<size_t>(came);
    }
    return got.substr(0, have);
  }
  asio::io_context context;
  net::tcp::socket socket{context};
};

// Parsing, running and answering take nothing from `new` once the buffers have grown: counted over
// commands that come one by one and sixteen at once. Entries of the index and blocks of lists,
// which are what is stored, are not from there; the nodes of large trees are, one for many changes.
TEST_F(DoorTest, CommandsOfTheSteadyStateAllocateNothing) {
  if (!kCountsAllocations) GTEST_SKIP() << "the sanitizer has an operator new of its own";
  static std::atomic<uint64_t> allocations;
  constexpr int kCommands = 1024;
  const std::string forms[] = {
      "PING", "ECHO hello",
      // strings
      "SET k# vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv", "SET k# v EX 1000", "SET k# v GET",
      "GET k#", "GETRANGE k# 1 5", "STRLEN k#", "INCR n#", "INCRBY n# 7", "DECR n#",
      "SETRANGE k# 3 abc", "SETBIT b 7000 1", "GETBIT b 7000", "MGET k1 k2 k3 k4",
      "MSET k1 a k2 b k3 c", "GETSET k# w", "EXISTS k1 k2 k3", "TYPE k#", "TTL k#",
      "EXPIRE k# 1000#", "PERSIST k#", "DEL k#", "SETNX k# v",
      // hashes, small and large
      "HSET h# f1 vvvvvvvvvvvvvvvv f2 w", "HGET h# f1", "HMGET h# f1 f2 f3", "HGETALL h#",
      "HLEN h#", "HEXISTS h# f1", "HINCRBY h# n 1", "HKEYS h#", "HVALS h#", "HDEL h# f2",
      "HSET H field:# vvvvvvvvvvvvvvvv", "HGET H field:#", "HINCRBY H n 1", "HSTRLEN H field:#",
      // lists
      "RPUSH l element:#", "RPUSH l element:#", "LPUSH l element:#", "LPOP l", "RPOP l",
      "LRANGE l 0 9", "LINDEX l 3", "LLEN l", "LSET l 3 other", "LPUSHX l element",
      "LTRIM l 0 3000",
      // sets
      "SADD s# a b c", "SISMEMBER s# a", "SMISMEMBER s# a z", "SCARD s#", "SREM s# a",
      "SMEMBERS s#", "SADD S member:#", "SISMEMBER S member:#", "SREM S member:#",
      // sorted sets
      "ZADD z# 1 a 2 b", "ZADD z# # a", "ZINCRBY z# 1 a", "ZSCORE z# a", "ZMSCORE z# a b",
      "ZRANK z# b", "ZCARD z#", "ZCOUNT z# 0 5", "ZRANGE z# 0 -1", "ZRANGEBYSCORE z# 0 9 LIMIT 0 1",
      "ZREM z# b", "ZADD Z # member:#", "ZSCORE Z member:#", "ZRANK Z member:#",
      "ZRANGE Z 0 9 WITHSCORES", "ZINCRBY Z 1 member:#"};
  asio::post(*loops.contexts.front(), [] { count_allocations(&allocations); });
  Client client(door->local());
  std::string got(1 << 20, '\0');
  const auto run = [&](const std::string& form, int batch) {
    for (int i = 0; i < kCommands; i += batch) {
      std::string text;
      for (int k = i; k < i + batch; k++) {
        const std::vector<std::string> words =
            absl::StrSplit(absl::StrReplaceAll(form, {{"#", std::to_string(k % 400)}}), ' ');
        text += cat("*", words.size(), "\r\n");
        for (auto& word : words) text += cat("$", word.size(), "\r\n", word, "\r\n");
      }
      client.send(text += "ECHO done\r\n");
      for (size_t have = 0; !std::string_view(got.data(), have).ends_with("$4\r\ndone\r\n");) {
        const ssize_t came =
            ::recv(client.socket.native_handle(), got.data() + have, got.size() - have, 0);
        if (came < 0 && errno == EINTR) continue;
        if (came <= 0) return false;
        have += static_cast<size_t>(came);
      }
    }
    return true;
  };
  for (const std::string& form : forms) {
    for (const int batch : {1, 16}) {
      ASSERT_TRUE(run(form, batch)) << form;
      uint64_t least = UINT64_MAX;  // the store looks after itself meanwhile, by the clock
      for (int i = 0; i < 20 && least > kCommands / 4; i++) {
        const uint64_t before = allocations;
        ASSERT_TRUE(run(form, batch)) << form;
        least = std::min(least, allocations - before);
      }
      EXPECT_LE(least, kCommands / 4) << form << ", " << batch << " at once";
    }
  }
}

// As redis-py does. Commands and answers are each more than sockets hold: both sides waited for the
// other to read, for ever.
TEST_F(DoorTest, AClientMaySendALongPipelineBeforeItReads) {
  constexpr size_t kCommands = 60000;
  const std::string word(500, 'x'), echo = cat("*2\r\n$4\r\nECHO\r\n$500\r\n", word, "\r\n"),
                                    answer = cat("$500\r\n", word, "\r\n");
  Client client(door->local());
  const timeval patience{20, 0};
  ::setsockopt(client.socket.native_handle(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  std::string pipeline;
  for (size_t i = 0; i < kCommands; i++) pipeline += echo;
  for (size_t sent = 0; sent < pipeline.size();) {
    const ssize_t n = ::send(client.socket.native_handle(), pipeline.data() + sent,
                             pipeline.size() - sent, MSG_NOSIGNAL);
    ASSERT_GT(n, 0) << sent << " of " << pipeline.size();
    sent += static_cast<size_t>(n);
  }
  for (size_t i = 0; i < kCommands; i++) ASSERT_EQ(client.receive(answer.size()), answer) << i;
  client.send("PING\r\n");
  EXPECT_EQ(client.receive(7), "+PONG\r\n");
}

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

// Others' writes stood still until a large one lay on the device: 7.5 s for an element of 400 MB.
TEST_F(DoorTest, WhoWroteMuchWaitsForTheDeviceAndOthersDoNot) {
  constexpr int kElements = 150;  // 9 MB in one command
  Client other(door->local()), writer(door->local());
  other.send("SET a 1\r\n");
  EXPECT_EQ(other.receive(5), "+OK\r\n");
  volume->held = clock.held = true;
  std::string push = cat("*", kElements + 2, "\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n");
  for (int i = 0; i < kElements; i++) {
    push += cat("$60000\r\n", std::string(60000, 'x'), "\r\n");
  }
  writer.send(push);
  for (bool is_there = false; !is_there;) {
    other.send("EXISTS l\r\n");
    const std::string answer = other.receive(4);
    ASSERT_EQ(answer.size(), 4u);
    is_there = answer == ":1\r\n";
  }
  for (int i = 0; i < 3; i++) {
    other.send("SET a 2\r\n");
    EXPECT_EQ(other.receive(5), "+OK\r\n");
  }
  EXPECT_EQ(writer.socket.available(), 0u);
  volume->held = clock.held = false;
  EXPECT_EQ(writer.receive(6), ":150\r\n");
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

// Answers stayed behind until a large word that followed them had come to its end: a client that
// waited for them before it sent the rest waited for ever.
TEST_F(DoorTest, AnswersDoNotWaitForALargeWordThatFollowsThem) {
  const std::string value(200'000, 'v');
  const std::string set = cat("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$200000\r\n", value, "\r\n");
  Client client(door->local());
  for (const size_t cut : {size_t{35}, size_t{40}, size_t{70'000}, set.size() - 1}) {
    client.send(cat("SET b 2\r\nPING\r\n", std::string_view(set).substr(0, cut)));
    EXPECT_EQ(client.receive(12), "+OK\r\n+PONG\r\n") << cut;
    client.send(std::string_view(set).substr(cut));
    EXPECT_EQ(client.receive(5), "+OK\r\n") << cut;
  }
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

// The session of the only client.
std::shared_ptr<kv::Session> session_of(kv::Server& server) {
  while (server.sessions.size() != 1) std::this_thread::yield();
  return server.sessions.all()[0];
}

// The session is one of RESP2.
kv::Push push_of(std::string_view text) {
  static const auto none = std::make_shared<const std::string>();
  return {none, std::make_shared<const std::string>(text)};
}

TEST_F(DoorTest, PushesComeBetweenAnswersAndNeverWithinOne) {
  constexpr int kPushes = 3000, kCommands = 3000;
  const std::string push = "*1\r\n+pushed\r\n", large(300'000, 'l'), small = "$5\r\nsmall\r\n";
  Client client(door->local());
  client.send("SET small small\r\n");
  EXPECT_EQ(client.receive(5), "+OK\r\n");
  client.send(cat("*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n$", large.size(), "\r\n", large, "\r\n"));
  EXPECT_EQ(client.receive(5), "+OK\r\n");
  auto session = session_of(*server);
  std::thread pusher([&] {
    for (int i = 0; i < kPushes; i++) {
      server->channels.push(*session, push_of(push.substr(1)));
    }
  });
  std::thread sender([&] {
    for (int i = 0; i < kCommands; i++)
      client.send(i % 50 == 0 ? "GET large\r\n" : "GET small\r\n");
  });
  int pushes = 0, answers = 0;
  while (pushes < kPushes || answers < kCommands) {
    const std::string head = client.receive(1);
    if (head == "*") {
      ASSERT_EQ(head + client.receive(push.size() - 1), push);
      pushes++;
      continue;
    }
    const std::string text =
        answers % 50 == 0 ? cat("$", large.size(), "\r\n", large, "\r\n") : small;
    const std::string got = head + client.receive(text.size() - 1);
    ASSERT_TRUE(got == text) << "answer " << answers << ": " << got.substr(0, 60);
    answers++;
  }
  pusher.join();
  sender.join();
}

TEST_F(DoorTest, PushesReachWhoWaitsForACommandAndWhoSaysNothing) {
  Client client(door->local());
  client.send("SET a 1\r\n");
  EXPECT_EQ(client.receive(5), "+OK\r\n");
  auto session = session_of(*server);
  server->channels.push(*session, push_of("0\r\n"));
  EXPECT_EQ(client.receive(4), "*0\r\n");
  volume->held = true;
  client.send("SET a 2\r\nWAITAOF 1 0 0\r\n");  // what is answered does not wait for what waits
  EXPECT_EQ(client.receive(5), "+OK\r\n");
  server->channels.push(*session, push_of("1\r\n:2\r\n"));
  EXPECT_EQ(client.receive(8), "*1\r\n:2\r\n");
  volume->held = false;
  EXPECT_EQ(client.receive(12), "*2\r\n:1\r\n:0\r\n");
}

TEST_F(DoorTest, WhoDoesNotReadWhatIsPushedIsSentAway) {
  Client client(door->local());
  client.send("PING\r\n");
  EXPECT_EQ(client.receive(7), "+PONG\r\n");
  auto session = session_of(*server);
  ASSERT_EQ(server->client_limits.set_output("pubsub 1mb 0 0"), "");
  const kv::Push message = push_of(cat("1\r\n+", std::string(100'000, 'm'), "\r\n"));
  while (server->sessions.size() == 1)
    server->channels.push(*session, message);  // else this never ends
}

TEST_F(DoorTest, AWaitEndsAtItsTimeWhenItIsUnblockedAndWhenThePeerIsGone) {
  Client other(door->local());
  other.send("SET a 1\r\n");
  EXPECT_EQ(other.receive(5), "+OK\r\n");
  volume->held = true;
  {
    Client client(door->local());
    client.send("SET a 2\r\nWAITAOF 1 0 20\r\nPING\r\n");
    EXPECT_EQ(client.receive(24), "+OK\r\n*2\r\n:0\r\n:0\r\n+PONG\r\n");
    client.send("CLIENT ID\r\n");
    EXPECT_EQ(client.receive(4), ":2\r\n");
    for (bool error : {false, true}) {
      client.send("WAITAOF 1 0 0\r\n");
      for (std::string got = ":0\r\n"; got == ":0\r\n";) {  // until it waits
        other.send(cat("CLIENT UNBLOCK 2", error ? " ERROR" : "", "\r\n"));
        got = other.receive(4);
        EXPECT_TRUE(got == ":0\r\n" || got == ":1\r\n");
      }
      const std::string_view want =
          error ? "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n" : "*2\r\n:0\r\n:0\r\n";
      EXPECT_EQ(client.receive(want.size()), want);
    }
    client.send("WAITAOF 1 0 0\r\n");
  }
  while (server->sessions.size() > 1)
    std::this_thread::yield();  // gone, though the disk stands still
  {
    Client client(door->local());
    client.send("WAITAOF 1 0 0\r\n");
    std::string got = ":0\r\n";
    while (got == ":0\r\n") {
      other.send("CLIENT KILL ID 3\r\n");
      got = other.receive(4);
    }
    EXPECT_EQ(client.receive(1), "");
  }
  volume->held = false;
}

// So ioredis closes, and told its user of the error that the command was answered.
TEST_F(DoorTest, AWaitingCommandWhoseClientSendsNoMoreHasNoAnswer) {
  for (const char* command : {"BLPOP none 0", "BZPOPMIN none 0", "XREAD BLOCK 0 STREAMS none $"}) {
    Client client(door->local());
    client.send(cat("PING\r\n", command, "\r\n"));
    EXPECT_EQ(client.receive(7), "+PONG\r\n");
    client.socket.shutdown(asio::ip::tcp::socket::shutdown_send);
    EXPECT_EQ(client.receive(1), "") << command;
  }
}

// ---- who is sent away ----

// The part of a SET of so many bytes that comes before its value.
std::string begin_of_set(size_t bytes) {
  return cat("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$", bytes, "\r\n");
}

// A clock that was set ahead once ended every large value that was on its way.
TEST_F(DoorTest, ATimeOfDayThatIsSetAheadSendsNobodyAway) {
  constexpr size_t kBytes = 200'000;
  server->timeout_s = 1000;
  Client silent(door->local()), moving(door->local());
  silent.send("PING\r\n");
  EXPECT_EQ(silent.receive(7), "+PONG\r\n");
  moving.send(cat("PING\r\n", begin_of_set(kBytes), std::string(kBytes / 2, 'x')));
  EXPECT_EQ(moving.receive(7), "+PONG\r\n");
  clock.ahead_ms = int64_t{24} * 3600 * 1000;
  clock.hurried = true;
  for (const int64_t from = clock.seconds; clock.seconds < from + 20;) std::this_thread::yield();
  clock.hurried = false;
  moving.send(cat(std::string(kBytes / 2, 'x'), "\r\n"));
  EXPECT_EQ(moving.receive(5), "+OK\r\n");
  silent.send("PING\r\n");
  EXPECT_EQ(silent.receive(7), "+PONG\r\n");
}

TEST_F(DoorTest, WhoStandsStillInALargeValueGoesAndWhoIsSilentAfterTheTimeout) {
  Client silent(door->local()), stalled(door->local());
  silent.send("PING\r\n");
  EXPECT_EQ(silent.receive(7), "+PONG\r\n");
  const int64_t from = clock.seconds;
  stalled.send(cat(begin_of_set(200'000), "x"));
  clock.hurried = true;
  EXPECT_EQ(stalled.receive(1), "");
  EXPECT_GE(clock.seconds - from, limits::kStallS);
  silent.send("PING\r\n");
  EXPECT_EQ(silent.receive(7), "+PONG\r\n");
  server->timeout_s = 100;
  EXPECT_EQ(silent.receive(1), "");
  clock.hurried = false;
}

TEST_F(DoorTest, NoLimitOfWhatClientsHoldKeepsEverybodyOut) {
  ASSERT_EQ(server->client_limits.set_together("1"), "");
  ASSERT_EQ(server->client_limits.set_output("normal 1 1 1"), "");
  Client client(door->local());
  client.send("ECHO 0123456789\r\nSET a 1\r\nGET a\r\n");
  EXPECT_EQ(client.receive(29), "$10\r\n0123456789\r\n+OK\r\n$1\r\n1\r\n");
}

// It once ran to its end, in seconds in which nobody else of its thread was served.
TEST_F(DoorTest, ATransactionWhoseAnswerIsTooLargeEndsThereAndIsGivenUpWhole) {
  constexpr int kReads = 1000;
  ASSERT_EQ(server->client_limits.set_output("normal 200kb 0 0"), "");
  Client client(door->local()), other(door->local());
  other.send(cat("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$50000\r\n", std::string(50'000, 'x'), "\r\n"));
  EXPECT_EQ(other.receive(5), "+OK\r\n");
  std::string all = "MULTI\r\nSET a 1\r\n", queued = "+OK\r\n+QUEUED\r\n";
  for (int i = 0; i < kReads; i++) {
    all += "GET big\r\n";
    queued += "+QUEUED\r\n";
  }
  client.send(all);
  EXPECT_EQ(client.receive(queued.size()), queued);
  client.send("EXEC\r\n");
  EXPECT_EQ(client.receive(1), "");
  other.send("EXISTS a\r\n");
  EXPECT_EQ(other.receive(4), ":0\r\n");
  EXPECT_LT(engines.front()->calls()[table.index_of(*table.find("get"))].calls, 10u);
}

// Words that a command needs in memory were all read before anybody asked how much they are.
TEST_F(DoorTest, LongWordsAreReadWhereTheyFitAndAreTheirClientsMeanwhile) {
  static constexpr uint64_t kBytes = 100'000;
  const auto hset = [](int words) {
    std::string all = cat("*", 2 + 2 * words, "\r\n$4\r\nHSET\r\n$1\r\nh\r\n");
    for (int i = 0; i < words; i++) {
      append(all, "$2\r\n", 10 + i, "\r\n$", kBytes, "\r\n", std::string(kBytes, 'x'), "\r\n");
    }
    return all;
  };
  Client client(door->local());
  volume->reads_held = true;
  client.send(hset(3));
  while (volume->reads == 0) std::this_thread::yield();
  EXPECT_GE(server->sessions.buffer_bytes(), 3 * kBytes);
  volume->reads_held = false;
  EXPECT_EQ(client.receive(4), ":3\r\n");
  EXPECT_LT(server->sessions.buffer_bytes(), kBytes);

  volume->reads = 0;
  ASSERT_EQ(server->client_limits.set_together("200kb"), "");
  client.send(hset(3));
  while (server->sessions.size() > 0) std::this_thread::yield();
  EXPECT_EQ(volume->reads, 0);
  EXPECT_EQ(server->sessions.sent_away(), 1u);
}

TEST_F(DoorTest, TheLargestOfAllClientsIsSentAwayFirst) {
  Client small(door->local()), large(door->local()), safe(door->local());
  for (Client* client : {&small, &large, &safe}) {
    client->send("PING\r\n");
    EXPECT_EQ(client->receive(7), "+PONG\r\n");
  }
  safe.send("CLIENT NO-EVICT ON\r\n");
  EXPECT_EQ(safe.receive(5), "+OK\r\n");
  const std::string half =
      cat("*100\r\n$3\r\nSET\r\n", "$60000\r\n", std::string(60000, 'x'), "\r\n");
  safe.send(cat(half, half.substr(half.find("$60000")), half.substr(half.find("$60000"))));
  small.send(half);
  large.send(cat(half, half.substr(half.find("$60000"))));
  while (server->sessions.buffer_bytes() < 600'000) std::this_thread::yield();
  ASSERT_EQ(server->client_limits.set_together("450000"), "");
  EXPECT_EQ(large.receive(1), "");
  EXPECT_EQ(server->sessions.sent_away(), 1u);
  while (server->sessions.size() > 2) std::this_thread::yield();
}

}  // namespace
}  // namespace cairn::resp

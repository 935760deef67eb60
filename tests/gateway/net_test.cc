// A plain stream: when it says that a receive has an answer.
#include "gateway/net/net.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <functional>
#include <optional>
#include <vector>

namespace cairn::net {
namespace {

struct StreamTest : testing::Test {
  asio::io_context io;
  tcp::socket peer{io};
  std::optional<PlainStream> stream;
  bool ready = false;

  void SetUp() override {
    tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
    peer.connect(acceptor.local_endpoint());
    stream.emplace(acceptor.accept());
  }
  void ask() {
    ready = false;
    auto asking = [this]() -> awaitable<void> {
      co_await stream->ready();
      ready = true;
    };
    asio::co_spawn(io, asking, asio::detached);
    turn();
  }
  void turn() {
    io.restart();
    io.poll();
  }
  // What must come comes on the loopback at some time.
  bool becomes_ready() {
    for (int i = 0; i < 18000 && !ready; i++) {
      io.restart();
      io.run_for(std::chrono::milliseconds(10));
    }
    return ready;
  }
  // Bytes there are; 0: the end.
  ssize_t read() {
    std::array<std::byte, 100> into;
    return stream->try_read(into);
  }
};

TEST_F(StreamTest, IsReadyForWhatComesAndLeavesItThere) {
  ask();
  EXPECT_FALSE(ready);  // it was never asked before, and nothing has come
  for (int round = 0; round < 3; round++) {
    asio::write(peer, asio::buffer("abc", 3));
    EXPECT_TRUE(becomes_ready());
    ask();
    EXPECT_TRUE(ready);  // as often as one asks
    EXPECT_EQ(read(), 3);
    ask();
    EXPECT_FALSE(ready);
  }
  asio::write(peer, asio::buffer("d", 1));
  EXPECT_TRUE(becomes_ready());
}

TEST_F(StreamTest, IsReadyForTheEnd) {
  const std::vector<std::function<void()>> ends = {
      [this] { peer.shutdown(tcp::socket::shutdown_send); },
      [this] { peer.close(); },
      [this] {  // a reset
        peer.set_option(asio::socket_base::linger(true, 0));
        peer.close();
      },
      [this] { stream->shutdown_receive(); },
      [this] { stream->abort(); },
  };
  for (auto& end : ends) {
    ask();
    EXPECT_FALSE(ready);
    end();
    EXPECT_TRUE(becomes_ready());
    EXPECT_EQ(read(), 0);
    ask();
    EXPECT_TRUE(ready);
    stream.reset();
    peer = tcp::socket(io);
    SetUp();
  }
}

}  // namespace
}  // namespace cairn::net

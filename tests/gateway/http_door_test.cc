// The HTTP door with a handler of its own: framing, deadlines, signs of life, answers.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <functional>
#include <thread>

#include "core/base/text.h"
#include "gateway/http/door.h"
#include "gateway/http/head.h"

namespace cairn::http {
namespace {

using std::chrono::milliseconds;

// More than the kernel holds of a connection.
constexpr size_t kLargeBytes = 64 << 20;

// Waits for what must come, however busy the machine is; false: it does not.
bool eventually(const std::function<bool()>& is_so) {
  for (int i = 0; i < 18000 && !is_so(); i++) std::this_thread::sleep_for(milliseconds(10));
  return is_so();
}

struct HttpDoor : testing::Test {
  net::Loops loops;
  std::thread thread;
  net::Buffers buffers;
  std::unique_ptr<Door> door;
  Times times;
  std::atomic<bool> scarce{false};
  std::atomic<int> handled{0}, ended{0};

  // /echo: the body; /work?ms=N[&fail]: works for so long, with signs of life; /large: 64 MiB;
  // /header?v=X: X in a header; /absent: 501; /throw: throws; all else: "ok" and no look at the
  // body.
  awaitable<void> handle(Request& r, Response& out) {
    handled++;
    if (r.path == "/echo") {
      auto body = co_await read_all(*r.body, 1 << 20);
      out.status = body.ok() ? 200 : 400;
      out.body = body.ok() ? *body : "bad";
    } else if (r.path == "/work") {
      out.set("x-amz-request-id", "1");
      out.xml_head = "<?xml?>\n";
      out.takes_long();
      asio::steady_timer timer(co_await asio::this_coro::executor,
                               milliseconds(parse_int<int>(*r.param("ms")).value_or(0)));
      co_await timer.async_wait(asio::use_awaitable);
      out.status = r.param("fail") != nullptr ? 500 : 200;
      out.body = out.status == 200 ? "<?xml?>\n<Done/>" : "<?xml?>\n<Error/>";
    } else if (r.path == "/large") {
      out.body.assign(kLargeBytes, 'x');
    } else if (r.path == "/header") {
      out.set("x-value", *r.param("v"));
      out.body = "ok";
    } else if (r.path == "/absent") {
      out.status = 501;
    } else if (r.path == "/throw") {
      throw std::bad_alloc();
    } else {
      out.body = "ok";
    }
    ended++;
  }

  void start() {
    loops.contexts.push_back(std::make_unique<asio::io_context>(1));
    thread = std::thread([this] {
      auto work = asio::make_work_guard(*loops.contexts.front());
      loops.contexts.front()->run();
    });
    door = std::make_unique<Door>(
        loops, buffers, [this](Request& r, Response& out) { return handle(r, out); }, times,
        [this] { return scarce.load(); });
    ASSERT_TRUE(door->listen({asio::ip::make_address("127.0.0.1"), 0}).ok());
    door->start();
  }
  void TearDown() override {
    if (!door) return;
    door->stop();
    loops.wait_for_turn();
    loops.contexts.front()->stop();
    thread.join();
    loops.contexts.clear();
    door.reset();
  }
};

struct Client {
  explicit Client(const Door& door) {
    socket.connect(door.local());
    const timeval patience{180, 0};  // an answer that never comes fails the test
    ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  bool send(std::string_view text) {
    return ::send(socket.native_handle(), text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }
  // Some bytes; "" at the end of the connection.
  std::string some() {
    std::string got(64 << 10, '\0');
    ssize_t n;
    do {  // with patience the kernel does not go on by itself
      n = ::recv(socket.native_handle(), got.data(), got.size(), 0);
    } while (n < 0 && errno == EINTR);
    return got.substr(0, static_cast<size_t>(std::max<ssize_t>(n, 0)));
  }
  std::string until(std::string_view end) {
    std::string got;
    while (got.find(end) == got.npos) {
      std::string more = some();
      if (more.empty()) break;
      got += more;
    }
    return got;
  }
  std::string all() {
    std::string got;
    for (std::string more = some(); !more.empty(); more = some()) got += more;
    return got;
  }
  asio::io_context context;
  net::tcp::socket socket{context};
};

// ---- heads ----

struct Framed {
  Status status;
  Request request;
  Framing framing;
};
Framed frame(std::string_view head) {
  Framed f;
  f.status = head_size(head) == head.size() ? read_head(head, f.request, f.framing)
                                            : absl::OutOfRangeError("more than a head");
  return f;
}

TEST(HttpHead, WhatFramesABodyIsOneLengthOrOneChunkedOrNothing) {
  const char* good[] = {"Content-Length: 0",          "Content-Length: 5",
                        "Transfer-Encoding: chunked", "Transfer-Encoding: CHUNKED",
                        "Connection: close",          "Expect:",
                        "Expect: 100-Continue",       "Expect: 200-ok"};
  for (auto line : good) {
    EXPECT_TRUE(frame(cat("PUT / HTTP/1.1\r\nHost: x\r\n", line, "\r\n\r\n")).status.ok()) << line;
  }
  const char* bad[] = {"Transfer-Encoding: identity",
                       "Transfer-Encoding: gzip",
                       "Transfer-Encoding: xchunked",
                       "Transfer-Encoding: chunkedx",
                       "Transfer-Encoding: chunked, identity",
                       "Transfer-Encoding: identity, chunked",
                       "Transfer-Encoding: gzip, chunked",
                       "Transfer-Encoding: chunked, chunked",
                       "Transfer-Encoding: chunked;x=1",
                       "Transfer-Encoding: \"chunked\"",
                       "Transfer-Encoding:",
                       "Transfer-Encoding: ,",
                       "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                       "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
                       "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
                       "Transfer-Encoding: gzip\r\nContent-Length: 5",
                       "Content-Length: 5\r\nTransfer-Encoding: chunked",
                       "Transfer-Encoding: chunked\r\nContent-Length: 5",
                       "Content-Length: 5\r\nContent-Length: 5",
                       "Content-Length: 5\r\nContent-Length: 6",
                       "Content-Length: 5, 5",
                       "Content-Length: +5",
                       "Content-Length: -5",
                       "Content-Length: 0x5",
                       "Content-Length: 5 5",
                       "Content-Length:",
                       "Content-Length: 18446744073709551616",
                       "Content-Length: 9223372036854775808",
                       "Content-Length : 5",
                       " Content-Length: 5",
                       "Content-Length\t: 5",
                       "X: a\r\n Content-Length: 5",
                       "X: a\r\n\tb",
                       "X: a\rContent-Length: 5",
                       "X: a\nContent-Length: 5",
                       "X: a\x01",
                       "X",
                       ": a",
                       "Host: y",
                       "Host: x"};
  for (auto line : bad) {
    EXPECT_FALSE(frame(cat("PUT / HTTP/1.1\r\nHost: x\r\n", line, "\r\n\r\n")).status.ok()) << line;
  }
  EXPECT_FALSE(frame("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").status.ok());
  EXPECT_FALSE(
      frame(std::string_view("GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 33)).status.ok());
}

TEST(HttpHead, OnlyHttp11IsInvitedToSendItsBody) {
  for (auto& [version, expect, invited] :
       {std::tuple{"1.1", "100-continue", true}, std::tuple{"1.1", "", false},
        std::tuple{"1.1", "200-ok", false}, std::tuple{"1.0", "100-continue", false}}) {
    Framed f = frame(cat("PUT / HTTP/", version,
                         "\r\nHost: x\r\nContent-Length: 1\r\nExpect: ", expect, "\r\n\r\n"));
    ASSERT_TRUE(f.status.ok()) << f.status;
    EXPECT_EQ(f.framing.expects_continue, invited) << version << " " << expect;
  }
}

TEST(HttpHead, ARequestNamesOneHostAndOneTarget) {
  for (auto head : {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
                    "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n",
                    "GET http://x:1/a HTTP/1.1\r\nHost: x:1\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"}) {
    EXPECT_TRUE(frame(head).status.ok()) << head;
  }
  for (auto head :
       {"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", "GET / HTTP/1.1\r\nHost: x@y\r\n\r\n",
        "GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n", "GET ftp://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: x\r\n\r\n", "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\tHTTP/1.1\r\nHost: x\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a# HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: x\r\n\r\n", "GET /\r\nHost: x\r\n\r\n",
        "G T / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\nHost: x\r\n\r\n"}) {
    EXPECT_FALSE(frame(head).status.ok()) << head;
  }
}

TEST(HttpHead, TargetsAreDecodedOnce) {
  Framed f = frame("GET //a%2Fb%252e/..?x=1+2%2B&y&=z&&x=%00 HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(f.status.ok()) << f.status;
  EXPECT_EQ(f.request.path, "//a/b%2e/..");
  EXPECT_EQ(f.request.raw_path, "//a%2Fb%252e/..");
  using P = std::pair<std::string, std::string>;
  EXPECT_EQ(f.request.query,
            (std::vector<P>{{"x", "1 2+"}, {"y", ""}, {"", "z"}, {"x", std::string(1, '\0')}}));
}

// Beast's decoder of chunks asserted that the last of them does not come byte by byte: a client
// could end the process.
TEST(HttpChunks, AnySplitGivesTheSameBody) {
  const std::string text =
      "5;a=b\r\nhello\r\n00A;c=\"d\"\r\n0123456789\r\n0;x\r\nTrailer: t\r\n\r\nGET";
  for (size_t step = 1; step <= text.size(); step++) {
    for (size_t room : {1, 3, 100}) {
      ChunkDecoder decoder;
      std::string body;
      std::vector<std::byte> out(room);
      size_t used = 0;
      for (size_t end = step; !decoder.done(); end = std::min(end + step, text.size())) {
        for (size_t before = used + 1; used != before;) {
          before = used;
          auto put = decoder.put(as_bytes(std::string_view(text).substr(used, end - used)), out);
          ASSERT_TRUE(put.ok());
          used += put->used;
          body.append(reinterpret_cast<char*>(out.data()), put->made);
        }
      }
      EXPECT_EQ(body, "hello0123456789");
      EXPECT_EQ(text.substr(used), "GET");
    }
  }
}

TEST(HttpChunks, WhatIsNoChunkIsRefused) {
  for (std::string_view text :
       {"\r\n", "x\r\n", "-1\r\n", "+1\r\na\r\n", " 1\r\n", "1 \r\n", "0x1\r\n", "1\n", "1\ra",
        "1\r\nab\r\n", "1\r\na\n", "ffffffffffffffff\r\n", "00000000000000001\r\n", "1;\x01\r\n",
        "0\r\nnofield\r\n", "0\r\na b: c\r\n", "0\r\n b: c\r\n", "0\r\na: b\n",
        "0\r\na: \x01\r\n"}) {
    ChunkDecoder decoder;
    std::vector<std::byte> out(100);
    EXPECT_FALSE(decoder.put(as_bytes(text), out).ok()) << text;
  }
}

// ---- the door ----

TEST_F(HttpDoor, NoRequestHidesBehindARefusedOne) {
  start();
  for (auto framing : {"Transfer-Encoding: identity", "Transfer-Encoding: gzip",
                       "Transfer-Encoding: xchunked", "Content-Length: 0\r\nContent-Length: 0",
                       "Transfer-Encoding: chunked\r\nContent-Length: 3", "X : y"}) {
    Client c(*door);
    c.send(
        cat("PUT / HTTP/1.1\r\nHost: x\r\n", framing, "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    const std::string got = c.all();
    EXPECT_TRUE(got.starts_with("HTTP/1.1 400 ")) << framing << got;
    EXPECT_EQ(got.find("HTTP/1.1", 1), got.npos) << framing << got;
  }
  EXPECT_EQ(handled, 0);
}

// Each field of a head and each parameter takes more memory than its bytes, and a head of 16 KiB
// has room for thousands.
TEST_F(HttpDoor, AHeadHasSoManyFieldsAndParameters) {
  start();
  std::string fields, params;
  for (size_t i = 0; i < kHeadFieldsMax - 1; i++) append(fields, "a", i, ":\r\n");
  for (size_t i = 0; i < kHeadFieldsMax; i++) params += "&a";
  const auto answer = [this](std::string_view target, std::string_view more) {
    Client client(*door);
    client.send(cat("GET ", target, " HTTP/1.1\r\nHost: h\r\n", more, "Connection: close\r\n\r\n"));
    return client.all();
  };
  const std::string_view but_one = std::string_view(fields).substr(fields.find('\n') + 1);
  EXPECT_TRUE(answer("/", but_one).starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(answer("/", fields).starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(answer(cat("/?", params), "").starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(answer(cat("/?b", params), "").starts_with("HTTP/1.1 400 "));
}

TEST_F(HttpDoor, AHeadRequestIsRefusedWithoutABody) {
  start();
  Client client(*door);
  client.send("HEAD / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n");
  const std::string got = client.all();
  EXPECT_TRUE(got.starts_with("HTTP/1.1 400 ")) << got;
  EXPECT_TRUE(got.ends_with("\r\n\r\n")) << got;
}

TEST_F(HttpDoor, RequestsInOnePacketAndInSinglesBytesAreTheSame) {
  start();
  const std::string two =
      "PUT /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3;x=y\r\nabc\r\n0\r\nTrailer: t\r\n\r\n"
      "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nde";
  for (bool slow : {false, true}) {
    Client c(*door);
    if (slow) {
      for (char b : two) ASSERT_TRUE(c.send({&b, 1}));
    } else {
      c.send(two);
    }
    const std::string got = c.all();
    EXPECT_NE(got.find("\r\n\r\nabcHTTP/1.1 200"), got.npos) << got;
    EXPECT_TRUE(got.ends_with("\r\n\r\nde")) << got;
  }
}

TEST_F(HttpDoor, AFinalAnswerInPlaceOfContinueEndsTheConnection) {
  start();
  for (auto length : {"0", "5"}) {  // botocore waited a minute on such a connection
    Client c(*door);
    c.send(cat("PUT /ok HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: ", length,
               "\r\n\r\n"));
    const std::string got = c.all();
    EXPECT_TRUE(got.starts_with("HTTP/1.1 200 ")) << got;
    EXPECT_NE(got.find("Connection: close\r\n"), got.npos) << got;
  }
}

TEST_F(HttpDoor, TheHeadersDeadlineEndsWithTheHeader) {
  times.header = milliseconds(500);
  times.watch = milliseconds(20);
  times.pulse = std::chrono::hours(1);
  start();
  // A machine that stands still before the header came proves nothing: once more.
  std::string got;
  for (int i = 0; i < 50 && got.empty(); i++) {
    const int before = handled;
    Client c(*door);
    c.send("GET /work?ms=1500 HTTP/1.1\r\nHost: x\r\n\r\n");
    got = c.until("<Done/>");
    if (handled > before) {
      EXPECT_NE(got.find("Content-Length: 15"), std::string::npos) << got;
    }
  }
  EXPECT_FALSE(got.empty());
  Client slow(*door);
  slow.send("GET / HTTP/1.1\r\n");
  EXPECT_EQ(slow.all(), "");  // cut
}

// The answer to a long operation. One whose handler ended before the first sign of life was due,
// as on a machine that stood still, is a plain answer: once more.
std::string late_answer(Client& c, std::string_view request, int& sent) {
  for (int i = 0; i < 50; i++) {
    sent++;
    c.send(request);
    std::string got = c.until("/>");
    if (got.find("Content-Length: ") != got.npos) continue;
    return got.ends_with("0\r\n\r\n") ? got : got + c.until("0\r\n\r\n");
  }
  return "";
}

TEST_F(HttpDoor, ALongOperationShowsLifeAndSaysAtItsEndHowItWent) {
  times.pulse = milliseconds(30);
  start();
  int failures = 0;
  for (bool fail : {false, true}) {
    int sent = 0;
    Client c(*door);
    // The connection stays good for another request.
    for (int i = 0; i < 2; i++) {
      const std::string got = late_answer(
          c, cat("POST /work?ms=600", fail ? "&fail" : "", " HTTP/1.1\r\nHost: x\r\n\r\n"), sent);
      EXPECT_TRUE(got.starts_with("HTTP/1.1 200 OK\r\n")) << got;
      EXPECT_NE(got.find("Transfer-Encoding: chunked\r\n"), got.npos) << got;
      EXPECT_NE(got.find("x-amz-request-id: 1\r\n"), got.npos) << got;
      EXPECT_NE(got.find("\r\n\r\n8\r\n<?xml?>\n\r\n1\r\n \r\n"), got.npos) << got;
      EXPECT_NE(got.find(fail ? "8\r\n<Error/>\r\n0\r\n\r\n" : "7\r\n<Done/>\r\n0\r\n\r\n"),
                got.npos)
          << got;
    }
    if (fail) failures += sent;
  }
  EXPECT_TRUE(
      eventually([&] { return door->stats().errors_5xx == static_cast<size_t>(failures); }));
}

TEST_F(HttpDoor, ALongOperationKnowsOldClients) {
  times.pulse = milliseconds(30);
  start();
  std::string got;
  for (int i = 0; i < 50 && got.find("<?xml?>\n ") == got.npos; i++) {
    Client old(*door);
    old.send("POST /work?ms=600 HTTP/1.0\r\n\r\n");
    got = old.all();
    EXPECT_EQ(got.find("Transfer-Encoding"), got.npos) << got;
    EXPECT_TRUE(got.ends_with("<Done/>")) << got;
  }
  EXPECT_NE(got.find("\r\n\r\n<?xml?>\n "), got.npos) << got;
}

TEST_F(HttpDoor, WhoLeavesDoesNotStopALongOperation) {
  times.pulse = milliseconds(30);
  start();
  {
    Client c(*door);
    c.send("POST /work?ms=300 HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_TRUE(eventually([&] { return handled == 1; }));
  }
  EXPECT_TRUE(eventually([&] { return ended == 1; }));
}

TEST_F(HttpDoor, AReaderThatPausesIsWaitedFor) {
  times.watch = milliseconds(20);
  start();
  Client reader(*door);
  reader.send("GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_GT(reader.all().size(), kLargeBytes);
}

TEST_F(HttpDoor, AReaderThatMovesNothingIsSentAway) {
  for (bool buffers_are_scarce : {false, true}) {
    times = Times();
    times.watch = milliseconds(20);
    (buffers_are_scarce ? times.stall_scarce : times.stall) = milliseconds(300);
    scarce = buffers_are_scarce;
    start();
    Client gone(*door);
    gone.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_TRUE(eventually([&] { return handled > 0 && door->stats().connections == 0; }));
    TearDown();
    handled = 0;
  }
}

TEST_F(HttpDoor, WhoDripsABodyIsSentAway) {
  times.stall = milliseconds(400);
  times.watch = milliseconds(20);
  start();
  Client c(*door);
  c.send("PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
  int sent = 0;
  while (sent < 18000 && c.send("x")) {
    sent++;
    std::this_thread::sleep_for(milliseconds(10));  // at most 100 bytes a second of 1,024
  }
  EXPECT_LT(sent, 18000);
}

TEST_F(HttpDoor, AHeaderThatIsNoneIsNotWritten) {
  start();
  for (auto v : {"%0d%0aSet-Cookie:%20a", "a%00b", "%0a", "%7f"}) {
    Client c(*door);
    c.send(cat("GET /header?v=", v, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    const std::string got = c.all();
    EXPECT_TRUE(got.starts_with("HTTP/1.1 500 ")) << got;
    EXPECT_EQ(got.find("x-value"), got.npos) << got;
    EXPECT_EQ(got.find("Set-Cookie"), got.npos) << got;
  }
}

// It stayed in the count of connections, and some thousand of them closed the door.
TEST_F(HttpDoor, AConnectionThatEndsByAnExceptionHasEnded) {
  start();
  for (int i = 0; i < 3; i++) {
    Client c(*door);
    c.send("GET /throw HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(c.all(), "");
  }
  EXPECT_TRUE(eventually([&] { return door->stats().connections == 0; }));
}

TEST_F(HttpDoor, NotImplementedIsNoErrorOfTheServer) {
  start();
  Client c(*door);
  c.send("GET /absent HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  c.all();
  EXPECT_EQ(door->stats().errors_5xx, 0u);
  EXPECT_EQ(door->stats().not_implemented, 1u);
}

}  // namespace
}  // namespace cairn::http

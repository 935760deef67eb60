// Sockets as the doors use them: an address to listen on, a stream that is plain or TLS, and a
// listener that spreads what it accepts over the I/O loops.
//
// Threads: a stream belongs to the loop that its connection runs on.
#pragma once

#include <absl/functional/any_invocable.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <climits>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/async.h"

namespace cairn::net {

using tcp = asio::ip::tcp;
inline constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

// "HOST:PORT", "[V6]:PORT"; InvalidArgument says what is wrong with it.
StatusOr<tcp::endpoint> parse_endpoint(std::string_view text);
// This machine's own, also in IPv6's spelling of an IPv4 address.
bool is_loopback(const asio::ip::address& address);
std::string to_string(const tcp::endpoint& endpoint);
// After so many silent seconds the system asks whether the peer is there still, and ends the
// connection if he does not say so within as many again; 0: never.
void keep_alive(tcp::socket& socket, uint64_t after_s);

// Readiness of plain sockets, one for each io_context: an epoll of its own, edge-triggered, inside
// the loop's. A socket is registered once and never again, and all that are ready are served in one
// turn. Asio's async_wait changes the registration at every wait; with it, CPU per unpipelined
// request was 1.03 (SET) and 1.12 (GET) of redis-server's, with this 0.93 and 1.00 (tools/bench).
// Threads: that of the io_context.
class Poller : public asio::execution_context::service {
 public:
  using key_type = Poller;
  static inline asio::execution_context::id id;
  explicit Poller(asio::execution_context& context);
  ~Poller() override;
  void shutdown() override;

  struct Watch {
    int fd = -1;
    bool readable = true, writable = true;  // since the last try that would have blocked
    bool full = false;                      // the last receive took all that it could hold
    bool ended = false;  // the peer sends no more: no edge comes after what is there now
    absl::AnyInvocable<void()> reader, writer;
    absl::AnyInvocable<void()> when_ended;  // wakes others at most
    absl::AnyInvocable<void()> sender;      // sends what waits for the end of the batch
  };
  void add(Watch& watch);
  void remove(Watch& watch);
  // Whether others are served in the same batch, and then: calls the sender behind it.
  bool serves_several() const { return count_ > 1; }
  void send_after_batch(Watch& watch) { senders_.push_back(&watch); }

 private:
  void arm();
  void end_batch();
  size_t poll();  // serves what is ready; how many
  // So many before the loop's other work gets a turn. Up to here the outer epoll is not asked
  // again: it costs two system calls more each time.
  static constexpr size_t kServedMax = 32;
  asio::io_context& context_;
  int epoll_ = -1;
  std::unique_ptr<asio::posix::stream_descriptor> descriptor_;
  std::vector<epoll_event> events_;
  size_t at_ = 0, count_ = 0;  // the batch being served
  Watch* served_ = nullptr;    // null once it was removed
  std::vector<Watch*> senders_;
};

inline size_t unsent_of(int fd) {
  int n = 0;
  return ::ioctl(fd, SIOCOUTQ, &n) == 0 && n > 0 ? static_cast<size_t>(n) : 0;
}

class PlainStream {
 public:
  explicit PlainStream(tcp::socket socket);
  ~PlainStream();
  PlainStream(PlainStream&& other) noexcept = default;
  static constexpr bool kTls = false;
  const Executor& executor() const { return executor_; }
  const tcp::endpoint& peer() const { return peer_; }
  const tcp::endpoint& local() const { return local_; }
  awaitable<bool> handshake() { co_return true; }

  // What is there now: 0: the peer is gone; negative: nothing yet, or others' turn first. Asks the
  // kernel only where the last receive did not take all there was.
  ssize_t try_read(MutableBytes into) {
    if (std::exchange(watch_->full, false)) return -1;
    while (watch_->readable) {
      ssize_t n = ::recv(watch_->fd, into.data(), into.size(), 0);
      if (n > 0) watch_->full = static_cast<size_t>(n) == into.size();
      if (n > 0 && !watch_->full) watch_->readable = watch_->ended;
      if (n >= 0) return n;
      if (errno == EAGAIN) {
        watch_->readable = false;
      } else if (errno != EINTR) {
        return 0;
      }
    }
    return -1;
  }
  // Until try_read may have an answer. A peer that sends as fast as it is read would otherwise have
  // the loop to itself: others waited up to 740 ms.
  awaitable<void> readable() {
    if (watch_->readable) return asio::post(executor_, asio::use_awaitable);
    return wait(watch_->reader);
  }
  // Until try_read has an answer, which may be that the peer is gone.
  awaitable<void> ready() {
    for (;;) {
      if (!watch_->readable) co_await wait(watch_->reader);
      if (has_answer()) break;
      watch_->readable = false;
    }
  }
  // 0: the peer is gone.
  awaitable<size_t> read_some(MutableBytes into) {
    for (;;) {
      ssize_t n = try_read(into);
      if (n >= 0) co_return static_cast<size_t>(n);
      co_await readable();
    }
  }
  // What can be sent without waiting; negative: the peer is gone.
  ssize_t try_write(Bytes data) {
    size_t done = 0;
    while (done < data.size()) {
      ssize_t n = ::send(watch_->fd, data.data() + done, data.size() - done, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) {
        watch_->writable = false;
        break;
      }
      if (n < 0) return -1;
      done += static_cast<size_t>(n);
    }
    return static_cast<ssize_t>(done);
  }
  // Until try_write may take something.
  awaitable<void> writable() {
    if (watch_->writable) return asio::post(executor_, asio::use_awaitable);
    return wait(watch_->writer);
  }
  // Until try_write may take something, or try_read may have an answer that it had not.
  awaitable<void> writable_or_readable();
  awaitable<bool> write(Bytes data) {
    for (;;) {
      ssize_t n = try_write(data);
      if (n < 0) co_return false;
      data = data.subspan(static_cast<size_t>(n));
      if (data.empty()) co_return true;
      if (!watch_->writable) co_await wait(watch_->writer);
    }
  }
  // Answers leave together, behind the turns of all who were ready with this one. A peer that
  // sleeps is woken by what it gets: one by one, each answer of a client with several connections
  // did so, which took a fifth of the processor time of a pipelined command. Of one connection
  // alone they leave at once.
  void on_send(absl::AnyInvocable<void()> call) { watch_->sender = std::move(call); }
  bool sends_later() const { return poller_->serves_several(); }
  void send_later() { poller_->send_after_batch(*watch_); }
  // Whoever waits in readable() is to look again, in another turn.
  void wake_reader() {
    if (watch_->reader) asio::post(executor_, std::exchange(watch_->reader, nullptr));
  }
  // Called once the peer sends no more, on the loop, in the middle of whatever waits.
  void when_ended(absl::AnyInvocable<void()> call) { watch_->when_ended = std::move(call); }
  void shutdown_send() { ::shutdown(watch_->fd, SHUT_WR); }
  // Whoever waits for the peer's next bytes finds the stream at its end.
  void shutdown_receive() { ::shutdown(watch_->fd, SHUT_RD); }
  int descriptor() const { return watch_->fd; }
  // Bytes written that the peer has not acknowledged.
  size_t unsent() const { return unsent_of(watch_->fd); }
  // Ends both directions; whoever waits wakes and finds the peer gone.
  void abort() { ::shutdown(watch_->fd, SHUT_RDWR); }
  awaitable<void> shutdown() {
    abort();
    co_return;
  }

 private:
  static awaitable<void> wait(absl::AnyInvocable<void()>& slot) {
    return suspend<>([&slot](Resume<> resume) { slot = resume.release(); });
  }
  // Not by a receive that only peeks: the kernel acknowledges then, and where the peer is on this
  // machine, the thread that does so carries over what it sends next (of a PUT 1.8 times as many
  // packets).
  bool has_answer() const {
    pollfd asked{watch_->fd, POLLIN, 0};
    return ::poll(&asked, 1, 0) != 0;  // failing, it has nothing to say: try_read has
  }
  Executor executor_;
  Poller* poller_;
  tcp::endpoint peer_, local_;
  std::unique_ptr<Poller::Watch> watch_;
};

class TlsStream {
 public:
  TlsStream(tcp::socket socket, asio::ssl::context& context) : stream_(std::move(socket), context) {
    boost::system::error_code ec;
    stream_.next_layer().set_option(tcp::no_delay(true), ec);
    peer_ = stream_.next_layer().remote_endpoint(ec);
    local_ = stream_.next_layer().local_endpoint(ec);
  }
  static constexpr bool kTls = true;
  Executor executor() { return stream_.get_executor(); }
  const tcp::endpoint& peer() const { return peer_; }
  const tcp::endpoint& local() const { return local_; }
  // False also when the peer takes longer than kHandshakeTime.
  awaitable<bool> handshake();
  awaitable<size_t> read_some(MutableBytes into) {
    auto [ec, n] = co_await stream_.async_read_some(asio::buffer(into.data(), into.size()), kTuple);
    co_return ec ? 0 : n;
  }
  ssize_t try_write(Bytes) { return 0; }
  awaitable<bool> write(Bytes data) {
    auto [ec, n] =
        co_await asio::async_write(stream_, asio::buffer(data.data(), data.size()), kTuple);
    co_return !ec;
  }
  // TLS hides its end from whoever does not read.
  void when_ended(const absl::AnyInvocable<void()>&) {}
  // Says that this is the end, and waits for the peer to say so too; at most for kPartingTime.
  awaitable<void> shutdown();
  int descriptor() { return stream_.next_layer().native_handle(); }
  size_t unsent() { return unsent_of(descriptor()); }
  void shutdown_send() {
    boost::system::error_code ignored;
    stream_.next_layer().shutdown(tcp::socket::shutdown_send, ignored);
  }
  void shutdown_receive() {
    boost::system::error_code ignored;
    stream_.next_layer().shutdown(tcp::socket::shutdown_receive, ignored);
  }
  void abort() {
    boost::system::error_code ignored;
    stream_.next_layer().shutdown(tcp::socket::shutdown_both, ignored);
  }

 private:
  class Deadline;
  tcp::endpoint peer_, local_;
  asio::ssl::stream<tcp::socket> stream_;
};

// How long a TLS handshake may take, and the exchange of farewells at the end.
inline constexpr std::chrono::seconds kHandshakeTime{10};
inline constexpr std::chrono::seconds kPartingTime{10};

// Raises how many descriptors the process may have as far as it goes, and says below which number
// those of clients have to be. The kernel gives the lowest number that is free: a socket that gets
// a higher one came when only those were left that the storage needs for the files it will open.
int claim_descriptors();

// The I/O loops of the process, each run by one thread.
struct Loops {
  std::vector<std::unique_ptr<asio::io_context>> contexts;
  int clients_below = INT_MAX;  // claim_descriptors(); constant once a listener started
  std::vector<Executor> executors() const;
  // Waits until every loop has come to what is posted to it now; from a thread of none of them.
  void wait_for_turn();
};

// Accepts on the first loop and hands connections to the loops in turn.
class Listener {
 public:
  // `serve` runs on the connection's loop and is told that loop's number. `refusal` is sent to who
  // comes when there are too few descriptors left.
  using Serve = std::function<awaitable<void>(tcp::socket, size_t loop)>;
  Listener(Loops& loops, Serve serve, std::string_view refusal = {})
      : loops_(loops), serve_(std::move(serve)), refusal_(refusal) {}
  Status listen(const tcp::endpoint& endpoint);  // FailedPrecondition: in use, not permitted
  tcp::endpoint local() const { return local_; }
  void start();  // nothing, if it does not listen
  void stop();

 private:
  awaitable<void> accept();
  void refuse(tcp::socket socket);
  Loops& loops_;
  Serve serve_;
  const std::string_view refusal_;
  std::shared_ptr<tcp::acceptor> acceptor_;  // until stop()
  tcp::endpoint local_;
};

// A context that offers TLS 1.2 and 1.3 with this certificate chain and key.
StatusOr<std::shared_ptr<asio::ssl::context>> make_tls(const std::string& certificate_file,
                                                       const std::string& key_file);

}  // namespace cairn::net

#include "gateway/net/net.h"

#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <future>

#include "core/base/descriptors.h"
#include "core/base/limits.h"
#include "core/base/text.h"

namespace cairn::net {

// ---- plain sockets ----

Poller::Poller(asio::execution_context& context)
    : asio::execution_context::service(context),
      context_(static_cast<asio::io_context&>(context)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      descriptor_(std::make_unique<asio::posix::stream_descriptor>(context_, epoll_)),
      events_(256) {
  arm();
}

Poller::~Poller() = default;
void Poller::shutdown() { descriptor_.reset(); }

void Poller::add(Watch& watch) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = &watch;
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, watch.fd, &event);
}

void Poller::remove(Watch& watch) {
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, watch.fd, nullptr);
  if (served_ == &watch) served_ = nullptr;
  for (size_t i = at_; i < count_; i++) {
    if (events_[i].data.ptr == &watch) events_[i].data.ptr = nullptr;
  }
  std::replace(senders_.begin(), senders_.end(), &watch, static_cast<Watch*>(nullptr));
}

void Poller::arm() {
  descriptor_->async_wait(asio::posix::stream_descriptor::wait_read,
                          [this](boost::system::error_code ec) {
                            if (ec) return;
                            for (size_t served = 0; served < kServedMax;) {
                              const size_t n = poll();
                              if (n == 0) break;
                              served += n;
                            }
                            arm();  // fires again at once if more is ready
                          });
}

size_t Poller::poll() {
  int n = ::epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), 0);
  if (n <= 0) return 0;
  count_ = static_cast<size_t>(n);
  for (at_ = 0; at_ < count_;) {
    epoll_event event = events_[at_++];
    auto* watch = static_cast<Watch*>(event.data.ptr);
    if (watch == nullptr) continue;
    // A connection may end, and take its watch along, when it is resumed.
    served_ = watch;
    if (event.events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) watch->writable = true;
    if (event.events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP)) watch->readable = true;
    if (event.events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) {
      watch->ended = true;
      if (watch->when_ended) watch->when_ended();
    }
    if (watch->writable && watch->writer) {
      auto resume = std::exchange(watch->writer, nullptr);
      resume();
    }
    if (served_ != nullptr && watch->readable && watch->reader) {
      auto resume = std::exchange(watch->reader, nullptr);
      resume();
    }
    if (senders_.size() >= kServedMax) end_batch();
  }
  served_ = nullptr;
  at_ = count_ = 0;
  end_batch();
  return static_cast<size_t>(n);
}

void Poller::end_batch() {
  for (size_t i = 0; i < senders_.size(); i++) {
    if (senders_[i] != nullptr) senders_[i]->sender();
  }
  senders_.clear();
}

PlainStream::PlainStream(tcp::socket socket) : executor_(socket.get_executor()) {
  boost::system::error_code ec;
  socket.set_option(tcp::no_delay(true), ec);
  socket.native_non_blocking(true, ec);
  peer_ = socket.remote_endpoint(ec);
  local_ = socket.local_endpoint(ec);
  poller_ = &asio::use_service<Poller>(asio::query(executor_, asio::execution::context));
  watch_ = std::make_unique<Poller::Watch>();
  watch_->fd = socket.release(ec);
  poller_->add(*watch_);
}

awaitable<void> PlainStream::writable_or_readable() {
  if (watch_->writable || watch_->readable) return asio::post(executor_, asio::use_awaitable);
  return suspend<>([watch = watch_.get()](Resume<> resume) {
    // Whichever comes first; the other may be on its way already (wake_reader), and finds nothing:
    // the watch is there only as long as nobody has resumed.
    const auto once = std::make_shared<absl::AnyInvocable<void()>>(resume.release());
    watch->writer = [watch, once] {
      if (!*once) return;
      watch->reader = nullptr;
      std::exchange(*once, nullptr)();
    };
    watch->reader = [watch, once] {
      if (!*once) return;
      watch->writer = nullptr;
      std::exchange(*once, nullptr)();
    };
  });
}

PlainStream::~PlainStream() {
  if (watch_ == nullptr) return;
  poller_->remove(*watch_);
  ::close(watch_->fd);
}

StatusOr<tcp::endpoint> parse_endpoint(std::string_view text) {
  size_t colon = text.rfind(':');
  auto port = colon == text.npos ? std::nullopt : parse_int<uint16_t>(text.substr(colon + 1));
  if (!port) return absl::InvalidArgumentError(cat("'", text, "' is not HOST:PORT"));
  std::string host(text.substr(0, colon));
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  if (host == "localhost") host = "127.0.0.1";
  if (host.empty()) {
    return absl::InvalidArgumentError(cat("'", text, "' has no host: say 127.0.0.1:", *port,
                                          " for this machine alone, or 0.0.0.0:", *port,
                                          " for every network that it is in"));
  }
  if (host == "*") host = "0.0.0.0";
  boost::system::error_code ec;
  auto address = asio::ip::make_address(host, ec);
  if (ec) return absl::InvalidArgumentError(cat("'", host, "' is not an IP address"));
  return tcp::endpoint(address, *port);
}

bool is_loopback(const asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address.is_loopback();
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).is_loopback();
}

void keep_alive(tcp::socket& socket, uint64_t after_s) {
  if (after_s == 0) return;
  using asio::detail::socket_option::integer;
  constexpr int kLongestS = 32767, kTries = 3;  // the kernel's limit; as Redis tries
  const int idle_s = static_cast<int>(std::min<uint64_t>(after_s, kLongestS));
  boost::system::error_code ignored;
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  socket.set_option(integer<IPPROTO_TCP, TCP_KEEPIDLE>(idle_s), ignored);
  socket.set_option(integer<IPPROTO_TCP, TCP_KEEPINTVL>(std::max(idle_s / kTries, 1)), ignored);
  socket.set_option(integer<IPPROTO_TCP, TCP_KEEPCNT>(kTries), ignored);
}

std::string to_string(const tcp::endpoint& e) {
  std::string host = e.address().to_string();
  return e.address().is_v6() ? cat("[", host, "]:", e.port()) : cat(host, ":", e.port());
}

// Aborts the stream when the time is over, unless it is destroyed before.
class TlsStream::Deadline {
 public:
  Deadline(TlsStream& stream, std::chrono::seconds time)
      : stream_(std::make_shared<TlsStream*>(&stream)), timer_(stream.executor(), time) {
    timer_.async_wait([stream = stream_](boost::system::error_code ec) {
      if (!ec && *stream != nullptr) (*stream)->abort();
    });
  }
  ~Deadline() { *stream_ = nullptr; }
  Deadline(const Deadline&) = delete;

 private:
  const std::shared_ptr<TlsStream*> stream_;  // null once that is over
  asio::steady_timer timer_;
};

awaitable<bool> TlsStream::handshake() {
  const Deadline deadline(*this, kHandshakeTime);
  auto [ec] = co_await stream_.async_handshake(asio::ssl::stream_base::server, kTuple);
  co_return !ec;
}

awaitable<void> TlsStream::shutdown() {
  const Deadline deadline(*this, kPartingTime);
  co_await stream_.async_shutdown(kTuple);
  abort();
}

int claim_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return INT_MAX;
  const rlim_t wanted = std::min<rlim_t>(limit.rlim_max, limits::kDescriptorsMax);
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = wanted;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
  }
  return static_cast<int>(descriptors_for_clients());
}

void Loops::wait_for_turn() {
  for (auto& context : contexts) {
    std::promise<void> came;
    asio::post(*context, [&] { came.set_value(); });
    came.get_future().wait();
  }
}

std::vector<Executor> Loops::executors() const {
  std::vector<Executor> all;
  for (auto& c : contexts) all.push_back(c->get_executor());
  return all;
}

Status Listener::listen(const tcp::endpoint& endpoint) {
  acceptor_ = std::make_shared<tcp::acceptor>(*loops_.contexts.front());
  boost::system::error_code ec;
  acceptor_->open(endpoint.protocol(), ec);
  if (!ec) acceptor_->set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor_->bind(endpoint, ec);
  if (!ec) acceptor_->listen(1024, ec);
  if (ec) {
    return absl::FailedPreconditionError(
        cat("cannot listen on ", to_string(endpoint), ": ", ec.message()));
  }
  local_ = acceptor_->local_endpoint();
  return absl::OkStatus();
}

void Listener::start() {
  if (acceptor_) spawn(loops_.contexts.front()->get_executor(), "accepting clients", accept());
}

void Listener::stop() {
  asio::post(*loops_.contexts.front(), [this] {
    boost::system::error_code ec;
    if (acceptor_) acceptor_->close(ec);
    acceptor_.reset();
  });
}

// Runs on the connection's loop, so that its stream is made there.
static awaitable<void> hand_over(const Listener::Serve& serve, tcp::socket socket, size_t loop) {
  co_await serve(std::move(socket), loop);
}

// Once a minute: whoever comes again and again must not fill the disk with it.
static void log_refusal(std::string_view why) {
  static std::atomic<int64_t> next_s{0};
  static std::atomic<uint64_t> refused{0};
  refused++;
  const int64_t now_s = std::chrono::duration_cast<std::chrono::seconds>(
                            std::chrono::steady_clock::now().time_since_epoch())
                            .count();
  int64_t due = next_s.load();
  if (now_s < due || !next_s.compare_exchange_strong(due, now_s + 60)) return;
  spdlog::warn("{} clients refused: {}", refused.exchange(0), why);
}

void Listener::refuse(tcp::socket socket) {
  log_refusal(cat("the process may have no more than ", loops_.clients_below,
                  " descriptors beside those kept for storage (ulimit -n)"));
  (void)::send(socket.native_handle(), refusal_.data(), refusal_.size(),
               MSG_NOSIGNAL | MSG_DONTWAIT);
}

awaitable<void> Listener::accept() {
  const std::shared_ptr<tcp::acceptor> acceptor = acceptor_;  // stop() lets go of it
  for (size_t next = 0;; next++) {
    const size_t loop = next % loops_.contexts.size();
    auto [ec, socket] = co_await acceptor->async_accept(*loops_.contexts[loop], kTuple);
    if (ec == asio::error::operation_aborted || !acceptor->is_open()) co_return;
    if (!ec && socket.native_handle() >= loops_.clients_below) {
      refuse(std::move(socket));
      continue;
    }
    if (ec) {  // out of descriptors, say: let some connections end first
      log_refusal(ec.message());
      asio::steady_timer timer(*loops_.contexts.front(), std::chrono::milliseconds(50));
      co_await timer.async_wait(kTuple);
      continue;
    }
    // An exception ends the connection, and is another's problem no more.
    spawn(loops_.contexts[loop]->get_executor(), "a connection",
          hand_over(serve_, std::move(socket), loop), [](const Status& status) {
            spdlog::error("a connection ended: {}", std::string(status.message()));
          });
  }
}

StatusOr<std::shared_ptr<asio::ssl::context>> make_tls(const std::string& certificate_file,
                                                       const std::string& key_file) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  boost::system::error_code ec;
  context->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                           asio::ssl::context::no_tlsv1_1 | asio::ssl::context::single_dh_use,
                       ec);
  context->use_certificate_chain_file(certificate_file, ec);
  if (ec) {
    return absl::InvalidArgumentError(
        cat("cannot use the certificate ", certificate_file, ": ", ec.message()));
  }
  context->use_private_key_file(key_file, asio::ssl::context::pem, ec);
  if (ec) {
    return absl::InvalidArgumentError(cat("cannot use the key ", key_file, ": ", ec.message()));
  }
  return context;
}

}  // namespace cairn::net

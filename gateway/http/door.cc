#include "gateway/http/door.h"

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http.hpp>

#include "core/text.h"

namespace cairn::http {

namespace bhttp = boost::beast::http;

namespace {

constexpr std::string_view kFull =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
using Clock = std::chrono::steady_clock;
constexpr size_t kHeaderBytesMax = 16 << 10;
constexpr size_t kBufferBytes = 64 << 10;
constexpr auto kHeaderTime = std::chrono::seconds(10);
constexpr auto kIdleTime = std::chrono::seconds(120);
constexpr Clock::duration kBodyStallTime = std::chrono::seconds(30);
constexpr Clock::duration kWatchTime = std::chrono::seconds(5);
constexpr int64_t kBodyRateMin = 4 << 10;  // bytes per second
constexpr size_t kConnectionsMax = 8192;

// How long to wait for a client that sends a body: kBodyStallTime at first, less what it let us
// wait, more by what it sent, so that one who drips bytes is not waited for any longer than
// one who stands still.
class Patience {
 public:
  Clock::duration begin() {
    began_ = Clock::now();
    return left_;
  }
  void received(size_t bytes) {
    auto earned =
        std::chrono::nanoseconds(static_cast<int64_t>(bytes) * 1'000'000'000 / kBodyRateMin);
    left_ = std::min(kBodyStallTime, left_ - (Clock::now() - began_) + earned);
  }

 private:
  Clock::duration left_ = kBodyStallTime;
  Clock::time_point began_;
};

template <class Stream>
class Connection {
 public:
  Connection(Stream stream, Stats& stats, const Handler& handler, const net::Guests& guests,
             std::string peer)
      : stream_(std::move(stream)),
        guests_(guests),
        stats_(stats),
        handler_(handler),
        peer_(std::move(peer)),
        timer_(stream_.executor()),
        buffer_(kBufferBytes) {}

  awaitable<void> run() {
    arm(kHeaderTime);
    if constexpr (Stream::kTls) {
      bool shaken = co_await stream_.handshake();
      if (!shaken) co_return;
    }
    for (bool keep = true; keep && !guests_.closing();) {
      keep = co_await one_request();
    }
    co_await linger();
    co_await stream_.shutdown();
  }
  void end(net::End how) {
    if (how == net::End::kNow) return stream_.abort();
    if (at_rest_) stream_.shutdown_receive();
  }

 private:
  using Parser = bhttp::request_parser<bhttp::buffer_body>;

  // The body of the current request, as its handler pulls it.
  class RequestBody final : public Body {
   public:
    RequestBody(Connection& c, Parser& parser) : c_(c), parser_(parser) {
      chunked_ = parser.chunked();
      left_ = chunked_ ? 0 : parser.content_length().value_or(0);
      expects_continue_ =
          equals_ignoring_case(std::string_view(parser.get()[bhttp::field::expect].data(),
                                                parser.get()[bhttp::field::expect].size()),
                               "100-continue");
    }
    awaitable<StatusOr<size_t>> read(MutableBytes into) override {
      if (into.empty()) co_return size_t{0};
      c_.arm(patience_.begin());
      auto n = co_await read_some(into);
      if (n.ok()) patience_.received(*n);
      co_return n;
    }

    bool done() const { return chunked_ ? parser_.is_done() : left_ == 0; }
    bool wants_continue() const { return expects_continue_; }
    uint64_t left() const { return chunked_ ? UINT64_MAX : left_; }

   private:
    awaitable<StatusOr<size_t>> read_some(MutableBytes into) {
      // Even before an empty body: botocore 1.29 stalls on the request after one that got none.
      if (std::exchange(expects_continue_, false)) {
        constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
        bool sent = co_await c_.stream_.write(as_bytes(kContinue));
        if (!sent) co_return absl::CancelledError("the client is gone");
      }
      if (done()) co_return size_t{0};
      if (chunked_) co_return co_await read_chunked(into);
      size_t want = std::min<uint64_t>(into.size(), left_);
      size_t n = std::min(want, c_.end_ - c_.begin_);
      if (n > 0) {
        std::memcpy(into.data(), c_.buffer_.data() + c_.begin_, n);
        c_.begin_ += n;
      } else {
        n = co_await c_.stream_.read_some(into.first(want));
        if (n == 0) co_return absl::CancelledError("the client is gone");
        c_.stats_.bytes_in.fetch_add(n, std::memory_order_relaxed);
      }
      left_ -= n;
      co_return n;
    }

    awaitable<StatusOr<size_t>> read_chunked(MutableBytes into) {
      auto& sink = parser_.get().body();
      for (;;) {
        sink.data = into.data();
        sink.size = into.size();
        sink.more = true;
        boost::system::error_code ec;
        if (c_.begin_ == c_.end_ || starved_) {
          starved_ = false;
          bool got = co_await c_.fill();
          if (!got) co_return absl::CancelledError("the client is gone");
        }
        size_t used =
            parser_.put(asio::buffer(c_.buffer_.data() + c_.begin_, c_.end_ - c_.begin_), ec);
        c_.begin_ += used;
        if (ec == bhttp::error::need_buffer) ec = {};
        if (ec == bhttp::error::need_more) {
          starved_ = true;
          ec = {};
        }
        if (ec) co_return absl::InvalidArgumentError(cat("bad chunked body: ", ec.message()));
        size_t n = into.size() - sink.size;
        if (n > 0 || parser_.is_done()) co_return n;
        if (used == 0) starved_ = true;
      }
    }
    Connection& c_;
    Parser& parser_;
    bool chunked_;
    bool starved_ = false;
    uint64_t left_;
    bool expects_continue_;
    Patience patience_;
  };

  // Reads more into the buffer; false at the end of the stream, or when the buffer is full.
  awaitable<bool> fill() {
    if (begin_ == end_) {
      begin_ = end_ = 0;
    } else if (begin_ > 0 && end_ == buffer_.size()) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    if (end_ == buffer_.size()) co_return false;
    size_t n = co_await stream_.read_some({buffer_.data() + end_, buffer_.size() - end_});
    if (n == 0) co_return false;
    end_ += n;
    stats_.bytes_in.fetch_add(n, std::memory_order_relaxed);
    co_return true;
  }

  // Closes the socket when the time is over, or up to kWatchTime later; every call starts it anew.
  void arm(Clock::duration time) {
    deadline_ = Clock::now() + time;
    if (timer_running_) return;
    timer_running_ = true;
    watch();
  }
  void watch() {
    timer_.expires_at(std::min(deadline_, Clock::now() + kWatchTime));
    timer_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code ec) {
      if (ec || alive.expired()) return;
      if (Clock::now() < deadline_) return watch();
      timer_running_ = false;
      stream_.abort();
    });
  }

  awaitable<bool> one_request() {
    Parser parser;
    parser.header_limit(kHeaderBytesMax);
    parser.body_limit(boost::none);
    parser.eager(false);
    if (begin_ == end_) {
      arm(first_ ? kHeaderTime : kIdleTime);
      at_rest_ = true;
      bool got = co_await fill();
      at_rest_ = false;
      if (!got) co_return false;
    }
    first_ = false;
    arm(kHeaderTime);
    while (!parser.is_header_done()) {
      boost::system::error_code ec;
      size_t used = parser.put(asio::buffer(buffer_.data() + begin_, end_ - begin_), ec);
      begin_ += used;
      if (ec == bhttp::error::need_more || (!ec && used == 0)) {
        bool got = co_await fill();
        if (!got) co_return false;
        continue;
      }
      if (ec) {
        Response bad;
        bad.status = ec == bhttp::error::header_limit ? 431 : 400;
        bad.body = cat("bad request: ", ec.message(), "\n");
        bad.close = true;
        bool sent = co_await respond(bad, false);
        (void)sent;
        co_return false;
      }
    }
    stats_.requests.fetch_add(1, std::memory_order_relaxed);
    Request request;
    Response response;
    auto& message = parser.get();
    request.method = std::string(message.method_string());
    request.target = std::string(message.target());
    request.peer = peer_;
    for (auto& field : message) {
      std::string name =
          lower(std::string_view(field.name_string().data(), field.name_string().size()));
      std::string value(field.value());
      auto [it, fresh] = request.headers.try_emplace(std::move(name), value);
      if (!fresh) append(it->second, ", ", value);
    }
    if (parser.content_length()) request.content_length = *parser.content_length();
    RequestBody body(*this, parser);
    request.body = &body;
    const bool head = request.method == "HEAD";
    bool good = split_target(request);
    // Both a length and chunks: somebody in between may have seen another request.
    if (parser.chunked() && request.has_header("content-length")) good = false;
    if (!good) {
      response.status = 400;
      response.body = "bad request target\n";
      response.close = true;
    } else {
      co_await handler_(request, response);
    }
    bool keep = message.keep_alive() && !response.close && !guests_.closing();
    if (!body.done()) {
      // Nobody wants the rest. A short one is read over; for a long one the connection ends.
      constexpr uint64_t kSkipMax = 256 << 10;
      if (body.wants_continue() || body.left() > kSkipMax) {
        keep = false;
      } else {
        std::vector<std::byte> sink(16 << 10);
        while (!body.done()) {
          auto n = co_await body.read({sink.data(), sink.size()});
          if (!n.ok()) co_return false;
        }
      }
    }
    response.close = !keep;
    linger_ = !body.done();
    arm(kBodyStallTime);
    bool sent = co_await respond(response, head);
    co_return sent&& keep;
  }

  static bool split_target(Request& r) {
    std::string_view target = r.target;
    if (target.empty() || target.size() > 8192) return false;
    if (size_t scheme = target.find("://"); target[0] != '/' && scheme != target.npos) {
      size_t slash = target.find('/', scheme + 3);
      target = slash == target.npos ? "/" : target.substr(slash);
    }
    if (target[0] != '/') return false;
    size_t question = target.find('?');
    r.raw_path = std::string(target.substr(0, question));
    auto path = percent_decode(r.raw_path, false);
    if (!path) return false;
    r.path = std::move(*path);
    if (question == target.npos) return true;
    std::string_view query = target.substr(question + 1);
    while (!query.empty()) {
      size_t amp = query.find('&');
      std::string_view one = query.substr(0, amp);
      query = amp == query.npos ? "" : query.substr(amp + 1);
      if (one.empty()) continue;
      size_t equals = one.find('=');
      auto name = percent_decode(one.substr(0, equals), true);
      auto value = percent_decode(equals == one.npos ? "" : one.substr(equals + 1), true);
      if (!name || !value) return false;
      r.query.emplace_back(std::move(*name), std::move(*value));
    }
    return true;
  }

  awaitable<bool> respond(Response& r, bool head) {
    if (r.status >= 500) {
      stats_.errors_5xx.fetch_add(1, std::memory_order_relaxed);
    } else if (r.status >= 400) {
      stats_.errors_4xx.fetch_add(1, std::memory_order_relaxed);
    }
    const auto reason = bhttp::obsolete_reason(static_cast<bhttp::status>(r.status));
    out_.clear();
    append(out_, "HTTP/1.1 ", r.status, " ", std::string_view(reason.data(), reason.size()),
           "\r\n");
    for (auto& [name, value] : r.headers) {
      append(out_, name, ": ");
      for (char c : value) out_.push_back(c == '\r' || c == '\n' ? ' ' : c);
      out_ += "\r\n";
    }
    uint64_t length = r.content_length ? *r.content_length
                      : r.stream       ? r.stream->left()
                                       : r.body.size();
    if (r.status != 204 && r.status != 304) append(out_, "Content-Length: ", length, "\r\n");
    append(out_, "Date: ", date(), "\r\nServer: Cairn\r\n",
           r.close ? "Connection: close\r\n\r\n" : "\r\n");
    const bool has_body = !head && r.status != 204 && r.status != 304;
    if (has_body && !r.stream) out_ += r.body;
    stats_.bytes_out.fetch_add(out_.size(), std::memory_order_relaxed);
    Bytes text = as_bytes(out_);
    ssize_t n = stream_.try_write(text);
    if (n < 0) co_return false;
    if (static_cast<size_t>(n) < text.size()) {
      bool sent = co_await stream_.write(text.subspan(static_cast<size_t>(n)));
      if (!sent) co_return false;
    }
    if (has_body && r.stream) {
      while (r.stream->left() > 0) {
        auto bytes = co_await r.stream->next();
        if (!bytes.ok()) co_return false;  // the length is already announced
        arm(kBodyStallTime);
        bool sent = co_await stream_.write(*bytes);
        if (!sent) co_return false;
        stats_.bytes_out.fetch_add(bytes->size(), std::memory_order_relaxed);
      }
    }
    co_return true;
  }

  // A client that still sends would lose our answer to a reset: take a little more of its bytes.
  awaitable<void> linger() {
    if (!linger_) co_return;
    stream_.shutdown_send();
    arm(std::chrono::seconds(2));
    std::vector<std::byte> sink(64 << 10);
    for (size_t taken = 0; taken < (64 << 20);) {
      size_t n = co_await stream_.read_some({sink.data(), sink.size()});
      if (n == 0) break;
      taken += n;
    }
  }

  const std::string& date() {
    int64_t now = std::chrono::duration_cast<std::chrono::seconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
    if (now != date_s_) {
      date_s_ = now;
      date_ = http_date(now * 1000);
    }
    return date_;
  }

  Stream stream_;
  const net::Guests& guests_;
  Stats& stats_;
  const Handler& handler_;
  const std::string peer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  asio::steady_timer timer_;
  Clock::time_point deadline_;
  bool timer_running_ = false;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0, end_ = 0;
  std::string out_;
  std::string date_;
  int64_t date_s_ = 0;
  bool first_ = true;
  bool at_rest_ = false;  // between two requests
  bool linger_ = false;
};

}  // namespace

Door::Door(net::Loops& loops, Handler handler)
    : handler_(std::move(handler)),
      plain_(
          loops,
          [this](net::tcp::socket socket, size_t) {
            return serve(net::PlainStream(std::move(socket)));
          },
          kFull),
      secure_(loops, [this](net::tcp::socket socket, size_t) {
        return serve(net::TlsStream(std::move(socket), *tls_));
      }) {}

Status Door::listen(const net::tcp::endpoint& endpoint) { return plain_.listen(endpoint); }

Status Door::listen_tls(const net::tcp::endpoint& endpoint,
                        std::shared_ptr<asio::ssl::context> tls) {
  tls_ = std::move(tls);
  return secure_.listen(endpoint);
}

void Door::start() {
  plain_.start();
  secure_.start();
}
void Door::stop() {
  plain_.stop();
  secure_.stop();
}

template <class Stream>
awaitable<void> Door::serve(Stream stream) {
  const auto peer = stream.peer();
  if (stats_.connections.fetch_add(1) < kConnectionsMax) {
    const Executor executor = co_await asio::this_coro::executor;
    Connection<Stream> connection(std::move(stream), stats_, handler_, guests_,
                                  net::to_string(peer));
    net::Guests::Guest guest(guests_, executor, [&](net::End how) { connection.end(how); });
    co_await connection.run();
  }
  stats_.connections.fetch_sub(1);
}

}  // namespace cairn::http
